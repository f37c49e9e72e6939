/* Admission: what every front end does with a call, whatever it speaks.
 *
 * An id, the model as it is now, the queue's limit, tokens, the queue itself,
 * and in the end the account of it. */
#include "server/service.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Ids ---------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* Unique within and, by the time, between servers; no secret. */
uint64_t cr_next_id(void) {
    static _Atomic uint64_t n;
    return mix((uint64_t)cr_now_ns() + (atomic_fetch_add(&n, 1) << 40));
}

static bool is_plain_id(const char *id) {
    size_t len = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
                            "YZ0123456789-_.:");
    return len > 0 && len < CR_REQUEST_ID_BYTES && id[len] == '\0';
}

void cr_call_choose_id(cr_call *call, const char *given) {
    if (given && is_plain_id(given))
        snprintf(call->request_id, sizeof call->request_id, "%s", given);
    else
        snprintf(call->request_id, sizeof call->request_id,
                 "%08x-%04x-4%03x-8%03x-%012llx", (unsigned)cr_next_id(),
                 (unsigned)(cr_next_id() & 0xFFFF),
                 (unsigned)(cr_next_id() & 0xFFF),
                 (unsigned)(cr_next_id() & 0xFFF),
                 (unsigned long long)(cr_next_id() >> 16));
    call->ask.request_id = call->request_id;
}

/* ---- Refusing ----------------------------------------------------------- */

void cr_count_refusal(cr_metrics *m, cr_refusal_kind kind) {
    static const cr_counter_id by_kind[CR_N_REFUSALS] = {
        [CR_REFUSAL_OVERLOADED] = CR_COUNT_REFUSED_OVERLOAD,
        [CR_REFUSAL_SIZE] = CR_COUNT_REFUSED_SIZE,
        [CR_REFUSAL_LIMIT] = CR_COUNT_REFUSED_SIZE,
        [CR_REFUSAL_AUTH] = CR_COUNT_REFUSED_AUTH,
        [CR_REFUSAL_UNREADY] = CR_COUNT_REFUSED_DRAINING,
        [CR_REFUSAL_MALFORMED] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_SHAPE] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_EMPTY] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_KIND] = CR_COUNT_REFUSED_INVALID,
        [CR_REFUSAL_MEDIA] = CR_COUNT_REFUSED_INVALID,
    };
    /* Zero is a counter of requests: kinds that are not listed are counted
     * where they come about. */
    if (by_kind[kind])
        cr_metrics_count(m, by_kind[kind], 1);
}

/* Seconds until the queue as it is will be empty. */
unsigned cr_retry_after(cr_server *server) {
    cr_pipeline_state s = cr_pipeline_look(server->pipeline);
    double seconds = s.tokens_per_second > 0
                         ? (double)s.waiting_tokens / s.tokens_per_second
                         : 1;
    return seconds < 1 ? 1 : seconds > 120 ? 120 : (unsigned)ceil(seconds);
}

/* ---- Facts -------------------------------------------------------------- */

void cr_call_take_generation(cr_call *call) {
    cr_server *s = call->server;
    pthread_mutex_lock(&s->lock);
    call->generation = cr_generation_ref(s->generation);
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
                      .labels = cr_model_get_labels(call->generation->model)};
}

/* ---- In ----------------------------------------------------------------- */

/* Refused before it is parsed: the queue is full as it is. */
bool cr_admit_check_queue(cr_call *call) {
    const cr_server *s = call->server;
    int64_t waiting = cr_metrics_gauge(&s->metrics, CR_GAUGE_QUEUE_TOKENS);
    if (waiting < (int64_t)s->settings->max_queue_tokens)
        return true;
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_OVERLOADED,
                     "Model is overloaded: %lld tokens wait, max_queue_tokens "
                     "is %u; try again later",
                     (long long)waiting, s->settings->max_queue_tokens);
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
}

bool cr_admit_encode(cr_call *call, int64_t start_ns) {
    cr_ask *ask = &call->ask;
    cr_error error;
    cr_status status = cr_job_encode(&ask->job, call->generation, ask->pairs,
                                     ask->n_pairs, &ask->encode, &error);
    if (status != CR_OK)
        return cr_refuse_status(&ask->refusal, status, &error);
    ask->job.client = call->client;
    ask->job.owner = call;
    ask->tokenize_ns = cr_now_ns() - start_ns;
    count_ask(call);
    return true;
}

bool cr_admit_submit(cr_call *call) {
    cr_error error;
    cr_status status =
        cr_pipeline_submit(call->server->pipeline, &call->ask.job, &error);
    return status == CR_OK ||
           cr_refuse_status(&call->ask.refusal, status, &error);
}

/* ---- Out ---------------------------------------------------------------- */

bool cr_admit_finish(cr_call *call) {
    const cr_job *job = &call->ask.job;
    cr_refusal *refusal = &call->ask.refusal;
    if (job->status != CR_OK) {
        /* Nobody may be there to read it; if somebody is, it is our end. */
        if (atomic_load(&call->server->giving_up))
            return cr_refuse(refusal, CR_REFUSAL_UNREADY,
                             "the server is stopping and gave this request up");
        return cr_refuse_status(refusal, job->status, &job->error);
    }
    if (!cr_ask_rank(&call->ask))
        return false;
    cr_metrics_observe(&call->server->metrics, CR_HISTOGRAM_QUEUE,
                       (uint64_t)(job->started_ns - job->queued_ns));
    cr_metrics_observe(&call->server->metrics, CR_HISTOGRAM_COMPUTE,
                       (uint64_t)(job->finished_ns - job->started_ns));
    cr_metrics_count(&call->server->metrics, CR_COUNT_TRUNCATED,
                     job->n_truncated);
    return true;
}

void cr_count_answer(cr_server *server, int status) {
    if (status)
        cr_metrics_count(&server->metrics,
                         status < 400   ? CR_COUNT_RESPONSES_2XX
                         : status < 500 ? CR_COUNT_RESPONSES_4XX
                                        : CR_COUNT_RESPONSES_5XX,
                         1);
}

static void log_access(const cr_call *call, const cr_answered *x) {
    const cr_job *job = &call->ask.job;
    int64_t end = cr_now_ns();
    char path[128];
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
        path, x->status, x->bytes, (double)(end - x->begun_ns) / 1e6,
        job->started_ns ? (double)(job->started_ns - job->queued_ns) / 1e6 : 0,
        call->ask.n_pairs, (unsigned long long)cr_ask_n_tokens(&call->ask),
        job->n_truncated);
}

void cr_call_end(cr_call *call, const cr_answered *x) {
    cr_server *server = call->server;
    cr_count_answer(server, x->status);
    /* Refusals take no time: they would make an overload look fast. */
    if (x->status == 200 && call->ask.n_pairs)
        cr_metrics_observe(&server->metrics, CR_HISTOGRAM_REQUEST,
                           (uint64_t)(cr_now_ns() - x->received_ns));
    if (server->settings->access_log)
        log_access(call, x);
    cr_ask_fini(&call->ask);
    cr_generation_unref(call->generation);
}
