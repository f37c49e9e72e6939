/* Answers without lanes: health, information, metrics, administration. */
#include "server/service.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/mem.h"
#include "server/dialects/tei.h"
#include "server/json_in.h"

#include "web_files.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { METRICS_BYTES = 1 << 20, STATS_ROWS = 240 };

static bool is_ready(const cr_call *call) {
    return atomic_load(&call->server->ready);
}

bool cr_ops_live(cr_call *call) {
    cr_json_put(&call->exchange->out, "{\"status\":\"ok\"}");
    return true;
}

bool cr_ops_ready(cr_call *call) {
    if (!is_ready(call))
        call->exchange->status = 503;
    cr_json_put(&call->exchange->out, "{\"status\":\"%s\"}",
                is_ready(call) ? "ok" : "not ready");
    return true;
}

/* Clients of Text Embeddings Inference look at the status alone, those of
 * llama.cpp at the object too. */
bool cr_ops_health(cr_call *call) {
    cr_exchange *x = call->exchange;
    if (is_ready(call)) {
        cr_json_put(&x->out, "{\"status\":\"ok\"}");
        return true;
    }
    x->status = 503;
    cr_json_put(&x->out,
                "{\"error\":\"unhealthy\",\"error_type\":\"Unhealthy\"}");
    return true;
}

bool cr_ops_info(cr_call *call) {
    cr_facts facts = cr_call_facts(call);
    cr_tei_write_info(&facts, &call->exchange->out);
    return true;
}

bool cr_ops_models(cr_call *call) {
    cr_json_out *out = &call->exchange->out;
    cr_facts facts = cr_call_facts(call);
    cr_json_put(out, "{\"object\":\"list\",\"data\":[{\"id\":");
    cr_json_put_string(out, facts.model_name);
    cr_json_put(out,
                ",\"object\":\"model\",\"created\":%lld,\"owned_by\":"
                "\"crossrank\",\"backend\":\"%s\",\"capabilities\":"
                "[\"rerank\"],\"max_model_len\":%u}]}",
                (long long)time(NULL),
                facts.generation->backend->description.name,
                facts.generation->max_length);
    return true;
}

bool cr_ops_metrics(cr_call *call) {
    cr_exchange *x = call->exchange;
    cr_buf text;
    cr_buf_init(&text, METRICS_BYTES);
    cr_server_look(call->server);
    bool good = cr_metrics_write(&call->server->metrics, &text, NULL) == CR_OK;
    x->type = "text/plain; version=0.0.4; charset=utf-8";
    if (good)
        good = cr_buf_append(&x->out.text, text.data, text.len, NULL) == CR_OK;
    x->out.failed = !good;
    cr_buf_fini(&text);
    return true;
}

bool cr_ops_openapi(cr_call *call) {
    const cr_web_file *file = cr_web_find("openapi.json");
    call->exchange->constant = (const char *)file->data;
    call->exchange->constant_bytes = file->len;
    return true;
}

/* ---- /stats ------------------------------------------------------------- */

static void put_counter(cr_json_out *out, const cr_metrics *m, const char *name,
                        cr_counter_id id) {
    cr_json_put(out, ",\"%s\":%llu", name,
                (unsigned long long)cr_metrics_counter(m, id));
}

static void put_gauge(cr_json_out *out, const cr_metrics *m, const char *name,
                      cr_gauge_id id) {
    cr_json_put(out, ",\"%s\":%lld", name, (long long)cr_metrics_gauge(m, id));
}

static void put_summary(cr_json_out *out, const cr_metrics *m, const char *name,
                        cr_histogram_id id, double unit) {
    cr_summary s = cr_metrics_summary(m, id);
    cr_json_put(out,
                ",\"%s\":{\"count\":%llu,\"mean\":%.6g,\"p50\":%.6g,"
                "\"p95\":%.6g,\"p99\":%.6g}",
                name, (unsigned long long)s.count, s.mean * unit, s.p50 * unit,
                s.p95 * unit, s.p99 * unit);
}

