/* The service: from an exchange to an ask and back. */
#include "server/service.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/dialects/tei.h"
#include "server/json_in.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- Routes ------------------------------------------------------------- */

#define TEI (&cr_dialect_tei_rerank)
#define V1 (&cr_dialect_v1)

static const cr_route ROUTES[] = {
    {.method = "POST",
     .path = "/rerank",
     .plain = V1,
     .texts = TEI,
     .first = TEI},
    {.method = "POST", .path = "/", .plain = V1, .texts = TEI, .first = TEI},
    {.method = "POST",
     .path = "/invocations",
     .plain = V1,
     .texts = TEI,
     .first = TEI},
    {.method = "POST", .path = "/v1/rerank", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/reranking", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/v1/reranking", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/v2/rerank", .plain = &cr_dialect_cohere},
    {.method = "POST", .path = "/score", .plain = &cr_dialect_vllm},
    {.method = "POST", .path = "/v1/score", .plain = &cr_dialect_vllm},
    {.method = "POST", .path = "/predict", .plain = &cr_dialect_tei_predict},
    {.method = "POST", .path = "/tokenize", .plain = &cr_dialect_tei_tokenize},
    {.method = "POST", .path = "/decode", .plain = &cr_dialect_tei_decode},
    {.method = "GET", .path = "/info", .answer = cr_ops_info},
    {.method = "GET", .path = "/models", .answer = cr_ops_models},
    {.method = "GET", .path = "/v1/models", .answer = cr_ops_models},
    {.method = "GET", .path = "/", .answer = cr_dashboard_page, .open = true},
    {.method = "GET",
     .path = "/dashboard.css",
     .answer = cr_dashboard_file,
     .open = true},
    {.method = "GET",
     .path = "/dashboard.js",
     .answer = cr_dashboard_file,
     .open = true},
    {.method = "GET",
     .path = "/dashboard-chart.js",
     .answer = cr_dashboard_file,
     .open = true},
    {.method = "GET", .path = "/health", .answer = cr_ops_health, .open = true},
    {.method = "GET", .path = "/ping", .answer = cr_ops_health, .open = true},
    {.method = "GET", .path = "/livez", .answer = cr_ops_live, .open = true},
    {.method = "GET", .path = "/readyz", .answer = cr_ops_ready, .open = true},
    {.method = "GET",
     .path = "/metrics",
     .answer = cr_ops_metrics,
     .open = true},
    {.method = "GET",
     .path = "/openapi.json",
     .answer = cr_ops_openapi,
     .open = true},
    {.method = "GET", .path = "/stats", .answer = cr_ops_stats},
    {.method = "GET", .path = "/stats/stream", .answer = cr_ops_stream},
    {.method = "POST", .path = "/stats/reset", .answer = cr_ops_reset},
    {.method = "POST",
     .path = "/admin/reload",
     .answer = cr_ops_reload,
     .slow = true},
};
enum { N_ROUTES = sizeof ROUTES / sizeof *ROUTES };

const cr_route *cr_route_find(const char *method, const char *path,
                              bool *other_method) {
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    *other_method = false;
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (strcmp(ROUTES[i].path, path) != 0)
            continue;
        if (strcmp(ROUTES[i].method, method) == 0)
            return &ROUTES[i];
        *other_method = true;
    }
    return NULL;
}

/* ---- Ids ---------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* Unique within and, by the time, between servers; no secret. */
static uint64_t next_id(void) {
    static _Atomic uint64_t n;
    return mix((uint64_t)cr_now_ns() + (atomic_fetch_add(&n, 1) << 40));
}

static bool is_plain_id(const char *id) {
    size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
                            "YZ0123456789-_.:");
    return len > 0 && len < CR_REQUEST_ID_BYTES && id[len] == '\0';
}

static void choose_request_id(cr_call *call) {
    const char *given = cr_exchange_header(call->exchange, "X-Request-Id");
    if (given && is_plain_id(given))
        snprintf(call->request_id, sizeof call->request_id, "%s", given);
    else
        snprintf(call->request_id, sizeof call->request_id,
                 "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)next_id(),
                 (unsigned)(next_id() & 0xFFFF), (unsigned)(next_id() & 0xFFF),
                 (unsigned)(next_id() & 0xFFF),
                 (unsigned long long)(next_id() >> 16));
    cr_exchange_add_header(call->exchange, "X-Request-Id", "%s",
                           call->request_id);
    call->ask.request_id = call->request_id;
}

