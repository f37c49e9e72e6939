/* The inner loop of every product, for any precision: a tile's sums grow by
 * the terms of k, in their order, whatever the tile's shape.
 *
 * The including file defines, before inclusion:
 *   CR_A_BYTES     of one term of a
 *   cr_sum         the type of 16 sums
 *   cr_terms       the type of what a turn multiplies, 16 lanes of it
 *   load_terms     a row of a panel
 *   spread_terms   four bytes of a row of a, to all lanes
 *   add_products   16 sums and the products of the terms of both */
#ifndef CR_KERNELS_TILE_ADD_H
#define CR_KERNELS_TILE_ADD_H

#include "kernels/tile.h"

enum { CR_TURN_BYTES = 4 };

/* One turn: rows of a from `at` on, panels of b from b on. */
CR_INLINE void add_turn(const cr_rows *a, size_t at, const char *b,
                        size_t panel_step, const size_t rows,
                        const size_t panels, cr_sum sum[CR_ROWS][CR_PANELS]) {
    cr_terms column[CR_PANELS];
    CR_UNROLL
    for (size_t j = 0; j < CR_PANELS; j++)
        column[j] = load_terms(b + cr_panel_or_first(j, panels) * panel_step);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        cr_terms same = spread_terms(cr_row(a, i) + at);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] = add_products(sum[i][j], same, column[j]);
    }
}

/* sum[rows][panels] += a b; rows and panels must be constants. Two turns at
 * once: one leaves the core too much to count, four ask for more registers
 * than there are. CR_COMPACT is one, for builds whose compiler adds so much to
 * a turn that it would take minutes. */
CR_INLINE void tile_add(const cr_tile *t, const size_t rows,
                        const size_t panels, cr_sum sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    const size_t panel_step = t->panel_step, b_step = t->b_step;
    const size_t turns = t->k * CR_A_BYTES / CR_TURN_BYTES;
    cr_rows a = cr_rows_from(t->a, t->a_step, rows);
#ifdef CR_COMPACT
    CR_NO_UNROLL
    for (size_t left = turns; left; left--, b += b_step) {
        add_turn(&a, 0, b, panel_step, rows, panels, sum);
        cr_rows_move(&a, CR_TURN_BYTES, rows);
    }
#else
    CR_NO_UNROLL
    for (size_t left = turns / 2; left; left--, b += 2 * b_step) {
        add_turn(&a, 0, b, panel_step, rows, panels, sum);
        CR_NOT_BEFORE;
        add_turn(&a, CR_TURN_BYTES, b + b_step, panel_step, rows, panels, sum);
        cr_rows_move(&a, 2 * CR_TURN_BYTES, rows);
    }
    if (turns % 2)
        add_turn(&a, 0, b, panel_step, rows, panels, sum);
#endif
}

#endif
