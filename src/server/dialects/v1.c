/* The paths /v1/rerank, /rerank with `documents` and /reranking: one superset
 * answer that clients of Jina, Cohere v1, llama.cpp, infinity and vLLM all
 * read.
 *
 * Where these clash, scores are sigmoids and `document` is an object unless
 * return_documents is false; settings choose otherwise. */
#include "server/ask.h"

#include <string.h>

static const char *error_type(cr_refusal_kind kind) {
    switch (kind) {
    case CR_REFUSAL_AUTH:
        return "authentication_error";
    case CR_REFUSAL_NOT_FOUND:
        return "not_found_error";
    case CR_REFUSAL_UNREADY:
        return "unavailable_error";
    case CR_REFUSAL_OVERLOADED:
        return "overloaded_error";
    case CR_REFUSAL_DEADLINE:
        return "timeout_error";
    case CR_REFUSAL_BACKEND:
        return "server_error";
    default:
        return "invalid_request_error";
    }
}

static int write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out) {
    int status = cr_refusal_http_status(refusal->kind);
    (void)type;
    cr_json_put(out, "{\"error\":{\"code\":%d,\"message\":", status);
    cr_json_put_string(out, refusal->error.message);
    cr_json_put(out, ",\"type\":\"%s\",\"param\":null},\"message\":",
                error_type(refusal->kind));
    cr_json_put_string(out, refusal->error.message);
    cr_json_put(out, "}");
    return status;
}

/* A query is a string, or an object with one. */
static bool read_query(cr_ask *ask, const json_t *body, cr_text *query) {
    const json_t *field = json_object_get(body, "query");
    if (json_is_object(field))
        field = json_object_get(field, "text");
    return cr_ask_text(ask, field, "query", query);
}

static bool read_scale(cr_ask *ask, const json_t *body, const cr_facts *facts) {
    cr_score_scale scale = (cr_score_scale)facts->settings->rerank_scores;
    bool raw;
    if (!cr_ask_bool(ask, body, "raw_scores", scale == CR_SCALE_RAW, &raw))
        return false;
    ask->activation = cr_ask_scale(raw ? CR_SCALE_RAW : scale, facts);
    if (!raw && scale == CR_SCALE_RAW) /* asked for by its opposite */
        ask->activation = CR_ACTIVATION_SIGMOID;
    return true;
}

static bool read_top_n(cr_ask *ask, const json_t *body) {
    const char *key = json_object_get(body, "top_n") ? "top_n" : "top_k";
    int64_t top_n;
    if (!cr_ask_number(ask, body, key, 1, UINT32_MAX, 0, &top_n))
        return false;
    ask->top_n = (uint32_t)top_n;
    return true;
}

static bool read_request(cr_ask *ask, const json_t *body,
                         const cr_facts *facts) {
    bool never = facts->settings->rerank_documents == CR_DOCUMENTS_NEVER;
    int64_t most = 0;
    cr_text query;
    ask->sorted = true;
    ask->model = cr_ask_name(body, "model");
    if (!read_query(ask, body, &query) || !cr_ask_common(ask, body, facts) ||
        !read_scale(ask, body, facts) || !read_top_n(ask, body) ||
        !cr_ask_bool(ask, body, "return_documents", !never,
                     &ask->return_documents) ||
        !cr_ask_number(ask, body, "max_tokens_per_doc", 0, UINT32_MAX, 0,
                       &most))
        return false;
    ask->encode.max_passage_tokens = (uint32_t)most;
    return cr_ask_documents(ask, query, json_object_get(body, "documents"),
                            "documents", json_object_get(body, "rank_fields"),
                            facts);
}

/* An object comes back with the fields that are strings, as it was given. */
static void put_object(const json_t *given, cr_json_out *out) {
    const char *key, *comma = "";
    json_t *value;
    cr_json_put(out, "{");
    json_object_foreach((json_t *)(uintptr_t)given, key, value) {
        if (!json_is_string(value))
            continue;
        cr_json_put(out, "%s", comma);
        cr_json_put_string(out, key);
        cr_json_put(out, ":");
        cr_json_put_text(out, (cr_text){json_string_value(value),
                                        json_string_length(value)});
        comma = ",";
    }
    cr_json_put(out, "}");
}

static void put_document(const cr_ask *ask, const cr_facts *facts,
                         uint32_t index, cr_json_out *out) {
    const json_t *given =
        json_array_get(json_object_get(ask->body, "documents"), index);
    bool plain = facts->settings->rerank_documents == CR_DOCUMENTS_STRING;
    cr_json_put(out, ",\"document\":");
    if (json_is_object(given) && !plain) {
        put_object(given, out);
        return;
    }
    cr_json_put(out, "%s", plain ? "" : "{\"text\":");
    cr_json_put_text(out, ask->pairs[index].passage);
    cr_json_put(out, "%s", plain ? "" : "}");
}

static void write_answer(const cr_ask *ask, const cr_facts *facts,
                         cr_json_out *out) {
    unsigned long long tokens = cr_ask_n_tokens(ask);
    /* Who reads documents as strings is a client of infinity. */
    bool infinity = facts->settings->rerank_documents == CR_DOCUMENTS_STRING;
    cr_json_put(out, "{\"id\":");
    cr_json_put_string(out, ask->request_id);
    cr_json_put(out,
                ",\"object\":\"%s\",\"model\":", infinity ? "rerank" : "list");
    cr_json_put_string(out, ask->model ? ask->model : facts->model_name);
    cr_json_put(out, ",\"created\":%lld,\"results\":[",
                (long long)ask->created_s);
    for (uint32_t i = 0; i < ask->n_results; i++) {
        const cr_result *r = &ask->results[i];
        cr_json_put(out, "%s{\"index\":%u", i ? "," : "", r->index);
        if (ask->return_documents)
            put_document(ask, facts, r->index, out);
        cr_json_put(out, ",\"relevance_score\":");
        cr_json_put_number(out, r->score);
        cr_ask_put_details(ask, r, out);
        cr_json_put(out, "}");
    }
    cr_json_put(out,
                "],\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}"
                ",\"meta\":{\"api_version\":{\"version\":\"1\"}"
                ",\"billed_units\":{\"search_units\":1}"
                ",\"tokens\":{\"input_tokens\":%llu}}}",
                tokens, tokens, tokens);
}

const cr_dialect cr_dialect_v1 = {
    .name = "v1",
    .counter = CR_COUNT_REQUESTS_V1,
    .needs_one_label = true,
    .read = read_request,
    .write = write_answer,
    .write_refusal = write_refusal,
};
