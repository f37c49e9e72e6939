/* The tile of float32: a turn is one term, added by a fused multiply-add. */
#ifndef CR_KERNELS_TILE_F32_H
#define CR_KERNELS_TILE_F32_H

#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 4 };

typedef v16 cr_terms;

CR_INLINE v16 load_terms(const char *b) {
    return v16_load((const float *)(const void *)b);
}
CR_INLINE v16 spread_terms(const char *a) {
    float x;
    memcpy(&x, a, sizeof x);
    return v16_set(x);
}
CR_INLINE v16 add_products(v16 sum, v16 a, v16 b) { return v16_fma(a, b, sum); }

#include "kernels/tile_add.h"

#endif
