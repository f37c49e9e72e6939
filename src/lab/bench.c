/* Bench: combinations, in each of them configurations, then the files. */
#include "lab/bench.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/mem.h"
#include "lab/child.h"
#include "lab/client.h"
#include "lab/files.h"
#include "lab/report.h"
#include "lab/results.h"
#include "lab/spread.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_CHECKED_PAIRS = 2000,
    MAX_CHECKED_IN_HASTE = 50, /* after Ctrl-C: a moment's work */
    CSV_BYTES = 1 << 30,
    LINE_BYTES = 400
};

typedef struct bench {
    const cr_bench_options *o;
    const cr_experiment *e;
    cr_bench_outcome *outcome;
    cr_error *error;
    cr_dataset data;
    uint32_t *tokens; /* [data.n], under the settings of this combination */
    cr_score_range *scores; /* [data.n], as they came */
    size_t n_truncated;
    json_t *servers, *accuracy, *dataset, *started_at, *machine;
    cr_buf csv;
    int64_t begin_ns;
} bench;

/* One combination while it runs. */
typedef struct run {
    bench *b;
    size_t number;
    cr_child child;
    cr_client client;    /* for what is no load */
    cr_ranker *ranker;   /* in-process */
    cr_encoded *encoded; /* the same, of tokens */
    cr_ranker *judge;    /* float32, for tokens and scores */
    cr_load_target target;
    cr_buf model; /* a JSON string */
    json_t *info, *configurations, *warmup;
    double max_batch;    /* 0: none */
    uint32_t batch_size; /* of the configuration that runs */
    uint32_t concurrency;
} run;

