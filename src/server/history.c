/* The history: rates from differences of counters. */
#include "server/history.h"

#include <math.h>
#include <string.h>

static uint64_t answered(const cr_metrics *m) {
    return cr_metrics_counter(m, CR_COUNT_RESPONSES_2XX) +
           cr_metrics_counter(m, CR_COUNT_RESPONSES_4XX) +
           cr_metrics_counter(m, CR_COUNT_RESPONSES_5XX);
}

/* What a counter grew by since last time, by the second. A counter that was
 * reset has grown from zero. */
static double rate(uint64_t *last, uint64_t now, double seconds) {
    uint64_t more = now >= *last ? now - *last : now;
    *last = now;
    return seconds > 0 ? (double)more / seconds : 0;
}

/* CPU time, of a clock that a reset leaves alone: for a moment its counter says
 * 0, which is no time. */
static double cpu_rate(cr_history *h, const cr_metrics *m, double seconds) {
    uint64_t now = cr_metrics_counter(m, CR_COUNT_CPU);
    return now < h->cpu_ns ? 0 : rate(&h->cpu_ns, now, seconds) * 1e-9;
}

/* The mean of what came into a histogram since last time. */
static double mean(cr_history *h, const cr_metrics *m, cr_histogram_id id,
                   double unit) {
    cr_summary s = cr_metrics_summary(m, id);
    bool reset = s.count < h->seen[id].count;
    uint64_t n = s.count - (reset ? 0 : h->seen[id].count);
    uint64_t sum = s.sum - (reset ? 0 : h->seen[id].sum);
    h->seen[id].count = s.count;
    h->seen[id].sum = s.sum;
    return n ? (double)sum * unit / (double)n : (double)NAN;
}

static void add_means(cr_history *h, const cr_metrics *m, cr_history_row *r) {
    r->request_ms = mean(h, m, CR_HISTOGRAM_REQUEST, 1e-6);
    r->tokenization_ms = mean(h, m, CR_HISTOGRAM_TOKENIZATION, 1e-6);
    r->queue_wait_ms = mean(h, m, CR_HISTOGRAM_QUEUE, 1e-6);
    r->inference_ms = mean(h, m, CR_HISTOGRAM_INFERENCE, 1e-6);
    r->batch_pairs = mean(h, m, CR_HISTOGRAM_BATCH_PAIRS, 1);
    r->group_tokens = mean(h, m, CR_HISTOGRAM_GROUP_TOKENS, 1);
}

void cr_history_add(cr_history *h, const cr_metrics *m, int64_t now_ns,
                    int64_t started_ns) {
    double s = h->last_ns ? (double)(now_ns - h->last_ns) * 1e-9 : 0;
    double lanes = (double)cr_metrics_gauge(m, CR_GAUGE_LANES);
    cr_history_row *r = &h->rows[h->n % CR_HISTORY_ROWS];
    h->last_ns = now_ns;
    *r = (cr_history_row){
        .at_s = (double)(now_ns - started_ns) * 1e-9,
        .requests_per_s = rate(&h->requests, answered(m), s),
        .pairs_per_s =
            rate(&h->pairs, cr_metrics_counter(m, CR_COUNT_PAIRS), s),
        .tokens_per_s =
            rate(&h->tokens, cr_metrics_counter(m, CR_COUNT_TOKENS_REAL), s),
        .refused_per_s = rate(
            &h->refused, cr_metrics_counter(m, CR_COUNT_REFUSED_OVERLOAD), s),
        .queue_pairs = (double)cr_metrics_gauge(m, CR_GAUGE_QUEUE_PAIRS),
        .queue_tokens = (double)cr_metrics_gauge(m, CR_GAUGE_QUEUE_TOKENS),
        .queue_age_s = (double)cr_metrics_gauge(m, CR_GAUGE_QUEUE_AGE) * 1e-9,
        .lanes_busy =
            rate(&h->busy_ns, cr_metrics_counter(m, CR_COUNT_LANE_BUSY), s) *
            1e-9 / (lanes > 0 ? lanes : 1),
        .cpu = cpu_rate(h, m, s),
        .memory_bytes = (double)cr_metrics_gauge(m, CR_GAUGE_RESIDENT),
        .in_flight = (double)cr_metrics_gauge(m, CR_GAUGE_IN_FLIGHT)};
    double padded =
        rate(&h->padded, cr_metrics_counter(m, CR_COUNT_TOKENS_PADDED), s);
    double computed = r->tokens_per_s + padded;
    r->padding = computed > 0 ? padded / computed : (double)NAN;
    add_means(h, m, r);
    h->n++;
}

void cr_history_reset(cr_history *h, int64_t now_ns) {
    uint64_t cpu_ns = h->cpu_ns; /* of a clock that goes on */
    memset(h, 0, sizeof *h);
    h->cpu_ns = cpu_ns;
    h->last_ns = now_ns;
}

size_t cr_history_copy(const cr_history *h, cr_history_row *rows, size_t max) {
    uint64_t kept = h->n < CR_HISTORY_ROWS ? h->n : CR_HISTORY_ROWS;
    size_t n = kept < max ? (size_t)kept : max;
    for (size_t i = 0; i < n; i++)
        rows[i] = h->rows[(h->n - n + i) % CR_HISTORY_ROWS];
    return n;
}

static void put_mean(cr_json_out *out, double value) {
    if (isnan(value))
        cr_json_put(out, ",null");
    else
        cr_json_put(out, ",%.4g", value);
}

static void write_row(const cr_history_row *r, cr_json_out *out) {
    cr_json_put(out,
                "[%.3f,%.1f,%.1f,%.0f,%.1f,%.0f,%.0f,%.4f,%.3f,%.3f,"
                "%.0f,%.0f",
                r->at_s, r->requests_per_s, r->pairs_per_s, r->tokens_per_s,
                r->refused_per_s, r->queue_pairs, r->queue_tokens,
                r->queue_age_s, r->lanes_busy, r->cpu, r->memory_bytes,
                r->in_flight);
    const double means[] = {
        r->request_ms,  r->tokenization_ms, r->queue_wait_ms, r->inference_ms,
        r->batch_pairs, r->group_tokens,    r->padding};
    for (size_t i = 0; i < sizeof means / sizeof *means; i++)
        put_mean(out, means[i]);
    cr_json_put(out, "]");
}

void cr_history_write(const cr_history_row *rows, size_t n, cr_json_out *out) {
    cr_json_put(out,
                "{\"interval_ms\":%d,\"columns\":[\"at_s\",\"requests_per_s\","
                "\"pairs_per_s\",\"tokens_per_s\",\"refused_per_s\","
                "\"queue_pairs\",\"queue_tokens\",\"queue_age_s\","
                "\"lanes_busy\",\"cpu\",\"memory_bytes\",\"in_flight\","
                "\"request_ms\",\"tokenization_ms\",\"queue_wait_ms\","
                "\"inference_ms\",\"batch_pairs\",\"group_tokens\","
                "\"padding\"],\"rows\":[",
                CR_HISTORY_MS);
    for (size_t i = 0; i < n; i++) {
        if (i)
            cr_json_put(out, ",");
        write_row(&rows[i], out);
    }
    cr_json_put(out, "]}");
}
