/* An engine that breaks down in the middle of a batch: requests that break it
 * by themselves end with its error, once; no other does, even in the same
 * group; nothing hangs; and what comes next is scored as ever. */
#include "base/clock.h"
#include "sched/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../engine/faulty.h"
#include "../model/tiny.h"

enum { MAX_LANES = 3, N_TEXTS = 7, MANY = 200 };

static const char *const TEXTS[N_TEXTS] = {
    "the cat", "a b a b", "b", "", "the the the cat a b", "ab ba", "cat. a"};
static tiny_folder folder;
static cr_metrics metrics;
static cr_generation *generation;
static float want[N_TEXTS];

/* ---- Requests ----------------------------------------------------------- */

/* A job and somebody who waits for it; its arrays go in `done`, so that a
 * lane that touched them after that would be seen by a sanitizer. */
typedef struct request {
    cr_job job;
    uint32_t first, n;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_done;
    cr_status status;
    cr_error error;
    bool right; /* scored, and as the cpu backend alone does */
} request;

static void on_done(cr_job *job) {
    request *r = job->owner;
    bool right = job->status == CR_OK;
    for (uint32_t i = 0; right && i < r->n; i++)
        right = memcmp(&job->logits[i], &want[(r->first + i) % N_TEXTS],
                       sizeof(float)) == 0;
    cr_status status = job->status;
    cr_error error = job->error;
    cr_job_fini(job);
    pthread_mutex_lock(&r->lock);
    r->status = status;
    r->error = error;
    r->right = right;
    r->n_done++;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void submit(cr_pipeline *p, request *r, uint32_t first, uint32_t n) {
    static const cr_encode_options plain = {0};
    static const cr_text query = {"a cat", 5};
    cr_pair pairs[MANY];
    cr_error error;
    *r = (request){.first = first, .n = n};
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    for (uint32_t i = 0; i < n; i++) {
        const char *text = TEXTS[(first + i) % N_TEXTS];
        pairs[i] = (cr_pair){query, {text, strlen(text)}};
    }
    if (cr_job_encode(&r->job, generation, pairs, n, &plain, &error) != CR_OK)
        fail_msg("%s", error.message);
    r->job.owner = r;
    r->job.done = on_done;
    r->job.client = first;
    if (cr_pipeline_submit(p, &r->job, &error) != CR_OK)
        fail_msg("%s", error.message);
}

static void wait_for(request *r) {
    pthread_mutex_lock(&r->lock);
    while (!r->n_done)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static void expect_scored(request *r) {
    wait_for(r);
    assert_int_equal(r->status, CR_OK);
    assert_true(r->right);
}

static void expect_failed(request *r) {
    wait_for(r);
    assert_int_equal(r->status, CR_ERR_INTERNAL);
    tiny_expect_message(r->error.message,
                        (const char *[]){FAULTY_MESSAGE, NULL});
}

/* ---- A pipeline on the engine ------------------------------------------- */

static cr_pipeline *start(uint32_t lanes) {
    cr_options o;
    cr_error error;
    cr_pipeline *p;
    cr_options_init(&o);
    o.model = folder.path;
    o.dtype = "fp32";
    o.activation = CR_ACTIVATION_NONE;
    if (cr_generation_open(&o, lanes, 1, &generation, &error) != CR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(generation->backend->description.lanes, lanes);
    faulty_replace(generation->backend);
    cr_pipeline_options options = {.lanes = lanes,
                                   .batching = {.enabled = true},
                                   .quantum = 512,
                                   .max_queue_tokens = 1 << 20,
                                   .metrics = &metrics};
    cr_metrics_init(&metrics);
    assert_int_equal(cr_pipeline_new(&options, &p, &error), CR_OK);
    return p;
}

/* Nothing is left behind: no pair, no busy lane, no reference. */
static void stop(cr_pipeline *p) {
    cr_pipeline_free(p);
    assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_QUEUE_PAIRS), 0);
    assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_QUEUE_TOKENS), 0);
    assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_LANES_BUSY), 0);
    assert_int_equal(atomic_load(&generation->references), 1);
    cr_generation_unref(generation);
    generation = NULL;
}

static void fini(request *r) {
    assert_int_equal(r->n_done, 1);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
}

static int set_up(void **state) {
    (void)state;
    cr_options o;
    cr_ranker *ranker;
    cr_error error;
    cr_pair pairs[N_TEXTS];
    tiny_folder_make(&folder);
    tiny_write_model(&folder);
    cr_options_init(&o);
    o.model = folder.path;
    o.dtype = "fp32";
    o.threads = 1;
    o.activation = CR_ACTIVATION_NONE;
    if (cr_ranker_open(&o, &ranker, &error) != CR_OK)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < N_TEXTS; i++)
        pairs[i] = (cr_pair){{"a cat", 5}, {TEXTS[i], strlen(TEXTS[i])}};
    assert_int_equal(cr_score(ranker, pairs, N_TEXTS, want, &error), CR_OK);
    cr_ranker_close(ranker);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tiny_folder_remove(&folder);
    return 0;
}

/* ---- Tests -------------------------------------------------------------- */

enum { REQUESTS = 6, EACH = 3 };

/* While the lane is held with one request, six others gather: they are one
 * group then, the second. */
static void gather(cr_pipeline *p, request *first, request *merged) {
    submit(p, first, 0, 1);
    faulty_wait_held(1);
    for (uint32_t i = 0; i < REQUESTS; i++)
        submit(p, &merged[i], i, EACH);
    faulty_release();
    expect_scored(first);
}

