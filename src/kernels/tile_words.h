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

/* sum[rows][panels] += a b; rows and panels must be constants. */
CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, cr_sum sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    CR_NO_UNROLL
    for (size_t at = 0; at < t->k * CR_A_BYTES;
         at += sizeof(int32_t), b += sizeof(int32_t) * CR_PANEL) {
        v16i column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            column[j] =
                v16i_load(b + cr_panel_or_first(j, panels) * t->panel_step);
        CR_UNROLL
        for (size_t i = 0; i < rows; i++) {
            int32_t word;
            memcpy(&word, t->a + i * t->a_step + at, sizeof word);
            v16i x = v16i_set(word);
            CR_UNROLL
            for (size_t j = 0; j < panels; j++)
                sum[i][j] = add_products(sum[i][j], x, column[j]);
        }
    }
}

#endif
