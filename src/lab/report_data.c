/* Report data: requests.csv is sorted into its configurations, then each
 * figure is made of the requests, not taken from results.json. */
#include "lab/report_data.h"

#include "base/buf.h"
#include "base/mem.h"
#include "lab/report.h"
#include "model/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HEADER[] =
    "server,configuration,request,worker,scheduled_s,start_s,end_s,latency_ms,"
    "pairs,tokens,status,error";
enum { N_FIELDS = 12 };
static const double ROW_S = 0.5;

double cr_report_number(const json_t *json, const char *key) {
    const json_t *value = json_object_get(json, key);
    return json_is_number(value) ? json_number_value(value) : CR_UNKNOWN;
}

const char *cr_report_string(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "n/a";
}

/* ---- requests.csv ------------------------------------------------------- */

typedef struct csv {
    const char *path;
    char *at;
    uint64_t line;
    char *fields[N_FIELDS];
} csv;

/* Cuts the next line into fields. An error is the last field and may hold
 * commas. */
static cr_status next_line(csv *c, cr_error *error) {
    char *line = c->at, *end = strchr(line, '\n');
    c->line++;
    c->at = end ? end + 1 : line + strlen(line);
    if (end)
        *end = 0;
    for (int i = 0; i < N_FIELDS; i++) {
        c->fields[i] = line;
        char *comma = i + 1 < N_FIELDS ? strchr(line, ',') : NULL;
        if (i + 1 < N_FIELDS && !comma)
            return cr_fail_at(error, CR_ERR_INPUT, c->line, 0,
                              "%s:%llu: %d fields; %d are needed", c->path,
                              (unsigned long long)c->line, i + 1, N_FIELDS);
        if (comma) {
            *comma = 0;
            line = comma + 1;
        }
    }
    return CR_OK;
}

static cr_status field_number(const csv *c, int field, double *value,
                              cr_error *error) {
    char *end;
    *value = strtod(c->fields[field], &end);
    if (end == c->fields[field] || *end || !isfinite(*value))
        return cr_fail_at(error, CR_ERR_INPUT, c->line, 0,
                          "%s:%llu: field %d is '%.40s', which is no number",
                          c->path, (unsigned long long)c->line, field + 1,
                          c->fields[field]);
    return CR_OK;
}

static cr_report_config *find_config(cr_report *report, double server,
                                     double id) {
    const json_t *list = json_object_get(report->json, "servers");
    size_t at = 0;
    for (size_t s = 0; s < json_array_size(list); s++) {
        const json_t *one = json_array_get(list, s);
        size_t n = json_array_size(json_object_get(one, "configurations"));
        bool is_it = cr_report_number(one, "id") == server;
        for (size_t i = 0; i < n; i++, at++)
            if (is_it && cr_report_number(report->configs[at].json, "id") == id)
                return &report->configs[at];
    }
    return NULL;
}

static cr_status add_request(cr_report_config *config,
                             const cr_report_request *request,
                             cr_error *error) {
    size_t n = config->n_requests;
    if ((n & (n + 1)) == 0) { /* full at 0, 1, 3, 7, ... */
        size_t bytes = (2 * n + 1) * sizeof *request;
        cr_report_request *more = cr_realloc(config->requests, bytes);
        if (!more)
            return cr_fail_memory(error, bytes, "requests");
        config->requests = more;
    }
    config->requests[config->n_requests++] = *request;
    return CR_OK;
}

static cr_status take_request(cr_report *report, const csv *c,
                              cr_error *error) {
    static const int NUMBERS[] = {0, 1, 5, 6, 7, 8};
    double v[6];
    cr_status status = CR_OK;
    for (int i = 0; status == CR_OK && i < 6; i++)
        status = field_number(c, NUMBERS[i], &v[i], error);
    if (status != CR_OK)
        return status;
    cr_report_config *config = find_config(report, v[0], v[1]);
    if (!config)
        return cr_fail_at(error, CR_ERR_INPUT, c->line, 0,
                          "%s:%llu: server %.0f, configuration %.0f is not in "
                          "results.json",
                          c->path, (unsigned long long)c->line, v[0], v[1]);
    if (*c->fields[11]) {
        config->n_failed++;
        return CR_OK;
    }
    return add_request(config, &(cr_report_request){v[2], v[3], v[4], v[5]},
                       error);
}

