/* gRPC messages: what each method reads into an ask and writes from it. */
#include "base/clock.h"
#include "base/mem.h"
#include "server/dialects/tei.h"
#include "server/grpc/call.h"
#include "text/utf8.h"

#include "health.pb-c.h"
#include "inference.pb-c.h"
#include "tei.pb-c.h"

#include <string.h>

/* A text of a few letters costs about fifteen times its bytes; the first
 * megabytes are free, so that what max_documents allows never meets this. */
enum { FREE_BYTES = 4 << 20, BYTES_PER_BYTE = 16 };

/* ---- Unpacking ---------------------------------------------------------- */

typedef struct budget {
    size_t left;
    bool refused, no_memory;
} budget;

static void *take(void *context, size_t bytes) {
    budget *b = context;
    void *block = bytes <= b->left ? cr_alloc(bytes) : NULL;
    b->refused = b->refused || bytes > b->left;
    b->no_memory = b->no_memory || (bytes <= b->left && !block);
    if (block)
        b->left -= bytes;
    return block;
}

static void give_back(void *context, void *block) {
    (void)context;
    cr_free(block);
}

ProtobufCMessage *cr_grpc_unpack(const ProtobufCMessageDescriptor *type,
                                 const void *bytes, size_t len,
                                 cr_refusal *refusal) {
    budget b = {.left = FREE_BYTES + (size_t)BYTES_PER_BYTE * len};
    ProtobufCAllocator allocator = {
        .alloc = take, .free = give_back, .allocator_data = &b};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(type, &allocator, len, bytes);
    if (!message && b.no_memory)
        cr_refuse(refusal, CR_REFUSAL_UNREADY,
                  "no memory for a message of %zu bytes; try again later", len);
    else if (!message && b.refused)
        cr_refuse(refusal, CR_REFUSAL_SIZE,
                  "the message has too many parts for its size: send texts");
    else if (!message)
        cr_refuse(refusal, CR_REFUSAL_MALFORMED, "the message is no %s",
                  type->name);
    return message;
}

void cr_grpc_free(ProtobufCMessage *message) {
    ProtobufCAllocator allocator = {.alloc = take, .free = give_back};
    if (message)
        protobuf_c_message_free_unpacked(message, &allocator);
}

/* ---- Fields ------------------------------------------------------------- */

static ProtobufCBinaryData bytes_of(cr_text text) {
    return (ProtobufCBinaryData){.len = text.len,
                                 .data = (uint8_t *)(uintptr_t)text.data};
}

static ProtobufCBinaryData bytes_of_string(const char *string) {
    return bytes_of((cr_text){string, strlen(string)});
}

static bool read_text(cr_ask *ask, const ProtobufCBinaryData *bytes,
                      const char *what, cr_text *text) {
    *text = (cr_text){bytes->len ? (const char *)bytes->data : "", bytes->len};
    return cr_utf8_is_valid((const uint8_t *)text->data, text->len) ||
           cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE, "`%s` is not UTF-8",
                     what);
}

/* ---- Answers ------------------------------------------------------------ */

static bool answer(cr_grpc_call *call, const ProtobufCMessage *message) {
    cr_h2_stream *s = call->stream;
    size_t len = protobuf_c_message_get_packed_size(message);
    if (len <= UINT32_MAX)
        s->out = cr_alloc(CR_GRPC_PREFIX_BYTES + len);
    if (!s->out)
        return cr_refuse(&call->call.ask.refusal, CR_REFUSAL_UNREADY,
                         "no memory for an answer; try again later");
    cr_grpc_write_prefix((uint32_t)len, s->out);
    protobuf_c_message_pack(message, s->out + CR_GRPC_PREFIX_BYTES);
    s->out_bytes = CR_GRPC_PREFIX_BYTES + len;
    return true;
}

/* A list of n messages as protobuf-c wants it: pointers, and what they point
 * to. Zeroed; one block, freed by cr_free. */
static void **new_list(size_t n, size_t bytes, cr_ask *ask) {
    void **list = cr_calloc(n, sizeof *list + bytes);
    for (size_t i = 0; list && i < n; i++)
        list[i] = (char *)(list + n) + i * bytes;
    if (!list)
        cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY,
                  "no memory for an answer; try again later");
    return list;
}

