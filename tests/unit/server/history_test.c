/* The history: rows after a reset hold what came after it, and nothing else. */
#include "server/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static cr_history history;
static cr_metrics metrics;

static void score(unsigned n_groups, uint64_t ns) {
    for (unsigned i = 0; i < n_groups; i++)
        cr_metrics_observe(&metrics, CR_HISTOGRAM_INFERENCE, ns);
    cr_metrics_count(&metrics, CR_COUNT_PAIRS, n_groups);
}

static cr_history_row row_after(int64_t now_ms) {
    cr_history_row row;
    cr_history_add(&history, &metrics, now_ms * 1000000, 0);
    assert_int_equal(cr_history_copy(&history, &row, 1), 1);
    return row;
}

static bool is_near(double a, double b) {
    return a > 0.999 * b && a < 1.001 * b;
}

/* More came after the reset than before, of shorter times: a mean of sums from
 * before it would be of a negative number. */
static void a_reset_forgets(void **state) {
    (void)state;
    memset(&history, 0, sizeof history);
    cr_metrics_init(&metrics);
    history.last_ns = 500 * 1000000;
    score(10, 50 * 1000000);
    cr_history_row row = row_after(1000);
    assert_true(is_near(row.inference_ms, 50) && is_near(row.pairs_per_s, 20));
    cr_metrics_reset(&metrics);
    cr_history_reset(&history, 1100 * 1000000);
    score(40, 1000000);
    row = row_after(1500);
    assert_true(is_near(row.inference_ms, 1));
    assert_true(is_near(row.pairs_per_s, 100)); /* in 0.4 s */
    assert_int_equal(history.n, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_reset_forgets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
