/* bf16 attention on AMX, sixteen queries at a time, each a lane.
 *
 * Scores are computed turned, a row a key and a column a query, so that keys
 * are read where they are and softmax is vectors all the way: its largest
 * value, its exponentials and its sum are those of sixteen queries at once.
 * Two keys' weights together are a row of what the tiles want next to weigh
 * the values, which are turned once a head. Scores of the next queries are
 * computed on tiles while vectors weigh these. attention_bf16.c has the same
 * numbers without tiles. */
#include "kernels/amx_tiles.h"
#include "kernels/attention_weights.h"
#include "kernels/isa.h"

#include <assert.h>

enum { TILE_FLOATS = TILE_ROWS * TILE_BYTES / 4, QUERIES = CR_HEAD_ROWS };
enum { KEYS_A_TILE = TILE_BYTES / 2 };

_Static_assert((int)CR_HEAD_ROWS == (int)TILE_ROWS, "a tile of queries");
_Static_assert((int)CR_HEAD_TERMS * 2 == (int)TILE_BYTES, "a row of a tile");

/* A head's work; parts of the scratch are whole tiles. */
typedef struct head {
    const cr_attention *g;
    const uint16_t *queries, *keys, *values; /* [length][ld_qkv] */
    size_t column;                           /* of out */
    float *turned_values;  /* [length / 32][width / 16] tiles */
    float *turned_queries; /* [width / 32] tiles */
    float *scores[2];      /* [length padded to 16][QUERIES] */
    float *weights;        /* [length / 32] tiles */
    float *sums;           /* [width / 16] tiles */
} head;

static size_t tiles_of(size_t n, size_t a_tile) {
    return (n + a_tile - 1) / a_tile;
}

