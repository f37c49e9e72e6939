/* int8: how numbers become integers, in every table alike.
 *
 * A weight's column has one scale, max / 127, and integers of +-127. An
 * activation's row has a scale and a zero: its range, which includes 0, is cut
 * into 255 steps and becomes -128 to 127, since what comes from GELU or layer
 * norm lies on one side. A row's integers depend on that row alone. Rounding
 * is to nearest, ties to even. Integers are exact, and they are turned back by
 * the same operations in the same order, so int8 scores are equal to the bit
 * on every machine.
 *
 * With x = s q - z and w = t r, row by column is s t sum(q r) - z t sum(r). */
#ifndef CR_KERNELS_INT8_H
#define CR_KERNELS_INT8_H

#include "kernels/kernels.h"
#include "kernels/vec16.h"

#include <float.h>

/* How the numbers of a row become integers: round(x * factor + shift). */
typedef struct cr_int8_row {
    float factor, shift;
} cr_int8_row;

enum { CR_INT8_LEAST = -128, CR_INT8_MOST = 127 };

/* The largest number of row x[k] and the least, 0 among them; NaN where one of
 * them is. Bits are compared, as NaN would not come out of a comparison of
 * floats: signed they are in the order of what is positive, unsigned in that of
 * the sizes of what is negative, with NaN beyond infinity in both. */
CR_INLINE void cr_int8_range(const float *x, size_t k, float *high,
                             float *low) {
    v16i most[CR_CHAINS], least[CR_CHAINS];
    CR_UNROLL
    for (size_t c = 0; c < CR_CHAINS; c++) {
        most[c] = v16i_zero();
        least[c] = v16i_set(INT32_MIN);
    }
    size_t i = 0;
    for (; i + CR_CHAINS * CR_PANEL <= k; i += CR_CHAINS * CR_PANEL) {
        CR_UNROLL
        for (size_t c = 0; c < CR_CHAINS; c++) {
            v16i v = v16i_load(x + i + c * CR_PANEL);
            most[c] = v16i_max(most[c], v);
            least[c] = v16i_umax(least[c], v);
        }
    }
    for (; i < k; i += CR_PANEL) {
        v16i v = v16i_load(x + i);
        most[0] = v16i_max(most[0], v);
        least[0] = v16i_umax(least[0], v);
    }
    CR_UNROLL
    for (size_t c = 1; c < CR_CHAINS; c++) {
        most[0] = v16i_max(most[0], most[c]);
        least[0] = v16i_umax(least[0], least[c]);
    }
    int32_t high_bits = v16i_max_lane(most[0]);
    uint32_t low_bits = v16i_umax_lane(least[0]);
    memcpy(high, &high_bits, sizeof high_bits);
    memcpy(low, &low_bits, sizeof low_bits);
}

/* The scale of row x[k]; that of a row with NaN or infinity is NaN, so that
 * whatever is multiplied by the row is. */
CR_INLINE cr_int8_row cr_int8_scale(const float *x, size_t k,
                                    cr_row_scale *scale) {
    float high, low;
    cr_int8_range(x, k, &high, &low);
    float range = high - low;
    if (!(range <= FLT_MAX)) {
        *scale = (cr_row_scale){NAN, 0};
        return (cr_int8_row){0, 0};
    }
    float factor = range > 0 ? 255 / range : 0;
    /* So small a row that the factor overflows is as good as zero. */
    if (!(factor <= 1e30f))
        factor = 0;
    float shift = factor > 0 ? CR_INT8_LEAST - rintf(low * factor) : 0;
    float step = factor > 0 ? range / 255 : 0;
    *scale = (cr_row_scale){step, step * shift};
    return (cr_int8_row){factor, shift};
}

/* Sixteen numbers of the row at x in steps, to be rounded. */
CR_INLINE v16 cr_int8_steps(const float *x, cr_int8_row row) {
    return v16_add(v16_mul(v16_load(x), v16_set(row.factor)),
                   v16_set(row.shift));
}

/* Sixteen integers of the row at x. */
CR_INLINE v16i cr_int8_of_row(const float *x, cr_int8_row row) {
    v16 y = v16_max(cr_int8_steps(x, row), v16_set(CR_INT8_LEAST));
    return v16_to_int(v16_min(y, v16_set(CR_INT8_MOST)));
}

/* The scale of one column of a panel, whose terms are 16 floats apart, and in
 * *factor what turns them into integers. */
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

/* Sums to floats: (sum - offset) * (row scale * column scale) + bias - zero *
 * column sum. */
CR_INLINE v16 cr_int8_finish(const cr_gemm *g, size_t row, size_t column,
                             v16i sum, const bool shifted) {
    v16i exact =
        shifted ? v16i_sub(sum, v16i_load(g->b.offsets + column)) : sum;
    v16 scale = v16_mul(v16_set(g->a_scales[row].scale),
                        v16_load(g->b.scales + column));
    v16 rest =
        v16_fma(v16_set(-g->a_scales[row].zero), v16_load(g->b.sums + column),
                v16_load(g->b.bias + column));
    return v16_fma(v16i_to_float(exact), scale, rest);
}

#endif
