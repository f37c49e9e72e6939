/* The bf16 matrix product on float32 instructions.
 *
 * Both factors are rounded to bfloat16 (nearest, ties to even); products of
 * those are exact in float32, and sums are fused as in the fp32 product. Gains
 * memory, not speed: the same numbers, near enough, as machines with bf16
 * instructions have. Activations stay in float32 form, weights in 16 bits. */
#include "kernels/bf16.h"
#include "kernels/sums_f32.h"
#include "kernels/tile.h"

enum { CR_A_BYTES = 4, CR_B_BYTES = 2 };

CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    CR_NO_UNROLL
    for (size_t k = 0; k < t->k; k++, b += CR_PANEL * CR_B_BYTES) {
        v16 column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            column[j] = v16_from_bf16(
                (const uint16_t *)(const void *)(b +
                                                 cr_panel_or_first(j, panels) *
                                                     t->panel_step));
        CR_UNROLL
        for (size_t i = 0; i < rows; i++) {
            const float *a =
                (const float *)(const void *)(t->a + i * t->a_step);
            v16 x = v16_set(a[k]);
            CR_UNROLL
            for (size_t j = 0; j < panels; j++)
                sum[i][j] = v16_fma(x, column[j], sum[i][j]);
        }
    }
}

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
