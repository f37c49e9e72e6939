/* Ranking metrics: each is one pass over the ranking's grades. */
#include "lab/metrics.h"

#include <math.h>

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static double gain(int32_t grade, size_t rank) {
    return grade > 0 ? (double)grade / log2((double)rank + 1.0) : 0.0;
}

/* The greatest grade below `bound` and how often it stands in judged[]; 0
 * where there is none above 0. */
static int32_t next_grade(const cr_judged_ranking *ranking, int32_t bound,
                          size_t *n_times) {
    int32_t best = 0;
    *n_times = 0;
    for (size_t i = 0; i < ranking->n_judged; i++) {
        int32_t grade = ranking->judged[i];
        if (grade >= bound || grade < best || grade <= 0)
            continue;
        *n_times = grade == best ? *n_times + 1 : 1;
        best = grade;
    }
    return best;
}

/* What the best possible ranking would gain: grades from high to low. */
static double ideal_gain(const cr_judged_ranking *ranking, size_t depth) {
    double sum = 0.0;
    size_t rank = 1, n_times;
    int32_t bound = INT32_MAX;
    while (rank <= depth) {
        int32_t grade = next_grade(ranking, bound, &n_times);
        if (grade == 0)
            break;
        for (; n_times > 0 && rank <= depth; n_times--, rank++)
            sum += gain(grade, rank);
        bound = grade;
    }
    return sum;
}

double cr_metric_ndcg(const cr_judged_ranking *ranking, size_t depth) {
    double ideal = ideal_gain(ranking, depth), sum = 0.0;
    if (ideal <= 0.0)
        return 0.0;
    for (size_t i = 0; i < least(ranking->n, depth); i++)
        sum += gain(ranking->grades[i], i + 1);
    return sum / ideal;
}

double cr_metric_mrr(const cr_judged_ranking *ranking, size_t depth,
                     int32_t threshold) {
    for (size_t i = 0; i < least(ranking->n, depth); i++)
        if (ranking->grades[i] >= threshold)
            return 1.0 / (double)(i + 1);
    return 0.0;
}

double cr_metric_map(const cr_judged_ranking *ranking) {
    size_t n_relevant = 0, n_found = 0;
    double sum = 0.0;
    for (size_t i = 0; i < ranking->n_judged; i++)
        n_relevant += ranking->judged[i] > 0;
    for (size_t i = 0; i < ranking->n; i++)
        if (ranking->grades[i] > 0)
            sum += (double)++n_found / (double)(i + 1);
    return n_relevant ? sum / (double)n_relevant : 0.0;
}
