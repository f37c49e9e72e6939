/* Report text: the page. web/report.html with Chart.js and the figures put in
 * where it says so; the page's own script draws them. */
#include "lab/report_text.h"

#include "base/mem.h"
#include "web_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of each configuration's latencies, so that a page stays small. */
enum { MAX_SAMPLES = 500 };

static void put_bytes(cr_report_out *out, const char *bytes, size_t len) {
    if (out->status == CR_OK)
        out->status = cr_buf_append(out->buf, bytes, len, out->error);
}

/* JSON within <script>: no "<" may stand there. */
static int put_json_bytes(const char *bytes, size_t len, void *to) {
    cr_report_out *out = to;
    size_t from = 0;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] == '<') {
            put_bytes(out, bytes + from, i - from);
            put_bytes(out, "\\u003c", 6);
            from = i + 1;
        }
    put_bytes(out, bytes + from, len - from);
    return out->status == CR_OK ? 0 : -1;
}

static void put_json(cr_report_out *out, const json_t *json) {
    if (!json)
        cr_report_put(out, "null");
    else if (json_dump_callback(json, put_json_bytes, out,
                                JSON_COMPACT | JSON_ENCODE_ANY) &&
             out->status == CR_OK)
        out->status = cr_fail_memory(out->error, 0, "a page");
}

static void put_real(cr_report_out *out, double value) {
    if (isfinite(value))
        cr_report_put(out, "%.6g", value);
    else
        cr_report_put(out, "null");
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorted latencies, evenly drawn where there are more than MAX_SAMPLES. */
static void put_latencies(cr_report_out *out, const cr_report_config *c) {
    size_t n = c->n_requests, shown = n < MAX_SAMPLES ? n : MAX_SAMPLES;
    double *sorted = cr_calloc(n + 1, sizeof *sorted);
    if (!sorted) {
        out->status = cr_fail_memory(out->error, n * sizeof *sorted, "a page");
        return;
    }
    for (size_t i = 0; i < n; i++)
        sorted[i] = c->requests[i].latency_ms;
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    for (size_t i = 0; i < shown; i++) {
        double share = shown > 1 ? (double)i / (double)(shown - 1) : 0.5;
        cr_report_put(out, "%s", i ? "," : "");
        put_real(out, cr_percentile(sorted, n, share));
    }
    cr_free(sorted);
}

static void put_config(cr_report_out *out, const cr_report_config *c) {
    static const char *const NAMES[] = {"mean", "min", "p50",
                                        "p95",  "p99", "max"};
    const double values[] = {c->latency.mean, c->latency.min, c->latency.p50,
                             c->latency.p95,  c->latency.p99, c->latency.max};
    cr_report_put(out,
                  "{\"batch\":%.0f,\"concurrency\":%.0f,\"pairs\":%.0f,"
                  "\"failed\":%zu,\"settings\":",
                  c->batch_size, c->concurrency, c->pairs, c->n_failed);
    json_t *settings = json_string(c->settings);
    put_json(out, settings);
    json_decref(settings);
    cr_report_put(out, ",\"rate\":");
    put_real(out, c->rate);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        cr_report_put(out, ",\"%s\":", NAMES[i]);
        put_real(out, values[i]);
    }
    cr_report_put(out, ",\"stages\":");
    put_json(out,
             json_object_get(json_object_get(c->json, "server"), "stages_ms"));
    cr_report_put(out, ",\"accuracy\":");
    put_json(out, c->accuracy);
    cr_report_put(out, ",\"latencies\":[");
    put_latencies(out, c);
    cr_report_put(out, "]}");
}

static void put_rows(cr_report_out *out, const cr_report *r) {
    for (size_t i = 0; i < r->n_rows; i++) {
        const cr_report_row *row = &r->rows[i];
        cr_report_put(out, "%s[%zu,", i ? "," : "", row->config);
        put_real(out, row->values[CR_COLUMN_LATENCY]);
        cr_report_put(out, ",");
        put_real(out, row->values[CR_COLUMN_THROUGHPUT]);
        cr_report_put(out, ",");
        put_real(out, row->values[CR_COLUMN_CPU]);
        cr_report_put(out, "]");
    }
}

static void put_data(cr_report_out *out, const cr_report *r) {
    static const char *const KEYS[] = {"name",    "description", "started_at",
                                       "machine", "dataset",     "accuracy"};
    cr_report_put(out, "{");
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        cr_report_put(out, "\"%s\":", KEYS[i]);
        put_json(out, json_object_get(r->json, KEYS[i]));
        cr_report_put(out, ",");
    }
    json_t *line =
        json_pack("{s:s,s:s,s:s,s:s}", "model", r->model, "backend", r->backend,
                  "device", r->device, "batching", r->batching);
    cr_report_put(out, "\"line\":");
    put_json(out, line);
    json_decref(line);
    char texts[CR_REPORT_WARNINGS][CR_REPORT_TEXT];
    json_t *warnings = json_array();
    size_t n = cr_report_warnings(r, texts);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(warnings, json_string(texts[i]));
    cr_report_put(out, ",\"warnings\":");
    put_json(out, warnings);
    json_decref(warnings);
    cr_report_put(out, ",\"configurations\":[");
    for (size_t i = 0; i < r->n_configs; i++) {
        cr_report_put(out, "%s", i ? "," : "");
        put_config(out, &r->configs[i]);
    }
    cr_report_put(out, "],\"rows\":[");
    put_rows(out, r);
    cr_report_put(out, "]}");
}

/* Where `mark` stands in text[len], or len. */
static size_t find_mark(const char *text, size_t len, const char *mark) {
    size_t n = strlen(mark);
    for (size_t i = 0; i + n <= len; i++)
        if (memcmp(text + i, mark, n) == 0)
            return i;
    return len;
}

/* A program that was built without Chart.js writes a page without charts,
 * which says so. */
void cr_report_put_html(cr_report_out *out, const cr_report *report) {
    static const char CHARTS[] = "/*CHARTS*/", DATA[] = "/*DATA*/";
    const cr_web_file *page = cr_web_find("report.html");
    const cr_web_file *charts = cr_web_find("dashboard-chart.js");
    const char *text = (const char *)page->data;
    size_t a = find_mark(text, page->len, CHARTS);
    size_t b = find_mark(text, page->len, DATA);
    if (out->status != CR_OK)
        return;
    put_bytes(out, text, a);
    if (charts)
        put_bytes(out, (const char *)charts->data, charts->len);
    a += sizeof CHARTS - 1;
    put_bytes(out, text + a, b - a);
    put_data(out, report);
    b += sizeof DATA - 1;
    put_bytes(out, text + b, page->len - b);
}
