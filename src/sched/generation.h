/* A generation: one opened model with its backend, shared by all its jobs.
 *
 * A reload makes a new one beside the old; jobs hold a reference to theirs, so
 * the old one is freed when its last job is done. A group never mixes two.
 *
 * Threads: reading from any; references may be taken and dropped from any.
 * Ownership: cr_generation_open gives one reference. */
#ifndef CR_SCHED_GENERATION_H
#define CR_SCHED_GENERATION_H

#include "engine/backend.h"

#include <pthread.h>
#include <stdatomic.h>

/* What one lane needs to lay out a group. */
typedef struct cr_group_room {
    int32_t *ids;        /* [max_group_tokens] */
    uint8_t *type_ids;   /* [max_group_tokens] */
    uint32_t *positions; /* [max_group_tokens] */
    uint32_t *starts;    /* [max_sequences + 1] */
    float *logits;       /* [max_sequences][n_labels] */
} cr_group_room;

typedef struct cr_generation {
    cr_model *model;
    cr_backend *backend;
    uint32_t number;                  /* 1 for the first */
    char sha256[CR_SHA256_HEX_BYTES]; /* of the weights */
    uint32_t min_length, max_length;  /* what a pair's limit can be */
    uint32_t max_sequences;           /* of a group */
    uint32_t n_labels;                /* logits a pair */
    cr_truncation truncation;
    cr_activation activation; /* resolved */
    cr_group_room *rooms;     /* [lanes] */
    _Atomic uint32_t references;
    pthread_mutex_t lock; /* of the scratches */
    cr_token_scratch **scratches;
    size_t n_scratches, scratch_capacity;
} cr_generation;

/* Opens options->model; a backend that cannot use `lanes` lanes has fewer, as
 * its description says. */
cr_status cr_generation_open(const cr_options *options, uint32_t lanes,
                             uint32_t number, cr_generation **generation,
                             cr_error *error);
cr_generation *cr_generation_ref(cr_generation *generation);
/* Frees it with the last reference. NULL is allowed. */
void cr_generation_unref(cr_generation *generation);

/* As a pair, a text alone is longer by what stands behind its own end: that
 * many tokens more than max_length must fit while it is encoded. */
enum { CR_LONE_SPARE = CR_MAX_PAIR_SPECIALS - 2 };

/* A tokenizer's working memory, kept for the next who asks. */
cr_status cr_generation_borrow(cr_generation *generation,
                               cr_token_scratch **scratch, cr_error *error);
void cr_generation_give_back(cr_generation *generation,
                             cr_token_scratch *scratch);

#endif
