/* The int8 matrix product on 16-bit multiply-adds.
 *
 * Integers of 8 bits are kept in 16, because the 8-bit multiply-add of AVX2
 * saturates: two products of 128 times 127 in a 32-bit sum are always exact.
 * Twice the terms an instruction that fp32 has. */
enum { CR_A_BYTES = 2, CR_B_BYTES = 2, CR_SHIFT = 0 };

#include "kernels/sums_int32.h"

CR_INLINE v16i add_products(v16i sum, v16i a, v16i b) {
    return v16i_dot2(sum, a, b);
}

#include "kernels/tile_words.h"
#include "kernels/gemm_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    for (size_t row = 0; row < m; row++) {
        const float *from = x + row * ld;
        int16_t *to = (int16_t *)a + row * k;
        cr_int8_row how = cr_int8_scale(from, k, &scales[row]);
        for (size_t i = 0; i < k; i += CR_PANEL) {
            int32_t q[CR_PANEL];
            v16i_store(q, cr_int8_of_row(from + i, how));
            for (size_t lane = 0; lane < CR_PANEL; lane++)
                to[i + lane] = (int16_t)q[lane];
        }
    }
}

/* Panels of [k / 2][16][2]. */
static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    for (size_t column = 0; column < n; column += CR_PANEL) {
        const float *panel = panels + column * k;
        int16_t *to = (int16_t *)packed + column * k;
        for (size_t lane = 0; lane < CR_PANEL; lane++) {
            float factor;
            scales[column + lane] =
                cr_int8_column_scale(panel + lane, k, &factor);
            int32_t sum = 0;
            for (size_t i = 0; i < k; i++) {
                int8_t q = cr_int8_of(panel[i * CR_PANEL + lane], factor);
                to[i / 2 * 2 * CR_PANEL + lane * 2 + i % 2] = q;
                sum += q;
            }
            offsets[column + lane] = 0;
            sums[column + lane] = (float)sum * scales[column + lane];
        }
    }
}

#if defined(CR_ISA_avx2) || defined(CR_ISA_avx512)
CR_GEMM_OPS(gemm_int8, true);
#else
CR_GEMM_OPS(gemm_int8, false);
#endif
