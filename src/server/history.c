/* The history: rates from differences of counters. */
#include "server/history.h"

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
        .cpu = rate(&h->cpu_ns, cr_metrics_counter(m, CR_COUNT_CPU), s) * 1e-9,
        .memory_bytes = (double)cr_metrics_gauge(m, CR_GAUGE_RESIDENT),
        .in_flight = (double)cr_metrics_gauge(m, CR_GAUGE_IN_FLIGHT)};
    h->n++;
}

void cr_history_reset(cr_history *h) { h->n = 0; }

void cr_history_write(const cr_history *h, cr_json_out *out) {
    uint64_t kept = h->n < CR_HISTORY_ROWS ? h->n : CR_HISTORY_ROWS;
    cr_json_put(out,
                "{\"interval_ms\":%d,\"columns\":[\"at_s\",\"requests_per_s\","
                "\"pairs_per_s\",\"tokens_per_s\",\"refused_per_s\","
                "\"queue_pairs\",\"queue_tokens\",\"queue_age_s\","
                "\"lanes_busy\",\"cpu\",\"memory_bytes\",\"in_flight\"],"
                "\"rows\":[",
                CR_HISTORY_MS);
    for (uint64_t i = h->n - kept; i < h->n; i++) {
        const cr_history_row *r = &h->rows[i % CR_HISTORY_ROWS];
        cr_json_put(out,
                    "%s[%.3f,%.1f,%.1f,%.0f,%.1f,%.0f,%.0f,%.4f,%.3f,%.3f,"
                    "%.0f,%.0f]",
                    i > h->n - kept ? "," : "", r->at_s, r->requests_per_s,
                    r->pairs_per_s, r->tokens_per_s, r->refused_per_s,
                    r->queue_pairs, r->queue_tokens, r->queue_age_s,
                    r->lanes_busy, r->cpu, r->memory_bytes, r->in_flight);
    }
    cr_json_put(out, "]}");
}
