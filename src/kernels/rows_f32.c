/* Work on single rows: layer norm, embedding, and the functions by themselves.
 *
 * Sums over a row keep 16 partial sums, lane by lane, and halve them at the
 * end; that order is part of the result. */
#include "kernels/isa.h"
#include "kernels/math16.h"

/* Normalizes n rows of x, g->ld apart, into out; see cr_layer_norm. Rows go
 * side by side, because in each the terms of a sum wait for each other. */
CR_INLINE void normalize(const cr_layer_norm *g, const float *x, float *out,
                         const size_t n) {
    const size_t width = g->width, ld = g->ld;
    v16 mean[CR_CHAINS], sum[CR_CHAINS], scale[CR_CHAINS];
    CR_UNROLL
    for (size_t r = 0; r < n; r++)
        sum[r] = v16_zero();
    for (size_t i = 0; i < width; i += CR_PANEL) {
        CR_UNROLL
        for (size_t r = 0; r < n; r++)
            sum[r] = v16_add(sum[r], v16_load(x + r * ld + i));
    }
    CR_UNROLL
    for (size_t r = 0; r < n; r++) {
        mean[r] = v16_set(v16_sum(sum[r]) / (float)width);
        sum[r] = v16_zero();
    }
    for (size_t i = 0; i < width; i += CR_PANEL) {
        CR_UNROLL
        for (size_t r = 0; r < n; r++) {
            v16 d = v16_sub(v16_load(x + r * ld + i), mean[r]);
            if (width - i < CR_PANEL)
                d = v16_first(width - i, d, v16_zero());
            sum[r] = v16_fma(d, d, sum[r]);
        }
    }
    CR_UNROLL
    for (size_t r = 0; r < n; r++) {
        float variance = v16_sum(sum[r]) / (float)width;
        scale[r] = v16_set(1 / sqrtf(variance + g->eps));
    }
    for (size_t i = 0; i < width; i += CR_PANEL) {
        v16 gain = v16_load(g->gain + i), bias = v16_load(g->bias + i);
        CR_UNROLL
        for (size_t r = 0; r < n; r++) {
            v16 d = v16_sub(v16_load(x + r * ld + i), mean[r]);
            v16_store(out + r * ld + i,
                      v16_fma(v16_mul(d, scale[r]), gain, bias));
        }
    }
}

void CR_ISA_NAME(layer_norm)(const cr_layer_norm *g) {
    size_t row = 0;
    for (; row + CR_CHAINS <= g->m; row += CR_CHAINS)
        normalize(g, g->x + row * g->ld, g->out + row * g->ld, CR_CHAINS);
    for (; row < g->m; row++)
        normalize(g, g->x + row * g->ld, g->out + row * g->ld, 1);
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
        normalize(&g->norm, out, out, 1);
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
