/* The pipeline on the default model: scores equal those of the library to the
 * bit whatever the company, every job is answered once, and what nobody waits
 * for is not computed. */
#include "base/clock.h"
#include "sched/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "under.h"

enum { LANES = 3, N = 12 };

static cr_metrics metrics;
static cr_generation *generation;
static char texts[N][600];

/* A job and somebody who waits for it. */
typedef struct waited {
    cr_job job;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_done;
    bool gone;
} waited;

static void on_done(cr_job *job) {
    waited *w = job->owner;
    pthread_mutex_lock(&w->lock);
    w->n_done++;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static bool ask_gone(const cr_job *job) {
    return ((const waited *)job->owner)->gone;
}

static cr_text text(const char *s) { return (cr_text){s, strlen(s)}; }

static void make(waited *w, uint32_t first, uint32_t n) {
    static const cr_encode_options plain = {0};
    cr_pair pairs[N];
    cr_error error;
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    for (uint32_t i = 0; i < n; i++)
        pairs[i] = (cr_pair){text("what is a wind tunnel"),
                             text(texts[(first + i) % N])};
    if (cr_job_encode(&w->job, generation, pairs, n, &plain, &error) != CR_OK)
        fail_msg("%s", error.message);
    w->job.owner = w;
    w->job.done = on_done;
    w->job.is_gone = ask_gone;
    w->job.client = first;
}

static cr_status submit(cr_pipeline *p, waited *w) {
    cr_error error;
    return cr_pipeline_submit(p, &w->job, &error);
}

static void wait_for(waited *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->n_done)
        pthread_cond_wait(&w->changed, &w->lock);
    pthread_mutex_unlock(&w->lock);
}

static void fini(waited *w) {
    cr_job_fini(&w->job);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
}

static cr_pipeline *start(cr_batching batching, uint64_t max_tokens) {
    cr_pipeline_options o = {.lanes = generation->backend->description.lanes,
                             .batching = batching,
                             .quantum = 512,
                             .max_queue_tokens = max_tokens,
                             .metrics = &metrics};
    cr_pipeline *p;
    cr_error error;
    cr_metrics_init(&metrics);
    assert_int_equal(cr_pipeline_new(&o, &p, &error), CR_OK);
    return p;
}

static int open_generation(void **state) {
    (void)state;
    cr_options o;
    cr_error error;
    under_options(&o);
    for (size_t i = 0; i < N; i++)
        for (size_t w = 0; w < 1 + (i * 37) % 60; w++)
            snprintf(texts[i] + strlen(texts[i]), 9, "%s",
                     w % 3 ? "tunnel " : "air ");
    return cr_generation_open(&o, LANES, 1, &generation, &error) != CR_OK;
}

static int close_generation(void **state) {
    (void)state;
    assert_int_equal(atomic_load(&generation->references), 1);
    cr_generation_unref(generation);
    return 0;
}

static void want_scores(float want[N]) {
    cr_options o;
    cr_ranker *r;
    cr_error error;
    cr_pair pairs[N];
    under_options(&o);
    o.threads = 1;
    o.activation = CR_ACTIVATION_NONE;
    assert_int_equal(cr_ranker_open(&o, &r, &error), CR_OK);
    for (size_t i = 0; i < N; i++)
        pairs[i] = (cr_pair){text("what is a wind tunnel"), text(texts[i])};
    assert_int_equal(cr_score(r, pairs, N, want, &error), CR_OK);
    cr_ranker_close(r);
}

static void scores_are_the_library_s(void **state) {
    (void)state;
    static const cr_batching settings[] = {
        {.enabled = true},
        {.enabled = false},
        {.enabled = true, .max_batch = 5, .timeout_ns = 3000000},
        {.enabled = true, .max_tokens = 600},
    };
    enum { JOBS = 60 };
    static waited w[JOBS];
    float want[N];
    want_scores(want);
    for (size_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        cr_pipeline *p = start(settings[s], 1 << 20);
        for (uint32_t i = 0; i < JOBS; i++) {
            make(&w[i], i, 1 + i % N);
            assert_int_equal(submit(p, &w[i]), CR_OK);
        }
        for (uint32_t i = 0; i < JOBS; i++) {
            wait_for(&w[i]);
            assert_int_equal(w[i].job.status, CR_OK);
            for (uint32_t j = 0; j < w[i].job.n_pairs; j++)
                assert_true(under_alike(w[i].job.logits[j], want[(i + j) % N]));
        }
        cr_pipeline_free(p);
        for (uint32_t i = 0; i < JOBS; i++) {
            assert_int_equal(w[i].n_done, 1);
            fini(&w[i]);
        }
        assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_QUEUE_PAIRS), 0);
        assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_LANES_BUSY), 0);
        assert_int_equal(cr_metrics_counter(&metrics, CR_COUNT_PAIRS), 390);
    }
}

/* One request alone, again and again: lanes form teams for it. */
static void one_request_alone(void **state) {
    (void)state;
    float want[N];
    want_scores(want);
    cr_pipeline *p = start((cr_batching){.enabled = true}, 1 << 20);
    for (uint32_t i = 0; i < 200; i++) {
        waited w;
        make(&w, i % N, 1);
        assert_int_equal(submit(p, &w), CR_OK);
        wait_for(&w);
        assert_true(under_alike(w.job.logits[0], want[i % N]));
        fini(&w);
    }
    cr_pipeline_free(p);
}

