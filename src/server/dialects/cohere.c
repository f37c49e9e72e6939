/* Cohere's /v2/rerank. Scores are sigmoids, documents are never returned. */
#include "server/ask.h"

static int write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out) {
    (void)type;
    cr_json_put(out, "{\"message\":");
    cr_json_put_string(out, refusal->error.message);
    cr_json_put(out, "}");
    return cr_refusal_http_status(refusal->kind);
}

static bool read_request(cr_ask *ask, const json_t *body,
                         const cr_facts *facts) {
    int64_t top_n, most;
    cr_text query;
    ask->sorted = true;
    ask->activation = CR_ACTIVATION_SIGMOID;
    ask->model = cr_ask_name(body, "model");
    if (!cr_ask_text(ask, json_object_get(body, "query"), "query", &query) ||
        !cr_ask_common(ask, body, facts) ||
        !cr_ask_number(ask, body, "top_n", 1, UINT32_MAX, 0, &top_n) ||
        !cr_ask_number(ask, body, "max_tokens_per_doc", 1, UINT32_MAX, 0,
                       &most))
        return false;
    ask->top_n = (uint32_t)top_n;
    ask->encode.max_passage_tokens = (uint32_t)most;
    return cr_ask_documents(ask, query, json_object_get(body, "documents"),
                            "documents", NULL, facts);
}

static void write_answer(const cr_ask *ask, const cr_facts *facts,
                         cr_json_out *out) {
    (void)facts;
    cr_json_put(out, "{\"id\":");
    cr_json_put_string(out, ask->request_id);
    cr_json_put(out, ",\"results\":[");
    for (uint32_t i = 0; i < ask->n_results; i++) {
        const cr_result *r = &ask->results[i];
        cr_json_put(out, "%s{\"index\":%u,\"relevance_score\":", i ? "," : "",
                    r->index);
        cr_json_put_number(out, r->score);
        cr_ask_put_details(ask, r, out);
        cr_json_put(out, "}");
    }
    cr_json_put(out,
                "],\"meta\":{\"api_version\":{\"version\":\"2\""
                ",\"is_experimental\":false},\"billed_units\":"
                "{\"search_units\":1},\"tokens\":{\"input_tokens\":%llu}}}",
                (unsigned long long)cr_ask_n_tokens(ask));
}

const cr_dialect cr_dialect_cohere = {
    .name = "cohere",
    .counter = CR_COUNT_REQUESTS_COHERE,
    .needs_one_label = true,
    .read = read_request,
    .write = write_answer,
    .write_refusal = write_refusal,
};
