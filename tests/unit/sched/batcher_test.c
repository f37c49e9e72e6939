/* The batching policy on a virtual clock: lanes are numbers, time is a number,
 * and every promise of the window is looked at in each step. */
#include "fake.h"

#include "sched/dispatch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const int64_t MS = 1000000;
static const cr_geometry CPU = {256, 768, 4};

static cr_batcher_view view_of(uint64_t pairs, uint64_t tokens, int64_t now,
                               int64_t oldest, uint32_t idle) {
    return (cr_batcher_view){.now_ns = now,
                             .oldest_ns = oldest,
                             .waiting = {pairs, tokens},
                             .idle_lanes = idle};
}

static void without_a_window_nothing_waits(void **state) {
    (void)state;
    cr_batching b = {.enabled = true};
    cr_batcher_view v = view_of(1, 60, 5 * MS, 5 * MS, 2);
    cr_batcher_answer a = cr_batcher_decide(&b, &CPU, &v);
    assert_true(a.take && a.team);
    assert_int_equal(a.want_tokens, 60);
    v = view_of(0, 0, 5 * MS, 0, 2);
    a = cr_batcher_decide(&b, &CPU, &v);
    assert_false(a.take);
    assert_true(a.look_again_ns == INT64_MAX);
}

static void the_window_waits_and_ends(void **state) {
    (void)state;
    cr_batching b = {.enabled = true, .max_batch = 96, .timeout_ns = 20 * MS};
    cr_batcher_view v = view_of(8, 800, 19 * MS, 0, 2);
    cr_batcher_answer a = cr_batcher_decide(&b, &CPU, &v);
    assert_false(a.take);
    assert_true(a.look_again_ns == 20 * MS);
    v.now_ns = 20 * MS;
    assert_true(cr_batcher_decide(&b, &CPU, &v).take);
    v = view_of(96, 9600, 1 * MS, 0, 2); /* full */
    a = cr_batcher_decide(&b, &CPU, &v);
    assert_true(a.take);
    assert_int_equal(a.released.pairs, 96);
    v = view_of(300, 30000, 1 * MS, 0, 2); /* more than full */
    assert_int_equal(cr_batcher_decide(&b, &CPU, &v).released.pairs, 96);
    v = view_of(8, 800, 1 * MS, 0, 2);
    v.hurry = true;
    assert_true(cr_batcher_decide(&b, &CPU, &v).take);
    b.enabled = false;
    v.hurry = false;
    a = cr_batcher_decide(&b, &CPU, &v);
    assert_true(a.take && a.one_job);
}

static void idle_lanes_share_evenly(void **state) {
    (void)state;
    cr_batching b = {.enabled = true};
    cr_batcher_view v = view_of(8, 400, 0, 0, 2);
    cr_batcher_answer a = cr_batcher_decide(&b, &CPU, &v);
    assert_false(a.team);
    assert_int_equal(a.want_tokens, 200);
    v.idle_lanes = 1;
    assert_int_equal(cr_batcher_decide(&b, &CPU, &v).want_tokens, 256);
    v.idle_lanes = 64;
    assert_int_equal(cr_batcher_decide(&b, &CPU, &v).want_tokens, 96);
    cr_geometry gpu = {8192, 16384, false};
    v = view_of(1000, 100000, 0, 0, 1);
    a = cr_batcher_decide(&b, &gpu, &v);
    assert_int_equal(a.want_tokens, 8192);
    assert_int_equal(a.max_tokens, 16384);
}

/* ---- A machine on a virtual clock --------------------------------------- */

enum { LANES = 3, JOBS = 400 };

typedef struct machine {
    cr_dispatch dispatch;
    cr_backend backend;
    cr_generation generation;
    int64_t now, busy_until[LANES];
    cr_job jobs[JOBS];
    int64_t last_start[JOBS];
    uint64_t batch_pairs, batch_tokens; /* taken of the batch that is open */
    uint64_t ended_pairs;               /* of all batches that are over */
    int64_t longest_idle_wait; /* of a pair, while all lanes were idle */
} machine;

static uint32_t idle_lanes(const machine *m) {
    uint32_t n = 0;
    for (size_t i = 0; i < LANES; i++)
        n += m->busy_until[i] <= m->now;
    return n;
}