static cr_status read_requests(cr_report *report, const char *path,
                               cr_error *error) {
    cr_buf buf;
    cr_buf_init(&buf, CR_REQUESTS_BYTES);
    cr_status status = cr_buf_read_file(&buf, path, error);
    csv c = {.path = path, .at = buf.data};
    size_t len = strlen(HEADER);
    if (status == CR_OK &&
        (!c.at || strncmp(c.at, HEADER, len) != 0 || c.at[len] != '\n'))
        status = cr_fail_at(error, CR_ERR_INPUT, 1, 0,
                            "%s:1: the header must be %s", path, HEADER);
    if (status == CR_OK) {
        c.at += len + 1;
        c.line = 1;
    }
    while (status == CR_OK && *c.at) {
        status = next_line(&c, error);
        if (status == CR_OK)
            status = take_request(report, &c, error);
    }
    cr_buf_fini(&buf);
    return status;
}

/* A run whose disk was full, or a file that was copied alone. */
static cr_status check_requests(const cr_report *report, const char *path,
                                cr_error *error) {
    for (size_t i = 0; i < report->n_configs; i++) {
        const cr_report_config *c = &report->configs[i];
        double told = cr_report_number(c->json, "requests");
        double there = (double)(c->n_requests + c->n_failed);
        if (told != there && !isnan(told)) /* both are counts */
            return cr_fail(error, CR_ERR_INPUT,
                           "%s: has %.0f requests of configuration %zu, "
                           "results.json beside it says %.0f: they are not of "
                           "one run",
                           path, there, i + 1, told);
    }
    return CR_OK;
}

/* ---- Figures ------------------------------------------------------------ */

static int by_end(const void *a, const void *b) {
    double x = ((const cr_report_request *)a)->end_s;
    double y = ((const cr_report_request *)b)->end_s;
    return (x > y) - (x < y);
}

/* The bucket of a latency: below P50, P75, P90, and the rest. */
static int bucket_of(const cr_spread *latency, double ms) {
    return ms < latency->p50   ? 0
           : ms < latency->p75 ? 1
           : ms < latency->p90 ? 2
                               : 3;
}

static void fill_buckets(cr_report_config *config, const double *latencies,
                         const double *rates) {
    for (size_t i = 0; i < config->n_requests; i++) {
        cr_report_bucket *b =
            &config->buckets[bucket_of(&config->latency, latencies[i])];
        b->min = b->n ? fmin(b->min, rates[i]) : rates[i];
        b->max = b->n ? fmax(b->max, rates[i]) : rates[i];
        b->mean += rates[i];
        b->n++;
    }
    for (int i = 0; i < CR_REPORT_BUCKETS; i++)
        config->buckets[i].mean /=
            config->buckets[i].n ? (double)config->buckets[i].n : 1.0;
}

static cr_status compute(cr_report_config *config, cr_error *error) {
    size_t n = config->n_requests;
    double *latencies = cr_calloc(2 * n + 1, sizeof *latencies);
    if (!latencies)
        return cr_fail_memory(error, 2 * n * sizeof *latencies, "figures");
    double *rates = latencies + n;
    if (n)
        qsort(config->requests, n, sizeof *config->requests, by_end);
    config->pairs = 0.0;
    for (size_t i = 0; i < n; i++) {
        const cr_report_request *r = &config->requests[i];
        latencies[i] = r->latency_ms;
        rates[i] =
            r->latency_ms > 0 ? r->pairs / (r->latency_ms / 1e3) : CR_UNKNOWN;
        config->pairs += r->pairs;
    }
    config->rate =
        config->seconds > 0 ? config->pairs / config->seconds : CR_UNKNOWN;
    cr_status status = cr_spread_of(latencies, n, &config->latency, error);
    if (status == CR_OK)
        status = cr_spread_of(rates, n, &config->throughput, error);
    fill_buckets(config, latencies, rates);
    config->correlation = cr_correlation(latencies, rates, n);
    cr_free(latencies);
    return status;
}

/* ---- Time series -------------------------------------------------------- */

