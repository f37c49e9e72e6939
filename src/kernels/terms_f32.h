/* Terms of a tile as float32, one a turn, added by a fused multiply-add. The
 * including file says how they are loaded from a panel. */
#ifndef CR_KERNELS_TERMS_F32_H
#define CR_KERNELS_TERMS_F32_H

#include "kernels/sums_f32.h"

enum { CR_A_BYTES = 4 };

typedef v16 cr_terms;

CR_INLINE v16 spread_terms(const char *a) {
    float x;
    memcpy(&x, a, sizeof x);
    return v16_set(x);
}
CR_INLINE v16 add_products(v16 sum, v16 a, v16 b) { return v16_fma(a, b, sum); }

#endif
