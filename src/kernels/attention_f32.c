/* fp32 attention of one sequence, a few query rows at a time.
 *
 * The keys of a head are turned into panels once, so that scores are the same
 * tile product as any other. The scores of CR_ROWS queries become weights in a
 * small buffer that stays in the nearest cache, and then weigh the values,
 * which already lie as panels. The full score matrix is never written. */
#include "kernels/isa.h"
#include "kernels/math16.h"
#include "kernels/tile_f32.h"

_Static_assert((int)CR_ROWS <= (int)CR_MOST_ROWS, "the scratch is too small");

static size_t padded(size_t n) {
    return (n + CR_PANEL - 1) / CR_PANEL * CR_PANEL;
}

/* keys[length][ld] -> panels[length / 16][width][16]; lanes beyond the length
 * are 0, so that their scores are finite before they are masked. */
static void turn_keys(const float *keys, size_t ld, size_t length, size_t width,
                      float *panels) {
    for (size_t first = 0; first < length; first += CR_PANEL) {
        size_t lanes = length - first < CR_PANEL ? length - first : CR_PANEL;
        const float *from = keys + first * ld;
        float *panel = panels + first * width;
        for (size_t d = 0; d < width;
             d += CR_PANEL, panel += CR_PANEL * CR_PANEL) {
            v16 x[CR_PANEL];
            CR_UNROLL
            for (size_t i = 0; i < CR_PANEL; i++)
                x[i] = i < lanes ? v16_load(from + i * ld + d) : v16_zero();
            v16_turn(x);
            CR_UNROLL
            for (size_t i = 0; i < CR_PANEL; i++)
                v16_store(panel + i * CR_PANEL, x[i]);
        }
    }
}

/* scores[rows][ld] of up to CR_PANELS panels of keys. */
CR_INLINE void score_tile(const cr_tile *t, float *scores, size_t ld,
                          const size_t rows, const size_t panels) {
    v16 sum[CR_ROWS][CR_PANELS];
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            sum[i][j] = v16_zero();
    }
    tile_add(t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            v16_store(scores + i * ld + j * CR_PANEL, sum[i][j]);
    }
}

/* Scores of n rows to weights exp2(factor (s - max)), not yet divided by their
 * sums. Lanes beyond the length become 0. Rows go side by side, because each
 * is a chain in which every operation waits for the one before. */
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
            v16 x = v16_exp2(v16_fma(v16_load(at), times, shift[r]));
            sum[r] = v16_add(sum[r], x);
            v16_store(at, x);
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
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            sum[i][j] = v16_zero();
    }
    tile_add(t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        v16 share = v16_set(1 / sums[i]);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            v16_store(out + i * ld_out + j * CR_PANEL,
                      v16_mul(sum[i][j], share));
    }
}

/* Query rows [row, row + rows) of one head. */
static void attend_rows(const cr_attention *g, const float *head,
                        const float *keys, float *scores, size_t row,
                        size_t rows, float *out) {
    size_t end = padded(g->length), width = g->head_width;
    size_t row_floats = g->n_heads * width;
    const size_t each = sizeof(float);
    cr_tile t = {.a = (const char *)(head + row * g->ld_qkv),
                 .a_step = g->ld_qkv * each,
                 .panel_step = width * CR_PANEL * each,
                 .b_step = CR_PANEL * each,
                 .k = width};
    for (size_t i = 0, n; i < end; i += n * CR_PANEL) {
        n = cr_panels_of(end - i);
        t.b = (const char *)(keys + i * width);
        CR_TILE_SWITCH(rows, n, score_tile, &t, scores + i, end)
    }
    float sums[CR_ROWS];
    const float log2_e = 1.442695041f;
    const float factor = g->scale * log2_e;
    size_t weighed = 0;
    for (; weighed + CR_LONG_CHAINS <= rows; weighed += CR_LONG_CHAINS)
        weigh(scores + weighed * end, end, g->length, factor, sums + weighed,
              CR_LONG_CHAINS);
    for (; weighed < rows; weighed++)
        weigh(scores + weighed * end, end, g->length, factor, sums + weighed,
              1);
    t = (cr_tile){.a = (const char *)scores,
                  .a_step = end * each,
                  .panel_step = CR_PANEL * each,
                  .b_step = g->ld_qkv * each,
                  .k = g->length};
    out += row * g->ld_out;
    for (size_t i = 0, n; i < width; i += n * CR_PANEL) {
        n = cr_panels_of(width - i);
        t.b = (const char *)(head + 2 * row_floats + i);
        CR_TILE_SWITCH(rows, n, value_tile, &t, sums, out + i, g->ld_out)
    }
}

void CR_ISA_NAME(attention_f32)(const cr_attention *g) {
    size_t width = g->head_width, row_floats = g->n_heads * width;
    float *keys = g->scratch;
    float *scores = keys + padded(g->length) * width;
    for (size_t h = 0; h < g->n_heads; h++) {
        const float *head = (const float *)g->qkv + h * width;
        turn_keys(head + row_floats, g->ld_qkv, g->length, width, keys);
        for (size_t row = g->first_row; row < g->end_row; row += CR_ROWS) {
            size_t left = g->end_row - row;
            attend_rows(g, head, keys, scores, row,
                        left < CR_ROWS ? left : CR_ROWS, g->out + h * width);
        }
    }
}