/* What the server's own record says of the half second that ends at `row`. */
static void join_history(cr_report_row *row, const json_t *history) {
    static const struct {
        const char *key;
        cr_report_column column;
        double scale;
    } COLUMNS[] = {
        {"gpu_memory_bytes", CR_COLUMN_GPU_MEMORY, 1.0 / 1048576.0},
        {"gpu_utilization", CR_COLUMN_GPU_UTILIZATION, 1.0},
        {"cpu_percent", CR_COLUMN_CPU, 1.0},
        {"tokenize_ms", CR_COLUMN_TOKENIZE, 1.0},
        {"inference_ms", CR_COLUMN_INFERENCE, 1.0},
        {"queue_wait_ms", CR_COLUMN_QUEUE, 1.0},
        {"padding_percent", CR_COLUMN_PADDING, 1.0},
    };
    const json_t *found = NULL;
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *one = json_array_get(history, i);
        double t = cr_report_number(one, "t_s");
        if (t > row->at_s - ROW_S && t <= row->at_s)
            found = one;
    }
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++)
        row->values[COLUMNS[i].column] =
            cr_report_number(found, COLUMNS[i].key) * COLUMNS[i].scale;
}

/* The row of the half second from `first` on; returns the first request that
 * is behind it. The last row ends with the configuration, so that its rate is
 * not that of an arbitrarily short time. */
static size_t fill_row(const cr_report_config *config, size_t first, bool last,
                       cr_report_row *row) {
    double pairs = 0.0, latency = 0.0;
    double width = last ? config->seconds - (row->at_s - ROW_S) : ROW_S;
    size_t i = first;
    for (; i < config->n_requests &&
           (last || config->requests[i].end_s <= row->at_s);
         i++) {
        pairs += config->requests[i].pairs;
        latency += config->requests[i].latency_ms;
    }
    row->values[CR_COLUMN_THROUGHPUT] = width > 0 ? pairs / width : CR_UNKNOWN;
    row->values[CR_COLUMN_LATENCY] =
        i > first ? latency / (double)(i - first) : CR_UNKNOWN;
    join_history(row, json_object_get(config->json, "history"));
    return i;
}

static size_t rows_of(const cr_report_config *config) {
    double n = fmax(1.0, round(config->seconds / ROW_S));
    return config->seconds > 0 && n < 1e6 ? (size_t)n : 0;
}

static cr_status fill_rows(cr_report *report, cr_error *error) {
    size_t n = 0;
    for (size_t c = 0; c < report->n_configs; c++)
        n += rows_of(&report->configs[c]);
    report->rows = cr_calloc(n + 1, sizeof *report->rows);
    if (!report->rows)
        return cr_fail_memory(error, n * sizeof *report->rows, "a series");
    for (size_t c = 0; c < report->n_configs; c++) {
        size_t first = 0, n_rows = rows_of(&report->configs[c]);
        for (size_t i = 0; i < n_rows; i++) {
            cr_report_row *row = &report->rows[report->n_rows++];
            row->config = c;
            row->at_s = ROW_S * (double)(i + 1);
            first = fill_row(&report->configs[c], first, i + 1 == n_rows, row);
        }
    }
    return CR_OK;
}

static cr_status fill_columns(cr_report *report, cr_error *error) {
    cr_status status = CR_OK;
    double *values = cr_calloc(report->n_rows + 1, sizeof *values);
    if (!values)
        return cr_fail_memory(error, report->n_rows * sizeof *values, "rows");
    for (int c = 0; status == CR_OK && c < CR_N_COLUMNS; c++) {
        for (size_t i = 0; i < report->n_rows; i++)
            values[i] = report->rows[i].values[c];
        status =
            cr_spread_of(values, report->n_rows, &report->columns[c], error);
    }
    cr_free(values);
    return status;
}

/* ---- results.json ------------------------------------------------------- */

/* A value as JSON, cut to what there is room for. */
static void show(const json_t *value, char *text, size_t bytes) {
    size_t n = json_dumpb(value, text, bytes - 1, JSON_ENCODE_ANY);
    text[n < bytes - 1 ? n : bytes - 1] = 0;
    if (!value)
        snprintf(text, bytes, "n/a");
}

