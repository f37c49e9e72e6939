/* The fp32 matrix product: each sum adds its terms in the order of k, fused. */
#include "kernels/tile.h"

enum { CR_A_BYTES = 4, CR_B_BYTES = 4 };

typedef v16 cr_sum;

CR_INLINE v16 sum_zero(void) { return v16_zero(); }
CR_INLINE v16 sum_load(const float *c) { return v16_load(c); }
CR_INLINE void sum_store(float *c, v16 sum) { v16_store(c, sum); }

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

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16 sum) {
    (void)row;
    return v16_add(sum, v16_load(g->b.bias + column));
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

const cr_gemm_ops CR_ISA_NAME(gemm_f32) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
