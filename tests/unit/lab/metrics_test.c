/* Metrics and intervals against values worked out by hand (pytrec_eval itself
 * is the judge in tests/parity/test_eval.py). */
#include "lab/bootstrap.h"
#include "lab/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void expect_near(double value, double expected) {
    if (!(fabs(value - expected) < 1e-12))
        fail_msg("%.15g is not %.15g", value, expected);
}

static void test_by_hand(void **state) {
    (void)state;
    const int32_t grades[] = {0, 2, 0, 1, 3};
    const int32_t judged[] = {1, 3, 2, 3};
    cr_judged_ranking ranking = {grades, 5, judged, 4};
    double gained = 2 / log2(3) + 1 / log2(5) + 3 / log2(6);
    double ideal = 3 + 3 / log2(3) + 2 / log2(4) + 1 / log2(5);
    expect_near(cr_metric_ndcg(&ranking, 10), gained / ideal);
    expect_near(cr_metric_ndcg(&ranking, 2), 2 / log2(3) / (3 + 3 / log2(3)));
    expect_near(cr_metric_mrr(&ranking, 10, 1), 1.0 / 2);
    expect_near(cr_metric_mrr(&ranking, 10, 3), 1.0 / 5);
    expect_near(cr_metric_mrr(&ranking, 4, 3), 0.0);
    expect_near(cr_metric_map(&ranking), (1.0 / 2 + 2.0 / 4 + 3.0 / 5) / 4);
}

static void test_nothing_relevant_is_zero(void **state) {
    (void)state;
    const int32_t grades[] = {0, -1};
    const int32_t judged[] = {0, -1};
    cr_judged_ranking ranking = {grades, 2, judged, 2};
    cr_judged_ranking empty = {grades, 0, judged, 0};
    expect_near(cr_metric_ndcg(&ranking, 10), 0.0);
    expect_near(cr_metric_mrr(&ranking, 10, 1), 0.0);
    expect_near(cr_metric_map(&ranking), 0.0);
    expect_near(cr_metric_ndcg(&empty, 10), 0.0);
    expect_near(cr_metric_map(&empty), 0.0);
}

static void test_bounds_and_perfection(void **state) {
    (void)state;
    /* Any ranking is between 0 and 1; the ideal one is exactly 1. */
    uint32_t random = 1;
    for (int round = 0; round < 1000; round++) {
        int32_t grades[20], sorted[20];
        size_t n = 1 + (size_t)round % 20;
        for (size_t i = 0; i < n; i++) {
            random = random * 1664525u + 1013904223u;
            grades[i] = (int32_t)(random >> 30);
            size_t at = i;
            for (; at > 0 && sorted[at - 1] < grades[i]; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = grades[i];
        }
        cr_judged_ranking ranking = {grades, n, grades, n};
        cr_judged_ranking ideal = {sorted, n, grades, n};
        double value = cr_metric_ndcg(&ranking, 10);
        assert_true(value >= 0.0 && value <= 1.0);
        if (sorted[0] > 0) {
            expect_near(cr_metric_ndcg(&ideal, 10), 1.0);
            expect_near(cr_metric_map(&ideal), 1.0);
        }
    }
}

static void test_bootstrap(void **state) {
    (void)state;
    enum { N = 400 };
    double rows[N][2];
    cr_interval intervals[2], again[2];
    for (int i = 0; i < N; i++) {
        rows[i][0] = 0.25;
        rows[i][1] = i % 2; /* mean 0.5, standard error 0.025 */
    }
    assert_int_equal(
        cr_bootstrap_means(&rows[0][0], N, 2, 10000, intervals, NULL), CR_OK);
    assert_int_equal(cr_bootstrap_means(&rows[0][0], N, 2, 10000, again, NULL),
                     CR_OK);
    assert_memory_equal(intervals, again, sizeof again);
    expect_near(intervals[0].low, 0.25);
    expect_near(intervals[0].high, 0.25);
    assert_true(fabs(intervals[1].low - (0.5 - 1.96 * 0.025)) < 0.004);
    assert_true(fabs(intervals[1].high - (0.5 + 1.96 * 0.025)) < 0.004);
    assert_int_equal(cr_bootstrap_means(NULL, 0, 2, 100, intervals, NULL),
                     CR_OK);
    expect_near(intervals[1].high, 0.0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_nothing_relevant_is_zero),
        cmocka_unit_test(test_bounds_and_perfection),
        cmocka_unit_test(test_bootstrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