/* "dtype=int8, instances=2" */
static void write_settings(json_t *settings, char *text, size_t bytes) {
    const char *key;
    json_t *value;
    size_t used = 0;
    json_object_foreach(settings, key, value) {
        char shown[64];
        const char *word = json_string_value(value);
        show(value, shown, sizeof shown);
        if (used < bytes)
            used +=
                (size_t)snprintf(text + used, bytes - used, "%s%s=%s",
                                 used ? ", " : "", key, word ? word : shown);
    }
}

/* Behind the settings what an open loop offered: "rate=8.0/s poisson". Loads
 * that differ in it alone are other loads. */
static void add_rate(const json_t *json, char *text, size_t bytes) {
    size_t used = strlen(text);
    if (strcmp(cr_report_string(json, "mode"), "open") == 0)
        snprintf(text + used, bytes - used, "%srate=%.1f/s %s",
                 used ? ", " : "", cr_report_number(json, "rate_per_s"),
                 cr_report_string(json, "arrival"));
}

static void take_config(cr_report_config *config, const json_t *server,
                        const json_t *json) {
    config->json = json;
    config->accuracy = json_object_get(server, "accuracy");
    config->batch_size = cr_report_number(json, "batch_size");
    config->concurrency = cr_report_number(json, "concurrency");
    config->seconds = cr_report_number(json, "duration_s");
    write_settings(json_object_get(server, "settings"), config->settings,
                   sizeof config->settings);
    add_rate(json, config->settings, sizeof config->settings);
}

static cr_status take_configs(cr_report *report, cr_error *error) {
    const json_t *list = json_object_get(report->json, "servers");
    size_t n = 0;
    for (size_t s = 0; s < json_array_size(list); s++)
        n += json_array_size(
            json_object_get(json_array_get(list, s), "configurations"));
    report->swept = json_array_size(list) > 1;
    report->configs = cr_calloc(n + 1, sizeof *report->configs);
    if (!report->configs)
        return cr_fail_memory(error, n * sizeof *report->configs, "results");
    for (size_t s = 0; s < json_array_size(list); s++) {
        const json_t *server = json_array_get(list, s);
        const json_t *own = json_object_get(server, "configurations");
        for (size_t i = 0; i < json_array_size(own); i++) {
            cr_report_config *config = &report->configs[report->n_configs++];
            take_config(config, server, json_array_get(own, i));
            report->swept = report->swept || *config->settings;
        }
    }
    return CR_OK;
}

/* A text on one line. */
static void copy(char *to, size_t bytes, const char *text) {
    snprintf(to, bytes, "%s", text);
    for (; *to; to++)
        if ((unsigned char)*to < ' ')
            *to = ' ';
}

/* A text of the experiment, or a list that was swept, joined. */
static void copy_field(char *to, size_t bytes, const json_t *experiment,
                       const char *key) {
    const json_t *value = json_object_get(experiment, key);
    size_t used = 0;
    copy(to, bytes, cr_report_string(experiment, key));
    for (size_t i = 0; i < json_array_size(value) && used < bytes; i++) {
        const char *word = json_string_value(json_array_get(value, i));
        used += (size_t)snprintf(to + used, bytes - used, "%s%s", i ? ", " : "",
                                 word ? word : "?");
    }
}

/* A number, or the list of what was swept. */
static void write_value(const json_t *json, const char *key, char *text,
                        size_t bytes) {
    const json_t *value = json_object_get(json, key);
    show(value, text, bytes);
}

static void take_batching(cr_report *report, const json_t *batching) {
    char most[64], window[64];
    const json_t *enabled = json_object_get(batching, "enabled");
    write_value(batching,
                json_object_get(batching, "max_batch_size") ? "max_batch_size"
                                                            : "max_batch",
                most, sizeof most);
    write_value(batching, "timeout_ms", window, sizeof window);
    if (!json_is_object(batching))
        copy(report->batching, sizeof report->batching, "n/a");
    else if (json_is_false(enabled))
        copy(report->batching, sizeof report->batching, "disabled");
    else if (json_is_array(enabled))
        snprintf(report->batching, sizeof report->batching,
                 "on and off (max_batch=%s, timeout=%sms)", most, window);
    else
        snprintf(report->batching, sizeof report->batching,
                 "enabled (max_batch=%s, timeout=%sms)", most, window);
}

