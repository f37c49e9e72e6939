/* Dispatch: what a free lane does with what waits.
 *
 * The queue, what is left of the batch released last, and one step: ask the
 * batcher, take a group in the queue's fair order. It knows neither threads
 * nor a clock, so that the pipeline serves by it in real time and a
 * simulation on a virtual clock does the very same.
 *
 * Threads: the caller's lock. Ownership: jobs stay the caller's. */
#ifndef CR_SCHED_DISPATCH_H
#define CR_SCHED_DISPATCH_H

#include "sched/batcher.h"
#include "sched/queue.h"

enum { CR_GROUP_SLICES = 64 };

typedef struct cr_dispatch {
    cr_batching batching;
    cr_queue queue;
    cr_amount released; /* what is left of the batch released last */
    uint64_t taken;     /* pairs that were taken of it */
    bool hurry;         /* draining: no batch waits for others */
} cr_dispatch;

typedef struct cr_dispatch_answer {
    size_t n_slices;       /* 0: nothing may go now */
    int64_t look_again_ns; /* then; INT64_MAX: when something has changed */
    bool team;             /* idle lanes should help with this group */
    bool new_batch;        /* the group is the first of a batch */
    /* Pairs of batches of which nothing more will be taken: one may turn out to
     * be over, and the next one to be just this group. */
    uint64_t ended[2];
    size_t n_ended;
} cr_dispatch_answer;

/* Tokens of a turn in the fair round, of machines whose lanes like to take so
 * many: a newcomer's turn is two groups' time of the whole machine. */
static inline uint32_t cr_fair_quantum(uint32_t group_tokens, uint32_t lanes) {
    return 2 * group_tokens * lanes;
}

void cr_dispatch_init(cr_dispatch *dispatch, const cr_batching *batching,
                      uint32_t quantum);
/* Of an empty queue. */
void cr_dispatch_fini(cr_dispatch *dispatch);

/* The group of a lane that is free, into slices[CR_GROUP_SLICES]; it counts
 * among the idle lanes. The geometry is that of the pair that comes next. */
cr_dispatch_answer cr_dispatch_take(cr_dispatch *dispatch, int64_t now_ns,
                                    uint32_t idle_lanes, cr_slice *slices);

#endif
