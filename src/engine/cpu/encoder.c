/* The forward pass, in the order of the data: embedding, layers, head.
 *
 * Rows are split between the members of a team and then into blocks that stay
 * in the second cache through the feed-forward part. Members meet where a row
 * needs others' rows: before attention, which reads all keys and values. Where
 * all rows are one block, products of float32 are split by columns instead, so
 * that weights are read once, not once a member, for more meetings. The
 * last layer is computed for the [CLS] rows alone, since only they are read. */
#include "engine/cpu/encoder.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Rows that go through the feed-forward part together. 96 x 1536 floats are
 * 576 KB, the second cache of today's cores; fewer rows read the weights more
 * often. Measured: 64 to 192 are within 3 %. */
enum { BLOCK_ROWS = 96 };
/* Parts of a team are cut at multiples of this: few enough rows to be nearly
 * equal, since a tile of four costs little more a row than one of eight. */
enum { PART_STEP = 4 };
/* Parts of columns are cut at multiples of the widest tile's three panels. */
enum { COLUMN_STEP = 3 * CR_PANEL };

static cr_status make(cr_workspace *ws, size_t floats, float **out,
                      cr_error *error) {
    size_t bytes = floats * sizeof **out;
    *out = cr_alloc_aligned(bytes);
    if (!*out)
        return cr_fail_memory(error, bytes, "a lane's workspace");
    ws->bytes += bytes;
    return CR_OK;
}

cr_status cr_workspace_init(cr_workspace *ws, const cr_weights *w,
                            size_t max_tokens, size_t max_length,
                            cr_error *error) {
    *ws = (cr_workspace){.max_tokens = max_tokens,
                         .max_sequences = max_tokens / CR_MIN_PAIR_TOKENS + 1};
    size_t widest = w->inner > w->head_row ? w->inner : w->head_row;
    widest = widest > w->width ? widest : w->width;
    const struct {
        float **out;
        size_t floats;
    } parts[] = {
        {&ws->x, max_tokens * w->width},
        {&ws->qkv, max_tokens * 3 * w->head_row},
        {&ws->heads, max_tokens * w->head_row},
        {&ws->first_x, ws->max_sequences * w->width},
        {&ws->first_heads, ws->max_sequences * w->head_row},
        {&ws->logits, ws->max_sequences * w->classifier.matrix.n},
        {&ws->sum, BLOCK_ROWS * w->width},
        {&ws->inner, BLOCK_ROWS * w->inner},
        {&ws->packed, BLOCK_ROWS * widest}, /* at most 4 bytes each */
        {&ws->scratch, cr_attention_scratch_floats(max_length, w->head_width)},
    };
    cr_status status = CR_OK;
    for (size_t i = 0; status == CR_OK && i < sizeof parts / sizeof *parts; i++)
        status = make(ws, parts[i].floats, parts[i].out, error);
    size_t bytes = BLOCK_ROWS * sizeof *ws->scales;
    if (status == CR_OK && !(ws->scales = cr_alloc_aligned(bytes)))
        status = cr_fail_memory(error, bytes, "a lane's workspace");
    ws->bytes += bytes;
    if (status != CR_OK)
        cr_workspace_fini(ws);
    return status;
}

void cr_workspace_fini(cr_workspace *ws) {
    cr_free_aligned(ws->x);
    cr_free_aligned(ws->qkv);
    cr_free_aligned(ws->heads);
    cr_free_aligned(ws->first_x);
    cr_free_aligned(ws->first_heads);
    cr_free_aligned(ws->logits);
    cr_free_aligned(ws->sum);
    cr_free_aligned(ws->inner);
    cr_free_aligned(ws->scratch);
    cr_free_aligned(ws->packed);
    cr_free_aligned(ws->scales);
    *ws = (cr_workspace){0};
}

/* Rows [first, end) of whatever is being split. */
typedef struct rows {
    size_t first;
    size_t end;
} rows;

static cr_epilogue epilogue_of(cr_hidden_act act) {
    switch (act) {
    case CR_ACT_GELU:
        return CR_EPILOGUE_GELU;
    case CR_ACT_GELU_NEW:
        return CR_EPILOGUE_GELU_NEW;
    case CR_ACT_RELU:
        return CR_EPILOGUE_RELU;
    }
    return CR_EPILOGUE_NONE;
}

/* A product as the layers ask for it, in float32 on both sides. */
typedef struct product {
    const cr_linear *linear;
    size_t column, n; /* of the linear's outputs; n 0: all */
    const float *a;   /* [m][linear->matrix.k] */
    size_t m;
    const float *residual; /* [m][width] or NULL */
    float *c;              /* [m][ldc] */
    size_t ldc;
    cr_epilogue epilogue;
} product;

