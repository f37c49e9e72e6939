/* The tile whose panels are float32. */
#ifndef CR_KERNELS_TILE_F32_H
#define CR_KERNELS_TILE_F32_H

#include "kernels/terms_f32.h"

CR_INLINE v16 load_terms(const char *b) {
    return v16_load((const float *)(const void *)b);
}

#include "kernels/tile_add.h"

#endif
