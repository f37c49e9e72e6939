/* The bf16 matrix product on AVX512-BF16: two terms a lane and instruction.
 *
 * The instruction rounds after each of its two products and treats subnormal
 * numbers as zero, so its bits are its own; they depend on a pair alone. */
#include "kernels/tile.h"

#include "kernels/bf16_pairs.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2 };

typedef v16 cr_sum;

CR_INLINE v16 sum_zero(void) { return v16_zero(); }
CR_INLINE v16 sum_load(const float *c) { return v16_load(c); }
CR_INLINE void sum_store(float *c, v16 sum) { v16_store(c, sum); }

/* The same bits under the type that the instruction's name wants. */
CR_INLINE __m512bh pairs_of(v16i x) {
    __m512bh pairs;
    memcpy(&pairs, &x, sizeof pairs);
    return pairs;
}

CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
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
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], pairs_of(x),
                                             pairs_of(column[j]));
        }
    }
}

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16 sum) {
    (void)row;
    return v16_add(sum, v16_load(g->b.bias + column));
}

#include "kernels/gemm_passes.h"

const cr_gemm_ops CR_ISA_NAME(gemm_bf16_avx512) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
