/* fp32 attention: queries and values are read where they are. */
#include "kernels/math16.h"
#include "kernels/tile_f32.h"

#include "kernels/attention_rows.h"

CR_INLINE v16 words_of(const float *row) { return v16_load(row); }

static const char *take_queries(const head *h, size_t row, size_t rows,
                                size_t *step) {
    (void)rows;
    *step = h->g->ld_qkv * sizeof *h->queries;
    return (const char *)(h->queries + row * h->g->ld_qkv);
}

static void take_values(head *h) {
    h->value_words = h->values;
    h->value_step = h->g->ld_qkv * sizeof *h->values;
}

CR_INLINE v16 weight_of(v16 score, v16 factor, v16 shift) {
    return v16_exp2(v16_fma(score, factor, shift));
}

CR_INLINE void put_weights(float *row, size_t i, v16 x) {
    v16_store(row + i, x);
}

const cr_attention_ops CR_ISA_NAME(attention_f32) = {
    .reads = CR_RESULT_FP32, .terms = CR_PANEL, .run = attend};
