/* Calibrate: lanes that score groups of every size, each on a thread. */
#include "lab/calibrate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of the groups in shares of what a lane likes, and how long each is
 * measured. A server under load has most groups of the size that is measured
 * longest: their spread is the one that is kept. */
static const struct {
    double share, seconds;
} STEPS[] = {{0.06, 0.2}, {0.12, 0.2}, {0.25, 0.25}, {0.4, 0.25}, {0.6, 0.25},
             {0.8, 0.3},  {1.0, 1.2},  {1.25, 0.3},  {1.5, 0.3}};

enum {
    N_STEPS = sizeof STEPS / sizeof *STEPS,
    MAIN_STEP = 6,
    MIN_GROUPS = 4,
    MAX_GROUPS = 400, /* of a step on a lane */
    MAX_TEAM_ROUNDS = 200
};
static const double TEAM_SECONDS = 0.3;
/* Groups that differ by less are a point of the curve. */
static const double POINT_WIDTH = 1.25;

typedef struct sample {
    uint32_t step, tokens;
    int64_t ns;
} sample;

typedef struct calibration {
    const cr_calibration *o;
    uint32_t lanes;
    struct worker *workers; /* [lanes] */
    void *(*work)(void *);
    pthread_mutex_t start; /* held until all threads are there, or are not */
    _Atomic bool stop;
    /* The team's round. */
    cr_team team, gate;
    cr_group *team_group;
    _Atomic bool more;
} calibration;

typedef struct worker {
    calibration *c;
    uint32_t lane;
    pthread_t thread;
    uint64_t random;
    cr_group group;
    sample *samples; /* [N_STEPS * MAX_GROUPS] */
    size_t n;
    cr_status status;
    cr_error error;
    double team_ns, alone_ns; /* means; the leader's */
    double cpu_ns, wall_ns;   /* of all steps */
} worker;

static bool is_stopped(calibration *c) {
    if (c->o->stop && c->o->stop())
        atomic_store(&c->stop, true);
    return atomic_load(&c->stop);
}

/* ---- One group ------------------------------------------------------------
 */

/* Neighbouring pairs, as many as the queue would give who wants `want`. */
static void lay_out(worker *w, double want) {
    const cr_calibration *o = w->c->o;
    const cr_job *job = o->encoded;
    cr_group_room *room = &o->generation->rooms[w->lane];
    uint32_t most = o->generation->backend->description.max_group_tokens;
    uint32_t pair = (uint32_t)cr_random_below(&w->random, job->n_pairs);
    w->group = (cr_group){.ids = room->ids,
                          .type_ids = room->type_ids,
                          .positions = room->positions,
                          .starts = room->starts};
    room->starts[0] = 0;
    for (;; pair = (pair + 1) % job->n_pairs) {
        uint32_t more = cr_job_pair_tokens(job, pair);
        size_t tokens = w->group.n_tokens;
        if (tokens + more > most || w->group.n_sequences == job->n_pairs ||
            (tokens && (double)tokens + more * 0.5 > want))
            return;
        cr_job_lay_out(job, pair, room, &w->group);
    }
}

/* Nanoseconds; -1 after a failure. */
static int64_t score(worker *w, cr_team *team, uint32_t member,
                     cr_group *group) {
    const cr_generation *g = w->c->o->generation;
    int64_t start = cr_now_ns();
    cr_status status =
        g->backend->ops->score(g->backend, w->lane, team, member, group,
                               g->rooms[team->lanes[0]].logits, &w->error);
    int64_t ns = cr_now_ns() - start;
    if (status == CR_OK)
        return ns;
    w->status = status;
    atomic_store(&w->c->stop, true);
    return -1;
}

/* ---- Lanes for themselves -------------------------------------------------
 */

static void measure_step(worker *w, uint32_t step) {
    double want = STEPS[step].share *
                  w->c->o->generation->backend->description.group_tokens;
    int64_t end = cr_now_ns() + (int64_t)(STEPS[step].seconds * 1e9);
    cr_team alone;
    cr_team_init_alone(&alone, w->lane);
    for (size_t i = 0; !is_stopped(w->c) && i < MAX_GROUPS; i++) {
        if (i >= MIN_GROUPS && cr_now_ns() >= end)
            return;
        lay_out(w, want);
        int64_t ns = score(w, &alone, 0, &w->group);
        if (ns < 0)
            return;
        w->samples[w->n++] = (sample){step, (uint32_t)w->group.n_tokens, ns};
    }
}