/* W3C trace context: version 00, trace id, parent id, flags, in lower-case
 * hexadecimal digits; we are a new span of the same trace. */
static void take_trace(cr_call *call) {
    const char *given = cr_exchange_header(call->exchange, "traceparent");
    const char *hex = "0123456789abcdef";
    if (!given || strlen(given) != 55 || strncmp(given, "00-", 3) != 0 ||
        strspn(given + 3, hex) != 32 || given[35] != '-' ||
        strspn(given + 36, hex) != 16 || given[52] != '-' ||
        strspn(given + 53, hex) != 2 || strspn(given + 3, "0") >= 32 ||
        strspn(given + 36, "0") >= 16)
        return;
    snprintf(call->trace_id, sizeof call->trace_id, "%.32s", given + 3);
    cr_exchange_add_header(call->exchange, "traceparent", "00-%s-%016llx-%s",
                           call->trace_id, (unsigned long long)next_id(),
                           given + 53);
}

/* ---- Refusing ----------------------------------------------------------- */

static void count_refusal(cr_metrics *m, cr_refusal_kind kind) {
    static const cr_counter_id by_kind[CR_N_REFUSALS] = {
        [CR_REFUSAL_OVERLOADED] = CR_COUNT_REFUSED_OVERLOAD,
        [CR_REFUSAL_SIZE] = CR_COUNT_REFUSED_SIZE,
        [CR_REFUSAL_LIMIT] = CR_COUNT_REFUSED_SIZE,
        [CR_REFUSAL_AUTH] = CR_COUNT_REFUSED_AUTH,
        [CR_REFUSAL_UNREADY] = CR_COUNT_REFUSED_DRAINING,
        [CR_REFUSAL_MALFORMED] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_SHAPE] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_EMPTY] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_MEDIA] = CR_COUNT_REFUSED_INVALID,
    };
    /* Zero is a counter of requests: kinds that are not listed are counted
     * where they come about. */
    if (by_kind[kind])
        cr_metrics_count(m, by_kind[kind], 1);
}

/* Seconds until the queue as it is will be empty. */
static unsigned retry_after(cr_server *server) {
    cr_pipeline_state s = cr_pipeline_look(server->pipeline);
    double seconds = s.tokens_per_second > 0
                         ? (double)s.waiting_tokens / s.tokens_per_second
                         : 1;
    return seconds < 1 ? 1 : seconds > 120 ? 120 : (unsigned)ceil(seconds);
}

static const cr_dialect *dialect_of(const cr_call *call) {
    if (call->ask.dialect)
        return call->ask.dialect;
    if (call->route && call->route->first)
        return call->route->first;
    if (call->route && call->route->plain)
        return call->route->plain;
    return V1;
}

static void answer_refusal(cr_call *call) {
    cr_exchange *x = call->exchange;
    const cr_refusal *refusal = &call->ask.refusal;
    cr_json_out_fini(&x->out);
    cr_json_out_init(&x->out);
    x->type = "application/json";
    x->status = dialect_of(call)->write_refusal(refusal, &x->type, &x->out);
    if (refusal->kind == CR_REFUSAL_OVERLOADED)
        cr_exchange_add_header(x, "Retry-After", "%u",
                               retry_after(call->server));
    if (refusal->kind == CR_REFUSAL_AUTH)
        cr_exchange_add_header(x, "WWW-Authenticate", "Bearer");
    count_refusal(&call->server->metrics, refusal->kind);
}

/* ---- The head ----------------------------------------------------------- */

static void allow_origin(cr_call *call) {
    const char *allowed = call->server->settings->cors_origin;
    const char *origin = cr_exchange_header(call->exchange, "Origin");
    if (!allowed || !origin ||
        (strcmp(allowed, "*") != 0 && strcmp(allowed, origin) != 0))
        return;
    cr_exchange *x = call->exchange;
    cr_exchange_add_header(x, "Access-Control-Allow-Origin", "%s", allowed);
    cr_exchange_add_header(x, "Vary", "Origin");
    if (strcmp(x->method, "OPTIONS") != 0)
        return;
    cr_exchange_add_header(x, "Access-Control-Allow-Methods",
                           "GET, POST, OPTIONS");
    cr_exchange_add_header(x, "Access-Control-Allow-Headers",
                           "authorization, content-type, x-api-key, "
                           "x-request-id, x-request-timeout-ms, traceparent");
    cr_exchange_add_header(x, "Access-Control-Max-Age", "86400");
    x->status = 204;
}

