/* The int8 matrix product on VNNI: four terms a lane and instruction. The
 * integers are those of gemm_int8.c. */

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 128 };

#include "kernels/int8_rows.h"
#include "kernels/sums_int32.h"

CR_INLINE v16i add_products(v16i sum, v16i a, v16i b) {
    return _mm512_dpbusd_epi32(sum, a, b);
}

#include "kernels/tile_words.h"
#include "kernels/gemm_passes.h"

CR_GEMM_OPS(gemm_int8_vnni, true);
