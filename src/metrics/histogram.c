/* A histogram with sixteen buckets to every power of two.
 *
 * Bucket b holds values in (low(b), low(b + 1)], so that "at most 2^k" falls
 * on a border. */
#include "metrics/histogram.h"

enum { STEPS_LOG2 = 4, STEPS = 1 << STEPS_LOG2 };

static uint32_t log2_of(uint64_t x) {
    return 63U - (uint32_t)__builtin_clzll(x);
}

/* The bucket of all values v with v - 1 = below. */
static size_t bucket_of(uint64_t below) {
    if (below < STEPS)
        return (size_t)below;
    uint32_t e = log2_of(below);
    return (e - STEPS_LOG2 + 1) * (size_t)STEPS +
           ((below >> (e - STEPS_LOG2)) & (STEPS - 1));
}

/* The least `below` of a bucket. */
static double low_of(size_t bucket) {
    if (bucket < STEPS)
        return (double)bucket;
    size_t e = bucket / STEPS - 1 + STEPS_LOG2;
    double step = (double)(UINT64_C(1) << (e - STEPS_LOG2));
    return step * (double)(STEPS + bucket % STEPS);
}

void cr_histogram_add(cr_histogram *h, uint64_t value) {
    size_t bucket = bucket_of(value ? value - 1 : 0);
    atomic_fetch_add_explicit(&h->counts[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum, value, memory_order_relaxed);
}

void cr_histogram_reset(cr_histogram *h) {
    for (size_t i = 0; i < CR_HISTOGRAM_BUCKETS; i++)
        atomic_store_explicit(&h->counts[i], 0, memory_order_relaxed);
    atomic_store_explicit(&h->sum, 0, memory_order_relaxed);
}

static uint64_t count_first(const cr_histogram *h, size_t n) {
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
    return count;
}

uint64_t cr_histogram_count(const cr_histogram *h) {
    return count_first(h, CR_HISTOGRAM_BUCKETS);
}

uint64_t cr_histogram_count_to(const cr_histogram *h, uint32_t power) {
    return count_first(h, bucket_of(UINT64_C(1) << power));
}

double cr_histogram_quantile(const cr_histogram *h, double q) {
    uint64_t total = cr_histogram_count(h);
    double wanted = q * (double)total, seen = 0;
    for (size_t i = 0; total && i < CR_HISTOGRAM_BUCKETS; i++) {
        double n =
            (double)atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        if (n > 0 && seen + n >= wanted) {
            double low = low_of(i), high = low_of(i + 1);
            return low + (high - low) * (wanted - seen) / n;
        }
        seen += n;
    }
    return 0;
}
