/* The bf16 matrix product on AMX: 16 x 16 sums of 32 terms an instruction.
 *
 * The instruction adds a tile's even and its odd terms apart, treats subnormal
 * numbers as zero and only then adds both to the sum, so its bits are its own;
 * they depend on a pair alone. */
#include "kernels/vec16.h"

#include "kernels/bf16_pairs.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2 };

#define tile_dot(c, a, b) tile_dot_bf16(c, a, b)

CR_INLINE v16 sum_load(const float *c) { return v16_load(c); }

CR_INLINE v16 finish_sums(const cr_gemm *g, size_t row, size_t column,
                          v16 sum) {
    (void)row;
    return v16_add(sum, v16_load(g->b.bias + column));
}

#include "kernels/amx_passes.h"

const cr_gemm_ops CR_ISA_NAME(gemm_bf16_amx) = {
    .fast = true,
    .a_bytes = CR_A_BYTES,
    .b_bytes = CR_B_BYTES,
    .convert = convert,
    .pack = pack,
    .run = run_passes,
};
