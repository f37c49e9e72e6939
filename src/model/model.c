/* A model folder: checked configuration, tokenizer and weights.
 *
 * Opening reads all small files and the table of tensors and checks that every
 * weight is there in the shape that the configuration asks for. The weights
 * themselves are read later, one at a time. */
#include "model/model.h"

#include "base/mem.h"
#include "model/config.h"
#include "model/folder.h"
#include "model/hf_files.h"
#include "model/hub.h"
#include "model/safetensors.h"
#include "model/tokenizer_files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct cr_model {
    char *path, *name;
    char *weights_path;
    cr_model_config config;
    char **labels; /* [config.n_labels] */
    cr_tokenizer *tokenizer;
    cr_safetensors *weights;
};

/* Room for any name that is asked for, or for why it is not found. */
enum { MAX_NAME_BYTES = 256 };

/* ---- Tensors by name ---------------------------------------------------- */

/* RoBERTa's name of what BERT calls `name`: its head is as BERT's pooler and
 * classifier, two layers with tanh between, and all of it on top. */
static const char *own_name(const cr_model *model, const char *name,
                            char own[MAX_NAME_BYTES]) {
    static const char *const names[][2] = {
        {"bert.pooler.dense.", "classifier.dense."},
        {"bert.", "roberta."},
        {"classifier.", "classifier.out_proj."}};
    for (size_t i = 0; model->config.is_roberta && i < 3; i++) {
        size_t len = strlen(names[i][0]);
        if (strncmp(name, names[i][0], len) != 0)
            continue;
        int n = snprintf(own, MAX_NAME_BYTES, "%s%s", names[i][1], name + len);
        return n > 0 && n < MAX_NAME_BYTES ? own : name;
    }
    return name;
}

/* The tensor `name` or, as transformers accepts it, its name without "bert.",
 * with the LayerNorm names of TensorFlow, or both. */
static const cr_tensor *find_tensor(const cr_model *model, const char *name) {
    static const char *const old[][2] = {
        {"LayerNorm.weight", "LayerNorm.gamma"},
        {"LayerNorm.bias", "LayerNorm.beta"}};
    const char *prefix = model->config.is_roberta ? "roberta." : "bert.";
    const cr_tensor *tensor = NULL;
    char own[MAX_NAME_BYTES];
    name = own_name(model, name, own);
    for (int bare = 0; bare < 2 && !tensor; bare++) {
        if (bare && strncmp(name, prefix, strlen(prefix)) != 0)
            break;
        const char *short_name = bare ? name + strlen(prefix) : name;
        tensor = cr_safetensors_find(model->weights, short_name);
        for (size_t i = 0; i < 2 && !tensor; i++) {
            size_t len = strlen(short_name), n = strlen(old[i][0]);
            char other[MAX_NAME_BYTES];
            if (len < n || strcmp(short_name + len - n, old[i][0]) != 0)
                continue;
            int written = snprintf(other, sizeof other, "%.*s%s",
                                   (int)(len - n), short_name, old[i][1]);
            if (written > 0 && (size_t)written < sizeof other)
                tensor = cr_safetensors_find(model->weights, other);
        }
    }
    return tensor;
}

bool cr_model_has_tensor(const cr_model *model, const char *name) {
    return find_tensor(model, name) != NULL;
}

/* "[384, 1536]" */
static const char *picture_of_shape(const cr_tensor *tensor, char *picture,
                                    size_t size) {
    size_t len = (size_t)snprintf(picture, size, "[");
    for (uint32_t i = 0; i < tensor->n_dims && len < size; i++)
        len += (size_t)snprintf(picture + len, size - len, "%s%" PRIu64,
                                i ? ", " : "", tensor->dims[i]);
    if (len < size)
        snprintf(picture + len, size - len, "]");
    return picture;
}

/* What in config.json says the shape of a tensor, where its own message would
 * not: people know the sizes, but not that names are counted. */
static const char *why_this_shape(const char *name) {
    return strncmp(name, "classifier.", 11) == 0
               ? ", a row for each name of \"id2label\" (else num_labels)"
               : "";
}

/* The tensor in the shape rows x columns (columns 0: a vector). */
static cr_status require_tensor(const cr_model *model, const char *name,
                                uint64_t rows, uint64_t columns,
                                const cr_tensor **found, cr_error *error) {
    const cr_tensor *tensor = find_tensor(model, name);
    const char *why = why_this_shape(name);
    char own[MAX_NAME_BYTES];
    *found = tensor;
    name = own_name(model, name, own);
    if (!tensor)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: tensor \"%s\" is missing: the file does not hold "
                       "the model that config.json describes",
                       model->weights_path, name);
    uint32_t n_dims = columns ? 2 : 1;
    if (tensor->n_dims != n_dims || tensor->dims[0] != rows ||
        (columns && tensor->dims[1] != columns)) {
        char shape[200], expected[64];
        cr_tensor want = {.n_dims = n_dims, .dims = {rows, columns}};
        return cr_fail(
            error, CR_ERR_MODEL,
            "%s: tensor \"%s\" has the shape %s; by config.json it is %s%s",
            model->weights_path, name,
            picture_of_shape(tensor, shape, sizeof shape),
            picture_of_shape(&want, expected, sizeof expected), why);
    }
    if (tensor->type == CR_TENSOR_OTHER)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: tensor \"%s\" is %s; supported: F32, F16, BF16",
                       model->weights_path, name, tensor->type_name);
    return CR_OK;
}

