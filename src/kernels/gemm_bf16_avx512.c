/* The bf16 matrix product on AVX512-BF16. */
#include "kernels/bf16_pairs.h"
#include "kernels/bf16_rows.h"
#include "kernels/tile_bf16_avx512.h"

enum { CR_B_BYTES = 2 };

#include "kernels/gemm_passes.h"

CR_GEMM_OPS(gemm_bf16_avx512, true);
