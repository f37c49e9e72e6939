/* Jobs without texts: pairs of stated lengths, for tests of the queue. */
#ifndef CR_TESTS_SCHED_FAKE_H
#define CR_TESTS_SCHED_FAKE_H

#include "sched/queue.h"

#include <stdlib.h>

static inline void fake_job(cr_job *job, uint64_t client, uint32_t n,
                            uint32_t tokens) {
    *job = (cr_job){.client = client,
                    .n_pairs = n,
                    .max_group_tokens = 768,
                    .starts = calloc((size_t)n + 1, sizeof *job->starts)};
    for (uint32_t i = 0; i < n; i++)
        job->starts[i + 1] = job->starts[i] + tokens;
}

static inline void fake_job_free(cr_job *job) {
    free(job->starts);
    job->starts = NULL;
}

#endif