static void put_counters(cr_json_out *out, const cr_metrics *m) {
    put_counter(out, m, "responses_2xx", CR_COUNT_RESPONSES_2XX);
    put_counter(out, m, "responses_4xx", CR_COUNT_RESPONSES_4XX);
    put_counter(out, m, "responses_5xx", CR_COUNT_RESPONSES_5XX);
    put_counter(out, m, "pairs", CR_COUNT_PAIRS);
    put_counter(out, m, "tokens_real", CR_COUNT_TOKENS_REAL);
    put_counter(out, m, "tokens_padded", CR_COUNT_TOKENS_PADDED);
    put_counter(out, m, "truncated_pairs", CR_COUNT_TRUNCATED);
    put_counter(out, m, "refused_overload", CR_COUNT_REFUSED_OVERLOAD);
    put_counter(out, m, "refused_size", CR_COUNT_REFUSED_SIZE);
    put_counter(out, m, "refused_invalid", CR_COUNT_REFUSED_INVALID);
    put_counter(out, m, "refused_auth", CR_COUNT_REFUSED_AUTH);
    put_counter(out, m, "cancelled_client_gone", CR_COUNT_CANCELLED_GONE);
    put_counter(out, m, "cancelled_deadline", CR_COUNT_CANCELLED_DEADLINE);
    put_counter(out, m, "connections_swept", CR_COUNT_SWEPT);
    put_counter(out, m, "connections_evicted", CR_COUNT_EVICTED);
    put_counter(out, m, "log_lines_lost", CR_COUNT_LOG_LOST);
    put_counter(out, m, "reloads", CR_COUNT_RELOADS_DONE);
}

static void put_gauges(cr_json_out *out, const cr_metrics *m) {
    put_gauge(out, m, "connections", CR_GAUGE_CONNECTIONS);
    put_gauge(out, m, "connections_lingering", CR_GAUGE_LINGERING);
    put_gauge(out, m, "requests_in_flight", CR_GAUGE_IN_FLIGHT);
    put_gauge(out, m, "pending_body_bytes", CR_GAUGE_PENDING_BYTES);
    put_gauge(out, m, "queue_pairs", CR_GAUGE_QUEUE_PAIRS);
    put_gauge(out, m, "queue_tokens", CR_GAUGE_QUEUE_TOKENS);
    put_gauge(out, m, "lanes", CR_GAUGE_LANES);
    put_gauge(out, m, "lanes_busy", CR_GAUGE_LANES_BUSY);
    put_gauge(out, m, "memory_bytes", CR_GAUGE_RESIDENT);
}

static void put_lanes(cr_json_out *out, cr_server *s) {
    cr_json_put(out, ",\"busy_s_by_lane\":[");
    uint32_t lanes = cr_pipeline_look(s->pipeline).lanes;
    for (uint32_t i = 0; i < lanes; i++)
        cr_json_put(out, "%s%.6f", i ? "," : "",
                    (double)cr_pipeline_lane_busy_ns(s->pipeline, i) * 1e-9);
    cr_json_put(out, "]");
}

/* What runs, as far as it is not a measurement. */
static void put_identity(cr_json_out *out, const cr_facts *facts) {
    const cr_backend_description *d = &facts->generation->backend->description;
    cr_json_put(out, "{\"version\":\"%s\",\"model\":", cr_version());
    cr_json_put_string(out, facts->model_name);
    cr_json_put(out,
                ",\"backend\":\"%s\",\"device\":\"%s\",\"isa\":\"%s\","
                "\"dtype\":\"%s\",\"max_length\":%u,"
                "\"group_tokens_wanted\":%u,\"max_batch\":%u,"
                "\"generation\":%u",
                d->name, d->device, d->isa, d->dtype,
                facts->generation->max_length, d->group_tokens,
                facts->settings->batching_max_batch, facts->generation->number);
}