static int64_t thread_cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *measure_lane(void *context) {
    worker *w = context;
    cr_team alone;
    cr_team_init_alone(&alone, w->lane);
    lay_out(w, w->c->o->generation->backend->description.group_tokens);
    score(w, &alone, 0, &w->group); /* the first one touches new memory */
    int64_t cpu_ns = thread_cpu_ns(), start_ns = cr_now_ns();
    for (uint32_t i = 0; i < N_STEPS; i++)
        measure_step(w, i);
    w->cpu_ns = (double)(thread_cpu_ns() - cpu_ns);
    w->wall_ns = (double)(cr_now_ns() - start_ns);
    return NULL;
}

/* ---- Lanes as a team ------------------------------------------------------
 */

/* The leader of the team lays out and tells the others, who follow it from
 * gate to gate. */
static void *measure_team(void *context) {
    worker *w = context;
    calibration *c = w->c;
    uint32_t like = c->o->generation->backend->description.group_tokens;
    int64_t end = cr_now_ns() + (int64_t)(TEAM_SECONDS * 1e9);
    double sum = 0, alone_sum = 0, n = 0;
    cr_team alone;
    cr_team_init_alone(&alone, w->lane);
    for (;;) {
        if (w->lane == 0) {
            lay_out(w, like * 0.75);
            c->team_group = &w->group;
            int64_t ns = score(w, &alone, 0, &w->group);
            alone_sum += (double)ns;
            atomic_store(&c->more, !is_stopped(c) && n < MAX_TEAM_ROUNDS &&
                                       (n < MIN_GROUPS || cr_now_ns() < end));
        }
        cr_team_meet(&c->gate);
        if (!atomic_load(&c->more))
            break;
        int64_t ns = score(w, &c->team, w->lane, c->team_group);
        cr_team_meet(&c->gate);
        sum += (double)ns;
        n++;
    }
    if (n > 0) {
        w->team_ns = sum / n;
        w->alone_ns = alone_sum / (n + 1);
    }
    return NULL;
}

/* ---- Running threads ------------------------------------------------------
 */

/* A team waits for each other, so all begin or none. */
static void *begin(void *context) {
    worker *w = context;
    pthread_mutex_lock(&w->c->start);
    pthread_mutex_unlock(&w->c->start);
    return atomic_load(&w->c->stop) ? NULL : w->c->work(w);
}

static cr_status run_workers(calibration *c, uint32_t n, void *(*work)(void *),
                             cr_error *error) {
    cr_status status = CR_OK;
    uint32_t made = 1; /* the first lane is this thread's */
    c->work = work;
    pthread_mutex_lock(&c->start);
    for (; made < n; made++)
        if (pthread_create(&c->workers[made].thread, NULL, begin,
                           &c->workers[made]) != 0) {
            status = cr_fail(error, CR_ERR_MEMORY,
                             "cannot start thread %u of %u: allow more threads "
                             "or ask for fewer lanes",
                             made + 1, n);
            atomic_store(&c->stop, true);
            break;
        }
    pthread_mutex_unlock(&c->start);
    if (status == CR_OK)
        work(&c->workers[0]);
    for (uint32_t i = 1; i < made; i++)
        pthread_join(c->workers[i].thread, NULL);
    for (uint32_t i = 0; i < n && status == CR_OK; i++) {
        status = c->workers[i].status;
        if (status != CR_OK && error)
            *error = c->workers[i].error;
    }
    if (status == CR_OK && is_stopped(c))
        status = cr_fail(error, CR_ERR_CANCELLED, "interrupted");
    return status;
}

/* ---- What was measured ----------------------------------------------------
 */

static int by_tokens(const void *a, const void *b) {
    uint32_t x = ((const sample *)a)->tokens, y = ((const sample *)b)->tokens;
    return (x > y) - (x < y);
}

/* A point for the means of all groups of about one size, whatever step they
 * were made for: where pairs are long, a group is a pair. */
static void draw_points(const sample *sorted, size_t n, cr_service *s) {
    for (size_t i = 0, first = 0; i < n; first = i) {
        double tokens = 0, ns = 0, most = POINT_WIDTH * sorted[first].tokens;
        bool is_last = s->n_points + 1 == CR_SERVICE_POINTS;
        for (; i < n && (is_last || sorted[i].tokens <= most); i++) {
            tokens += sorted[i].tokens;
            ns += (double)sorted[i].ns;
        }
        s->tokens[s->n_points] = tokens / (double)(i - first);
        s->ns[s->n_points++] = round(ns / (double)(i - first));
    }
}

