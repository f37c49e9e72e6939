/* The int8 matrix product on VNNI: four terms a lane and instruction.
 *
 * The instruction takes unsigned activations, so they are stored 128 too
 * large; what that adds to a column's sums is known when its weights are
 * packed, and taken away at the end. The integers are those of gemm_int8.c. */
#include "kernels/tile.h"

#include "kernels/int8.h"

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 128 };

typedef v16i cr_sum;

CR_INLINE v16i sum_zero(void) { return v16i_zero(); }
CR_INLINE v16i sum_load(const float *c) { return v16i_load(c); }
CR_INLINE void sum_store(float *c, v16i sum) { v16i_store(c, sum); }

CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16i sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    for (size_t k = 0; k < t->k;
         k += CR_LANE_TERMS, b += CR_LANE_TERMS * CR_PANEL) {
        v16i column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            column[j] = v16i_load(b + j * t->panel_step);
        CR_UNROLL
        for (size_t i = 0; i < rows; i++) {
            int32_t four;
            memcpy(&four, t->a + i * t->a_step + k, sizeof four);
            v16i x = v16i_set(four);
            CR_UNROLL
            for (size_t j = 0; j < panels; j++)
                sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], x, column[j]);
        }
    }
}

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16i sum) {
    return cr_int8_finish(g, row, column, sum);
}

#include "kernels/gemm_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    float *scales) {
    for (size_t row = 0; row < m; row++) {
        const float *from = x + row * ld;
        uint8_t *to = (uint8_t *)a + row * k;
        float factor;
        scales[row] = cr_int8_scale(from, k, &factor);
        for (size_t i = 0; i < k; i += CR_PANEL) {
            int32_t q[CR_PANEL];
            v16i_store(
                q, v16_to_int(v16_mul(v16_load(from + i), v16_set(factor))));
            for (size_t lane = 0; lane < CR_PANEL; lane++)
                to[i + lane] = (uint8_t)(q[lane] + CR_SHIFT);
        }
    }
}

/* Panels of [k / 4][16][4]. */
static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, int32_t *offsets) {
    for (size_t column = 0; column < n; column++) {
        size_t lane = column % CR_PANEL;
        const float *from = panels + (column - lane) * k + lane;
        int8_t *to = (int8_t *)packed + (column - lane) * k;
        float factor;
        scales[column] = cr_int8_column_scale(from, k, &factor);
        offsets[column] = 0;
        for (size_t i = 0; i < k; i++) {
            int8_t q = cr_int8_of(from[i * CR_PANEL], factor);
            to[(i / CR_LANE_TERMS * CR_PANEL + lane) * CR_LANE_TERMS +
               i % CR_LANE_TERMS] = q;
            offsets[column] += CR_SHIFT * q;
        }
    }
}

const cr_gemm_ops CR_ISA_NAME(gemm_int8_vnni) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
