/* int8 as bytes: what instructions read that multiply many terms at once.
 *
 * Terms of a column lie next to each other in groups, as many as an
 * instruction adds up. VNNI and AMX take unsigned activations, which are
 * stored that much too large; what it adds to a column's sums is known when
 * its weights are packed, and taken away at the end.
 *
 * The including file defines, before inclusion:
 *   CR_LANE_TERMS   terms of a group
 *   CR_SHIFT        what is added to activations: 128, or 0 */
#ifndef CR_KERNELS_INT8_BYTES_H
#define CR_KERNELS_INT8_BYTES_H

#include "kernels/int8.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    for (size_t row = 0; row < m; row++) {
        const float *from = x + row * ld;
        uint8_t *to = (uint8_t *)a + row * k;
        cr_int8_row how = cr_int8_scale(from, k, &scales[row]);
        for (size_t i = 0; i < k; i += CR_PANEL) {
            int32_t q[CR_PANEL];
            v16i_store(q, cr_int8_of_row(from + i, how));
            for (size_t lane = 0; lane < CR_PANEL; lane++)
                to[i + lane] = (uint8_t)(q[lane] + CR_SHIFT);
        }
    }
}

/* Panels of [k / CR_LANE_TERMS][16][CR_LANE_TERMS]. */
static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    for (size_t column = 0; column < n; column++) {
        size_t lane = column % CR_PANEL;
        const float *from = panels + (column - lane) * k + lane;
        int8_t *to = (int8_t *)packed + (column - lane) * k;
        float factor;
        scales[column] = cr_int8_column_scale(from, k, &factor);
        int32_t sum = 0;
        for (size_t i = 0; i < k; i++) {
            int8_t q = cr_int8_of(from[i * CR_PANEL], factor);
            to[(i / CR_LANE_TERMS * CR_PANEL + lane) * CR_LANE_TERMS +
               i % CR_LANE_TERMS] = q;
            sum += q;
        }
        offsets[column] = CR_SHIFT * sum;
        sums[column] = (float)sum * scales[column];
    }
}

#endif
