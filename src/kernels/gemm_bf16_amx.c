/* The bf16 matrix product on AMX: 16 x 16 sums of 32 terms an instruction.
 *
 * The instruction adds a tile's even and its odd terms apart, treats subnormal
 * numbers as zero and only then adds both to the sum, so its bits are its own;
 * they depend on a pair alone. */
#include "kernels/bf16_pairs.h"
#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 2, CR_B_BYTES = 2, CR_BLOCK = 256 };

#define tile_dot(c, a, b) tile_dot_bf16(c, a, b)

#include "kernels/amx_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    (void)scales;
    for (size_t i = 0; i < m; i++) {
        uint16_t *to = row_of_tiles(a, i, k);
        for (size_t j = 0; j < k; j += TILE_TERMS, to += TILE_WHOLE / 2) {
            const float *from = x + i * ld + j;
            v16_store_bf16(to, v16_load(from),
                           k - j > CR_PANEL ? v16_load(from + CR_PANEL)
                                            : v16_zero());
        }
    }
}

CR_GEMM_OPS(gemm_bf16_amx, true);
