/* Results: one function a part of the form, in its order. */
#include "lab/results.h"

#include "base/cpus.h"
#include "base/mem.h"
#include "lab/spread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

json_t *cr_results_number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

typedef struct put_target {
    cr_buf *text;
    cr_error *error;
    cr_status status;
} put_target;

static int put_piece(const char *bytes, size_t len, void *context) {
    put_target *t = context;
    t->status = cr_buf_append(t->text, bytes, len, t->error);
    return t->status == CR_OK ? 0 : -1;
}

cr_status cr_results_put_json(cr_buf *text, const json_t *value, size_t flags,
                              cr_error *error) {
    put_target t = {text, error, CR_OK};
    if (value && json_dump_callback(value, put_piece, &t, flags) == 0)
        return CR_OK;
    return t.status == CR_OK ? cr_fail_memory(error, 0, "results") : t.status;
}

static json_t *count(double value) {
    return isfinite(value) ? json_integer((json_int_t)value) : json_null();
}

static json_t *text_or_null(const char *text) {
    json_t *value = text && *text ? json_string(text) : NULL;
    return value ? value : json_null();
}

json_t *cr_results_now(void) {
    char text[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_string(text);
}

/* ---- Machine and software --------------------------------------------------
 */

/* The value behind `key` and `mark` in a file of such lines. */
static void find_line(const char *path, const char *key, char mark, char *value,
                      size_t bytes) {
    char line[512];
    *value = 0;
    FILE *file = fopen(path, "re");
    while (file && !*value && fgets(line, sizeof line, file)) {
        char *at = strchr(line, mark);
        if (strncmp(line, key, strlen(key)) != 0 || !at)
            continue;
        at += 1 + strspn(at + 1, " \t\"");
        at[strcspn(at, "\"\n")] = 0;
        snprintf(value, bytes, "%s", at);
    }
    if (file)
        fclose(file);
}

static json_t *cpu_name(void) {
    char name[256];
    find_line("/proc/cpuinfo", "model name", ':', name, sizeof name);
    return text_or_null(name);
}

static json_t *os_name(const struct utsname *system) {
    char name[256];
    find_line("/etc/os-release", "PRETTY_NAME", '=', name, sizeof name);
    return text_or_null(*name ? name : system->sysname);
}

json_t *cr_results_machine(const json_t *info) {
    const json_t *own = json_object_get(info, "crossrank");
    const json_t *lanes = json_object_get(own, "lanes");
    struct utsname system;
    bool known = uname(&system) == 0;
    double memory =
        (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    return json_pack(
        "{s:o,s:i,s:o,s:o,s:o,s:o,s:o}", "cpu", cpu_name(), "cores",
        (int)cr_cpus_count().cpus, "memory_bytes", count(memory), "os",
        known ? os_name(&system) : json_null(), "kernel",
        text_or_null(known ? system.release : NULL), "isa",
        text_or_null(json_string_value(json_object_get(own, "isa"))), "lanes",
        json_is_integer(lanes) ? json_integer(json_integer_value(lanes))
                               : json_null());
}

json_t *cr_results_software(void) {
    return json_pack("{s:s,s:{s:s,s:s}}", "crossrank", cr_version(),
                     "libraries", "jansson", JANSSON_VERSION, "libyaml",
                     yaml_get_version_string());
}

/* ---- Experiment -----------------------------------------------------------
 */

static json_t *list_of(const cr_load_list *list) {
    json_t *array = json_array();
    for (size_t i = 0; i < list->n; i++)
        json_array_append_new(array,
                              list->values[i] == floor(list->values[i])
                                  ? json_integer((json_int_t)list->values[i])
                                  : json_real(list->values[i]));
    return array;
}

/* A path is not always UTF-8, and may have been cut inside a character: what is
 * beyond ASCII becomes '?' then. */
json_t *cr_results_path(const char *path) {
    char safe[4096];
    json_t *text = json_string(path);
    if (text)
        return text;
    snprintf(safe, sizeof safe, "%s", path);
    for (char *p = safe; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(safe);
}

static json_t *load_of(const cr_load_plan *l) {
    bool open = l->rates.n > 0;
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "protocol",
        CR_LOAD_PROTOCOLS[l->protocol], "dialect", CR_WIRE_DIALECTS[l->dialect],
        "request", CR_LOAD_REQUESTS[l->request], "mode", CR_LOAD_MODES[l->mode],
        "batch_sizes", list_of(&l->batch_sizes), "concurrency_levels",
        list_of(&l->concurrency), "rate",
        open ? list_of(&l->rates) : json_null(), "arrival",
        open ? json_string(CR_LOAD_ARRIVALS[l->arrival]) : json_null(),
        "requests", l->requests > 0 ? count(l->requests) : json_null(),
        "duration_s",
        l->duration_s > 0 ? json_real(l->duration_s) : json_null(), "warmup",
        count(l->warmup), "dataset",
        l->dataset ? cr_results_path(l->dataset) : json_null());
}

static json_t *setting_value(const char *value) {
    char *end;
    double number = strtod(value, &end);
    if (!strcmp(value, "true") || !strcmp(value, "false"))
        return json_boolean(*value == 't');
    if (end != value && !*end && number == floor(number) && fabs(number) < 1e15)
        return json_integer((json_int_t)number);
    return json_string(value);
}

static void put_settings(json_t *to, const cr_experiment *e) {
    for (size_t i = 0; i < e->n_keys; i++) {
        const cr_sweep_key *key = &e->keys[i];
        const char *dot = strchr(key->key, '.');
        json_t *value = setting_value(key->values[0]);
        if (key->n > 1) {
            json_decref(value);
            value = json_array();
            for (size_t v = 0; v < key->n; v++)
                json_array_append_new(value, setting_value(key->values[v]));
        }
        if (dot)
            json_object_set_new(json_object_get(to, "batching"), dot + 1,
                                value);
        else
            json_object_set_new(to, key->key, value);
    }
}

/* What ran, of every server once; a text, or a list where they differ. */
static json_t *what_ran(const json_t *servers, const char *group,
                        const char *key) {
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const json_t *info =
            json_object_get(json_array_get(servers, i), "info");
        json_t *value =
            json_object_get(group ? json_object_get(info, group) : info, key);
        bool known = !json_is_string(value);
        for (size_t k = 0; !known && k < json_array_size(list); k++)
            known = json_equal(json_array_get(list, k), value);
        if (!known)
            json_array_append(list, value);
    }
    json_t *answer = json_array_size(list) == 1
                         ? json_incref(json_array_get(list, 0))
                     : json_array_size(list) ? json_incref(list)
                                             : json_null();
    json_decref(list);
    return answer;
}

/* Whether requests pass a batcher of ours. */
static bool is_batched(const cr_experiment *e, bool stranger) {
    bool in_process = e->load.protocol == CR_PROTOCOL_IN_PROCESS;
    return !stranger && (!in_process || e->load.mode == CR_LOAD_INFERENCE_ONLY);
}

json_t *cr_results_experiment(const cr_experiment *e, bool stranger,
                              const json_t *servers) {
    /* The server's own defaults, where the file says nothing. */
    json_t *all = is_batched(e, stranger)
                      ? json_pack("{s:{s:b,s:i,s:i}}", "batching", "enabled", 1,
                                  "max_batch", 0, "timeout_ms", 0)
                      : json_pack("{s:n}", "batching");
    put_settings(all, e);
    json_object_set_new(all, "model", what_ran(servers, NULL, "model_id"));
    json_object_set_new(all, "backend",
                        what_ran(servers, "crossrank", "backend"));
    json_object_set_new(all, "device",
                        what_ran(servers, "crossrank", "device"));
    json_object_set_new(all, "dtype", what_ran(servers, "crossrank", "dtype"));
    json_object_set_new(all, "load", load_of(&e->load));
    return all;
}

/* ---- Data -----------------------------------------------------------------
 */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

json_t *cr_results_dataset(const cr_dataset *d, const uint32_t *tokens,
                           size_t n_truncated) {
    double sum = 0, *sorted = cr_calloc(d->n, sizeof *sorted);
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < d->n; i++)
        sum += sorted[i] = tokens[i];
    qsort(sorted, d->n, sizeof *sorted, by_value);
    json_t *all = json_pack(
        "{s:o,s:o,s:b,s:{s:o,s:o,s:o,s:o,s:o},s:o}", "source",
        cr_results_path(d->source), "pairs", count((double)d->n), "synthetic",
        (int)d->synthetic, "tokens", "min", count(sorted[0]), "mean",
        json_real(sum / (double)d->n), "p50",
        json_real(cr_percentile(sorted, d->n, 0.50)), "p95",
        json_real(cr_percentile(sorted, d->n, 0.95)), "max",
        count(sorted[d->n - 1]), "truncated_pairs", count((double)n_truncated));
    cr_free(sorted);
    return all;
}

