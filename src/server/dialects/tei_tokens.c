/* Text Embeddings Inference: /tokenize, /decode and /info. */
#include "server/dialects/tei.h"

#include "base/mem.h"
#include "server/grpc/h2.h"
#include "server/http.h"
#include "server/json_in.h"
#include "server/linger.h"

#include <string.h>

/* ---- /tokenize ---------------------------------------------------------- */

/* Both need no lane: the answer is made from the body when it is written. */
static bool is_text_list(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_array(value) && json_array_size(value);
}

bool cr_tei_check_tokenize(cr_ask *ask, size_t bytes) {
    return bytes <= CR_MAX_TOKENIZE_BYTES ||
           cr_refuse(&ask->refusal, CR_REFUSAL_LIMIT,
                     "`inputs` have %zu bytes, at most %d are tokenized at "
                     "once: send them in parts",
                     bytes, CR_MAX_TOKENIZE_BYTES);
}

static size_t text_bytes(const json_t *inputs) {
    size_t bytes = json_string_length(inputs);
    for (size_t i = 0; i < json_array_size(inputs); i++)
        bytes += json_string_length(json_array_get(inputs, i));
    return bytes;
}

static bool read_tokenize(cr_ask *ask, const json_t *body,
                          const cr_facts *facts) {
    const json_t *inputs = json_object_get(body, "inputs");
    if (!json_is_string(inputs) && !is_text_list(inputs))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`inputs` must be a string or a list of strings");
    if (json_array_size(inputs) > facts->settings->max_documents)
        return cr_refuse(&ask->refusal, CR_REFUSAL_LIMIT,
                         "batch size %zu > maximum allowed batch size %u: "
                         "send fewer `inputs` or raise max_documents",
                         json_array_size(inputs),
                         facts->settings->max_documents);
    if (!cr_tei_check_tokenize(ask, text_bytes(inputs)))
        return false;
    return cr_ask_bool(ask, body, "add_special_tokens", true, &ask->details);
}

/* Bytes of the first `chars` characters behind `at`. */
static size_t advance(cr_text text, size_t at, uint32_t chars) {
    while (at < text.len && chars--) {
        at++;
        while (at < text.len && ((uint8_t)text.data[at] & 0xC0) == 0x80)
            at++;
    }
    return at;
}

typedef bool (*token_fn)(void *context, const cr_tei_token *token);

static bool each_special(const cr_facts *facts, int32_t id, token_fn each,
                         void *context) {
    const cr_tokenizer *t = cr_model_get_tokenizer(facts->generation->model);
    const cr_tei_token token = {
        .id = id, .text = cr_tokenizer_token_text(t, id), .special = true};
    return each(context, &token);
}

static bool each_of(const cr_tokens *tokens, cr_text text, token_fn each,
                    void *context) {
    size_t at = 0;
    uint32_t at_chars = 0;
    for (size_t i = 0; i < tokens->n; i++) {
        const uint32_t *o = tokens->offsets[i];
        if (o[0] < at_chars) /* never where offsets grow */
            at = at_chars = 0;
        size_t begin = advance(text, at, o[0] - at_chars);
        size_t end = advance(text, begin, o[1] - o[0]);
        const cr_tei_token token = {.id = tokens->ids[i],
                                    .text = {text.data + begin, end - begin},
                                    .start = begin,
                                    .stop = end};
        if (!each(context, &token))
            return false;
        at = begin;
        at_chars = o[0];
    }
    return true;
}

bool cr_tei_each_token(const cr_facts *facts, cr_token_scratch *scratch,
                       cr_text text, bool specials, token_fn each,
                       void *context) {
    const cr_tokenizer *t = cr_model_get_tokenizer(facts->generation->model);
    cr_tokens counted = {.capacity = 0};
    cr_tokenizer_encode(t, scratch, text, true, &counted);
    size_t n = counted.n_beyond;
    cr_tokens tokens = {.capacity = n};
    tokens.ids = cr_calloc(n, sizeof *tokens.ids);
    tokens.offsets = cr_calloc(n, sizeof *tokens.offsets);
    bool good = tokens.ids && tokens.offsets;
    if (good) {
        cr_tokenizer_encode(t, scratch, text, true, &tokens);
        good = cr_token_scratch_check(scratch, NULL) == CR_OK;
    }
    if (good) {
        good = (!specials ||
                each_special(facts, cr_tokenizer_cls_id(t), each, context)) &&
               each_of(&tokens, text, each, context) &&
               (!specials ||
                each_special(facts, cr_tokenizer_sep_id(t), each, context));
    }
    cr_free(tokens.ids);
    cr_free(tokens.offsets);
    return good;
}

typedef struct token_list {
    cr_json_out *out;
    bool comma;
} token_list;

