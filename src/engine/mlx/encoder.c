/* The graph: embeddings, layers, pooler, classifier; and its weights. */
#include "engine/mlx/encoder.h"

#include "base/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_HANDLES = 128, NAME_BYTES = 256 };

typedef struct linear {
    mlx_array weight; /* [inputs][outputs], a view of the file's */
    mlx_array bias;
} linear;

typedef struct norm {
    mlx_array gain;
    mlx_array bias;
} norm;

typedef struct layer {
    linear query, key, value, attention_out, up, down;
    norm attention_norm, output_norm;
} layer;

struct cr_mlx_encoder {
    cr_model_config config;
    mlx_dtype dtype;
    mlx_stream stream;
    mlx_array words, places, types;
    norm embedding_norm;
    layer *layers; /* [n_layers] */
    linear pooler, classifier;
    /* Every weight above once more, to be freed. */
    mlx_array *weights;
    size_t n_weights, max_weights;
    uint64_t weight_bytes;
    /* A batch before MLX copies it. */
    int32_t *ids, *type_ids, *positions; /* [capacity] */
    bool *visible;
    size_t capacity;
    /* Handles of the part of the graph that is being built. */
    mlx_array handles[MAX_HANDLES];
    size_t n_handles;
    bool failed; /* what follows a failure fails too, and changes nothing */
};

/* ---- Errors ------------------------------------------------------------- */

/* MLX calls its handler in the thread that failed. */
static _Thread_local char said[400];

static void on_error(const char *message, void *data) {
    (void)data;
    if (!said[0]) /* the first is the cause */
        snprintf(said, sizeof said, "%s", message);
}

void cr_mlx_catch_errors(void) { mlx_set_error_handler(on_error, NULL, NULL); }

cr_status cr_mlx_fail(cr_error *error, cr_status status, const char *doing) {
    cr_fail(error, status, "MLX failed %s: %s", doing,
            said[0] ? said : "it gave no reason");
    said[0] = '\0';
    return status;
}

/* ---- Handles ------------------------------------------------------------ */

typedef cr_mlx_encoder encoder;

/* A handle for the next result. */
static mlx_array *slot(encoder *e) {
    assert(e->n_handles < MAX_HANDLES);
    e->handles[e->n_handles] = mlx_array_new();
    return &e->handles[e->n_handles++];
}

/* Frees all handles but `kept`, which becomes the first. */
static mlx_array keep_only(encoder *e, mlx_array kept) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_handles; i++) {
        if (kept.ctx && e->handles[i].ctx == kept.ctx)
            e->handles[n++] = kept;
        else
            mlx_array_free(e->handles[i]);
    }
    e->n_handles = n;
    return kept;
}

static mlx_array result(encoder *e, mlx_array *out, int code) {
    e->failed |= code != 0;
    return *out;
}

/* `call` has its result in *out. */
#define OP(e, call)                                                            \
    do {                                                                       \
        mlx_array *out = slot(e);                                              \
        return result(e, out, (call));                                         \
    } while (0)

/* ---- Operations --------------------------------------------------------- */

static mlx_array add(encoder *e, mlx_array a, mlx_array b) {
    OP(e, mlx_add(out, a, b, e->stream));
}

static mlx_array multiply(encoder *e, mlx_array a, mlx_array b) {
    OP(e, mlx_multiply(out, a, b, e->stream));
}

static mlx_array cast(encoder *e, mlx_array a, mlx_dtype dtype) {
    OP(e, mlx_astype(out, a, dtype, e->stream));
}

/* In the working type: a float32 would make all that follows float32. */
static mlx_array scalar(encoder *e, float value) {
    mlx_array *f = slot(e);
    *f = mlx_array_new_float32(value);
    return cast(e, *f, e->dtype);
}

static mlx_array reshape(encoder *e, mlx_array a, const int *sizes, size_t n) {
    OP(e, mlx_reshape(out, a, sizes, n, e->stream));
}

static mlx_array swap_middle(encoder *e, mlx_array a) {
    const int axes[] = {0, 2, 1, 3};
    OP(e, mlx_transpose_axes(out, a, axes, 4, e->stream));
}

static mlx_array take(encoder *e, mlx_array table, mlx_array rows) {
    OP(e, mlx_take_axis(out, table, rows, 0, e->stream));
}

