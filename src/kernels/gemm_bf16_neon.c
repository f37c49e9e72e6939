/* The bf16 matrix product on NEON's bfdot: two terms a lane and instruction.
 *
 * The instruction rounds to odd and treats subnormal numbers as zero, so its
 * bits are its own; they depend on a pair alone. */
#include "kernels/bf16_pairs.h"
#include "kernels/bf16_rows.h"
#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2 };

CR_INLINE v16 add_products(v16 sum, v16i a, v16i b) {
    CR_UNROLL
    for (size_t i = 0; i < 4; i++)
        sum.q[i] = vbfdotq_f32(sum.q[i], vreinterpretq_bf16_s32(a.q[i]),
                               vreinterpretq_bf16_s32(b.q[i]));
    return sum;
}

#include "kernels/tile_words.h"
#include "kernels/gemm_passes.h"

CR_GEMM_OPS(gemm_bf16_neon, true);
