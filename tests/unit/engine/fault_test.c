/* An engine that breaks down under the library: the call whose pairs were in
 * that group fails with its error, calls of other threads do not, nothing
 * hangs, and the next call is scored as ever. */
#include "engine/lanes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../model/tiny.h"
#include "faulty.h"

enum { LANES = 3, N_TEXTS = 5, MANY = 120, CALLERS = 4, CALLS = 40 };

static const char *const TEXTS[N_TEXTS] = {"the cat", "a b a b", "b", "",
                                           "the the cat a b"};
static tiny_folder folder;
static cr_model *model;
static cr_backend *backend;
static cr_lanes *lanes;
static cr_text passages[MANY];
static float want[MANY];

static cr_status run(size_t n, float *logits, cr_error *error) {
    cr_work work = {.query = {"a cat", 5},
                    .passages = passages,
                    .n = n,
                    .logits = logits,
                    .logit_step = sizeof *logits};
    return cr_lanes_run(lanes, &work, error);
}

static int set_up(void **state) {
    (void)state;
    cr_error error;
    tiny_folder_make(&folder);
    tiny_write_model(&folder);
    if (cr_model_open(folder.path, &model, &error) != CR_OK)
        fail_msg("%s", error.message);
    uint32_t max_length = cr_model_get_config(model)->max_length;
    cr_backend_options o = {
        .dtype = "fp32", .lanes = LANES, .max_length = max_length};
    if (cr_cpu_backend.open(model, &o, &backend, &error) != CR_OK)
        fail_msg("%s", error.message);
    cr_lanes_options options = {.backend = backend,
                                .model = model,
                                .max_length = max_length,
                                .n_labels = 1};
    if (cr_lanes_new(&options, &lanes, &error) != CR_OK)
        fail_msg("%s", error.message);
    for (size_t i = 0; i < MANY; i++)
        passages[i] = (cr_text){TEXTS[i % N_TEXTS], strlen(TEXTS[i % N_TEXTS])};
    assert_int_equal(run(MANY, want, &error), CR_OK);
    cr_lanes_free(lanes);
    faulty_replace(backend); /* while no lane uses it */
    return cr_lanes_new(&options, &lanes, &error) != CR_OK;
}

static int tear_down(void **state) {
    (void)state;
    cr_lanes_free(lanes);
    backend->ops->close(backend);
    cr_model_close(model);
    tiny_folder_remove(&folder);
    return 0;
}

static void expect_scored(size_t n) {
    float got[MANY];
    cr_error error;
    if (run(n, got, &error) != CR_OK)
        fail_msg("%s", error.message);
    assert_memory_equal(got, want, n * sizeof *got);
}

static void expect_failed(size_t n) {
    float got[MANY];
    cr_error error;
    assert_int_equal(run(n, got, &error), CR_ERR_INTERNAL);
    tiny_expect_message(error.message, (const char *[]){FAULTY_MESSAGE, NULL});
}

/* Wherever in the call it breaks: pairs that no lane has claimed are not. */
static void the_call_fails_and_the_next_works(void **state) {
    (void)state;
    faulty_reset(0, 0, false);
    expect_scored(MANY);
    uint64_t groups = faulty.n_groups;
    assert_true(groups >= LANES);
    for (uint64_t broken = 1; broken <= groups; broken++) {
        faulty_reset(broken, 0, false);
        expect_failed(MANY);
        assert_true(faulty.n_groups <= groups);
        faulty_reset(0, 0, false);
        expect_scored(MANY);
    }
}

/* Also one that a team of lanes was at work on. */
static void a_team_fails_as_one(void **state) {
    (void)state;
    faulty_reset(0, 1, false);
    for (int i = 0; faulty.most_members < 2 && i < 100000; i++)
        expect_failed(12);
    assert_true(faulty.most_members > 1);
    faulty_reset(0, 0, false);
    expect_scored(12);
}

typedef struct caller {
    pthread_t thread;
    size_t n; /* pairs a call */
    int n_calls;
    int n_right, n_failed, n_wrong;
} caller;