static mlx_array normalize(encoder *e, mlx_array x, const norm *n) {
    OP(e, mlx_fast_layer_norm(out, x, n->gain, n->bias,
                              e->config.layer_norm_eps, e->stream));
}

static mlx_array apply(encoder *e, const linear *l, mlx_array x) {
    OP(e, mlx_addmm(out, l->bias, x, l->weight, 1, 1, e->stream));
}

static mlx_array tangent(encoder *e, mlx_array x) {
    OP(e, mlx_tanh(out, x, e->stream));
}

static mlx_array error_function(encoder *e, mlx_array x) {
    OP(e, mlx_erf(out, x, e->stream));
}

static mlx_array larger(encoder *e, mlx_array a, mlx_array b) {
    OP(e, mlx_maximum(out, a, b, e->stream));
}

static mlx_array attend(encoder *e, mlx_array q, mlx_array k, mlx_array v,
                        mlx_array mask) {
    float width = (float)(e->config.hidden_size / e->config.n_heads);
    const mlx_array none = {0};
    OP(e, mlx_fast_scaled_dot_product_attention(out, q, k, v, 1 / sqrtf(width),
                                                "array", mask, none, false,
                                                e->stream));
}

/* [rows][columns] of `a`, from its start. */
static mlx_array first_part(encoder *e, mlx_array a, const int *end,
                            size_t n_dims) {
    const int zeros[] = {0, 0, 0}, ones[] = {1, 1, 1};
    OP(e,
       mlx_slice(out, a, zeros, n_dims, end, n_dims, ones, n_dims, e->stream));
}

/* ---- The model ---------------------------------------------------------- */

/* x (1 + tanh(...)) / 2 or x (1 + erf(...)) / 2. */
static mlx_array gelu(encoder *e, mlx_array x, mlx_array bend) {
    mlx_array half = multiply(e, x, scalar(e, 0.5f));
    return multiply(e, half, add(e, bend, scalar(e, 1)));
}

static mlx_array activate(encoder *e, mlx_array x) {
    switch (e->config.hidden_act) {
    case CR_ACT_RELU:
        return larger(e, x, scalar(e, 0));
    case CR_ACT_GELU_NEW: {
        mlx_array cube = multiply(e, multiply(e, x, x), x);
        mlx_array sum = add(e, x, multiply(e, cube, scalar(e, 0.044715f)));
        const float root = 0.79788456080286536f; /* of 2 / pi */
        return gelu(e, x, tangent(e, multiply(e, sum, scalar(e, root))));
    }
    case CR_ACT_GELU:
        break;
    }
    const float root = 0.70710678118654752f; /* of 1 / 2 */
    return gelu(e, x, error_function(e, multiply(e, x, scalar(e, root))));
}

typedef struct shape {
    int rows, length, hidden, heads;
} shape;

/* [rows * length][hidden] to [rows][heads][length][width]. */
static mlx_array split_heads(encoder *e, mlx_array x, shape s) {
    const int to[] = {s.rows, s.length, s.heads, s.hidden / s.heads};
    return swap_middle(e, reshape(e, x, to, 4));
}

static mlx_array run_layer(encoder *e, const layer *l, mlx_array x,
                           mlx_array mask, shape s) {
    const int flat[] = {s.rows * s.length, s.hidden};
    mlx_array q = split_heads(e, apply(e, &l->query, x), s);
    mlx_array k = split_heads(e, apply(e, &l->key, x), s);
    mlx_array v = split_heads(e, apply(e, &l->value, x), s);
    mlx_array heads = swap_middle(e, attend(e, q, k, v, mask));
    heads = reshape(e, heads, flat, 2);
    x = normalize(e, add(e, apply(e, &l->attention_out, heads), x),
                  &l->attention_norm);
    mlx_array inner = activate(e, apply(e, &l->up, x));
    return normalize(e, add(e, apply(e, &l->down, inner), x), &l->output_norm);
}

