/* Plan: floor, capacity, then a search over replica counts. */
#include "lab/plan.h"

#include <string.h>

const double CR_PLAN_UTILIZATION = 0.8;
/* Of the capacity, which is itself no better known: beyond it queues grow for
 * ever, and no simulation of them ends in a figure. */
static const double FULL = 0.999;

enum {
    ALONE_REQUESTS = 2000,
    CAPACITY_REQUESTS = 4000,
    MIN_IN_FLIGHT = 64,
    MAX_IN_FLIGHT = 20000,
    ROW_REQUESTS = 20000,  /* for a p99: 200 are beyond it */
    REPLICA_REQUESTS = 50, /* of each, so that many have settled too */
    /* Requests of very many pairs are fewer: so many groups, but never less
     * than a tenth of the requests above. */
    MAX_GROUPS = 2000000,
    BELOW = 2, /* neighbours of the answer in the table */
    ABOVE = 3
};

typedef struct search {
    const cr_plan_options *o;
    cr_plan *plan;
    cr_error *error;
} search;

static cr_simulation_options base_of(const cr_plan_options *o) {
    return (cr_simulation_options){.service = o->service,
                                   .batching = o->batching,
                                   .replicas = 1,
                                   .lanes = o->lanes,
                                   .starts = o->starts,
                                   .n_kinds = o->n_kinds,
                                   .pairs = o->pairs,
                                   .seed = o->seed,
                                   .stop = o->stop};
}

/* As many requests as are wanted, or as can be had in good time. */
static uint64_t affordable(const cr_plan_options *o, uint64_t wanted) {
    double tokens = 0;
    for (size_t k = 0; k < o->n_kinds; k++)
        tokens += o->starts[k * (o->pairs + 1) + o->pairs];
    double groups =
        tokens / (double)o->n_kinds / o->service->geometry.group_tokens;
    double most = fmax(MAX_GROUPS / fmax(groups, 1), (double)wanted / 10);
    return most < (double)wanted ? (uint64_t)most : wanted;
}

static cr_status simulate(search *s, const cr_simulation_options *o,
                          cr_simulation *result) {
    cr_status status = cr_simulate(o, result, s->error);
    s->plan->n_simulations++;
    s->plan->n_events += result->n_events;
    return status;
}

/* ---- Floor and capacity ---------------------------------------------------
 */

static cr_status find_floor(search *s, uint32_t lanes, cr_spread *alone_ms) {
    cr_simulation_options o = base_of(s->o);
    cr_simulation result;
    o.lanes = lanes;
    o.in_flight = 1;
    o.requests = affordable(s->o, ALONE_REQUESTS);
    cr_status status = simulate(s, &o, &result);
    *alone_ms = result.latency_ms;
    return status;
}

/* As many requests at once that no lane waits and no batch waits for its
 * window: twice the largest batch, and much longer work than the window. */
static uint32_t find_in_flight(const search *s) {
    const cr_batching *b = &s->o->batching;
    double n = MIN_IN_FLIGHT * (double)s->o->lanes;
    double window_ms = (double)b->timeout_ns * 1e-6;
    if (b->max_batch)
        n = fmax(n, 2.0 * b->max_batch / s->o->pairs);
    n = fmax(n, 20 * window_ms * s->o->lanes /
                    fmax(s->plan->alone_ms.mean - window_ms, 0.01));
    return n > MAX_IN_FLIGHT ? MAX_IN_FLIGHT : (uint32_t)ceil(n);
}

static cr_status find_capacity(search *s) {
    cr_simulation_options o = base_of(s->o);
    cr_simulation result;
    o.in_flight = find_in_flight(s);
    o.warmup = o.in_flight;
    o.requests =
        affordable(s->o, CAPACITY_REQUESTS) + 2 * (uint64_t)o.in_flight;
    cr_status status = simulate(s, &o, &result);
    /* By pairs: a fair queue has all that are in flight end together. */
    s->plan->capacity =
        (double)result.n_group_pairs / s->o->pairs / result.seconds;
    return status;
}

/* The fewest lanes, in doublings, with which a request alone would be fast
 * enough. */
static cr_status find_more_lanes(search *s) {
    cr_spread alone;
    cr_status status = CR_OK;
    double before = s->plan->alone_ms.p99;
    for (uint32_t lanes = 2 * s->o->lanes;
         status == CR_OK && lanes <= CR_PLAN_MORE_LANES; lanes *= 2) {
        status = find_floor(s, lanes, &alone);
        if (status != CR_OK || alone.p99 > 0.999 * before)
            break; /* more do not help */
        before = alone.p99;
        if (alone.p99 > s->o->p99_ms)
            continue;
        s->plan->more_lanes = lanes;
        s->plan->more_lanes_floor_ms = alone.p99;
        break;
    }
    return status;
}

/* ---- Rows -----------------------------------------------------------------
 */

static bool holds(const cr_plan_options *o, const cr_simulation *r) {
    if (r->overloaded)
        return false;
    return o->p99_ms > 0 ? r->latency_ms.p99 <= o->p99_ms
                         : r->utilization <= CR_PLAN_UTILIZATION;
}

static cr_plan_row *find_row(cr_plan *plan, uint32_t replicas) {
    for (size_t i = 0; i < plan->n_rows; i++)
        if (plan->rows[i].replicas == replicas)
            return &plan->rows[i];
    return NULL;
}

