/* The int8 matrix product on VNNI: four terms a lane and instruction. The
 * integers are those of gemm_int8.c. */
#include "kernels/tile.h"

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 128 };

#include "kernels/int8_bytes.h"

typedef v16i cr_sum;

CR_INLINE v16i sum_zero(void) { return v16i_zero(); }
CR_INLINE v16i sum_load(const float *c) { return v16i_load(c); }
CR_INLINE void sum_store(float *c, v16i sum) { v16i_store(c, sum); }

CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16i sum[CR_ROWS][CR_PANELS]) {
    const char *b = t->b;
    CR_NO_UNROLL
    for (size_t k = 0; k < t->k;
         k += CR_LANE_TERMS, b += CR_LANE_TERMS * CR_PANEL) {
        v16i column[CR_PANELS];
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            column[j] =
                v16i_load(b + cr_panel_or_first(j, panels) * t->panel_step);
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

const cr_gemm_ops CR_ISA_NAME(gemm_int8_vnni) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
