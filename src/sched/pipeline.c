/* The pipeline: lanes take groups under one lock and score them without it. */
#include "sched/pipeline.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

enum {
    GONE_CHECK_NS = 1000000, /* between two looks whether a caller is gone */
    SWEEP_NS = 1000000       /* between two looks through deadlines */
};

typedef struct lane {
    cr_pipeline *pipeline;
    uint32_t index;
    pthread_t thread;
    pthread_cond_t wake;
    bool waiting; /* for work */
    bool woken;   /* signalled, but not yet running */
    /* An invitation to a team, by the lane that leads it. */
    struct lane *leader;
    uint32_t member;
    int64_t busy_ns; /* at work, ever; under the lock */
    /* The group that this lane scores. */
    cr_generation *generation;
    cr_slice slices[CR_GROUP_SLICES];
    size_t n_slices;
    bool wants_team;
    cr_group group;
    int64_t ns; /* that scoring it took */
    cr_team team;
    uint32_t n_away; /* members that have not left the team */
} lane;

struct cr_pipeline {
    cr_pipeline_options options;
    uint32_t n_started;
    pthread_mutex_t lock; /* of everything below */
    cr_dispatch dispatch;
    bool stop;
    uint32_t n_idle;
    uint64_t n_deadlines; /* jobs with one that are not done */
    int64_t swept_ns;
    uint64_t done_tokens;
    int64_t done_ns;  /* lane time they took */
    cr_job *finished; /* to be handed back when the lock is free */
    lane lanes[];
};

/* ---- Jobs that are done ------------------------------------------------- */

static bool is_done(const cr_job *job) {
    return job->next == job->n_pairs && job->n_out == 0;
}

static void finish_job(cr_pipeline *p, cr_job *job) {
    job->finished_ns = cr_now_ns();
    if (job->deadline_ns)
        p->n_deadlines--;
    job->finished_behind = p->finished;
    p->finished = job;
}

/* Called with the lock held, which is free while owners are told. */
static void hand_back(cr_pipeline *p) {
    cr_job *list = p->finished;
    if (!list)
        return;
    p->finished = NULL;
    pthread_mutex_unlock(&p->lock);
    while (list) {
        cr_job *job = list;
        list = job->finished_behind;
        job->done(job);
    }
    pthread_mutex_lock(&p->lock);
}

static void give_up(cr_pipeline *p, cr_job *job, cr_status status,
                    const char *why) {
    if (job->status != CR_OK)
        return;
    job->status = cr_fail(&job->error, status, "%s", why);
    cr_metrics_count(p->options.metrics,
                     status == CR_ERR_DEADLINE ? CR_COUNT_CANCELLED_DEADLINE
                                               : CR_COUNT_CANCELLED_GONE,
                     1);
    cr_queue_drop(&p->dispatch.queue, job);
    if (job->n_out == 0)
        finish_job(p, job);
}

static void sweep_deadlines(cr_pipeline *p, int64_t now) {
    if (p->n_deadlines == 0 || now - p->swept_ns < SWEEP_NS)
        return;
    p->swept_ns = now;
    for (cr_job *job = p->dispatch.queue.oldest, *later; job; job = later) {
        later = job->later;
        if (job->deadline_ns && now >= job->deadline_ns)
            give_up(p, job, CR_ERR_DEADLINE,
                    "the request's time limit passed before it was computed");
    }
}

/* ---- Taking a group, under the lock ------------------------------------- */

static void show_queue(cr_pipeline *p) {
    cr_metrics *m = p->options.metrics;
    cr_metrics_set(m, CR_GAUGE_QUEUE_PAIRS, (int64_t)p->dispatch.queue.n_pairs);
    cr_metrics_set(m, CR_GAUGE_QUEUE_TOKENS,
                   (int64_t)p->dispatch.queue.n_tokens);
    cr_metrics_set(m, CR_GAUGE_LANES_BUSY,
                   (int64_t)(p->options.lanes - p->n_idle));
}

