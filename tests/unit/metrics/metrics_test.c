/* Histograms are exact at powers of two and near elsewhere; the set of series
 * is fixed. */
#include "metrics/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static cr_metrics metrics;

static void counts_are_exact_at_powers_of_two(void **state) {
    (void)state;
    static cr_histogram h;
    for (uint64_t v = 0; v <= 5000; v++)
        cr_histogram_add(&h, v);
    for (uint32_t power = 0; power <= 12; power++)
        assert_int_equal(cr_histogram_count_to(&h, power), (1u << power) + 1);
    cr_histogram_add(&h, UINT64_MAX);
    assert_int_equal(cr_histogram_count(&h), 5002);
    assert_int_equal(cr_histogram_count_to(&h, 63), 5001);
}

static void quantiles_are_near(void **state) {
    (void)state;
    static const double qs[] = {0.01, 0.5, 0.95, 0.99};
    static cr_histogram h;
    for (uint64_t v = 1; v <= 100000; v++)
        cr_histogram_add(&h, v * 1000);
    for (size_t i = 0; i < 4; i++) {
        double want = qs[i] * 1e8, got = cr_histogram_quantile(&h, qs[i]);
        assert_true(fabs(got - want) < 0.0625 * want);
    }
    cr_histogram_reset(&h);
    assert_true(cr_histogram_quantile(&h, 0.5) == 0);
}

static size_t count_series(const char *text) {
    size_t n = 0;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1)
        n += *line != '#';
    return n;
}

static void series_are_there_from_the_start(void **state) {
    (void)state;
    cr_buf out;
    cr_error error;
    cr_buf_init(&out, 1 << 20);
    cr_metrics_init(&metrics);
    assert_int_equal(cr_metrics_write(&metrics, &out, &error), CR_OK);
    size_t n = count_series(out.data);
    assert_in_range(n, 100, 149);
    assert_non_null(strstr(out.data, "\ncrossrank_refused_total{reason="
                                     "\"overload\"} 0\n"));
    cr_metrics_count(&metrics, CR_COUNT_REFUSED_OVERLOAD, 3);
    cr_metrics_observe(&metrics, CR_HISTOGRAM_QUEUE, 1 << 20);
    cr_metrics_set(&metrics, CR_GAUGE_QUEUE_AGE, 1500000000);
    cr_buf_fini(&out);
    assert_int_equal(cr_metrics_write(&metrics, &out, &error), CR_OK);
    assert_int_equal(count_series(out.data), n);
    assert_non_null(strstr(out.data, "refused_total{reason=\"overload\"} 3\n"));
    assert_non_null(strstr(out.data, "\ncrossrank_queue_age_seconds 1.5\n"));
    assert_non_null(
        strstr(out.data,
               "queue_wait_seconds_bucket{le=\"0.000262144\"} 0\n"
               "crossrank_queue_wait_seconds_bucket{le=\"0.001048576\"} 1\n"));
    cr_buf_fini(&out);
}

static void reset_keeps_gauges(void **state) {
    (void)state;
    cr_metrics_init(&metrics);
    cr_metrics_set(&metrics, CR_GAUGE_LANES, 2);
    cr_metrics_count(&metrics, CR_COUNT_PAIRS, 7);
    cr_metrics_observe(&metrics, CR_HISTOGRAM_GROUP_PAIRS, 8);
    assert_int_equal(
        cr_metrics_summary(&metrics, CR_HISTOGRAM_GROUP_PAIRS).count, 1);
    cr_metrics_reset(&metrics);
    assert_int_equal(cr_metrics_gauge(&metrics, CR_GAUGE_LANES), 2);
    assert_int_equal(cr_metrics_counter(&metrics, CR_COUNT_PAIRS), 0);
    assert_int_equal(
        cr_metrics_summary(&metrics, CR_HISTOGRAM_GROUP_PAIRS).count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_are_exact_at_powers_of_two),
        cmocka_unit_test(quantiles_are_near),
        cmocka_unit_test(series_are_there_from_the_start),
        cmocka_unit_test(reset_keeps_gauges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