cr_status cr_model_read_tensor(const cr_model *model, const char *name,
                               uint64_t rows, uint64_t columns, float *out,
                               cr_error *error) {
    const cr_tensor *tensor;
    cr_status status =
        require_tensor(model, name, rows, columns, &tensor, error);
    if (status == CR_OK)
        status = cr_safetensors_read(model->weights, tensor, out, error);
    return status;
}

/* ---- All of them -------------------------------------------------------- */

typedef struct shape_row {
    const char *name; /* behind its prefix */
    uint64_t rows, columns;
} shape_row;

static cr_status require_rows(const cr_model *model, const char *prefix,
                              const shape_row *rows, size_t n,
                              cr_error *error) {
    for (size_t i = 0; i < n; i++) {
        char name[MAX_NAME_BYTES];
        const cr_tensor *tensor;
        snprintf(name, sizeof name, "%s%s", prefix, rows[i].name);
        cr_status status = require_tensor(model, name, rows[i].rows,
                                          rows[i].columns, &tensor, error);
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}

static cr_status require_layer(const cr_model *model, uint32_t layer,
                               cr_error *error) {
    const uint64_t h = model->config.hidden_size;
    const uint64_t i = model->config.intermediate_size;
    const shape_row rows[] = {
        {"attention.self.query.weight", h, h},
        {"attention.self.query.bias", h, 0},
        {"attention.self.key.weight", h, h},
        {"attention.self.key.bias", h, 0},
        {"attention.self.value.weight", h, h},
        {"attention.self.value.bias", h, 0},
        {"attention.output.dense.weight", h, h},
        {"attention.output.dense.bias", h, 0},
        {"attention.output.LayerNorm.weight", h, 0},
        {"attention.output.LayerNorm.bias", h, 0},
        {"intermediate.dense.weight", i, h},
        {"intermediate.dense.bias", i, 0},
        {"output.dense.weight", h, i},
        {"output.dense.bias", h, 0},
        {"output.LayerNorm.weight", h, 0},
        {"output.LayerNorm.bias", h, 0},
    };
    char prefix[64];
    snprintf(prefix, sizeof prefix, "bert.encoder.layer.%u.", layer);
    return require_rows(model, prefix, rows, sizeof rows / sizeof rows[0],
                        error);
}

/* Fewer layers than there are would rank, and badly. */
static cr_status refuse_more_layers(const cr_model *model, cr_error *error) {
    char name[MAX_NAME_BYTES];
    snprintf(name, sizeof name,
             "bert.encoder.layer.%u.attention.self.query.weight",
             model->config.n_layers);
    if (!cr_model_has_tensor(model, name))
        return CR_OK;
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: there are more layers than the num_hidden_layers of "
                   "config.json, %u: take both files from one model",
                   model->weights_path, model->config.n_layers);
}

/* Checked before anybody allocates by what the configuration says. */
static cr_status require_weights(const cr_model *model, cr_error *error) {
    const cr_model_config *c = &model->config;
    const uint64_t h = c->hidden_size;
    const shape_row rows[] = {
        {"bert.embeddings.word_embeddings.weight", c->vocab_size, h},
        {"bert.embeddings.position_embeddings.weight",
         cr_model_position_rows(c), h},
        {"bert.embeddings.token_type_embeddings.weight", c->n_types, h},
        {"bert.embeddings.LayerNorm.weight", h, 0},
        {"bert.embeddings.LayerNorm.bias", h, 0},
        {"bert.pooler.dense.weight", h, h},
        {"bert.pooler.dense.bias", h, 0},
        {"classifier.weight", c->n_labels, h},
        {"classifier.bias", c->n_labels, 0},
    };
    cr_status status =
        require_rows(model, "", rows, sizeof rows / sizeof rows[0], error);
    for (uint32_t layer = 0; layer < c->n_layers && status == CR_OK; layer++)
        status = require_layer(model, layer, error);
    return status == CR_OK ? refuse_more_layers(model, error) : status;
}

/* ---- Opening ------------------------------------------------------------ */

static cr_status open_wordpiece(cr_model *model,
                                const cr_tokenizer_files *files,
                                const cr_json *config_json, bool lowercases,
                                uint32_t *max_length, cr_error *error) {
    cr_tokenizer_source source = {0};
    cr_status status = cr_tokenizer_source_read(
        files, config_json, &model->config, lowercases, &source, error);
    if (status == CR_OK)
        status = cr_tokenizer_new(&source.spec, &model->tokenizer, error);
    *max_length = source.max_length;
    cr_tokenizer_source_fini(&source);
    return status;
}

