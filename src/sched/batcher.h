/* The batcher: a pure policy. Given what waits and what the time is, it says
 * which pairs may go now, or when to look again.
 *
 * A batch is what is released together: at most max_batch pairs and max_tokens
 * tokens, across requests, the first of which waited at most timeout_ns for
 * the others. A group is the part of a released batch that one lane scores at
 * once. With a timeout of 0 everything that waits is released as soon as a
 * lane is idle. It has no state, no clock and no threads. */
#ifndef CR_SCHED_BATCHER_H
#define CR_SCHED_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct cr_batching {
    bool enabled;        /* false: a batch is one request */
    uint32_t max_batch;  /* pairs, 0: no limit */
    uint32_t max_tokens; /* 0: no limit, else at least the longest pair */
    int64_t timeout_ns;  /* 0: never wait for others */
} cr_batching;

/* Of the backend whose pair comes next. */
typedef struct cr_geometry {
    uint32_t group_tokens;     /* what a lane likes to take at once */
    uint32_t max_group_tokens; /* what it can take at most */
    uint32_t team_tokens; /* a team's members take multiples; 0: no teams */
} cr_geometry;

/* Pairs and tokens that may leave, or do wait. */
typedef struct cr_amount {
    uint64_t pairs, tokens;
} cr_amount;

typedef struct cr_batcher_view {
    int64_t now_ns;
    int64_t oldest_ns; /* arrival of the oldest waiting pair */
    cr_amount waiting;
    cr_amount released;  /* what is left of the batch released last */
    uint32_t idle_lanes; /* the one that asks included */
    bool hurry;          /* no waiting for others */
} cr_batcher_view;

typedef struct cr_batcher_answer {
    bool take;             /* else look again at look_again_ns */
    int64_t look_again_ns; /* INT64_MAX: when something has changed */
    bool new_batch;        /* `released` is a new batch */
    cr_amount released;    /* from now on; the group is taken from it */
    uint64_t want_tokens;  /* of the group, about */
    uint64_t max_tokens;   /* of the group, at most */
    uint64_t max_pairs;
    bool one_job;
    bool team; /* idle lanes should help with this group */
} cr_batcher_answer;

cr_batcher_answer cr_batcher_decide(const cr_batching *batching,
                                    const cr_geometry *geometry,
                                    const cr_batcher_view *view);

#endif
