/* bf16 attention on AMX, sixteen queries at a time, each a lane.
 *
 * Scores are computed turned, a row a key and a column a query, so that keys
 * are read where they are and softmax is vectors all the way: its largest
 * value, its exponentials and its sum are those of sixteen queries at once.
 * Two keys' weights together are a row of what the tiles want next to weigh
 * the values, which are turned once a head.
 *
 * What tiles store is on its way to the cache for a while, as is what vectors
 * store for tiles, and a reader would wait for it. So there are three sets of
 * queries under way, one behind the other through all heads: tiles weigh the
 * values of the one before and score the next, vectors weigh this one and put
 * out the one before. attention_bf16.c has the same numbers without tiles. */
#include "kernels/amx_tiles.h"
#include "kernels/attention_weights.h"
#include "kernels/isa.h"

#include <assert.h>

enum { TILE_FLOATS = TILE_ROWS * TILE_BYTES / 4, QUERIES = CR_HEAD_ROWS };
enum { KEYS_A_TILE = TILE_BYTES / 2 };

_Static_assert((int)CR_HEAD_ROWS == (int)TILE_ROWS, "a tile of queries");
_Static_assert((int)CR_HEAD_TERMS * 2 == (int)TILE_BYTES, "a row of a tile");

/* A call's work; parts of the scratch are whole tiles. */
typedef struct work {
    const cr_attention *g;
    float *turned_values[2]; /* [length / 32][width / 16] tiles, two heads' */
    float *turned_queries;   /* [width / 32] tiles */
    float *scores[2];        /* [length padded to 16][QUERIES] */
    float *weights;          /* [length / 32] tiles */
    float *sums;             /* [width / 16] tiles */
} work;

