/* Dispatch: between the batcher, which says how much, and the queue, which
 * says whose. */
#include "sched/dispatch.h"

void cr_dispatch_init(cr_dispatch *d, const cr_batching *batching,
                      uint32_t quantum) {
    *d = (cr_dispatch){.batching = *batching};
    cr_queue_init(&d->queue, quantum);
}

void cr_dispatch_fini(cr_dispatch *d) { cr_queue_fini(&d->queue); }

static cr_amount rest_of(const cr_job *job) {
    return (cr_amount){job->n_pairs - job->next,
                       job->starts[job->n_pairs] - job->starts[job->next]};
}

static cr_batcher_answer ask_batcher(const cr_dispatch *d, const cr_job *next,
                                     int64_t now_ns, uint32_t idle_lanes) {
    const cr_backend_description *b = &next->generation->backend->description;
    cr_geometry geometry = {b->group_tokens, b->max_group_tokens,
                            b->team_tokens};
    cr_batcher_view view = {.now_ns = now_ns,
                            .oldest_ns = d->queue.oldest->queued_ns,
                            .waiting = {d->queue.n_pairs, d->queue.n_tokens},
                            .released = d->released,
                            .idle_lanes = idle_lanes,
                            .hurry = d->hurry || next->hurry};
    if (!d->batching.enabled) {
        view.waiting = rest_of(next);
        view.released = (cr_amount){0, 0};
    }
    return cr_batcher_decide(&d->batching, &geometry, &view);
}

static void spend(cr_dispatch *d, const cr_slice *slices, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const cr_slice *s = &slices[i];
        uint64_t tokens = s->job->starts[s->end] - s->job->starts[s->first];
        uint64_t pairs = s->end - s->first;
        d->taken += pairs;
        d->released.pairs -=
            pairs < d->released.pairs ? pairs : d->released.pairs;
        d->released.tokens -=
            tokens < d->released.tokens ? tokens : d->released.tokens;
    }
}

static void end_batch(cr_dispatch *d, cr_dispatch_answer *answer) {
    if (d->taken)
        answer->ended[answer->n_ended++] = d->taken;
    d->taken = 0;
    d->released = (cr_amount){0, 0};
}

/* Counts what was taken. Without batching a job is a batch, whatever parts of
 * it are taken. */
static void count_taken(cr_dispatch *d, const cr_slice *slices,
                        cr_dispatch_answer *answer) {
    spend(d, slices, answer->n_slices);
    if (!d->batching.enabled) {
        bool whole = slices->end == slices->job->n_pairs;
        d->taken = whole ? slices->job->n_pairs : 0;
        if (whole)
            end_batch(d, answer);
    } else if (!d->released.pairs || !d->released.tokens || !d->queue.n_pairs) {
        end_batch(d, answer);
    }
}

cr_dispatch_answer cr_dispatch_take(cr_dispatch *d, int64_t now_ns,
                                    uint32_t idle_lanes, cr_slice *slices) {
    cr_dispatch_answer answer = {.look_again_ns = INT64_MAX};
    for (cr_job *next; (next = cr_queue_next(&d->queue)) != NULL;) {
        cr_batcher_answer a = ask_batcher(d, next, now_ns, idle_lanes);
        if (!a.take) {
            answer.look_again_ns = a.look_again_ns;
            return answer;
        }
        cr_take_limits limits = {.want_tokens = a.want_tokens,
                                 .max_tokens = a.max_tokens,
                                 .max_pairs = a.max_pairs,
                                 .must_take = a.new_batch,
                                 .one_job = a.one_job};
        d->released = a.released;
        answer.n_slices =
            cr_queue_take(&d->queue, &limits, slices, CR_GROUP_SLICES);
        if (answer.n_slices == 0) { /* the next pair is of the next batch */
            end_batch(d, &answer);
            continue;
        }
        answer.team = a.team;
        answer.new_batch = a.new_batch;
        count_taken(d, slices, &answer);
        return answer;
    }
    end_batch(d, &answer); /* the rest of it was dropped */
    return answer;
}