static bool put_token(void *context, const cr_tei_token *token) {
    token_list *list = context;
    cr_json_out *out = list->out;
    cr_json_put(out, "%s{\"id\":%d,\"text\":", list->comma ? "," : "",
                token->id);
    cr_json_put_text(out, token->text);
    if (token->special)
        cr_json_put(out, ",\"special\":true,\"start\":null,\"stop\":null}");
    else
        cr_json_put(out, ",\"special\":false,\"start\":%zu,\"stop\":%zu}",
                    token->start, token->stop);
    list->comma = true;
    return !out->failed;
}

static void put_text(const cr_ask *ask, const cr_facts *facts,
                     cr_token_scratch *scratch, const json_t *string,
                     cr_json_out *out) {
    token_list list = {.out = out};
    cr_text text = {json_string_value(string), json_string_length(string)};
    cr_json_put(out, "[");
    if (!cr_tei_each_token(facts, scratch, text, ask->details, put_token,
                           &list))
        out->failed = true;
    cr_json_put(out, "]");
}

static void write_tokenize(const cr_ask *ask, const cr_facts *facts,
                           cr_json_out *out) {
    const json_t *inputs = json_object_get(ask->body, "inputs");
    cr_generation *g = (cr_generation *)(uintptr_t)facts->generation;
    cr_token_scratch *scratch;
    if (cr_generation_borrow(g, &scratch, NULL) != CR_OK) {
        out->failed = true;
        return;
    }
    cr_json_put(out, "[");
    if (json_is_string(inputs))
        put_text(ask, facts, scratch, inputs, out);
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        cr_json_put(out, "%s", i ? "," : "");
        put_text(ask, facts, scratch, json_array_get(inputs, i), out);
    }
    cr_json_put(out, "]");
    cr_generation_give_back(g, scratch);
}

/* ---- /decode ------------------------------------------------------------ */

/* Ids are unsigned numbers of 32 bits, as there; those that no token has are
 * decoded to nothing. */
static bool is_id_list(const json_t *value) {
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *id = json_array_get(value, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > UINT32_MAX)
            return false;
    }
    return json_is_array(value) && json_array_size(value);
}

static bool read_decode(cr_ask *ask, const json_t *body,
                        const cr_facts *facts) {
    const json_t *ids = json_object_get(body, "ids");
    bool good = is_id_list(ids);
    ask->single = good;
    (void)facts;
    for (size_t i = 0; !ask->single && i < json_array_size(ids); i++) {
        good = is_id_list(json_array_get(ids, i));
        if (!good)
            break;
    }
    if (!good)
        return cr_refuse(
            &ask->refusal, CR_REFUSAL_SHAPE,
            "`ids` must be a list of token ids, whole numbers from "
            "0 to 4294967295, or a list of such lists, none of "
            "them empty");
    return cr_ask_bool(ask, body, "skip_special_tokens", true, &ask->details);
}

static void put_decoded(const cr_ask *ask, const cr_facts *facts,
                        const json_t *list, cr_json_out *out) {
    const cr_tokenizer *t = cr_model_get_tokenizer(facts->generation->model);
    size_t n = json_array_size(list);
    int32_t *ids = cr_calloc(n, sizeof *ids);
    cr_buf text;
    cr_buf_init(&text, UINT32_MAX);
    for (size_t i = 0; ids && i < n; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));
        ids[i] = id > INT32_MAX ? -1 : (int32_t)id;
    }
    if (!ids || cr_tokenizer_decode(t, ids, n, ask->details, &text, NULL))
        out->failed = true;
    cr_json_put_text(out, (cr_text){text.data ? text.data : "", text.len});
    cr_buf_fini(&text);
    cr_free(ids);
}

static void write_decode(const cr_ask *ask, const cr_facts *facts,
                         cr_json_out *out) {
    const json_t *ids = json_object_get(ask->body, "ids");
    cr_json_put(out, "[");
    if (ask->single)
        put_decoded(ask, facts, ids, out);
    for (size_t i = 0; !ask->single && i < json_array_size(ids); i++) {
        cr_json_put(out, "%s", i ? "," : "");
        put_decoded(ask, facts, json_array_get(ids, i), out);
    }
    cr_json_put(out, "]");
}

const cr_dialect cr_dialect_tei_tokenize = {
    .name = "tei",
    .counter = CR_COUNT_REQUESTS_OTHER,
    .needs_json_type = true,
    .read = read_tokenize,
    .write = write_tokenize,
    .write_refusal = cr_tei_write_refusal,
};

const cr_dialect cr_dialect_tei_decode = {
    .name = "tei",
    .counter = CR_COUNT_REQUESTS_OTHER,
    .needs_json_type = true,
    .read = read_decode,
    .write = write_decode,
    .write_refusal = cr_tei_write_refusal,
};

/* ---- /info -------------------------------------------------------------- */

const char *cr_tei_dtype(const cr_facts *facts) {
    const char *dtype = facts->generation->backend->description.dtype;
    return !strcmp(dtype, "fp32")   ? "float32"
           : !strcmp(dtype, "fp16") ? "float16"
           : !strcmp(dtype, "bf16") ? "bfloat16"
                                    : dtype;
}

