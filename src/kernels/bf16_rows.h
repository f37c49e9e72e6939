/* Activations as rows of bfloat16. */
#ifndef CR_KERNELS_BF16_ROWS_H
#define CR_KERNELS_BF16_ROWS_H

#include "kernels/bf16.h"
#include "kernels/kernels.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    (void)scales;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++)
            ((uint16_t *)a)[i * k + j] = cr_bf16_of(x[i * ld + j]);
}

#endif