static uint64_t ns_between(int64_t from, int64_t to) {
    return to > from ? (uint64_t)(to - from) : 0;
}

static Tei__V1__Metadata metadata_of(const cr_grpc_call *call) {
    Tei__V1__Metadata m = TEI__V1__METADATA__INIT;
    const cr_ask *ask = &call->call.ask;
    m.compute_chars = (uint32_t)ask->n_chars;
    m.compute_tokens = (uint32_t)cr_ask_n_tokens(ask);
    m.total_time_ns = ns_between(call->stream->received_ns, cr_now_ns());
    m.tokenization_time_ns = (uint64_t)ask->tokenize_ns;
    m.queue_time_ns = ns_between(ask->job.queued_ns, ask->job.started_ns);
    m.inference_time_ns = (uint64_t)ask->job.busy_ns;
    return m;
}

/* ---- inference.InferenceService ----------------------------------------- */

static bool read_infer(cr_grpc_call *call, const cr_facts *facts) {
    const Inference__InferRequest *request =
        (const Inference__InferRequest *)call->request;
    cr_ask *ask = &call->call.ask;
    ask->encode.truncation = facts->generation->truncation;
    ask->encode.refuse_long = !facts->settings->auto_truncate;
    ask->activation =
        cr_ask_scale((cr_score_scale)facts->settings->rerank_scores, facts);
    if (!cr_ask_reserve(ask, request->n_pairs, "pairs", facts))
        return false;
    for (uint32_t i = 0; i < ask->n_pairs; i++)
        if (!read_text(ask, &request->pairs[i]->query, "query",
                       &ask->pairs[i].query) ||
            !read_text(ask, &request->pairs[i]->document, "document",
                       &ask->pairs[i].passage))
            return false;
    return true;
}

static bool write_infer(cr_grpc_call *call, const cr_facts *facts) {
    cr_ask *ask = &call->call.ask;
    Inference__InferResponse r = INFERENCE__INFER_RESPONSE__INIT;
    (void)facts;
    r.scores = cr_calloc(ask->n_results, sizeof *r.scores);
    if (!r.scores)
        return cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY,
                         "no memory for an answer; try again later");
    for (uint32_t i = 0; i < ask->n_results; i++)
        r.scores[i] = (float)ask->results[i].score;
    r.n_scores = ask->n_results;
    r.num_pairs = (int32_t)ask->n_results;
    r.latency_ms =
        (float)((double)ns_between(call->stream->received_ns, cr_now_ns()) *
                1e-6);
    r.status_code = 200;
    bool good = answer(call, &r.base);
    cr_free(r.scores);
    return good;
}

static bool write_metrics(cr_grpc_call *call, const cr_facts *facts) {
    cr_server *server = call->call.server;
    const cr_metrics *m = &server->metrics;
    Inference__MetricsResponse r = INFERENCE__METRICS_RESPONSE__INIT;
    (void)facts;
    cr_server_look(server);
    cr_summary s = cr_metrics_summary(m, CR_HISTOGRAM_REQUEST);
    uint64_t pairs = cr_metrics_counter(m, CR_COUNT_PAIRS);
    double seconds =
        (double)(cr_now_ns() - atomic_load(&server->counted_since_ns)) * 1e-9;
    r.count = s.count > INT32_MAX ? INT32_MAX : (int32_t)s.count;
    r.avg_ms = (float)(s.mean * 1e-6);
    r.p50_ms = (float)(s.p50 * 1e-6);
    r.p95_ms = (float)(s.p95 * 1e-6);
    r.p99_ms = (float)(s.p99 * 1e-6);
    r.throughput_qps = seconds > 0 ? (float)((double)pairs / seconds) : 0;
    r.query_count = pairs > INT32_MAX ? INT32_MAX : (int32_t)pairs;
    return answer(call, &r.base);
}

/* ---- tei.v1.Rerank, tei.v1.Predict -------------------------------------- */

