/* Spread: one sorted copy, then reading off. */
#include "lab/spread.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cr_percentile(const double *sorted, size_t n, double share) {
    double at = share * (double)(n - 1), whole = floor(at);
    size_t i = (size_t)whole;
    double next = sorted[i + 1 < n ? i + 1 : i];
    return sorted[i] + (at - whole) * (next - sorted[i]);
}

static double mean_of(const double *values, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum / (double)n;
}

static void read_off(const double *sorted, size_t n, cr_spread *s) {
    double squares = 0.0;
    s->mean = mean_of(sorted, n);
    for (size_t i = 0; i < n; i++)
        squares += (sorted[i] - s->mean) * (sorted[i] - s->mean);
    s->std = sqrt(squares / (double)n);
    s->min = sorted[0];
    s->max = sorted[n - 1];
    s->p50 = cr_percentile(sorted, n, 0.50);
    s->p75 = cr_percentile(sorted, n, 0.75);
    s->p90 = cr_percentile(sorted, n, 0.90);
    s->p95 = cr_percentile(sorted, n, 0.95);
    s->p99 = cr_percentile(sorted, n, 0.99);
    s->p999 = cr_percentile(sorted, n, 0.999);
}

cr_status cr_spread_of(const double *values, size_t n, cr_spread *spread,
                       cr_error *error) {
    size_t n_known = 0;
    *spread = (cr_spread){0,          CR_UNKNOWN, CR_UNKNOWN, CR_UNKNOWN,
                          CR_UNKNOWN, CR_UNKNOWN, CR_UNKNOWN, CR_UNKNOWN,
                          CR_UNKNOWN, CR_UNKNOWN, CR_UNKNOWN};
    if (!n)
        return CR_OK;
    double *sorted = cr_calloc(n, sizeof *sorted);
    if (!sorted)
        return cr_fail_memory(error, n * sizeof *sorted, "figures");
    for (size_t i = 0; i < n; i++)
        if (!isnan(values[i]))
            sorted[n_known++] = values[i];
    qsort(sorted, n_known, sizeof *sorted, compare_doubles);
    spread->n = (double)n_known;
    if (n_known)
        read_off(sorted, n_known, spread);
    cr_free(sorted);
    return CR_OK;
}

double cr_correlation(const double *a, const double *b, size_t n) {
    if (n < 2)
        return CR_UNKNOWN;
    double mean_a = mean_of(a, n), mean_b = mean_of(b, n);
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (size_t i = 0; i < n; i++) {
        ab += (a[i] - mean_a) * (b[i] - mean_b);
        aa += (a[i] - mean_a) * (a[i] - mean_a);
        bb += (b[i] - mean_b) * (b[i] - mean_b);
    }
    return aa > 0.0 && bb > 0.0 ? ab / sqrt(aa * bb) : CR_UNKNOWN;
}