static void say(const bench *b, bool passing, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const bench *b, bool passing, const char *format, ...) {
    char line[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (b->o->say)
        b->o->say(b->o->context, passing, line);
}

static bool is_stopped(const bench *b) { return b->o->stop && b->o->stop(); }

/* ---- Rankers in this process ------------------------------------------------
 */

static const char *setting(const run *r, const char *key) {
    const cr_experiment *e = r->b->e;
    for (size_t i = 0; i < e->n_keys; i++)
        if (strcmp(e->keys[i].key, key) == 0)
            return cr_experiment_value(e, r->number, i);
    return NULL;
}

static cr_status number_setting(const run *r, const char *key, uint32_t max,
                                uint32_t *number) {
    const char *value = setting(r, key);
    char *end;
    *number = 0;
    if (!value)
        return CR_OK;
    unsigned long n = strtoul(value, &end, 10);
    if (end == value || *end || n > max)
        return cr_fail(r->b->error, CR_ERR_INPUT,
                       "%s is \"%.40s\", it must be from 0 to %u", key, value,
                       max);
    *number = (uint32_t)n;
    return CR_OK;
}

static cr_status ranker_options(const run *r, bool judge, cr_options *options) {
    cr_options o;
    cr_options_init(&o);
    const char *model = setting(r, "model"), *how = setting(r, "truncation");
    o.model = model ? model : r->b->o->default_model;
    o.activation = CR_ACTIVATION_NONE;
    if (how && strcmp(how, "only_second") == 0)
        o.truncation = CR_TRUNCATE_ONLY_SECOND;
    o.dtype = judge ? "fp32" : setting(r, "dtype");
    if (!judge) {
        o.backend = setting(r, "backend");
        o.device = setting(r, "device");
        o.isa = setting(r, "isa");
    }
    cr_status status = number_setting(r, "max_length", 65536, &o.max_length);
    if (status == CR_OK && !judge)
        status = number_setting(r, "threads", 1024, &o.threads);
    *options = o;
    return status;
}

static cr_status open_ranker(const run *r, bool judge, cr_ranker **ranker) {
    cr_options o;
    cr_status status = ranker_options(r, judge, &o);
    if (status == CR_OK)
        status = cr_ranker_open(&o, ranker, r->b->error);
    if (status == CR_OK) /* whether it gives one score a pair */
        status = cr_score(*ranker, NULL, 0, NULL, r->b->error);
    return cr_fail_as_input(status, r->b->error);
}

static cr_status read_batching(const run *r, cr_batching *batching) {
    const char *enabled = setting(r, "batching.enabled");
    uint32_t ms = 0;
    batching->enabled = !enabled || strcmp(enabled, "true") == 0;
    if (!batching->enabled && strcmp(enabled, "false") != 0)
        return cr_fail(r->b->error, CR_ERR_INPUT,
                       "batching.enabled is \"%.40s\", it must be true or "
                       "false",
                       enabled);
    cr_status status = number_setting(r, "batching.max_batch", UINT32_MAX,
                                      &batching->max_batch);
    if (status == CR_OK)
        status = number_setting(r, "batching.max_tokens", UINT32_MAX,
                                &batching->max_tokens);
    if (status == CR_OK)
        status = number_setting(r, "batching.timeout_ms", 60000, &ms);
    batching->timeout_ns = (int64_t)ms * 1000000;
    return status;
}

/* In the place of the ranker, whose lanes would only wait beside. */
static cr_status open_encoded(run *r) {
    cr_options o;
    cr_batching batching = {0};
    cr_status status = ranker_options(r, false, &o);
    if (status == CR_OK)
        status = read_batching(r, &batching);
    cr_ranker_close(r->ranker);
    r->ranker = r->target.ranker = NULL;
    if (status == CR_OK)
        status = cr_encoded_open(&o, &batching, r->b->data.pairs, r->b->data.n,
                                 &r->encoded, r->b->error);
    r->target.encoded = r->encoded;
    return status;
}

static json_t *describe(const cr_ranker *ranker) {
    cr_ranker_info i;
    cr_ranker_get_info(ranker, &i);
    return json_pack("{s:s,s:s,s:s,s:i,s:{s:s,s:s,s:s,s:s,s:i}}", "model_id",
                     i.model_name, "model_dtype", i.dtype, "version",
                     cr_version(), "max_input_length", (int)i.max_length,
                     "crossrank", "backend", i.backend, "device", i.device,
                     "isa", i.isa, "dtype", i.dtype, "lanes", (int)i.threads);
}

/* Lengths as the model sees them, whoever computes. */
static cr_status count_tokens(run *r) {
    bench *b = r->b;
    b->n_truncated = 0;
    for (size_t i = 0; i < b->data.n; i++) {
        cr_encoding *encoding;
        cr_status status =
            cr_tokenize(r->judge, &b->data.pairs[i], &encoding, b->error);
        if (status != CR_OK)
            return status;
        b->tokens[i] = (uint32_t)encoding->n_tokens;
        b->n_truncated += encoding->n_truncated > 0;
        cr_encoding_free(encoding);
    }
    json_decref(b->dataset);
    b->dataset = cr_results_dataset(&b->data, b->tokens, b->n_truncated);
    return CR_OK;
}

/* ---- The server -------------------------------------------------------------
 */

static json_t *fetch(run *r, const char *method, const char *path) {
    cr_answer answer;
    cr_error ignored;
    if (cr_client_ask(&r->client, method, path, (cr_text){"", 0}, &answer,
                      &ignored) != CR_OK ||
        answer.status != 200)
        return NULL;
    return json_loadb(answer.body.data, answer.body.len, 0, NULL);
}

static cr_status start_server(run *r) {
    const cr_experiment *e = r->b->e;
    const char *arguments[2 * CR_MAX_SWEEP_KEYS + 2];
    char log[4096];
    size_t n = 0;
    for (size_t i = 0; i < e->n_keys; i++) {
        arguments[n++] = e->keys[i].flag;
        arguments[n++] = cr_experiment_value(e, r->number, i);
    }
    if (!setting(r, "model")) {
        arguments[n++] = "--model";
        arguments[n++] = r->b->o->default_model;
    }
    snprintf(log, sizeof log, "%.4000s/server-%zu.log", r->b->o->dir,
             r->number);
    cr_status status = cr_child_start(&r->child, r->b->o->program, arguments, n,
                                      log, r->b->error);
    r->target.url = r->child.url;
    return cr_fail_as_input(status, r->b->error);
}

/* Ready, and who it is. A stranger need not have /readyz or /info. */
static cr_status meet_server(run *r) {
    bench *b = r->b;
    cr_answer answer;
    cr_status status = cr_client_init(&r->client, r->target.url, b->error);
    int64_t end_ns = cr_now_ns() + CR_CHILD_READY_S * 1000000000LL;
    answer.status = 0;
    do {
        if (answer.status) /* not the first time */
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        if (status == CR_OK)
            status = cr_client_ask(&r->client, "GET", "/readyz",
                                   (cr_text){"", 0}, &answer, b->error);
    } while (status == CR_OK && answer.status == 503 && !is_stopped(b) &&
             cr_now_ns() < end_ns);
    if (status == CR_OK && answer.status == 503)
        return cr_fail(b->error, CR_ERR_DEADLINE, "%s is not ready",
                       r->target.url);
    if (status == CR_OK)
        r->info = fetch(r, "GET", "/info");
    if (status == CR_OK && !r->info)
        r->info = json_object();
    json_t *model = json_incref(json_object_get(r->info, "model_id"));
    if (!json_is_string(model)) {
        json_decref(model);
        model = json_string("default");
    }
    cr_buf_init(&r->model, LINE_BYTES);
    if (status == CR_OK)
        status =
            cr_results_put_json(&r->model, model, JSON_ENCODE_ANY, b->error);
    json_decref(model);
    r->target.model = r->model.data;
    return status;
}

/* The load goes there; readiness and statistics stay with HTTP. */
static cr_status find_grpc(run *r) {
    const cr_bench_options *o = r->b->o;
    r->target.grpc_url = o->url ? o->grpc_url : r->child.grpc_url;
    if (r->target.grpc_url && *r->target.grpc_url)
        return CR_OK;
    return o->url ? cr_fail(r->b->error, CR_ERR_ARGUMENT,
                            "load.protocol is grpc: say with --grpc-url where "
                            "%.100s speaks it",
                            o->url)
                  : cr_fail(r->b->error, CR_ERR_UNAVAILABLE,
                            "the server does not speak gRPC");
}

static cr_status open_target(run *r) {
    const cr_load_plan *l = &r->b->e->load;
    r->target.dialect = l->dialect;
    r->client.fd = -1;
    if (l->protocol == CR_PROTOCOL_IN_PROCESS) {
        r->target.only_tokenize = l->mode == CR_LOAD_TOKENIZATION_ONLY;
        cr_status status = open_ranker(r, false, &r->ranker);
        r->target.ranker = r->ranker;
        if (status == CR_OK)
            r->info = describe(r->ranker);
        if (status == CR_OK && l->mode == CR_LOAD_INFERENCE_ONLY)
            status = open_encoded(r);
        return status;
    }
    r->target.url = r->b->o->url;
    cr_status status = r->b->o->url ? CR_OK : start_server(r);
    if (status == CR_OK && l->protocol == CR_PROTOCOL_GRPC)
        status = find_grpc(r);
    return status == CR_OK ? meet_server(r) : status;
}

/* ---- Load -------------------------------------------------------------------
 */

static void show_progress(void *context, uint64_t requests, uint64_t failed,
                          double seconds) {
    const run *r = context;
    char bad[48] = "";
    if (failed)
        snprintf(bad, sizeof bad, ", %llu failed", (unsigned long long)failed);
    say(r->b, true, "  batch %u, concurrency %u: %llu requests, %.1f pairs/s%s",
        r->batch_size, r->concurrency, (unsigned long long)requests,
        seconds > 0 ? (double)((requests - failed) * r->batch_size) / seconds
                    : 0,
        bad);
}

static cr_load_options load_options(run *r, double batch, double concurrency,
                                    double rate) {
    const bench *b = r->b;
    const cr_load_plan *l = &b->e->load;
    r->batch_size = (uint32_t)batch;
    r->concurrency = (uint32_t)concurrency;
    return (cr_load_options){.target = &r->target,
                             .dataset = &b->data,
                             .tokens = b->tokens,
                             .as_pairs = l->request == CR_REQUEST_PAIRS,
                             .batch_size = (uint32_t)batch,
                             .concurrency = (uint32_t)concurrency,
                             .requests = (uint64_t)l->requests,
                             .duration_s = l->duration_s,
                             .rate = rate,
                             .fixed = l->arrival == CR_ARRIVAL_FIXED,
                             .scores = b->scores,
                             .stop = b->o->stop,
                             .progress = show_progress,
                             .context = r};
}

/* In no figure. A server that cannot answer at all is found here. */
static cr_status warm_up(run *r) {
    const cr_load_plan *l = &r->b->e->load;
    cr_load_result result;
    cr_load_options o =
        load_options(r, l->batch_sizes.values[0], l->concurrency.values[0], 0);
    o.requests = (uint64_t)l->warmup;
    o.duration_s = 0;
    r->warmup = json_pack("{s:i,s:f}", "requests", 0, "seconds", 0.0);
    if (!o.requests)
        return CR_OK;
    cr_status status = cr_load_run(&o, &result, r->b->error);
    if (status != CR_OK)
        return status;
    json_decref(r->warmup);
    r->warmup = json_pack("{s:i,s:f}", "requests", (int)result.n, "seconds",
                          result.duration_s);
    say(r->b, false, "  warm-up: %zu requests in %.2f s, not counted", result.n,
        result.duration_s);
    if (result.n && result.n_failed == result.n)
        status = cr_fail(r->b->error, CR_ERR_IO,
                         "all %zu requests of the warm-up failed: %s", result.n,
                         result.reasons[0]);
    cr_load_fini(&result);
    return status;
}

static double mean_of(const json_t *configuration, const char *group,
                      const char *key) {
    const json_t *value =
        json_object_get(json_object_get(configuration, group), key);
    return json_is_number(value) ? json_number_value(value) : CR_UNKNOWN;
}

static void note_configuration(run *r, const cr_load_options *o,
                               const cr_load_result *result,
                               const json_t *configuration) {
    cr_bench_outcome *outcome = r->b->outcome;
    double rate = mean_of(configuration, "throughput", "pairs_per_s");
    double ms = mean_of(configuration, "latency_ms", "mean");
    const json_t *share = json_object_get(configuration, "client_cpu_share");
    outcome->n_configurations++;
    outcome->n_requests += result->n;
    outcome->n_failed += result->n_failed;
    outcome->best_pairs_per_s = fmax(outcome->best_pairs_per_s, rate);
    outcome->best_latency_ms = fmin(outcome->best_latency_ms, ms);
    say(r->b, false,
        "  batch %u, concurrency %u%s: %zu requests in %.2f s, %.1f pairs/s, "
        "mean %.2f ms, P95 %.2f ms, %zu failed",
        o->batch_size, o->concurrency, o->rate > 0 ? ", open loop" : "",
        result->n, result->duration_s, rate, ms,
        mean_of(configuration, "latency_ms", "p95"), result->n_failed);
    for (size_t i = 0; i < result->n_reasons; i++)
        say(r->b, false, "    failed: %s", result->reasons[i]);
    if (json_number_value(share) > 0.5)
        say(r->b, false,
            "    the load generator took %.0f %% of the CPU: the figures may "
            "be its own limit",
            100 * json_number_value(share));
}

static cr_status configure(run *r, double batch, double concurrency,
                           double rate) {
    bench *b = r->b;
    cr_load_result result;
    cr_load_options o = load_options(r, batch, concurrency, rate);
    size_t id = json_array_size(r->configurations);
    json_t *before = NULL, *after = NULL;
    if (r->target.url) {
        json_decref(fetch(r, "POST", "/stats/reset"));
        before = fetch(r, "GET", "/stats?rows=1");
    }
    double started_s = (double)(cr_now_ns() - b->begin_ns) * 1e-9;
    cr_status status = cr_load_run(&o, &result, b->error);
    if (r->target.url)
        after = fetch(r, "GET", "/stats?rows=7200");
    if (status == CR_OK) {
        json_t *configuration = cr_results_configuration(
            &o, &result, id, started_s, cr_cpus_count().cpus);
        json_object_set_new(
            configuration, "server",
            cr_results_server(before, after, r->max_batch, result.duration_s));
        json_object_set_new(
            configuration, "history",
            cr_results_history(before, after, result.duration_s));
        status =
            cr_results_put_samples(&b->csv, r->number, id, &result, b->error);
        if (status == CR_OK && !configuration)
            status = cr_fail_memory(b->error, 0, "results");
        if (status == CR_OK)
            note_configuration(r, &o, &result, configuration);
        json_array_append_new(r->configurations, configuration);
        b->outcome->stopped = b->outcome->stopped || result.stopped;
        cr_load_fini(&result);
    }
    json_decref(before);
    json_decref(after);
    return status;
}

static cr_status run_configurations(run *r) {
    const cr_load_plan *l = &r->b->e->load;
    static const cr_load_list CLOSED = {{0}, 1};
    const cr_load_list *rates = l->rates.n ? &l->rates : &CLOSED;
    cr_status status = CR_OK;
    for (size_t i = 0; i < l->batch_sizes.n; i++)
        for (size_t c = 0; c < l->concurrency.n; c++)
            for (size_t a = 0; a < rates->n; a++)
                if (status == CR_OK && !is_stopped(r->b))
                    status =
                        configure(r, l->batch_sizes.values[i],
                                  l->concurrency.values[c], rates->values[a]);
    return status;
}

/* ---- Accuracy ---------------------------------------------------------------
 */

/* Scores that are further away are another model's, or another number
 * format's that costs something: bf16 stays below, int8 does not. */
static const double OTHER_LOGIT = 0.05, OTHER_SCORE = 0.01;

/* What the scores that came are of the judge's logits. */
static cr_activation activation_of(const run *r) {
    cr_ranker_info judge;
    /* Infer answers on the scale of /v1/rerank, which is 0 to 1 unless the
     * server is told otherwise. */
    cr_activation own = r->target.grpc_url ? CR_ACTIVATION_SIGMOID
                        : r->target.url ? cr_wire_activation(r->target.dialect)
                                        : CR_ACTIVATION_NONE;
    cr_ranker_get_info(r->judge, &judge);
    return own == CR_ACTIVATION_MODEL ? judge.model_activation : own;
}

static cr_status compare(run *r, const uint32_t *picked, size_t n,
                         const cr_pair *pairs, float *want) {
    bench *b = r->b;
    cr_activation scale = activation_of(r);
    double worst = 0, sum = 0;
    cr_status status = cr_score(r->judge, pairs, n, want, b->error);
    if (status == CR_OK)
        status = cr_apply_activation(scale, want, n, b->error);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        const cr_score_range *got = &b->scores[picked[i]];
        double off = fmax(fabs((double)got->low - (double)want[i]),
                          fabs((double)got->high - (double)want[i]));
        worst = fmax(worst, off);
        sum += off;
    }
    if (status != CR_OK)
        return status;
    b->outcome->max_abs_diff = fmax(b->outcome->max_abs_diff, worst);
    double limit = scale == CR_ACTIVATION_NONE ? OTHER_LOGIT : OTHER_SCORE;
    if (worst > limit)
        say(b, false,
            "  other scores: they differ from float32's by up to %.3g, the "
            "limit is %.2g",
            worst, limit);
    json_object_set_new(
        r->info, "accuracy",
        json_pack("{s:f,s:b,s:i,s:f,s:f,s:s}", "limit", limit, "other_scores",
                  worst > limit, "checked_pairs", (int)n, "max_abs_diff", worst,
                  "mean_abs_diff", sum / (double)n, "reference",
                  scale == CR_ACTIVATION_NONE
                      ? "logits of crossrank in float32"
                      : "scores between 0 and 1 of crossrank in float32"));
    return CR_OK;
}