static cr_status draw_curve(const calibration *c, cr_service *s,
                            cr_error *error) {
    size_t n = 0, at = 0;
    for (uint32_t l = 0; l < c->lanes; l++)
        n += c->workers[l].n;
    sample *all = cr_calloc(n, sizeof *all);
    if (!all)
        return cr_fail_memory(error, n * sizeof *all, "samples");
    for (uint32_t l = 0; l < c->lanes; at += c->workers[l++].n)
        memcpy(all + at, c->workers[l].samples, c->workers[l].n * sizeof *all);
    qsort(all, n, sizeof *all, by_tokens);
    draw_points(all, n, s);
    cr_free(all);
    return CR_OK;
}

/* How far groups of the size that a lane likes lie beside the curve; their
 * mean is 1, so that the curve keeps the mean. */
static void keep_spread(const calibration *c, cr_service *s) {
    size_t n = 0, at = 0;
    double sum = 0;
    for (uint32_t l = 0; l < c->lanes; l++)
        for (size_t i = 0; i < c->workers[l].n; i++)
            n += c->workers[l].samples[i].step == MAIN_STEP;
    size_t every = (n + CR_SERVICE_RATIOS - 1) / CR_SERVICE_RATIOS;
    for (uint32_t l = 0; l < c->lanes; l++)
        for (size_t i = 0; i < c->workers[l].n; i++) {
            const sample *one = &c->workers[l].samples[i];
            if (one->step != MAIN_STEP || at++ % every)
                continue;
            double ratio = (double)one->ns / cr_service_ns(s, one->tokens);
            s->ratios[s->n_ratios++] = ratio;
            sum += ratio;
        }
    for (size_t i = 0; i < s->n_ratios; i++)
        s->ratios[i] *= (double)s->n_ratios / sum;
}

static cr_status measure_gain(calibration *c, cr_service *s, cr_error *error) {
    uint32_t n = c->lanes < CR_TEAM_MAX ? c->lanes : CR_TEAM_MAX;
    s->team_gain = 0;
    if (n < 2 || !s->geometry.team_tokens)
        return CR_OK;
    cr_team_init_alone(&c->team, 0);
    cr_team_init_alone(&c->gate, 0);
    c->team.n_members = c->gate.n_members = n;
    for (uint32_t i = 0; i < n; i++)
        c->team.lanes[i] = i;
    cr_status status = run_workers(c, n, measure_team, error);
    double faster = c->workers[0].alone_ns / c->workers[0].team_ns;
    if (status == CR_OK && faster > 1)
        s->team_gain = (faster - 1) / (n - 1);
    if (s->team_gain > 1)
        s->team_gain = 1;
    return status;
}

/* Backends that compute elsewhere than on the lane's thread have no CPU to be
 * kept from: their share is taken to be whole. */
static double share_of_cpu(const calibration *c) {
    double cpu = 0, wall = 0;
    for (uint32_t i = 0; i < c->lanes; i++) {
        cpu += c->workers[i].cpu_ns;
        wall += c->workers[i].wall_ns;
    }
    const cr_backend_ops *ops = c->o->generation->backend->ops;
    return ops == &cr_cpu_backend && wall > 0 ? cpu / wall : 1;
}

cr_status cr_calibrate_groups(const cr_calibration *o, cr_service *s,
                              double *cpu_share, cr_error *error) {
    const cr_backend_description *d = &o->generation->backend->description;
    calibration c = {.o = o, .lanes = d->lanes};
    cr_status status = CR_OK;
    *cpu_share = 0;
    *s = (cr_service){
        .geometry = {d->group_tokens, d->max_group_tokens, d->team_tokens}};
    c.workers = cr_calloc(c.lanes, sizeof *c.workers);
    pthread_mutex_init(&c.start, NULL);
    if (!c.workers)
        return cr_fail_memory(error, c.lanes * sizeof *c.workers, "lanes");
    for (uint32_t i = 0; i < c.lanes; i++) {
        worker *w = &c.workers[i];
        *w = (worker){.c = &c, .lane = i, .random = i};
        w->samples = cr_calloc(N_STEPS * MAX_GROUPS, sizeof *w->samples);
        if (!w->samples)
            status = cr_fail_memory(
                error, N_STEPS * MAX_GROUPS * sizeof *w->samples, "samples");
    }
    if (status == CR_OK)
        status = run_workers(&c, c.lanes, measure_lane, error);
    if (status == CR_OK) {
        *cpu_share = share_of_cpu(&c);
        status = draw_curve(&c, s, error);
    }
    if (status == CR_OK) {
        keep_spread(&c, s);
        status = measure_gain(&c, s, error);
    }
    for (uint32_t i = 0; i < c.lanes; i++)
        cr_free(c.workers[i].samples);
    cr_free(c.workers);
    pthread_mutex_destroy(&c.start);
    return status;
}
