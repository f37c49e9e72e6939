/* Loading: each tensor is read as float32, packed, and forgotten. */
#include "engine/cpu/weights.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static size_t padded(size_t n) {
    return (n + CR_PANEL - 1) / CR_PANEL * CR_PANEL;
}

/* What loading carries along, and how much of the arena is taken. */
typedef struct loader {
    const cr_model *model;
    cr_weights *w;
    float *raw;    /* a tensor as read */
    float *panels; /* a matrix before it is packed */
    size_t taken;  /* bytes */
    cr_error *error;
} loader;

static size_t aligned(size_t bytes) {
    return (bytes + CR_ALIGN - 1) / CR_ALIGN * CR_ALIGN;
}

/* The next part of the arena. */
static void *make(loader *l, size_t bytes) {
    char *part = l->w->arena + l->taken;
    l->taken += aligned(bytes);
    assert(l->taken <= l->w->bytes);
    return part;
}

static float *make_floats(loader *l, size_t n) {
    return make(l, n * sizeof(float));
}

/* What make_linear takes. */
static size_t linear_bytes(const cr_weights *w, size_t k, size_t n,
                           cr_dtype dtype) {
    return aligned(k * n * w->kernels->gemm[dtype]->b_bytes) +
           4 * aligned(n * sizeof(float));
}

/* Bytes of all parts together. */
static size_t arena_bytes(const cr_weights *w) {
    const cr_model_config *c = &w->config;
    size_t row = aligned(w->width * sizeof(float));
    size_t tables =
        (size_t)c->vocab_size + c->n_types + cr_model_position_rows(c);
    size_t layer = linear_bytes(w, w->width, 3 * w->head_row, w->dtype) +
                   linear_bytes(w, w->head_row, w->width, w->dtype) +
                   linear_bytes(w, w->width, w->inner, w->dtype) +
                   linear_bytes(w, w->inner, w->width, w->dtype) + 4 * row;
    size_t head = linear_bytes(w, w->width, w->width, CR_FP32) +
                  linear_bytes(w, w->width, padded(c->n_labels), CR_FP32);
    return (tables + 2) * row + c->n_layers * layer + head;
}

/* A part of a model width that is padded by itself: `n` blocks (heads, or 1)
 * of `size` elements, which take `room` each. */
typedef struct blocks {
    size_t n;
    size_t size;
    size_t room;
} blocks;

static size_t place_of(blocks b, size_t i) {
    return i / b.size * b.room + i % b.size;
}

/* Rows of a table, each padded to `room`. */
static cr_status load_table(loader *l, const char *name, size_t rows,
                            size_t size, size_t room, float **out) {
    /* Read straight into its place, then spread from the end. */
    *out = make_floats(l, rows * room);
    cr_status status =
        cr_model_read_tensor(l->model, name, rows, size, *out, l->error);
    if (status != CR_OK || room == size)
        return status;
    for (size_t i = rows; i-- > 0;) {
        memmove(*out + i * room, *out + i * size, size * sizeof **out);
        memset(*out + i * room + size, 0, (room - size) * sizeof **out);
    }
    return CR_OK;
}

static cr_status load_vector(loader *l, const char *name, blocks b,
                             float *out) {
    size_t n = b.n * b.size;
    cr_status status =
        cr_model_read_tensor(l->model, name, n, 0, l->raw, l->error);
    for (size_t i = 0; status == CR_OK && i < n; i++)
        out[place_of(b, i)] = l->raw[i];
    return status;
}

static cr_status load_norm(loader *l, const char *prefix, cr_norm *norm) {
    size_t size = l->w->config.hidden_size;
    blocks b = {1, size, l->w->width};
    char name[256];
    norm->gain = make_floats(l, b.room);
    norm->bias = make_floats(l, b.room);
    snprintf(name, sizeof name, "%s.weight", prefix);
    cr_status status = load_vector(l, name, b, norm->gain);
    snprintf(name, sizeof name, "%s.bias", prefix);
    if (status == CR_OK)
        status = load_vector(l, name, b, norm->bias);
    return status;
}

