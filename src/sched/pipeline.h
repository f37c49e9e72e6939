/* The pipeline: one queue, and lanes as threads that empty it in groups.
 *
 * Admission is all or nothing and counted in tokens. A lane that is free asks
 * the batcher, takes pairs in the queue's fair order, lays them out without
 * padding and scores them; idle lanes help with a group that is all there is.
 * Jobs whose caller is gone or whose deadline passed are dropped when a group
 * is formed, before they are computed.
 *
 * Threads: submitting and looking from any; `done` is called on a lane's
 * thread. Ownership: jobs stay the caller's, see sched/job.h. */
#ifndef CR_SCHED_PIPELINE_H
#define CR_SCHED_PIPELINE_H

#include "metrics/metrics.h"
#include "sched/dispatch.h"

typedef struct cr_pipeline cr_pipeline;

typedef struct cr_pipeline_options {
    uint32_t lanes; /* of every generation that comes */
    cr_batching batching;
    uint32_t quantum;          /* tokens of a turn in the fair round */
    uint64_t max_queue_tokens; /* a job is always taken by an empty queue */
    cr_metrics *metrics;       /* stays the caller's */
} cr_pipeline_options;

typedef struct cr_pipeline_state {
    uint64_t waiting_pairs, waiting_tokens;
    int64_t oldest_age_ns; /* 0: nothing waits */
    uint32_t lanes, busy_lanes;
    double tokens_per_second; /* of all lanes together, measured; 0: unknown */
} cr_pipeline_state;

cr_status cr_pipeline_new(const cr_pipeline_options *options,
                          cr_pipeline **pipeline, cr_error *error);
/* Scores what still waits, then ends the lanes. No submitting meanwhile. */
void cr_pipeline_free(cr_pipeline *pipeline);

/* Queues the job; from then on it is the scheduler's. CR_ERR_OVERLOADED names
 * the limit, and the job is still the caller's. */
cr_status cr_pipeline_submit(cr_pipeline *pipeline, cr_job *job,
                             cr_error *error);
/* From now on no batch waits for others. */
void cr_pipeline_hurry(cr_pipeline *pipeline);
cr_pipeline_state cr_pipeline_look(cr_pipeline *pipeline);
/* How long a lane (from 0) was at work since the pipeline began. */
int64_t cr_pipeline_lane_busy_ns(cr_pipeline *pipeline, uint32_t lane);

#endif