/* Scores that came, against float32's of the same model. */
static cr_status check_scores(run *r) {
    bench *b = r->b;
    size_t n = 0,
           most = is_stopped(b) ? MAX_CHECKED_IN_HASTE : MAX_CHECKED_PAIRS,
           room = b->data.n < most ? b->data.n : most;
    uint32_t *picked = cr_calloc(room, sizeof *picked);
    cr_pair *pairs = cr_calloc(room, sizeof *pairs);
    float *want = cr_calloc(room, sizeof *want);
    cr_status status = CR_OK;
    if (!picked || !pairs || !want)
        status = cr_fail_memory(b->error, room * sizeof *pairs, "a check");
    for (size_t i = 0; i < b->data.n && n < room && status == CR_OK; i++)
        if (!isnan(b->scores[i].low)) {
            picked[n] = (uint32_t)i;
            pairs[n++] = b->data.pairs[i];
        }
    if (status == CR_OK && n)
        status = compare(r, picked, n, pairs, want);
    cr_free(picked);
    cr_free(pairs);
    cr_free(want);
    return status;
}

/* ---- One combination
 * --------------------------------------------------------- */

static json_t *settings_of(const run *r) {
    const cr_experiment *e = r->b->e;
    json_t *all = json_object();
    for (size_t i = 0; i < e->n_keys; i++)
        if (e->keys[i].n > 1)
            json_object_set_new(
                all, e->keys[i].key,
                json_string(cr_experiment_value(e, r->number, i)));
    return all;
}

