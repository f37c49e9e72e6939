/* Lengths: the requests of a load, as tokens of their pairs.
 *
 * All that a simulation needs of texts. Requests are those that the load
 * generator would send from the same data, in its order.
 *
 * Threads: read-only once made. Ownership: cr_lengths_fini frees them. */
#ifndef CR_LAB_LENGTHS_H
#define CR_LAB_LENGTHS_H

#include "lab/dataset.h"
#include "sched/job.h"

typedef struct cr_lengths {
    uint32_t pairs;     /* of a request */
    size_t n_kinds;     /* requests that differ, as far as they are kept */
    uint32_t *starts;   /* [n_kinds][pairs + 1] tokens before each pair */
    double mean_tokens; /* of a pair */
} cr_lengths;

/* `encoded` holds the pairs of `dataset`. CR_ERR_MEMORY. */
cr_status cr_lengths_make(const cr_job *encoded, const cr_dataset *dataset,
                          bool as_pairs, uint32_t pairs, cr_lengths *lengths,
                          cr_error *error);
void cr_lengths_fini(cr_lengths *lengths);

#endif