static cr_call *new_call(cr_server *server, cr_exchange *x) {
    cr_call *call = cr_calloc(1, sizeof *call);
    x->state = call;
    if (!call)
        return NULL;
    call->server = server;
    call->exchange = x;
    call->client = x->connection_id;
    choose_request_id(call);
    take_trace(call);
    allow_origin(call);
    return call;
}

static bool check_route(cr_call *call) {
    const cr_exchange *x = call->exchange;
    bool other_method;
    call->route = cr_route_find(x->method, x->path, &other_method);
    if (call->route)
        return true;
    if (other_method)
        return cr_refuse(&call->ask.refusal, CR_REFUSAL_METHOD,
                         "%s does not take %s", x->path, x->method);
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_NOT_FOUND,
                     "there is no %s here", x->path);
}

static bool check_key(cr_call *call) {
    const cr_exchange *x = call->exchange;
    if (call->route->open ||
        cr_keys_check(call->server->keys,
                      cr_exchange_header(x, "Authorization"),
                      cr_exchange_header(x, "X-Api-Key"), &call->client))
        return true;
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_AUTH,
                     "the API key is missing or wrong: send Authorization: "
                     "Bearer KEY");
}

static void on_begin(void *context, cr_exchange *x) {
    cr_call *call = new_call(context, x);
    if (!call) {
        x->status = 503;
        x->close = true;
        return;
    }
    if (x->status)
        return;
    if (check_route(call) && check_key(call))
        x->slow = call->route->slow;
    else
        answer_refusal(call);
}

/* ---- The body ----------------------------------------------------------- */

static bool has_json_type(const cr_exchange *x) {
    const char *type = cr_exchange_header(x, "Content-Type");
    return type && strncasecmp(type, "application/json", 16) == 0 &&
           strchr(" ;", type[16]);
}

static void take_generation(cr_call *call) {
    cr_server *s = call->server;
    pthread_mutex_lock(&s->lock);
    call->generation = cr_generation_ref(s->generation);
    call->labels = json_incref(s->labels);
    pthread_mutex_unlock(&s->lock);
}

cr_facts cr_call_facts(const cr_call *call) {
    const cr_settings *s = call->server->settings;
    return (cr_facts){.settings = s,
                      .model_name =
                          s->served_model_name
                              ? s->served_model_name
                              : cr_model_name(call->generation->model),
                      .generation = call->generation,
                      .labels = call->labels};
}

static bool read_body(cr_call *call) {
    cr_ask *ask = &call->ask;
    cr_exchange *x = call->exchange;
    const cr_route *route = call->route;
    cr_facts facts = cr_call_facts(call);
    bool json_type = has_json_type(x);
    ask->created_s = (int64_t)time(NULL);
    ask->body = cr_json_in_parse(x->body.data, x->body.len, &ask->refusal);
    cr_buf_fini(&x->body); /* its texts are in ask->body now */
    if (ask->body) {
        bool documents = json_object_get(ask->body, "documents") != NULL;
        bool texts = json_object_get(ask->body, "texts") != NULL;
        ask->dialect =
            route->texts && texts && !documents ? route->texts : route->plain;
    }
    if (!json_type && dialect_of(call)->needs_json_type)
        return cr_refuse(&ask->refusal, CR_REFUSAL_MEDIA,
                         "Expected request with `Content-Type: "
                         "application/json`");
    if (!ask->body)
        return false;
    cr_metrics_count(&call->server->metrics, ask->dialect->counter, 1);
    return ask->dialect->read(ask, ask->body, &facts);
}

static size_t count_chars(cr_text text) {
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        n += ((uint8_t)text.data[i] & 0xC0) != 0x80;
    return n;
}

static void count_ask(cr_call *call) {
    cr_ask *ask = &call->ask;
    cr_metrics *m = &call->server->metrics;
    size_t query_chars = 0;
    for (uint32_t i = 0; i < ask->n_pairs; i++) {
        if (!i || ask->pairs[i].query.data != ask->pairs[i - 1].query.data)
            query_chars = count_chars(ask->pairs[i].query);
        ask->n_chars += query_chars + count_chars(ask->pairs[i].passage);
    }
    cr_metrics_observe(m, CR_HISTOGRAM_REQUEST_PAIRS, ask->n_pairs);
    cr_metrics_observe(m, CR_HISTOGRAM_TOKENIZATION,
                       (uint64_t)ask->tokenize_ns);
    cr_metrics_count(m, CR_COUNT_TRUNCATED, ask->job.n_truncated);
}

