/* vLLM's /score: pairs 1:1, 1:N or N:N, scores in order and unsorted.
 *
 * Scores are what the model's configuration asks for, as there; the logit
 * where use_activation (or the older activation) is false. */
#include "server/ask.h"

static const char *error_type(cr_refusal_kind kind) {
    switch (kind) {
    case CR_REFUSAL_NOT_FOUND:
        return "NotFoundError";
    case CR_REFUSAL_AUTH:
        return "Unauthorized";
    case CR_REFUSAL_OVERLOADED:
        return "OverloadedError";
    case CR_REFUSAL_DEADLINE:
        return "TimeoutError";
    case CR_REFUSAL_UNREADY:
    case CR_REFUSAL_BACKEND:
        return "InternalServerError";
    default:
        return "BadRequestError";
    }
}

static int write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out) {
    int status = cr_refusal_http_status(refusal->kind);
    (void)type;
    if (status == 422)
        status = 400;
    cr_json_put(out, "{\"error\":{\"message\":");
    cr_json_put_string(out, refusal->error.message);
    cr_json_put(out, ",\"type\":\"%s\",\"param\":null,\"code\":%d}}",
                error_type(refusal->kind), status);
    return status;
}

static bool find_sides(cr_ask *ask, const json_t *body, const json_t **first,
                       const json_t **second) {
    static const char *const names[][2] = {{"queries", "documents"},
                                           {"queries", "items"},
                                           {"data_1", "data_2"},
                                           {"text_1", "text_2"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *first = json_object_get(body, names[i][0]);
        *second = json_object_get(body, names[i][1]);
        if (*first && *second)
            return true;
    }
    return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                     "name the texts with queries and documents, queries and "
                     "items, data_1 and data_2, or text_1 and text_2");
}

static size_t count(const json_t *side) {
    return json_is_array(side) ? json_array_size(side) : 1;
}

static const json_t *item(const json_t *side, size_t i) {
    if (!json_is_array(side))
        return side;
    return json_array_get(side, json_array_size(side) == 1 ? 0 : i);
}

static bool read_sides(cr_ask *ask, const json_t *first, const json_t *second,
                       const cr_facts *facts) {
    size_t n = count(first), m = count(second);
    if (n == 0 || m == 0)
        return cr_refuse(&ask->refusal, CR_REFUSAL_EMPTY,
                         "At least one %s element must be given",
                         n == 0 ? "text" : "text_pair");
    if (n != 1 && n != m)
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "Input lengths must be either 1:1, 1:N or N:N; they "
                         "are %zu:%zu",
                         n, m);
    if (!cr_ask_reserve(ask, m, "documents", facts))
        return false;
    for (size_t i = 0; i < m; i++)
        if (!cr_ask_text(ask, item(first, i), "queries",
                         &ask->pairs[i].query) ||
            !cr_ask_text(ask, item(second, i), "documents",
                         &ask->pairs[i].passage))
            return false;
    return true;
}

static bool read_request(cr_ask *ask, const json_t *body,
                         const cr_facts *facts) {
    const json_t *first, *second;
    bool activate, use;
    int64_t most;
    ask->model = cr_ask_name(body, "model");
    if (!find_sides(ask, body, &first, &second) ||
        !cr_ask_common(ask, body, facts) ||
        !cr_ask_bool(ask, body, "activation", true, &activate) ||
        !cr_ask_bool(ask, body, "use_activation", activate, &use) ||
        !cr_ask_number(ask, body, "max_tokens_per_doc", 0, UINT32_MAX, 0,
                       &most))
        return false;
    ask->encode.max_passage_tokens = (uint32_t)most;
    ask->activation = cr_ask_scale(use ? CR_SCALE_MODEL : CR_SCALE_RAW, facts);
    return read_sides(ask, first, second, facts);
}

static void write_answer(const cr_ask *ask, const cr_facts *facts,
                         cr_json_out *out) {
    unsigned long long tokens = cr_ask_n_tokens(ask);
    cr_json_put(out, "{\"id\":");
    cr_json_put_string(out, ask->request_id);
    cr_json_put(out, ",\"object\":\"list\",\"created\":%lld,\"model\":",
                (long long)ask->created_s);
    cr_json_put_string(out, ask->model ? ask->model : facts->model_name);
    cr_json_put(out, ",\"data\":[");
    for (uint32_t i = 0; i < ask->n_results; i++) {
        cr_json_put(out, "%s{\"index\":%u,\"object\":\"score\",\"score\":",
                    i ? "," : "", i);
        cr_json_put_number(out, ask->results[i].score);
        cr_ask_put_details(ask, &ask->results[i], out);
        cr_json_put(out, "}");
    }
    cr_json_put(out,
                "],\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu"
                ",\"completion_tokens\":0,\"prompt_tokens_details\":null}}",
                tokens, tokens);
}

const cr_dialect cr_dialect_vllm = {
    .name = "vllm",
    .counter = CR_COUNT_REQUESTS_VLLM,
    .needs_json_type = true,
    .needs_one_label = true,
    .read = read_request,
    .write = write_answer,
    .write_refusal = write_refusal,
};