static bool is_gone(cr_job *job, int64_t now) {
    if (!job->is_gone || now - job->checked_ns < GONE_CHECK_NS)
        return false;
    job->checked_ns = now;
    return job->is_gone(job);
}

/* Leaves out slices of jobs that nobody waits for; marks the others taken. */
static void keep_wanted(cr_pipeline *p, lane *l, int64_t now) {
    size_t n = 0;
    for (size_t i = 0; i < l->n_slices; i++) {
        cr_slice s = l->slices[i];
        /* A job that gave up with its last pair just taken is not in the
         * queue: give_up then has nothing to drop, and finishes it. */
        if (s.job->status != CR_OK)
            continue;
        if (is_gone(s.job, now)) {
            give_up(p, s.job, CR_ERR_CANCELLED, "the client went away");
            continue;
        }
        if (!s.job->started_ns)
            s.job->started_ns = now;
        s.job->n_out += s.end - s.first;
        l->slices[n++] = s;
    }
    l->n_slices = n;
}

/* Whether the lane has a group now; else when it should look again. */
static bool take_group(cr_pipeline *p, lane *l, int64_t *look_again_ns) {
    int64_t now = cr_now_ns();
    sweep_deadlines(p, now);
    for (;;) {
        cr_dispatch_answer a =
            cr_dispatch_take(&p->dispatch, now, p->n_idle, l->slices);
        *look_again_ns = a.look_again_ns;
        l->n_slices = a.n_slices;
        for (size_t i = 0; i < a.n_ended; i++)
            cr_metrics_observe(p->options.metrics, CR_HISTOGRAM_BATCH_PAIRS,
                               a.ended[i]);
        if (l->n_slices == 0)
            return false;
        keep_wanted(p, l, now);
        l->wants_team = a.team;
        if (l->n_slices) {
            l->generation = l->slices[0].job->generation;
            return true;
        }
    }
}

/* ---- Scoring a group, without the lock ---------------------------------- */

static void lay_out(lane *l) {
    cr_group_room *room = &l->generation->rooms[l->index];
    l->group = (cr_group){.ids = room->ids,
                          .type_ids = room->type_ids,
                          .positions = room->positions,
                          .starts = room->starts};
    room->starts[0] = 0;
    for (size_t i = 0; i < l->n_slices; i++)
        for (uint32_t j = l->slices[i].first; j < l->slices[i].end; j++)
            cr_job_lay_out(l->slices[i].job, j, room, &l->group);
}

static void wake(lane *l) {
    l->woken = true;
    pthread_cond_signal(&l->wake);
}

/* Invites lanes that wait to this group, if it is worth it. */
static void form_team(lane *l) {
    cr_pipeline *p = l->pipeline;
    cr_team_init_alone(&l->team, l->index);
    const cr_backend *backend = l->generation->backend;
    uint32_t most =
        cr_team_worth(l->group.n_tokens, backend->description.team_tokens);
    if (!l->wants_team || most < 2)
        return;
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; i < p->options.lanes && !p->dispatch.queue.n_pairs;
         i++) {
        lane *other = &p->lanes[i];
        if (!other->waiting || other->leader || l->team.n_members >= most)
            continue;
        other->leader = l;
        other->member = l->team.n_members;
        l->team.lanes[l->team.n_members++] = i;
        wake(other);
    }
    l->n_away = l->team.n_members - 1;
    pthread_mutex_unlock(&p->lock);
}

static void copy_logits(const lane *l) {
    const float *logits = l->generation->rooms[l->index].logits;
    size_t n_labels = l->generation->n_labels;
    for (size_t i = 0; i < l->n_slices; i++) {
        const cr_slice *s = &l->slices[i];
        size_t n = (s->end - s->first) * n_labels;
        memcpy(s->job->logits + s->first * n_labels, logits,
               n * sizeof *logits);
        logits += n;
    }
}