static void what_nobody_waits_for_is_not_computed(void **state) {
    (void)state;
    cr_pipeline *p =
        start((cr_batching){.enabled = true, .timeout_ns = 30000000}, 1 << 20);
    waited gone, late, good;
    make(&gone, 0, 3);
    make(&late, 1, 3);
    make(&good, 2, 3);
    gone.gone = true;
    late.job.deadline_ns = cr_now_ns() + 1000000;
    assert_int_equal(submit(p, &gone), CR_OK);
    assert_int_equal(submit(p, &late), CR_OK);
    assert_int_equal(submit(p, &good), CR_OK);
    wait_for(&gone);
    wait_for(&late);
    wait_for(&good);
    assert_int_equal(gone.job.status, CR_ERR_CANCELLED);
    assert_int_equal(late.job.status, CR_ERR_DEADLINE);
    assert_int_equal(good.job.status, CR_OK);
    cr_pipeline_free(p);
    assert_int_equal(cr_metrics_counter(&metrics, CR_COUNT_PAIRS), 3);
    fini(&gone);
    fini(&late);
    fini(&good);
}

static void the_queue_has_a_limit(void **state) {
    (void)state;
    cr_pipeline *p =
        start((cr_batching){.enabled = true, .timeout_ns = 50000000}, 100);
    waited first, second;
    make(&first, 0, N); /* over the limit, but the queue is empty */
    make(&second, 0, 1);
    assert_int_equal(submit(p, &first), CR_OK);
    assert_int_equal(submit(p, &second), CR_ERR_OVERLOADED);
    assert_true(cr_pipeline_look(p).waiting_pairs == N);
    cr_pipeline_hurry(p);
    wait_for(&first);
    assert_int_equal(submit(p, &second), CR_OK);
    cr_pipeline_free(p); /* and what waits is scored before the end */
    assert_int_equal(second.n_done, 1);
    assert_int_equal(second.job.status, CR_OK);
    fini(&first);
    fini(&second);
}

static void who_hurries_waits_for_no_others(void **state) {
    (void)state;
    cr_pipeline *p = start(
        (cr_batching){.enabled = true, .timeout_ns = INT64_C(60000000000)},
        1 << 20);
    waited waits, hurries;
    make(&waits, 0, 2);
    make(&hurries, 2, 1);
    hurries.job.hurry = true;
    int64_t begin = cr_now_ns();
    assert_int_equal(submit(p, &hurries), CR_OK);
    wait_for(&hurries);
    assert_true(cr_now_ns() - begin < INT64_C(30000000000));
    assert_int_equal(submit(p, &waits), CR_OK);
    assert_int_equal(cr_pipeline_look(p).waiting_pairs, 2);
    cr_pipeline_free(p);
    assert_int_equal(waits.job.status, CR_OK);
    fini(&waits);
    fini(&hurries);
}

/* ---- Encoding ----------------------------------------------------------- */

static cr_status encode(cr_job *job, const char *query, const char *passage,
                        cr_encode_options options, cr_error *error) {
    cr_pair pair = {text(query), text(passage)};
    memset(job, 0, sizeof *job);
    return cr_job_encode(job, generation, &pair, 1, &options, error);
}

static void long_pairs_are_cut_or_refused(void **state) {
    (void)state;
    static char words[700 * 2 + 1];
    cr_job job, other;
    cr_error error;
    for (size_t i = 0; i < 700; i++)
        memcpy(words + 2 * i, i == 699 ? "z" : "a ", 2);
    assert_int_equal(encode(&job, "q", words, (cr_encode_options){0}, &error),
                     CR_OK);
    assert_int_equal(job.starts[1], 512);
    assert_int_equal(job.n_truncated, 1);
    assert_int_equal(job.ids[510], job.ids[509]);
    cr_encode_options end = {.keep_end = true};
    assert_int_equal(encode(&other, "q", words, end, &error), CR_OK);
    assert_int_equal(other.starts[1], 512);
    assert_int_equal(other.ids[0], job.ids[0]);
    assert_int_equal(other.ids[511], job.ids[511]);
    assert_int_not_equal(other.ids[510], job.ids[510]); /* the z */
    cr_job_fini(&other);
    cr_job_fini(&job);
    cr_encode_options strict = {.refuse_long = true};
    assert_int_equal(encode(&job, "q", words, strict, &error), CR_ERR_INPUT);
    assert_non_null(strstr(error.message, "less than 512 tokens. Given: 704"));
    cr_job_fini(&job);
}

static void passages_have_a_limit_of_their_own(void **state) {
    (void)state;
    cr_job job, want;
    cr_error error;
    cr_encode_options three = {.max_passage_tokens = 3};
    assert_int_equal(encode(&job, "quiet",
                            "Z\xc3\xbcrich lake unbelievably wide", three,
                            &error),
                     CR_OK);
    assert_int_equal(encode(&want, "quiet", "Zurich lake un",
                            (cr_encode_options){0}, &error),
                     CR_OK);
    assert_int_equal(job.truncated[0], 1);
    assert_int_equal(want.truncated[0], 0);
    assert_int_equal(job.starts[1], want.starts[1]);
    assert_memory_equal(job.ids, want.ids, job.starts[1] * sizeof *job.ids);
    cr_job_fini(&job);
    cr_job_fini(&want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_the_library_s),
        cmocka_unit_test(one_request_alone),
        cmocka_unit_test(what_nobody_waits_for_is_not_computed),
        cmocka_unit_test(the_queue_has_a_limit),
        cmocka_unit_test(who_hurries_waits_for_no_others),
        cmocka_unit_test(long_pairs_are_cut_or_refused),
        cmocka_unit_test(passages_have_a_limit_of_their_own),
    };
    return cmocka_run_group_tests(tests, open_generation, close_generation);
}
