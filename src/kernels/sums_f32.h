/* Sums of a matrix product in float32, to which a bias is added. */
#ifndef CR_KERNELS_SUMS_F32_H
#define CR_KERNELS_SUMS_F32_H

#include "kernels/kernels.h"
#include "kernels/vec16.h"

typedef v16 cr_sum;

CR_INLINE cr_sum sum_zero(void) { return v16_zero(); }
CR_INLINE cr_sum sum_load(const float *c) { return v16_load(c); }
CR_INLINE void sum_store(float *c, cr_sum sum) { v16_store(c, sum); }

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          cr_sum sum) {
    (void)row;
    return v16_add(sum, v16_load(g->b.bias + column));
}

#endif