/* null where the backend has no allocator of its own, or no GPU. */
static void put_device_memory(cr_json_out *out, const cr_backend *backend) {
    if (!backend->ops->read_memory) {
        cr_json_put(out, ",\"backend_memory\":null,\"gpu_memory\":null");
        return;
    }
    cr_backend_memory m;
    backend->ops->read_memory(backend, &m);
    cr_json_put(out,
                ",\"backend_memory\":{\"active_bytes\":%llu"
                ",\"peak_bytes\":%llu,\"cache_bytes\":%llu"
                ",\"cache_limit_bytes\":%llu}",
                (unsigned long long)m.active_bytes,
                (unsigned long long)m.peak_bytes,
                (unsigned long long)m.cache_bytes,
                (unsigned long long)m.cache_limit_bytes);
    if (strcmp(backend->description.device, "cpu") == 0)
        cr_json_put(out, ",\"gpu_memory\":null");
    else
        cr_json_put(out, ",\"gpu_memory\":%llu",
                    (unsigned long long)(m.active_bytes + m.cache_bytes));
}

/* Who tells of the GPU, and its use in percent; null where nobody does. */
static void put_gpu(cr_json_out *out, const cr_gpu *gpu) {
    double percent;
    if (!gpu) {
        cr_json_put(out, ",\"gpu\":null,\"gpu_utilization\":null");
        return;
    }
    cr_json_put(out,
                ",\"gpu\":\"%s\",\"gpu_utilization\":", cr_gpu_source(gpu));
    if (cr_gpu_read(gpu, &percent))
        cr_json_put(out, "%.1f", percent);
    else
        cr_json_put(out, "null");
}

static void put_durations(cr_json_out *out, const cr_metrics *m) {
    put_summary(out, m, "request_ms", CR_HISTOGRAM_REQUEST, 1e-6);
    put_summary(out, m, "tokenization_ms", CR_HISTOGRAM_TOKENIZATION, 1e-6);
    put_summary(out, m, "queue_wait_ms", CR_HISTOGRAM_QUEUE, 1e-6);
    put_summary(out, m, "compute_ms", CR_HISTOGRAM_COMPUTE, 1e-6);
    put_summary(out, m, "inference_ms", CR_HISTOGRAM_INFERENCE, 1e-6);
    put_summary(out, m, "request_pairs", CR_HISTOGRAM_REQUEST_PAIRS, 1);
    put_summary(out, m, "batch_pairs", CR_HISTOGRAM_BATCH_PAIRS, 1);
    put_summary(out, m, "group_pairs", CR_HISTOGRAM_GROUP_PAIRS, 1);
    put_summary(out, m, "group_tokens", CR_HISTOGRAM_GROUP_TOKENS, 1);
}

/* The rows are copied first: requests need the lock too. */
static void put_history(cr_json_out *out, cr_server *s, size_t max) {
    cr_history_row *rows = cr_calloc(max, sizeof *rows);
    if (!rows) {
        out->failed = true;
        return;
    }
    pthread_mutex_lock(&s->lock);
    size_t n = cr_history_copy(&s->history, rows, max);
    pthread_mutex_unlock(&s->lock);
    cr_json_put(out, ",\"history\":");
    cr_history_write(rows, n, out);
    cr_free(rows);
}

static void put_stats(cr_json_out *out, cr_server *s, const cr_facts *facts,
                      size_t max_rows) {
    const cr_metrics *m = &s->metrics;
    put_identity(out, facts);
    cr_json_put(out, ",\"ready\":%s,\"uptime_s\":%.3f,\"cpus\":%u",
                atomic_load(&s->ready) ? "true" : "false",
                (double)(cr_now_ns() - s->started_ns) * 1e-9,
                cr_cpus_count().cpus);
    put_counters(out, m);
    put_gauges(out, m);
    put_device_memory(out, facts->generation->backend);
    put_gpu(out, s->gpu);
    cr_json_put(out, ",\"lane_busy_s\":%.6f,\"cpu_s\":%.6f",
                (double)cr_metrics_counter(m, CR_COUNT_LANE_BUSY) * 1e-9,
                (double)cr_metrics_counter(m, CR_COUNT_CPU) * 1e-9);
    put_lanes(out, s);
    cr_json_put(out, ",\"queue_age_ms\":%.3f",
                (double)cr_metrics_gauge(m, CR_GAUGE_QUEUE_AGE) * 1e-6);
    put_durations(out, m);
    put_history(out, s, max_rows);
    cr_json_put(out, "}");
}

