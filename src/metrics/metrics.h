/* Metrics: a fixed set of counters, gauges and histograms of one server.
 *
 * The set is the three lists below and nothing else: every series is there
 * from the start, at zero, and no request can add one. Durations are kept in
 * nanoseconds and shown in seconds. It measures nothing by itself.
 *
 * Threads: every call from any thread. Ownership: the caller's memory, zeroed
 * by cr_metrics_init. */
#ifndef CR_METRICS_METRICS_H
#define CR_METRICS_METRICS_H

#include "base/buf.h"
#include "metrics/histogram.h"

/* id, name, label ("" or key="value"), help; counters only ever grow. */
#define CR_COUNTER_LIST(X)                                                     \
    X(REQUESTS_TEI, "requests_total", "dialect=\"tei\"",                       \
      "Requests that asked for scores, by wire format.")                       \
    X(REQUESTS_V1, "requests_total", "dialect=\"v1\"", "")                     \
    X(REQUESTS_COHERE, "requests_total", "dialect=\"cohere\"", "")             \
    X(REQUESTS_VLLM, "requests_total", "dialect=\"vllm\"", "")                 \
    X(REQUESTS_GRPC, "requests_total", "dialect=\"grpc\"", "")                 \
    X(REQUESTS_OTHER, "requests_total", "dialect=\"other\"", "")               \
    X(RESPONSES_2XX, "responses_total", "code=\"2xx\"",                        \
      "Answers, by class of HTTP status.")                                     \
    X(RESPONSES_4XX, "responses_total", "code=\"4xx\"", "")                    \
    X(RESPONSES_5XX, "responses_total", "code=\"5xx\"", "")                    \
    X(PAIRS, "pairs_total", "", "Pairs scored.")                               \
    X(TOKENS_REAL, "tokens_total", "kind=\"real\"",                            \
      "Tokens computed: of texts, and padding.")                               \
    X(TOKENS_PADDED, "tokens_total", "kind=\"padded\"", "")                    \
    X(TRUNCATED, "truncated_pairs_total", "", "Pairs scored that were cut.")   \
    X(REFUSED_OVERLOAD, "refused_total", "reason=\"overload\"",                \
      "Requests refused, by reason.")                                          \
    X(REFUSED_SIZE, "refused_total", "reason=\"size\"", "")                    \
    X(REFUSED_INVALID, "refused_total", "reason=\"invalid\"", "")              \
    X(REFUSED_AUTH, "refused_total", "reason=\"auth\"", "")                    \
    X(REFUSED_DRAINING, "refused_total", "reason=\"draining\"", "")            \
    X(CANCELLED_GONE, "cancelled_total", "reason=\"client_gone\"",             \
      "Accepted requests dropped before they were finished.")                  \
    X(CANCELLED_DEADLINE, "cancelled_total", "reason=\"deadline\"", "")        \
    X(SWEPT, "connections_swept_total", "",                                    \
      "Connections closed for sending a request too slowly.")                  \
    X(EVICTED, "connections_evicted_total", "",                                \
      "Idle connections closed to make room for new ones.")                    \
    X(LOG_LOST, "log_lines_lost_total", "",                                    \
      "Lines of the log that nobody read in time.")                            \
    X(RELOADS_DONE, "reloads_total", "result=\"done\"",                        \
      "Model reloads, by result.")                                             \
    X(RELOADS_FAILED, "reloads_total", "result=\"failed\"", "")

/* The same for times: nanoseconds here, seconds outside. */
#define CR_TIME_COUNTER_LIST(X)                                                \
    X(LANE_BUSY, "lane_busy_seconds_total", "", "Lanes at work, summed.")      \
    X(CPU, "cpu_seconds_total", "", "CPU time of the process.")

#define CR_GAUGE_LIST(X)                                                       \
    X(READY, "ready", "", "1 while requests are taken.")                       \
    X(CONNECTIONS, "connections", "", "Open connections.")                     \
    X(LINGERING, "connections_lingering", "",                                  \
      "Connections that were answered early and are read to their end.")       \
    X(IN_FLIGHT, "requests_in_flight", "", "Requests not yet answered.")       \
    X(PENDING_BYTES, "pending_body_bytes", "",                                 \
      "Bytes of bodies that are held.")                                        \
    X(QUEUE_PAIRS, "queue_pairs", "", "Pairs that no lane has taken.")         \
    X(QUEUE_TOKENS, "queue_tokens", "", "Their tokens.")                       \
    X(LANES, "lanes", "", "Lanes.")                                            \
    X(LANES_BUSY, "lanes_busy", "", "Lanes at work.")                          \
    X(RESIDENT, "resident_memory_bytes", "", "Memory of the process.")

