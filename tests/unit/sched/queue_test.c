/* The queue's promises: order within a job, budgets, fairness between clients
 * and within a client, nothing lost when jobs are dropped. */
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { QUANTUM = 512, MAX = 64 };

static const cr_take_limits GROUP = {
    .want_tokens = 256, .max_tokens = 768, .max_pairs = UINT64_MAX};

static void push(cr_queue *q, cr_job *job) {
    cr_error error;
    assert_int_equal(cr_queue_push(q, job, &error), CR_OK);
}

static uint64_t tokens_of(const cr_slice *slices, size_t n) {
    uint64_t tokens = 0;
    for (size_t i = 0; i < n; i++)
        tokens += slices[i].job->starts[slices[i].end] -
                  slices[i].job->starts[slices[i].first];
    return tokens;
}

static void pairs_leave_in_order(void **state) {
    (void)state;
    cr_queue q;
    cr_job job;
    cr_slice slices[MAX];
    uint32_t next = 0;
    cr_queue_init(&q, QUANTUM);
    fake_job(&job, 1, 1000, 37);
    push(&q, &job);
    while (q.n_pairs) {
        size_t n = cr_queue_take(&q, &GROUP, slices, MAX);
        assert_int_equal(n, 1);
        assert_int_equal(slices[0].first, next);
        assert_true(tokens_of(slices, n) <= 256 + 37);
        next = slices[0].end;
    }
    assert_int_equal(next, 1000);
    assert_int_equal(q.n_tokens, 0);
    assert_null(q.oldest);
    cr_queue_fini(&q);
    fake_job_free(&job);
}

static void a_group_mixes_jobs_within_its_budget(void **state) {
    (void)state;
    cr_queue q;
    cr_job jobs[10];
    cr_slice slices[MAX];
    cr_queue_init(&q, QUANTUM);
    for (uint32_t i = 0; i < 10; i++) {
        fake_job(&jobs[i], i, 1, 50);
        push(&q, &jobs[i]);
    }
    assert_int_equal(cr_queue_take(&q, &GROUP, slices, MAX), 5);
    cr_take_limits three = GROUP;
    three.max_pairs = 3;
    assert_int_equal(cr_queue_take(&q, &three, slices, MAX), 3);
    cr_take_limits one = GROUP;
    one.one_job = true;
    assert_int_equal(cr_queue_take(&q, &one, slices, MAX), 1);
    cr_take_limits none = GROUP;
    none.max_tokens = 49;
    assert_int_equal(cr_queue_take(&q, &none, slices, MAX), 0);
    none.must_take = true;
    assert_int_equal(cr_queue_take(&q, &none, slices, MAX), 1);
    assert_int_equal(q.n_pairs, 0);
    cr_queue_fini(&q);
    for (size_t i = 0; i < 10; i++)
        fake_job_free(&jobs[i]);
}

/* Two clients that always wait get the same tokens, however they split their
 * pairs into jobs and however long these are. */
static void busy_clients_share_alike(void **state) {
    (void)state;
    cr_queue q;
    cr_job bulk, small[200];
    cr_slice slices[MAX];
    uint64_t got[2] = {0, 0};
    cr_queue_init(&q, QUANTUM);
    fake_job(&bulk, 1, 10000, 300);
    push(&q, &bulk);
    for (size_t i = 0; i < 200; i++) {
        fake_job(&small[i], 2, 20, 20 + (uint32_t)i % 50);
        push(&q, &small[i]);
    }
    for (size_t turn = 0; turn < 400; turn++) {
        size_t n = cr_queue_take(&q, &GROUP, slices, MAX);
        for (size_t i = 0; i < n; i++)
            got[slices[i].job == &bulk ? 0 : 1] += tokens_of(&slices[i], 1);
        int64_t ahead = (int64_t)got[0] - (int64_t)got[1];
        assert_in_range(ahead + 2000, 0, 4000);
    }
    cr_queue_drop(&q, &bulk);
    for (size_t i = 0; i < 200; i++)
        cr_queue_drop(&q, &small[i]);
    assert_int_equal(q.n_pairs, 0);
    assert_int_equal(q.n_tokens, 0);
    cr_queue_fini(&q);
    fake_job_free(&bulk);
    for (size_t i = 0; i < 200; i++)
        fake_job_free(&small[i]);
}

