/* Bulk: window by window, slice by slice. */
#include "cli/bulk.h"

#include "base/mem.h"
#include "cli/clock.h"
#include "cli/command.h"
#include "cli/interrupt.h"

#include <stdio.h>

enum { MAX_SHOWN_BAD = 20 };

void cr_bad_records_note(cr_bad_records *bad, cr_text message) {
    if (bad->n++ < MAX_SHOWN_BAD && !bad->quiet)
        fprintf(stderr, "%.*s (skipped)\n", (int)message.len, message.data);
}

void cr_bad_records_end(const cr_bad_records *bad) {
    if (bad->n > MAX_SHOWN_BAD && !bad->quiet)
        fprintf(stderr,
                "crossrank: %llu bad lines were skipped, the first %d "
                "are shown\n",
                (unsigned long long)bad->n, MAX_SHOWN_BAD);
}

/* A run in progress. */
typedef struct bulk_run {
    const cr_bulk *bulk;
    cr_ranker *ranker;
    cr_feed *feed;
    cr_pace pace;
    cr_progress progress;
    cr_bad_records bad;
    uint64_t n_records;
    uint64_t n_scored;
    cr_pair *pairs; /* [CR_WINDOW_ITEMS], the window's good ones */
    uint32_t n_labels;
    float *scores; /* [CR_WINDOW_ITEMS][n_labels] */
} bulk_run;

static cr_status hand_on(bulk_run *run, const cr_window *window, size_t item,
                         const float *scores, cr_error *error) {
    cr_bulk_result result = {run->n_records++, cr_window_pair(window, item),
                             window->format, scores};
    if (!scores) {
        cr_progress_clear(&run->progress);
        cr_bad_records_note(&run->bad, result.pair.passage);
    }
    return run->bulk->result(run->bulk->context, &result, error);
}

/* Hands on items from *item on: bad ones, and n_scored good ones. Bad ones
 * behind the last good one go along. */
static cr_status hand_on_slice(bulk_run *run, const cr_window *window,
                               size_t n_items, size_t *item,
                               const float *scores, size_t n_scored,
                               cr_error *error) {
    cr_status status = CR_OK;
    size_t used = 0;
    while (status == CR_OK && *item < n_items &&
           (window->items[*item].bad || used < n_scored)) {
        bool bad = window->items[*item].bad;
        status = hand_on(run, window, *item,
                         bad ? NULL : scores + used * run->n_labels, error);
        used += !bad;
        ++*item;
    }
    run->n_scored += n_scored;
    if (status == CR_OK && run->bulk->slice_done)
        status = run->bulk->slice_done(run->bulk->context, error);
    return status;
}

/* Shows how far the input is read, as the last item says. */
static void show_progress(bulk_run *run, const cr_window *window, size_t item) {
    uint64_t bytes = cr_feed_bytes(run->feed);
    double share = -1;
    if (bytes && item > 0)
        share = (double)window->items[item - 1].end / (double)bytes;
    cr_progress_show(&run->progress, run->n_scored, share);
}

/* Good items of window[0..n_items) into run->pairs. */
static size_t gather_pairs(bulk_run *run, const cr_window *window,
                           size_t n_items) {
    size_t n = 0;
    for (size_t i = 0; i < n_items; i++) {
        if (window->items[i].bad)
            continue;
        run->pairs[n] = cr_window_pair(window, i);
        if (run->bulk->kind == CR_RECORD_PASSAGE)
            run->pairs[n].query = run->bulk->query;
        n++;
    }
    return n;
}

static cr_status run_window(bulk_run *run, const cr_window *window,
                            cr_error *error) {
    size_t n_items = 0, item = 0, at = 0, n_done;
    while (n_items < window->n &&
           (run->bulk->skip_errors || !window->items[n_items].bad))
        n_items++;
    size_t n_pairs = gather_pairs(run, window, n_items);
    cr_status status = CR_OK;
    do {
        n_done = 0;
        if (at < n_pairs)
            status = cr_pace_score(&run->pace, run->ranker, run->pairs + at,
                                   n_pairs - at, run->scores, &n_done, error);
        cr_progress_clear(&run->progress);
        if (status == CR_OK)
            status = hand_on_slice(run, window, n_items, &item, run->scores,
                                   n_done, error);
        at += n_done;
        show_progress(run, window, item);
    } while (status == CR_OK && at < n_pairs && !cr_interrupt_asked());
    if (status == CR_OK && n_items < window->n && !cr_interrupt_asked()) {
        cr_text message = cr_window_pair(window, n_items).passage;
        return cr_fail_at(error, CR_ERR_INPUT, window->items[n_items].line, 0,
                          "%.*s", (int)message.len, message.data);
    }
    return status;
}

static cr_status run_all(bulk_run *run, cr_error *error) {
    const cr_window *window;
    cr_status status = CR_OK;
    while (status == CR_OK && !cr_interrupt_asked()) {
        status = cr_feed_next(run->feed, &window, error);
        if (status != CR_OK || window->n == 0)
            break;
        status = run_window(run, window, error);
    }
    return status;
}

cr_status cr_bulk_run(const cr_bulk *bulk, cr_ranker *ranker,
                      cr_bulk_outcome *outcome, cr_error *error) {
    cr_ranker_info info;
    cr_ranker_get_info(ranker, &info);
    bulk_run run = {.bulk = bulk,
                    .ranker = ranker,
                    .pace = {.n_labels = info.n_labels},
                    .bad = {.quiet = bulk->quiet},
                    .n_labels = info.n_labels};
    double began = cr_seconds();
    *outcome = (cr_bulk_outcome){0};
    run.pairs = cr_calloc(CR_WINDOW_ITEMS, sizeof *run.pairs);
    run.scores = cr_calloc(CR_WINDOW_ITEMS, info.n_labels * sizeof *run.scores);
    cr_status status = CR_OK;
    if (!run.pairs || !run.scores)
        status =
            cr_fail_memory(error, CR_WINDOW_ITEMS * sizeof *run.pairs, "pairs");
    if (status == CR_OK)
        status = cr_feed_open(bulk->path, bulk->kind, bulk->format, &run.feed,
                              error);
    if (status == CR_OK) {
        cr_progress_init(&run.progress, bulk->show_progress && !bulk->quiet,
                         "pairs", 0);
        status = run_all(&run, error);
        cr_progress_clear(&run.progress);
    }
    cr_feed_close(run.feed);
    cr_free(run.pairs);
    cr_free(run.scores);
    cr_bad_records_end(&run.bad);
    outcome->n_scored = run.n_scored;
    outcome->n_bad = run.bad.n;
    outcome->seconds = cr_seconds() - began;
    outcome->interrupted = cr_interrupt_asked();
    return status;
}

int cr_bulk_finish(const cr_bulk *bulk, const cr_bulk_outcome *outcome,
                   cr_status status, const cr_error *error) {
    if (status != CR_OK)
        return cr_command_fail(error);
    if (outcome->interrupted)
        fprintf(stderr,
                "crossrank: interrupted after %llu pairs, which are "
                "written\n",
                (unsigned long long)outcome->n_scored);
    else if (!bulk->quiet)
        fprintf(stderr, "pairs_per_second=%.6g\n",
                outcome->seconds > 0
                    ? (double)outcome->n_scored / outcome->seconds
                    : 0.0);
    if (outcome->interrupted)
        return CR_EXIT_INTERRUPTED;
    return outcome->n_bad ? CR_EXIT_SOME_FAILED : CR_EXIT_DONE;
}
