/* bf16 attention on float32 instructions, with the sums of AMX.
 *
 * All is turned so that a query is a lane, as attention_bf16_amx.c explains.
 * Terms of a sum are kept as AMX takes them: of each 32, the even ones, then
 * the odd ones. Numbers are rounded to bfloat16 once, when they are turned, and
 * are float32 from there on; products of two are exact. */
#include "kernels/attention_weights.h"
#include "kernels/isa.h"
#include "kernels/tile_f32.h"

enum { TERMS = CR_HEAD_TERMS, HALF = TERMS / 2 };
enum { QUERIES = CR_PANELS * CR_PANEL };

_Static_assert((int)QUERIES <= (int)CR_MOST_QUERIES,
               "the scratch is too small");

/* A head's work. Places are of terms in AMX's order. */
typedef struct head {
    const cr_attention *g;
    const float *queries, *keys, *values; /* [length][ld_qkv] */
    size_t room;                          /* length, padded to whole TERMS */
    float *turned_keys;                   /* [length][width], in places */
    float *turned_values;                 /* [width][room], in places */
    float *panels;  /* [CR_PANELS][width][16] queries, in places */
    float *weights; /* [room][QUERIES], in places: scores at first */
    float *sums;    /* [width][QUERIES] */
} head;

/* Where AMX's order has term i. */
CR_INLINE size_t place_of(size_t i) {
    return i / TERMS * TERMS + i % 2 * HALF + i % TERMS / 2;
}

/* A key's row, each TERMS of it in places. */
static void turn_keys(const head *h) {
    const size_t width = h->g->head_width;
    float *to = h->turned_keys;
    for (size_t i = 0; i < h->g->length; i++) {
        const float *from = h->keys + i * h->g->ld_qkv;
        for (size_t d = 0; d < width; d += TERMS, to += TERMS) {
            v16 even = v16_round_bf16(v16_load(from + d));
            v16 odd = v16_round_bf16(v16_load(from + d + HALF));
            v16_unzip(&even, &odd);
            v16_store(to, even);
            v16_store(to + HALF, odd);
        }
    }
}

/* x[i] = sixteen numbers of row i, rounded; 0 beyond `rows`. */
CR_INLINE void load_turned(v16 x[CR_PANEL], const float *from, size_t ld,
                           size_t rows) {
    CR_UNROLL
    for (size_t i = 0; i < CR_PANEL; i++)
        x[i] = i < rows ? v16_round_bf16(v16_load(from + i * ld)) : v16_zero();
    v16_turn(x);
}

static void turn_values(const head *h) {
    const size_t ld = h->g->ld_qkv, length = h->g->length;
    for (size_t key = 0; key < length; key += TERMS) {
        size_t rows = length - key, second = rows > HALF ? rows - HALF : 0;
        for (size_t d = 0; d < h->g->head_width; d += CR_PANEL) {
            const float *from = h->values + key * ld + d;
            float *to = h->turned_values + d * h->room + key;
            v16 x[CR_PANEL], y[CR_PANEL];
            load_turned(x, from, ld, rows);
            load_turned(y, from + HALF * ld, ld, second);
            for (size_t i = 0; i < CR_PANEL; i++, to += h->room) {
                v16_unzip(&x[i], &y[i]);
                v16_store(to, x[i]);
                v16_store(to + HALF, y[i]);
            }
        }
    }
}

/* `rows` queries from `row` on, a column each; 0 beyond them. */
static void turn_queries(const head *h, size_t row, size_t rows) {
    const size_t width = h->g->head_width, ld = h->g->ld_qkv;
    const float *from = h->queries + row * ld;
    for (size_t i = 0; i < rows; i += CR_PANEL, from += CR_PANEL * ld) {
        float *to = h->panels + i * width;
        for (size_t d = 0; d < width; d += CR_PANEL) {
            v16 x[CR_PANEL];
            load_turned(x, from + d, ld, rows - i);
            for (size_t t = 0; t < CR_PANEL; t++)
                v16_store(to + place_of(d + t) * CR_PANEL, x[t]);
        }
    }
}

/* TERMS terms of a sum at once, or what is left of them. */
typedef struct terms {
    cr_tile tile; /* from the first of the even ones on */
    size_t even, odd;
    bool first; /* of the sum's */
} terms;

/* c[rows] of `panels` panels = what is there + (sums of even terms + of odd
 * ones); both chains begin at 0. */
CR_INLINE void add_terms(const terms *g, float *const c[CR_ROWS],
                         const size_t rows, const size_t panels) {
    v16 sum[CR_ROWS][CR_PANELS];
    float even[CR_ROWS][CR_PANELS][CR_PANEL];
    cr_tile t = g->tile;
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            sum[i][j] = v16_zero();
    }
    t.k = g->even;
    tile_add(&t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++) {
            v16_store(even[i][j], sum[i][j]);
            sum[i][j] = v16_zero();
        }
    }
    t.a += HALF * sizeof(float);
    t.b += HALF * t.b_step;
    t.k = g->odd;
    tile_add(&t, rows, panels, sum);
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++) {
            v16 both = v16_add(v16_load(even[i][j]), sum[i][j]);
            float *at = c[i] + j * CR_PANEL;
            v16_store(at, g->first ? both : v16_add(v16_load(at), both));
        }
    }
}

static void add_any_terms(const terms *g, float *const c[CR_ROWS], size_t rows,
                          size_t panels) {
    CR_TILE_SWITCH(rows, panels, add_terms, g, c)
}