#define CR_TIME_GAUGE_LIST(X)                                                  \
    X(QUEUE_AGE, "queue_age_seconds", "",                                      \
      "How long the oldest pair that no lane has taken is waiting.")           \
    X(UPTIME, "uptime_seconds", "", "Since the server began.")

/* id, name, help, powers of two of the coarse buckets: first, last, step. */
#define CR_TIME_HISTOGRAM_LIST(X)                                              \
    X(REQUEST, "request_duration_seconds",                                     \
      "From the last byte of a request to its scores; refusals apart.", 18,    \
      36, 2)                                                                   \
    X(TOKENIZATION, "tokenization_duration_seconds",                           \
      "Parsing and tokenizing a request.", 14, 32, 2)                          \
    X(QUEUE, "queue_wait_seconds",                                             \
      "From being queued to the first pair's start, by request.", 14, 36, 2)   \
    X(COMPUTE, "compute_seconds",                                              \
      "From the first pair's start to the last one's end, by request.", 18,    \
      36, 3)                                                                   \
    X(INFERENCE, "inference_duration_seconds", "One group on its lane.", 18,   \
      34, 2)

#define CR_SIZE_HISTOGRAM_LIST(X)                                              \
    X(REQUEST_PAIRS, "request_pairs", "Pairs of a request.", 0, 14, 2)         \
    X(BATCH_PAIRS, "batch_pairs", "Pairs released together.", 0, 12, 2)        \
    X(GROUP_PAIRS, "group_pairs", "Pairs of a group.", 0, 8, 1)                \
    X(GROUP_TOKENS, "group_tokens", "Tokens of a group.", 4, 11, 1)

#define CR_METRIC_COUNTER_ID(id, name, label, help) CR_COUNT_##id,
#define CR_METRIC_GAUGE_ID(id, name, label, help) CR_GAUGE_##id,
#define CR_METRIC_HISTOGRAM_ID(id, name, help, first, last, step)              \
    CR_HISTOGRAM_##id,

/* clang-format off */
typedef enum cr_counter_id {
    CR_COUNTER_LIST(CR_METRIC_COUNTER_ID)
    CR_TIME_COUNTER_LIST(CR_METRIC_COUNTER_ID) CR_N_COUNTERS
} cr_counter_id;
typedef enum cr_gauge_id {
    CR_GAUGE_LIST(CR_METRIC_GAUGE_ID)
    CR_TIME_GAUGE_LIST(CR_METRIC_GAUGE_ID) CR_N_GAUGES
} cr_gauge_id;
typedef enum cr_histogram_id {
    CR_TIME_HISTOGRAM_LIST(CR_METRIC_HISTOGRAM_ID)
    CR_SIZE_HISTOGRAM_LIST(CR_METRIC_HISTOGRAM_ID) CR_N_HISTOGRAMS
} cr_histogram_id;
/* clang-format on */

typedef struct cr_metrics {
    _Atomic uint64_t counters[CR_N_COUNTERS];
    _Atomic int64_t gauges[CR_N_GAUGES];
    cr_histogram histograms[CR_N_HISTOGRAMS];
} cr_metrics;

/* A few numbers on one histogram; times in nanoseconds. */
typedef struct cr_summary {
    uint64_t count, sum;
    double mean, p50, p95, p99;
} cr_summary;

void cr_metrics_init(cr_metrics *metrics);
/* Counters and histograms to zero; gauges keep saying what is. */
void cr_metrics_reset(cr_metrics *metrics);

void cr_metrics_count(cr_metrics *metrics, cr_counter_id id, uint64_t more);
/* For counters that somebody else keeps, such as CPU time. */
void cr_metrics_set_counter(cr_metrics *metrics, cr_counter_id id,
                            uint64_t value);
uint64_t cr_metrics_counter(const cr_metrics *metrics, cr_counter_id id);
void cr_metrics_move(cr_metrics *metrics, cr_gauge_id id, int64_t by);
void cr_metrics_set(cr_metrics *metrics, cr_gauge_id id, int64_t value);
int64_t cr_metrics_gauge(const cr_metrics *metrics, cr_gauge_id id);
void cr_metrics_observe(cr_metrics *metrics, cr_histogram_id id,
                        uint64_t value);
cr_summary cr_metrics_summary(const cr_metrics *metrics, cr_histogram_id id);

/* All of it in Prometheus' text format, names behind "crossrank_". */
cr_status cr_metrics_write(const cr_metrics *metrics, cr_buf *out,
                           cr_error *error);

#endif
