/* Evaluation: how good two orders of a collection's candidates are.
 *
 * The metrics of each query, their means, and what the difference is worth.
 * It scores nothing itself: whoever has scores hands them in. Threads: pure.
 * Ownership: results are the caller's values. */
#ifndef CR_LAB_EVAL_H
#define CR_LAB_EVAL_H

#include "lab/beir.h"
#include "lab/bootstrap.h"

typedef enum cr_metric {
    CR_METRIC_NDCG, /* at rank 10 */
    CR_METRIC_MRR,  /* at rank 10 */
    CR_METRIC_MAP,  /* over all candidates */
    CR_N_METRICS
} cr_metric;

enum { CR_METRIC_DEPTH = 10, CR_BOOTSTRAP_RESAMPLES = 10000 };

/* "ndcg@10", "mrr@10", "map". */
const char *cr_metric_name(cr_metric metric);

/* Means over queries and the intervals that hold 95 % of their bootstrap. */
typedef struct cr_evaluation {
    size_t n_queries;
    double first_stage[CR_N_METRICS];
    double reranked[CR_N_METRICS];
    cr_interval first_stage_ci95[CR_N_METRICS];
    cr_interval reranked_ci95[CR_N_METRICS];
    cr_interval difference_ci95[CR_N_METRICS]; /* reranked - first stage */
} cr_evaluation;

/* The order of one query's candidates by scores[n], best first, into
 * order[n]: equal scores by the greater document id first, as trec_eval.
 * CR_ERR_MEMORY. */
cr_status cr_eval_order(const cr_collection *collection,
                        const cr_collection_query *query, const float *scores,
                        uint32_t *order, cr_error *error);

/* Metrics of one query whose candidates stand in that order. */
cr_status cr_eval_query(const cr_collection *collection,
                        const cr_collection_query *query, const uint32_t *order,
                        double values[CR_N_METRICS], cr_error *error);

/* scores[n_candidates] of the whole collection, in its order. */
cr_status cr_eval_collection(const cr_collection *collection,
                             const float *scores, cr_evaluation *evaluation,
                             cr_error *error);

#endif
