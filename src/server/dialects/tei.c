/* Text Embeddings Inference: /rerank and /predict, as its version 1.9.
 *
 * Unless raw_scores, scores are sigmoids, or a softmax of several labels; of
 * equal scores the later text comes first, as there. */
#include "server/dialects/tei.h"

#include <string.h>

/* ---- Refusals ----------------------------------------------------------- */

static const char *error_type(cr_refusal_kind kind) {
    switch (kind) {
    case CR_REFUSAL_EMPTY:
        return "Empty";
    case CR_REFUSAL_BACKEND:
    case CR_REFUSAL_KIND:
        return "Backend";
    case CR_REFUSAL_OVERLOADED:
        return "Overloaded";
    case CR_REFUSAL_UNREADY:
        return "Unhealthy";
    case CR_REFUSAL_DEADLINE:
        return "Timeout";
    default:
        return "Validation";
    }
}

/* What its web framework refuses comes as plain text. */
static bool is_plain(cr_refusal_kind kind) {
    return kind == CR_REFUSAL_MALFORMED || kind == CR_REFUSAL_SHAPE ||
           kind == CR_REFUSAL_MEDIA || kind == CR_REFUSAL_SIZE;
}

int cr_tei_write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out) {
    if (is_plain(refusal->kind)) {
        *type = "text/plain; charset=utf-8";
        cr_json_put(out, "%.500s", refusal->error.message);
    } else if (refusal->kind != CR_REFUSAL_AUTH) {
        cr_json_put(out, "{\"error\":");
        cr_json_put_string(out, refusal->error.message);
        cr_json_put(out, ",\"error_type\":\"%s\"}", error_type(refusal->kind));
    }
    if (refusal->kind == CR_REFUSAL_EMPTY)
        return 400;
    if (refusal->kind == CR_REFUSAL_BACKEND || refusal->kind == CR_REFUSAL_KIND)
        return 424;
    return cr_refusal_http_status(refusal->kind);
}

/* ---- Requests ----------------------------------------------------------- */

void cr_tei_choose_scale(cr_ask *ask, bool raw, const cr_facts *facts) {
    bool several = facts->generation->n_labels > 1;
    ask->softmax = several && !raw;
    ask->activation =
        raw || several ? CR_ACTIVATION_NONE : CR_ACTIVATION_SIGMOID;
}

static bool read_common(cr_ask *ask, const json_t *body,
                        const cr_facts *facts) {
    bool raw;
    if (!cr_ask_common(ask, body, facts) ||
        !cr_ask_bool(ask, body, "raw_scores", false, &raw))
        return false;
    cr_tei_choose_scale(ask, raw, facts);
    return true;
}

static bool read_rerank(cr_ask *ask, const json_t *body,
                        const cr_facts *facts) {
    cr_text query;
    ask->sorted = ask->last_tie_first = true;
    return cr_ask_text(ask, json_object_get(body, "query"), "query", &query) &&
           read_common(ask, body, facts) &&
           cr_ask_bool(ask, body, "return_text", false,
                       &ask->return_documents) &&
           cr_ask_documents(ask, query, json_object_get(body, "texts"), "texts",
                            NULL, facts);
}

static bool read_pair(cr_ask *ask, const json_t *strings, cr_pair *pair) {
    size_t n = json_array_size(strings);
    *pair = (cr_pair){{"", 0}, {NULL, 0}};
    if (n < 1 || n > 2)
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`inputs`: a pair has one or two strings, got %zu", n);
    if (!cr_ask_text(ask, json_array_get(strings, 0), "inputs", &pair->query))
        return false;
    if (n == 2 &&
        !cr_ask_text(ask, json_array_get(strings, 1), "inputs", &pair->passage))
        return false;
    if (pair->query.len + pair->passage.len == 0)
        return cr_refuse(&ask->refusal, CR_REFUSAL_EMPTY,
                         "`inputs` cannot be empty");
    return true;
}

