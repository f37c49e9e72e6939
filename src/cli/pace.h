/* Pace: long work in slices of about two seconds.
 *
 * cr_score cannot be interrupted and tells nothing until it is done. A slice
 * is long enough that its end (the last group of each lane) costs about 1 %,
 * and short enough for Ctrl-C, progress and results that appear. Threads: one.
 */
#ifndef CR_CLI_PACE_H
#define CR_CLI_PACE_H

#include "crossrank.h"

typedef struct cr_pace {
    uint32_t n_labels;      /* of the model */
    double cost_per_second; /* as measured, 0 at the beginning */
} cr_pace;

/* How many of pairs[n], n > 0, to score next; at least 1. */
size_t cr_pace_take(const cr_pace *pace, const cr_pair *pairs, size_t n);

/* Scores a slice from the front of pairs[n], n_labels scores a pair, and
 * learns from it; *n_done says how many pairs. */
cr_status cr_pace_score(cr_pace *pace, cr_ranker *ranker, const cr_pair *pairs,
                        size_t n, float *scores, size_t *n_done,
                        cr_error *error);

#endif
