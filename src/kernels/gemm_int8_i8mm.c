/* The int8 matrix product on NEON's small matrix products: two rows by two
 * columns of eight terms an instruction.
 *
 * Its sums are squares, {row 0, columns 0 and 1; row 1, the same}; they are
 * put together before the terms of a step and taken apart after, so a step is
 * long. The integers are those of gemm_int8.c. */
#include "kernels/tile.h"

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 8, CR_SHIFT = 0 };

#define CR_K_STEP 192

#include "kernels/int8_rows.h"
#include "kernels/sums_int32.h"

enum { ROW_PAIRS = (CR_ROWS + 1) / 2, COLUMN_PAIRS = CR_PANEL / 2 };

typedef int32x4_t squares[ROW_PAIRS][COLUMN_PAIRS];

CR_INLINE int32x4_t lower_halves(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_s64(
        vzip1q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}
CR_INLINE int32x4_t upper_halves(int32x4_t a, int32x4_t b) {
    return vreinterpretq_s32_s64(
        vzip2q_s64(vreinterpretq_s64_s32(a), vreinterpretq_s64_s32(b)));
}

/* A last row without a partner has zeros beside it. */
CR_INLINE void join_rows(const size_t rows, v16i sum[CR_ROWS][CR_PANELS],
                         squares s) {
    CR_UNROLL
    for (size_t i = 0; i < rows; i += 2) {
        v16i first = sum[i][0],
             second = i + 1 < rows ? sum[i + 1][0] : v16i_zero();
        CR_UNROLL
        for (size_t q = 0; q < 4; q++) {
            s[i / 2][2 * q] = lower_halves(first.q[q], second.q[q]);
            s[i / 2][2 * q + 1] = upper_halves(first.q[q], second.q[q]);
        }
    }
}

CR_INLINE void part_rows(const size_t rows, squares s,
                         v16i sum[CR_ROWS][CR_PANELS]) {
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t q = 0; q < 4; q++) {
            int32x4_t left = s[i / 2][2 * q], right = s[i / 2][2 * q + 1];
            sum[i][0].q[q] =
                i % 2 ? upper_halves(left, right) : lower_halves(left, right);
        }
    }
}

/* Eight terms of two rows. */
CR_INLINE int8x16_t load_rows(const char *a, size_t a_step, bool two) {
    int8x8_t first = vld1_s8((const int8_t *)a);
    return vcombine_s8(first, two ? vld1_s8((const int8_t *)(a + a_step))
                                  : vdup_n_s8(0));
}

CR_INLINE void tile_add(const cr_tile *t, const size_t rows,
                        const size_t panels, v16i sum[CR_ROWS][CR_PANELS]) {
    (void)panels; /* one: CR_PANELS */
    const char *b = t->b;
    squares s;
    join_rows(rows, sum, s);
    for (size_t k = 0; k < t->k;
         k += CR_LANE_TERMS, b += CR_LANE_TERMS * CR_PANEL) {
        int8x16_t x[ROW_PAIRS];
        CR_UNROLL
        for (size_t i = 0; i < rows; i += 2)
            x[i / 2] =
                load_rows(t->a + i * t->a_step + k, t->a_step, i + 1 < rows);
        CR_UNROLL
        for (size_t j = 0; j < COLUMN_PAIRS; j++) {
            int8x16_t columns = vld1q_s8((const int8_t *)b + 16 * j);
            CR_UNROLL
            for (size_t i = 0; i < rows; i += 2)
                s[i / 2][j] = vmmlaq_s32(s[i / 2][j], x[i / 2], columns);
        }
    }
    part_rows(rows, s, sum);
}

#include "kernels/gemm_passes.h"

CR_GEMM_OPS(gemm_int8_i8mm, true);