/* Sixteen words of two bfloat16 each: lanes of `even` low, of `odd` high. */
CR_INLINE v16 pair_of(const uint16_t *even, const uint16_t *odd) {
    __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)even));
    __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)odd));
    return _mm512_castsi512_ps(
        _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

/* Rows of 16 columns of the values, a key's beside the next's; 0 beyond the
 * length. */
static void turn_values(const head *h) {
    static const uint16_t nothing[TILE_ROWS];
    const cr_attention *g = h->g;
    float *to = h->turned_values;
    for (size_t key = 0; key < g->length; key += KEYS_A_TILE) {
        for (size_t d = 0; d < g->head_width; d += TILE_ROWS) {
            v16 x[TILE_ROWS];
            CR_UNROLL
            for (size_t i = 0; i < TILE_ROWS; i++) {
                size_t even = key + 2 * i, odd = even + 1;
                const uint16_t *at = h->values + even * g->ld_qkv + d;
                x[i] = pair_of(even < g->length ? at : nothing,
                               odd < g->length ? at + g->ld_qkv : nothing);
            }
            v16_turn(x);
            CR_UNROLL
            for (size_t i = 0; i < TILE_ROWS; i++, to += CR_V16)
                v16_store(to, x[i]);
        }
    }
}

/* Queries from `row` on, a column each; 0 beyond the last. */
static void turn_queries(const head *h, size_t row) {
    const cr_attention *g = h->g;
    const uint16_t *from = h->queries + row * g->ld_qkv;
    size_t rows = g->end_row - row;
    float *to = h->turned_queries;
    for (size_t d = 0; d < g->head_width; d += CR_HEAD_TERMS) {
        v16 x[QUERIES];
        CR_UNROLL
        for (size_t i = 0; i < QUERIES; i++)
            x[i] = i < rows ? v16_load((const void *)(from + i * g->ld_qkv + d))
                            : v16_zero();
        v16_turn(x);
        CR_UNROLL
        for (size_t i = 0; i < QUERIES; i++, to += CR_V16)
            v16_store(to, x[i]);
    }
}

/* Up to four tiles of keys from `key` on. */
CR_INLINE void score_keys(const head *h, size_t key, float *scores,
                          const size_t tiles) {
    const cr_attention *g = h->g;
    const size_t step = g->ld_qkv * sizeof *h->keys;
    tile_zero(0);
    if (tiles > 1)
        tile_zero(1);
    if (tiles > 2)
        tile_zero(2);
    if (tiles > 3)
        tile_zero(3);
    const float *queries = h->turned_queries;
    for (size_t d = 0; d < g->head_width;
         d += CR_HEAD_TERMS, queries += TILE_FLOATS) {
        const uint16_t *keys = h->keys + key * g->ld_qkv + d;
        const size_t next = TILE_ROWS * g->ld_qkv;
        tile_load(7, queries, TILE_BYTES);
        tile_load(4, keys, step);
        tile_dot_bf16(0, 4, 7);
        if (tiles > 1) {
            tile_load(5, keys + next, step);
            tile_dot_bf16(1, 5, 7);
        }
        if (tiles > 2) {
            tile_load(6, keys + 2 * next, step);
            tile_dot_bf16(2, 6, 7);
        }
        if (tiles > 3) {
            tile_load(4, keys + 3 * next, step);
            tile_dot_bf16(3, 4, 7);
        }
    }
    tile_store(0, scores, TILE_BYTES);
    if (tiles > 1)
        tile_store(1, scores + TILE_FLOATS, TILE_BYTES);
    if (tiles > 2)
        tile_store(2, scores + 2 * TILE_FLOATS, TILE_BYTES);
    if (tiles > 3)
        tile_store(3, scores + 3 * TILE_FLOATS, TILE_BYTES);
}

static void score(const head *h, size_t row, float *scores) {
    turn_queries(h, row);
    size_t tiles = tiles_of(h->g->length, TILE_ROWS), i = 0;
    for (; i + 4 <= tiles; i += 4)
        score_keys(h, i * TILE_ROWS, scores + i * TILE_FLOATS, 4);
    size_t key = i * TILE_ROWS;
    scores += i * TILE_FLOATS;
    if (tiles - i == 3)
        score_keys(h, key, scores, 3);
    else if (tiles - i == 2)
        score_keys(h, key, scores, 2);
    else if (tiles - i == 1)
        score_keys(h, key, scores, 1);
}

static v16 largest(const float *scores, size_t length) {
    v16 most[4];
    for (size_t c = 0; c < 4; c++)
        most[c] = v16_load(scores);
    size_t i = 0;
    for (; i + 4 <= length; i += 4) {
        CR_UNROLL
        for (size_t c = 0; c < 4; c++)
            most[c] = v16_max(most[c], v16_load(scores + (i + c) * QUERIES));
    }
    for (; i < length; i++)
        most[0] = v16_max(most[0], v16_load(scores + i * QUERIES));
    return v16_max(v16_max(most[0], most[1]), v16_max(most[2], most[3]));
}

/* Weights of two keys as a row of a tile. */
CR_INLINE void store_pair(float *to, v16 even, v16 odd) {
    __m512i low = _mm512_srli_epi32(_mm512_castps_si512(even), 16);
    v16_store(to, _mm512_castsi512_ps(
                      _mm512_or_si512(low, _mm512_castps_si512(odd))));
}

/* Scores to weights, not yet divided by their sums; returns the sums. */
static v16 weigh(const head *h, const float *scores) {
    const size_t length = h->g->length;
    const v16 factor = cr_weight_factor(h->g->scale);
    const v16 shift =
        v16_mul(v16_sub(v16_zero(), largest(scores, length)), factor);
    v16 sum[2] = {v16_zero(), v16_zero()};
    float *to = h->weights;
    size_t i = 0;
    for (; i + 2 <= length; i += 2, to += CR_V16) {
        const float *at = scores + i * QUERIES;
        v16 even = cr_weight(v16_load(at), factor, shift);
        v16 odd = cr_weight(v16_load(at + QUERIES), factor, shift);
        sum[0] = v16_add(sum[0], even);
        sum[1] = v16_add(sum[1], odd);
        store_pair(to, even, odd);
    }
    if (i < length) {
        v16 even = cr_weight(v16_load(scores + i * QUERIES), factor, shift);
        sum[0] = v16_add(sum[0], even);
        store_pair(to, even, v16_zero());
        to += CR_V16;
    }
    float *end = h->weights + tiles_of(length, KEYS_A_TILE) * TILE_FLOATS;
    for (; to < end; to += CR_V16)
        v16_store(to, v16_zero());
    return v16_add(sum[0], sum[1]);
}

/* Two tiles of columns of the values, weighed, into sums. */
static void weigh_values(const head *h) {
    size_t tiles = tiles_of(h->g->length, KEYS_A_TILE);
    size_t across = h->g->head_width / TILE_ROWS;
    for (size_t t = 0; t < across; t += 2) {
        const float *values = h->turned_values + t * TILE_FLOATS;
        tile_zero(0);
        tile_zero(1);
        for (size_t i = 0; i < tiles; i++, values += across * TILE_FLOATS) {
            tile_load(6, h->weights + i * TILE_FLOATS, TILE_BYTES);
            tile_load(4, values, TILE_BYTES);
            tile_dot_bf16(0, 4, 6);
            tile_load(5, values + TILE_FLOATS, TILE_BYTES);
            tile_dot_bf16(1, 5, 6);
        }
        tile_store(0, h->sums + t * TILE_FLOATS, TILE_BYTES);
        tile_store(1, h->sums + (t + 1) * TILE_FLOATS, TILE_BYTES);
    }
}

/* Sums, divided, to rows of out. */
static void put_out(const head *h, size_t row, v16 sums) {
    const cr_attention *g = h->g;
    const v16 share = v16_div(v16_set(1), sums);
    size_t rows = g->end_row - row;
    rows = rows < QUERIES ? rows : QUERIES;
    const float *from = h->sums;
    for (size_t d = 0; d < g->head_width; d += TILE_ROWS) {
        v16 x[TILE_ROWS];
        CR_UNROLL
        for (size_t i = 0; i < TILE_ROWS; i++, from += CR_V16)
            x[i] = v16_mul(v16_load(from), share);
        v16_turn(x);
        size_t at = row * g->ld_out + h->column + d;
        CR_UNROLL
        for (size_t i = 0; i < QUERIES; i++, at += g->ld_out) {
            if (i < rows)
                v16_store(g->out + at, x[i]);
        }
    }
}

static head lay_out(const cr_attention *g) {
    size_t width = g->head_width;
    head h = {.g = g, .turned_queries = g->scratch};
    h.sums = h.turned_queries + width / CR_HEAD_TERMS * TILE_FLOATS;
    h.turned_values = h.sums + width / TILE_ROWS * TILE_FLOATS;
    size_t pairs = tiles_of(g->length, KEYS_A_TILE);
    h.weights = h.turned_values + pairs * width / TILE_ROWS * TILE_FLOATS;
    h.scores[0] = h.weights + pairs * TILE_FLOATS;
    h.scores[1] = h.scores[0] + tiles_of(g->length, TILE_ROWS) * TILE_FLOATS;
    return h;
}

void CR_ISA_NAME(attention_bf16_amx)(const cr_attention *g) {
    const size_t row_terms = g->n_heads * g->head_width;
    assert(g->head_width % CR_HEAD_TERMS == 0);
    head h = lay_out(g);
    tile_configure_rows(TILE_ROWS);
    for (size_t i = 0; i < g->n_heads; i++) {
        h.column = i * g->head_width;
        h.queries = (const uint16_t *)g->qkv + h.column;
        h.keys = h.queries + row_terms;
        h.values = h.keys + row_terms;
        turn_values(&h);
        score(&h, g->first_row, h.scores[0]);
        size_t turn = 0;
        for (size_t row = g->first_row; row < g->end_row;
             row += QUERIES, turn = !turn) {
            if (row + QUERIES < g->end_row)
                score(&h, row + QUERIES, h.scores[!turn]);
            v16 sums = weigh(&h, h.scores[turn]);
            weigh_values(&h);
            put_out(&h, row, sums);
        }
    }
    tile_release();
}
