/* An ask: reading fields with their limits, ranking what came back. */
#include "server/ask.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void cr_ask_fini(cr_ask *ask) {
    for (uint32_t i = 0; i < ask->n_owned; i++)
        cr_free(ask->owned[i]);
    cr_free(ask->owned);
    cr_free(ask->pairs);
    cr_free(ask->results);
    cr_free(ask->tokens.ids);
    cr_free(ask->tokens.offsets);
    cr_job_fini(&ask->job);
    json_decref(ask->body);
}

/* ---- Fields ------------------------------------------------------------- */

static const char *type_name(const json_t *value) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return value ? "null" : "missing";
}

bool cr_ask_bool(cr_ask *ask, const json_t *body, const char *key,
                 bool fallback, bool *value) {
    const json_t *field = json_object_get(body, key);
    *value = fallback;
    if (!field || json_is_null(field))
        return true;
    if (!json_is_boolean(field))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`%s` must be true or false, it is %s", key,
                         type_name(field));
    *value = json_is_true(field);
    return true;
}

/* 5.0 is; and so large a number is above every limit. */
static bool is_whole(const json_t *field) {
    double x = json_real_value(field);
    return json_is_integer(field) ||
           (json_is_real(field) && x == floor(x) && fabs(x) < 0x1p62);
}

bool cr_ask_number(cr_ask *ask, const json_t *body, const char *key,
                   int64_t min, int64_t max, int64_t fallback, int64_t *value) {
    const json_t *field = json_object_get(body, key);
    *value = fallback;
    if (!field || json_is_null(field))
        return true;
    if (!is_whole(field))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`%s` must be a whole number, it is %s", key,
                         json_is_real(field) ? "one with a fraction"
                                             : type_name(field));
    *value = json_is_real(field) ? (int64_t)json_real_value(field)
                                 : json_integer_value(field);
    if (*value < min)
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`%s` is %lld, it must be at least %lld", key,
                         (long long)*value, (long long)min);
    if (*value > max)
        *value = max;
    return true;
}

bool cr_ask_text(cr_ask *ask, const json_t *value, const char *what,
                 cr_text *text) {
    if (!json_is_string(value))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`%s` must be a string, it is %s", what,
                         type_name(value));
    *text = (cr_text){json_string_value(value), json_string_length(value)};
    return true;
}

const char *cr_ask_name(const json_t *body, const char *key) {
    const json_t *field = json_object_get(body, key);
    return json_is_string(field) && json_string_length(field)
               ? json_string_value(field)
               : NULL;
}

/* ---- Pairs -------------------------------------------------------------- */

bool cr_ask_reserve(cr_ask *ask, size_t n, const char *what,
                    const cr_facts *facts) {
    uint32_t most = facts->settings->max_documents;
    if (n == 0)
        return cr_refuse(&ask->refusal, CR_REFUSAL_EMPTY,
                         "`%s` cannot be empty", what);
    if (n > most)
        return cr_refuse(&ask->refusal, CR_REFUSAL_LIMIT,
                         "batch size %zu > maximum allowed batch size %u: "
                         "send fewer `%s` or raise max_documents",
                         n, most, what);
    ask->pairs = cr_calloc(n, sizeof *ask->pairs);
    ask->owned = cr_calloc(n, sizeof *ask->owned);
    if (!ask->pairs || !ask->owned)
        return cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY,
                         "no memory for %zu pairs", n);
    ask->n_pairs = (uint32_t)n;
    ask->n_labels = facts->generation->n_labels;
    return true;
}

/* The named fields of a document, one a line, in the order they are named; what
 * has none of them is scored as an empty text. *any: one had. */