/* RoBERTa's rows depend on the ids; BERT's are the first ones for everybody. */
static mlx_array embed(encoder *e, mlx_array ids, mlx_array type_ids,
                       mlx_array positions, shape s) {
    const int end[] = {s.length, s.hidden};
    const int flat[] = {s.rows * s.length, s.hidden};
    mlx_array places = e->config.is_roberta ? take(e, e->places, positions)
                                            : first_part(e, e->places, end, 2);
    mlx_array words = take(e, e->words, ids);
    mlx_array x = add(e, add(e, words, take(e, e->types, type_ids)), places);
    return normalize(e, reshape(e, x, flat, 2), &e->embedding_norm);
}

/* The head, in float32 as on the cpu backend. */
static mlx_array classify(encoder *e, mlx_array x, shape s) {
    const int rows[] = {s.rows, s.length, s.hidden};
    const int first[] = {s.rows, 1, s.hidden}, flat[] = {s.rows, s.hidden};
    x = first_part(e, reshape(e, x, rows, 3), first, 3);
    x = cast(e, reshape(e, x, flat, 2), MLX_FLOAT32);
    return apply(e, &e->classifier, tangent(e, apply(e, &e->pooler, x)));
}

/* ---- A batch ------------------------------------------------------------ */

static cr_status make_room(encoder *e, size_t tokens, cr_error *error) {
    if (tokens <= e->capacity)
        return CR_OK;
    cr_free(e->ids);
    cr_free(e->type_ids);
    cr_free(e->positions);
    cr_free(e->visible);
    e->capacity = 0;
    e->ids = cr_calloc(tokens, sizeof *e->ids);
    e->type_ids = cr_calloc(tokens, sizeof *e->type_ids);
    e->positions = cr_calloc(tokens, sizeof *e->positions);
    e->visible = cr_calloc(tokens, sizeof *e->visible);
    if (!e->ids || !e->type_ids || !e->positions || !e->visible)
        return cr_fail_memory(error, tokens * 13, "a padded batch");
    e->capacity = tokens;
    return CR_OK;
}

/* MLX reads stray memory for an id that its table does not have. */
static bool is_sound(const encoder *e, const cr_group *g, uint32_t from,
                     uint32_t end) {
    for (uint32_t i = from; i < end; i++)
        if (g->ids[i] < 0 || (uint32_t)g->ids[i] >= e->config.vocab_size ||
            g->type_ids[i] >= e->config.n_types ||
            g->positions[i] >= cr_model_position_rows(&e->config))
            return false;
    return true;
}

static cr_status fill(encoder *e, const cr_group *g, const cr_padded_batch *b,
                      cr_error *error) {
    size_t tokens = (size_t)b->n_rows * b->length;
    cr_status status = make_room(e, tokens, error);
    if (status != CR_OK)
        return status;
    memset(e->ids, 0, tokens * sizeof *e->ids);
    memset(e->type_ids, 0, tokens * sizeof *e->type_ids);
    memset(e->positions, 0, tokens * sizeof *e->positions);
    memset(e->visible, 0, tokens * sizeof *e->visible);
    for (uint32_t row = 0; row < b->n_rows; row++) {
        uint32_t from = g->starts[b->rows[row]];
        uint32_t end = g->starts[b->rows[row] + 1];
        size_t at = (size_t)row * b->length;
        if (end - from > b->length || b->length > e->config.max_positions ||
            !is_sound(e, g, from, end))
            return cr_fail(error, CR_ERR_INTERNAL,
                           "a sequence of %u tokens is out of the model's "
                           "limits",
                           end - from);
        for (uint32_t i = from; i < end; i++, at++) {
            e->ids[at] = g->ids[i];
            e->type_ids[at] = g->type_ids[i];
            e->positions[at] = (int32_t)g->positions[i];
            e->visible[at] = true;
        }
    }
    return CR_OK;
}

static mlx_array input(encoder *e, const void *data, const int *sizes, int dims,
                       mlx_dtype dtype) {
    mlx_array *out = slot(e);
    *out = mlx_array_new_data(data, sizes, dims, dtype);
    e->failed |= !out->ctx;
    return *out;
}

