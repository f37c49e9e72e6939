/* Work on single rows: layer norm, embedding, and the functions by themselves.
 *
 * Sums over a row keep 16 partial sums, lane by lane, and halve them at the
 * end; that order is part of the result. */
#include "kernels/isa.h"
#include "kernels/math16.h"

/* Normalizes one row in place of x, into out; see cr_layer_norm. */
CR_INLINE void normalize(const cr_layer_norm *g, const float *x, float *out) {
    const size_t width = g->width;
    v16 sum = v16_zero();
    for (size_t i = 0; i < width; i += CR_PANEL)
        sum = v16_add(sum, v16_load(x + i));
    v16 mean = v16_set(v16_sum(sum) / (float)width);
    v16 squares = v16_zero();
    for (size_t i = 0; i < width; i += CR_PANEL) {
        v16 d = v16_sub(v16_load(x + i), mean);
        if (width - i < CR_PANEL)
            d = v16_first(width - i, d, v16_zero());
        squares = v16_fma(d, d, squares);
    }
    float variance = v16_sum(squares) / (float)width;
    v16 scale = v16_set(1 / sqrtf(variance + g->eps));
    for (size_t i = 0; i < width; i += CR_PANEL) {
        v16 d = v16_mul(v16_sub(v16_load(x + i), mean), scale);
        v16_store(out + i,
                  v16_fma(d, v16_load(g->gain + i), v16_load(g->bias + i)));
    }
}

void CR_ISA_NAME(layer_norm)(const cr_layer_norm *g) {
    for (size_t row = 0; row < g->m; row++)
        normalize(g, g->x + row * g->ld, g->out + row * g->ld);
}

void CR_ISA_NAME(embedding)(const cr_embedding *g) {
    const size_t ld = g->norm.ld;
    for (size_t row = 0; row < g->norm.m; row++) {
        const float *word = g->words + (size_t)g->ids[row] * ld;
        const float *type = g->types + (size_t)g->type_ids[row] * ld;
        const float *place = g->places + (size_t)g->positions[row] * ld;
        float *out = g->norm.out + row * ld;
        for (size_t i = 0; i < g->norm.width; i += CR_PANEL) {
            v16 x = v16_add(v16_load(word + i), v16_load(type + i));
            v16_store(out + i, v16_add(x, v16_load(place + i)));
        }
        normalize(&g->norm, out, out);
    }
}

void CR_ISA_NAME(map)(cr_epilogue epilogue, const float *x, float *y,
                      size_t n) {
    for (size_t i = 0; i < n; i += CR_PANEL)
        v16_store(y + i, cr_epilogue_apply(v16_load(x + i), epilogue));
}

void CR_ISA_NAME(exp2)(const float *x, float *y, size_t n) {
    for (size_t i = 0; i < n; i += CR_PANEL)
        v16_store(y + i, v16_exp2(v16_load(x + i)));
}
