/* Weights of attention that multiplies bfloat16: alike to the bit in every
 * table.
 *
 * Weights are cut to bfloat16, not rounded, and their sum is of what was cut:
 * the mean error cancels. In int8's order the sum adds weights of even keys in
 * their order, those of odd keys apart, and then both. */
#ifndef CR_KERNELS_ATTENTION_WEIGHTS_H
#define CR_KERNELS_ATTENTION_WEIGHTS_H

#include "kernels/vec16.h"

/* 2^(factor x + shift), cut, for what is at most 0 and, below -125, as good as
 * 0, but no subnormal; NaN stays NaN. Relative error 7.5e-5 before it is cut (a
 * minimax fit of this project's, as in math16.h). */
CR_INLINE v16 cr_weight(v16 x, v16 factor, v16 shift) {
    x = v16_max(v16_set(-125), v16_fma(x, factor, shift));
    const v16 magic = v16_set(0x1.8p23f); /* its last bits are the integer */
    v16 whole = v16_add(x, magic);
    v16 f = v16_sub(x, v16_sub(whole, magic));
    v16 p = v16_set(5.51714338e-2f);
    p = v16_fma(p, f, v16_set(2.42610812e-1f));
    p = v16_fma(p, f, v16_set(6.93260968e-1f));
    p = v16_fma(p, f, v16_set(9.99928117e-1f));
    return v16_scale_cut(p, whole);
}

/* What scores are multiplied by: `scale` and log2(e). */
CR_INLINE v16 cr_weight_factor(float scale) {
    const float log2_e = 1.442695041f;
    return v16_set(scale * log2_e);
}

#endif
