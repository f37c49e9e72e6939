/* A job: one request's pairs, already tokens, on their way through the queue.
 *
 * Tokenized at the door, so its exact cost is known before it is queued. What
 * its owner sets, what the scheduler sets and what the queue keeps for itself
 * stand apart below. A job is all or nothing: it is done when every pair has
 * its logits, or with one status for the whole.
 *
 * Threads: the owner's until cr_pipeline_submit, the scheduler's until `done`
 * is called, then the owner's again. Ownership: the caller's memory; arrays
 * belong to the job and go with cr_job_fini. */
#ifndef CR_SCHED_JOB_H
#define CR_SCHED_JOB_H

#include "sched/generation.h"

typedef struct cr_job cr_job;
struct cr_client;

struct cr_job {
    /* Set by cr_job_encode. */
    cr_generation *generation; /* one reference */
    uint32_t n_pairs;
    int32_t *ids;       /* [starts[n_pairs]] */
    uint32_t *starts;   /* [n_pairs + 1] */
    uint32_t *n_first;  /* [n_pairs] tokens of type 0 */
    uint8_t *truncated; /* [n_pairs] 1: something was cut */
    float *logits;      /* [n_pairs][generation->n_labels] */
    uint32_t n_truncated;
    uint32_t max_group_tokens;

    /* Set by the owner before submitting. */
    uint64_t client;                    /* whose turn it counts against */
    int64_t deadline_ns;                /* on the monotonic clock, 0: none */
    bool hurry;                         /* its batch waits for no others */
    bool (*is_gone)(const cr_job *job); /* NULL: never; quick, any thread */
    void (*done)(cr_job *job); /* on a lane's thread, with no lock held; the
                                  job may be freed in it */
    void *owner;

    /* What became of it. */
    cr_status status;
    cr_error error;
    int64_t queued_ns, started_ns, finished_ns;
    int64_t busy_ns; /* its groups' time, shared out by tokens */

    /* The queue's and the pipeline's own. */
    uint32_t next;  /* first pair that no lane has taken */
    uint32_t n_out; /* pairs taken and not finished */
    int64_t deficit;
    int64_t checked_ns; /* when is_gone was asked last */
    struct cr_client *owner_client;
    cr_job *behind;          /* of the same client */
    cr_job *earlier, *later; /* by arrival */
    cr_job *finished_behind; /* in a list of finished jobs */
};

/* How pairs become tokens. */
typedef struct cr_encode_options {
    cr_truncation truncation;
    bool keep_end;               /* cut at the beginning of a text */
    bool refuse_long;            /* no cutting: an overlong pair is an error */
    uint32_t max_passage_tokens; /* 0: as many as there is room */
    uint32_t max_tokens;         /* of a pair; 0: as many as the model takes */
} cr_encode_options;

/* Fills a zeroed job from pairs[n]. Neighbouring pairs that point to the same
 * query share its tokens. A passage whose data is NULL is none: the query is
 * encoded alone. CR_ERR_INPUT names the pair that is too long;
 * cr_job_fini must follow whatever the status. */
cr_status cr_job_encode(cr_job *job, cr_generation *generation,
                        const cr_pair *pairs, uint32_t n,
                        const cr_encode_options *options, cr_error *error);
void cr_job_fini(cr_job *job);
/* Appends a pair to a group that is laid out in a lane's room. */
void cr_job_lay_out(const cr_job *job, uint32_t pair, cr_group_room *room,
                    cr_group *group);

static inline uint32_t cr_job_pair_tokens(const cr_job *job, uint32_t pair) {
    return job->starts[pair + 1] - job->starts[pair];
}

#endif