/* Simulates so many replicas, unless it was done. */
static cr_status add_row(search *s, uint32_t replicas, bool *good) {
    cr_plan *plan = s->plan;
    const cr_plan_row *old = find_row(plan, replicas);
    if (old) {
        *good = old->holds;
        return CR_OK;
    }
    if (s->o->progress)
        s->o->progress(s->o->context, replicas);
    cr_simulation_options o = base_of(s->o);
    o.replicas = replicas;
    o.rate = s->o->rate;
    o.requests = s->o->requests;
    if (!o.requests)
        o.requests = affordable(s->o, ROW_REQUESTS) +
                     (uint64_t)REPLICA_REQUESTS * replicas;
    o.warmup = o.requests / 5;
    cr_plan_row row = {.replicas = replicas};
    cr_status status = CR_OK;
    if (s->o->rate < FULL * replicas * plan->capacity)
        status = simulate(s, &o, &row.simulation);
    else
        row.simulation = (cr_simulation){.overloaded = true,
                                         .utilization = CR_UNKNOWN,
                                         .requests_per_s = CR_UNKNOWN};
    row.holds = *good = status == CR_OK && holds(s->o, &row.simulation);
    if (status != CR_OK || plan->n_rows == CR_PLAN_ROWS)
        return status;
    size_t at = plan->n_rows++;
    for (; at && plan->rows[at - 1].replicas > replicas; at--)
        plan->rows[at] = plan->rows[at - 1];
    plan->rows[at] = row;
    return CR_OK;
}

/* ---- The search -----------------------------------------------------------
 */

/* Replicas that can be simulated. */
static uint32_t most_of(const cr_plan_options *o) {
    uint32_t most = CR_MAX_SIMULATED_LANES / o->lanes;
    return most < CR_MAX_REPLICAS ? most : CR_MAX_REPLICAS;
}

/* The least number that can keep up. */
static cr_status find_first(const search *s, uint32_t *first) {
    double n = floor(s->o->rate / s->plan->capacity) + 1;
    uint32_t most = most_of(s->o);
    if (n > most)
        return cr_fail(s->error, CR_ERR_ARGUMENT,
                       "--rate is %g, which needs %.0f replicas of %u lanes; "
                       "%u can be simulated: plan for a part of the rate",
                       s->o->rate, n, s->o->lanes, most);
    *first = (uint32_t)n;
    return CR_OK;
}

/* The fewest replicas that hold, 0: none do. The p99 is taken to fall with
 * their number. Where it never will, as requests that meet no other are hardly
 * faster than was asked for, the search ends at a hundred times what keeps
 * up. */
static cr_status find_answer(search *s, uint32_t *answer) {
    uint32_t first = 1, most = most_of(s->o), good = 0;
    cr_status status = find_first(s, &first);
    if (first <= most / 100)
        most = 100 * first;
    uint32_t bad = first - 1;
    for (uint32_t step = 1; status == CR_OK && !good && bad < most; step *= 2) {
        uint32_t n = most - bad > step ? bad + step : most;
        bool is_good = false;
        status = add_row(s, n, &is_good);
        if (is_good)
            good = n;
        else
            bad = n;
    }
    while (status == CR_OK && good && good - bad > 1) {
        bool is_good = false;
        uint32_t middle = bad + (good - bad) / 2;
        status = add_row(s, middle, &is_good);
        if (is_good)
            good = middle;
        else
            bad = middle;
    }
    *answer = good;
    return status;
}

static cr_status add_neighbours(search *s, uint32_t answer) {
    cr_status status = CR_OK;
    uint32_t from = answer > BELOW ? answer - BELOW : 1;
    uint32_t to = answer + ABOVE;
    for (uint32_t n = from; status == CR_OK && n <= to; n++) {
        bool ignored;
        if (n <= most_of(s->o))
            status = add_row(s, n, &ignored);
    }
    return status;
}

static cr_status find_replicas(search *s) {
    cr_plan *plan = s->plan;
    bool good = false;
    uint32_t answer = s->o->replicas;
    plan->answer = CR_PLAN_ROWS;
    cr_status status =
        answer ? add_row(s, answer, &good) : find_answer(s, &answer);
    if (status == CR_OK && answer && !s->o->replicas)
        status = add_neighbours(s, answer);
    for (size_t i = 0; status == CR_OK && i < plan->n_rows; i++)
        if (plan->rows[i].replicas == answer)
            plan->answer = (uint32_t)i;
    if (status == CR_OK && !answer)
        plan->possible = false;
    return status;
}

cr_status cr_plan_make(const cr_plan_options *o, cr_plan *plan,
                       cr_error *error) {
    search s = {o, plan, error};
    memset(plan, 0, sizeof *plan);
    plan->answer = CR_PLAN_ROWS;
    plan->possible = true;
    cr_status status = find_floor(&s, o->lanes, &plan->alone_ms);
    if (status == CR_OK)
        status = find_capacity(&s);
    if (status == CR_OK && o->p99_ms > 0 && o->p99_ms < plan->alone_ms.p99) {
        plan->possible = false;
        status = find_more_lanes(&s);
    }
    if (status == CR_OK && (plan->possible || o->replicas))
        status = find_replicas(&s);
    return status;
}
