/* Random numbers that a seed repeats: splitmix64. Not for secrets. Threads: a
 * state each. */
#ifndef CR_BASE_RANDOM_H
#define CR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t cr_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Below n; the bias of the product is below n / 2^32. */
static inline size_t cr_random_below(uint64_t *state, size_t n) {
    return (size_t)((cr_random(state) >> 32) * (uint64_t)n >> 32);
}

/* Between 0 and 1, neither of them. */
static inline double cr_random_unit(uint64_t *state) {
    return ((double)(cr_random(state) >> 12) + 0.5) / 4503599627370496.0;
}

#endif
