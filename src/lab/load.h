/* Load: requests on a target, and what became of each.
 *
 * In a closed loop each of `concurrency` workers sends when its last request
 * was answered. In an open loop the times are drawn before (fixed or Poisson)
 * and a request whose time came waits for the next free worker; its latency
 * counts from its time, so that waiting is not left out. Every worker is a
 * thread with a connection of its own.
 *
 * Threads: cr_load_run is called by one and makes its own. Ownership: a
 * result's arrays are the caller's until cr_load_fini. */
#ifndef CR_LAB_LOAD_H
#define CR_LAB_LOAD_H

#include "lab/dataset.h"
#include "lab/encoded.h"

enum { CR_MAX_REASONS = 32, CR_REASON_BYTES = 160 };

/* Where requests go: `url`, or in this process to `encoded` or `ranker`. */
typedef struct cr_load_target {
    const char *url;      /* NULL: the ranker */
    const char *grpc_url; /* where the load goes instead of url; or NULL */
    uint32_t dialect;     /* cr_wire_dialect */
    const char *model;    /* a JSON string, for dialects that name it */
    cr_ranker *ranker;
    cr_encoded *encoded; /* tokens alone; NULL: the ranker */
    bool only_tokenize;  /* of the ranker */
} cr_load_target;

/* All scores that came for one pair lie between; NAN: none came. */
typedef struct cr_score_range {
    float low, high;
} cr_score_range;

typedef struct cr_load_options {
    const cr_load_target *target;
    const cr_dataset *dataset;
    const uint32_t *tokens; /* [dataset->n], of each pair as scored */
    bool as_pairs;
    uint32_t batch_size, concurrency;
    uint64_t requests; /* 0: until duration_s */
    double duration_s;
    double rate;            /* requests/s; 0: a closed loop */
    bool fixed;             /* arrivals of an open loop; else Poisson's */
    cr_score_range *scores; /* [dataset->n], widened as they come; or NULL */
    bool (*stop)(void);     /* asked often; NULL: never */
    /* Called some times a second by the caller's thread. */
    void (*progress)(void *context, uint64_t requests, uint64_t failed,
                     double seconds);
    void *context;
} cr_load_options;

typedef struct cr_sample {
    uint64_t request;
    double scheduled_s; /* NAN in a closed loop */
    double start_s, end_s;
    uint32_t worker, pairs, tokens;
    int status;      /* of HTTP, also of gRPC's answers; 0: none came */
    uint32_t reason; /* 0: good; else reasons[reason - 1] */
} cr_sample;

typedef struct cr_load_result {
    cr_sample *samples; /* [n], by end */
    size_t n, n_failed;
    size_t n_resent;   /* on a new connection: the kept one had been closed */
    double duration_s; /* first start to last end */
    double cpu_s;      /* of this process meanwhile */
    bool stopped;
    char reasons[CR_MAX_REASONS][CR_REASON_BYTES];
    size_t n_reasons;
} cr_load_result;

/* Failed requests are samples, not errors. CR_ERR_MEMORY, CR_ERR_IO where
 * threads cannot be had, CR_ERR_ARGUMENT for the url. */
cr_status cr_load_run(const cr_load_options *options, cr_load_result *result,
                      cr_error *error);
void cr_load_fini(cr_load_result *result);

#endif
