/* The service: from an exchange to an ask and back. */
#include "server/service.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/dialects/tei.h"
#include "server/json_in.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- Routes ------------------------------------------------------------- */

#define TEI (&cr_dialect_tei_rerank)
#define PREDICT (&cr_dialect_tei_predict)
#define V1 (&cr_dialect_v1)

static const cr_route ROUTES[] = {
    {.method = "POST",
     .path = "/rerank",
     .plain = V1,
     .texts = TEI,
     .first = TEI},
    {.method = "POST",
     .path = "/",
     .plain = V1,
     .texts = TEI,
     .first = TEI,
     .labels = PREDICT},
    {.method = "POST",
     .path = "/invocations",
     .plain = V1,
     .texts = TEI,
     .first = TEI,
     .labels = PREDICT},
    {.method = "POST", .path = "/v1/rerank", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/reranking", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/v1/reranking", .plain = V1, .texts = TEI},
    {.method = "POST", .path = "/v2/rerank", .plain = &cr_dialect_cohere},
    {.method = "POST", .path = "/score", .plain = &cr_dialect_vllm},
    {.method = "POST", .path = "/v1/score", .plain = &cr_dialect_vllm},
    {.method = "POST", .path = "/predict", .plain = PREDICT},
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
                              const char **allowed) {
    bool get = false, post = false;
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    *allowed = NULL;
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (strcmp(ROUTES[i].path, path) != 0)
            continue;
        if (strcmp(ROUTES[i].method, method) == 0)
            return &ROUTES[i];
        get = get || strcmp(ROUTES[i].method, "GET") == 0;
        post = post || strcmp(ROUTES[i].method, "POST") == 0;
    }
    if (get || post)
        *allowed = !get ? "POST" : post ? "GET, HEAD, POST" : "GET, HEAD";
    return NULL;
}

/* ---- Ids ---------------------------------------------------------------- */

static void choose_request_id(cr_call *call) {
    cr_call_choose_id(call, cr_exchange_header(call->exchange, "X-Request-Id"));
    cr_exchange_add_header(call->exchange, "X-Request-Id", "%s",
                           call->request_id);
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
                           call->trace_id, (unsigned long long)cr_next_id(),
                           given + 53);
}

/* ---- Refusing ----------------------------------------------------------- */

static const cr_dialect *dialect_of(const cr_call *call) {
    if (call->ask.dialect)
        return call->ask.dialect;
    if (call->route && call->route->first)
        return call->route->first;
    if (call->route && call->route->plain)
        return call->route->plain;
    return V1;
}

/* Some proxies try a request elsewhere on a 503 but not on a 429 (HAProxy
 * 2.6), so one may ask for it. */
static bool wants_503(const cr_exchange *x) {
    const char *status = cr_exchange_header(x, "X-Overload-Status");
    return status && strcmp(status, "503") == 0;
}

