/* The bf16 matrix product on AMX: 16 x 16 sums of 32 terms an instruction.
 *
 * The instruction adds a tile's even and its odd terms apart, treats subnormal
 * numbers as zero and only then adds both to the sum, so its bits are its own;
 * they depend on a pair alone. */
#include "kernels/bf16_pairs.h"
#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2 };

#define tile_dot(c, a, b) tile_dot_bf16(c, a, b)

#include "kernels/amx_passes.h"

CR_GEMM_OPS(gemm_bf16_amx, true);