cr_status cr_mlx_encode(encoder *e, const cr_group *group,
                        const cr_padded_batch *batch, mlx_array *logits,
                        cr_error *error) {
    cr_status status = fill(e, group, batch, error);
    *logits = (mlx_array){0};
    if (status != CR_OK)
        return status;
    shape s = {(int)batch->n_rows, (int)batch->length,
               (int)e->config.hidden_size, (int)e->config.n_heads};
    const int plain[] = {s.rows, s.length}, mask[] = {s.rows, 1, 1, s.length};
    e->failed = false;
    mlx_array visible = mlx_array_new_data(e->visible, mask, 4, MLX_BOOL);
    mlx_array ids = input(e, e->ids, plain, 2, MLX_INT32);
    mlx_array type_ids = input(e, e->type_ids, plain, 2, MLX_INT32);
    mlx_array positions = input(e, e->positions, plain, 2, MLX_INT32);
    mlx_array x = keep_only(e, embed(e, ids, type_ids, positions, s));
    for (uint32_t i = 0; !e->failed && i < e->config.n_layers; i++)
        x = keep_only(e, run_layer(e, &e->layers[i], x, visible, s));
    mlx_array last = classify(e, x, s);
    mlx_array whole = mlx_array_new();
    e->failed |= mlx_contiguous(&whole, last, false, e->stream) != 0;
    keep_only(e, (mlx_array){0});
    mlx_array_free(visible);
    if (e->failed) {
        mlx_array_free(whole);
        return cr_mlx_fail(error, CR_ERR_INTERNAL, "to build a batch");
    }
    *logits = whole;
    return CR_OK;
}

/* ---- Weights ------------------------------------------------------------ */

typedef struct loader {
    const cr_model *model;
    encoder *e;
    float *raw; /* a tensor as read */
    cr_error *error;
    cr_status status; /* after a failure nothing more is read */
} loader;

/* Converts, evaluates and keeps what is in l->raw. */
static mlx_array keep_tensor(loader *l, const int *dims, int n_dims,
                             bool transpose, mlx_dtype dtype) {
    encoder *e = l->e;
    e->failed = false;
    mlx_array a = cast(e, input(e, l->raw, dims, n_dims, MLX_FLOAT32), dtype);
    mlx_array kept = mlx_array_new();
    e->failed |= transpose ? mlx_transpose(&kept, a, e->stream) != 0
                           : mlx_array_set(&kept, a) != 0;
    e->failed = e->failed || mlx_array_eval(kept) != 0;
    keep_only(e, (mlx_array){0});
    if (e->failed) {
        mlx_array_free(kept);
        l->status = cr_mlx_fail(l->error, CR_ERR_MEMORY, "to take a weight");
        return (mlx_array){0};
    }
    assert(e->n_weights < e->max_weights);
    e->weights[e->n_weights++] = kept;
    e->weight_bytes += mlx_array_nbytes(kept);
    return kept;
}

/* Names are ours and short. */
static void join(char name[NAME_BYTES], const char *prefix, const char *part) {
    int n = snprintf(name, NAME_BYTES, "%s%s", prefix, part);
    assert(n > 0 && n < NAME_BYTES);
    (void)n;
}

/* A matrix [rows][columns], or a vector [rows] where columns is 0. */
static mlx_array load(loader *l, const char *prefix, const char *part,
                      size_t rows, size_t columns, mlx_dtype dtype) {
    char name[NAME_BYTES];
    join(name, prefix, part);
    if (l->status == CR_OK)
        l->status = cr_model_read_tensor(l->model, name, rows, columns, l->raw,
                                         l->error);
    if (l->status != CR_OK)
        return (mlx_array){0};
    const int dims[] = {(int)rows, (int)columns};
    bool is_table = strstr(name, "embeddings.weight") != NULL;
    return keep_tensor(l, dims, columns ? 2 : 1, columns && !is_table, dtype);
}

static linear load_linear(loader *l, const char *prefix, const char *part,
                          size_t inputs, size_t outputs, mlx_dtype dtype) {
    char name[NAME_BYTES];
    join(name, prefix, part);
    return (linear){.weight = load(l, name, ".weight", outputs, inputs, dtype),
                    .bias = load(l, name, ".bias", outputs, 0, dtype)};
}

static norm load_norm(loader *l, const char *prefix, const char *part) {
    size_t size = l->e->config.hidden_size;
    char name[NAME_BYTES];
    join(name, prefix, part);
    return (norm){.gain = load(l, name, ".weight", size, 0, l->e->dtype),
                  .bias = load(l, name, ".bias", size, 0, l->e->dtype)};
}

