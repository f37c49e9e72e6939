/* The batcher: when to release, and how much a lane should take. */
#include "sched/batcher.h"

/* A group of less than this is not worth a pass over the weights, unless
 * nothing more is there. */
enum { MIN_GROUP_TOKENS = 96 };

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static bool is_full(const cr_batching *b, cr_amount waiting) {
    return (b->max_batch && waiting.pairs >= b->max_batch) ||
           (b->max_tokens && waiting.tokens >= b->max_tokens);
}

static bool shall_wait(const cr_batching *b, const cr_batcher_view *v) {
    return b->enabled && b->timeout_ns > 0 && !v->hurry &&
           !is_full(b, v->waiting) && v->now_ns - v->oldest_ns < b->timeout_ns;
}

static cr_amount release(const cr_batching *b, cr_amount waiting) {
    if (b->enabled && b->max_batch)
        waiting.pairs = least(waiting.pairs, b->max_batch);
    if (b->enabled && b->max_tokens)
        waiting.tokens = least(waiting.tokens, b->max_tokens);
    return waiting;
}

/* What is released is shared evenly between idle lanes, in parts that are
 * neither too small nor larger than a lane likes. */
static uint64_t share(const cr_geometry *g, const cr_batcher_view *v,
                      uint64_t tokens) {
    uint32_t lanes = v->idle_lanes ? v->idle_lanes : 1;
    uint64_t part = (tokens + lanes - 1) / lanes;
    if (part < MIN_GROUP_TOKENS)
        part = MIN_GROUP_TOKENS;
    return least(part, g->group_tokens);
}

cr_batcher_answer cr_batcher_decide(const cr_batching *b, const cr_geometry *g,
                                    const cr_batcher_view *v) {
    cr_batcher_answer a = {.look_again_ns = INT64_MAX, .released = v->released};
    if (v->waiting.pairs == 0)
        return a;
    a.new_batch = v->released.pairs == 0;
    if (a.new_batch && shall_wait(b, v)) {
        a.look_again_ns = v->oldest_ns + b->timeout_ns;
        a.new_batch = false;
        return a;
    }
    if (a.new_batch)
        a.released = release(b, v->waiting);
    uint64_t tokens = least(a.released.tokens, v->waiting.tokens);
    a.take = true;
    a.one_job = !b->enabled;
    a.team = g->team_tokens && v->idle_lanes > 1 && tokens <= g->group_tokens;
    a.want_tokens = a.team ? tokens : share(g, v, tokens);
    a.max_tokens = least(a.released.tokens, g->max_group_tokens);
    a.max_pairs = a.released.pairs;
    return a;
}