static void introduce(const run *r, size_t n) {
    cr_buf settings;
    json_t *swept = settings_of(r);
    cr_buf_init(&settings, LINE_BYTES);
    if (json_object_size(swept))
        cr_results_put_json(&settings, swept, JSON_COMPACT, NULL);
    json_decref(swept);
    say(r->b, false, "server %zu of %zu %s", r->number + 1, n,
        settings.len ? settings.data : "");
    cr_buf_fini(&settings);
}

static void keep_server(run *r) {
    bench *b = r->b;
    bool http = r->target.url != NULL;
    json_t *accuracy = json_incref(json_object_get(r->info, "accuracy"));
    json_object_del(r->info, "accuracy");
    if (!json_array_size(b->servers))
        b->machine = cr_results_machine(b->o->url ? NULL : r->info);
    json_array_append_new(
        b->servers,
        json_pack("{s:i,s:o,s:o,s:o,s:s,s:O,s:O,s:o,s:O}", "id", (int)r->number,
                  "settings", settings_of(r), "url",
                  http ? json_string(r->target.url) : json_null(), "dialect",
                  http && !r->target.grpc_url
                      ? json_string(CR_WIRE_DIALECTS[r->target.dialect])
                      : json_null(),
                  "protocol", CR_LOAD_PROTOCOLS[b->e->load.protocol], "info",
                  r->info, "warmup", r->warmup, "accuracy",
                  accuracy ? accuracy : json_null(), "configurations",
                  r->configurations));
}

