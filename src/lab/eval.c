/* Evaluation: one row of numbers a query, then means and a bootstrap. */
#include "lab/eval.h"

#include "base/mem.h"
#include "lab/metrics.h"

#include <stdlib.h>
#include <string.h>

/* Columns of a query's row: three metrics of three kinds. */
enum {
    FIRST_STAGE = 0,
    RERANKED = CR_N_METRICS,
    DIFFERENCE = 2 * CR_N_METRICS,
    N_COLUMNS = 3 * CR_N_METRICS
};

const char *cr_metric_name(cr_metric metric) {
    static const char *const NAMES[] = {"ndcg@10", "mrr@10", "map"};
    return NAMES[metric];
}

typedef struct sort_key {
    const char *name;
    float score;
    uint32_t index;
} sort_key;

static int best_first(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return strcmp(y->name, x->name);
}

cr_status cr_eval_order(const cr_collection *collection,
                        const cr_collection_query *query, const float *scores,
                        uint32_t *order, cr_error *error) {
    sort_key *keys = cr_alloc(query->n * sizeof *keys);
    if (!keys)
        return cr_fail_memory(error, query->n * sizeof *keys, "an order");
    for (size_t i = 0; i < query->n; i++) {
        uint32_t doc = query->candidates[i].doc;
        keys[i] = (sort_key){collection->doc_names.list[doc].data, scores[i],
                             (uint32_t)i};
    }
    qsort(keys, query->n, sizeof *keys, best_first);
    for (size_t i = 0; i < query->n; i++)
        order[i] = keys[i].index;
    cr_free(keys);
    return CR_OK;
}

cr_status cr_eval_query(const cr_collection *collection,
                        const cr_collection_query *query, const uint32_t *order,
                        double values[CR_N_METRICS], cr_error *error) {
    int32_t threshold = collection->max_grade > 1 ? 2 : 1;
    int32_t *grades = cr_alloc(query->n * sizeof *grades);
    if (!grades)
        return cr_fail_memory(error, query->n * sizeof *grades, "grades");
    for (size_t i = 0; i < query->n; i++)
        grades[i] = query->candidates[order[i]].grade;
    cr_judged_ranking ranking = {grades, query->n, query->judged,
                                 query->n_judged};
    values[CR_METRIC_NDCG] = cr_metric_ndcg(&ranking, CR_METRIC_DEPTH);
    values[CR_METRIC_MRR] = cr_metric_mrr(&ranking, CR_METRIC_DEPTH, threshold);
    values[CR_METRIC_MAP] = cr_metric_map(&ranking);
    cr_free(grades);
    return CR_OK;
}

/* One query's row: as the run has it, as the scores order it, and what that
 * changes. order[] has room for its candidates. */
static cr_status fill_row(const cr_collection *collection,
                          const cr_collection_query *query, const float *scores,
                          uint32_t *order, double *row, cr_error *error) {
    for (size_t i = 0; i < query->n; i++)
        order[i] = (uint32_t)i;
    cr_status status =
        cr_eval_query(collection, query, order, row + FIRST_STAGE, error);
    if (status == CR_OK)
        status = cr_eval_order(collection, query, scores, order, error);
    if (status == CR_OK)
        status = cr_eval_query(collection, query, order, row + RERANKED, error);
    for (size_t m = 0; status == CR_OK && m < CR_N_METRICS; m++)
        row[DIFFERENCE + m] = row[RERANKED + m] - row[FIRST_STAGE + m];
    return status;
}

static cr_status summarize(const double *rows, size_t n,
                           cr_evaluation *evaluation, cr_error *error) {
    cr_interval intervals[N_COLUMNS];
    cr_status status = cr_bootstrap_means(
        rows, n, N_COLUMNS, CR_BOOTSTRAP_RESAMPLES, intervals, error);
    if (status != CR_OK)
        return status;
    *evaluation = (cr_evaluation){.n_queries = n};
    for (size_t m = 0; m < CR_N_METRICS; m++) {
        for (size_t i = 0; i < n; i++) {
            const double *row = rows + i * N_COLUMNS;
            evaluation->first_stage[m] += row[FIRST_STAGE + m] / (double)n;
            evaluation->reranked[m] += row[RERANKED + m] / (double)n;
        }
        evaluation->first_stage_ci95[m] = intervals[FIRST_STAGE + m];
        evaluation->reranked_ci95[m] = intervals[RERANKED + m];
        evaluation->difference_ci95[m] = intervals[DIFFERENCE + m];
    }
    return CR_OK;
}

cr_status cr_eval_collection(const cr_collection *collection,
                             const float *scores, cr_evaluation *evaluation,
                             cr_error *error) {
    cr_status status = CR_OK;
    size_t n = collection->n_queries, at = 0;
    double *rows = cr_calloc(n * N_COLUMNS, sizeof *rows);
    uint32_t *order = cr_calloc(collection->n_candidates, sizeof *order);
    if (!rows || !order) {
        status = cr_fail_memory(error, n * N_COLUMNS * sizeof *rows,
                                "an evaluation");
        goto done;
    }
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        const cr_collection_query *query = &collection->queries[i];
        status = fill_row(collection, query, scores + at, order,
                          rows + i * N_COLUMNS, error);
        at += query->n;
    }
    if (status == CR_OK)
        status = summarize(rows, n, evaluation, error);
done:
    cr_free(rows);
    cr_free(order);
    return status;
}
