/* float32 to bfloat16 by an instruction of AVX512-BF16, which every processor
 * with tiles has, too. Nearest, ties to even; subnormal numbers become zero, as
 * products take them. */
#ifndef CR_KERNELS_BF16_AVX512_H
#define CR_KERNELS_BF16_AVX512_H

#include "kernels/vec16.h"

/* Lanes of low, then of high. */
CR_INLINE void v16_store_bf16(uint16_t *p, v16 low, v16 high) {
    __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    memcpy(p, &both, sizeof both);
}

CR_INLINE void v16_store_bf16_half(uint16_t *p, v16 a) {
    __m256bh half = _mm512_cvtneps_pbh(a);
    memcpy(p, &half, sizeof half);
}

/* Words of two bfloat16: a lane of `low`, and above it that of `high`. */
CR_INLINE v16 v16_pair_bf16(v16 low, v16 high) {
    __m256bh halves[2] = {_mm512_cvtneps_pbh(low), _mm512_cvtneps_pbh(high)};
    __m256i x, y;
    memcpy(&x, &halves[0], sizeof x);
    memcpy(&y, &halves[1], sizeof y);
    __m512i above = _mm512_slli_epi32(_mm512_cvtepu16_epi32(y), 16);
    return _mm512_castsi512_ps(
        _mm512_or_si512(_mm512_cvtepu16_epi32(x), above));
}

#endif