static void read_common(cr_ask *ask, const cr_facts *facts, bool truncate,
                        bool raw_scores, Tei__V1__TruncationDirection side) {
    ask->encode.truncation = facts->generation->truncation;
    ask->encode.refuse_long = !truncate;
    ask->encode.keep_end =
        side == TEI__V1__TRUNCATION_DIRECTION__TRUNCATION_DIRECTION_LEFT;
    cr_tei_choose_scale(ask, raw_scores, facts);
}

static bool read_rerank(cr_grpc_call *call, const cr_facts *facts) {
    const Tei__V1__RerankRequest *request =
        (const Tei__V1__RerankRequest *)call->request;
    cr_ask *ask = &call->call.ask;
    cr_text query;
    read_common(ask, facts, request->truncate, request->raw_scores,
                request->truncation_direction);
    ask->sorted = ask->last_tie_first = true;
    ask->return_documents = request->return_text;
    if (!read_text(ask, &request->query, "query", &query) ||
        !cr_ask_reserve(ask, request->n_texts, "texts", facts))
        return false;
    for (uint32_t i = 0; i < ask->n_pairs; i++) {
        ask->pairs[i].query = query;
        if (!read_text(ask, &request->texts[i], "texts",
                       &ask->pairs[i].passage))
            return false;
    }
    return true;
}

static bool write_rerank(cr_grpc_call *call, const cr_facts *facts) {
    cr_ask *ask = &call->call.ask;
    Tei__V1__RerankResponse r = TEI__V1__RERANK_RESPONSE__INIT;
    Tei__V1__Metadata metadata = metadata_of(call);
    (void)facts;
    void **list = new_list(ask->n_results, sizeof(Tei__V1__Rank), ask);
    if (!list)
        return false;
    for (uint32_t i = 0; i < ask->n_results; i++) {
        Tei__V1__Rank *rank = list[i];
        tei__v1__rank__init(rank);
        rank->index = ask->results[i].index;
        rank->score = (float)ask->results[i].score;
        if (ask->return_documents) {
            rank->has_text_case = TEI__V1__RANK__HAS_TEXT_TEXT;
            rank->text = bytes_of(ask->pairs[rank->index].passage);
        }
    }
    r.n_ranks = ask->n_results;
    r.ranks = (Tei__V1__Rank **)list;
    r.metadata = &metadata;
    bool good = answer(call, &r.base);
    cr_free(list);
    return good;
}

/* One pair; a text alone is a query without a passage, as /predict has it. */
static bool read_inputs(cr_ask *ask, const ProtobufCBinaryData *inputs,
                        size_t n, const cr_facts *facts) {
    if (n < 1 || n > 2)
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`inputs`: a pair has one or two strings, got %zu", n);
    if (!cr_ask_reserve(ask, 1, "inputs", facts))
        return false;
    cr_pair *pair = &ask->pairs[0];
    *pair = (cr_pair){{"", 0}, {NULL, 0}};
    if (!read_text(ask, &inputs[0], "inputs", &pair->query) ||
        (n == 2 && !read_text(ask, &inputs[1], "inputs", &pair->passage)))
        return false;
    return pair->query.len + pair->passage.len > 0 ||
           cr_refuse(&ask->refusal, CR_REFUSAL_EMPTY,
                     "`inputs` cannot be empty");
}

static bool read_predict(cr_grpc_call *call, const cr_facts *facts) {
    const Tei__V1__PredictRequest *request =
        (const Tei__V1__PredictRequest *)call->request;
    read_common(&call->call.ask, facts, request->truncate, request->raw_scores,
                request->truncation_direction);
    return read_inputs(&call->call.ask, &request->inputs, 1, facts);
}

static bool read_predict_pair(cr_grpc_call *call, const cr_facts *facts) {
    const Tei__V1__PredictPairRequest *request =
        (const Tei__V1__PredictPairRequest *)call->request;
    read_common(&call->call.ask, facts, request->truncate, request->raw_scores,
                request->truncation_direction);
    return read_inputs(&call->call.ask, request->inputs, request->n_inputs,
                       facts);
}

