/* The fp32 matrix product: each sum adds its terms in the order of k, fused. */
#include "kernels/tile_f32.h"

enum { CR_B_BYTES = 4 };

#include "kernels/gemm_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    (void)scales;
    for (size_t i = 0; i < m; i++)
        memcpy((float *)a + i * k, x + i * ld, k * sizeof *x);
}

static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    (void)scales;
    (void)sums;
    (void)offsets;
    memcpy(packed, panels, k * n * sizeof *panels);
}

CR_GEMM_OPS(gemm_f32, true);
