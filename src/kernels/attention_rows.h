/* The way through attention, query rows at a time, for float32 and for pairs of
 * bfloat16.
 *
 * The keys of a head are turned into panels once, so that scores are the same
 * tile product as any other. The scores of CR_ROWS queries become weights in a
 * small buffer that stays in the nearest cache, and then weigh the values. The
 * full score matrix is never written. Softmax is float32.
 *
 * The including file includes a tile before this, and defines words_of,
 * take_queries, take_values, weight_of and put_weights after it. */
#ifndef CR_KERNELS_ATTENTION_ROWS_H
#define CR_KERNELS_ATTENTION_ROWS_H

#include "kernels/isa.h"
#include "kernels/tile.h"

_Static_assert((int)CR_ROWS <= (int)CR_MOST_ROWS, "the scratch is too small");

static size_t padded(size_t n) {
    return (n + CR_PANEL - 1) / CR_PANEL * CR_PANEL;
}

/* A head's work. A word is 32 bits: one term, or two. */
typedef struct head {
    const cr_attention *g;
    const float *queries, *keys, *values; /* [length][ld_qkv] */
    size_t column;                        /* of out */
    float *panels; /* the keys' words: [length / 16][width / TERMS][16] */
    float *scores; /* [CR_ROWS][length padded to 16]: weights at last */
    float *rest;   /* of the scratch */
    const float *value_words; /* [length / TERMS] rows of `width` */
    size_t value_step;        /* bytes from row to row of them */
} head;

enum { TERMS = sizeof(float) / CR_A_BYTES }; /* of a word */

/* Sixteen words of a row. */
CR_INLINE v16 words_of(const float *row);
/* Where query rows begin, and in *step the bytes from one to the next. */
static const char *take_queries(const head *h, size_t row, size_t rows,
                                size_t *step);
static void take_values(head *h);
/* 2^(factor score + shift), and nothing to speak of for -infinity. */
CR_INLINE v16 weight_of(v16 score, v16 factor, v16 shift);
/* Weights [i, i + 16) of a row of scores, all of which before i are weights. */
CR_INLINE void put_weights(float *row, size_t i, v16 x);

/* The keys as panels: [length / 16][width / TERMS][16] words; lanes beyond the
 * length are 0, so that their scores are finite before they are masked. */
static void turn_keys(const head *h) {
    const size_t length = h->g->length, ld = h->g->ld_qkv;
    float *to = h->panels;
    for (size_t first = 0; first < length; first += CR_PANEL) {
        size_t lanes = length - first < CR_PANEL ? length - first : CR_PANEL;
        const float *from = h->keys + first * ld;
        for (size_t d = 0; d < h->g->head_width; d += TERMS * CR_PANEL) {
            v16 x[CR_PANEL];
            CR_UNROLL
            for (size_t i = 0; i < CR_PANEL; i++)
                x[i] = i < lanes ? words_of(from + i * ld + d) : v16_zero();
            v16_turn(x);
            CR_UNROLL
            for (size_t i = 0; i < CR_PANEL; i++, to += CR_PANEL)
                v16_store(to, x[i]);
        }
    }
}

/* A tile's sums, from 0 on. */
CR_INLINE void sum_tile(const cr_tile *t, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            sum[i][j] = v16_zero();
    }
    tile_add(t, rows, panels, sum);
}

/* scores[rows][ld] of up to CR_PANELS panels of keys. */
CR_INLINE void score_tile(const cr_tile *t, float *scores, size_t ld,
                          const size_t rows, const size_t panels) {
    v16 sum[CR_ROWS][CR_PANELS];
    sum_tile(t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            v16_store(scores + i * ld + j * CR_PANEL, sum[i][j]);
    }
}

/* Scores of n rows to weights exp2(factor (s - max)), not yet divided by their
 * sums. Lanes beyond the length become nothing to speak of. Rows go side by
 * side, because each is a chain in which every operation waits for the one
 * before. */
