/* Pace: the cost of a pair is guessed from its bytes, the speed is measured. */
#include "cli/pace.h"

#include "cli/clock.h"

enum {
    SLICE_SECONDS = 2,
    PAIR_COST = 48,        /* specials and rounding, in bytes of text */
    MAX_PAIR_COST = 2500,  /* 512 tokens; what is beyond is cut */
    FIRST_COST = 64 << 10, /* about 150 pairs of web passages */
    MAX_GROWTH = 4         /* of a slice, over the one before */
};

static double cost_of(const cr_pair *pair) {
    size_t bytes = pair->query.len + pair->passage.len;
    return PAIR_COST + (double)(bytes < MAX_PAIR_COST ? bytes : MAX_PAIR_COST);
}

size_t cr_pace_take(const cr_pace *pace, const cr_pair *pairs, size_t n) {
    double budget = pace->cost_per_second > 0
                        ? pace->cost_per_second * SLICE_SECONDS
                        : FIRST_COST;
    size_t taken = 0;
    for (; taken < n; taken++) {
        budget -= cost_of(&pairs[taken]);
        if (budget < 0 && taken > 0)
            break;
    }
    return taken;
}

cr_status cr_pace_score(cr_pace *pace, cr_ranker *ranker, const cr_pair *pairs,
                        size_t n, float *scores, size_t *n_done,
                        cr_error *error) {
    double began = cr_seconds(), cost = 0;
    *n_done = 0;
    n = cr_pace_take(pace, pairs, n);
    cr_status status =
        cr_score_labels(ranker, pairs, n, pace->n_labels, scores, error);
    if (status != CR_OK)
        return status;
    double seconds = cr_seconds() - began;
    for (size_t i = 0; i < n; i++)
        cost += cost_of(&pairs[i]);
    double speed = seconds > 1e-6 ? cost / seconds : cost * 1e6;
    /* A few pairs say little: growth is bounded by what was tried. */
    double most = cost * MAX_GROWTH / SLICE_SECONDS;
    if (pace->cost_per_second < speed && most > pace->cost_per_second)
        pace->cost_per_second = speed < most ? speed : most;
    else if (pace->cost_per_second > speed)
        pace->cost_per_second = speed;
    *n_done = n;
    return CR_OK;
}
