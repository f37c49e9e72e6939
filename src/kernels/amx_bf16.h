/* float32 to bfloat16 by an instruction, which every processor with tiles has.
 * Nearest, ties to even; subnormal numbers become zero, as tiles take them. */
#ifndef CR_KERNELS_AMX_BF16_H
#define CR_KERNELS_AMX_BF16_H

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

#endif
