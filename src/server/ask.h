/* An ask: the one internal request that every wire format fills.
 *
 * A dialect reads a body into it and writes an answer from it; what lies
 * between (tokens, queue, lanes, sorting) knows no wire format. Texts stay
 * where JSON put them.
 *
 * Threads: one at a time. Ownership: zeroed memory of the caller's; what it
 * holds goes with cr_ask_fini. */
#ifndef CR_SERVER_ASK_H
#define CR_SERVER_ASK_H

#include "metrics/metrics.h"
#include "sched/pipeline.h"
#include "server/json_out.h"
#include "server/refusal.h"
#include "server/settings.h"

#include <jansson.h>

typedef struct cr_ask cr_ask;

/* What is true of the whole server while it answers. */
typedef struct cr_facts {
    const cr_settings *settings;
    const char *model_name;
    const cr_generation *generation;
    const char *const *labels; /* [generation->n_labels] their names */
} cr_facts;

/* One wire format. */
typedef struct cr_dialect {
    const char *name;
    cr_counter_id counter;
    bool needs_json_type; /* another Content-Type is refused */
    bool needs_one_label; /* as cr_ask_check_labels has it */
    /* Reads a body into ask. Refuses through ask->refusal. */
    bool (*read)(cr_ask *ask, const json_t *body, const cr_facts *facts);
    /* Writes the answer of a job that is done, or of no job at all. */
    void (*write)(const cr_ask *ask, const cr_facts *facts, cr_json_out *out);
    /* Writes a refusal; returns the HTTP status, sets *type where the text is
     * not JSON. */
    int (*write_refusal)(const cr_refusal *refusal, const char **type,
                         cr_json_out *out);
} cr_dialect;

extern const cr_dialect cr_dialect_tei_rerank;
extern const cr_dialect cr_dialect_tei_predict;
extern const cr_dialect cr_dialect_tei_tokenize;
extern const cr_dialect cr_dialect_tei_decode;
extern const cr_dialect cr_dialect_v1;
extern const cr_dialect cr_dialect_cohere;
extern const cr_dialect cr_dialect_vllm;

/* One result, in the order of the answer; of a model with several labels a
 * row of them a pair, best first. */
typedef struct cr_result {
    uint32_t index;
    uint32_t label;
    float logit;
    double score;
} cr_result;

struct cr_ask {
    const cr_dialect *dialect;
    cr_refusal refusal;
    json_t *body;
    /* Filled by the dialect's read. */
    cr_pair *pairs; /* [n_pairs] */
    uint32_t n_pairs;
    uint32_t n_labels; /* of the model */
    cr_encode_options encode;
    cr_activation activation; /* resolved */
    bool softmax;             /* over a pair's labels, after the activation */
    uint32_t top_n;           /* 0: all */
    bool sorted;              /* best first, else in order */
    bool last_tie_first;      /* of equal logits the higher index */
    bool return_documents;
    bool details;      /* truncated and tokens with every result */
    bool single;       /* the answer is of one, not a list of one */
    const char *model; /* as the request named it, or NULL */
    char **owned;      /* [n_owned] texts made for it */
    uint32_t n_owned;
    uint64_t n_chars; /* of all texts that were scored */
    /* For answers without a job. */
    cr_tokens tokens;
    /* The job and what came of it. */
    cr_job job;
    cr_result *results; /* [n_results][n_labels] */
    uint32_t n_results; /* pairs */
    int64_t tokenize_ns;
    const char *request_id;
    int64_t created_s; /* Unix time */
};

void cr_ask_fini(cr_ask *ask);

/* Readers of fields: NULL and null mean the default. Each refuses with SHAPE
 * and names field, value and what is expected. */
bool cr_ask_bool(cr_ask *ask, const json_t *body, const char *key,
                 bool fallback, bool *value);
bool cr_ask_number(cr_ask *ask, const json_t *body, const char *key,
                   int64_t min, int64_t max, int64_t fallback, int64_t *value);
bool cr_ask_text(cr_ask *ask, const json_t *value, const char *what,
                 cr_text *text);
/* Where it is a string, else NULL. */
const char *cr_ask_name(const json_t *body, const char *key);

/* Room for n pairs, within max_documents; `what` names the field. */
bool cr_ask_reserve(cr_ask *ask, size_t n, const char *what,
                    const cr_facts *facts);
/* query x documents[i], where a document is a string or an object with a
 * `text` string (or with the fields that rank_fields names). */
bool cr_ask_documents(cr_ask *ask, cr_text query, const json_t *documents,
                      const char *what, const json_t *rank_fields,
                      const cr_facts *facts);
/* `truncate`, `truncation_direction` and `truncate_prompt_tokens`,
 * `return_details`. */
bool cr_ask_common(cr_ask *ask, const json_t *body, const cr_facts *facts);

/* Refuses where one score a pair is asked for and the model has several. */
bool cr_ask_check_labels(cr_ask *ask, const cr_facts *facts);

cr_activation cr_ask_scale(cr_score_scale scale, const cr_facts *facts);

/* Sorts, cuts to top_n and applies the activation. With several labels pairs
 * stay in order and the labels of each are sorted. */
bool cr_ask_rank(cr_ask *ask);

uint64_t cr_ask_n_tokens(const cr_ask *ask);
/* `,"truncated":…,"tokens":…` where the ask wants it. */
void cr_ask_put_details(const cr_ask *ask, const cr_result *result,
                        cr_json_out *out);

#endif