/* ---- One configuration -----------------------------------------------------
 */

static json_t *latency_of(const cr_load_result *r) {
    cr_spread s;
    double *ms = cr_calloc(r->n + 1, sizeof *ms);
    size_t n = 0;
    if (!ms)
        return NULL;
    for (size_t i = 0; i < r->n; i++) {
        const cr_sample *one = &r->samples[i];
        double from = isnan(one->scheduled_s) ? one->start_s : one->scheduled_s;
        if (!one->reason)
            ms[n++] = (one->end_s - from) * 1e3;
    }
    cr_status status = cr_spread_of(ms, n, &s, NULL);
    cr_free(ms);
    if (status != CR_OK)
        return NULL;
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "mean",
        cr_results_number(s.mean), "std", cr_results_number(s.std), "min",
        cr_results_number(s.min), "p50", cr_results_number(s.p50), "p90",
        cr_results_number(s.p90), "p95", cr_results_number(s.p95), "p99",
        cr_results_number(s.p99), "p999", cr_results_number(s.p999), "max",
        cr_results_number(s.max));
}

static json_t *errors_of(const cr_load_result *r) {
    size_t counts[CR_MAX_REASONS] = {0};
    json_t *all = json_object();
    for (size_t i = 0; i < r->n; i++)
        if (r->samples[i].reason)
            counts[r->samples[i].reason - 1]++;
    for (size_t i = 0; i < r->n_reasons; i++) {
        /* A server's own words may be no UTF-8. */
        json_t *key = json_string(r->reasons[i]);
        json_object_set_new(all, key ? r->reasons[i] : "not UTF-8",
                            json_integer((json_int_t)counts[i]));
        json_decref(key);
    }
    return all;
}

