/* Simulate: replicas of the server on a virtual clock.
 *
 * A discrete-event simulation. Requests come to a balancer, which gives each
 * to the replica with the fewest unanswered ones, in turns where several have
 * as few. A replica is sched/dispatch.h itself, the code that the server runs,
 * with lanes that are numbers and groups that take the time of lab/service.h.
 * What a request costs beside its groups is taken from an idle lane's CPU or,
 * where there is none, from a busy one.
 *
 * Not in it: machines that slow each other down, networks that lose packets,
 * refusals (the queue has no limit), callers that give up.
 *
 * Threads: one a call; equal options give equal results. */
#ifndef CR_LAB_SIMULATE_H
#define CR_LAB_SIMULATE_H

#include "lab/service.h"
#include "lab/spread.h"

enum { CR_MAX_REPLICAS = 10000, CR_MAX_SIMULATED_LANES = 100000 };

typedef struct cr_simulation_options {
    const cr_service *service;
    cr_batching batching;
    uint32_t replicas, lanes; /* lanes of each replica */
    double rate;              /* requests/s at the balancer, Poisson's */
    uint32_t in_flight;       /* else: a closed loop of as many requests */
    /* Requests to draw from: tokens before each pair, [n_kinds][pairs + 1]. */
    const uint32_t *starts;
    size_t n_kinds;
    uint32_t pairs;
    uint64_t warmup, requests; /* uncounted ones first, then counted ones */
    uint64_t seed;
    bool (*stop)(void); /* asked now and then; NULL: never */
} cr_simulation_options;

typedef struct cr_simulation {
    /* More came than could be answered: it was given up, and there are no
     * latencies. */
    bool overloaded;
    uint64_t launched, answered, counted;
    uint64_t n_events, n_groups, n_group_pairs, n_group_tokens;
    uint64_t least_share, most_share; /* launched requests of a replica */
    double seconds;                   /* from the first launch to the end */
    double requests_per_s;            /* launched, while counting */
    double utilization;               /* of all lanes, while counting */
    double longest_idle_wait_ms; /* of a pair, beside lanes that were idle */
    cr_spread latency_ms;        /* of the counted requests */
} cr_simulation;

/* CR_ERR_ARGUMENT, CR_ERR_MEMORY; CR_ERR_CANCELLED after a stop. */
cr_status cr_simulate(const cr_simulation_options *options,
                      cr_simulation *simulation, cr_error *error);

#endif
