/* The one queue: pairs that no lane has taken yet, in a fair order.
 *
 * Deficit round-robin in tokens, first between clients, then between a
 * client's jobs: splitting a job into many requests gains nothing. A client
 * that was not waiting comes next for one quantum and then takes its place in
 * the round, so a small request does not wait for a large one. Within a job
 * pairs leave in order. Nothing here knows time or threads.
 *
 * Threads: the caller's lock. Ownership: jobs stay the caller's. */
#ifndef CR_SCHED_QUEUE_H
#define CR_SCHED_QUEUE_H

#include "sched/job.h"

enum { CR_CLIENT_BUCKETS = 1024 };

typedef struct cr_client_list {
    struct cr_client *first, *last;
} cr_client_list;

typedef struct cr_queue {
    uint32_t quantum; /* tokens of a turn */
    uint64_t n_pairs; /* that wait */
    uint64_t n_tokens;
    cr_job *oldest, *newest; /* jobs with waiting pairs, by arrival */
    cr_client_list fresh, round;
    struct cr_client *buckets[CR_CLIENT_BUCKETS];
} cr_queue;

/* Pairs [first, end) of a job. */
typedef struct cr_slice {
    cr_job *job;
    uint32_t first, end;
} cr_slice;

typedef struct cr_take_limits {
    uint64_t want_tokens; /* about as many */
    uint64_t max_tokens;  /* never more, except that one pair is always taken
                             where must_take is set */
    uint64_t max_pairs;
    bool must_take;
    bool one_job; /* pairs of a single job only */
} cr_take_limits;

void cr_queue_init(cr_queue *queue, uint32_t quantum);
/* Of an empty queue. */
void cr_queue_fini(cr_queue *queue);

/* The job must have pairs. CR_ERR_MEMORY. */
cr_status cr_queue_push(cr_queue *queue, cr_job *job, cr_error *error);
/* Nobody shall take the rest of its pairs. */
void cr_queue_drop(cr_queue *queue, cr_job *job);

/* The job whose pair comes next, NULL where none waits. */
cr_job *cr_queue_next(cr_queue *queue);

/* Takes pairs of one generation in fair order into slices[max_slices], at most
 * one slice a job and turn; returns the number of slices. */
size_t cr_queue_take(cr_queue *queue, const cr_take_limits *limits,
                     cr_slice *slices, size_t max_slices);

#endif
