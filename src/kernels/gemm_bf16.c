/* The bf16 matrix product on float32 instructions.
 *
 * Both factors are rounded to bfloat16 (nearest, ties to even); products of
 * those are exact in float32, and sums are fused as in the fp32 product. Gains
 * memory, not speed: the same numbers, near enough, as machines with bf16
 * instructions have. Activations stay in float32 form, weights in 16 bits. */
#include "kernels/bf16.h"
#include "kernels/terms_f32.h"

enum { CR_B_BYTES = 2 };

CR_INLINE v16 load_terms(const char *b) {
    return v16_from_bf16((const uint16_t *)(const void *)b);
}

#include "kernels/tile_add.h"
#include "kernels/gemm_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    (void)scales;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++)
            ((float *)a)[i * k + j] = cr_bf16_widen(cr_bf16_of(x[i * ld + j]));
}

static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    (void)scales;
    (void)sums;
    (void)offsets;
    for (size_t i = 0; i < k * n; i++)
        ((uint16_t *)packed)[i] = cr_bf16_of(panels[i]);
}

CR_GEMM_OPS(gemm_bf16, false);