static void take_head(cr_report *report) {
    const json_t *json = report->json;
    const json_t *experiment = json_object_get(json, "experiment");
    copy(report->name, sizeof report->name, cr_report_string(json, "name"));
    copy(report->description, sizeof report->description,
         cr_report_string(json, "description"));
    copy(report->timestamp, sizeof report->timestamp,
         cr_report_string(json, "started_at"));
    /* 2025-12-26T02:21:54Z as 2025-12-26 02:21:54 */
    if (strlen(report->timestamp) >= 19 && report->timestamp[10] == 'T') {
        report->timestamp[10] = ' ';
        report->timestamp[19] = 0;
    }
    copy_field(report->model, sizeof report->model, experiment, "model");
    copy_field(report->backend, sizeof report->backend, experiment, "backend");
    copy_field(report->device, sizeof report->device, experiment, "device");
    take_batching(report, json_object_get(experiment, "batching"));
}

static cr_status read_json(cr_report *report, const char *dir,
                           cr_error *error) {
    cr_json json = {0};
    cr_status status =
        cr_json_load(&json, dir, "results.json", CR_RESULTS_BYTES, 0, error);
    if (status == CR_OK && !json.root)
        status = cr_fail(error, CR_ERR_INPUT,
                         "%s: there is no results.json; crossrank bench "
                         "writes one",
                         dir);
    if (status == CR_OK) {
        const char *schema = cr_report_string(json.root, "schema");
        if (strcmp(schema, "crossrank-results/1") != 0)
            status = cr_fail(error, CR_ERR_INPUT,
                             "%s/results.json: \"schema\" is \"%s\"; "
                             "supported: \"crossrank-results/1\"",
                             dir, schema);
    }
    if (status == CR_OK)
        report->json = json_incref(json.root);
    cr_json_fini(&json);
    return status;
}

cr_status cr_report_read(cr_report *report, const char *dir, cr_error *error) {
    char path[4096];
    *report = (cr_report){0};
    snprintf(path, sizeof path, "%s/requests.csv", dir);
    cr_status status = read_json(report, dir, error);
    if (status == CR_OK) {
        take_head(report);
        status = take_configs(report, error);
    }
    if (status == CR_OK)
        status = read_requests(report, path, error);
    if (status == CR_OK)
        status = check_requests(report, path, error);
    for (size_t c = 0; status == CR_OK && c < report->n_configs; c++)
        status = compute(&report->configs[c], error);
    if (status == CR_OK)
        status = fill_rows(report, error);
    return status == CR_OK ? fill_columns(report, error) : status;
}

size_t cr_report_warnings(const cr_report *r,
                          char texts[CR_REPORT_WARNINGS][CR_REPORT_TEXT]) {
    size_t n = 0;
    bool busy = false;
    double resent = 0;
    double there = (double)json_array_size(json_object_get(r->json, "servers"));
    double planned = cr_report_number(r->json, "planned_servers");
    for (size_t i = 0; i < r->n_configs; i++) {
        const json_t *json = r->configs[i].json;
        double more = cr_report_number(json, "resent");
        busy = busy || cr_report_number(json, "client_cpu_share") > 0.5;
        resent += isnan(more) ? 0 : more;
    }
    if (json_is_true(json_object_get(r->json, "interrupted")))
        snprintf(texts[n++], CR_REPORT_TEXT,
                 "the run was interrupted: this is what was measured before.");
    if (planned > there)
        snprintf(texts[n++], CR_REPORT_TEXT,
                 "%.0f of the %.0f servers of the sweep were measured.", there,
                 planned);
    if (resent > 0)
        snprintf(texts[n++], CR_REPORT_TEXT,
                 "%.0f requests were sent a second time, as the server had "
                 "closed the connection without an answer.",
                 resent);
    if (busy)
        snprintf(texts[n++], CR_REPORT_TEXT,
                 "the load generator used more than half of the CPU: the "
                 "figures may be its own limit, not the server's.");
    return n;
}

void cr_report_fini(cr_report *report) {
    for (size_t c = 0; c < report->n_configs; c++)
        cr_free(report->configs[c].requests);
    cr_free(report->configs);
    cr_free(report->rows);
    json_decref(report->json);
    *report = (cr_report){0};
}
