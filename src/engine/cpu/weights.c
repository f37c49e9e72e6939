/* Loading: each tensor is read as float32, packed, and forgotten. */
#include "engine/cpu/weights.h"

#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static size_t padded(size_t n) {
    return (n + CR_PANEL - 1) / CR_PANEL * CR_PANEL;
}

/* What loading carries along: one buffer that holds any matrix as read, and
 * how much of the arena is taken. */
typedef struct loader {
    const cr_model *model;
    cr_weights *w;
    float *raw;
    size_t taken; /* floats */
    cr_error *error;
} loader;

/* The next part of the arena; all sizes are multiples of 16 floats, so all
 * parts are aligned. */
static float *make(loader *l, size_t floats) {
    float *part = l->w->arena + l->taken;
    l->taken += floats;
    assert(l->taken * sizeof *part <= l->w->bytes);
    return part;
}

/* Floats of all parts together. */
static size_t arena_floats(const cr_weights *w) {
    const cr_model_config *c = &w->config;
    size_t tables = (size_t)c->vocab_size + c->n_types + c->max_positions;
    size_t linears = (w->width + 1) * 3 * w->head_row +
                     (w->head_row + 1) * w->width + (w->width + 1) * w->inner +
                     (w->inner + 1) * w->width;
    size_t norms = 4 * w->width;
    size_t head = (w->width + 1) * (w->width + padded(c->n_labels));
    return (tables + 2) * w->width + c->n_layers * (linears + norms) + head;
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
    *out = make(l, rows * room);
    cr_status status = cr_model_read_tensor(l->model, name, rows, size, *out,
                                            l->error);
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
    norm->gain = make(l, b.room);
    norm->bias = make(l, b.room);
    snprintf(name, sizeof name, "%s.weight", prefix);
    cr_status status = load_vector(l, name, b, norm->gain);
    snprintf(name, sizeof name, "%s.bias", prefix);
    if (status == CR_OK)
        status = load_vector(l, name, b, norm->bias);
    return status;
}

static void make_linear(loader *l, size_t k, size_t n, cr_linear *linear) {
    linear->k = k;
    linear->n = n;
    linear->panels = make(l, k * n);
    linear->bias = make(l, n);
}

/* Packs PREFIX.weight [outputs][inputs] into the columns from `column` on. */
static cr_status pack(loader *l, const char *prefix, blocks in, blocks out,
                      size_t column, cr_linear *linear) {
    size_t n_in = in.n * in.size, n_out = out.n * out.size;
    char name[256];
    snprintf(name, sizeof name, "%s.weight", prefix);
    cr_status status = cr_model_read_tensor(l->model, name, n_out, n_in,
                                            l->raw, l->error);
    if (status != CR_OK)
        return status;
    for (size_t o = 0; o < n_out; o++) {
        size_t at = column + place_of(out, o);
        float *panel = linear->panels + at / CR_PANEL * CR_PANEL * linear->k +
                       at % CR_PANEL;
        for (size_t i = 0; i < n_in; i++)
            panel[place_of(in, i) * CR_PANEL] = l->raw[o * n_in + i];
    }
    snprintf(name, sizeof name, "%s.bias", prefix);
    return load_vector(l, name, out, linear->bias + column);
}

static cr_status load_linear(loader *l, const char *prefix, blocks in,
                             blocks out, cr_linear *linear) {
    make_linear(l, in.n * in.room, out.n * out.room, linear);
    return pack(l, prefix, in, out, 0, linear);
}

static cr_status load_qkv(loader *l, const char *prefix, blocks hidden,
                          blocks heads, cr_linear *linear) {
    static const char *const parts[] = {"query", "key", "value"};
    size_t row = l->w->head_row;
    cr_status status = CR_OK;
    make_linear(l, hidden.room, 3 * row, linear);
    for (size_t i = 0; status == CR_OK && i < 3; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s.attention.self.%s", prefix, parts[i]);
        status = pack(l, name, hidden, heads, i * row, linear);
    }
    return status;
}

enum { NAME_BYTES = 256 };

static const char *name_of(char name[NAME_BYTES], const char *prefix,
                           const char *part) {
    snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
    return name;
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
                             heads, hidden, &layer->attention_out);
    if (status == CR_OK)
        status = load_norm(l, name_of(name, prefix, "attention.output.LayerNorm"),
                           &layer->attention_norm);
    if (status == CR_OK)
        status = load_linear(l, name_of(name, prefix, "intermediate.dense"),
                             hidden, inner, &layer->up);
    if (status == CR_OK)
        status = load_linear(l, name_of(name, prefix, "output.dense"), inner,
                             hidden, &layer->down);
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
        status = TABLE("position_embeddings", c->max_positions, &w->places);
#undef TABLE
    if (status == CR_OK)
        status = load_norm(l, "bert.embeddings.LayerNorm", &w->embedding_norm);
    return status;
}

static cr_status load_head(loader *l) {
    cr_weights *w = l->w;
    blocks hidden = {1, w->config.hidden_size, w->width};
    blocks labels = {1, w->config.n_labels, padded(w->config.n_labels)};
    cr_status status =
        load_linear(l, "bert.pooler.dense", hidden, hidden, &w->pooler);
    if (status == CR_OK)
        status = load_linear(l, "classifier", hidden, labels, &w->classifier);
    return status;
}

/* The largest tensor that goes through the raw buffer. */
static size_t raw_floats(const cr_model_config *c) {
    size_t most = c->intermediate_size > c->hidden_size ? c->intermediate_size
                                                        : c->hidden_size;
    if (c->n_labels > most)
        most = c->n_labels;
    return most * c->hidden_size;
}

cr_status cr_weights_load(const cr_model *model, cr_weights *w,
                          cr_error *error) {
    const cr_model_config *c = cr_model_get_config(model);
    *w = (cr_weights){.config = *c,
                      .width = padded(c->hidden_size),
                      .head_width = padded(c->hidden_size / c->n_heads),
                      .inner = padded(c->intermediate_size)};
    w->head_row = c->n_heads * w->head_width;
    loader l = {.model = model, .w = w, .error = error};
    size_t raw_bytes = raw_floats(c) * sizeof *l.raw;
    cr_status status = CR_OK;
    l.raw = cr_alloc_aligned(raw_bytes);
    w->bytes = arena_floats(w) * sizeof *w->arena;
    w->arena = cr_alloc_aligned(w->bytes);
    w->layers = cr_calloc(c->n_layers, sizeof *w->layers);
    if (!l.raw || !w->layers || !w->arena)
        status = cr_fail_memory(error, w->bytes + raw_bytes, "weights");
    if (status == CR_OK)
        status = load_embeddings(&l);
    for (uint32_t i = 0; status == CR_OK && i < c->n_layers; i++)
        status = load_layer(&l, i, &w->layers[i]);
    if (status == CR_OK)
        status = load_head(&l);
    cr_free_aligned(l.raw);
    if (status != CR_OK)
        cr_weights_fini(w);
    return status;
}

void cr_weights_fini(cr_weights *w) {
    cr_free_aligned(w->arena);
    cr_free(w->layers);
    *w = (cr_weights){0};
}
