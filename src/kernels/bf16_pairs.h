/* bfloat16 in pairs of terms, two a 32-bit lane: AVX512-BF16, AMX, bfdot. */
#ifndef CR_KERNELS_BF16_PAIRS_H
#define CR_KERNELS_BF16_PAIRS_H

#include "kernels/bf16.h"
#include "kernels/kernels.h"

/* Panels of [k / 2][16][2]. */
static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    (void)scales;
    (void)sums;
    (void)offsets;
    for (size_t column = 0; column < n; column += CR_PANEL)
        for (size_t i = 0; i < k; i++)
            for (size_t lane = 0; lane < CR_PANEL; lane++)
                ((uint16_t *)packed)[column * k + i / 2 * 2 * CR_PANEL +
                                     lane * 2 + i % 2] =
                    cr_bf16_of(panels[column * k + i * CR_PANEL + lane]);
}

#endif
