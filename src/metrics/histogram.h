/* A histogram that is fine enough for honest percentiles.
 *
 * Sixteen buckets between a power of two and the next, so a percentile is off
 * by at most 6 %, and counts up to a power of two are exact: Prometheus'
 * coarse buckets are sums of fine ones. It does not keep single values.
 *
 * Threads: any number may add; a reader sees each count, not one moment. */
#ifndef CR_METRICS_HISTOGRAM_H
#define CR_METRICS_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { CR_HISTOGRAM_BUCKETS = 976 };

typedef struct cr_histogram {
    _Atomic uint64_t counts[CR_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum;
} cr_histogram;

void cr_histogram_add(cr_histogram *histogram, uint64_t value);
void cr_histogram_reset(cr_histogram *histogram);
uint64_t cr_histogram_count(const cr_histogram *histogram);
/* How many values were at most 2^power. */
uint64_t cr_histogram_count_to(const cr_histogram *histogram, uint32_t power);
/* The value that a share `q` (0..1) of all values does not pass; 0 if there
 * are none. */
double cr_histogram_quantile(const cr_histogram *histogram, double q);

#endif