/* Columns [column, column + n) of a matrix, both multiples of 16. */
static cr_matrix columns_of(const cr_encoding_job *job, const product *p) {
    cr_matrix b = p->linear->matrix;
    size_t b_bytes = job->kernels->gemm[p->linear->dtype]->b_bytes;
    b.panels = (const char *)b.panels + p->column * b.k * b_bytes;
    b.bias += p->column;
    b.scales += p->column;
    b.sums += p->column;
    b.offsets += p->column;
    b.n = p->n ? p->n : b.n;
    return b;
}

/* Runs a product in its linear's precision, a block of rows at a time: float32
 * rows are read where they are, others are converted first. */
static void multiply(const cr_encoding_job *job, const product *p) {
    const cr_workspace *ws = job->own;
    const cr_gemm_ops *ops = job->kernels->gemm[p->linear->dtype];
    cr_gemm g = {.b = columns_of(job, p),
                 .ld_residual = job->w->width,
                 .ldc = p->ldc,
                 .epilogue = p->epilogue,
                 .a_scales = ws->scales};
    g.a_step = g.b.k * ops->a_bytes;
    for (size_t row = 0; row < p->m; row += BLOCK_ROWS) {
        const float *a = p->a + row * g.b.k;
        g.m = p->m - row < BLOCK_ROWS ? p->m - row : BLOCK_ROWS;
        g.a = a;
        g.residual = p->residual ? p->residual + row * g.ld_residual : NULL;
        g.c = p->c + row * g.ldc;
        if (p->linear->dtype != CR_FP32) {
            ops->convert(a, g.b.k, g.m, g.b.k, ws->packed, ws->scales);
            g.a = ws->packed;
        }
        ops->run(&g);
    }
}

/* Other precisions have smaller weights, and rows to convert, which every
 * member would do for all: measured, that loses. */
static bool by_columns(const cr_encoding_job *job) {
    return job->team->n_members > 1 && job->group->n_tokens <= BLOCK_ROWS &&
           job->w->layers[0].qkv.dtype == CR_FP32;
}

/* This member's columns of a product of all rows. */
static void multiply_part(const cr_encoding_job *job, const product *p) {
    size_t n = p->n ? p->n : p->linear->matrix.n, first, end;
    cr_team_part(job->team, job->member, n, COLUMN_STEP, &first, &end);
    if (first == end)
        return;
    product part = *p;
    part.column += first;
    part.n = end - first;
    part.c += first;
    if (part.residual)
        part.residual += first;
    multiply(job, &part);
}

static void normalize(const cr_encoding_job *job, const cr_norm *norm,
                      const float *sum, size_t m, float *out) {
    const cr_weights *w = job->w;
    cr_layer_norm n = {.x = sum,
                       .out = out,
                       .ld = w->width,
                       .m = m,
                       .width = w->config.hidden_size,
                       .gain = norm->gain,
                       .bias = norm->bias,
                       .eps = w->config.layer_norm_eps};
    job->kernels->layer_norm(&n);
}

/* out = norm(a W + b + residual), through `sum`; m <= BLOCK_ROWS. */
static void multiply_add_norm(const cr_encoding_job *job,
                              const cr_linear *linear, const cr_norm *norm,
                              const float *a, size_t m, const float *residual,
                              float *out) {
    const cr_weights *w = job->w;
    multiply(job, &(product){.linear = linear,
                             .a = a,
                             .m = m,
                             .residual = residual,
                             .c = job->own->sum,
                             .ldc = w->width});
    normalize(job, norm, job->own->sum, m, out);
}

/* The same for all m rows, a member's columns and then its rows; all have met
 * before it, and have after it. */
static void multiply_add_norm_by_columns(const cr_encoding_job *job,
                                         const cr_linear *linear,
                                         const cr_norm *norm, const float *a,
                                         size_t m, float *x) {
    size_t width = job->w->width;
    float *sum = job->shared->sum;
    multiply_part(job, &(product){.linear = linear,
                                  .a = a,
                                  .m = m,
                                  .residual = x,
                                  .c = sum,
                                  .ldc = width});
    cr_team_meet(job->team);
    rows r;
    cr_team_part(job->team, job->member, m, 1, &r.first, &r.end);
    normalize(job, norm, sum + r.first * width, r.end - r.first,
              x + r.first * width);
    cr_team_meet(job->team);
}