static bool join_fields(cr_ask *ask, const json_t *document,
                        const json_t *fields, bool *any, cr_text *text) {
    cr_buf buf;
    cr_status status = CR_OK;
    cr_buf_init(&buf, UINT32_MAX);
    for (size_t i = 0; status == CR_OK && i < json_array_size(fields); i++) {
        const char *name = json_string_value(json_array_get(fields, i));
        const json_t *value = name ? json_object_get(document, name) : NULL;
        if (!json_is_string(value))
            continue;
        *any = true;
        if (buf.len)
            status = cr_buf_append(&buf, "\n", 1, NULL);
        if (status == CR_OK)
            status = cr_buf_append(&buf, json_string_value(value),
                                   json_string_length(value), NULL);
    }
    if (status != CR_OK) {
        cr_buf_fini(&buf);
        return cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY,
                         "no memory for a document");
    }
    *text = (cr_text){buf.data ? buf.data : "", buf.len};
    if (buf.data)
        ask->owned[ask->n_owned++] = buf.data;
    return true;
}

/* *any: it has a text. */
static bool read_document(cr_ask *ask, const json_t *document, const char *what,
                          size_t i, const json_t *fields, bool *any,
                          cr_text *text) {
    const json_t *value = document;
    if (json_is_object(document) && json_array_size(fields))
        return join_fields(ask, document, fields, any, text);
    if (json_is_object(document))
        value = json_object_get(document, "text");
    if (json_is_string(value)) {
        *text = (cr_text){json_string_value(value), json_string_length(value)};
        *any = true;
        return true;
    }
    return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                     "`%s[%zu]` must be a string or an object with a string "
                     "`text`, it is %s",
                     what, i, type_name(document));
}

static bool is_name_list(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_array(value);
}

bool cr_ask_documents(cr_ask *ask, cr_text query, const json_t *documents,
                      const char *what, const json_t *rank_fields,
                      const cr_facts *facts) {
    if (!json_is_array(documents))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`%s` must be a list, it is %s", what,
                         type_name(documents));
    if (rank_fields && !is_name_list(rank_fields))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`rank_fields` must be a list of strings");
    if (!cr_ask_reserve(ask, json_array_size(documents), what, facts))
        return false;
    bool any = false;
    for (uint32_t i = 0; i < ask->n_pairs; i++) {
        ask->pairs[i].query = query;
        if (!read_document(ask, json_array_get(documents, i), what, i,
                           rank_fields, &any, &ask->pairs[i].passage))
            return false;
    }
    return any || cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                            "none of `%s` has one of `rank_fields` as a "
                            "string: name fields that they have",
                            what);
}

static bool read_direction(cr_ask *ask, const json_t *body) {
    const json_t *field = json_object_get(body, "truncation_direction");
    const char *name = json_string_value(field);
    if (!field || json_is_null(field))
        return true;
    ask->encode.keep_end =
        name && (!strcmp(name, "Left") || !strcmp(name, "left"));
    if (ask->encode.keep_end ||
        (name && (!strcmp(name, "Right") || !strcmp(name, "right"))))
        return true;
    return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                     "`truncation_direction` must be Left or Right");
}

/* vLLM's: -1 is the model's limit, and what is above that is the same. */
static bool read_most_tokens(cr_ask *ask, const json_t *body,
                             const cr_facts *facts) {
    const cr_generation *g = facts->generation;
    int64_t most;
    if (!cr_ask_number(ask, body, "truncate_prompt_tokens", -1, g->max_length,
                       -1, &most))
        return false;
    if (most >= 0 && most < g->min_length)
        return cr_refuse(
            &ask->refusal, CR_REFUSAL_SHAPE,
            "`truncate_prompt_tokens` is %lld, it must be at least "
            "%u, a pair's special tokens, or -1 for the model's "
            "limit of %u",
            (long long)most, g->min_length, g->max_length);
    ask->encode.max_tokens = most < 0 ? 0 : (uint32_t)most;
    return true;
}

bool cr_ask_common(cr_ask *ask, const json_t *body, const cr_facts *facts) {
    bool truncate;
    ask->encode.truncation = facts->generation->truncation;
    if (!cr_ask_bool(ask, body, "truncate", facts->settings->auto_truncate,
                     &truncate) ||
        !cr_ask_bool(ask, body, "return_details", false, &ask->details) ||
        !read_direction(ask, body) || !read_most_tokens(ask, body, facts))
        return false;
    ask->encode.refuse_long = !truncate;
    return true;
}