static bool read_timeout(cr_call *call, int64_t *deadline_ns) {
    const char *given =
        cr_exchange_header(call->exchange, "X-Request-Timeout-Ms");
    unsigned long long ms = call->server->settings->request_timeout_ms;
    char *end = NULL;
    if (given)
        ms = strtoull(given, &end, 10);
    if (given && (*given < '0' || *given > '9' || *end || ms == 0))
        return cr_refuse(&call->ask.refusal, CR_REFUSAL_MALFORMED,
                         "X-Request-Timeout-Ms is \"%.40s\", it must be a "
                         "whole number from 1",
                         given);
    if (ms > 86400000)
        ms = 86400000;
    *deadline_ns = ms ? call->exchange->received_ns + (int64_t)ms * 1000000 : 0;
    return true;
}

static bool is_gone(const cr_job *job) {
    const cr_call *call = job->owner;
    return atomic_load(&call->server->giving_up) ||
           cr_http_is_gone(call->exchange);
}

static void on_done(cr_job *job) {
    cr_call *call = job->owner;
    cr_http_resume(call->exchange);
}

static bool encode(cr_call *call) {
    cr_ask *ask = &call->ask;
    cr_job *job = &ask->job;
    int64_t deadline = 0;
    cr_error error;
    if (!read_timeout(call, &deadline))
        return false;
    cr_status status = cr_job_encode(job, call->generation, ask->pairs,
                                     ask->n_pairs, &ask->encode, &error);
    if (status != CR_OK)
        return cr_refuse_status(&ask->refusal, status, &error);
    job->client = call->client;
    job->deadline_ns = deadline;
    job->is_gone = is_gone;
    job->done = on_done;
    job->owner = call;
    return true;
}

/* Refused before it is parsed: the queue is full as it is. */
static bool check_queue(cr_call *call) {
    const cr_server *s = call->server;
    int64_t waiting = cr_metrics_gauge(&s->metrics, CR_GAUGE_QUEUE_TOKENS);
    if (waiting < (int64_t)s->settings->max_queue_tokens)
        return true;
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_OVERLOADED,
                     "Model is overloaded: %lld tokens wait, max_queue_tokens "
                     "is %u; try again later",
                     (long long)waiting, s->settings->max_queue_tokens);
}

static bool prepare(cr_call *call) {
    int64_t start = cr_now_ns();
    if (!check_queue(call) || !read_body(call))
        return false;
    if (call->ask.n_pairs && !encode(call))
        return false;
    call->ask.tokenize_ns = cr_now_ns() - start;
    if (call->ask.n_pairs)
        count_ask(call);
    return true;
}

static bool on_receive(void *context, cr_exchange *x) {
    cr_call *call = x->state;
    (void)context;
    take_generation(call);
    if (call->route->answer) {
        x->status = 200;
        if (!call->route->answer(call))
            answer_refusal(call);
        return false;
    }
    if (!prepare(call)) {
        answer_refusal(call);
        return false;
    }
    if (call->ask.n_pairs)
        return true;
    cr_facts facts = cr_call_facts(call); /* tokens are no work for lanes */
    x->status = 200;
    call->ask.dialect->write(&call->ask, &facts, &x->out);
    return false;
}

static void on_start(void *context, cr_exchange *x) {
    cr_call *call = x->state;
    cr_error error;
    (void)context;
    cr_status status =
        cr_pipeline_submit(call->server->pipeline, &call->ask.job, &error);
    if (status == CR_OK)
        return;
    cr_refuse_status(&call->ask.refusal, status, &error);
    answer_refusal(call);
    cr_http_resume(x);
}

/* ---- The answer --------------------------------------------------------- */

static unsigned ms(int64_t ns) {
    return ns > 0 ? (unsigned)((ns + 500000) / 1000000) : 0;
}

static void add_times(cr_call *call) {
    cr_exchange *x = call->exchange;
    const cr_job *job = &call->ask.job;
    int64_t total = cr_now_ns() - x->received_ns;
    cr_exchange_add_header(x, "x-compute-type", "%s",
                           call->generation->backend->description.device);
    cr_exchange_add_header(x, "x-compute-time", "%u",
                           ms(job->finished_ns - job->started_ns));
    cr_exchange_add_header(x, "x-total-time", "%u", ms(total));
    cr_exchange_add_header(x, "x-tokenization-time", "%u",
                           ms(call->ask.tokenize_ns));
    cr_exchange_add_header(x, "x-queue-time", "%u",
                           ms(job->started_ns - job->queued_ns));
    cr_exchange_add_header(x, "x-inference-time", "%u", ms(job->busy_ns));
    cr_exchange_add_header(x, "x-compute-characters", "%llu",
                           (unsigned long long)call->ask.n_chars);
    cr_exchange_add_header(x, "x-compute-tokens", "%llu",
                           (unsigned long long)cr_ask_n_tokens(&call->ask));
    cr_metrics_observe(&call->server->metrics, CR_HISTOGRAM_QUEUE,
                       (uint64_t)(job->started_ns - job->queued_ns));
    cr_metrics_observe(&call->server->metrics, CR_HISTOGRAM_COMPUTE,
                       (uint64_t)(job->finished_ns - job->started_ns));
}

