/* crossrank: exact scores of (query, passage) pairs from BERT cross-encoders.
 *
 * This header is the library's whole public face, for C11 and C++11. A program
 * opens a model folder once, then scores from as many threads as it likes:
 *
 *     cr_options options;
 *     cr_options_init(&options);
 *     options.model = "models/crossrank-minilm-l6";
 *     cr_ranker *ranker;
 *     cr_error error;
 *     if (cr_ranker_open(&options, &ranker, &error) != CR_OK)
 *         return report(error.message);
 *     cr_score(ranker, pairs, n_pairs, scores, &error);
 *     cr_ranker_close(ranker);
 *
 * Threads: every call on an open ranker may be made from many threads at once;
 * only cr_ranker_close must not run while another call on that ranker does.
 * There is no global state, no signal handler, no locale, no output. A ranker
 * has threads of its own, so it does not survive fork: open another in the
 * child, where closing the parent's is allowed and keeps some of its memory.
 * The thread that asks for scores works as well, in place of one of the
 * ranker's that is idle: on its own CPUs, at its own priority, with up to
 * 128 KB of its stack. Scores do not depend on how it rounds.
 * Ownership: what the caller passes in stays the caller's and is not kept
 * after the call; what a call hands out belongs to the ranker and lives as
 * long as it, unless said otherwise.
 * Errors: every fallible call returns a status and, if `error` is not NULL,
 * writes a message that names the value, the limit and the fix; *error is
 * untouched where the status is CR_OK. No other pointer may be NULL unless
 * said so, except arrays of no elements.
 * Versions: a function or field that was released stays. Structures grow at
 * their end only, and each call that takes one that may grow is told its size,
 * so that a program runs with later libraries than it was built for. */
#ifndef CROSSRANK_H
#define CROSSRANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CR_API __attribute__((visibility("default")))
#else
#define CR_API
#endif

/* ---- Status and errors -------------------------------------------------- */

typedef enum cr_status {
    CR_OK = 0,
    CR_ERR_ARGUMENT,    /* the caller broke the call's rules */
    CR_ERR_INPUT,       /* text or a data file is not acceptable */
    CR_ERR_MODEL,       /* model files are missing, corrupt or contradictory */
    CR_ERR_UNSUPPORTED, /* a sound model of a kind that is not supported */
    CR_ERR_UNAVAILABLE, /* backend, device, dtype or ISA is not there */
    CR_ERR_MEMORY,      /* an allocation failed */
    CR_ERR_IO,          /* the operating system refused a read or a write */
    CR_ERR_OVERLOADED,  /* a queue is full; try again later */
    CR_ERR_DEADLINE,    /* the caller's deadline passed */
    CR_ERR_CANCELLED,   /* the caller gave up */
    CR_ERR_INTERNAL     /* a fault of this program */
} cr_status;

enum { CR_ERROR_MESSAGE_BYTES = 512 };

/* What went wrong. `line` and `column` count from 1 and are 0 where no file
 * position applies; `message` is NUL-terminated UTF-8 on one line. */
typedef struct cr_error {
    cr_status status;
    uint64_t line;
    uint64_t column;
    char message[CR_ERROR_MESSAGE_BYTES];
} cr_error;

/* A short name such as "CR_ERR_MODEL"; static, never NULL. */
CR_API const char *cr_status_name(cr_status status);
/* A few words on the status; static, never NULL. */
CR_API const char *cr_status_text(cr_status status);
/* The version of the library that is running, "MAJOR.MINOR.PATCH"; static. */
CR_API const char *cr_version(void);

/* ---- Opening a model ---------------------------------------------------- */

/* An open model with its lanes: threads that wait for pairs. Opaque. */
typedef struct cr_ranker cr_ranker;

/* What is cut from a pair of more than max_length tokens. */
typedef enum cr_truncation {
    CR_TRUNCATE_LONGEST_FIRST = 0, /* as sentence-transformers does */
    CR_TRUNCATE_ONLY_SECOND        /* the passage alone, never the query */
} cr_truncation;