/* The part of a layer that is a row's own business: attention's output linear
 * and the feed-forward part, over x[m][width] in place. */
static void after_attention(const cr_encoding_job *job, const cr_layer *layer,
                            const float *heads, float *x, size_t m) {
    const cr_weights *w = job->w;
    for (size_t row = 0; row < m; row += BLOCK_ROWS) {
        size_t n = m - row < BLOCK_ROWS ? m - row : BLOCK_ROWS;
        float *block = x + row * w->width;
        multiply_add_norm(job, &layer->attention_out, &layer->attention_norm,
                          heads + row * w->head_row, n, block, block);
        multiply(job,
                 &(product){.linear = &layer->up,
                            .a = block,
                            .m = n,
                            .c = job->own->inner,
                            .ldc = w->inner,
                            .epilogue = epilogue_of(w->config.hidden_act)});
        multiply_add_norm(job, &layer->down, &layer->output_norm,
                          job->own->inner, n, block, block);
    }
}

/* The same for all m rows, which are at most a block, with the rest of the
 * team. */
static void after_attention_by_columns(const cr_encoding_job *job,
                                       const cr_layer *layer,
                                       const float *heads, float *x, size_t m) {
    const cr_weights *w = job->w;
    float *inner = job->shared->inner;
    multiply_add_norm_by_columns(job, &layer->attention_out,
                                 &layer->attention_norm, heads, m, x);
    multiply_part(job,
                  &(product){.linear = &layer->up,
                             .a = x,
                             .m = m,
                             .c = inner,
                             .ldc = w->inner,
                             .epilogue = epilogue_of(w->config.hidden_act)});
    cr_team_meet(job->team);
    multiply_add_norm_by_columns(job, &layer->down, &layer->output_norm, inner,
                                 m, x);
}

static void embed(const cr_encoding_job *job, rows r) {
    const cr_weights *w = job->w;
    const cr_group *group = job->group;
    cr_embedding e = {.ids = group->ids + r.first,
                      .type_ids = group->type_ids + r.first,
                      .positions = group->positions + r.first,
                      .words = w->words,
                      .types = w->types,
                      .places = w->places,
                      .norm = {.out = job->shared->x + r.first * w->width,
                               .ld = w->width,
                               .m = r.end - r.first,
                               .width = w->config.hidden_size,
                               .gain = w->embedding_norm.gain,
                               .bias = w->embedding_norm.bias,
                               .eps = w->config.layer_norm_eps}};
    job->kernels->embedding(&e);
}

/* Attention of the query rows [r.first, r.end) of sequence `s`, counted from
 * the sequence's start. */
static void attend(const cr_encoding_job *job, size_t s, rows r) {
    const cr_weights *w = job->w;
    size_t start = job->group->starts[s];
    size_t head_size = w->config.hidden_size / w->config.n_heads;
    cr_attention_f32 a = {.qkv = job->shared->qkv + start * 3 * w->head_row,
                          .ld_qkv = 3 * w->head_row,
                          .length = job->group->starts[s + 1] - start,
                          .first_row = r.first,
                          .end_row = r.end,
                          .n_heads = w->config.n_heads,
                          .head_width = w->head_width,
                          .scale = 1 / sqrtf((float)head_size),
                          .out = job->shared->heads + start * w->head_row,
                          .ld_out = w->head_row,
                          .scratch = job->own->scratch};
    job->kernels->attention_f32(&a);
}

/* Attention of this member's rows, whichever sequences they are of. */
static void attend_rows(const cr_encoding_job *job, rows r) {
    const uint32_t *starts = job->group->starts;
    for (size_t s = 0; s < job->group->n_sequences; s++) {
        size_t first = r.first > starts[s] ? r.first : starts[s];
        size_t end = r.end < starts[s + 1] ? r.end : starts[s + 1];
        if (first < end)
            attend(job, s, (rows){first - starts[s], end - starts[s]});
    }
}

/* What attention reads, from column `column` on: this member's part of it. */
static void keys_and_values(const cr_encoding_job *job, const cr_layer *layer,
                            size_t column, rows r) {
    const cr_weights *w = job->w;
    const size_t row = 3 * w->head_row;
    product p = {.linear = &layer->qkv,
                 .column = column,
                 .n = row - column,
                 .a = job->shared->x,
                 .m = job->group->n_tokens,
                 .c = job->shared->qkv + column,
                 .ldc = row};
    if (by_columns(job)) {
        multiply_part(job, &p);
        return;
    }
    p.a += r.first * w->width;
    p.m = r.end - r.first;
    p.c += r.first * row;
    multiply(job, &p);
}

