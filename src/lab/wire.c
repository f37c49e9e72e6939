/* Wire: bodies are put together from texts that are JSON already. */
#include "lab/wire.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

const char *const CR_WIRE_DIALECTS[] = {"tei",  "cohere",   "jina",
                                        "vllm", "infinity", NULL};

uint32_t cr_wire_default_request(uint32_t dialect) {
    return dialect == CR_WIRE_TEI || dialect == CR_WIRE_VLLM ? 0 : 1;
}

cr_status cr_wire_check(uint32_t dialect, bool as_pairs, const char *path,
                        cr_error *error) {
    if (!as_pairs || cr_wire_default_request(dialect) == 0)
        return CR_OK;
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "%s: a request of %s has one query: say load.request: "
                   "rerank",
                   path, CR_WIRE_DIALECTS[dialect]);
}

const char *cr_wire_path(uint32_t dialect, bool as_pairs) {
    switch ((cr_wire_dialect)dialect) {
    case CR_WIRE_TEI:
        return as_pairs ? "/predict" : "/rerank";
    case CR_WIRE_COHERE:
        return "/v2/rerank";
    case CR_WIRE_JINA:
        return "/v1/rerank";
    case CR_WIRE_VLLM:
        return "/score";
    case CR_WIRE_INFINITY:
        break;
    }
    return "/rerank";
}

cr_activation cr_wire_activation(uint32_t dialect) {
    return dialect == CR_WIRE_TEI    ? CR_ACTIVATION_NONE
           : dialect == CR_WIRE_VLLM ? CR_ACTIVATION_MODEL
                                     : CR_ACTIVATION_SIGMOID;
}

/* ---- Asking ---------------------------------------------------------------
 */

static cr_status put(cr_buf *body, const char *text, cr_error *error) {
    return cr_buf_append(body, text, strlen(text), error);
}

static cr_status put_text(cr_buf *body, cr_text text, cr_error *error) {
    return cr_buf_append(body, text.data, text.len, error);
}

/* `before` is written in front of the first, a comma before the others. */
static cr_status put_list(cr_buf *body, const cr_wire_pair *pairs, size_t n,
                          bool queries, cr_error *error) {
    cr_status status = put(body, "[", error);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        if (i)
            status = put(body, ",", error);
        if (status == CR_OK)
            status = put_text(body, queries ? pairs[i].query : pairs[i].passage,
                              error);
    }
    return status == CR_OK ? put(body, "]", error) : status;
}

static cr_status put_pairs(cr_buf *body, const cr_wire_pair *pairs, size_t n,
                           cr_error *error) {
    cr_status status = put(body, "{\"raw_scores\":true,\"inputs\":[", error);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        status = put(body, i ? ",[" : "[", error);
        if (status == CR_OK)
            status = put_text(body, pairs[i].query, error);
        if (status == CR_OK)
            status = put(body, ",", error);
        if (status == CR_OK)
            status = put_text(body, pairs[i].passage, error);
        if (status == CR_OK)
            status = put(body, "]", error);
    }
    return status == CR_OK ? put(body, "]}", error) : status;
}

cr_status cr_wire_write(uint32_t dialect, bool as_pairs, cr_text model,
                        const cr_wire_pair *pairs, size_t n, cr_buf *body,
                        cr_error *error) {
    static const char *const BEFORE[] = {
        "{\"raw_scores\":true,\"query\":", "{\"query\":",
        "{\"return_documents\":false,\"query\":", "{\"text_1\":",
        "{\"return_documents\":false,\"query\":"};
    static const char *const BETWEEN[] = {
        ",\"texts\":", ",\"documents\":", ",\"documents\":", ",\"text_2\":",
        ",\"documents\":"};
    if (as_pairs && dialect == CR_WIRE_TEI)
        return put_pairs(body, pairs, n, error);
    cr_status status = put(body, BEFORE[dialect], error);
    if (status == CR_OK)
        status = as_pairs ? put_list(body, pairs, n, true, error)
                          : put_text(body, pairs[0].query, error);
    if (status == CR_OK)
        status = put(body, BETWEEN[dialect], error);
    if (status == CR_OK)
        status = put_list(body, pairs, n, false, error);
    if (status == CR_OK && dialect != CR_WIRE_TEI) {
        status = put(body, ",\"model\":", error);
        if (status == CR_OK)
            status = put_text(body, model, error);
    }
    return status == CR_OK ? put(body, "}", error) : status;
}

/* ---- Reading --------------------------------------------------------------
 */

/* The list that holds an object a pair. */
static const json_t *list_of(const json_t *root, uint32_t dialect) {
    if (dialect == CR_WIRE_TEI)
        return root;
    return json_object_get(root, dialect == CR_WIRE_VLLM ? "data" : "results");
}

/* /predict answers a list of classes for each pair, in the pairs' order. */
static bool read_predicted(const json_t *list, float *scores, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(json_array_get(list, i), 0);
        const json_t *score = json_object_get(one, "score");
        if (!json_is_number(score))
            return false;
        scores[i] = (float)json_number_value(score);
    }
    return json_array_size(list) == n;
}

static bool read_indexed(const json_t *list, const char *name, float *scores,
                         size_t n) {
    if (json_array_size(list) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        scores[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i);
        const json_t *index = json_object_get(one, "index");
        const json_t *score = json_object_get(one, name);
        json_int_t at = json_integer_value(index);
        if (!json_is_integer(index) || at < 0 || (size_t)at >= n ||
            !json_is_number(score))
            return false;
        scores[at] = (float)json_number_value(score);
    }
    return true;
}

cr_status cr_wire_read(uint32_t dialect, bool as_pairs, cr_text answer,
                       float *scores, size_t n, cr_error *error) {
    json_error_t why;
    json_t *root = json_loadb(answer.data, answer.len, 0, &why);
    if (!root)
        return cr_fail(error, CR_ERR_INPUT, "the answer is not JSON: %.80s",
                       why.text);
    const json_t *list = list_of(root, dialect);
    const char *name = dialect == CR_WIRE_TEI || dialect == CR_WIRE_VLLM
                           ? "score"
                           : "relevance_score";
    bool good = as_pairs && dialect == CR_WIRE_TEI
                    ? read_predicted(list, scores, n)
                    : read_indexed(list, name, scores, n);
    for (size_t i = 0; good && i < n; i++)
        good = isfinite(scores[i]);
    json_decref(root);
    return good ? CR_OK
                : cr_fail(error, CR_ERR_INPUT,
                          "the answer lacks a score of a pair");
}
