/* int8: how numbers become integers of +-127, in every table alike.
 *
 * A weight's column and an activation's row have one scale each, max / 127, so
 * a row's integers depend on that row alone. Rounding is to nearest, ties to
 * even. Integers are exact, and they are turned back by the same operations in
 * the same order, so int8 scores are equal to the bit on every machine. */
#ifndef CR_KERNELS_INT8_H
#define CR_KERNELS_INT8_H

#include "kernels/kernels.h"
#include "kernels/vec16.h"

/* The scale of row x[k], and in *factor what turns it into integers. */
CR_INLINE float cr_int8_scale(const float *x, size_t k, float *factor) {
    v16 most = v16_zero();
    for (size_t i = 0; i < k; i += CR_PANEL) {
        v16 v = v16_load(x + i);
        most = v16_max(most, v16_max(v, v16_sub(v16_zero(), v)));
    }
    float max = v16_max_lane(most);
    *factor = max > 0 ? 127 / max : 0;
    /* So small a row that the factor overflows is as good as zero. */
    if (!(*factor <= 1e30f))
        *factor = 0;
    return max / 127;
}

/* The same for one column of a panel, whose terms are 16 floats apart. */
static inline float cr_int8_column_scale(const float *x, size_t k,
                                         float *factor) {
    float max = 0;
    for (size_t i = 0; i < k; i++)
        max = fmaxf(max, fabsf(x[i * CR_PANEL]));
    *factor = max > 0 ? 127 / max : 0;
    if (!(*factor <= 1e30f))
        *factor = 0;
    return max / 127;
}

static inline int8_t cr_int8_of(float x, float factor) {
    return (int8_t)rintf(x * factor);
}

/* Sums to floats: (sum - offset) * (row scale * column scale) + bias. */
CR_INLINE v16 cr_int8_finish(const cr_gemm *g, size_t row, size_t column,
                             v16i sum) {
    v16i exact = v16i_sub(sum, v16i_load(g->b.offsets + column));
    v16 scale =
        v16_mul(v16_set(g->a_scales[row]), v16_load(g->b.scales + column));
    return v16_fma(v16i_to_float(exact), scale, v16_load(g->b.bias + column));
}

#endif
