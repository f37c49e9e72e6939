/* Simulate: a heap of events, and replicas that dispatch as the server does. */
#include "lab/simulate.h"

#include "base/mem.h"
#include "base/random.h"
#include "engine/team.h"
#include "lab/balancer.h"
#include "sched/dispatch.h"

#include <assert.h>
#include <math.h>

enum {
    STOP_CHECK_EVENTS = 4096,
    /* Where so many times the requests that were to be launched have come and
     * not all of those are answered, they never will be in good time. */
    MAX_TIMES_LAUNCHED = 3
};

typedef enum event_kind {
    EVENT_ARRIVAL, /* of the next request, at the balancer */
    EVENT_QUEUE,   /* a request has become tokens */
    EVENT_DONE,    /* a group is done */
    EVENT_LOOK     /* a replica looks again */
} event_kind;

typedef struct event {
    int64_t at_ns;
    uint64_t order; /* equal times in the order they were made */
    void *target;   /* request, group or replica, by kind */
    event_kind kind;
} event;

typedef struct replica replica;

typedef struct request {
    cr_job job;
    replica *replica;
    int64_t begun_ns;
    uint64_t number;               /* of launching */
    struct request *made, *unused; /* made before; the next one to use again */
} request;

typedef struct group {
    cr_slice slices[CR_GROUP_SLICES];
    size_t n_slices;
    replica *replica;
    uint32_t members;
    int64_t started_ns, until_ns;
    struct group *before, *behind; /* in the ring of its replica */
    struct group *made, *unused;
} group;

struct replica {
    cr_dispatch dispatch;
    uint32_t number, idle; /* lanes */
    group *running;        /* whose turn it is to lend its CPU */
    int64_t look_ns;       /* when it will look again */
    int64_t idle_ns;       /* since when all its lanes are idle */
    int64_t debt_ns;       /* of the door, to the next group */
    uint64_t share;
};

typedef struct simulation {
    const cr_simulation_options *o;
    cr_simulation *result;
    cr_error *error;
    cr_backend backend; /* nothing but a geometry */
    cr_generation generation;
    cr_balancer balancer;
    replica *replicas; /* [o->replicas] */
    event *heap;
    size_t n_heap, heap_room;
    uint64_t n_made; /* events */
    request *requests, *unused_request;
    group *groups, *unused_group;
    uint64_t n_requests; /* of different ones: as many connections */
    int64_t now_ns;
    uint64_t gaps, kinds, noise; /* states of random numbers */
    int64_t first_ns, last_ns;   /* counted launches */
    double busy_ns;              /* lane time between them */
    int64_t longest_wait_ns;
    double *latencies_ms; /* [o->requests] */
} simulation;

/* ---- Events ---------------------------------------------------------------
 */

static bool is_sooner(const event *a, const event *b) {
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->order < b->order);
}