static bool write_predict(cr_grpc_call *call, const cr_facts *facts) {
    cr_ask *ask = &call->call.ask;
    Tei__V1__PredictResponse r = TEI__V1__PREDICT_RESPONSE__INIT;
    Tei__V1__Metadata metadata = metadata_of(call);
    void **list = new_list(ask->n_labels, sizeof(Tei__V1__Prediction), ask);
    if (!list)
        return false;
    for (uint32_t i = 0; i < ask->n_labels; i++) {
        Tei__V1__Prediction *prediction = list[i];
        tei__v1__prediction__init(prediction);
        prediction->score = (float)ask->results[i].score;
        prediction->label =
            bytes_of_string(facts->labels[ask->results[i].label]);
    }
    r.n_predictions = ask->n_labels;
    r.predictions = (Tei__V1__Prediction **)list;
    r.metadata = &metadata;
    bool good = answer(call, &r.base);
    cr_free(list);
    return good;
}

/* ---- tei.v1.Info, tei.v1.Tokenize --------------------------------------- */

static bool write_info(cr_grpc_call *call, const cr_facts *facts) {
    const cr_settings *s = facts->settings;
    Tei__V1__InfoResponse r;
    tei__v1__info_response__init(&r);
    r.version = bytes_of_string(cr_version());
    r.model_id = bytes_of_string(facts->model_name);
    r.model_dtype = bytes_of_string(cr_tei_dtype(facts));
    r.model_type = facts->generation->n_labels > 1
                       ? TEI__V1__MODEL_TYPE__MODEL_TYPE_CLASSIFIER
                       : TEI__V1__MODEL_TYPE__MODEL_TYPE_RERANKER;
    r.max_concurrent_requests = s->max_connections;
    r.max_input_length = facts->generation->max_length;
    r.max_batch_tokens = cr_tei_max_batch_tokens(facts);
    if (s->batching_max_batch) {
        r.has_max_batch_requests_case =
            TEI__V1__INFO_RESPONSE__HAS_MAX_BATCH_REQUESTS_MAX_BATCH_REQUESTS;
        r.max_batch_requests = s->batching_max_batch;
    }
    r.max_client_batch_size = s->max_documents;
    r.tokenization_workers = s->http_threads;
    return answer(call, &r.base);
}

typedef struct token_list {
    void **list; /* NULL: they are only counted */
    size_t n;
} token_list;

static bool add_token(void *context, const cr_tei_token *token) {
    token_list *tokens = context;
    size_t i = tokens->n++;
    if (!tokens->list)
        return true;
    Tei__V1__SimpleToken *t = tokens->list[i];
    tei__v1__simple_token__init(t);
    t->id = (uint32_t)token->id;
    t->text = bytes_of(token->text);
    t->special = token->special;
    if (!token->special) {
        t->has_start_case = TEI__V1__SIMPLE_TOKEN__HAS_START_START;
        t->start = (uint32_t)token->start;
        t->has_stop_case = TEI__V1__SIMPLE_TOKEN__HAS_STOP_STOP;
        t->stop = (uint32_t)token->stop;
    }
    return true;
}

static bool tokenize(cr_grpc_call *call, const cr_facts *facts,
                     cr_token_scratch *scratch, cr_text text, bool specials) {
    cr_ask *ask = &call->call.ask;
    Tei__V1__EncodeResponse r = TEI__V1__ENCODE_RESPONSE__INIT;
    Tei__V1__Metadata metadata = metadata_of(call);
    token_list tokens = {.list = NULL};
    bool good =
        cr_tei_each_token(facts, scratch, text, specials, add_token, &tokens);
    tokens.list = new_list(tokens.n, sizeof(Tei__V1__SimpleToken), ask);
    r.n_tokens = tokens.n;
    tokens.n = 0;
    good =
        good && tokens.list &&
        cr_tei_each_token(facts, scratch, text, specials, add_token, &tokens);
    if (!good)
        cr_refuse(&ask->refusal, CR_REFUSAL_UNREADY, "no memory for tokens");
    r.tokens = (Tei__V1__SimpleToken **)tokens.list;
    r.metadata = &metadata;
    good = good && answer(call, &r.base);
    cr_free(tokens.list);
    return good;
}

