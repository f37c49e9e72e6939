/* bf16 attention on AVX512-BF16: queries, keys, values and weights are rounded
 * to bfloat16 and multiplied in pairs of terms.
 *
 * The instruction's order of sums is its own, so the bits are not those of
 * attention_bf16.c; they depend on a sequence alone. */
#include "kernels/attention_weights.h"
#include "kernels/bf16_avx512.h"
#include "kernels/tile_bf16_avx512.h"

#include "kernels/attention_rows.h"

CR_INLINE v16 words_of(const float *row) {
    v16 words;
    v16_store_bf16((uint16_t *)&words, v16_load(row), v16_load(row + CR_PANEL));
    return words;
}

static const char *take_queries(const head *h, size_t row, size_t rows,
                                size_t *step) {
    const size_t width = h->g->head_width, ld = h->g->ld_qkv;
    const float *from = h->queries + row * ld;
    uint16_t *to = (uint16_t *)h->rest;
    for (size_t i = 0; i < rows; i++)
        for (size_t d = 0; d < width; d += TERMS * CR_PANEL)
            v16_store_bf16(to + i * width + d, v16_load(from + i * ld + d),
                           v16_load(from + i * ld + d + CR_PANEL));
    *step = width * sizeof *to;
    return (const char *)to;
}

/* Rows of words: a key's values low, those of the next high. */
static void take_values(head *h) {
    const size_t width = h->g->head_width, ld = h->g->ld_qkv;
    const size_t length = h->g->length;
    float *to = h->rest + CR_ROWS * width / TERMS;
    h->value_words = to;
    h->value_step = width * sizeof *to;
    for (size_t key = 0; key < length; key += TERMS) {
        const float *even = h->values + key * ld, *odd = even + ld;
        for (size_t d = 0; d < width; d += CR_PANEL, to += CR_PANEL)
            v16_store(to, v16_pair_bf16(v16_load(even + d),
                                        key + 1 < length ? v16_load(odd + d)
                                                         : v16_zero()));
    }
}

CR_INLINE v16 weight_of(v16 score, v16 factor, v16 shift) {
    return cr_weight(score, factor, shift);
}

/* Ends before what is still to be read of the row. */
CR_INLINE void put_weights(float *row, size_t i, v16 x) {
    v16_store_bf16_half((uint16_t *)row + i, x);
}

const cr_attention_ops CR_ISA_NAME(attention_bf16_avx512) = {
    .reads = CR_RESULT_FP32, .terms = CR_HEAD_TERMS, .run = attend};
