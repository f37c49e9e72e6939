/* Lanes: worker threads that score the pairs of many callers at once.
 *
 * The library's own small scheduler. A caller's job lies on the caller's stack
 * and waits in a first-come queue; a free lane claims some of its pairs, about
 * as many tokens as its backend likes, tokenizes them and scores them. When a
 * job is small and other lanes are idle, they form a team and split its rows.
 * The caller's thread takes the place of a lane that is idle, so that n lanes
 * never are more than n threads at work.
 * (The server has a queue of its own, with fairness and deadlines, and does
 * not use this one.) Scoring allocates nothing.
 *
 * Threads: cr_lanes_run may be called from any number of threads. */
#ifndef CR_ENGINE_LANES_H
#define CR_ENGINE_LANES_H

#include "engine/backend.h"

typedef struct cr_lanes cr_lanes;

typedef struct cr_lanes_options {
    cr_backend *backend; /* stays the caller's, must outlive the lanes */
    const cr_model *model;
    uint32_t max_length;
    uint32_t n_labels; /* logits a pair */
    cr_truncation truncation;
} cr_lanes_options;

/* Pairs to score: either pairs[n], or one query with passages[n]. */
typedef struct cr_work {
    const cr_pair *pairs; /* NULL: query and passages */
    cr_text query;
    const cr_text *passages;
    size_t n;
    float *logits;     /* [n_labels] of pair i at i * logit_step */
    size_t logit_step; /* in bytes */
} cr_work;

/* Starts one thread a lane of the backend, in the caller's floating-point
 * environment. */
cr_status cr_lanes_new(const cr_lanes_options *options, cr_lanes **lanes,
                       cr_error *error);
/* No cr_lanes_run may be going on. */
void cr_lanes_free(cr_lanes *lanes);

/* Blocks until all pairs are scored, or the first failure. The caller's
 * floating-point environment must be that of cr_lanes_new. */
cr_status cr_lanes_run(cr_lanes *lanes, const cr_work *work, cr_error *error);

/* What was scored since the lanes were made. */
typedef struct cr_lanes_totals {
    uint64_t n_pairs;
    uint64_t n_cut; /* pairs longer than max_length */
    uint64_t n_tokens;
} cr_lanes_totals;
cr_lanes_totals cr_lanes_count(cr_lanes *lanes);

/* Memory of all lanes beside the backend's. */
uint64_t cr_lanes_bytes(const cr_lanes *lanes);

#endif
