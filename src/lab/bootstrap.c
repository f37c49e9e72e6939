/* Bootstrap: splitmix64 draws rows, means are sorted, percentiles read off. */
#include "lab/bootstrap.h"

#include "base/mem.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Between the two nearest of sorted[n], as numpy.percentile does. */
static double percentile(const double *sorted, size_t n, double share) {
    double at = share * (double)(n - 1), whole = floor(at);
    size_t i = (size_t)whole;
    double next = sorted[i + 1 < n ? i + 1 : i];
    return sorted[i] + (at - whole) * (next - sorted[i]);
}

cr_status cr_bootstrap_means(const double *values, size_t n_rows,
                             size_t n_columns, size_t n_resamples,
                             cr_interval *intervals, cr_error *error) {
    uint64_t state = 2023;
    memset(intervals, 0, n_columns * sizeof *intervals);
    if (!n_rows || !n_resamples)
        return CR_OK;
    /* One column's means stand together, to be sorted. */
    double *means = cr_calloc(n_resamples * n_columns, sizeof *means);
    if (!means)
        return cr_fail_memory(error, n_resamples * n_columns * sizeof *means,
                              "a bootstrap");
    for (size_t r = 0; r < n_resamples; r++)
        for (size_t i = 0; i < n_rows; i++) {
            const double *row =
                values + cr_random_below(&state, n_rows) * n_columns;
            for (size_t c = 0; c < n_columns; c++)
                means[c * n_resamples + r] += row[c];
        }
    for (size_t c = 0; c < n_columns; c++) {
        double *column = means + c * n_resamples;
        qsort(column, n_resamples, sizeof *column, compare_doubles);
        intervals[c].low =
            percentile(column, n_resamples, 0.025) / (double)n_rows;
        intervals[c].high =
            percentile(column, n_resamples, 0.975) / (double)n_rows;
    }
    cr_free(means);
    return CR_OK;
}