bool cr_ops_stats(cr_call *call) {
    const char *rows = cr_exchange_argument(call->exchange, "rows");
    unsigned long n = rows ? strtoul(rows, NULL, 10) : STATS_ROWS;
    bool digits = !rows || strspn(rows, "0123456789") == strlen(rows);
    if (!digits || n < 1 || n > CR_HISTORY_ROWS)
        return cr_refuse(&call->ask.refusal, CR_REFUSAL_MALFORMED,
                         "rows is \"%.40s\", it must be a number from 1 to %d",
                         rows, CR_HISTORY_ROWS);
    cr_facts facts = cr_call_facts(call);
    cr_server_look(call->server);
    put_stats(&call->exchange->out, call->server, &facts, n);
    return true;
}

void cr_ops_event(cr_server *server, const cr_facts *facts, cr_json_out *out) {
    cr_json_put(out, "data: ");
    put_stats(out, server, facts, 1);
    cr_json_put(out, "\n\n");
}

bool cr_ops_stream(cr_call *call) {
    if (cr_http_stream(call->exchange)) {
        call->exchange->type = "text/event-stream";
        cr_exchange_add_header(call->exchange, "Cache-Control", "no-store");
        return true;
    }
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_OVERLOADED,
                     "%d streams of statistics are open, the most there can "
                     "be: close one, or ask /stats",
                     CR_MAX_STREAMS);
}

bool cr_ops_reset(cr_call *call) {
    cr_server *s = call->server;
    int64_t now = cr_now_ns();
    pthread_mutex_lock(&s->lock); /* no row of history comes in between */
    cr_metrics_reset(&s->metrics);
    atomic_store(&s->counted_since_ns, now);
    cr_history_reset(&s->history, now);
    pthread_mutex_unlock(&s->lock);
    cr_json_put(&call->exchange->out, "{\"status\":\"ok\"}");
    return true;
}

/* ---- /admin/reload ------------------------------------------------------ */

/* A page of another origin cannot send JSON without being asked for it, so
 * the type keeps browsers out where there are no keys. */
static bool check_type(cr_call *call) {
    const char *type = cr_exchange_header(call->exchange, "Content-Type");
    if (type && strncasecmp(type, "application/json", 16) == 0)
        return true;
    return cr_refuse(&call->ask.refusal, CR_REFUSAL_MEDIA,
                     "send Content-Type: application/json and {} or "
                     "{\"model\": \"FOLDER\"}");
}

bool cr_ops_reload(cr_call *call) {
    cr_ask *ask = &call->ask;
    cr_exchange *x = call->exchange;
    cr_error error;
    if (!check_type(call))
        return false;
    ask->body = cr_json_in_parse(x->body.data, x->body.len, &ask->refusal);
    if (!ask->body)
        return false;
    const json_t *model = json_object_get(ask->body, "model");
    if (model && !json_is_null(model) && !cr_ask_name(ask->body, "model"))
        return cr_refuse(&ask->refusal, CR_REFUSAL_SHAPE,
                         "`model` must be the name of a folder: leave it out "
                         "to load the one that runs again");
    uint32_t generation;
    cr_status status = cr_server_reload(
        call->server, cr_ask_name(ask->body, "model"), &generation, &error);
    if (status != CR_OK)
        return cr_refuse(&ask->refusal, CR_REFUSAL_BACKEND,
                         "the old model goes on: %s", error.message);
    cr_json_put(&x->out, "{\"status\":\"ok\",\"generation\":%u}", generation);
    return true;
}