static layer load_layer(loader *l, uint32_t index) {
    size_t h = l->e->config.hidden_size, n = l->e->config.intermediate_size;
    mlx_dtype t = l->e->dtype;
    char p[NAME_BYTES];
    snprintf(p, sizeof p, "bert.encoder.layer.%u.", index);
    return (layer){
        .query = load_linear(l, p, "attention.self.query", h, h, t),
        .key = load_linear(l, p, "attention.self.key", h, h, t),
        .value = load_linear(l, p, "attention.self.value", h, h, t),
        .attention_out = load_linear(l, p, "attention.output.dense", h, h, t),
        .attention_norm = load_norm(l, p, "attention.output.LayerNorm"),
        .up = load_linear(l, p, "intermediate.dense", h, n, t),
        .down = load_linear(l, p, "output.dense", n, h, t),
        .output_norm = load_norm(l, p, "output.LayerNorm")};
}

static void load_all(loader *l) {
    encoder *e = l->e;
    const cr_model_config *c = &e->config;
    const char *p = "bert.embeddings.";
    size_t h = c->hidden_size;
    e->words = load(l, p, "word_embeddings.weight", c->vocab_size, h, e->dtype);
    e->types =
        load(l, p, "token_type_embeddings.weight", c->n_types, h, e->dtype);
    e->places = load(l, p, "position_embeddings.weight",
                     cr_model_position_rows(c), h, e->dtype);
    e->embedding_norm = load_norm(l, p, "LayerNorm");
    for (uint32_t i = 0; l->status == CR_OK && i < c->n_layers; i++)
        e->layers[i] = load_layer(l, i);
    e->pooler = load_linear(l, "bert.pooler.", "dense", h, h, MLX_FLOAT32);
    e->classifier =
        load_linear(l, "classifier", "", h, c->n_labels, MLX_FLOAT32);
}

static size_t most(size_t a, size_t b) { return a > b ? a : b; }

/* Floats of the largest tensor. */
static size_t largest(const cr_model_config *c) {
    size_t rows = most(most(c->vocab_size, c->max_positions),
                       most(c->intermediate_size, c->hidden_size));
    return rows * c->hidden_size;
}

cr_status cr_mlx_encoder_new(const cr_model *model, mlx_device_type device,
                             mlx_dtype dtype, encoder **out, cr_error *error) {
    encoder *e = cr_calloc(1, sizeof *e);
    *out = NULL;
    if (!e)
        return cr_fail_memory(error, sizeof *e, "an encoder");
    e->config = *cr_model_get_config(model);
    e->dtype = dtype;
    e->max_weights = 5 + 16 * (size_t)e->config.n_layers + 4;
    size_t bytes = largest(&e->config) * sizeof(float);
    loader l = {.model = model, .e = e, .raw = cr_alloc(bytes), .error = error};
    e->layers = cr_calloc(e->config.n_layers, sizeof *e->layers);
    e->weights = cr_calloc(e->max_weights, sizeof *e->weights);
    if (!l.raw || !e->layers || !e->weights)
        l.status = cr_fail_memory(error, bytes, "weights");
    if (l.status == CR_OK) {
        e->stream = device == MLX_GPU ? mlx_default_gpu_stream_new()
                                      : mlx_default_cpu_stream_new();
        if (!e->stream.ctx)
            l.status = cr_mlx_fail(error, CR_ERR_UNAVAILABLE,
                                   "to open a stream on the device");
    }
    if (l.status == CR_OK)
        load_all(&l);
    cr_free(l.raw);
    if (l.status != CR_OK)
        cr_mlx_encoder_free(e);
    else
        *out = e;
    return l.status;
}

void cr_mlx_encoder_free(encoder *e) {
    if (!e)
        return;
    for (size_t i = 0; i < e->n_weights; i++)
        mlx_array_free(e->weights[i]);
    if (e->stream.ctx)
        mlx_stream_free(e->stream);
    cr_free(e->weights);
    cr_free(e->layers);
    cr_free(e->ids);
    cr_free(e->type_ids);
    cr_free(e->positions);
    cr_free(e->visible);
    cr_free(e);
}

uint64_t cr_mlx_encoder_weight_bytes(const encoder *e) {
    return e->weight_bytes;
}