/* Scores of all keys, each at its place. */
static void score(const head *h, size_t panels) {
    const size_t width = h->g->head_width, length = h->g->length;
    const size_t each = sizeof(float);
    for (size_t key = 0; key < length; key += CR_ROWS) {
        size_t rows = length - key < CR_ROWS ? length - key : CR_ROWS;
        float *c[CR_ROWS];
        for (size_t i = 0; i < CR_ROWS; i++)
            c[i] = h->weights + place_of(i < rows ? key + i : key) * QUERIES;
        for (size_t d = 0; d < width; d += TERMS) {
            const terms t = {
                .tile = {.a = (const char *)(h->turned_keys + key * width + d),
                         .a_step = width * each,
                         .b = (const char *)(h->panels + d * CR_PANEL),
                         .panel_step = width * CR_PANEL * each,
                         .b_step = CR_PANEL * each},
                .even = HALF,
                .odd = HALF,
                .first = d == 0};
            add_any_terms(&t, c, rows, panels);
        }
    }
}

/* Scores of a panel's queries to weights, not yet divided by their sums, which
 * it returns. Even keys and then odd ones: both at once ask for more registers
 * than there are. */
static v16 weigh(const head *h, float *scores) {
    const size_t length = h->g->length;
    v16 most = v16_load(scores);
    for (size_t i = 1; i < length; i++)
        most = v16_max(most, v16_load(scores + place_of(i) * QUERIES));
    const v16 factor = cr_weight_factor(h->g->scale);
    const v16 shift = v16_mul(v16_sub(v16_zero(), most), factor);
    v16 sums[2];
    for (size_t odd = 0; odd < 2; odd++) {
        v16 sum = v16_zero();
        for (size_t i = odd; i < length; i += 2) {
            float *at = scores + place_of(i) * QUERIES;
            v16 x = cr_weight(v16_load(at), factor, shift);
            sum = v16_add(sum, x);
            v16_store(at, x);
        }
        sums[odd] = sum;
    }
    return v16_add(sums[0], sums[1]);
}

/* The values, weighed, into sums. */
static void weigh_values(const head *h, size_t panels) {
    const size_t width = h->g->head_width, length = h->g->length;
    const size_t each = sizeof(float);
    for (size_t d = 0; d < width; d += CR_ROWS) {
        size_t rows = width - d < CR_ROWS ? width - d : CR_ROWS;
        float *c[CR_ROWS];
        for (size_t i = 0; i < CR_ROWS; i++)
            c[i] = h->sums + (i < rows ? d + i : d) * QUERIES;
        for (size_t key = 0; key < length; key += TERMS) {
            size_t left = length - key < TERMS ? length - key : (size_t)TERMS;
            const terms t = {
                .tile = {.a = (const char *)(h->turned_values + d * h->room +
                                             key),
                         .a_step = h->room * each,
                         .b = (const char *)(h->weights + key * QUERIES),
                         .panel_step = CR_PANEL * each,
                         .b_step = QUERIES * each},
                .even = (left + 1) / 2,
                .odd = left / 2,
                .first = key == 0};
            add_any_terms(&t, c, rows, panels);
        }
    }
}

/* Sums of a panel's queries, divided, to rows of out. */
static void put_out(const head *h, const float *sums, size_t rows, v16 total,
                    float *out) {
    const v16 share = v16_div(v16_set(1), total);
    for (size_t d = 0; d < h->g->head_width; d += CR_PANEL) {
        v16 x[CR_PANEL];
        CR_UNROLL
        for (size_t i = 0; i < CR_PANEL; i++)
            x[i] = v16_mul(v16_load(sums + (d + i) * QUERIES), share);
        v16_turn(x);
        CR_UNROLL
        for (size_t i = 0; i < CR_PANEL; i++)
            if (i < rows)
                v16_store(out + i * h->g->ld_out + d, x[i]);
    }
}

static head lay_out(const cr_attention *g) {
    const size_t width = g->head_width;
    head h = {.g = g, .turned_keys = g->scratch};
    h.room = (g->length + TERMS - 1) / TERMS * TERMS;
    h.turned_values = h.turned_keys + h.room * width;
    h.weights = h.turned_values + h.room * width;
    h.panels = h.weights + h.room * QUERIES;
    h.sums = h.panels + width * QUERIES;
    return h;
}

static void attend(const cr_attention *g) {
    const size_t row_floats = g->n_heads * g->head_width;
    head h = lay_out(g);
    for (size_t i = 0; i < g->n_heads; i++) {
        h.queries = (const float *)g->qkv + i * g->head_width;
        h.keys = h.queries + row_floats;
        h.values = h.keys + row_floats;
        turn_keys(&h);
        turn_values(&h);
        for (size_t row = g->first_row; row < g->end_row; row += QUERIES) {
            size_t rows =
                g->end_row - row < QUERIES ? g->end_row - row : (size_t)QUERIES;
            size_t panels = (rows + CR_PANEL - 1) / CR_PANEL;
            turn_queries(&h, row, rows);
            score(&h, panels);
            v16 total[CR_PANELS];
            for (size_t j = 0; j < panels; j++)
                total[j] = weigh(&h, h.weights + j * CR_PANEL);
            weigh_values(&h, panels);
            for (size_t j = 0; j < panels; j++)
                put_out(&h, h.sums + j * CR_PANEL, rows - j * CR_PANEL,
                        total[j],
                        g->out + (row + j * CR_PANEL) * g->ld_out +
                            i * g->head_width);
        }
    }
}

const cr_attention_ops CR_ISA_NAME(attention_bf16) = {
    .reads = CR_RESULT_FP32, .terms = CR_HEAD_TERMS, .run = attend};