json_t *cr_results_configuration(const cr_load_options *o,
                                 const cr_load_result *r, size_t id,
                                 double started_s, double cores) {
    double good = 0, pairs = 0, tokens = 0, s = r->duration_s;
    for (size_t i = 0; i < r->n; i++) {
        if (r->samples[i].reason)
            continue;
        good++;
        pairs += r->samples[i].pairs;
        tokens += r->samples[i].tokens;
    }
    bool open = o->rate > 0;
    /* In this process the load generator's share is not to be told apart. */
    double share = o->target->url && s > 0 ? r->cpu_s / s / cores : CR_UNKNOWN;
    return json_pack(
        "{s:o,s:i,s:i,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,"
        "s:{s:o,s:o,s:o},s:o,s:o}",
        "id", count((double)id), "batch_size", (int)o->batch_size,
        "concurrency", (int)o->concurrency, "mode", open ? "open" : "closed",
        "rate_per_s", open ? json_real(o->rate) : json_null(), "arrival",
        open ? json_string(o->fixed ? "fixed" : "poisson") : json_null(),
        "started_s", json_real(started_s), "duration_s", json_real(s),
        "requests", count((double)r->n), "failed", count((double)r->n_failed),
        "resent", count((double)r->n_resent), "pairs", count(pairs),
        "latency_ms", latency_of(r), "throughput", "requests_per_s",
        cr_results_number(good / s), "pairs_per_s",
        cr_results_number(pairs / s), "tokens_per_s",
        cr_results_number(tokens / s), "client_cpu_share",
        cr_results_number(share), "errors", errors_of(r));
}

/* ---- The server's own figures ----------------------------------------------
 */

static double number_of(const json_t *json, const char *key) {
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : CR_UNKNOWN;
}

static json_t *stage(const json_t *stats, const char *key) {
    const json_t *s = json_object_get(stats, key);
    if (!json_is_object(s) || !(number_of(s, "count") > 0))
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:o}", "mean",
                     cr_results_number(number_of(s, "mean")), "p50",
                     cr_results_number(number_of(s, "p50")), "p95",
                     cr_results_number(number_of(s, "p95")), "p99",
                     cr_results_number(number_of(s, "p99")));
}

