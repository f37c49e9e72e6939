/* bfloat16: the upper half of a float32. */
#ifndef CR_KERNELS_BF16_H
#define CR_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

/* Nearest, ties to even; x is finite, and no larger than bfloat16 holds. */
static inline uint16_t cr_bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float cr_bf16_widen(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

#endif
