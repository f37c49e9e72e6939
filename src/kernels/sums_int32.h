/* Sums of a matrix product in int32, which int8.h turns back to floats.
 *
 * The including file defines, before inclusion:
 *   CR_SHIFT   what activations are too large by, or 0 */
#ifndef CR_KERNELS_SUMS_INT32_H
#define CR_KERNELS_SUMS_INT32_H

#include "kernels/int8.h"

typedef v16i cr_sum;

CR_INLINE cr_sum sum_zero(void) { return v16i_zero(); }
CR_INLINE cr_sum sum_load(const float *c) { return v16i_load(c); }
CR_INLINE void sum_store(float *c, cr_sum sum) { v16i_store(c, sum); }

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          cr_sum sum) {
    return cr_int8_finish(g, row, column, sum, CR_SHIFT != 0);
}

#endif
