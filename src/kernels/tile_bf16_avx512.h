/* The tile of bfloat16 by AVX512-BF16: two terms a lane and instruction.
 *
 * The instruction rounds after each of its two products and treats subnormal
 * numbers as zero, so its bits are its own; they depend on what is added up
 * alone. */
#ifndef CR_KERNELS_TILE_BF16_AVX512_H
#define CR_KERNELS_TILE_BF16_AVX512_H

#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 2 };

/* The same bits under the type that the instruction's name wants. */
CR_INLINE __m512bh pairs_of(v16i x) {
    __m512bh pairs;
    memcpy(&pairs, &x, sizeof pairs);
    return pairs;
}

CR_INLINE v16 add_products(v16 sum, v16i a, v16i b) {
    return _mm512_dpbf16_ps(sum, pairs_of(a), pairs_of(b));
}

#include "kernels/tile_words.h"

#endif