CR_INLINE void weigh(float *scores, size_t ld, size_t length, float factor,
                     float *sums, const size_t n) {
    size_t end = padded(length), tail = length % CR_PANEL;
    v16 most[CR_LONG_CHAINS], shift[CR_LONG_CHAINS], sum[CR_LONG_CHAINS];
    CR_UNROLL
    for (size_t r = 0; r < n; r++) {
        float *last = scores + r * ld + end - CR_PANEL;
        if (tail)
            v16_store(last,
                      v16_first(tail, v16_load(last), v16_set(-INFINITY)));
        most[r] = v16_load(scores + r * ld);
    }
    for (size_t i = CR_PANEL; i < end; i += CR_PANEL) {
        CR_UNROLL
        for (size_t r = 0; r < n; r++)
            most[r] = v16_max(most[r], v16_load(scores + r * ld + i));
    }
    CR_UNROLL
    for (size_t r = 0; r < n; r++) {
        shift[r] = v16_set(-v16_max_lane(most[r]) * factor);
        sum[r] = v16_zero();
    }
    v16 times = v16_set(factor);
    for (size_t i = 0; i < end; i += CR_PANEL) {
        CR_UNROLL
        for (size_t r = 0; r < n; r++) {
            float *at = scores + r * ld + i;
            v16 x = weight_of(v16_load(at), times, shift[r]);
            sum[r] = v16_add(sum[r], x);
            put_weights(scores + r * ld, i, x);
        }
    }
    CR_UNROLL
    for (size_t r = 0; r < n; r++)
        sums[r] = v16_sum(sum[r]);
}

/* out[rows][ld_out] of up to CR_PANELS panels of the values. */
CR_INLINE void value_tile(const cr_tile *t, const float *sums, float *out,
                          size_t ld_out, const size_t rows,
                          const size_t panels) {
    v16 sum[CR_ROWS][CR_PANELS];
    sum_tile(t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        v16 share = v16_set(1 / sums[i]);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            v16_store(out + i * ld_out + j * CR_PANEL,
                      v16_mul(sum[i][j], share));
    }
}

/* Query rows [row, row + rows). */
static void attend_rows(const head *h, size_t row, size_t rows) {
    const cr_attention *g = h->g;
    const size_t end = padded(g->length), width = g->head_width;
    const size_t each = sizeof(float);
    cr_tile t = {.panel_step = width / TERMS * CR_PANEL * each,
                 .b_step = CR_PANEL * each,
                 .k = width};
    t.a = take_queries(h, row, rows, &t.a_step);
    for (size_t i = 0, n; i < end; i += n * CR_PANEL) {
        n = cr_panels_of(end - i);
        t.b = (const char *)h->panels + i * width * CR_A_BYTES;
        CR_TILE_SWITCH(rows, n, score_tile, &t, h->scores + i, end)
    }
    float sums[CR_ROWS];
    const float log2_e = 1.442695041f;
    const float factor = g->scale * log2_e;
    size_t weighed = 0;
    for (; weighed + CR_LONG_CHAINS <= rows; weighed += CR_LONG_CHAINS)
        weigh(h->scores + weighed * end, end, g->length, factor, sums + weighed,
              CR_LONG_CHAINS);
    for (; weighed < rows; weighed++)
        weigh(h->scores + weighed * end, end, g->length, factor, sums + weighed,
              1);
    t = (cr_tile){.a = (const char *)h->scores,
                  .a_step = end * each,
                  .panel_step = CR_PANEL * each,
                  .b_step = h->value_step,
                  .k = (g->length + TERMS - 1) / TERMS * TERMS};
    float *out = g->out + row * g->ld_out + h->column;
    for (size_t i = 0, n; i < width; i += n * CR_PANEL) {
        n = cr_panels_of(width - i);
        t.b = (const char *)(h->value_words + i);
        CR_TILE_SWITCH(rows, n, value_tile, &t, sums, out + i, g->ld_out)
    }
}

static void attend(const cr_attention *g) {
    const size_t row_floats = g->n_heads * g->head_width;
    for (size_t i = 0; i < g->n_heads; i++) {
        head h = {.g = g, .column = i * g->head_width, .panels = g->scratch};
        h.queries = (const float *)g->qkv + h.column;
        h.keys = h.queries + row_floats;
        h.values = h.keys + row_floats;
        h.scores = h.panels + padded(g->length) * g->head_width / TERMS;
        h.rest = h.scores + CR_ROWS * padded(g->length);
        turn_keys(&h);
        take_values(&h);
        for (size_t row = g->first_row; row < g->end_row; row += CR_ROWS) {
            size_t left = g->end_row - row;
            attend_rows(&h, row, left < CR_ROWS ? left : CR_ROWS);
        }
    }
}

#endif
