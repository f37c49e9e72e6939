/* Plan: how many replicas a load needs, found by simulating them.
 *
 * First a single request on a machine of its own: no number of replicas is
 * faster, so its p99 is the floor. Then one replica with more than it can do:
 * that is its capacity. Then replica counts from the least that can keep up,
 * in growing steps and back, until the fewest that hold the p99 are known, and
 * their neighbours for the table.
 *
 * Threads: one a call; equal options give equal plans. Ownership: a plan holds
 * no memory of its own. */
#ifndef CR_LAB_PLAN_H
#define CR_LAB_PLAN_H

#include "lab/simulate.h"

enum { CR_PLAN_ROWS = 64, CR_PLAN_MORE_LANES = 4096 };

/* Of lanes, where no p99 is asked for. */
extern const double CR_PLAN_UTILIZATION;

typedef struct cr_plan_options {
    const cr_service *service;
    cr_batching batching;
    uint32_t lanes;         /* of a replica */
    double rate;            /* requests/s */
    double p99_ms;          /* 0: none is asked for */
    uint32_t replicas;      /* 0: find it, else predict for as many */
    const uint32_t *starts; /* as of cr_simulation_options */
    size_t n_kinds;
    uint32_t pairs;
    uint64_t requests; /* counted in a simulation; 0: by the replicas */
    uint64_t seed;
    bool (*stop)(void);
    /* Told before each simulation of the search. */
    void (*progress)(void *context, uint32_t replicas);
    void *context;
} cr_plan_options;

typedef struct cr_plan_row {
    uint32_t replicas;
    bool holds; /* keeps up, and what was asked for */
    cr_simulation simulation;
} cr_plan_row;

typedef struct cr_plan {
    cr_spread alone_ms;  /* of a request without others */
    double capacity;     /* requests/s of one replica */
    bool possible;       /* some number of replicas holds the p99 */
    uint32_t more_lanes; /* where not: of a replica, whose floor is lower; 0 */
    double more_lanes_floor_ms;
    uint32_t answer; /* the index of its row; CR_PLAN_ROWS: none */
    size_t n_rows;
    cr_plan_row rows[CR_PLAN_ROWS]; /* by replicas */
    uint64_t n_simulations, n_events;
} cr_plan;

/* CR_ERR_ARGUMENT where more replicas or lanes would be needed than can be
 * simulated; CR_ERR_MEMORY, CR_ERR_CANCELLED. */
cr_status cr_plan_make(const cr_plan_options *options, cr_plan *plan,
                       cr_error *error);

#endif