/* "s", ["s"], ["a","b"] (one pair), or [["a","b"], ["c"], ...]. */
static bool read_inputs(cr_ask *ask, const json_t *inputs,
                        const cr_facts *facts) {
    const json_t *first = json_array_get(inputs, 0);
    ask->single = json_is_string(inputs) || json_is_string(first);
    if (!ask->single && !json_is_array(inputs))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`inputs` must be a string, a pair of strings or a "
                         "list of pairs");
    size_t n = ask->single ? 1 : json_array_size(inputs);
    if (!cr_ask_reserve(ask, n, "inputs", facts))
        return false;
    if (json_is_string(inputs)) {
        json_t *list = json_pack("[O]", inputs);
        bool good = list && read_pair(ask, list, &ask->pairs[0]);
        json_decref(list); /* the body still holds the string */
        return good;
    }
    for (uint32_t i = 0; i < n; i++) {
        const json_t *pair = ask->single ? inputs : json_array_get(inputs, i);
        if (!read_pair(ask, pair, &ask->pairs[i]))
            return false;
    }
    return true;
}

static bool read_predict(cr_ask *ask, const json_t *body,
                         const cr_facts *facts) {
    return read_common(ask, body, facts) &&
           read_inputs(ask, json_object_get(body, "inputs"), facts);
}

/* ---- Answers ------------------------------------------------------------ */

static void write_rerank(const cr_ask *ask, const cr_facts *facts,
                         cr_json_out *out) {
    (void)facts;
    cr_json_put(out, "[");
    for (uint32_t i = 0; i < ask->n_results; i++) {
        const cr_result *r = &ask->results[i];
        cr_json_put(out, "%s{\"index\":%u", i ? "," : "", r->index);
        if (ask->return_documents) {
            cr_json_put(out, ",\"text\":");
            cr_json_put_text(out, ask->pairs[r->index].passage);
        }
        cr_json_put(out, ",\"score\":");
        cr_json_put_number(out, r->score);
        cr_ask_put_details(ask, r, out);
        cr_json_put(out, "}");
    }
    cr_json_put(out, "]");
}

/* The labels of one pair, best first. */
static void write_row(const cr_ask *ask, uint32_t pair, const cr_facts *facts,
                      cr_json_out *out) {
    const cr_result *row = ask->results + (size_t)pair * ask->n_labels;
    cr_json_put(out, "[");
    for (uint32_t i = 0; i < ask->n_labels; i++) {
        cr_json_put(out, "%s{\"score\":", i ? "," : "");
        cr_json_put_number(out, row[i].score);
        cr_json_put(out, ",\"label\":");
        cr_json_put_string(out, facts->labels[row[i].label]);
        cr_ask_put_details(ask, &row[i], out);
        cr_json_put(out, "}");
    }
    cr_json_put(out, "]");
}

static void write_predict(const cr_ask *ask, const cr_facts *facts,
                          cr_json_out *out) {
    cr_json_put(out, "%s", ask->single ? "" : "[");
    for (uint32_t i = 0; i < ask->n_results; i++) {
        cr_json_put(out, "%s", i ? "," : "");
        write_row(ask, i, facts, out);
    }
    cr_json_put(out, "%s", ask->single ? "" : "]");
}

const cr_dialect cr_dialect_tei_rerank = {
    .name = "tei",
    .counter = CR_COUNT_REQUESTS_TEI,
    .needs_json_type = true,
    .needs_one_label = true,
    .read = read_rerank,
    .write = write_rerank,
    .write_refusal = cr_tei_write_refusal,
};

const cr_dialect cr_dialect_tei_predict = {
    .name = "tei",
    .counter = CR_COUNT_REQUESTS_TEI,
    .needs_json_type = true,
    .read = read_predict,
    .write = write_predict,
    .write_refusal = cr_tei_write_refusal,
};