/* Puts PREFIX.weight [outputs][inputs] into columns `column` and on of the
 * panels [n / 16][k][16], and PREFIX.bias into bias[column] and on. */
static cr_status place(loader *l, const char *prefix, blocks in, blocks out,
                       size_t column, float *bias) {
    size_t n_in = in.n * in.size, n_out = out.n * out.size;
    size_t k = in.n * in.room;
    char name[256];
    snprintf(name, sizeof name, "%s.weight", prefix);
    cr_status status =
        cr_model_read_tensor(l->model, name, n_out, n_in, l->raw, l->error);
    if (status != CR_OK)
        return status;
    for (size_t o = 0; o < n_out; o++) {
        size_t at = column + place_of(out, o);
        float *panel = l->panels + at / CR_PANEL * CR_PANEL * k + at % CR_PANEL;
        for (size_t i = 0; i < n_in; i++)
            panel[place_of(in, i) * CR_PANEL] = l->raw[o * n_in + i];
    }
    snprintf(name, sizeof name, "%s.bias", prefix);
    return load_vector(l, name, out, bias + column);
}

/* Loads the `n_parts` tensors of `prefixes`, each `out` wide, side by side. */
static cr_status load_parts(loader *l, const char *const *prefixes,
                            size_t n_parts, blocks in, blocks out,
                            cr_dtype dtype, cr_linear *linear) {
    const cr_gemm_ops *gemm = l->w->kernels->gemm[dtype];
    size_t k = in.n * in.room, part = out.n * out.room, n = n_parts * part;
    void *packed = make(l, k * n * gemm->b_bytes);
    float *bias = make_floats(l, n), *scales = make_floats(l, n);
    float *sums = make_floats(l, n);
    int32_t *offsets = make(l, n * sizeof *offsets);
    cr_status status = CR_OK;
    memset(l->panels, 0, k * n * sizeof *l->panels);
    for (size_t i = 0; status == CR_OK && i < n_parts; i++)
        status = place(l, prefixes[i], in, out, i * part, bias);
    if (status != CR_OK)
        return status;
    gemm->pack(l->panels, k, n, packed, scales, sums, offsets);
    *linear = (cr_linear){.matrix = {.k = k,
                                     .n = n,
                                     .panels = packed,
                                     .bias = bias,
                                     .scales = scales,
                                     .sums = sums,
                                     .offsets = offsets},
                          .dtype = dtype};
    return CR_OK;
}

static cr_status load_linear(loader *l, const char *prefix, blocks in,
                             blocks out, cr_dtype dtype, cr_linear *linear) {
    return load_parts(l, &prefix, 1, in, out, dtype, linear);
}

enum { NAME_BYTES = 256 };

static const char *name_of(char name[NAME_BYTES], const char *prefix,
                           const char *part) {
    snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
    return name;
}

static cr_status load_qkv(loader *l, const char *prefix, blocks hidden,
                          blocks heads, cr_linear *linear) {
    char q[NAME_BYTES], k[NAME_BYTES], v[NAME_BYTES];
    const char *const parts[] = {
        name_of(q, prefix, "attention.self.query"),
        name_of(k, prefix, "attention.self.key"),
        name_of(v, prefix, "attention.self.value"),
    };
    return load_parts(l, parts, 3, hidden, heads, l->w->dtype, linear);
}

