/* Report text: the seed's part. A test holds every byte of it to the seed. */
#include "lab/report_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cr_report_put(cr_report_out *out, const char *format, ...) {
    char text[2048];
    va_list arguments;
    if (out->status != CR_OK)
        return;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t len = n < 0 ? 0 : (size_t)n;
    out->status = cr_buf_append(
        out->buf, text, len < sizeof text ? len : sizeof text - 1, out->error);
}

void cr_report_put_number(cr_report_out *out, double value, int decimals,
                          const char *unit) {
    if (isnan(value))
        cr_report_put(out, "n/a");
    else
        cr_report_put(out, "%.*f%s", decimals, value, unit);
}

void cr_report_put_cell(cr_report_out *out, double value, int decimals,
                        const char *unit) {
    cr_report_put(out, " ");
    cr_report_put_number(out, value, decimals, unit);
    cr_report_put(out, " |");
}

static void put_head(cr_report_out *out, const cr_report *r) {
    cr_report_put(out, "# %s\n\n", r->name);
    if (*r->description)
        cr_report_put(out, "_%s_\n\n", r->description);
    cr_report_put(out, "**Timestamp:** %s\n\n", r->timestamp);
    cr_report_put(out, "**Model:** `%s`\n\n", r->model);
    cr_report_put(out, "**Backend:** `%s` | **Device:** `%s`\n\n", r->backend,
                  r->device);
    cr_report_put(out, "**Dynamic Batching:** %s\n\n", r->batching);
}

static void put_summary(cr_report_out *out, const cr_report *r) {
    cr_report_put(out, "## Results Summary\n\n");
    cr_report_put(out,
                  "| Batch | Conc | Pairs | Time(s) | Lat Avg | Lat P95 | "
                  "Lat P99 | TP Avg | TP P95 |%s\n",
                  r->swept ? " Settings |" : "");
    cr_report_put(out,
                  "|-------|------|-------|---------|---------|---------|"
                  "---------|--------|--------|%s\n",
                  r->swept ? "----------|" : "");
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        cr_report_put(out, "|");
        cr_report_put_cell(out, c->batch_size, 0, "");
        cr_report_put_cell(out, c->concurrency, 0, "");
        cr_report_put_cell(out, c->pairs, 0, "");
        cr_report_put_cell(out, c->seconds, 2, "");
        cr_report_put_cell(out, c->latency.mean, 1, "ms");
        cr_report_put_cell(out, c->latency.p95, 1, "ms");
        cr_report_put_cell(out, c->latency.p99, 1, "ms");
        cr_report_put_cell(out, c->rate, 1, "");
        cr_report_put_cell(out, c->throughput.p95, 1, "");
        if (r->swept)
            cr_report_put(out, " %s |", c->settings);
        cr_report_put(out, "\n");
    }
    cr_report_put(out, "\n");
}

static void put_metric(cr_report_out *out, const char *name, double value) {
    cr_report_put(out, "| %s |", name);
    cr_report_put_cell(out, value, 2, "");
    cr_report_put(out, "\n");
}

static void put_spread(cr_report_out *out, const char *title,
                       const cr_spread *s, double average) {
    cr_report_put(out, "#### %s\n| Metric | Value |\n|--------|-------|\n",
                  title);
    put_metric(out, "Average", average);
    put_metric(out, "Min", s->min);
    put_metric(out, "Max", s->max);
    put_metric(out, "Std Dev", s->std);
    put_metric(out, "P50", s->p50);
    put_metric(out, "P90", s->p90);
    put_metric(out, "P95", s->p95);
    put_metric(out, "P99", s->p99);
    cr_report_put(out, "\n");
}

/* A bucket of no requests is left out, as the seed does. */
static void put_buckets(cr_report_out *out, const cr_report_config *c) {
    const cr_spread *l = &c->latency;
    char names[CR_REPORT_BUCKETS][64];
    snprintf(names[0], sizeof names[0], "< %.1fms (P50)", l->p50);
    snprintf(names[1], sizeof names[1], "%.1f-%.1fms (P50-P75)", l->p50,
             l->p75);
    snprintf(names[2], sizeof names[2], "%.1f-%.1fms (P75-P90)", l->p75,
             l->p90);
    snprintf(names[3], sizeof names[3], ">= %.1fms (P90+)", l->p90);
    cr_report_put(out, "#### Latency vs Throughput Analysis\n\n");
    cr_report_put(out,
                  "| Latency Range | Avg Throughput | Min Throughput | Max "
                  "Throughput | Count |\n");
    cr_report_put(out, "|---------------|----------------|----------------|"
                       "----------------|-------|\n");
    for (int i = 0; i < CR_REPORT_BUCKETS; i++) {
        const cr_report_bucket *b = &c->buckets[i];
        if (b->n)
            cr_report_put(out, "| %s | %.2f | %.2f | %.2f | %zu |\n", names[i],
                          b->mean, b->min, b->max, b->n);
    }
    cr_report_put(out, "\n**Correlation:** ");
    cr_report_put_number(out, c->correlation, 3, "");
    cr_report_put(out, " (negative correlation expected: lower latency = "
                       "higher throughput)\n\n");
}