static void on_finish(void *context, cr_exchange *x) {
    cr_call *call = x->state;
    cr_job *job = &call->ask.job;
    (void)context;
    if (job->status != CR_OK) {
        cr_refuse_status(&call->ask.refusal, job->status, &job->error);
        /* Nobody may be there to read it; if somebody is, it is our end. */
        if (atomic_load(&call->server->giving_up))
            cr_refuse(&call->ask.refusal, CR_REFUSAL_UNREADY,
                      "the server is stopping and gave this request up");
        answer_refusal(call);
        return;
    }
    if (!cr_ask_rank(&call->ask)) {
        answer_refusal(call);
        return;
    }
    cr_facts facts = cr_call_facts(call);
    x->status = 200;
    add_times(call);
    call->ask.dialect->write(&call->ask, &facts, &x->out);
}

static void log_access(const cr_call *call) {
    const cr_exchange *x = call->exchange;
    const cr_job *job = &call->ask.job;
    int64_t end = cr_now_ns();
    char path[sizeof x->path];
    snprintf(path, sizeof path, "%s", x->path);
    for (char *p = path; *p; p++)
        if ((uint8_t)*p < 0x21 || *p == '"' || (uint8_t)*p >= 0x7f)
            *p = '?';
    cr_server_log(
        call->server,
        "access request_id=%s trace_id=%s method=%s path=\"%s\" "
        "status=%d bytes=%zu ms=%.2f queue_ms=%.2f pairs=%u "
        "tokens=%llu truncated=%u",
        call->request_id, *call->trace_id ? call->trace_id : "-", x->method,
        path, x->status, x->out_bytes, (double)(end - x->begun_ns) / 1e6,
        job->started_ns ? (double)(job->started_ns - job->queued_ns) / 1e6 : 0,
        call->ask.n_pairs, (unsigned long long)cr_ask_n_tokens(&call->ask),
        job->n_truncated);
}

static void on_end(void *context, cr_exchange *x) {
    cr_server *server = context;
    cr_call *call = x->state;
    cr_metrics *m = &server->metrics;
    if (x->status)
        cr_metrics_count(m,
                         x->status < 400   ? CR_COUNT_RESPONSES_2XX
                         : x->status < 500 ? CR_COUNT_RESPONSES_4XX
                                           : CR_COUNT_RESPONSES_5XX,
                         1);
    if (!call)
        return;
    if (x->status && call->ask.n_pairs)
        cr_metrics_observe(m, CR_HISTOGRAM_REQUEST,
                           (uint64_t)(cr_now_ns() - x->received_ns));
    if (server->settings->access_log)
        log_access(call);
    cr_ask_fini(&call->ask);
    cr_generation_unref(call->generation);
    /* jansson reads the count without an atomic before it counts down. */
    pthread_mutex_lock(&server->lock);
    json_decref(call->labels);
    pthread_mutex_unlock(&server->lock);
    cr_free(call);
    x->state = NULL;
}

static void on_refuse(void *context, cr_exchange *x, int status,
                      const char *message) {
    cr_call *call = x->state ? x->state : new_call(context, x);
    if (!call) {
        x->status = status;
        return;
    }
    bool other_method;
    call->route = cr_route_find(x->method, x->path, &other_method);
    cr_refuse(&call->ask.refusal,
              status == 413   ? CR_REFUSAL_SIZE
              : status == 429 ? CR_REFUSAL_OVERLOADED
              : status == 503 ? CR_REFUSAL_UNREADY
                              : CR_REFUSAL_MALFORMED,
              "%s", message);
    answer_refusal(call);
}

const cr_http_app cr_service_app = {.begin = on_begin,
                                    .receive = on_receive,
                                    .start = on_start,
                                    .finish = on_finish,
                                    .end = on_end,
                                    .refuse = on_refuse};
