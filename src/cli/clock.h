/* Seconds on a clock that never goes back, from an arbitrary beginning. */
#ifndef CR_CLI_CLOCK_H
#define CR_CLI_CLOCK_H

#include <time.h>

static inline double cr_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