json_t *cr_results_server(const json_t *before, const json_t *after,
                          double max_batch, double duration_s) {
    if (!json_is_object(after) || !json_object_get(after, "batch_pairs"))
        return json_null();
    const json_t *batch = json_object_get(after, "batch_pairs");
    double mean = number_of(batch, "mean");
    double cpu = number_of(after, "cpu_s") - number_of(before, "cpu_s");
    return json_pack(
        "{s:{s:n,s:o,s:o,s:o,s:n},s:{s:o,s:o},s:o,s:o,s:o,s:o,s:o,s:o,s:o}",
        "stages_ms", "parse", "tokenize", stage(after, "tokenization_ms"),
        "queue_wait", stage(after, "queue_wait_ms"), "inference",
        stage(after, "compute_ms"), "respond", "tokens", "real",
        count(number_of(after, "tokens_real")), "padded",
        count(number_of(after, "tokens_padded")), "batches",
        count(number_of(batch, "count")), "batch_fill",
        cr_results_number(max_batch > 0 ? mean / max_batch : CR_UNKNOWN),
        "pairs_per_batch", cr_results_number(mean), "cpu_percent",
        cr_results_number(duration_s > 0 ? 100 * cpu / duration_s : CR_UNKNOWN),
        "memory_bytes", count(number_of(after, "memory_bytes")),
        "gpu_memory_bytes", count(number_of(after, "gpu_memory")),
        "gpu_utilization",
        cr_results_number(number_of(after, "gpu_utilization")));
}

static size_t column_of(const json_t *columns, const char *name) {
    size_t i = 0;
    while (i < json_array_size(columns)) {
        const char *own = json_string_value(json_array_get(columns, i));
        if (own && strcmp(own, name) == 0)
            break;
        i++;
    }
    return i;
}

json_t *cr_results_history(const json_t *before, const json_t *after,
                           double duration_s) {
    static const struct {
        const char *from, *to;
        double scale;
    } COLUMNS[] = {{"pairs_per_s", "pairs", 1},
                   {"requests_per_s", "requests", 1},
                   {"queue_tokens", "queue_tokens", 1},
                   {"cpu", "cpu_percent", 100},
                   {"memory_bytes", "memory_bytes", 1},
                   {"tokenization_ms", "tokenize_ms", 1},
                   {"inference_ms", "inference_ms", 1},
                   {"queue_wait_ms", "queue_wait_ms", 1},
                   {"padding", "padding_percent", 100}};
    const json_t *history = json_object_get(after, "history");
    const json_t *columns = json_object_get(history, "columns");
    const json_t *rows = json_object_get(history, "rows");
    double origin = number_of(before, "uptime_s");
    size_t at = column_of(columns, "at_s");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        double t = json_number_value(json_array_get(row, at)) - origin;
        if (!(t > 0 && t < duration_s + 0.5))
            continue;
        json_t *one = json_pack("{s:f}", "t_s", t);
        for (size_t c = 0; c < sizeof COLUMNS / sizeof *COLUMNS; c++) {
            const json_t *value =
                json_array_get(row, column_of(columns, COLUMNS[c].from));
            json_object_set_new(
                one, COLUMNS[c].to,
                cr_results_number(json_is_number(value)
                                      ? COLUMNS[c].scale *
                                            json_number_value(value)
                                      : CR_UNKNOWN));
        }
        json_array_append_new(list, one);
    }
    return list;
}

/* ---- requests.csv ---------------------------------------------------------
 */

cr_status cr_results_put_header(cr_buf *csv, cr_error *error) {
    return cr_buf_printf(csv, error,
                         "server,configuration,request,worker,scheduled_s,"
                         "start_s,end_s,latency_ms,pairs,tokens,status,"
                         "error\n");
}

/* A reason on one line, without what would end its field. */
static void plain(const char *reason, char out[CR_REASON_BYTES]) {
    size_t n = 0;
    for (; reason[n] && n < CR_REASON_BYTES - 1; n++) {
        unsigned char c = (unsigned char)reason[n];
        out[n] = c < ' ' || c == ',' || c == '"' ? ' ' : reason[n];
    }
    out[n] = 0;
}

cr_status cr_results_put_samples(cr_buf *csv, size_t server,
                                 size_t configuration, const cr_load_result *r,
                                 cr_error *error) {
    cr_status status = CR_OK;
    for (size_t i = 0; i < r->n && status == CR_OK; i++) {
        const cr_sample *s = &r->samples[i];
        char scheduled[32] = "", reason[CR_REASON_BYTES] = "";
        double from = isnan(s->scheduled_s) ? s->start_s : s->scheduled_s;
        if (!isnan(s->scheduled_s))
            snprintf(scheduled, sizeof scheduled, "%.9f", s->scheduled_s);
        if (s->reason)
            plain(r->reasons[s->reason - 1], reason);
        status = cr_buf_printf(
            csv, error, "%zu,%zu,%llu,%u,%s,%.9f,%.9f,%.6f,%u,%u,%d,%s\n",
            server, configuration, (unsigned long long)s->request, s->worker,
            scheduled, s->start_s, s->end_s, (s->end_s - from) * 1e3, s->pairs,
            s->tokens, s->status, reason);
    }
    return status;
}
