/* Bulk: every record of a file through the ranker, in order.
 *
 * Joins feed, pace and progress, so that score and rank differ only in what
 * they do with a result. Bad records either end the run, after everything
 * before them was handed on, or are counted and handed on without a score.
 * Threads: one. */
#ifndef CR_CLI_BULK_H
#define CR_CLI_BULK_H

#include "cli/common.h"
#include "cli/feed.h"
#include "cli/pace.h"
#include "cli/progress.h"

/* Counts bad records and prints the first of their messages. */
typedef struct cr_bad_records {
    uint64_t n;
    bool quiet;
} cr_bad_records;
void cr_bad_records_note(cr_bad_records *bad, cr_text message);
/* After all of them: how many there were, where not all were shown. */
void cr_bad_records_end(const cr_bad_records *bad);

typedef struct cr_bulk_result {
    uint64_t index; /* of the record in the input, from 0 */
    cr_pair pair;
    cr_record_format format; /* of the input */
    const float *scores;     /* [labels of the model]; NULL: a bad record */
} cr_bulk_result;

typedef struct cr_bulk {
    const char *path;
    cr_record_kind kind;
    cr_record_format format;
    cr_text query; /* of passage records */
    bool skip_errors;
    bool quiet;
    bool show_progress;
    void *context;
    /* One record; what it holds lives until the call returns. */
    cr_status (*result)(void *context, const cr_bulk_result *result,
                        cr_error *error);
    /* After each slice of some seconds, for what should appear; or NULL. */
    cr_status (*slice_done)(void *context, cr_error *error);
} cr_bulk;

typedef struct cr_bulk_outcome {
    uint64_t n_scored;
    uint64_t n_bad;
    double seconds; /* from the first read to the last result */
    bool interrupted;
} cr_bulk_outcome;

/* CR_ERR_INPUT for a bad record, what scoring returned, what `result` did. */
cr_status cr_bulk_run(const cr_bulk *bulk, cr_ranker *ranker,
                      cr_bulk_outcome *outcome, cr_error *error);

/* The exit code of a run that has handed on its results, and the closing
 * lines on standard error: pairs_per_second=N, or what went wrong. */
int cr_bulk_finish(const cr_bulk *bulk, const cr_bulk_outcome *outcome,
                   cr_status status, const cr_error *error);

#endif