/* Sixteen queries of a head, or none. */
typedef struct set {
    bool none;
    size_t head;
    size_t row;                              /* the first query's */
    const uint16_t *queries, *keys, *values; /* [length][ld_qkv] */
    const float *turned_values;
    v16 total; /* of a query's weights */
} set;

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
static void turn_values(const cr_attention *g, const set *s, float *to) {
    static const uint16_t nothing[TILE_ROWS];
    for (size_t key = 0; key < g->length; key += KEYS_A_TILE) {
        for (size_t d = 0; d < g->head_width; d += TILE_ROWS) {
            v16 x[TILE_ROWS];
            CR_UNROLL
            for (size_t i = 0; i < TILE_ROWS; i++) {
                size_t even = key + 2 * i, odd = even + 1;
                const uint16_t *at = s->values + even * g->ld_qkv + d;
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

/* A column each; 0 beyond the last. */
static void turn_queries(const work *w, const set *s) {
    const cr_attention *g = w->g;
    const uint16_t *from = s->queries + s->row * g->ld_qkv;
    size_t rows = g->end_row - s->row;
    float *to = w->turned_queries;
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
CR_INLINE void score_keys(const work *w, const set *s, size_t key,
                          float *scores, const size_t tiles) {
    const cr_attention *g = w->g;
    const size_t step = g->ld_qkv * sizeof *s->keys;
    tile_zero(0);
    if (tiles > 1)
        tile_zero(1);
    if (tiles > 2)
        tile_zero(2);
    if (tiles > 3)
        tile_zero(3);
    const float *queries = w->turned_queries;
    for (size_t d = 0; d < g->head_width;
         d += CR_HEAD_TERMS, queries += TILE_FLOATS) {
        const uint16_t *keys = s->keys + key * g->ld_qkv + d;
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

/* Of queries that are turned. */
static void score(const work *w, const set *s, float *scores) {
    size_t tiles = tiles_of(w->g->length, TILE_ROWS), i = 0;
    for (; i + 4 <= tiles; i += 4)
        score_keys(w, s, i * TILE_ROWS, scores + i * TILE_FLOATS, 4);
    size_t key = i * TILE_ROWS;
    scores += i * TILE_FLOATS;
    if (tiles - i == 3)
        score_keys(w, s, key, scores, 3);
    else if (tiles - i == 2)
        score_keys(w, s, key, scores, 2);
    else if (tiles - i == 1)
        score_keys(w, s, key, scores, 1);
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
static v16 weigh(const work *w, const float *scores) {
    const size_t length = w->g->length;
    const v16 factor = cr_weight_factor(w->g->scale);
    const v16 shift =
        v16_mul(v16_sub(v16_zero(), largest(scores, length)), factor);
    v16 sum[2] = {v16_zero(), v16_zero()};
    float *to = w->weights;
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
    float *end = w->weights + tiles_of(length, KEYS_A_TILE) * TILE_FLOATS;
    for (; to < end; to += CR_V16)
        v16_store(to, v16_zero());
    return v16_add(sum[0], sum[1]);
}

/* The values, weighed, into sums: two tiles of columns at once. */
static void weigh_values(const work *w, const set *s) {
    size_t tiles = tiles_of(w->g->length, KEYS_A_TILE);
    size_t across = w->g->head_width / TILE_ROWS;
    for (size_t t = 0; t < across; t += 2) {
        const float *values = s->turned_values + t * TILE_FLOATS;
        tile_zero(0);
        tile_zero(1);
        for (size_t i = 0; i < tiles; i++, values += across * TILE_FLOATS) {
            tile_load(6, w->weights + i * TILE_FLOATS, TILE_BYTES);
            tile_load(4, values, TILE_BYTES);
            tile_dot_bf16(0, 4, 6);
            tile_load(5, values + TILE_FLOATS, TILE_BYTES);
            tile_dot_bf16(1, 5, 6);
        }
        tile_store(0, w->sums + t * TILE_FLOATS, TILE_BYTES);
        tile_store(1, w->sums + (t + 1) * TILE_FLOATS, TILE_BYTES);
    }
}

/* Sums, divided, to rows of out. */
static void put_out(const work *w, const set *s) {
    const cr_attention *g = w->g;
    const v16 share = v16_div(v16_set(1), s->total);
    size_t rows = g->end_row - s->row;
    rows = rows < QUERIES ? rows : QUERIES;
    const float *from = w->sums;
    for (size_t d = 0; d < g->head_width; d += TILE_ROWS) {
        v16 x[TILE_ROWS];
        CR_UNROLL
        for (size_t i = 0; i < TILE_ROWS; i++, from += CR_V16)
            x[i] = v16_mul(v16_load(from), share);
        v16_turn(x);
        float *to = g->out + s->row * g->ld_out + s->head * g->head_width + d;
        CR_UNROLL
        for (size_t i = 0; i < QUERIES; i++) {
            if (i < rows)
                v16_store(to + i * g->ld_out, x[i]);
        }
    }
}

static work lay_out(const cr_attention *g) {
    size_t width = g->head_width, pairs = tiles_of(g->length, KEYS_A_TILE);
    size_t values = pairs * width / TILE_ROWS * TILE_FLOATS;
    size_t scores = tiles_of(g->length, TILE_ROWS) * TILE_FLOATS;
    work w = {.g = g, .turned_queries = g->scratch};
    w.sums = w.turned_queries + width / CR_HEAD_TERMS * TILE_FLOATS;
    w.turned_values[0] = w.sums + width / TILE_ROWS * TILE_FLOATS;
    w.turned_values[1] = w.turned_values[0] + values;
    w.weights = w.turned_values[1] + values;
    w.scores[0] = w.weights + pairs * TILE_FLOATS;
    w.scores[1] = w.scores[0] + scores;
    return w;
}

/* A head's first queries; turns its values. */
static set first_set(const work *w, size_t head) {
    const cr_attention *g = w->g;
    set s = {.none = head == g->n_heads, .head = head, .row = g->first_row};
    if (s.none)
        return s;
    s.queries = (const uint16_t *)g->qkv + head * g->head_width;
    s.keys = s.queries + g->n_heads * g->head_width;
    s.values = s.keys + g->n_heads * g->head_width;
    s.turned_values = w->turned_values[head % 2];
    turn_values(g, &s, w->turned_values[head % 2]);
    return s;
}

static set set_after(const work *w, set s) {
    if (s.row + QUERIES >= w->g->end_row)
        return first_set(w, s.head + 1);
    s.row += QUERIES;
    return s;
}

static void attend(const cr_attention *g) {
    assert(g->head_width % CR_HEAD_TERMS == 0);
    const work w = lay_out(g);
    tile_configure_rows(TILE_ROWS);
    set before = {.none = true}, now = first_set(&w, 0);
    turn_queries(&w, &now);
    score(&w, &now, w.scores[0]);
    for (size_t turn = 0; !now.none; turn = !turn) {
        set next = set_after(&w, now);
        if (!next.none)
            turn_queries(&w, &next);
        if (!before.none)
            weigh_values(&w, &before);
        if (!next.none)
            score(&w, &next, w.scores[!turn]);
        now.total = weigh(&w, w.scores[turn]);
        if (!before.none)
            put_out(&w, &before);
        before = now;
        now = next;
    }
    weigh_values(&w, &before);
    put_out(&w, &before);
    tile_release();
}

const cr_attention_ops CR_ISA_NAME(attention_bf16_amx) = {
    .reads = CR_RESULT_BF16, .terms = CR_HEAD_TERMS, .run = attend};
