/* Metrics: tables made from the lists, and the text that Prometheus reads. */
#include "metrics/metrics.h"

#include <string.h>

#define PREFIX "crossrank_"

typedef struct scalar_row {
    const char *name, *label, *help;
    double unit;
} scalar_row;

typedef struct histogram_row {
    const char *name, *help;
    uint32_t first, last, step; /* powers of two */
    double unit;
} histogram_row;

#define SCALAR(id, name, label, help) {name, label, help, 1},
#define TIME_SCALAR(id, name, label, help) {name, label, help, 1e-9},
#define SIZE_ROW(id, name, help, first, last, step)                            \
    {name, help, first, last, step, 1},
#define TIME_ROW(id, name, help, first, last, step)                            \
    {name, help, first, last, step, 1e-9},

static const scalar_row COUNTERS[CR_N_COUNTERS] = {
    CR_COUNTER_LIST(SCALAR) CR_TIME_COUNTER_LIST(TIME_SCALAR)};
static const scalar_row GAUGES[CR_N_GAUGES] = {
    CR_GAUGE_LIST(SCALAR) CR_TIME_GAUGE_LIST(TIME_SCALAR)};
static const histogram_row HISTOGRAMS[CR_N_HISTOGRAMS] = {
    CR_TIME_HISTOGRAM_LIST(TIME_ROW) CR_SIZE_HISTOGRAM_LIST(SIZE_ROW)};

void cr_metrics_init(cr_metrics *m) {
    for (size_t i = 0; i < CR_N_GAUGES; i++)
        atomic_init(&m->gauges[i], 0);
    cr_metrics_reset(m);
}

void cr_metrics_reset(cr_metrics *m) {
    for (size_t i = 0; i < CR_N_COUNTERS; i++)
        atomic_store(&m->counters[i], 0);
    for (size_t i = 0; i < CR_N_HISTOGRAMS; i++)
        cr_histogram_reset(&m->histograms[i]);
}

void cr_metrics_count(cr_metrics *m, cr_counter_id id, uint64_t more) {
    atomic_fetch_add_explicit(&m->counters[id], more, memory_order_relaxed);
}

void cr_metrics_set_counter(cr_metrics *m, cr_counter_id id, uint64_t value) {
    atomic_store_explicit(&m->counters[id], value, memory_order_relaxed);
}

uint64_t cr_metrics_counter(const cr_metrics *m, cr_counter_id id) {
    return atomic_load_explicit(&m->counters[id], memory_order_relaxed);
}

void cr_metrics_move(cr_metrics *m, cr_gauge_id id, int64_t by) {
    atomic_fetch_add_explicit(&m->gauges[id], by, memory_order_relaxed);
}

void cr_metrics_set(cr_metrics *m, cr_gauge_id id, int64_t value) {
    atomic_store_explicit(&m->gauges[id], value, memory_order_relaxed);
}

int64_t cr_metrics_gauge(const cr_metrics *m, cr_gauge_id id) {
    return atomic_load_explicit(&m->gauges[id], memory_order_relaxed);
}

void cr_metrics_observe(cr_metrics *m, cr_histogram_id id, uint64_t value) {
    cr_histogram_add(&m->histograms[id], value);
}

cr_summary cr_metrics_summary(const cr_metrics *m, cr_histogram_id id) {
    const cr_histogram *h = &m->histograms[id];
    cr_summary s = {.count = cr_histogram_count(h),
                    .sum = atomic_load(&h->sum),
                    .p50 = cr_histogram_quantile(h, 0.50),
                    .p95 = cr_histogram_quantile(h, 0.95),
                    .p99 = cr_histogram_quantile(h, 0.99)};
    if (s.count)
        s.mean = (double)s.sum / (double)s.count;
    return s;
}

/* ---- Prometheus' text --------------------------------------------------- */

static cr_status write_head(cr_buf *out, const char *name, const char *help,
                            const char *type, cr_error *error) {
    return cr_buf_printf(out, error,
                         "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n",
                         name, help, name, type);
}

static cr_status write_scalars(cr_buf *out, const scalar_row *rows, size_t n,
                               const char *type, const double *values,
                               cr_error *error) {
    cr_status status = CR_OK;
    for (size_t i = 0; status == CR_OK && i < n; i++) {
        const scalar_row *r = &rows[i];
        bool again = i && strcmp(rows[i - 1].name, r->name) == 0;
        if (!again)
            status = write_head(out, r->name, r->help, type, error);
        if (status == CR_OK)
            status = cr_buf_printf(out, error, PREFIX "%s%s%s%s %.15g\n",
                                   r->name, *r->label ? "{" : "", r->label,
                                   *r->label ? "}" : "", values[i] * r->unit);
    }
    return status;
}

static cr_status write_histogram(cr_buf *out, const histogram_row *r,
                                 const cr_histogram *h, cr_error *error) {
    cr_status status = write_head(out, r->name, r->help, "histogram", error);
    for (uint32_t p = r->first; status == CR_OK && p <= r->last; p += r->step)
        status =
            cr_buf_printf(out, error, PREFIX "%s_bucket{le=\"%.9g\"} %llu\n",
                          r->name, (double)(UINT64_C(1) << p) * r->unit,
                          (unsigned long long)cr_histogram_count_to(h, p));
    unsigned long long count = cr_histogram_count(h);
    if (status == CR_OK)
        status = cr_buf_printf(out, error,
                               PREFIX "%s_bucket{le=\"+Inf\"} %llu\n" PREFIX
                                      "%s_sum %.15g\n" PREFIX "%s_count %llu\n",
                               r->name, count, r->name,
                               (double)atomic_load(&h->sum) * r->unit, r->name,
                               count);
    return status;
}

cr_status cr_metrics_write(const cr_metrics *m, cr_buf *out, cr_error *error) {
    double counters[CR_N_COUNTERS], gauges[CR_N_GAUGES];
    for (size_t i = 0; i < CR_N_COUNTERS; i++)
        counters[i] = (double)cr_metrics_counter(m, (cr_counter_id)i);
    for (size_t i = 0; i < CR_N_GAUGES; i++)
        gauges[i] = (double)cr_metrics_gauge(m, (cr_gauge_id)i);
    cr_status status =
        write_scalars(out, COUNTERS, CR_N_COUNTERS, "counter", counters, error);
    if (status == CR_OK)
        status =
            write_scalars(out, GAUGES, CR_N_GAUGES, "gauge", gauges, error);
    for (size_t i = 0; status == CR_OK && i < CR_N_HISTOGRAMS; i++)
        status = write_histogram(out, &HISTOGRAMS[i], &m->histograms[i], error);
    return status;
}
