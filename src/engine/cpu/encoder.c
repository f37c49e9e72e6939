/* The forward pass, in the order of the data: embedding, layers, head.
 *
 * Rows are split between the members of a team and then into blocks that stay
 * in the second cache through the feed-forward part. Members meet where a row
 * needs others' rows: before attention, which reads all keys and values. Where
 * all rows are one block, products of float32 are split by columns instead, so
 * that weights are read once, not once a member, for more meetings. The
 * last layer is computed for the [CLS] rows alone, since only they are read;
 * where these are few, its products are split by columns in every precision. */
#include "engine/cpu/encoder.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Parts of a team are cut at multiples of this, or of what is multiplied
 * together: where that is no more, they are nearly equal, since a tile of four
 * rows costs little more a row than one of eight. */
enum { PART_STEP = 4 };
/* [CLS] rows up to which reading the weights takes longer than computing. */
enum { FEW_ROWS = 8 };
/* Parts of columns are cut at multiples of the widest tile's three panels. */
enum { COLUMN_STEP = 3 * CR_PANEL };

/* The products of the layers, and of the head. */
static const cr_gemm_ops *layers_ops(const cr_weights *w) {
    return w->kernels->gemm[w->dtype];
}
static const cr_gemm_ops *head_ops(const cr_weights *w) {
    return w->kernels->gemm[CR_FP32];
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

size_t cr_encode_team_tokens(const cr_weights *w) {
    return most(PART_STEP, layers_ops(w)->row_step);
}

/* That of the layers' precision, or float32's where heads are too narrow. */
static const cr_attention_ops *attention_ops(const cr_weights *w) {
    const cr_attention_ops *ops = w->kernels->attention[w->dtype];
    bool suits = w->head_width % ops->terms == 0;
    return suits ? ops : w->kernels->attention[CR_FP32];
}

/* Whether the first linear of the feed-forward part leaves what the second
 * reads. */
static bool converts_inner(const cr_weights *w) {
    return w->dtype == CR_BF16 && layers_ops(w)->apart;
}

static size_t qkv_bytes(const cr_weights *w) {
    return attention_ops(w)->reads == CR_RESULT_BF16 ? sizeof(uint16_t)
                                                     : sizeof(float);
}

static void *make(cr_workspace *ws, size_t bytes) {
    ws->bytes += bytes;
    return cr_alloc_aligned(bytes);
}

cr_status cr_workspace_init(cr_workspace *ws, const cr_weights *w,
                            size_t max_tokens, size_t max_length,
                            cr_error *error) {
    *ws = (cr_workspace){.max_tokens = max_tokens,
                         .max_sequences = max_tokens / CR_MIN_TEXT_TOKENS + 1};
    const cr_gemm_ops *layers = layers_ops(w), *head = head_ops(w);
    const size_t each = sizeof(float), sequences = ws->max_sequences;
    size_t most_rows = most(layers->block, head->block);
    size_t widest = most(most(w->inner, w->head_row), w->width);
    /* The head is float32, which is read as it is. */
    size_t packed = w->dtype == CR_FP32
                        ? 0
                        : cr_gemm_a_bytes(layers, layers->block, widest);
    size_t inner = layers->block * w->inner * each;
    if (converts_inner(w))
        inner = cr_gemm_a_bytes(layers, layers->block, w->inner);
    size_t qkv_rows = max_tokens + CR_HEAD_ROWS; /* some may be read behind */
    size_t scratch = cr_attention_scratch_floats(max_length, w->head_width);
    bool made =
        (ws->x = make(ws, max_tokens * w->width * each)) &&
        (ws->qkv = make(ws, qkv_rows * 3 * w->head_row * qkv_bytes(w))) &&
        (ws->heads = make(ws, max_tokens * w->head_row * each)) &&
        (ws->first_x = make(ws, sequences * w->width * each)) &&
        (ws->first_heads = make(ws, sequences * w->head_row * each)) &&
        (ws->logits = make(ws, sequences * w->classifier.matrix.n * each)) &&
        (ws->sum = make(ws, most_rows * w->width * each)) &&
        (ws->inner = make(ws, inner)) && (ws->packed = make(ws, packed)) &&
        (ws->scratch = make(ws, scratch * each)) &&
        (ws->scales = make(ws, most_rows * sizeof *ws->scales));
    if (made)
        return CR_OK;
    uint64_t bytes = ws->bytes;
    cr_workspace_fini(ws);
    return cr_fail_memory(error, bytes, "a lane's workspace");
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

/* A product as the layers ask for it. */
typedef struct product {
    const cr_linear *linear;
    size_t column, n; /* of the linear's outputs; n 0: all */
    const void *a;    /* [m][linear->matrix.k] float32, or converted */
    bool converted;
    size_t m;
    const float *residual; /* [m][width] or NULL */
    void *c;               /* [m][ldc] */
    size_t ldc;
    cr_result result;
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

/* Bytes of m rows, a multiple of row_step, of what a product leaves. */
static size_t result_bytes(const cr_gemm_ops *ops, const product *p, size_t m) {
    switch (p->result) {
    case CR_RESULT_CONVERTED:
        return cr_gemm_a_bytes(ops, m, p->linear->matrix.n);
    case CR_RESULT_BF16:
        return m * p->ldc * sizeof(uint16_t);
    case CR_RESULT_FP32:
        break;
    }
    return m * p->ldc * sizeof(float);
}

/* Runs a product in its linear's precision, a block of rows at a time: float32
 * rows are read where they are, others are converted first. */
static void multiply(const cr_encoding_job *job, const product *p) {
    const cr_workspace *ws = job->own;
    const cr_gemm_ops *ops = job->kernels->gemm[p->linear->dtype];
    bool as_is = p->converted || p->linear->dtype == CR_FP32;
    cr_gemm g = {.b = columns_of(job, p),
                 .ld_residual = job->w->width,
                 .ldc = p->ldc,
                 .result = p->result,
                 .epilogue = p->epilogue,
                 .a_scales = ws->scales};
    const size_t k = g.b.k, block = cr_gemm_block(ops, p->m);
    for (size_t row = 0; row < p->m; row += block) {
        g.m = p->m - row < block ? p->m - row : block;
        g.residual = p->residual ? p->residual + row * g.ld_residual : NULL;
        g.c = (char *)p->c + result_bytes(ops, p, row);
        if (as_is) {
            g.a = (const char *)p->a + cr_gemm_a_bytes(ops, row, k);
        } else {
            const float *a = p->a;
            ops->convert(a + row * k, k, g.m, k, ws->packed, ws->scales);
            g.a = ws->packed;
        }
        ops->run(&g);
    }
}

/* Other precisions have smaller weights, and rows to convert, which every
 * member would do for all: measured, that loses. */
static bool by_columns(const cr_encoding_job *job) {
    return job->team->n_members > 1 && job->w->dtype == CR_FP32 &&
           job->group->n_tokens <= layers_ops(job->w)->block;
}

/* A few rows are soon converted. */
static bool last_by_columns(const cr_encoding_job *job) {
    return by_columns(job) ||
           (job->team->n_members > 1 && !layers_ops(job->w)->apart &&
            job->group->n_sequences <= FEW_ROWS);
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
    part.c = (float *)p->c + first;
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

/* x = norm(a W + b + x), through `sum` where a product needs it; m is at most
 * a block. */
static void multiply_add_norm(const cr_encoding_job *job,
                              const cr_linear *linear, const cr_norm *norm,
                              const void *a, bool converted, size_t m,
                              float *x) {
    const cr_weights *w = job->w;
    float *sum = layers_ops(w)->apart ? x : job->own->sum;
    multiply(job, &(product){.linear = linear,
                             .a = a,
                             .converted = converted,
                             .m = m,
                             .residual = x,
                             .c = sum,
                             .ldc = w->width});
    normalize(job, norm, sum, m, x);
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
    const size_t most_rows = cr_gemm_block(layers_ops(w), m);
    const bool converted = converts_inner(w);
    for (size_t row = 0; row < m; row += most_rows) {
        size_t n = m - row < most_rows ? m - row : most_rows;
        float *block = x + row * w->width;
        multiply_add_norm(job, &layer->attention_out, &layer->attention_norm,
                          heads + row * w->head_row, false, n, block);
        multiply(job,
                 &(product){.linear = &layer->up,
                            .a = block,
                            .m = n,
                            .c = job->own->inner,
                            .ldc = w->inner,
                            .result = converted ? CR_RESULT_CONVERTED
                                                : CR_RESULT_FP32,
                            .epilogue = epilogue_of(w->config.hidden_act)});
        multiply_add_norm(job, &layer->down, &layer->output_norm,
                          job->own->inner, converted, n, block);
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

/* Row `token` of what attention reads, from column `column` on. */
static void *qkv_at(const cr_encoding_job *job, size_t token, size_t column) {
    const cr_weights *w = job->w;
    return (char *)job->shared->qkv +
           (token * 3 * w->head_row + column) * qkv_bytes(w);
}

/* Attention of the query rows [r.first, r.end) of sequence `s`, counted from
 * the sequence's start. */
static void attend(const cr_encoding_job *job, size_t s, rows r) {
    const cr_weights *w = job->w;
    const size_t start = job->group->starts[s];
    const size_t length = job->group->starts[s + 1] - start;
    const size_t head_size = w->config.hidden_size / w->config.n_heads;
    const cr_attention a = {.qkv = qkv_at(job, start, 0),
                            .ld_qkv = 3 * w->head_row,
                            .length = length,
                            .first_row = r.first,
                            .end_row = r.end,
                            .n_heads = w->config.n_heads,
                            .head_width = w->head_width,
                            .scale = 1 / sqrtf((float)head_size),
                            .out = job->shared->heads + start * w->head_row,
                            .ld_out = w->head_row,
                            .scratch = job->own->scratch};
    attention_ops(w)->run(&a);
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
                 .c = qkv_at(job, 0, column),
                 .ldc = row,
                 .result = attention_ops(w)->reads};
    if (by_columns(job)) {
        multiply_part(job, &p);
        return;
    }
    p.a = job->shared->x + r.first * w->width;
    p.m = r.end - r.first;
    p.c = qkv_at(job, r.first, column);
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
    const size_t row_bytes = w->head_row * sizeof *ws->first_heads;
    /* Until attention replaces them; a row takes a row of float32. */
    float *queries = ws->first_heads;
    multiply(job, &(product){.linear = qkv,
                             .n = w->head_row,
                             .a = ws->first_x + s.first * w->width,
                             .m = s.end - s.first,
                             .c = queries + s.first * w->head_row,
                             .ldc = row_bytes / qkv_bytes(w),
                             .result = attention_ops(w)->reads});
    for (size_t i = s.first; i < s.end; i++) {
        float *query = queries + i * w->head_row;
        memcpy(qkv_at(job, starts[i], 0), query, w->head_row * qkv_bytes(w));
        attend(job, i, (rows){0, 1});
        memcpy(query, ws->heads + starts[i] * w->head_row, row_bytes);
    }
}

/* Pooler and classifier of m gathered rows, into
 * logits[m][classifier.matrix.n]. */
static void classify(const cr_encoding_job *job, const float *x, size_t m,
                     float *logits) {
    const cr_weights *w = job->w;
    const size_t most_rows = head_ops(w)->block;
    for (size_t row = 0; row < m; row += most_rows) {
        size_t n = m - row < most_rows ? m - row : most_rows;
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

/* The same for all m rows, which are at most a block, with the rest of the
 * team. */
static void classify_by_columns(const cr_encoding_job *job, const float *x,
                                size_t m, float *logits) {
    const cr_weights *w = job->w;
    float *pooled = job->shared->sum;
    multiply_part(job, &(product){.linear = &w->pooler,
                                  .a = x,
                                  .m = m,
                                  .c = pooled,
                                  .ldc = w->width,
                                  .epilogue = CR_EPILOGUE_TANH});
    cr_team_meet(job->team);
    rows r;
    cr_team_part(job->team, job->member, m, 1, &r.first, &r.end);
    size_t labels = w->classifier.matrix.n;
    multiply(job, &(product){.linear = &w->classifier,
                             .a = pooled + r.first * w->width,
                             .m = r.end - r.first,
                             .c = logits + r.first * labels,
                             .ldc = labels});
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
    if (last_by_columns(job)) {
        size_t m = job->group->n_sequences;
        cr_team_meet(job->team);
        after_attention_by_columns(job, layer, ws->first_heads, ws->first_x, m);
        classify_by_columns(job, ws->first_x, m, ws->logits);
    } else {
        after_attention(job, layer, ws->first_heads + s.first * w->head_row,
                        first_x, s.end - s.first);
        classify(job, first_x, s.end - s.first,
                 ws->logits + s.first * w->classifier.matrix.n);
    }
}

void cr_encode(const cr_encoding_job *job) {
    const cr_weights *w = job->w;
    assert(job->group->n_tokens <= job->shared->max_tokens);
    assert(job->group->n_sequences <= job->shared->max_sequences);
    rows r;
    cr_team_part(job->team, job->member, job->group->n_tokens,
                 cr_encode_team_tokens(w), &r.first, &r.end);
    embed(job, r);
    if (by_columns(job))
        cr_team_meet(job->team);
    uint32_t last = w->config.n_layers - 1;
    for (uint32_t i = 0; i < last; i++)
        run_layer(job, &w->layers[i], r);
    run_last_layer(job, &w->layers[last], r);
    cr_team_meet(job->team);
}
