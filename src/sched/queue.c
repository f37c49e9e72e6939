/* The queue: two levels of deficit round-robin.
 *
 * A turn goes on while its deficit is above zero, so the last pair may
 * overdraw it by its own length; the debt is paid in the next round. */
#include "sched/queue.h"

#include "base/mem.h"

#include <assert.h>

typedef struct cr_client {
    uint64_t id;
    int64_t deficit;
    bool fresh;                /* in the list of those that come next */
    cr_job *first, *last;      /* its jobs with waiting pairs */
    struct cr_client *behind;  /* in its list */
    struct cr_client *chained; /* in its bucket */
} cr_client;

void cr_queue_init(cr_queue *q, uint32_t quantum) {
    *q = (cr_queue){.quantum = quantum ? quantum : 1};
}

/* ---- Clients ------------------------------------------------------------ */

static cr_client **bucket_of(cr_queue *q, uint64_t id) {
    return &q->buckets[(id * UINT64_C(0x9E3779B97F4A7C15)) >> 54];
}

static cr_client *find_client(cr_queue *q, uint64_t id) {
    cr_client *c = *bucket_of(q, id);
    while (c && c->id != id)
        c = c->chained;
    return c;
}

static void append(cr_client_list *list, cr_client *c) {
    c->behind = NULL;
    if (list->last)
        list->last->behind = c;
    else
        list->first = c;
    list->last = c;
}

static cr_client *pop(cr_client_list *list) {
    cr_client *c = list->first;
    list->first = c->behind;
    if (!list->first)
        list->last = NULL;
    return c;
}

static cr_client *add_client(cr_queue *q, uint64_t id) {
    cr_client *c = cr_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (cr_client){.id = id, .deficit = q->quantum, .fresh = true};
    cr_client **bucket = bucket_of(q, id);
    c->chained = *bucket;
    *bucket = c;
    append(&q->fresh, c);
    return c;
}

static void free_client(cr_queue *q, cr_client *c) {
    cr_client **at = bucket_of(q, c->id);
    while (*at != c)
        at = &(*at)->chained;
    *at = c->chained;
    cr_free(c);
}

void cr_queue_fini(cr_queue *q) {
    assert(q->n_pairs == 0);
    while (q->fresh.first)
        free_client(q, pop(&q->fresh));
    while (q->round.first)
        free_client(q, pop(&q->round));
}

/* ---- Jobs --------------------------------------------------------------- */

static void append_job(cr_client *c, cr_job *job) {
    job->behind = NULL;
    if (c->last)
        c->last->behind = job;
    else
        c->first = job;
    c->last = job;
}

static void pop_job(cr_client *c) {
    c->first = c->first->behind;
    if (!c->first)
        c->last = NULL;
}

static void remove_job(cr_client *c, cr_job *job) {
    cr_job *before = NULL;
    for (cr_job *at = c->first; at != job; at = at->behind)
        before = at;
    if (before)
        before->behind = job->behind;
    else
        c->first = job->behind;
    if (c->last == job)
        c->last = before;
}

static void forget_arrival(cr_queue *q, cr_job *job) {
    if (job->earlier)
        job->earlier->later = job->later;
    else
        q->oldest = job->later;
    if (job->later)
        job->later->earlier = job->earlier;
    else
        q->newest = job->earlier;
    job->earlier = job->later = NULL;
}

cr_status cr_queue_push(cr_queue *q, cr_job *job, cr_error *error) {
    cr_client *c = find_client(q, job->client);
    assert(job->n_pairs > 0);
    if (!c)
        c = add_client(q, job->client);
    if (!c)
        return cr_fail_memory(error, sizeof *c, "a client");
    job->owner_client = c;
    job->deficit = q->quantum;
    job->next = 0;
    append_job(c, job);
    job->earlier = q->newest;
    job->later = NULL;
    if (q->newest)
        q->newest->later = job;
    else
        q->oldest = job;
    q->newest = job;
    q->n_pairs += job->n_pairs;
    q->n_tokens += job->starts[job->n_pairs];
    return CR_OK;
}

void cr_queue_drop(cr_queue *q, cr_job *job) {
    if (job->next == job->n_pairs)
        return;
    q->n_pairs -= job->n_pairs - job->next;
    q->n_tokens -= job->starts[job->n_pairs] - job->starts[job->next];
    job->next = job->n_pairs;
    remove_job(job->owner_client, job);
    forget_arrival(q, job);
}

/* ---- Turns -------------------------------------------------------------- */

/* The client whose turn is over or who has nothing waits in the round; one
 * that had nothing when its turn came there is forgotten. */
static void end_turn(cr_queue *q, cr_client *c) {
    bool was_fresh = c->fresh;
    pop(was_fresh ? &q->fresh : &q->round);
    c->fresh = false;
    if (!c->first && !(was_fresh && q->round.first)) {
        free_client(q, c);
        return;
    }
    if (c->deficit <= 0)
        c->deficit += q->quantum;
    append(&q->round, c);
}

/* The client's job whose turn it is, moving on those whose turn is over. */
static cr_job *next_job(cr_queue *q, cr_client *c) {
    while (c->first->deficit <= 0) {
        cr_job *job = c->first;
        job->deficit += q->quantum;
        pop_job(c);
        append_job(c, job);
    }
    return c->first;
}

cr_job *cr_queue_next(cr_queue *q) {
    while (q->n_pairs) {
        cr_client *c = q->fresh.first ? q->fresh.first : q->round.first;
        if (c->first && c->deficit > 0)
            return next_job(q, c);
        end_turn(q, c);
    }
    return NULL;
}

/* ---- Taking ------------------------------------------------------------- */

static bool has_room(const cr_take_limits *limits, uint64_t pairs,
                     uint64_t tokens, const cr_job *job) {
    uint64_t more = cr_job_pair_tokens(job, job->next);
    if (pairs == 0 && limits->must_take)
        return true;
    if (pairs >= limits->max_pairs || tokens + more > limits->max_tokens ||
        tokens + more > job->max_group_tokens)
        return false;
    /* About as many: the pair is taken if more than half of it is wanted. */
    return pairs == 0 || tokens + more / 2 <= limits->want_tokens;
}

static uint32_t take_pair(cr_queue *q, cr_job *job) {
    uint32_t tokens = cr_job_pair_tokens(job, job->next++);
    cr_client *c = job->owner_client;
    q->n_pairs--;
    q->n_tokens -= tokens;
    c->deficit -= tokens;
    job->deficit -= tokens;
    if (job->next == job->n_pairs) {
        pop_job(c); /* it is the first: its turn it was */
        forget_arrival(q, job);
    }
    return tokens;
}

size_t cr_queue_take(cr_queue *q, const cr_take_limits *limits,
                     cr_slice *slices, size_t max_slices) {
    size_t n = 0;
    uint64_t pairs = 0, tokens = 0;
    for (cr_job *job; (job = cr_queue_next(q)) != NULL; pairs++) {
        bool same = n && slices[n - 1].job == job;
        if (!has_room(limits, pairs, tokens, job))
            break;
        if (n && job->generation != slices[0].job->generation)
            break;
        if (!same && n && (limits->one_job || n == max_slices))
            break;
        if (!same)
            slices[n++] = (cr_slice){job, job->next, job->next};
        tokens += take_pair(q, job);
        slices[n - 1].end++;
    }
    return n;
}
