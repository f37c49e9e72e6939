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

#include "kernels/vec16.h"

typedef v16i cr_terms;

CR_INLINE v16i load_terms(const char *b) { return v16i_load(b); }
CR_INLINE v16i spread_terms(const char *a) {
    int32_t word;
    memcpy(&word, a, sizeof word);
    return v16i_set(word);
}

#include "kernels/tile_add.h"

#endif