static cr_status push(simulation *s, int64_t at_ns, event_kind kind,
                      void *target) {
    if (s->n_heap == s->heap_room) {
        size_t room = s->heap_room ? 2 * s->heap_room : 256;
        event *heap = cr_realloc(s->heap, room * sizeof *heap);
        if (!heap)
            return cr_fail_memory(s->error, room * sizeof *heap, "events");
        s->heap = heap;
        s->heap_room = room;
    }
    event e = {at_ns, s->n_made++, target, kind};
    size_t i = s->n_heap++;
    for (; i && is_sooner(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
    return CR_OK;
}

static event pop(simulation *s) {
    event first = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
        if (child + 1 < s->n_heap &&
            is_sooner(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!is_sooner(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return first;
}

/* ---- Requests and groups, used again and again ----------------------------
 */

static request *new_request(simulation *s) {
    request *r = s->unused_request;
    if (r) {
        s->unused_request = r->unused;
    } else {
        r = cr_calloc(1, sizeof *r);
        if (!r)
            return NULL;
        r->made = s->requests;
        s->requests = r;
        r->job.client = s->n_requests++; /* as a connection has */
    }
    return r;
}

static group *new_group(simulation *s) {
    group *g = s->unused_group;
    if (g) {
        s->unused_group = g->unused;
    } else if ((g = cr_calloc(1, sizeof *g)) != NULL) {
        g->made = s->groups;
        s->groups = g;
    }
    return g;
}

static void enter_ring(group *g) {
    group *at = g->replica->running;
    g->before = at ? at->before : g;
    g->behind = at ? at : g;
    g->before->behind = g->behind->before = g;
    if (!at)
        g->replica->running = g;
}

static void leave_ring(group *g) {
    if (g->replica->running == g)
        g->replica->running = g->behind == g ? NULL : g->behind;
    g->before->behind = g->behind;
    g->behind->before = g->before;
}

/* ---- A replica ------------------------------------------------------------
 */

/* Lane time that lies between the first and the last counted launch. The last
 * is not known before it was. */
static void count_busy(simulation *s, const group *g) {
    int64_t from = g->started_ns > s->first_ns ? g->started_ns : s->first_ns;
    int64_t until = s->last_ns < s->now_ns ? s->last_ns : s->now_ns;
    if (s->first_ns != INT64_MAX && until > from)
        s->busy_ns += (double)(until - from) * g->members;
}

static int64_t group_ns(simulation *s, uint64_t tokens, uint32_t members) {
    const cr_service *v = s->o->service;
    double ns = cr_service_ns(v, (double)tokens);
    if (v->n_ratios)
        ns *= v->ratios[cr_random_below(&s->noise, v->n_ratios)];
    return (int64_t)(ns / (1 + (members - 1) * v->team_gain) + 0.5);
}

/* Of pairs that waited although all lanes were idle. */
static void note_wait(simulation *s, const replica *r, int64_t oldest_ns) {
    if (r->idle < s->o->lanes)
        return;
    int64_t since = oldest_ns > r->idle_ns ? oldest_ns : r->idle_ns;
    if (s->now_ns - since > s->longest_wait_ns)
        s->longest_wait_ns = s->now_ns - since;
}

static cr_status start_group(simulation *s, replica *r, group *g, bool team) {
    uint64_t tokens = 0, pairs = 0;
    for (size_t i = 0; i < g->n_slices; i++) {
        const cr_slice *slice = &g->slices[i];
        slice->job->n_out += slice->end - slice->first;
        pairs += slice->end - slice->first;
        tokens +=
            slice->job->starts[slice->end] - slice->job->starts[slice->first];
    }
    g->members = 1;
    if (team && r->dispatch.queue.n_pairs == 0) {
        uint32_t most =
            cr_team_worth(tokens, s->o->service->geometry.team_tokens);
        g->members = most < r->idle ? most : r->idle;
    }
    g->replica = r;
    g->started_ns = s->now_ns;
    g->until_ns = s->now_ns + group_ns(s, tokens, g->members) + r->debt_ns;
    r->debt_ns = 0;
    r->idle -= g->members;
    enter_ring(g);
    s->result->n_groups++;
    s->result->n_group_pairs += pairs;
    s->result->n_group_tokens += tokens;
    return push(s, g->until_ns, EVENT_DONE, g);
}

/* Idle lanes take what may go. */
static cr_status serve(simulation *s, replica *r) {
    cr_status status = CR_OK;
    while (status == CR_OK && r->idle && r->dispatch.queue.n_pairs) {
        int64_t oldest_ns = r->dispatch.queue.oldest->queued_ns;
        group *g = new_group(s);
        if (!g)
            return cr_fail_memory(s->error, sizeof *g, "a group");
        cr_dispatch_answer a =
            cr_dispatch_take(&r->dispatch, s->now_ns, r->idle, g->slices);
        g->n_slices = a.n_slices;
        if (a.n_slices) {
            note_wait(s, r, oldest_ns);
            status = start_group(s, r, g, a.team);
            continue;
        }
        g->unused = s->unused_group;
        s->unused_group = g;
        if (a.look_again_ns != INT64_MAX && a.look_again_ns != r->look_ns) {
            r->look_ns = a.look_again_ns;
            status = push(s, a.look_again_ns, EVENT_LOOK, r);
        }
        break;
    }
    return status;
}

/* The CPU time that a request costs beside its groups: an idle lane's, else
 * that of busy ones in turns. A lane that is about to take what waits is busy;
 * it pays with its next group. */
static void pay_at_door(replica *r, int64_t ns) {
    group *g = r->running;
    if (r->idle && r->dispatch.queue.n_pairs) {
        r->debt_ns += ns;
    } else if (!r->idle) {
        g->until_ns += ns;
        r->running = g->behind;
    }
}

/* ---- The way of a request -------------------------------------------------
 */

static void note_launch(simulation *s, request *r) {
    const cr_simulation_options *o = s->o;
    if (r->number == o->warmup)
        s->first_ns = s->now_ns;
    if (r->number == o->warmup + o->requests - 1)
        s->last_ns = s->now_ns;
}

static cr_status launch(simulation *s) {
    const cr_simulation_options *o = s->o;
    uint32_t number;
    request *r = new_request(s);
    if (!r)
        return cr_fail_memory(s->error, sizeof *r, "a request");
    cr_status status = cr_balancer_pick(&s->balancer, &number, s->error);
    if (status != CR_OK)
        return status;
    size_t kind = cr_random_below(&s->kinds, o->n_kinds);
    int64_t door_ns = (int64_t)o->service->door_ns;
    r->replica = &s->replicas[number];
    r->replica->share++;
    r->begun_ns = s->now_ns;
    r->number = s->result->launched++;
    /* The queue reads them alone. */
    r->job.starts = (uint32_t *)(uintptr_t)(o->starts + kind * (o->pairs + 1));
    r->job.n_pairs = o->pairs;
    r->job.max_group_tokens = o->service->geometry.max_group_tokens;
    r->job.generation = &s->generation;
    r->job.owner = r;
    note_launch(s, r);
    pay_at_door(r->replica, door_ns);
    return push(s, s->now_ns + door_ns, EVENT_QUEUE, r);
}

static cr_status arrive(simulation *s) {
    cr_status status = launch(s);
    double gap_ns = -log(cr_random_unit(&s->gaps)) / s->o->rate * 1e9;
    if (status == CR_OK)
        status =
            push(s, s->now_ns + (int64_t)(gap_ns + 0.5), EVENT_ARRIVAL, NULL);
    return status;
}

static cr_status enqueue(simulation *s, request *r) {
    r->job.queued_ns = s->now_ns;
    cr_status status =
        cr_queue_push(&r->replica->dispatch.queue, &r->job, s->error);
    return status == CR_OK ? serve(s, r->replica) : status;
}

static cr_status answer(simulation *s, request *r) {
    const cr_simulation_options *o = s->o;
    cr_simulation *result = s->result;
    cr_balancer_finish(&s->balancer, r->replica->number);
    result->answered++;
    if (r->number >= o->warmup && r->number - o->warmup < o->requests)
        s->latencies_ms[result->counted++] =
            ((double)(s->now_ns - r->begun_ns) + o->service->wire_ns) * 1e-6;
    r->unused = s->unused_request;
    s->unused_request = r;
    return o->in_flight ? launch(s) : CR_OK;
}

static cr_status finish(simulation *s, group *g) {
    replica *r = g->replica;
    cr_status status = CR_OK;
    if (g->until_ns > s->now_ns) /* its CPU was lent out meanwhile */
        return push(s, g->until_ns, EVENT_DONE, g);
    count_busy(s, g);
    leave_ring(g);
    r->idle += g->members;
    if (r->idle == s->o->lanes)
        r->idle_ns = s->now_ns;
    for (size_t i = 0; i < g->n_slices && status == CR_OK; i++) {
        cr_job *job = g->slices[i].job;
        job->n_out -= g->slices[i].end - g->slices[i].first;
        if (job->next == job->n_pairs && job->n_out == 0)
            status = answer(s, job->owner);
    }
    g->unused = s->unused_group;
    s->unused_group = g;
    return status == CR_OK ? serve(s, r) : status;
}

/* ---- All of it ------------------------------------------------------------
 */

static cr_status handle(simulation *s, const event *e) {
    s->now_ns = e->at_ns;
    switch (e->kind) {
    case EVENT_ARRIVAL:
        return arrive(s);
    case EVENT_QUEUE:
        return enqueue(s, e->target);
    case EVENT_DONE:
        return finish(s, e->target);
    case EVENT_LOOK:
        break;
    }
    return serve(s, e->target);
}

static cr_status begin(simulation *s) {
    const cr_simulation_options *o = s->o;
    const cr_geometry *g = &o->service->geometry;
    cr_backend_description *d = &s->backend.description;
    d->group_tokens = g->group_tokens;
    d->max_group_tokens = g->max_group_tokens;
    d->team_tokens = g->team_tokens;
    s->generation.backend = &s->backend;
    s->first_ns = s->last_ns = INT64_MAX;
    uint64_t seeds = o->seed;
    s->gaps = cr_random(&seeds);
    s->kinds = cr_random(&seeds);
    s->noise = cr_random(&seeds);
    cr_status status = cr_balancer_init(&s->balancer, o->replicas, s->error);
    s->replicas = cr_calloc(o->replicas, sizeof *s->replicas);
    s->latencies_ms = cr_calloc(o->requests, sizeof *s->latencies_ms);
    if (!s->replicas || !s->latencies_ms)
        return cr_fail_memory(s->error, o->replicas * sizeof *s->replicas,
                              "replicas");
    for (uint32_t i = 0; i < o->replicas; i++) {
        s->replicas[i].number = i;
        s->replicas[i].idle = o->lanes;
        cr_dispatch_init(&s->replicas[i].dispatch, &o->batching,
                         cr_fair_quantum(g->group_tokens, o->lanes));
    }
    if (!o->in_flight && status == CR_OK)
        return push(s, 0, EVENT_ARRIVAL, NULL);
    for (uint32_t i = 0; i < o->in_flight && status == CR_OK; i++)
        status = launch(s);
    return status;
}

static cr_status run(simulation *s) {
    const cr_simulation_options *o = s->o;
    cr_simulation *result = s->result;
    uint64_t most = MAX_TIMES_LAUNCHED * (o->warmup + o->requests);
    cr_status status = begin(s);
    while (status == CR_OK && result->counted < o->requests) {
        event e = pop(s);
        if (result->launched > most) {
            result->overloaded = true;
            return CR_OK;
        }
        if (++result->n_events % STOP_CHECK_EVENTS == 0 && o->stop && o->stop())
            return cr_fail(s->error, CR_ERR_CANCELLED, "interrupted");
        status = handle(s, &e);
    }
    return status;
}

static cr_status sum_up(simulation *s) {
    const cr_simulation_options *o = s->o;
    cr_simulation *result = s->result;
    double ns = (double)(s->last_ns - s->first_ns);
    result->least_share = UINT64_MAX;
    for (uint32_t i = 0; i < o->replicas; i++) {
        uint64_t share = s->replicas[i].share;
        if (share < result->least_share)
            result->least_share = share;
        if (share > result->most_share)
            result->most_share = share;
    }
    result->seconds = (double)s->now_ns * 1e-9;
    result->longest_idle_wait_ms = (double)s->longest_wait_ns * 1e-6;
    result->requests_per_s = CR_UNKNOWN;
    result->utilization = CR_UNKNOWN;
    if (result->overloaded)
        return CR_OK;
    if (ns > 0) {
        result->requests_per_s = (double)(o->requests - 1) * 1e9 / ns;
        result->utilization = s->busy_ns / ns / o->lanes / o->replicas;
    }
    return cr_spread_of(s->latencies_ms, result->counted, &result->latency_ms,
                        s->error);
}

static void empty_queue(cr_dispatch *d) {
    while (d->queue.oldest)
        cr_queue_drop(&d->queue, d->queue.oldest);
    cr_dispatch_fini(d);
}

static void clean_up(simulation *s) {
    for (uint32_t i = 0; s->replicas && i < s->o->replicas; i++)
        empty_queue(&s->replicas[i].dispatch);
    for (request *r = s->requests, *next; r; r = next) {
        next = r->made;
        cr_free(r);
    }
    for (group *g = s->groups, *next; g; g = next) {
        next = g->made;
        cr_free(g);
    }
    cr_balancer_fini(&s->balancer);
    cr_free(s->replicas);
    cr_free(s->heap);
    cr_free(s->latencies_ms);
}

static cr_status check(const cr_simulation_options *o, cr_error *error) {
    if (o->replicas < 1 || o->replicas > CR_MAX_REPLICAS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%u replicas: 1 to %d can be simulated", o->replicas,
                       CR_MAX_REPLICAS);
    if (o->lanes < 1 ||
        (uint64_t)o->lanes * o->replicas > CR_MAX_SIMULATED_LANES)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%u replicas of %u lanes: 1 to %d lanes in all can be "
                       "simulated",
                       o->replicas, o->lanes, CR_MAX_SIMULATED_LANES);
    return CR_OK;
}

cr_status cr_simulate(const cr_simulation_options *o, cr_simulation *result,
                      cr_error *error) {
    *result = (cr_simulation){.overloaded = false};
    cr_status status = check(o, error);
    if (status != CR_OK)
        return status;
    assert(o->pairs > 0 && o->n_kinds > 0 && o->requests > 0);
    simulation s = {.o = o, .result = result, .error = error};
    status = run(&s);
    if (status == CR_OK)
        status = sum_up(&s);
    clean_up(&s);
    return status;
}
