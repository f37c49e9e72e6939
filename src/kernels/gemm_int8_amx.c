/* The int8 matrix product on AMX: 16 x 16 sums of 64 terms an instruction.
 *
 * The integers are those of every other table, and so are the floats. */

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_LANE_TERMS = 4, CR_SHIFT = 128 };

#include "kernels/int8_bytes.h"
#include "kernels/sums_int32.h"

#define tile_dot(c, a, b) tile_dot_int8(c, a, b)

#include "kernels/amx_passes.h"

CR_GEMM_OPS(gemm_int8_amx, true);
