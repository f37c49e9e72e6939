/* The int8 matrix product on NEON's dot products: four terms a lane and
 * instruction, both signed. The integers are those of gemm_int8.c. */

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 0 };

#include "kernels/int8_rows.h"
#include "kernels/sums_int32.h"

CR_INLINE v16i add_products(v16i sum, v16i a, v16i b) {
    CR_UNROLL
    for (size_t i = 0; i < 4; i++)
        sum.q[i] = vdotq_s32(sum.q[i], vreinterpretq_s8_s32(a.q[i]),
                             vreinterpretq_s8_s32(b.q[i]));
    return sum;
}

#include "kernels/tile_words.h"
#include "kernels/gemm_passes.h"

CR_GEMM_OPS(gemm_int8_dotprod, true);