static bool write_tokenize(cr_grpc_call *call, const cr_facts *facts) {
    const Tei__V1__EncodeRequest *request =
        (const Tei__V1__EncodeRequest *)call->request;
    cr_ask *ask = &call->call.ask;
    cr_token_scratch *scratch;
    cr_error error;
    cr_text text;
    if (!read_text(ask, &request->inputs, "inputs", &text))
        return false;
    if (!text.len)
        return cr_refuse(&ask->refusal, CR_REFUSAL_EMPTY,
                         "`inputs` cannot be empty");
    if (!cr_tei_check_tokenize(ask, text.len))
        return false;
    if (request->has_prompt_name_case !=
        TEI__V1__ENCODE_REQUEST__HAS_PROMPT_NAME__NOT_SET)
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`prompt_name`: this model has no prompts");
    cr_status status =
        cr_generation_borrow(call->call.generation, &scratch, &error);
    if (status != CR_OK)
        return cr_refuse_status(&ask->refusal, status, &error);
    bool good =
        tokenize(call, facts, scratch, text, request->add_special_tokens);
    cr_generation_give_back(call->call.generation, scratch);
    return good;
}

/* ---- grpc.health.v1.Health ---------------------------------------------- */

static bool is_service(cr_text name);

static bool write_health(cr_grpc_call *call, const cr_facts *facts) {
    const Grpc__Health__V1__HealthCheckRequest *request =
        (const Grpc__Health__V1__HealthCheckRequest *)call->request;
    Grpc__Health__V1__HealthCheckResponse r =
        GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    cr_text name;
    (void)facts;
    if (!read_text(&call->call.ask, &request->service, "service", &name))
        return false;
    if (name.len && !is_service(name)) {
        cr_refuse(&call->call.ask.refusal, CR_REFUSAL_NOT_FOUND,
                  "unknown service");
        call->stream->code = CR_GRPC_NOT_FOUND; /* not UNIMPLEMENTED */
        return false;
    }
    r.status =
        atomic_load(&call->call.server->ready)
            ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
            : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    return answer(call, &r.base);
}

/* ---- Methods ------------------------------------------------------------ */

static const cr_grpc_method METHODS[] = {
    {.path = "/inference.InferenceService/Infer",
     .request = &inference__infer_request__descriptor,
     .needs_one_label = true,
     .read = read_infer,
     .write = write_infer},
    {.path = "/inference.InferenceService/GetMetrics",
     .request = &inference__empty__descriptor,
     .write = write_metrics},
    {.path = "/tei.v1.Rerank/Rerank",
     .request = &tei__v1__rerank_request__descriptor,
     .needs_one_label = true,
     .read = read_rerank,
     .write = write_rerank},
    {.path = "/tei.v1.Predict/Predict",
     .request = &tei__v1__predict_request__descriptor,
     .read = read_predict,
     .write = write_predict},
    {.path = "/tei.v1.Predict/PredictPair",
     .request = &tei__v1__predict_pair_request__descriptor,
     .read = read_predict_pair,
     .write = write_predict},
    {.path = "/tei.v1.Info/Info",
     .request = &tei__v1__info_request__descriptor,
     .write = write_info},
    {.path = "/tei.v1.Tokenize/Tokenize",
     .request = &tei__v1__encode_request__descriptor,
     .write = write_tokenize},
    {.path = "/grpc.health.v1.Health/Check",
     .request = &grpc__health__v1__health_check_request__descriptor,
     .write = write_health,
     .open = true},
};
enum { N_METHODS = sizeof METHODS / sizeof *METHODS };

const cr_grpc_method *cr_grpc_method_find(const char *path) {
    for (size_t i = 0; i < N_METHODS; i++)
        if (strcmp(METHODS[i].path, path) == 0)
            return &METHODS[i];
    return NULL;
}

static bool is_service(cr_text name) {
    for (size_t i = 0; i < N_METHODS; i++) {
        const char *service = METHODS[i].path + 1;
        if (strcspn(service, "/") == name.len &&
            memcmp(service, name.data, name.len) == 0)
            return true;
    }
    return false;
}