static void answer_refusal(cr_call *call) {
    cr_exchange *x = call->exchange;
    const cr_refusal *refusal = &call->ask.refusal;
    cr_json_out_fini(&x->out);
    cr_json_out_init(&x->out);
    x->type = "application/json";
    x->status = dialect_of(call)->write_refusal(refusal, &x->type, &x->out);
    if (refusal->kind == CR_REFUSAL_OVERLOADED) {
        cr_exchange_add_header(x, "Retry-After", "%u",
                               cr_retry_after(call->server));
        if (wants_503(x))
            x->status = 503;
    }
    if (refusal->kind == CR_REFUSAL_AUTH)
        cr_exchange_add_header(x, "WWW-Authenticate", "Bearer");
    cr_count_refusal(&call->server->metrics, refusal->kind);
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
    cr_exchange_add_header(
        x, "Access-Control-Expose-Headers",
        "retry-after, traceparent, x-compute-characters, x-compute-time, "
        "x-compute-tokens, x-compute-type, x-inference-time, x-queue-time, "
        "x-request-id, x-tokenization-time, x-total-time");
    if (strcmp(x->method, "OPTIONS") != 0)
        return;
    cr_exchange_add_header(x, "Access-Control-Allow-Methods",
                           "GET, POST, OPTIONS");
    cr_exchange_add_header(x, "Access-Control-Allow-Headers",
                           "authorization, content-type, x-api-key, "
                           "x-client-name, x-overload-status, x-request-id, "
                           "x-request-timeout-ms, traceparent");
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
    cr_exchange *x = call->exchange;
    const char *allowed;
    call->route = cr_route_find(x->method, x->path, &allowed);
    if (call->route)
        return true;
    if (allowed) {
        cr_exchange_add_header(x, "Allow", "%s", allowed);
        return cr_refuse(&call->ask.refusal, CR_REFUSAL_METHOD,
                         "%s does not take %s, it takes %s", x->path, x->method,
                         allowed);
    }
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

/* A field that is null counts as absent: clients write what they do not set. */
static void drop_nulls(json_t *body) {
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(body, next, key, value) {
        if (json_is_null(value))
            json_object_del(body, key);
    }
}

/* Bodies are not unpacked. */
static bool check_encoding(cr_call *call) {
    const char *coding = cr_exchange_header(call->exchange, "Content-Encoding");
    if (!coding || strcasecmp(coding, "identity") == 0)
        return true;
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_MEDIA,
                     "Content-Encoding is \"%.40s\": send the body as it is",
                     coding);
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
    drop_nulls(ask->body);
    if (ask->body) {
        bool documents = json_object_get(ask->body, "documents") != NULL;
        bool texts = json_object_get(ask->body, "texts") != NULL;
        ask->dialect =
            route->texts && texts && !documents ? route->texts : route->plain;
        if (route->labels && facts.generation->n_labels > 1)
            ask->dialect = route->labels;
    }
    if (!json_type && dialect_of(call)->needs_json_type)
        return cr_refuse(&ask->refusal, CR_REFUSAL_MEDIA,
                         "Expected request with `Content-Type: "
                         "application/json`");
    if (!ask->body)
        return false;
    cr_metrics_count(&call->server->metrics, ask->dialect->counter, 1);
    if (ask->dialect->needs_one_label && !cr_ask_check_labels(ask, &facts))
        return false;
    return ask->dialect->read(ask, ask->body, &facts);
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

static bool prepare(cr_call *call) {
    int64_t deadline = 0;
    int64_t start = cr_now_ns();
    if (!check_encoding(call) || !cr_admit_check_queue(call) ||
        !read_body(call))
        return false;
    if (!call->ask.n_pairs)
        return true;
    if (!read_timeout(call, &deadline))
        return false;
    call->ask.job.deadline_ns = deadline;
    call->ask.job.is_gone = is_gone;
    call->ask.job.done = on_done;
    return cr_admit_encode(call, start);
}

static bool on_receive(void *context, cr_exchange *x) {
    cr_call *call = x->state;
    (void)context;
    cr_call_take_generation(call);
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
    (void)context;
    if (cr_admit_submit(call))
        return;
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
}

static void on_finish(void *context, cr_exchange *x) {
    cr_call *call = x->state;
    (void)context;
    if (!cr_admit_finish(call)) {
        answer_refusal(call);
        return;
    }
    cr_facts facts = cr_call_facts(call);
    x->status = 200;
    add_times(call);
    call->ask.dialect->write(&call->ask, &facts, &x->out);
}

static void on_end(void *context, cr_exchange *x) {
    cr_server *server = context;
    cr_call *call = x->state;
    if (!call) {
        cr_count_answer(server, x->status);
        return;
    }
    cr_call_end(call, &(cr_answered){.method = x->method,
                                     .path = x->path,
                                     .status = x->status,
                                     .bytes = x->out_bytes,
                                     .begun_ns = x->begun_ns,
                                     .received_ns = x->received_ns});
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
    const char *allowed;
    call->route = cr_route_find(x->method, x->path, &allowed);
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