static const char *activation_name(cr_activation activation) {
    static const char *const names[] = {"model", "none", "sigmoid", "tanh"};
    return names[activation];
}

/* Every limit that a request or a client can meet. */
static void put_limits(const cr_settings *s, cr_json_out *out) {
    const struct {
        const char *name;
        uint32_t value;
    } limits[] = {
        {"max_documents", s->max_documents},
        {"max_body_bytes", s->max_body_bytes},
        {"max_head_bytes", CR_MAX_HEAD_BYTES},
        {"max_pending_bytes", s->max_pending_bytes},
        {"max_json_depth", JSON_PARSER_MAX_DEPTH},
        {"json_memory_free_bytes", CR_JSON_FREE_BYTES},
        {"json_memory_per_byte", CR_JSON_BYTES_PER_BYTE},
        {"max_tokenize_bytes", CR_MAX_TOKENIZE_BYTES},
        {"max_queue_tokens", s->max_queue_tokens},
        {"max_connections", s->max_connections},
        {"max_event_streams", CR_MAX_STREAMS},
        {"max_lingering", CR_MAX_LINGERING},
        {"linger_bytes", cr_http_linger_bytes(s)},
        {"linger_silence_ms", CR_LINGER_SILENCE_MS},
        {"grpc_max_streams", CR_H2_MAX_STREAMS},
        {"grpc_max_header_bytes", CR_H2_MAX_HEADER_BYTES},
        {"grpc_resets_per_s", CR_H2_RESETS_PER_SECOND},
        {"grpc_pings_per_s", CR_H2_PINGS_PER_SECOND},
        {"receive_timeout_ms", s->receive_timeout_ms},
        {"min_read_bytes_per_s", CR_MIN_READ_RATE},
        {"idle_timeout_s", s->idle_timeout_s},
        {"request_timeout_ms", s->request_timeout_ms},
        {"drain_timeout_ms", s->drain_timeout_ms},
    };
    cr_json_put(out, ",\"limits\":{");
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        cr_json_put(out, "%s\"%s\":%u", i ? "," : "", limits[i].name,
                    limits[i].value);
    cr_json_put(out, "}");
}

uint32_t cr_tei_max_batch_tokens(const cr_facts *facts) {
    uint32_t set = facts->settings->batching_max_tokens;
    return set ? set : facts->generation->backend->description.max_group_tokens;
}

static void put_model_type(const cr_facts *facts, cr_json_out *out) {
    uint32_t n = facts->generation->n_labels;
    cr_json_put(out, ",\"model_type\":{\"%s\":{\"id2label\":{",
                n > 1 ? "classifier" : "reranker");
    for (uint32_t i = 0; i < n; i++) {
        cr_json_put(out, "%s\"%u\":", i ? "," : "", i);
        cr_json_put_string(out, facts->labels[i]);
    }
    cr_json_put(out, "},\"label2id\":{");
    for (uint32_t i = 0; i < n; i++) {
        cr_json_put(out, "%s", i ? "," : "");
        cr_json_put_string(out, facts->labels[i]);
        cr_json_put(out, ":%u", i);
    }
    cr_json_put(out, "}}}");
}

void cr_tei_write_info(const cr_facts *facts, cr_json_out *out) {
    const cr_settings *s = facts->settings;
    const cr_generation *g = facts->generation;
    const cr_backend_description *d = &g->backend->description;
    cr_json_put(out, "{\"model_id\":");
    cr_json_put_string(out, facts->model_name);
    cr_json_put(out, ",\"model_sha\":null,\"model_dtype\":\"%s\"",
                cr_tei_dtype(facts));
    cr_json_put(out, ",\"served_model_name\":");
    cr_json_put_string(out, facts->model_name);
    put_model_type(facts, out);
    cr_json_put(out, ",\"max_concurrent_requests\":%u", s->max_connections);
    cr_json_put(out, ",\"max_input_length\":%u,\"max_batch_tokens\":%u",
                g->max_length, cr_tei_max_batch_tokens(facts));
    if (s->batching_max_batch)
        cr_json_put(out, ",\"max_batch_requests\":%u", s->batching_max_batch);
    else
        cr_json_put(out, ",\"max_batch_requests\":null");
    cr_json_put(out,
                ",\"max_client_batch_size\":%u,\"auto_truncate\":%s"
                ",\"tokenization_workers\":%u,\"version\":\"%s\",\"sha\":null"
                ",\"docker_label\":null",
                s->max_documents, s->auto_truncate ? "true" : "false",
                s->http_threads, cr_version());
    cr_json_put(out,
                ",\"crossrank\":{\"backend\":\"%s\",\"device\":\"%s\""
                ",\"isa\":\"%s\",\"dtype\":\"%s\",\"lanes\":%u"
                ",\"activation\":\"%s\",\"generation\":%u"
                ",\"model_sha256\":\"%s\"",
                d->name, d->device, d->isa, d->dtype, d->lanes,
                activation_name(g->activation), g->number, g->sha256);
    put_limits(s, out);
    cr_json_put(out, "}}");
}
