/* int8 as bytes: what instructions read that multiply many terms at once.
 *
 * Terms of a column lie next to each other in groups, as many as an
 * instruction adds up. VNNI takes unsigned activations, which are stored that
 * much too large; what it adds to a column's sums is known when its weights are
 * packed, and taken away at the end.
 *
 * The including file defines, before inclusion:
 *   CR_LANE_TERMS   terms of a group
 *   CR_SHIFT        what is added to activations: 128, or 0 */
#ifndef CR_KERNELS_INT8_BYTES_H
#define CR_KERNELS_INT8_BYTES_H

#include "kernels/int8.h"

/* Sixteen activations of a row as bytes. */
CR_INLINE void store_bytes(uint8_t *to, const float *from, cr_int8_row how) {
    int32_t q[CR_PANEL];
    v16i_store(q, cr_int8_of_row(from, how));
    for (size_t lane = 0; lane < CR_PANEL; lane++)
        to[lane] = (uint8_t)(q[lane] + CR_SHIFT);
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
