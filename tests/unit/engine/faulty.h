/* An engine that fails when it is told to: the cpu backend behind a table of
 * operations of its own, put in the place of the real one after opening. What
 * ships has no switch for this.
 *
 * It can also hold its lanes at the end of a group, so that a test decides
 * what waits meanwhile. One engine a program; any threads. */
#ifndef CR_TESTS_ENGINE_FAULTY_H
#define CR_TESTS_ENGINE_FAULTY_H

#include "engine/backend.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define FAULTY_MESSAGE "the engine broke down in the middle of group"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t fail_at;    /* this group from 1, 0: none */
    uint64_t fail_every; /* each n-th group, 0: none */
    size_t fail_tokens;  /* groups with a sequence of so many, 0: none */
    bool hold;           /* groups wait before they end */
    /* What happened since faulty_reset. */
    uint64_t n_groups, n_failed;
    uint32_t n_held;
    size_t n_sequences;    /* of the last group */
    uint32_t most_members; /* of a team that failed */
    size_t most_failed;    /* sequences of a group that failed */
} faulty = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .changed = PTHREAD_COND_INITIALIZER};

static inline bool faulty_has_sequence(const cr_group *group, size_t n_tokens) {
    for (size_t i = 0; i < group->n_sequences; i++)
        if (group->starts[i + 1] - group->starts[i] == n_tokens)
            return true;
    return false;
}

/* A team has its group's logits when the leader returns, and fails with it:
 * as with real engines, only member 0 has something to say. */
static cr_status faulty_score(cr_backend *backend, uint32_t lane, cr_team *team,
                              uint32_t member, const cr_group *group,
                              float *logits, cr_error *error) {
    cr_status status =
        cr_cpu_backend.score(backend, lane, team, member, group, logits, error);
    if (member != 0)
        return status;
    pthread_mutex_lock(&faulty.lock);
    uint64_t number = ++faulty.n_groups;
    bool fails = number == faulty.fail_at ||
                 (faulty.fail_every && number % faulty.fail_every == 0) ||
                 faulty_has_sequence(group, faulty.fail_tokens);
    faulty.n_sequences = group->n_sequences;
    faulty.n_held++;
    pthread_cond_broadcast(&faulty.changed);
    while (faulty.hold)
        pthread_cond_wait(&faulty.changed, &faulty.lock);
    faulty.n_held--;
    if (fails) {
        faulty.n_failed++;
        if (team->n_members > faulty.most_members)
            faulty.most_members = team->n_members;
        if (group->n_sequences > faulty.most_failed)
            faulty.most_failed = group->n_sequences;
    }
    pthread_mutex_unlock(&faulty.lock);
    if (!fails)
        return status;
    /* What a broken engine leaves behind is nobody's score. */
    for (size_t i = 0; i < group->n_sequences; i++)
        logits[i] = 12345;
    return cr_fail(error, CR_ERR_INTERNAL, FAULTY_MESSAGE " %llu",
                   (unsigned long long)number);
}

/* The backend fails from now on; its model has one label. */
static inline void faulty_replace(cr_backend *backend) {
    static cr_backend_ops ops;
    ops = cr_cpu_backend;
    ops.score = faulty_score;
    backend->ops = &ops;
}

static inline void faulty_reset(uint64_t fail_at, uint64_t fail_every,
                                bool hold) {
    pthread_mutex_lock(&faulty.lock);
    faulty.fail_at = fail_at;
    faulty.fail_every = fail_every;
    faulty.fail_tokens = 0;
    faulty.hold = hold;
    faulty.n_groups = faulty.n_failed = 0;
    faulty.most_members = 0;
    faulty.most_failed = 0;
    pthread_mutex_unlock(&faulty.lock);
}

/* Returns when n lanes are held. */
static inline void faulty_wait_held(uint32_t n) {
    pthread_mutex_lock(&faulty.lock);
    while (faulty.n_held < n)
        pthread_cond_wait(&faulty.changed, &faulty.lock);
    pthread_mutex_unlock(&faulty.lock);
}

static inline void faulty_release(void) {
    pthread_mutex_lock(&faulty.lock);
    faulty.hold = false;
    pthread_cond_broadcast(&faulty.changed);
    pthread_mutex_unlock(&faulty.lock);
}

#endif