/* What is applied to a logit to make it a score. */
typedef enum cr_activation {
    CR_ACTIVATION_MODEL = 0, /* what the model's configuration asks for */
    CR_ACTIVATION_NONE,      /* the logit itself */
    CR_ACTIVATION_SIGMOID,   /* 1 / (1 + exp(-logit)) */
    CR_ACTIVATION_TANH       /* only ever a model's own choice */
} cr_activation;

/* Set by cr_options_init; change what you need. NULL and 0 mean "default".
 * Texts are NUL-terminated and read by cr_ranker_open only. */
typedef struct cr_options {
    size_t struct_bytes;      /* sizeof(cr_options) of the caller */
    const char *model;        /* model folder, or ORGANISATION/NAME[@REVISION]
                                 of a model in the Hub's local cache; required */
    const char *backend;      /* a name listed by cr_backend_names, or "auto" */
    const char *device;       /* of the backend: "cpu" */
    const char *dtype;        /* "auto", "fp32", "bf16", "int8" */
    const char *isa;          /* "auto", a name listed by cr_isa_names, or
                                 NULL: $CROSSRANK_ISA, else "auto" */
    uint32_t threads;         /* 0: CPU quota and affinity; at most 1024 */
    uint32_t max_length;      /* tokens a pair, 0: the model's own limit */
    cr_truncation truncation; /* of pairs longer than max_length */
    cr_activation activation; /* of the scores that cr_score returns */
} cr_options;

/* All defaults. (From another language: zero bytes, then struct_bytes.) */
static inline void cr_options_init(cr_options *options) {
    memset(options, 0, sizeof *options);
    options->struct_bytes = sizeof *options;
}

/* Loads a model folder in Hugging Face layout and starts `threads` lanes.
 * On success *ranker must be closed by cr_ranker_close; on failure it is NULL
 * and nothing is left behind. Any number of rankers may be open.
 * CR_ERR_ARGUMENT: an option is out of its limits; CR_ERR_MODEL,
 * CR_ERR_UNSUPPORTED: about the folder; CR_ERR_UNAVAILABLE: about backend,
 * device, dtype or isa, which are never replaced by another one silently;
 * CR_ERR_IO, CR_ERR_MEMORY. */
CR_API cr_status cr_ranker_open(const cr_options *options, cr_ranker **ranker,
                                cr_error *error);
/* Waits for the lanes to stop and frees everything. NULL is allowed. */
CR_API void cr_ranker_close(cr_ranker *ranker);

/* What is open: texts live as long as the ranker. */
typedef struct cr_ranker_info {
    const char *model_path; /* as options.model */
    const char *model_name; /* last part of the path */
    const char *backend;
    const char *device;
    const char *dtype;   /* what really runs: "fp32", "bf16" or "int8" */
    const char *isa;     /* what really runs: "avx2" ... */
    uint32_t threads;    /* lanes */
    uint32_t max_length; /* tokens a pair, resolved */
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t hidden_size;
    uint32_t intermediate_size;
    uint32_t vocab_size;
    uint32_t n_labels; /* 1: pairs are scored and ranked; more: classified */
    cr_truncation truncation;
    cr_activation activation;       /* resolved, never CR_ACTIVATION_MODEL */
    cr_activation model_activation; /* what the model itself asks for */
    uint64_t weight_bytes;          /* of memory, packed */
    uint64_t workspace_bytes;       /* of memory, all lanes */
    uint64_t n_pairs_scored;        /* since it was opened, by all callers */
    uint64_t n_pairs_cut;           /* of these, longer than max_length */
    uint64_t n_tokens_scored;       /* what is left after cutting */
} cr_ranker_info;

/* Fills info_bytes bytes of *info: what the caller's header knows of it. */
CR_API void cr_ranker_read_info(const cr_ranker *ranker, cr_ranker_info *info,
                                size_t info_bytes);

static inline void cr_ranker_get_info(const cr_ranker *ranker,
                                      cr_ranker_info *info) {
    cr_ranker_read_info(ranker, info, sizeof *info);
}

/* Names of the instruction sets that this machine can run and this build
 * holds, fastest first, ending with NULL. Static. */
CR_API const char *const *cr_isa_names(void);
/* Names of the backends that this build holds, ending with NULL. Static. */
CR_API const char *const *cr_backend_names(void);