bool cr_ask_check_labels(cr_ask *ask, const cr_facts *facts) {
    if (facts->generation->n_labels == 1)
        return true;
    return cr_refuse(&ask->refusal, CR_REFUSAL_KIND,
                     "model is not a re-ranker model: %s has %u labels, this "
                     "needs one score a pair; /predict gives a score for each",
                     facts->model_name, facts->generation->n_labels);
}

cr_activation cr_ask_scale(cr_score_scale scale, const cr_facts *facts) {
    switch (scale) {
    case CR_SCALE_SIGMOID:
        return CR_ACTIVATION_SIGMOID;
    case CR_SCALE_MODEL:
        return facts->generation->activation;
    case CR_SCALE_RAW:
        break;
    }
    return CR_ACTIVATION_NONE;
}

/* ---- Results ------------------------------------------------------------ */

/* In double, so that distinct logits stay distinct scores. */
static double activate(cr_activation activation, float logit) {
    double x = (double)logit;
    if (activation == CR_ACTIVATION_SIGMOID)
        return 1 / (1 + exp(-x));
    if (activation == CR_ACTIVATION_TANH)
        return tanh(x);
    return x;
}

static int by_logit(const cr_result *x, const cr_result *y) {
    return x->logit > y->logit ? -1 : x->logit < y->logit;
}

static int first_tie_first(const void *a, const void *b) {
    const cr_result *x = a, *y = b;
    int order = by_logit(x, y);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static int last_tie_first(const void *a, const void *b) {
    const cr_result *x = a, *y = b;
    int order = by_logit(x, y);
    return order ? order : x->index > y->index ? -1 : x->index < y->index;
}

/* As Text Embeddings Inference sorts them: of equal ones the last first. */
static int best_label_first(const void *a, const void *b) {
    const cr_result *x = a, *y = b;
    int order = by_logit(x, y);
    return order ? order : x->label > y->label ? -1 : x->label < y->label;
}

static void apply_softmax(cr_result *row, uint32_t n) {
    double most = row[0].score, sum = 0;
    for (uint32_t i = 1; i < n; i++)
        most = fmax(most, row[i].score);
    for (uint32_t i = 0; i < n; i++) {
        row[i].score = exp(row[i].score - most);
        sum += row[i].score;
    }
    for (uint32_t i = 0; i < n; i++)
        row[i].score /= sum;
}

/* The row of one pair. */
static void fill_row(const cr_ask *ask, uint32_t pair, cr_result *row) {
    uint32_t n = ask->n_labels;
    const float *logits = ask->job.logits + (size_t)pair * n;
    for (uint32_t i = 0; i < n; i++)
        row[i] = (cr_result){.index = pair,
                             .label = i,
                             .logit = logits[i],
                             .score = activate(ask->activation, logits[i])};
    if (ask->softmax)
        apply_softmax(row, n);
    if (n > 1)
        qsort(row, n, sizeof *row, best_label_first);
}

bool cr_ask_rank(cr_ask *ask) {
    uint32_t n = ask->job.n_pairs;
    ask->results = cr_calloc(n, ask->n_labels * sizeof *ask->results);
    if (!ask->results)
        return cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY,
                         "no memory for %u results", n);
    for (uint32_t i = 0; i < n; i++)
        fill_row(ask, i, ask->results + (size_t)i * ask->n_labels);
    if (ask->sorted)
        qsort(ask->results, n, ask->n_labels * sizeof *ask->results,
              ask->last_tie_first ? last_tie_first : first_tie_first);
    ask->n_results = ask->top_n && ask->top_n < n ? ask->top_n : n;
    return true;
}

uint64_t cr_ask_n_tokens(const cr_ask *ask) {
    return ask->job.n_pairs ? ask->job.starts[ask->job.n_pairs] : 0;
}

void cr_ask_put_details(const cr_ask *ask, const cr_result *result,
                        cr_json_out *out) {
    if (ask->details)
        cr_json_put(out, ",\"truncated\":%s,\"tokens\":%u",
                    ask->job.truncated[result->index] ? "true" : "false",
                    cr_job_pair_tokens(&ask->job, result->index));
}
