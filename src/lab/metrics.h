/* Ranking metrics: NDCG, MRR and MAP as trec_eval and pytrec_eval compute them.
 *
 * Gains are linear, discounts log2(rank + 1); MRR counts documents of grade >=
 * 2 where any grade exceeds 1, else >= 1; MAP counts grade >= 1. A ranking is
 * ordered by score, ties by document id as pytrec_eval breaks them. */
#ifndef CR_LAB_METRICS_H
#define CR_LAB_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* One query: grades[n] of the ranking's documents, best first, and
 * judged[n_judged], all its positive grades in any order. */
typedef struct cr_judged_ranking {
    const int32_t *grades; /* 0 where not judged */
    size_t n;
    const int32_t *judged;
    size_t n_judged;
} cr_judged_ranking;

double cr_metric_ndcg(const cr_judged_ranking *ranking, size_t depth);
double cr_metric_mrr(const cr_judged_ranking *ranking, size_t depth,
                     int32_t threshold);
double cr_metric_map(const cr_judged_ranking *ranking);

#endif