static cr_status run_combination(bench *b, size_t number, size_t n) {
    run r = {.b = b, .number = number, .configurations = json_array()};
    const char *most = NULL;
    introduce(&r, n);
    for (size_t i = 0; i < b->data.n; i++)
        b->scores[i] = (cr_score_range){(float)NAN, (float)NAN};
    cr_status status = open_ranker(&r, true, &r.judge);
    if (status == CR_OK)
        status = count_tokens(&r);
    if (status == CR_OK)
        status = open_target(&r);
    most = setting(&r, "batching.max_batch");
    const char *enabled = setting(&r, "batching.enabled");
    if (most && !(enabled && strcmp(enabled, "false") == 0))
        r.max_batch = strtod(most, NULL);
    if (status == CR_OK)
        status = warm_up(&r);
    if (status == CR_OK)
        status = run_configurations(&r);
    if (status == CR_OK && !r.target.only_tokenize)
        status = check_scores(&r);
    if (json_array_size(r.configurations))
        keep_server(&r);
    cr_status ended =
        cr_child_stop(&r.child, status == CR_OK ? b->error : NULL);
    if (status == CR_OK)
        status = ended;
    cr_client_fini(&r.client);
    cr_encoded_close(r.encoded);
    cr_ranker_close(r.ranker);
    cr_ranker_close(r.judge);
    cr_buf_fini(&r.model);
    json_decref(r.info);
    json_decref(r.warmup);
    json_decref(r.configurations);
    return status;
}

