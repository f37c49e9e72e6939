/* Bootstrap: confidence intervals of means by resampling whole rows.
 *
 * A row is one query, its columns are what was measured of it; a resample
 * draws rows, so that columns stay paired and a column of differences gets the
 * interval of a paired comparison. The seed is fixed: the same numbers give
 * the same interval. Threads: pure. */
#ifndef CR_LAB_BOOTSTRAP_H
#define CR_LAB_BOOTSTRAP_H

#include "base/error.h"

typedef struct cr_interval {
    double low;
    double high;
} cr_interval;

/* Percentile intervals that hold 95 % of `n_resamples` means, one a column of
 * values[n_rows * n_columns]. No rows give intervals of 0. CR_ERR_MEMORY. */
cr_status cr_bootstrap_means(const double *values, size_t n_rows,
                             size_t n_columns, size_t n_resamples,
                             cr_interval *intervals, cr_error *error);

#endif
