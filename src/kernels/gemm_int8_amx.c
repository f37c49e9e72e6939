/* The int8 matrix product on AMX: 16 x 16 sums of 64 terms an instruction.
 *
 * The integers are those of every other table, and so are the floats. */
#include "kernels/vec16.h"

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 128 };

#include "kernels/int8_bytes.h"

#define tile_dot(c, a, b) tile_dot_int8(c, a, b)

CR_INLINE v16i sum_load(const float *c) { return v16i_load(c); }

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16i sum) {
    return cr_int8_finish(g, row, column, sum);
}

#include "kernels/amx_passes.h"

const cr_gemm_ops CR_ISA_NAME(gemm_int8_amx) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
