/* A model folder: checked configuration, tokenizer and weights.
 *
 * Reads a folder in Hugging Face layout (config.json, model.safetensors,
 * tokenizer.json or vocab.txt, tokenizer_config.json) and refuses everything
 * that would score wrongly, naming the file, the field, its value and what is
 * supported. It knows nothing of kernels: weights are handed out as float32,
 * one tensor at a time, read with pread, so that a truncated or changing file
 * is an error and not a signal.
 *
 * Threads: after opening, a cr_model is read-only and may be shared.
 * Ownership: everything handed out lives as long as the model. */
#ifndef CR_MODEL_MODEL_H
#define CR_MODEL_MODEL_H

#include "base/error.h"
#include "text/tokenizer.h"

typedef enum cr_hidden_act {
    CR_ACT_GELU,     /* with erf */
    CR_ACT_GELU_NEW, /* with tanh, as GPT-2 */
    CR_ACT_RELU
} cr_hidden_act;

/* Limits on what a configuration may ask for; each is checked on load. */
enum {
    CR_MAX_LAYERS = 128,
    CR_MAX_HIDDEN = 8192,
    CR_MAX_HEADS = 256,
    CR_MAX_INTERMEDIATE = 32768,
    CR_MAX_VOCAB = 2000000,
    CR_MAX_POSITIONS = 65536,
    CR_MAX_LABELS = 1024
};

typedef struct cr_model_config {
    uint32_t n_layers;
    uint32_t n_heads; /* divides hidden_size */
    uint32_t hidden_size;
    uint32_t intermediate_size;
    uint32_t vocab_size;
    uint32_t max_positions; /* tokens that a sequence may have */
    /* RoBERTa and XLM-RoBERTa: their names of tensors, and positions that are
     * counted from behind the padding token's. */
    bool is_roberta;
    int32_t pad_id;
    uint32_t n_types;  /* 1 or 2 */
    uint32_t n_labels; /* 1: a score; more: classes */
    float layer_norm_eps;
    cr_hidden_act hidden_act;
    cr_activation activation; /* of the score; never CR_ACTIVATION_MODEL */
    uint32_t max_length;      /* min(tokenizer's limit, max_positions) */
} cr_model_config;

typedef struct cr_model cr_model;

/* `path` is a folder, or where there is none of that name a model of the Hub
 * that is in the local cache (model/hub.h). CR_ERR_MODEL, CR_ERR_UNSUPPORTED,
 * CR_ERR_IO, CR_ERR_MEMORY. *model is NULL on failure. */
cr_status cr_model_open(const char *path, cr_model **model, cr_error *error);
void cr_model_close(cr_model *model);

/* The folder; and what to call the model: its last part, or the Hub's name. */
const char *cr_model_path(const cr_model *model);
const char *cr_model_name(const cr_model *model);
const cr_model_config *cr_model_get_config(const cr_model *model);
/* The names of the labels, [n_labels]. */
const char *const *cr_model_get_labels(const cr_model *model);
const cr_tokenizer *cr_model_get_tokenizer(const cr_model *model);

/* Rows of the position table: a few more than positions for RoBERTa. */
uint32_t cr_model_position_rows(const cr_model_config *config);
/* The row of that table for each of a sequence's n tokens. For RoBERTa a
 * padding token in a text, which somebody wrote there, counts as none. */
void cr_model_fill_positions(const cr_model *model, const int32_t *ids,
                             size_t n, uint32_t *positions);

/* Reads the tensor `name`, which must have exactly the shape rows x columns
 * (columns 0: a vector of `rows`), as float32 into out[rows * columns]. F32,
 * F16 and BF16 are widened exactly. CR_ERR_MODEL where it is missing, of
 * another shape or type, or holds NaN or infinity. Names are BERT's for every
 * model, "bert.pooler.dense" and "classifier" for RoBERTa's two layers too;
 * the "bert." prefix may be missing in the file. */
cr_status cr_model_read_tensor(const cr_model *model, const char *name,
                               uint64_t rows, uint64_t columns, float *out,
                               cr_error *error);

/* Whether the file has that tensor, with or without the "bert." prefix. */
bool cr_model_has_tensor(const cr_model *model, const char *name);

/* model.safetensors as it was opened; see model/safetensors.h. */
const struct cr_safetensors *cr_model_get_weights(const cr_model *model);

/* Lower-case hexadecimal SHA-256 of model.safetensors, read anew. Stands in
 * fingerprint.c, which is part of the program and not of the library. */
enum { CR_SHA256_HEX_BYTES = 65 };
cr_status cr_model_sha256(const cr_model *model, char hex[CR_SHA256_HEX_BYTES],
                          cr_error *error);

#endif
