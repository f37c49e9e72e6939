/* Spread: what a report says about a list of numbers.
 *
 * Mean, population standard deviation (divided by n) and percentiles between
 * the two nearest values, as numpy computes them by default. NAN stands for
 * "not measured": it is left out, and what is made of nothing is NAN.
 *
 * Threads: pure. Ownership: the caller's. */
#ifndef CR_LAB_SPREAD_H
#define CR_LAB_SPREAD_H

#include "base/error.h"

#include <math.h>

#define CR_UNKNOWN ((double)NAN)

typedef struct cr_spread {
    double n, mean, std, min, p50, p75, p90, p95, p99, p999, max;
} cr_spread;

/* CR_ERR_MEMORY. */
cr_status cr_spread_of(const double *values, size_t n, cr_spread *spread,
                       cr_error *error);
/* Of sorted[n], n > 0; share is in 0..1. */
double cr_percentile(const double *sorted, size_t n, double share);
/* Pearson's; NAN where either does not vary. */
double cr_correlation(const double *a, const double *b, size_t n);

#endif