static void *call_often(void *argument) {
    caller *c = argument;
    for (int i = 0; i < c->n_calls; i++) {
        float got[MANY];
        cr_error error = {.status = CR_OK};
        cr_status status = run(c->n, got, &error);
        if (status == CR_OK && memcmp(got, want, c->n * sizeof *got) == 0)
            c->n_right++;
        else if (status == CR_ERR_INTERNAL &&
                 strstr(error.message, FAULTY_MESSAGE))
            c->n_failed++;
        else
            c->n_wrong++;
    }
    return NULL;
}

static void run_callers(caller *callers, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_int_equal(
            pthread_create(&callers[i].thread, NULL, call_often, &callers[i]),
            0);
}

static void join_callers(const caller *callers, size_t n) {
    for (size_t i = 0; i < n; i++)
        pthread_join(callers[i].thread, NULL);
}

/* A group holds pairs of one call, so each fault ends one call. */
static void callers_do_not_share_a_fault(void **state) {
    (void)state;
    caller callers[CALLERS];
    int n_failed = 0, n_right = 0;
    faulty_reset(0, 5, false);
    for (size_t i = 0; i < CALLERS; i++) {
        callers[i] =
            (caller){.n = i % 2 ? 1 + i : 20 * i + 1, .n_calls = CALLS};
    }
    run_callers(callers, CALLERS);
    join_callers(callers, CALLERS);
    for (size_t i = 0; i < CALLERS; i++) {
        assert_int_equal(callers[i].n_wrong, 0);
        n_failed += callers[i].n_failed;
        n_right += callers[i].n_right;
    }
    assert_int_equal(n_failed + n_right, CALLERS * CALLS);
    assert_true(n_right > 0 && n_failed > 0);
    assert_true((uint64_t)n_failed <= faulty.n_failed);
    faulty_reset(0, 0, false);
    expect_scored(MANY);
}

/* A caller that has company leaves lanes to it: no team of all, though all but
 * one are idle. */
static void company_is_left_its_lanes(void **state) {
    (void)state;
    caller two[2] = {{.n = 12, .n_calls = 1}, {.n = 12, .n_calls = 1}};
    faulty_reset(2, 0, true); /* the second group's team is told */
    run_callers(&two[0], 1);
    faulty_wait_held(1);
    run_callers(&two[1], 1);
    faulty_wait_held(2);
    faulty_release();
    join_callers(two, 2);
    assert_int_equal(two[0].n_right, 1);
    assert_int_equal(two[1].n_failed, 1);
    assert_int_equal(faulty.most_members, 1);
    faulty_reset(0, 0, false);
}

/* However callers and lanes came in each other's way before: a lane that was
 * called and found nothing must come again. Pairs too short for a team, so that
 * every call needs a lane of its own. */
static void no_lane_is_forgotten(void **state) {
    (void)state;
    enum { ROUNDS = 100, CROWD = 3 * LANES };
    static const int LIMIT_SECONDS = 240;
    alarm(LIMIT_SECONDS); /* a lane that does not come is waited for */
    for (int round = 0; round < ROUNDS; round++) {
        caller crowd[CROWD], few[LANES];
        for (size_t i = 0; i < CROWD; i++)
            crowd[i] = (caller){.n = 1, .n_calls = 10 * CALLS};
        for (size_t i = 0; i < LANES; i++)
            few[i] = (caller){.n = 1, .n_calls = 1};
        faulty_reset(0, 0, false);
        run_callers(crowd, CROWD);
        join_callers(crowd, CROWD);
        faulty_reset(0, 0, true);
        run_callers(few, LANES);
        faulty_wait_held(LANES);
        faulty_release();
        join_callers(few, LANES);
        for (size_t i = 0; i < LANES; i++)
            assert_int_equal(few[i].n_right, 1);
    }
    alarm(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_call_fails_and_the_next_works),
        cmocka_unit_test(a_team_fails_as_one),
        cmocka_unit_test(callers_do_not_share_a_fault),
        cmocka_unit_test(company_is_left_its_lanes),
        cmocka_unit_test(no_lane_is_forgotten),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
