/* The tile of narrow types: a word of 32 bits holds two terms or four.
 *
 * A word of a row meets 16 words of a panel, one a column; an instruction
 * multiplies their terms and adds them to 16 sums.
 *
 * The including file defines, before inclusion:
 *   CR_A_BYTES     of one activation, and of one weight
 *   cr_sum         the type of 16 sums
 *   add_products   16 sums and the products of the terms of two words each */
#ifndef CR_KERNELS_TILE_WORDS_H
#define CR_KERNELS_TILE_WORDS_H

#include "kernels/tile.h"

enum { CR_WORD_BYTES = 4, CR_WORD_TERMS = CR_WORD_BYTES / CR_A_BYTES };

/* Adds one word's terms, as cr_tile_term does one. */
CR_INLINE void add_word(const cr_rows *a, size_t at, const char *b,
                        size_t panel_step, const size_t rows,
                        const size_t panels, cr_sum sum[CR_ROWS][CR_PANELS]) {
    v16i column[CR_PANELS];
    CR_UNROLL
    for (size_t j = 0; j < CR_PANELS; j++)
        column[j] = v16i_load(b + cr_panel_or_first(j, panels) * panel_step);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        int32_t word;
        memcpy(&word, cr_row(a, i) + at, sizeof word);
        v16i same = v16i_set(word);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] = add_products(sum[i][j], same, column[j]);
    }
}

/* sum[rows][panels] += a b; rows and panels must be constants, and k even in
 * words, as it is in a multiple of 16 terms. */
CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, cr_sum sum[CR_ROWS][CR_PANELS]) {
    enum { ROW = CR_WORD_BYTES * CR_PANEL };
    const char *b = t->b;
    cr_rows a = cr_rows_from(t->a, t->a_step, rows);
    CR_NO_UNROLL
    for (size_t left = t->k / (2 * CR_WORD_TERMS); left; left--, b += 2 * ROW) {
        add_word(&a, 0, b, t->panel_step, rows, panels, sum);
        CR_NOT_BEFORE;
        add_word(&a, CR_WORD_BYTES, b + ROW, t->panel_step, rows, panels, sum);
        cr_rows_move(&a, 2 * CR_WORD_BYTES, rows);
    }
}

#endif