static void run_layer(const cr_encoding_job *job, const cr_layer *layer,
                      rows r) {
    const cr_weights *w = job->w;
    cr_workspace *ws = job->shared;
    keys_and_values(job, layer, 0, r);
    cr_team_meet(job->team);
    attend_rows(job, r);
    /* Keys and values may be overwritten only when all have read them. */
    cr_team_meet(job->team);
    if (by_columns(job))
        after_attention_by_columns(job, layer, ws->heads, ws->x,
                                   job->group->n_tokens);
    else
        after_attention(job, layer, ws->heads + r.first * w->head_row,
                        ws->x + r.first * w->width, r.end - r.first);
}

/* Attention of the first row of sequences [s.first, s.end), whose hidden
 * state is gathered in first_x, into first_heads. */
static void attend_first_rows(const cr_encoding_job *job, const cr_linear *qkv,
                              rows s) {
    const cr_weights *w = job->w;
    cr_workspace *ws = job->shared;
    const uint32_t *starts = job->group->starts;
    size_t bytes = w->head_row * sizeof *ws->qkv;
    float *queries = ws->first_heads; /* until attention replaces them */
    multiply(job, &(product){.linear = qkv,
                             .n = w->head_row,
                             .a = ws->first_x + s.first * w->width,
                             .m = s.end - s.first,
                             .c = queries + s.first * w->head_row,
                             .ldc = w->head_row});
    for (size_t i = s.first; i < s.end; i++) {
        float *query = queries + i * w->head_row;
        memcpy(ws->qkv + starts[i] * 3 * w->head_row, query, bytes);
        attend(job, i, (rows){0, 1});
        memcpy(query, ws->heads + starts[i] * w->head_row, bytes);
    }
}

/* Pooler and classifier of m gathered rows, into
 * logits[m][classifier.matrix.n]. */
static void classify(const cr_encoding_job *job, const float *x, size_t m,
                     float *logits) {
    const cr_weights *w = job->w;
    for (size_t row = 0; row < m; row += BLOCK_ROWS) {
        size_t n = m - row < BLOCK_ROWS ? m - row : BLOCK_ROWS;
        multiply(job, &(product){.linear = &w->pooler,
                                 .a = x + row * w->width,
                                 .m = n,
                                 .c = job->own->sum,
                                 .ldc = w->width,
                                 .epilogue = CR_EPILOGUE_TANH});
        size_t labels = w->classifier.matrix.n;
        multiply(job, &(product){.linear = &w->classifier,
                                 .a = job->own->sum,
                                 .m = n,
                                 .c = logits + row * labels,
                                 .ldc = labels});
    }
}

/* The last layer and the head: keys and values of all rows, the rest for the
 * first row of each sequence, gathered. */
static void run_last_layer(const cr_encoding_job *job, const cr_layer *layer,
                           rows r) {
    const cr_weights *w = job->w;
    cr_workspace *ws = job->shared;
    keys_and_values(job, layer, w->head_row, r);
    cr_team_meet(job->team);
    rows s;
    cr_team_part(job->team, job->member, job->group->n_sequences, 1, &s.first,
                 &s.end);
    float *first_x = ws->first_x + s.first * w->width;
    for (size_t i = s.first; i < s.end; i++)
        memcpy(ws->first_x + i * w->width,
               ws->x + job->group->starts[i] * w->width,
               w->width * sizeof *first_x);
    attend_first_rows(job, &layer->qkv, s);
    if (by_columns(job)) {
        cr_team_meet(job->team);
        after_attention_by_columns(job, layer, ws->first_heads, ws->first_x,
                                   job->group->n_sequences);
    } else {
        after_attention(job, layer, ws->first_heads + s.first * w->head_row,
                        first_x, s.end - s.first);
    }
    classify(job, first_x, s.end - s.first,
             ws->logits + s.first * w->classifier.matrix.n);
}

void cr_encode(const cr_encoding_job *job) {
    const cr_weights *w = job->w;
    assert(job->group->n_tokens <= job->shared->max_tokens);
    assert(job->group->n_sequences <= job->shared->max_sequences);
    rows r;
    cr_team_part(job->team, job->member, job->group->n_tokens, PART_STEP,
                 &r.first, &r.end);
    embed(job, r);
    if (by_columns(job))
        cr_team_meet(job->team);
    uint32_t last = w->config.n_layers - 1;
    for (uint32_t i = 0; i < last; i++)
        run_layer(job, &w->layers[i], r);
    run_last_layer(job, &w->layers[last], r);
    cr_team_meet(job->team);
}
