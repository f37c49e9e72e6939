/* The int8 matrix product on 16-bit multiply-adds.
 *
 * Integers of 8 bits are kept in 16, because the 8-bit multiply-add of AVX2
 * saturates: two products of 128 times 127 in a 32-bit sum are always exact.
 * Twice the terms an instruction that fp32 has. */
#include "kernels/tile.h"

#include "kernels/int8.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2 };

typedef v16i cr_sum;

CR_INLINE v16i sum_zero(void) { return v16i_zero(); }
CR_INLINE v16i sum_load(const float *c) { return v16i_load(c); }
CR_INLINE void sum_store(float *c, v16i sum) { v16i_store(c, sum); }

/* Two terms at a time: a lane of b holds a column's pair of weights. */
CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16i sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    for (size_t k = 0; k < t->k; k += 2, b += 2 * CR_PANEL * CR_B_BYTES) {
        v16i column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            column[j] =
                v16i_load(b + cr_panel_or_first(j, panels) * t->panel_step);
        CR_UNROLL
        for (size_t i = 0; i < rows; i++) {
            int32_t pair;
            memcpy(&pair, t->a + i * t->a_step + k * CR_A_BYTES, sizeof pair);
            v16i x = v16i_set(pair);
            CR_UNROLL
            for (size_t j = 0; j < panels; j++)
                sum[i][j] = v16i_dot2(sum[i][j], x, column[j]);
        }
    }
}

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16i sum) {
    return cr_int8_finish(g, row, column, sum);
}

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

const cr_gemm_ops CR_ISA_NAME(gemm_int8) = {
#if defined(CR_ISA_avx2) || defined(CR_ISA_avx512)
    .fast = true,
#else
    .fast = false,
#endif
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