static cr_status score_group(lane *l, cr_error *error) {
    cr_backend *backend = l->generation->backend;
    lay_out(l);
    form_team(l);
    cr_status status =
        backend->ops->score(backend, l->index, &l->team, 0, &l->group,
                            l->generation->rooms[l->index].logits, error);
    if (l->team.n_members > 1) {
        pthread_mutex_lock(&l->pipeline->lock);
        while (l->n_away)
            pthread_cond_wait(&l->wake, &l->pipeline->lock);
        pthread_mutex_unlock(&l->pipeline->lock);
    }
    if (status == CR_OK)
        copy_logits(l);
    return status;
}

static void count_group(const lane *l, cr_status status) {
    cr_metrics *m = l->pipeline->options.metrics;
    uint64_t ns = (uint64_t)l->ns, lanes = l->team.n_members;
    cr_metrics_count(m, CR_COUNT_LANE_BUSY, ns * lanes);
    cr_metrics_observe(m, CR_HISTOGRAM_INFERENCE, ns);
    cr_metrics_observe(m, CR_HISTOGRAM_GROUP_PAIRS, l->group.n_sequences);
    cr_metrics_observe(m, CR_HISTOGRAM_GROUP_TOKENS, l->group.n_tokens);
    cr_metrics_count(m, CR_COUNT_TOKENS_REAL, l->group.n_tokens);
    const cr_backend *backend = l->generation->backend;
    if (backend->ops->count_padding)
        cr_metrics_count(m, CR_COUNT_TOKENS_PADDED,
                         backend->ops->count_padding(backend, &l->group));
    if (status == CR_OK)
        cr_metrics_count(m, CR_COUNT_PAIRS, l->group.n_sequences);
}

/* ---- Giving a group back, under the lock -------------------------------- */

static void finish_slice(cr_pipeline *p, cr_slice s, int64_t ns_per_token,
                         cr_status status, const cr_error *error) {
    cr_job *job = s.job;
    job->n_out -= s.end - s.first;
    job->busy_ns +=
        ns_per_token * (int64_t)(job->starts[s.end] - job->starts[s.first]);
    if (status != CR_OK && job->status == CR_OK) {
        job->status = status;
        job->error = *error;
        cr_queue_drop(&p->dispatch.queue, job);
    }
    if (is_done(job))
        finish_job(p, job);
}

static void finish_group(cr_pipeline *p, const lane *l, cr_status status,
                         const cr_error *error) {
    int64_t ns_per_token = l->ns / (int64_t)l->group.n_tokens;
    for (size_t i = 0; i < l->n_slices; i++)
        finish_slice(p, l->slices[i], ns_per_token, status, error);
}

/* ---- Lanes -------------------------------------------------------------- */

/* One more lane is woken for each that took something: never all at once. */
static void wake_one(cr_pipeline *p) {
    for (uint32_t i = 0; i < p->options.lanes; i++) {
        lane *l = &p->lanes[i];
        if (l->waiting && !l->woken && !l->leader) {
            wake(l);
            return;
        }
    }
}

static void join_team(lane *l) {
    cr_pipeline *p = l->pipeline;
    lane *leader = l->leader;
    cr_backend *backend = leader->generation->backend;
    int64_t start = cr_now_ns();
    p->n_idle--;
    pthread_mutex_unlock(&p->lock);
    cr_error error;
    backend->ops->score(
        backend, l->index, &leader->team, l->member, &leader->group,
        leader->generation->rooms[leader->index].logits, &error);
    pthread_mutex_lock(&p->lock);
    l->busy_ns += cr_now_ns() - start;
    p->n_idle++;
    l->leader = NULL;
    if (--leader->n_away == 0)
        pthread_cond_signal(&leader->wake);
}

