/* What becomes of finished sums: scale and bias, epilogue, residual.
 *
 * The including file defines, before inclusion:
 *   sum_load      16 sums of c as its type of sums
 *   finish_sums   16 sums of a row to 16 floats, before epilogue */
#ifndef CR_KERNELS_GEMM_FINISH_H
#define CR_KERNELS_GEMM_FINISH_H

#include "kernels/isa.h"
#include "kernels/math16.h"

/* In place, in `panels` panels from `column` on of row i of c. */
CR_INLINE void finish_row(const cr_gemm *g, size_t i, size_t column,
                          size_t panels) {
    for (size_t j = column; j < column + panels * CR_PANEL; j += CR_PANEL) {
        float *c = g->c + i * g->ldc + j;
        v16 x =
            cr_epilogue_apply(finish_sums(g, i, j, sum_load(c)), g->epilogue);
        if (g->residual)
            x = v16_add(x, v16_load(g->residual + i * g->ld_residual + j));
        v16_store(c, x);
    }
}

/* What a file of a product gives to its table (kernels.h). */
#define CR_GEMM_OPS(name, is_fast)                                             \
    const cr_gemm_ops CR_ISA_NAME(name) = {                                    \
        .fast = is_fast,                                                       \
        .a_bytes = CR_A_BYTES,                                                 \
        .b_bytes = CR_B_BYTES,                                                 \
        .convert = convert,                                                    \
        .pack = pack,                                                          \
        .run = run_passes,                                                     \
    }

#endif
