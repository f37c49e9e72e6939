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
 * the compiler makes of 16 registers of 4. 8 x 3 asks for fewer loads than the
 * 12 x 2 with as many sums, which counts where two threads share a core. */
#if defined(CR_ISA_avx512)
enum { CR_ROWS = 8, CR_PANELS = 3 };
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

/* Where the rows of a are read: a pointer for every four, which moves, and the
 * distances of the others from it. A compiler left alone keeps a pointer a row
 * and one count that moves: more than there are registers, so that some are
 * loaded again for every term. */
typedef struct cr_rows {
    const char *at[(CR_ROWS + 3) / 4];
    size_t step, step3;
} cr_rows;

CR_INLINE cr_rows cr_rows_from(const void *a, size_t step, const size_t rows) {
    cr_rows r = {.step = step, .step3 = 3 * step};
    CR_UNROLL
    for (size_t i = 0; i < rows; i += 4)
        r.at[i / 4] = (const char *)a + i * step;
    return r;
}

CR_INLINE const char *cr_row(const cr_rows *r, const size_t i) {
    return r->at[i / 4] + (i % 4 == 3 ? r->step3 : i % 4 * r->step);
}

CR_INLINE void cr_rows_move(cr_rows *r, size_t bytes, const size_t rows) {
    CR_UNROLL
    for (size_t i = 0; i < rows; i += 4) {
        r->at[i / 4] += bytes;
        /* The compiler may not ask where it came from. */
        __asm__("" : "+r"(r->at[i / 4]));
    }
}

/* Adds one term: b at this row, a `at` bytes from where its pointers are. */
CR_INLINE void cr_tile_term(const cr_rows *a, size_t at, const float *b,
                            size_t panel_step, const size_t rows,
                            const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    v16 column[CR_PANELS];
    CR_UNROLL
    for (size_t j = 0; j < CR_PANELS; j++)
        column[j] = v16_load(b + cr_panel_or_first(j, panels) * panel_step);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        float x;
        memcpy(&x, cr_row(a, i) + at, sizeof x);
        v16 same = v16_set(x);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] = v16_fma(same, column[j], sum[i][j]);
    }
}

/* Keeps the loads that follow behind it: moved forward by the compiler, they
 * would ask for more registers than there are. The core mixes both anyway. */
#define CR_NOT_BEFORE __asm__ volatile("" ::: "memory")

/* sum[rows][panels] += a b; rows and panels must be constants. Two terms a
 * turn: one leaves the core too much to count, four ask for more registers
 * than there are. */
CR_INLINE void cr_tile_add(const cr_tile *t, const size_t rows,
                           const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    const float *b = t->b;
    const size_t panel_step = t->panel_step, row_step = t->row_step;
    cr_rows a = cr_rows_from(t->a, t->lda * sizeof(float), rows);
    CR_NO_UNROLL
    for (size_t left = t->k / 2; left; left--, b += 2 * row_step) {
        cr_tile_term(&a, 0, b, panel_step, rows, panels, sum);
        CR_NOT_BEFORE;
        cr_tile_term(&a, sizeof(float), b + row_step, panel_step, rows, panels,
                     sum);
        cr_rows_move(&a, 2 * sizeof(float), rows);
    }
    if (t->k % 2)
        cr_tile_term(&a, 0, b, panel_step, rows, panels, sum);
}

/* Panels that one tile can take of the `left` columns. */
CR_INLINE size_t cr_panels_of(size_t left) {
    return left < CR_PANELS * CR_PANEL ? left / CR_PANEL : CR_PANELS;
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
        else if (CR_PANELS > 2 && (panels) == 2)                               \
            run(__VA_ARGS__, n, CR_PANELS > 2 ? 2 : 1);                        \
        else                                                                   \
            run(__VA_ARGS__, n, 1);                                            \
        break;

#endif
