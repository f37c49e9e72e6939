/* What all ways through a product have in common at its end. */
#ifndef CR_KERNELS_GEMM_FINISH_H
#define CR_KERNELS_GEMM_FINISH_H

#include "kernels/isa.h"
#include "kernels/math16.h"

/* Narrow products are followed by a rounding that sees no better GELU. */
CR_INLINE v16 finish_epilogue(v16 x, const cr_epilogue epilogue) {
    return CR_B_BYTES < sizeof(float) ? cr_epilogue_apply_short(x, epilogue)
                                      : cr_epilogue_apply(x, epilogue);
}

/* What a file of a product gives to its table (kernels.h). */
#define CR_GEMM_OPS(name, is_fast)                                             \
    const cr_gemm_ops CR_ISA_NAME(name) = {                                    \
        .fast = is_fast,                                                       \
        .apart = CR_SUMS_APART,                                                \
        .row_step = CR_ROW_STEP,                                               \
        .a_terms = CR_A_TERMS,                                                 \
        .a_bytes = CR_A_BYTES,                                                 \
        .b_bytes = CR_B_BYTES,                                                 \
        .block = CR_BLOCK,                                                     \
        .cut = CR_CUT,                                                         \
        .convert = convert,                                                    \
        .pack = pack,                                                          \
        .run = run_passes,                                                     \
    }

#endif