static cr_status open_tokenizer(cr_model *model, const cr_json *config_json,
                                bool lowercases, cr_error *error) {
    cr_tokenizer_files files;
    uint32_t max_length = UINT32_MAX;
    cr_status status = cr_tokenizer_files_load(&files, model->path, error);
    if (status == CR_OK && cr_hf_files_need(&files, &model->config))
        status =
            cr_hf_files_open(&files, config_json, &model->config, lowercases,
                             &model->tokenizer, &max_length, error);
    else if (status == CR_OK)
        status = open_wordpiece(model, &files, config_json, lowercases,
                                &max_length, error);
    if (status == CR_OK && max_length < model->config.max_length)
        model->config.max_length = max_length;
    cr_tokenizer_files_fini(&files);
    return status;
}

static cr_status copy_labels(cr_model *model, const cr_config_files *files,
                             cr_error *error) {
    uint32_t n = model->config.n_labels;
    model->labels = cr_calloc(n, sizeof *model->labels);
    for (uint32_t i = 0; i < n; i++) {
        char room[CR_LABEL_BYTES];
        const char *name = cr_config_label(files, i, room);
        if (model->labels)
            model->labels[i] = cr_strndup(name, strlen(name));
        if (!model->labels || !model->labels[i])
            return cr_fail_memory(error, n * sizeof *model->labels, "labels");
    }
    return CR_OK;
}

static cr_status open_parts(cr_model *model, cr_error *error) {
    cr_config_files files;
    bool lowercases;
    cr_status status = cr_config_files_load(&files, model->path, error);
    if (status == CR_OK)
        status = cr_config_read(&files, &model->config, &lowercases, error);
    if (status == CR_OK)
        status = copy_labels(model, &files, error);
    if (status == CR_OK)
        status = cr_folder_path(model->path, "model.safetensors",
                                &model->weights_path, error);
    if (status == CR_OK)
        status =
            cr_safetensors_open(model->weights_path, &model->weights, error);
    if (status == CR_OK)
        status = require_weights(model, error);
    if (status == CR_OK)
        status = open_tokenizer(model, &files.config, lowercases, error);
    cr_config_files_fini(&files);
    return status;
}

/* The last part of a path, without slashes behind it. */
static char *name_of_folder(const char *path) {
    size_t end = strlen(path), begin;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (begin = end; begin && path[begin - 1] != '/'; begin--)
        ;
    return cr_strndup(path + begin, end - begin);
}

/* Sets the model's folder and its name. */
static cr_status locate(cr_model *model, const char *path, cr_error *error) {
    char found[CR_HUB_PATH_BYTES];
    cr_hub_name name;
    bool of_hub = access(path, F_OK) != 0 && cr_hub_parse(path, &name);
    if (of_hub) {
        cr_status status = cr_hub_find(&name, found, error);
        if (status != CR_OK)
            return status;
        path = found;
    }
    cr_status status = cr_folder_check(path, error);
    if (status != CR_OK)
        return status;
    model->path = cr_strndup(path, strlen(path));
    model->name = of_hub ? cr_strndup(name.repo, strlen(name.repo))
                         : name_of_folder(path);
    return model->path && model->name
               ? CR_OK
               : cr_fail_memory(error, strlen(path), "a path");
}

cr_status cr_model_open(const char *path, cr_model **opened, cr_error *error) {
    *opened = NULL;
    cr_model *model = cr_calloc(1, sizeof *model);
    if (!model)
        return cr_fail_memory(error, sizeof *model, "a model");
    cr_status status = locate(model, path, error);
    if (status == CR_OK)
        status = open_parts(model, error);
    if (status != CR_OK)
        cr_model_close(model);
    else
        *opened = model;
    return status;
}

void cr_model_close(cr_model *model) {
    if (!model)
        return;
    cr_safetensors_close(model->weights);
    cr_tokenizer_free(model->tokenizer);
    for (uint32_t i = 0; model->labels && i < model->config.n_labels; i++)
        cr_free(model->labels[i]);
    cr_free(model->labels);
    cr_free(model->weights_path);
    cr_free(model->path);
    cr_free(model->name);
    cr_free(model);
}

const char *cr_model_path(const cr_model *model) { return model->path; }
const char *cr_model_name(const cr_model *model) { return model->name; }

const cr_model_config *cr_model_get_config(const cr_model *model) {
    return &model->config;
}

uint32_t cr_model_position_rows(const cr_model_config *config) {
    return config->max_positions +
           (config->is_roberta ? (uint32_t)config->pad_id + 1 : 0);
}

void cr_model_fill_positions(const cr_model *model, const int32_t *ids,
                             size_t n, uint32_t *positions) {
    const cr_model_config *c = &model->config;
    uint32_t next = c->is_roberta ? (uint32_t)c->pad_id + 1 : 0;
    for (size_t i = 0; i < n; i++)
        positions[i] =
            c->is_roberta && ids[i] == c->pad_id ? (uint32_t)c->pad_id : next++;
}

const char *const *cr_model_get_labels(const cr_model *model) {
    return (const char *const *)model->labels;
}

const cr_tokenizer *cr_model_get_tokenizer(const cr_model *model) {
    return model->tokenizer;
}

const struct cr_safetensors *cr_model_get_weights(const cr_model *model) {
    return model->weights;
}
