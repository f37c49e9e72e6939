/* Bench: an experiment, carried out.
 *
 * For every combination of a sweep a server of its own is started (or the one
 * at `url` is asked, or the library in this process), warmed up, and put under
 * every configuration of the load, with its statistics reset between them.
 * Then scores that came are compared with float32's, computed here. What was
 * measured goes to results.json, requests.csv, report.md and report.html of
 * `dir`, also after a stop by hand.
 *
 * Threads: one call a process. */
#ifndef CR_LAB_BENCH_H
#define CR_LAB_BENCH_H

#include "lab/experiment.h"

typedef struct cr_bench_options {
    const cr_experiment *experiment;
    const char *dir;
    const char *program;         /* crossrank itself, for `serve` */
    const char *default_model;   /* where the experiment names none */
    const char *default_dataset; /* the same */
    const char *url;             /* of a server that runs; NULL: our own */
    const char *grpc_url;        /* where that one speaks gRPC, or NULL */
    char *const *command;        /* [n_command], for the record */
    size_t n_command;
    bool (*stop)(void);
    /* One line for people, now and then: what is done; `passing`: another
     * line will soon take its place. */
    void (*say)(void *context, bool passing, const char *line);
    void *context;
} cr_bench_options;

typedef struct cr_bench_outcome {
    size_t n_configurations, n_requests, n_failed;
    bool stopped;
    double max_abs_diff;                      /* NAN: no scores were compared */
    double best_pairs_per_s, best_latency_ms; /* means; NAN without any */
} cr_bench_outcome;

/* CR_ERR_UNAVAILABLE: backend, dtype, protocol; others by what failed. With a
 * failure after the first configuration the files are still written. */
cr_status cr_bench_run(const cr_bench_options *options,
                       cr_bench_outcome *outcome, cr_error *error);

#endif