static void wait_for_work(lane *l, int64_t until_ns) {
    cr_pipeline *p = l->pipeline;
    l->waiting = true;
    l->woken = false;
    if (until_ns == INT64_MAX) {
        pthread_cond_wait(&l->wake, &p->lock);
    } else {
        struct timespec until = {.tv_sec = until_ns / 1000000000,
                                 .tv_nsec = until_ns % 1000000000};
        pthread_cond_timedwait(&l->wake, &p->lock, &until);
    }
    l->waiting = false;
}

static void count_work(cr_pipeline *p, lane *l) {
    l->busy_ns += l->ns;
    p->done_tokens += l->group.n_tokens;
    p->done_ns += l->ns * l->team.n_members;
    /* Old days count half, so that the rate follows the load. */
    if (p->done_ns > INT64_C(20000000000)) {
        p->done_ns /= 2;
        p->done_tokens /= 2;
    }
}

/* Called with the lock held, which is free meanwhile. */
static cr_status score_slices(cr_pipeline *p, lane *l, cr_error *error) {
    pthread_mutex_unlock(&p->lock);
    int64_t start = cr_now_ns();
    cr_status status = score_group(l, error);
    l->ns = cr_now_ns() - start;
    count_group(l, status);
    pthread_mutex_lock(&p->lock);
    count_work(p, l);
    return status;
}

/* After a failure: every request's part of the group alone, so that only those
 * fail that do it by themselves. A group that was too large for a device may
 * fit so, too. */
static void score_apart(cr_pipeline *p, lane *l) {
    cr_slice parts[CR_GROUP_SLICES];
    size_t n = l->n_slices;
    memcpy(parts, l->slices, n * sizeof *parts);
    l->n_slices = 1;
    for (size_t i = 0; i < n; i++) {
        cr_error error = {.status = CR_OK};
        l->slices[0] = parts[i];
        cr_status status = parts[i].job->status;
        if (status == CR_OK)
            status = score_slices(p, l, &error);
        finish_group(p, l, status, &error);
    }
}

static void work(lane *l) {
    cr_pipeline *p = l->pipeline;
    p->n_idle--;
    show_queue(p);
    if (p->dispatch.queue.n_pairs)
        wake_one(p);
    cr_error error = {.status = CR_OK};
    cr_status status = score_slices(p, l, &error);
    if (status != CR_OK && l->n_slices > 1)
        score_apart(p, l);
    else
        finish_group(p, l, status, &error);
    l->n_slices = 0;
    p->n_idle++;
    show_queue(p);
}