static cr_status load_layer(loader *l, uint32_t index, cr_layer *layer) {
    const cr_weights *w = l->w;
    blocks hidden = {1, w->config.hidden_size, w->width};
    blocks inner = {1, w->config.intermediate_size, w->inner};
    blocks heads = {w->config.n_heads,
                    w->config.hidden_size / w->config.n_heads, w->head_width};
    char prefix[128], name[NAME_BYTES];
    snprintf(prefix, sizeof prefix, "bert.encoder.layer.%u", index);
    cr_status status = load_qkv(l, prefix, hidden, heads, &layer->qkv);
    if (status == CR_OK)
        status = load_linear(l, name_of(name, prefix, "attention.output.dense"),
                             heads, hidden, w->dtype, &layer->attention_out);
    if (status == CR_OK)
        status =
            load_norm(l, name_of(name, prefix, "attention.output.LayerNorm"),
                      &layer->attention_norm);
    if (status == CR_OK)
        status = load_linear(l, name_of(name, prefix, "intermediate.dense"),
                             hidden, inner, w->dtype, &layer->up);
    if (status == CR_OK)
        status = load_linear(l, name_of(name, prefix, "output.dense"), inner,
                             hidden, w->dtype, &layer->down);
    if (status == CR_OK)
        status = load_norm(l, name_of(name, prefix, "output.LayerNorm"),
                           &layer->output_norm);
    return status;
}

static cr_status load_embeddings(loader *l) {
    cr_weights *w = l->w;
    const cr_model_config *c = &w->config;
#define TABLE(name, rows, out)                                                 \
    load_table(l, "bert.embeddings." name ".weight", rows, c->hidden_size,     \
               w->width, out)
    cr_status status = TABLE("word_embeddings", c->vocab_size, &w->words);
    if (status == CR_OK)
        status = TABLE("token_type_embeddings", c->n_types, &w->types);
    if (status == CR_OK)
        status =
            TABLE("position_embeddings", cr_model_position_rows(c), &w->places);
#undef TABLE
    if (status == CR_OK)
        status = load_norm(l, "bert.embeddings.LayerNorm", &w->embedding_norm);
    return status;
}

static cr_status load_head(loader *l) {
    cr_weights *w = l->w;
    blocks hidden = {1, w->config.hidden_size, w->width};
    blocks labels = {1, w->config.n_labels, padded(w->config.n_labels)};
    cr_status status = load_linear(l, "bert.pooler.dense", hidden, hidden,
                                   CR_FP32, &w->pooler);
    if (status == CR_OK)
        status = load_linear(l, "classifier", hidden, labels, CR_FP32,
                             &w->classifier);
    return status;
}

/* The largest matrix that goes through the buffers, padded. */
static size_t buffer_floats(const cr_weights *w) {
    size_t n = 3 * w->head_row > w->inner ? 3 * w->head_row : w->inner;
    size_t labels = padded(w->config.n_labels);
    return w->width * (n > labels ? n : labels);
}

cr_status cr_weights_load(const cr_model *model, const cr_kernels *kernels,
                          cr_dtype dtype, cr_weights *w, cr_error *error) {
    const cr_model_config *c = cr_model_get_config(model);
    *w = (cr_weights){.config = *c,
                      .width = padded(c->hidden_size),
                      .head_width = padded(c->hidden_size / c->n_heads),
                      .inner = padded(c->intermediate_size),
                      .dtype = dtype,
                      .kernels = kernels};
    w->head_row = c->n_heads * w->head_width;
    w->bytes = arena_bytes(w);
    size_t buffer_bytes = buffer_floats(w) * sizeof(float);
    loader l = {.model = model, .w = w, .error = error};
    l.raw = cr_alloc_aligned(buffer_bytes);
    l.panels = cr_alloc_aligned(buffer_bytes);
    w->arena = cr_alloc_aligned(w->bytes);
    w->layers = cr_calloc(c->n_layers, sizeof *w->layers);
    cr_status status = CR_OK;
    if (!l.raw || !l.panels || !w->layers || !w->arena)
        status = cr_fail_memory(error, w->bytes + 2 * buffer_bytes, "weights");
    if (status == CR_OK)
        status = load_embeddings(&l);
    for (uint32_t i = 0; status == CR_OK && i < c->n_layers; i++)
        status = load_layer(&l, i, &w->layers[i]);
    if (status == CR_OK)
        status = load_head(&l);
    cr_free_aligned(l.raw);
    cr_free_aligned(l.panels);
    if (status != CR_OK)
        cr_weights_fini(w);
    return status;
}

void cr_weights_fini(cr_weights *w) {
    cr_free_aligned(w->arena);
    cr_free(w->layers);
    *w = (cr_weights){0};
}
