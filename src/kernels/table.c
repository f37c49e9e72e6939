/* The operation table of the instruction set that this is compiled for. */
#include "kernels/isa.h"

const cr_kernels CR_ISA_NAME(kernels) = {
    .name = CR_ISA_TEXT,
#if defined(CR_ISA_base)
    .fused = false,
#else
    .fused = true,
#endif
    .gemm = {[CR_FP32] = &CR_ISA_NAME(gemm_f32),
             [CR_BF16] = &CR_ISA_NAME(gemm_bf16),
             [CR_INT8] = &CR_ISA_NAME(gemm_int8)},
    .attention = {[CR_FP32] = &CR_ISA_NAME(attention_f32),
                  [CR_BF16] = &CR_ISA_NAME(attention_f32),
                  [CR_INT8] = &CR_ISA_NAME(attention_bf16)},
    .layer_norm = CR_ISA_NAME(layer_norm),
    .embedding = CR_ISA_NAME(embedding),
    .map = CR_ISA_NAME(map),
    .exp2 = CR_ISA_NAME(exp2),
};
