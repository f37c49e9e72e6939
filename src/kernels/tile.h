/* The tile: rows x panels of sums that stay in registers while k runs. What it
 * reads, and how each shape of it is compiled; tile_add.h has the loop. */
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

/* Operands of a tile, all distances in bytes. A turn of k takes four bytes of
 * each row of a, one term or several, and a row of each panel of b. */
typedef struct cr_tile {
    const char *a;
    size_t a_step; /* from row to row */
    const char *b;
    size_t panel_step; /* from panel to panel */
    size_t b_step;     /* from turn to turn */
    size_t k;          /* terms */
} cr_tile;

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

CR_INLINE cr_rows cr_rows_from(const char *a, size_t step, const size_t rows) {
    cr_rows r = {.step = step, .step3 = 3 * step};
    CR_UNROLL
    for (size_t i = 0; i < rows; i += 4)
        r.at[i / 4] = a + i * step;
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

/* Keeps the loads that follow behind it, where registers are few: moved forward
 * by the compiler, they would ask for more than there are. */
#if defined(CR_ISA_avx2)
#define CR_NOT_BEFORE __asm__ volatile("" ::: "memory")
#else
#define CR_NOT_BEFORE (void)0
#endif

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
