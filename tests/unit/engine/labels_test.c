/* Models of several labels: a score for each, in the order of their names, and
 * a refusal where one score is asked for. */
#include "crossrank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "../model/tiny.h"

enum { N = 3, N_LABELS = 3 };
static const cr_pair PAIRS[N] = {
    {{"a", 1}, {"b a", 3}}, {{"the cat", 7}, {"", 0}}, {{"", 0}, {"b", 1}}};

static tiny_folder folder;
static const char *const NAMES[N_LABELS] = {"no", "maybe", "yes"};

static int set_up(void **state) {
    (void)state;
    tiny_watch_jansson();
    tiny_folder_make(&folder);
    tiny_write_classifier(&folder, NAMES, N_LABELS);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tiny_folder_remove(&folder);
    return 0;
}

static cr_ranker *open_with(cr_activation activation) {
    cr_options o;
    cr_ranker *ranker = NULL;
    cr_error error;
    cr_options_init(&o);
    o.model = folder.path;
    o.dtype = "fp32";
    o.threads = 2;
    o.activation = activation;
    if (cr_ranker_open(&o, &ranker, &error) != CR_OK)
        fail_msg("%s", error.message);
    return ranker;
}

static void score(cr_ranker *ranker, const cr_pair *pairs, size_t n,
                  float *scores) {
    cr_error error;
    if (cr_score_labels(ranker, pairs, n, N_LABELS, scores, &error) != CR_OK)
        fail_msg("%s", error.message);
}

static void labels_have_their_names(void **state) {
    (void)state;
    cr_ranker *ranker = open_with(CR_ACTIVATION_MODEL);
    cr_ranker_info info;
    cr_ranker_get_info(ranker, &info);
    assert_int_equal(info.n_labels, N_LABELS);
    assert_int_equal(info.activation, CR_ACTIVATION_NONE);
    for (uint32_t i = 0; i < N_LABELS; i++)
        assert_string_equal(cr_label_name(ranker, i), NAMES[i]);
    assert_null(cr_label_name(ranker, N_LABELS));
    cr_ranker_close(ranker);
}

/* What stands behind the scores stays as it was. */
static void each_label_has_a_score(void **state) {
    (void)state;
    cr_ranker *ranker = open_with(CR_ACTIVATION_MODEL);
    float together[N * N_LABELS + 1], alone[N_LABELS];
    together[N * N_LABELS] = 77;
    score(ranker, PAIRS, N, together);
    assert_true(together[N * N_LABELS] == 77);
    for (size_t i = 0; i < N; i++) {
        score(ranker, &PAIRS[i], 1, alone);
        assert_memory_equal(alone, together + i * N_LABELS, sizeof alone);
        for (size_t j = 1; j < N_LABELS; j++)
            assert_true(isfinite(alone[j]) && alone[j] != alone[0]);
    }
    cr_ranker_close(ranker);
}

static void an_activation_goes_to_each_logit(void **state) {
    (void)state;
    float logits[N * N_LABELS], scores[N * N_LABELS];
    cr_ranker *plain = open_with(CR_ACTIVATION_NONE);
    cr_ranker *sigmoid = open_with(CR_ACTIVATION_SIGMOID);
    score(plain, PAIRS, N, logits);
    score(sigmoid, PAIRS, N, scores);
    assert_int_equal(
        cr_apply_activation(CR_ACTIVATION_SIGMOID, logits, N * N_LABELS, NULL),
        CR_OK);
    assert_memory_equal(logits, scores, sizeof scores);
    cr_ranker_close(plain);
    cr_ranker_close(sigmoid);
}

static void one_score_is_refused(void **state) {
    (void)state;
    cr_ranker *ranker = open_with(CR_ACTIVATION_MODEL);
    float scores[N] = {7, 7, 7};
    cr_ranked ranked[1];
    size_t n_ranked = 5;
    cr_error error;
    const char *const parts[] = {"3 labels", "cr_score_labels", NULL};
    assert_int_equal(cr_score(ranker, PAIRS, N, scores, &error),
                     CR_ERR_UNSUPPORTED);
    tiny_expect_message(error.message, parts);
    assert_true(scores[0] == 7);
    assert_int_equal(cr_rank(ranker, PAIRS[0].query, &PAIRS[0].passage, 1, 0,
                             ranked, &n_ranked, &error),
                     CR_ERR_UNSUPPORTED);
    tiny_expect_message(error.message, parts);
    assert_int_equal(n_ranked, 0);
    cr_ranker_close(ranker);
}

static void room_for_another_number_is_refused(void **state) {
    (void)state;
    cr_ranker *ranker = open_with(CR_ACTIVATION_MODEL);
    float scores[N] = {7, 7, 7};
    cr_error error;
    assert_int_equal(cr_score_labels(ranker, PAIRS, N, 1, scores, &error),
                     CR_ERR_ARGUMENT);
    tiny_expect_message(error.message,
                        (const char *const[]){"1 labels", "has 3", NULL});
    assert_true(scores[0] == 7);
    cr_ranker_close(ranker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_have_their_names),
        cmocka_unit_test(each_label_has_a_score),
        cmocka_unit_test(an_activation_goes_to_each_logit),
        cmocka_unit_test(one_score_is_refused),
        cmocka_unit_test(room_for_another_number_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