static void put_details(cr_report_out *out, const cr_report *r) {
    cr_report_put(out, "## Detailed Metrics\n\n");
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        cr_report_put(out, "### Config %zu: batch=%.0f, concurrency=%.0f",
                      i + 1, c->batch_size, c->concurrency);
        if (r->swept)
            cr_report_put(out, ", %s", c->settings);
        cr_report_put(out, "\n\n**Total:** %.0f pairs in ", c->pairs);
        cr_report_put_number(out, c->seconds, 2, "s");
        cr_report_put(out, "\n\n");
        put_spread(out, "Latency (ms)", &c->latency, c->latency.mean);
        put_spread(out, "Throughput (pairs/s)", &c->throughput, c->rate);
        put_buckets(out, c);
    }
}

static void put_best(cr_report_out *out, const cr_report *r, const char *name,
                     double value, const char *unit,
                     const cr_report_config *c) {
    cr_report_put(out, "| %s |", name);
    cr_report_put_cell(out, value, 2, unit);
    if (c)
        cr_report_put(out, " batch=%.0f, conc=%.0f%s%s |\n", c->batch_size,
                      c->concurrency, r->swept ? ", " : "",
                      r->swept ? c->settings : "");
    else
        cr_report_put(out, " all configs |\n");
}

static void put_overall(cr_report_out *out, const cr_report *r) {
    const cr_report_config *fastest = NULL, *quickest = NULL;
    double rates = 0.0, latencies = 0.0, n = 0.0;
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        if (isnan(c->rate) || isnan(c->latency.mean))
            continue;
        if (!fastest || c->rate > fastest->rate)
            fastest = c;
        if (!quickest || c->latency.mean < quickest->latency.mean)
            quickest = c;
        rates += c->rate;
        latencies += c->latency.mean;
        n++;
    }
    cr_report_put(out, "## Overall Summary\n\n| Metric | Value | Config |\n"
                       "|--------|-------|--------|\n");
    put_best(out, r, "Best Throughput", fastest ? fastest->rate : CR_UNKNOWN,
             " p/s", fastest);
    put_best(out, r, "Best Latency",
             quickest ? quickest->latency.mean : CR_UNKNOWN, "ms", quickest);
    put_best(out, r, "Avg Throughput", n > 0 ? rates / n : CR_UNKNOWN, " p/s",
             NULL);
    put_best(out, r, "Avg Latency", n > 0 ? latencies / n : CR_UNKNOWN, "ms",
             NULL);
    cr_report_put(out, "\n");
}

static void put_dashboard(cr_report_out *out, const cr_report *r) {
    static const struct {
        const char *name;
        cr_report_column column;
    } ROWS[] = {
        {"GPU Memory (MB)", CR_COLUMN_GPU_MEMORY},
        {"GPU Utilization (%)", CR_COLUMN_GPU_UTILIZATION},
        {"CPU Usage (%)", CR_COLUMN_CPU},
        {"Tokenization (ms)", CR_COLUMN_TOKENIZE},
        {"Inference (ms)", CR_COLUMN_INFERENCE},
        {"Queue Wait (ms)", CR_COLUMN_QUEUE},
        {"Padding Waste (%)", CR_COLUMN_PADDING},
    };
    cr_report_put(out, "## Dashboard Metrics Summary\n\n"
                       "| Metric | Avg | Min | Max | P50 | P95 |\n"
                       "|--------|-----|-----|-----|-----|-----|\n");
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const cr_spread *s = &r->columns[ROWS[i].column];
        cr_report_put(out, "| %s |", ROWS[i].name);
        cr_report_put_cell(out, s->mean, 1, "");
        cr_report_put_cell(out, s->min, 1, "");
        cr_report_put_cell(out, s->max, 1, "");
        cr_report_put_cell(out, s->p50, 1, "");
        cr_report_put_cell(out, s->p95, 1, "");
        cr_report_put(out, "\n");
    }
    cr_report_put(out, "\n");
}

static void put_series(cr_report_out *out, const cr_report *r) {
    cr_report_put(out,
                  "## Dashboard Time-Series Data\n\n| Index | GPU Mem (MB) "
                  "| GPU Util (%%) | CPU (%%) | Latency (ms) | Throughput "
                  "| Tokenize (ms) | Inference (ms) | Queue (ms) | "
                  "Padding (%%) |\n");
    cr_report_put(out, "|-----|-----|-----|-----|-----|-----|-----|-----|-----|"
                       "-----|\n");
    for (size_t i = 0; i < r->n_rows; i++) {
        cr_report_put(out, "| %zu |", i);
        for (int c = 0; c < CR_N_COLUMNS; c++)
            cr_report_put_cell(out, r->rows[i].values[c],
                               c == CR_COLUMN_THROUGHPUT ? 0 : 1, "");
        cr_report_put(out, "\n");
    }
}

void cr_report_put_seed(cr_report_out *out, const cr_report *report) {
    put_head(out, report);
    put_summary(out, report);
    put_details(out, report);
    put_overall(out, report);
    put_dashboard(out, report);
    put_series(out, report);
}