static int64_t later(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t last_busy(const machine *m) {
    int64_t last = 0;
    for (size_t i = 0; i < LANES; i++)
        last = later(last, m->busy_until[i]);
    return last;
}

static void check_slice(machine *m, cr_slice s, uint64_t *tokens) {
    assert_true(s.first < s.end);
    uint64_t more = s.job->starts[s.end] - s.job->starts[s.first];
    *tokens += more;
    m->batch_pairs += s.end - s.first;
    m->batch_tokens += more;
    m->last_start[s.job - m->jobs] = m->now;
}

/* One lane asks once; whether it took something. */
static bool step_lane(machine *m, size_t lane, int64_t *look_again) {
    const cr_batching *b = &m->dispatch.batching;
    if (m->busy_until[lane] > m->now || m->dispatch.queue.n_pairs == 0)
        return false;
    int64_t oldest = m->dispatch.queue.oldest->queued_ns;
    cr_slice slices[CR_GROUP_SLICES];
    cr_dispatch_answer a =
        cr_dispatch_take(&m->dispatch, m->now, idle_lanes(m), slices);
    for (size_t i = 0; i < a.n_ended; i++)
        m->ended_pairs += a.ended[i];
    if (a.n_slices == 0) {
        assert_true(a.look_again_ns > m->now);
        if (a.look_again_ns < *look_again)
            *look_again = a.look_again_ns;
        return false;
    }
    if (a.new_batch)
        m->batch_pairs = m->batch_tokens = 0;
    int64_t waited = m->now - later(oldest, last_busy(m));
    if (idle_lanes(m) == LANES && waited > m->longest_idle_wait)
        m->longest_idle_wait = waited;
    uint64_t tokens = 0;
    for (size_t i = 0; i < a.n_slices; i++)
        check_slice(m, slices[i], &tokens);
    assert_true(tokens <= CPU.max_group_tokens);
    if (!b->enabled)
        assert_int_equal(a.n_slices, 1);
    if (b->max_batch)
        assert_true(m->batch_pairs <= b->max_batch);
    if (b->max_tokens)
        assert_true(m->batch_tokens <= b->max_tokens);
    m->busy_until[lane] = m->now + (int64_t)tokens * MS / 50;
    return true;
}

static void run_machine(machine *m, const cr_batching *batching, uint32_t seed,
                        int64_t mean_gap) {
    int64_t next_arrival = 0;
    size_t arrived = 0;
    cr_error error;
    m->backend.description.group_tokens = CPU.group_tokens;
    m->backend.description.max_group_tokens = CPU.max_group_tokens;
    m->backend.description.team_tokens = CPU.team_tokens;
    m->generation.backend = &m->backend;
    cr_dispatch_init(&m->dispatch, batching, 512);
    while (arrived < JOBS || m->dispatch.queue.n_pairs) {
        if (arrived < JOBS && m->now >= next_arrival) {
            seed = seed * 1664525 + 1013904223;
            cr_job *job = &m->jobs[arrived++];
            fake_job(job, seed % 5, 1 + (seed >> 8) % 30,
                     5 + (seed >> 16) % 400);
            job->generation = &m->generation;
            job->queued_ns = m->now;
            assert_int_equal(cr_queue_push(&m->dispatch.queue, job, &error),
                             CR_OK);
            next_arrival =
                m->now + (int64_t)((seed >> 12) % 2000) * mean_gap / 1000;
        }
        int64_t then = arrived < JOBS ? next_arrival : INT64_MAX;
        for (size_t i = 0; i < LANES; i++)
            while (step_lane(m, i, &then))
                ;
        for (size_t i = 0; i < LANES; i++)
            if (m->busy_until[i] > m->now && m->busy_until[i] < then)
                then = m->busy_until[i];
        if (then > m->now && then != INT64_MAX)
            m->now = then;
    }
    uint64_t pairs = 0;
    for (size_t i = 0; i < JOBS; i++) {
        assert_int_equal(m->jobs[i].next, m->jobs[i].n_pairs);
        pairs += m->jobs[i].n_pairs;
        fake_job_free(&m->jobs[i]);
    }
    assert_int_equal(m->ended_pairs, pairs); /* every pair in one batch */
    cr_dispatch_fini(&m->dispatch);
}

static void promises_hold_under_load(void **state) {
    (void)state;
    static const cr_batching settings[] = {
        {.enabled = true},
        {.enabled = false},
        {.enabled = true, .max_batch = 96, .timeout_ns = 20 * 1000000},
        {.enabled = true, .max_tokens = 1024, .timeout_ns = 5 * 1000000},
        {.enabled = true, .max_batch = 1, .timeout_ns = 50 * 1000000},
        {.enabled = true, .max_batch = 7, .max_tokens = 512},
    };
    static machine m;
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++)
        for (uint32_t load = 0; load < 3; load++) {
            memset(&m, 0, sizeof m);
            int64_t gaps[] = {2000 * MS, 40 * MS, 10 * MS};
            run_machine(&m, &settings[s], 7 + load, gaps[load]);
            /* With idle lanes a pair never waits longer than the window. */
            assert_true(m.longest_idle_wait <= settings[s].timeout_ns);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_window_nothing_waits),
        cmocka_unit_test(the_window_waits_and_ends),
        cmocka_unit_test(idle_lanes_share_evenly),
        cmocka_unit_test(promises_hold_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
