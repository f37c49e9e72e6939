/* The fp32 matrix product: each sum adds its terms in the order of k, fused. */
#include "kernels/sums_f32.h"
#include "kernels/tile.h"

enum { CR_A_BYTES = 4, CR_B_BYTES = 4 };

CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    cr_tile f = {.a = (const float *)(const void *)t->a,
                 .lda = t->a_step / sizeof(float),
                 .b = (const float *)(const void *)t->b,
                 .panel_step = t->panel_step / sizeof(float),
                 .row_step = CR_PANEL,
                 .k = t->k};
    cr_tile_add(&f, rows, panels, sum);
}

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