/* A client's own jobs take turns too. */
static void jobs_of_a_client_take_turns(void **state) {
    (void)state;
    cr_queue q;
    cr_job bulk, small;
    cr_slice slices[MAX];
    uint64_t before = 0;
    cr_queue_init(&q, QUANTUM);
    fake_job(&bulk, 1, 1000, 100);
    fake_job(&small, 1, 3, 100);
    push(&q, &bulk);
    push(&q, &small);
    while (small.next < small.n_pairs)
        before += tokens_of(slices, cr_queue_take(&q, &GROUP, slices, MAX));
    assert_true(before <= 2 * QUANTUM + 3 * 100 + 256);
    cr_queue_drop(&q, &bulk);
    cr_queue_fini(&q);
    fake_job_free(&bulk);
    fake_job_free(&small);
}

/* Whoever comes newly is next, whatever the others have waiting; but a client
 * that comes again and again does not starve them. */
static void a_newcomer_is_next(void **state) {
    (void)state;
    cr_queue q;
    cr_job bulk[20], small;
    cr_slice slices[MAX];
    cr_queue_init(&q, QUANTUM);
    for (size_t i = 0; i < 20; i++) {
        fake_job(&bulk[i], i, 1000, 100);
        push(&q, &bulk[i]);
    }
    for (size_t i = 0; i < 200; i++)
        cr_queue_take(&q, &GROUP, slices, MAX);
    fake_job(&small, 99, 5, 100);
    push(&q, &small);
    uint64_t before = 0;
    while (small.next < small.n_pairs)
        before += tokens_of(slices, cr_queue_take(&q, &GROUP, slices, MAX));
    assert_true(before <= 3 * 256 + 100);
    uint32_t bulk_before = bulk[0].next;
    for (size_t i = 0; i < 300; i++) { /* again as soon as it is served */
        if (small.next == small.n_pairs)
            push(&q, &small);
        cr_queue_take(&q, &GROUP, slices, MAX);
    }
    assert_true(bulk[0].next > bulk_before + 10);
    cr_queue_drop(&q, &small);
    for (size_t i = 0; i < 20; i++) {
        cr_queue_drop(&q, &bulk[i]);
        fake_job_free(&bulk[i]);
    }
    cr_queue_fini(&q);
    fake_job_free(&small);
}

static void a_group_is_of_one_generation(void **state) {
    (void)state;
    cr_queue q;
    cr_job jobs[2];
    cr_slice slices[MAX];
    cr_generation generations[2];
    cr_queue_init(&q, QUANTUM);
    for (size_t i = 0; i < 2; i++) {
        fake_job(&jobs[i], i, 1, 20);
        jobs[i].generation = &generations[i];
        push(&q, &jobs[i]);
    }
    assert_int_equal(cr_queue_take(&q, &GROUP, slices, MAX), 1);
    assert_int_equal(cr_queue_take(&q, &GROUP, slices, MAX), 1);
    cr_queue_fini(&q);
    for (size_t i = 0; i < 2; i++)
        fake_job_free(&jobs[i]);
}

/* Pushing, taking and dropping at random: counts stay true to the end. */
static void nothing_is_lost(void **state) {
    (void)state;
    enum { JOBS = 64 };
    cr_queue q;
    cr_job jobs[JOBS];
    bool in[JOBS] = {false};
    cr_slice slices[MAX];
    uint32_t seed = 11;
    cr_queue_init(&q, 100);
    for (uint32_t step = 0; step < 20000; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t i = (seed >> 8) % JOBS, what = (seed >> 16) % 4;
        if (in[i] && (jobs[i].next == jobs[i].n_pairs || what == 0)) {
            cr_queue_drop(&q, &jobs[i]);
            fake_job_free(&jobs[i]);
            in[i] = false;
        } else if (!in[i]) {
            fake_job(&jobs[i], seed % 7, 1 + seed % 40, 3 + seed % 500);
            push(&q, &jobs[i]);
            in[i] = true;
        } else {
            cr_queue_take(&q, &GROUP, slices, MAX);
        }
        uint64_t pairs = 0;
        for (size_t j = 0; j < JOBS; j++)
            pairs += in[j] ? jobs[j].n_pairs - jobs[j].next : 0;
        assert_int_equal(q.n_pairs, pairs);
    }
    for (size_t i = 0; i < JOBS; i++)
        if (in[i]) {
            cr_queue_drop(&q, &jobs[i]);
            fake_job_free(&jobs[i]);
        }
    assert_int_equal(q.n_tokens, 0);
    cr_queue_fini(&q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_leave_in_order),
        cmocka_unit_test(a_group_mixes_jobs_within_its_budget),
        cmocka_unit_test(busy_clients_share_alike),
        cmocka_unit_test(jobs_of_a_client_take_turns),
        cmocka_unit_test(a_newcomer_is_next),
        cmocka_unit_test(a_group_is_of_one_generation),
        cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
