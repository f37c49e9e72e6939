/* Activations as rows of bytes. */
#ifndef CR_KERNELS_INT8_ROWS_H
#define CR_KERNELS_INT8_ROWS_H

#include "kernels/int8_bytes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    for (size_t row = 0; row < m; row++) {
        const float *from = x + row * ld;
        uint8_t *to = (uint8_t *)a + row * k;
        cr_int8_row how = cr_int8_scale(from, k, &scales[row]);
        for (size_t i = 0; i < k; i += CR_PANEL)
            store_bytes(to + i, from + i, how);
    }
}

#endif