static void *run_lane(void *argument) {
    lane *l = argument;
    cr_pipeline *p = l->pipeline;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        int64_t look_again_ns;
        hand_back(p);
        if (l->leader) {
            join_team(l);
            continue;
        }
        if (take_group(p, l, &look_again_ns)) {
            work(l);
            continue;
        }
        show_queue(p);
        if (p->finished)
            continue;
        if (p->stop && p->dispatch.queue.n_pairs == 0)
            break;
        wait_for_work(l, look_again_ns);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- From outside ------------------------------------------------------- */

static double rate_of(const cr_pipeline *p) {
    return p->done_ns ? (double)p->done_tokens * 1e9 * p->options.lanes /
                            (double)p->done_ns
                      : 0;
}

cr_status cr_pipeline_submit(cr_pipeline *p, cr_job *job, cr_error *error) {
    uint64_t tokens = job->starts[job->n_pairs];
    pthread_mutex_lock(&p->lock);
    cr_status status = CR_OK;
    /* What is in a hurry is the server's own check, which load must not fail.
     */
    if (p->dispatch.queue.n_pairs && !job->hurry &&
        p->dispatch.queue.n_tokens + tokens > p->options.max_queue_tokens)
        status = cr_fail(error, CR_ERR_OVERLOADED,
                         "Model is overloaded: %llu tokens wait, with this "
                         "request's %llu that is over max_queue_tokens (%llu); "
                         "try again later%s",
                         (unsigned long long)p->dispatch.queue.n_tokens,
                         (unsigned long long)tokens,
                         (unsigned long long)p->options.max_queue_tokens,
                         tokens > p->options.max_queue_tokens
                             ? ", send fewer documents or raise the limit: one "
                               "so large is taken only when nothing waits"
                             : "");
    if (status == CR_OK) {
        job->queued_ns = cr_now_ns();
        status = cr_queue_push(&p->dispatch.queue, job, error);
    }
    if (status == CR_OK) {
        p->n_deadlines += job->deadline_ns != 0;
        show_queue(p);
        wake_one(p);
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void wake_all(cr_pipeline *p) {
    for (uint32_t i = 0; i < p->n_started; i++)
        pthread_cond_signal(&p->lanes[i].wake);
}

void cr_pipeline_hurry(cr_pipeline *p) {
    pthread_mutex_lock(&p->lock);
    p->dispatch.hurry = true;
    wake_all(p);
    pthread_mutex_unlock(&p->lock);
}

cr_pipeline_state cr_pipeline_look(cr_pipeline *p) {
    pthread_mutex_lock(&p->lock);
    const cr_job *oldest = p->dispatch.queue.oldest;
    cr_pipeline_state s = {.waiting_pairs = p->dispatch.queue.n_pairs,
                           .waiting_tokens = p->dispatch.queue.n_tokens,
                           .oldest_age_ns =
                               oldest ? cr_now_ns() - oldest->queued_ns : 0,
                           .lanes = p->options.lanes,
                           .busy_lanes = p->options.lanes - p->n_idle,
                           .tokens_per_second = rate_of(p)};
    pthread_mutex_unlock(&p->lock);
    return s;
}

int64_t cr_pipeline_lane_busy_ns(cr_pipeline *p, uint32_t i) {
    pthread_mutex_lock(&p->lock);
    int64_t ns = p->lanes[i].busy_ns;
    pthread_mutex_unlock(&p->lock);
    return ns;
}

static cr_status start_lane(cr_pipeline *p, uint32_t i, cr_error *error) {
    lane *l = &p->lanes[i];
    pthread_condattr_t monotonic;
    *l = (lane){.pipeline = p, .index = i};
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&l->thread, NULL, run_lane, l) == 0)
        return CR_OK;
    pthread_cond_destroy(&l->wake);
    return cr_fail(error, CR_ERR_MEMORY,
                   "cannot start thread %u of %u: allow more threads or ask "
                   "for fewer",
                   i + 1, p->options.lanes);
}

cr_status cr_pipeline_new(const cr_pipeline_options *options,
                          cr_pipeline **pipeline, cr_error *error) {
    *pipeline = NULL;
    size_t bytes = sizeof(cr_pipeline) + options->lanes * sizeof(lane);
    cr_pipeline *p = cr_calloc(1, bytes);
    if (!p)
        return cr_fail_memory(error, bytes, "lanes");
    p->options = *options;
    pthread_mutex_init(&p->lock, NULL);
    cr_dispatch_init(&p->dispatch, &options->batching, options->quantum);
    p->n_idle = options->lanes;
    cr_metrics_set(options->metrics, CR_GAUGE_LANES, options->lanes);
    cr_status status = CR_OK;
    /* Lanes look at all others, so they start when all are laid out. */
    pthread_mutex_lock(&p->lock);
    for (uint32_t i = 0; status == CR_OK && i < options->lanes; i++) {
        status = start_lane(p, i, error);
        p->n_started += status == CR_OK;
    }
    pthread_mutex_unlock(&p->lock);
    if (status != CR_OK)
        cr_pipeline_free(p);
    else
        *pipeline = p;
    return status;
}

void cr_pipeline_free(cr_pipeline *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = p->dispatch.hurry = true;
    wake_all(p);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->n_started; i++)
        pthread_join(p->lanes[i].thread, NULL);
    for (uint32_t i = 0; i < p->n_started; i++)
        pthread_cond_destroy(&p->lanes[i].wake);
    cr_dispatch_fini(&p->dispatch);
    pthread_mutex_destroy(&p->lock);
    cr_free(p);
}