/* ---- Files ------------------------------------------------------------------
 */

/* The worst of all servers; each has its own beside it. */
static json_t *worst_accuracy(const json_t *servers) {
    json_t *worst = json_null();
    for (size_t i = 0; i < json_array_size(servers); i++) {
        json_t *one = json_object_get(json_array_get(servers, i), "accuracy");
        if (json_is_object(one) &&
            (json_is_null(worst) ||
             json_number_value(json_object_get(one, "max_abs_diff")) >
                 json_number_value(json_object_get(worst, "max_abs_diff")))) {
            json_decref(worst);
            worst = json_incref(one);
        }
    }
    return worst;
}

static json_t *command_of(const cr_bench_options *o) {
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_command; i++)
        json_array_append_new(list, cr_results_path(o->command[i]));
    return list;
}

static cr_status write_results(const bench *b, bool interrupted) {
    const cr_bench_options *o = b->o;
    json_t *root = json_pack(
        "{s:s,s:o,s:s,s:O,s:o,s:b,s:I,s:o,s:o,s:O,s:o,s:O,s:o,s:O}", "schema",
        "crossrank-results/1", "name", cr_results_path(b->e->name),
        "description", b->e->description, "started_at", b->started_at,
        "finished_at", cr_results_now(), "interrupted", (int)interrupted,
        "planned_servers", (json_int_t)cr_experiment_combinations(b->e),
        "command", command_of(o), "experiment",
        cr_results_experiment(b->e, o->url != NULL, b->servers), "machine",
        b->machine, "software", cr_results_software(), "dataset", b->dataset,
        "accuracy", worst_accuracy(b->servers), "servers", b->servers);
    cr_buf text;
    cr_buf_init(&text, CR_RESULTS_BYTES);
    cr_status status =
        cr_results_put_json(&text, root, JSON_INDENT(1), b->error);
    json_decref(root);
    const cr_file files[] = {{"results.json", {text.data, text.len}},
                             {"requests.csv", {b->csv.data, b->csv.len}}};
    if (status == CR_OK)
        status = cr_files_replace(o->dir, 2, files, b->error);
    cr_buf_fini(&text);
    return status;
}

