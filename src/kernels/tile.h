/* The tile: rows x panels of sums that stay in registers while k runs.
 *
 * The one inner loop of every fp32 product. Terms are added in the order of k,
 * one fused multiply-add each, whatever the tile's shape. */
#ifndef CR_KERNELS_TILE_H
#define CR_KERNELS_TILE_H

#include "kernels/kernels.h"
#include "kernels/vec16.h"

/* Rows and panels of a full tile: sums, one row of b and one element of a fill
 * 16 registers of 8 floats, or 32 of 16 floats, or 32 of 4. Plain C has what
 * the compiler makes of 16 registers of 4. */
#if defined(CR_ISA_avx512)
enum { CR_ROWS = 12, CR_PANELS = 2 };
#elif defined(CR_ISA_avx2) || defined(CR_ISA_neon)
enum { CR_ROWS = 6, CR_PANELS = 1 };
#else
enum { CR_ROWS = 2, CR_PANELS = 1 };
#endif

/* Operands of a tile: row i, term k of a is a[i * lda + k]; lane l of panel j,
 * term k of b is b[j * panel_step + k * row_step + l]. */
typedef struct cr_tile {
    const float *a;
    size_t lda;
    const float *b;
    size_t panel_step;
    size_t row_step;
    size_t k;
} cr_tile;

/* The same in bytes, for operands of any type: rows of a are a_step apart,
 * panels of b panel_step. */
typedef struct cr_tile_of {
    const char *a;
    size_t a_step;
    const char *b;
    size_t panel_step;
    size_t k;
} cr_tile_of;

/* Panel j, or the first where a tile has none such. Loops that fill an array
 * for all of CR_PANELS let clang keep it in registers; one that is filled in
 * part gets a place on the stack. */
CR_INLINE size_t cr_panel_or_first(size_t j, size_t panels) {
    return j < panels ? j : 0;
}

/* sum[rows][panels] += a b; rows and panels must be constants. */
CR_INLINE void cr_tile_add(const cr_tile *t, const size_t rows,
                           const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    const float *restrict a = t->a;
    const float *restrict b = t->b;
    const size_t lda = t->lda, panel_step = t->panel_step;
    const size_t row_step = t->row_step, n = t->k;
    for (size_t k = 0; k < n; k++, b += row_step) {
        v16 column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            column[j] = v16_load(b + j * panel_step);
        CR_UNROLL
        for (size_t i = 0; i < rows; i++) {
            v16 x = v16_set(a[i * lda + k]);
            CR_UNROLL
            for (size_t j = 0; j < panels; j++)
                sum[i][j] = v16_fma(x, column[j], sum[i][j]);
        }
    }
}

/* Calls run(..., rows, panels) with both as constants, so that every tile
 * shape is compiled by itself and its sums get registers. */
#if defined(CR_ISA_avx512)
#define CR_TILE_SWITCH(rows, panels, run, ...)                                 \
    switch (rows) {                                                            \
        CR_TILE_CASES_2(panels, run, __VA_ARGS__)                              \
        CR_TILE_CASES_6(panels, run, __VA_ARGS__)                              \
        CR_TILE_CASE(7, panels, run, __VA_ARGS__)                              \
        CR_TILE_CASE(8, panels, run, __VA_ARGS__)                              \
        CR_TILE_CASE(9, panels, run, __VA_ARGS__)                              \
        CR_TILE_CASE(10, panels, run, __VA_ARGS__)                             \
        CR_TILE_CASE(11, panels, run, __VA_ARGS__)                             \
        CR_TILE_CASE(12, panels, run, __VA_ARGS__)                             \
    }
#elif defined(CR_ISA_avx2) || defined(CR_ISA_neon)
#define CR_TILE_SWITCH(rows, panels, run, ...)                                 \
    switch (rows) {                                                            \
        CR_TILE_CASES_2(panels, run, __VA_ARGS__)                              \
        CR_TILE_CASES_6(panels, run, __VA_ARGS__)                              \
    }
#else
#define CR_TILE_SWITCH(rows, panels, run, ...)                                 \
    switch (rows) { CR_TILE_CASES_2(panels, run, __VA_ARGS__) }
#endif
#define CR_TILE_CASES_2(panels, run, ...)                                      \
    CR_TILE_CASE(1, panels, run, __VA_ARGS__)                                  \
    CR_TILE_CASE(2, panels, run, __VA_ARGS__)
#define CR_TILE_CASES_6(panels, run, ...)                                      \
    CR_TILE_CASE(3, panels, run, __VA_ARGS__)                                  \
    CR_TILE_CASE(4, panels, run, __VA_ARGS__)                                  \
    CR_TILE_CASE(5, panels, run, __VA_ARGS__)                                  \
    CR_TILE_CASE(6, panels, run, __VA_ARGS__)
#define CR_TILE_CASE(n, panels, run, ...)                                      \
    case n:                                                                    \
        if ((panels) == CR_PANELS)                                             \
            run(__VA_ARGS__, n, CR_PANELS);                                    \
        else                                                                   \
            run(__VA_ARGS__, n, 1);                                            \
        break;

#endif
