/* The history: a row of numbers every half second, an hour back, kept by the
 * server itself.
 *
 * Rates are counted over the row's own half second. The oldest row makes room
 * for the newest.
 *
 * Threads: the caller's lock. */
#ifndef CR_SERVER_HISTORY_H
#define CR_SERVER_HISTORY_H

#include "metrics/metrics.h"
#include "server/json_out.h"

enum { CR_HISTORY_MS = 500, CR_HISTORY_ROWS = 7200 };

typedef struct cr_history_row {
    double at_s; /* since the server began */
    double requests_per_s, pairs_per_s, tokens_per_s, refused_per_s;
    double queue_pairs, queue_tokens, queue_age_s;
    double lanes_busy; /* share of lane time, 0..1 */
    double cpu;        /* cores in use */
    double memory_bytes;
    double in_flight;
    /* Means over the row's own half second; NaN: nothing happened in it. */
    double request_ms, tokenization_ms, queue_wait_ms, inference_ms;
    double batch_pairs, group_tokens;
    double padding; /* share of the computed tokens, 0..1 */
} cr_history_row;

typedef struct cr_history {
    cr_history_row rows[CR_HISTORY_ROWS];
    uint64_t n; /* ever; row i is at i % CR_HISTORY_ROWS */
    int64_t last_ns;
    uint64_t requests, pairs, tokens, refused, busy_ns, cpu_ns, padded;
    struct {
        uint64_t count, sum;
    } seen[CR_N_HISTOGRAMS];
} cr_history;

/* now_ns on the monotonic clock; started_ns likewise. */
void cr_history_add(cr_history *history, const cr_metrics *metrics,
                    int64_t now_ns, int64_t started_ns);
/* With the counters: they begin at zero at this time. */
void cr_history_reset(cr_history *history, int64_t now_ns);
/* Copies the newest rows, at most `max`, oldest first; says how many. */
size_t cr_history_copy(const cr_history *history, cr_history_row *rows,
                       size_t max);
/* {"interval_ms":500,"columns":[...],"rows":[[...],...]} of rows[n]. */
void cr_history_write(const cr_history_row *rows, size_t n, cr_json_out *out);

#endif