/* The name of label 0..n_labels-1, as the model's id2label has it, else such
 * as "LABEL_0"; NULL for others. Lives as long as the ranker. */
CR_API const char *cr_label_name(const cr_ranker *ranker, uint32_t label);

/* ---- Scoring ------------------------------------------------------------ */

/* `len` bytes of text; need not end with NUL and may hold NUL bytes. Bytes
 * that are not valid UTF-8 are read as U+FFFD, one for each maximal ill-formed
 * part, as Python's errors="replace" does. */
typedef struct cr_text {
    const char *data;
    size_t len;
} cr_text;

typedef struct cr_pair {
    cr_text query;
    cr_text passage;
} cr_pair;

/* Scores pairs[n] into scores[n], in order; n may be 0. A score depends on its
 * pair and the model only: never on the other pairs, their order, the number
 * of lanes or other callers. Blocks until done; allocates nothing, but for
 * RoBERTa and XLM-RoBERTa, whose tokenizers do. On failure scores[] is
 * undefined. CR_ERR_ARGUMENT: the ranker was opened before a fork;
 * CR_ERR_UNSUPPORTED: the model has several labels; CR_ERR_MODEL: the weights
 * give no finite number. */
CR_API cr_status cr_score(cr_ranker *ranker, const cr_pair *pairs, size_t n,
                          float *scores, cr_error *error);

/* As cr_score for a model of any number of labels: the score of label j for
 * pair i goes into scores[i * n_labels + j], in the order of cr_label_name.
 * The activation is applied to each logit by itself; a model that states none
 * and has several labels gives the logits. scores[n * n_labels]; n_labels is
 * what the caller made room for, CR_ERR_ARGUMENT where the model has another
 * number (cr_ranker_info says which). */
CR_API cr_status cr_score_labels(cr_ranker *ranker, const cr_pair *pairs,
                                 size_t n, size_t n_labels, float *scores,
                                 cr_error *error);

/* Makes the logits values[n] scores, in place, to the bit as cr_score does
 * with that activation. CR_ERR_ARGUMENT for CR_ACTIVATION_MODEL, which only
 * an open ranker knows (model_activation). */
CR_API cr_status cr_apply_activation(cr_activation activation, float *values,
                                     size_t n, cr_error *error);

typedef struct cr_ranked {
    size_t index; /* of the passage in passages[n] */
    float score;
} cr_ranked;

/* Scores passages[n] against one query and writes the best `top_n` (0: all)
 * to ranked[], best first, equal logits by lower index. ranked[] must have
 * room for n entries whatever top_n is; *n_ranked = min(n, top_n), 0 on
 * failure. Statuses as cr_score. */
CR_API cr_status cr_rank(cr_ranker *ranker, cr_text query,
                         const cr_text *passages, size_t n, size_t top_n,
                         cr_ranked *ranked, size_t *n_ranked, cr_error *error);

/* ---- Tokenizing --------------------------------------------------------- */

/* One pair as the model sees it: [CLS] query [SEP] passage [SEP], or
 * <s> query </s></s> passage </s>. */
typedef struct cr_encoding {
    size_t n_tokens;
    const int32_t *ids;           /* [n_tokens] */
    const uint8_t *type_ids;      /* [n_tokens], 0 query side, 1 passage side */
    const uint32_t (*offsets)[2]; /* [n_tokens] begin and end in code points of
                                    the text that the token is from; 0,0 for
                                    tokens that are in no text */
    size_t n_truncated;           /* tokens that were cut from the pair */
} cr_encoding;

/* Encodes one pair as cr_score would. *encoding must be freed by
 * cr_encoding_free, before or after the ranker is closed; it is NULL on
 * failure. Reads the whole pair to count what is cut. CR_ERR_MEMORY. */
CR_API cr_status cr_tokenize(const cr_ranker *ranker, const cr_pair *pair,
                             cr_encoding **encoding, cr_error *error);
/* NULL is allowed. */
CR_API void cr_encoding_free(cr_encoding *encoding);
/* The vocabulary's text of a token id, which lives as long as the ranker;
 * empty for an id outside it. Not NUL-terminated. */
CR_API cr_text cr_token_text(const cr_ranker *ranker, int32_t id);

#ifdef __cplusplus
}
#endif

#endif