static void fini_all(request *first, request *merged) {
    fini(first);
    for (uint32_t i = 0; i < REQUESTS; i++)
        fini(&merged[i]);
}

static void a_failed_group_is_scored_in_parts(void **state) {
    (void)state;
    request first, merged[REQUESTS];
    cr_pipeline *p = start(1);
    faulty_reset(2, 0, true);
    gather(p, &first, merged);
    for (uint32_t i = 0; i < REQUESTS; i++)
        expect_scored(&merged[i]);
    assert_int_equal(faulty.n_failed, 1);
    assert_int_equal(faulty.most_failed, REQUESTS * EACH);
    assert_int_equal(faulty.n_groups, 2 + REQUESTS);
    stop(p);
    /* What failed is not counted as scored. */
    assert_int_equal(cr_metrics_counter(&metrics, CR_COUNT_PAIRS),
                     1 + REQUESTS * EACH);
    fini_all(&first, merged);
}

static void those_that_break_it_fail_alone(void **state) {
    (void)state;
    /* [CLS] a cat [SEP] the the the cat a b [SEP] */
    enum { LONGEST = 4, LONGEST_TOKENS = 11 };
    request first, merged[REQUESTS], next;
    cr_pipeline *p = start(1);
    faulty_reset(0, 0, true);
    faulty.fail_tokens = LONGEST_TOKENS;
    gather(p, &first, merged);
    uint64_t n_failed = 0;
    for (uint32_t i = 0; i < REQUESTS; i++)
        if (i <= LONGEST && LONGEST < i + EACH) {
            expect_failed(&merged[i]);
            n_failed++;
        } else {
            expect_scored(&merged[i]);
        }
    assert_int_equal(n_failed, EACH);
    assert_int_equal(faulty.n_failed, 1 + n_failed);
    assert_int_equal(faulty.most_failed, REQUESTS * EACH);
    submit(p, &next, 0, LONGEST);
    expect_scored(&next);
    stop(p);
    assert_int_equal(cr_metrics_counter(&metrics, CR_COUNT_PAIRS),
                     1 + (REQUESTS - n_failed) * EACH + LONGEST);
    fini_all(&first, merged);
    fini(&next);
}

/* A request of several groups fails with its first, and a small one that came
 * after it is not touched by that. */
static void the_rest_of_a_request_is_not_computed(void **state) {
    (void)state;
    request large, small;
    cr_pipeline *p = start(1);
    faulty_reset(1, 0, true);
    submit(p, &large, 0, MANY);
    faulty_wait_held(1);
    submit(p, &small, 3, 2);
    faulty_release();
    expect_failed(&large);
    expect_scored(&small);
    assert_int_equal(faulty.n_groups, 2);
    assert_int_equal(faulty.n_sequences, 2);
    stop(p);
    fini(&large);
    fini(&small);
}

/* The owner is told when no lane holds a part of the request any more. */
static void other_lanes_give_their_part_back_first(void **state) {
    (void)state;
    for (uint64_t broken = 1; broken <= MAX_LANES; broken++) {
        request large, next;
        cr_pipeline *p = start(MAX_LANES);
        faulty_reset(broken, 0, true);
        submit(p, &large, 0, MANY);
        faulty_wait_held(MAX_LANES);
        faulty_release();
        expect_failed(&large);
        submit(p, &next, 2, 5);
        expect_scored(&next);
        stop(p);
        fini(&large);
        fini(&next);
    }
}

/* Lanes that help with a group leave it and work again when it fails. */
static void a_team_fails_as_one(void **state) {
    (void)state;
    cr_pipeline *p = start(MAX_LANES);
    faulty_reset(0, 1, false);
    /* A team needs lanes that are waiting already. */
    int64_t end = cr_now_ns() + INT64_C(60000000000);
    while (faulty.most_members < 2 && cr_now_ns() < end) {
        request r;
        submit(p, &r, 0, 16);
        expect_failed(&r);
        fini(&r);
    }
    assert_true(faulty.most_members > 1);
    faulty_reset(0, 0, false);
    for (uint32_t i = 0; i < 20; i++) {
        request r;
        submit(p, &r, i, 16);
        expect_scored(&r);
        fini(&r);
    }
    stop(p);
}

/* Whatever the sizes and the company: each request ends once, either right or
 * with the error. */
static void every_third_group_fails(void **state) {
    (void)state;
    enum { ROUNDS = 10, CROWD = 60 };
    static request r[CROWD];
    uint32_t n_right = 0, n_failed = 0;
    cr_pipeline *p = start(MAX_LANES);
    faulty_reset(0, 3, false);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < CROWD; i++)
            submit(p, &r[i], i, 1 + (i * 37 + round) % 50);
        for (uint32_t i = 0; i < CROWD; i++) {
            wait_for(&r[i]);
            if (r[i].status == CR_OK)
                expect_scored(&r[i]);
            else
                expect_failed(&r[i]);
            n_right += r[i].right;
            n_failed += r[i].status != CR_OK;
            fini(&r[i]);
        }
    }
    assert_int_equal(n_right + n_failed, ROUNDS * CROWD);
    assert_true(n_right > 0 && n_failed > 0);
    assert_true(n_failed <= faulty.n_failed);
    stop(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_group_is_scored_in_parts),
        cmocka_unit_test(those_that_break_it_fail_alone),
        cmocka_unit_test(the_rest_of_a_request_is_not_computed),
        cmocka_unit_test(other_lanes_give_their_part_back_first),
        cmocka_unit_test(a_team_fails_as_one),
        cmocka_unit_test(every_third_group_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