static cr_status write_all(bench *b) {
    const cr_bench_options *o = b->o;
    cr_status status = write_results(b, b->outcome->stopped);
    if (status == CR_OK)
        status = cr_report_write(o->dir, b->error);
    if (status == CR_OK)
        say(b, false, "%s: report.md, report.html, results.json, requests.csv",
            o->dir);
    return status;
}

/* ---- The whole --------------------------------------------------------------
 */

static cr_status run_all(bench *b) {
    const cr_experiment *e = b->e;
    size_t n = cr_experiment_combinations(e);
    cr_status status = CR_OK;
    if (b->o->url && n > 1)
        return cr_fail(b->error, CR_ERR_ARGUMENT,
                       "a server that runs cannot be swept: its settings are "
                       "its own");
    for (size_t i = 0; i < e->n_notes; i++)
        say(b, false, "note: %s", e->notes[i]);
    if (b->data.synthetic)
        say(b, false, "note: the data is synthetic: %s", b->data.source);
    for (size_t i = 0; i < n && status == CR_OK && !is_stopped(b); i++) {
        status = run_combination(b, i, n);
        /* What ends without a chance to write leaves the servers before. */
        if (status == CR_OK && i + 1 < n && b->outcome->n_configurations)
            status = write_results(b, true);
    }
    return status;
}

/* A report is no place for where somebody has installed us. */
static void name_shipped(cr_dataset *data) {
    const char *slash = strrchr(data->source, '/');
    char name[sizeof data->source];
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : data->source);
    snprintf(data->source, sizeof data->source, "%.200s (shipped)", name);
}

cr_status cr_bench_run(const cr_bench_options *o, cr_bench_outcome *outcome,
                       cr_error *error) {
    bench b = {.o = o,
               .e = o->experiment,
               .outcome = outcome,
               .error = error,
               .servers = json_array(),
               .started_at = cr_results_now(),
               .begin_ns = cr_now_ns()};
    const char *source = b.e->load.dataset;
    cr_error ignored;
    *outcome = (cr_bench_outcome){.max_abs_diff = CR_UNKNOWN,
                                  .best_pairs_per_s = CR_UNKNOWN,
                                  .best_latency_ms = CR_UNKNOWN};
    cr_buf_init(&b.csv, CSV_BYTES);
    cr_status status =
        cr_dataset_open(source ? source : o->default_dataset, &b.data, error);
    status = cr_fail_as_input(status, error);
    if (status == CR_OK && !source)
        name_shipped(&b.data);
    if (status == CR_OK)
        status = cr_folder_make(o->dir, error);
    if (status == CR_OK) {
        b.tokens = cr_calloc(b.data.n, sizeof *b.tokens);
        b.scores = cr_calloc(b.data.n, sizeof *b.scores);
        if (!b.tokens || !b.scores)
            status = cr_fail_memory(error, b.data.n * 8, "a dataset");
    }
    if (status == CR_OK)
        status = cr_results_put_header(&b.csv, error);
    if (status == CR_OK)
        status = run_all(&b);
    outcome->stopped = outcome->stopped || is_stopped(&b);
    if (outcome->n_configurations) {
        b.error = status == CR_OK ? error : &ignored;
        cr_status written = write_all(&b);
        status = status == CR_OK ? written : status;
    }
    json_decref(b.servers);
    json_decref(b.dataset);
    json_decref(b.started_at);
    json_decref(b.machine);
    cr_buf_fini(&b.csv);
    cr_free(b.tokens);
    cr_free(b.scores);
    cr_dataset_close(&b.data);
    return status;
}
