/* crossrank eval: how much better a BEIR folder's ranking becomes. */
#include "lab/eval.h"

#include "base/mem.h"
#include "cli/clock.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "cli/pace.h"
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct eval_options {
    cr_common common;
    const char *folder;
    const char *run;
    const char *save;
    uint32_t depth;
    bool json;
    bool table;
} eval_options;

/* ---- Scoring ------------------------------------------------------------ */

static cr_pair *make_pairs(const cr_collection *collection, cr_error *error) {
    size_t n = 0;
    cr_pair *pairs = cr_calloc(collection->n_candidates, sizeof *pairs);
    if (!pairs) {
        cr_fail_memory(error, collection->n_candidates * sizeof *pairs,
                       "pairs");
        return NULL;
    }
    for (size_t q = 0; q < collection->n_queries; q++) {
        const cr_collection_query *query = &collection->queries[q];
        for (size_t i = 0; i < query->n; i++)
            pairs[n++] = (cr_pair){
                query->text, collection->doc_texts[query->candidates[i].doc]};
    }
    return pairs;
}

/* Scores of all candidates. CR_ERR_CANCELLED after SIGINT. */
static cr_status score_all(const eval_options *o, cr_ranker *ranker,
                           const cr_collection *collection, float *scores,
                           cr_error *error) {
    size_t n = collection->n_candidates, at = 0, n_done;
    cr_pace pace = {.n_labels = 1};
    cr_progress progress;
    cr_status status = CR_OK;
    cr_pair *pairs = make_pairs(collection, error);
    if (!pairs)
        return CR_ERR_MEMORY;
    cr_progress_init(&progress, !o->common.quiet, "pairs", n);
    while (status == CR_OK && at < n) {
        cr_progress_show(&progress, at, -1);
        status = cr_pace_score(&pace, ranker, pairs + at, n - at, scores + at,
                               &n_done, error);
        at += n_done;
        if (status == CR_OK && cr_interrupt_asked())
            status = cr_fail(error, CR_ERR_CANCELLED,
                             "interrupted after %zu of %zu pairs", at, n);
    }
    cr_progress_clear(&progress);
    cr_free(pairs);
    return status;
}

/* ---- Saving ------------------------------------------------------------- */

static cr_status write_run(cr_out *out, const cr_collection *collection,
                           const float *scores, cr_error *error) {
    cr_status status = CR_OK;
    uint32_t *order = cr_calloc(collection->n_candidates, sizeof *order);
    if (!order)
        return cr_fail_memory(error, collection->n_candidates * sizeof *order,
                              "a run");
    for (size_t q = 0; status == CR_OK && q < collection->n_queries; q++) {
        const cr_collection_query *query = &collection->queries[q];
        status = cr_eval_order(collection, query, scores, order, error);
        for (size_t i = 0; status == CR_OK && i < query->n; i++) {
            uint32_t doc = query->candidates[order[i]].doc;
            cr_text name = collection->doc_names.list[doc];
            /* Columns of ids with blanks are told apart by tabs. */
            bool blank =
                (query->id.len && memchr(query->id.data, ' ', query->id.len)) ||
                (name.len && memchr(name.data, ' ', name.len));
            char gap = blank ? '\t' : ' ';
            cr_out_column(out, query->id);
            cr_out_printf(out, "%cQ0%c", gap, gap);
            cr_out_column(out, name);
            cr_out_printf(out, "%c%zu%c%.9g%ccrossrank\n", gap, i + 1, gap,
                          (double)scores[order[i]], gap);
        }
        scores += query->n;
    }
    cr_free(order);
    return status == CR_OK ? cr_out_flush(out, error) : status;
}

/* A run takes minutes: whether it can be kept is known before. What is there
 * stays until then. */
static cr_status open_run(const char *path, int *fd, cr_error *error) {
    *fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    return !path || *fd >= 0 ? CR_OK
                             : cr_fail(error, CR_ERR_IO, "%s: cannot write: %s",
                                       path, strerror(errno));
}

static cr_status save_run(const char *path, int fd,
                          const cr_collection *collection, const float *scores,
                          cr_error *error) {
    cr_out out;
    struct stat about;
    /* A device is not shortened. */
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) &&
        ftruncate(fd, 0) != 0) {
        close(fd);
        return cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", path,
                       strerror(errno));
    }
    cr_out_init(&out, fd, path);
    cr_status status = write_run(&out, collection, scores, error);
    if (close(fd) != 0 && status == CR_OK)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", path,
                         strerror(errno));
    return status;
}

/* ---- Reporting ---------------------------------------------------------- */

static void write_means(cr_out *out, const char *name,
                        const double means[CR_N_METRICS]) {
    cr_out_printf(out, ",\"%s\":{", name);
    for (int m = 0; m < CR_N_METRICS; m++)
        cr_out_printf(out, "%s\"%s\":%.10g", m ? "," : "",
                      cr_metric_name((cr_metric)m), means[m]);
    cr_out_text(out, "}");
}

static void write_interval(cr_out *out, const char *name,
                           const cr_interval *interval) {
    cr_out_printf(out, "\"%s\":[%.10g,%.10g]", name, interval->low,
                  interval->high);
}

static void write_json(cr_out *out, const cr_evaluation *e, double rate) {
    cr_out_printf(out, "{\"queries\":%zu", e->n_queries);
    write_means(out, "first_stage", e->first_stage);
    write_means(out, "reranked", e->reranked);
    cr_out_text(out, ",\"ci95\":{");
    for (int m = 0; m < CR_N_METRICS; m++) {
        cr_out_printf(out, "%s\"%s\":{", m ? "," : "",
                      cr_metric_name((cr_metric)m));
        write_interval(out, "first_stage", &e->first_stage_ci95[m]);
        cr_out_text(out, ",");
        write_interval(out, "reranked", &e->reranked_ci95[m]);
        cr_out_text(out, ",");
        write_interval(out, "difference", &e->difference_ci95[m]);
        cr_out_text(out, "}");
    }
    cr_out_printf(out, "},\"pairs_per_second\":%.6g}\n", rate);
}

static void write_table(cr_out *out, const eval_options *o,
                        const cr_collection *collection, const cr_evaluation *e,
                        double rate) {
    static const char *const NAMES[] = {"NDCG@10", "MRR@10", "MAP"};
    cr_out_text(out, o->folder);
    cr_out_printf(out, ": %zu queries, %zu pairs, %.1f pairs/s\n\n",
                  e->n_queries, collection->n_candidates, rate);
    cr_out_printf(out, "%-8s  %11s  %9s  %10s  %s\n", "", "first stage",
                  "crossrank", "difference", "95 % of it");
    for (int m = 0; m < CR_N_METRICS; m++)
        cr_out_printf(out, "%-8s  %11.4f  %9.4f  %+10.4f  %+.4f .. %+.4f\n",
                      NAMES[m], e->first_stage[m], e->reranked[m],
                      e->reranked[m] - e->first_stage[m],
                      e->difference_ci95[m].low, e->difference_ci95[m].high);
}

static cr_status report(const eval_options *o, const cr_collection *collection,
                        const float *scores, double seconds, cr_error *error) {
    cr_evaluation evaluation;
    cr_out out;
    double rate =
        seconds > 0 ? (double)collection->n_candidates / seconds : 0.0;
    cr_status status =
        cr_eval_collection(collection, scores, &evaluation, error);
    if (status != CR_OK)
        return status;
    cr_out_init(&out, STDOUT_FILENO, "standard output");
    if (!o->json && (o->table || isatty(STDOUT_FILENO)))
        write_table(&out, o, collection, &evaluation, rate);
    else
        write_json(&out, &evaluation, rate);
    return cr_out_flush(&out, error);
}

/* What is left out is said, so that nobody compares means over different
 * queries unknowingly. */
static void note_left_out(const eval_options *o,
                          const cr_collection *collection) {
    if (o->common.quiet)
        return;
    if (collection->n_not_judged)
        fprintf(stderr,
                "crossrank: %zu queries of the run are not judged and "
                "left out\n",
                collection->n_not_judged);
    if (collection->n_not_retrieved)
        fprintf(stderr,
                "crossrank: %zu judged queries are not in the run and "
                "left out\n",
                collection->n_not_retrieved);
}

/* ---- The command -------------------------------------------------------- */

static cr_status evaluate(const eval_options *o, cr_ranker *ranker,
                          const cr_collection *collection, cr_error *error) {
    float *scores = cr_calloc(collection->n_candidates, sizeof *scores);
    if (!scores)
        return cr_fail_memory(error, collection->n_candidates * sizeof *scores,
                              "scores");
    int fd;
    struct stat about;
    bool is_new = o->save && lstat(o->save, &about) != 0, is_whole = false;
    cr_status status = open_run(o->save, &fd, error);
    double began = cr_seconds();
    if (status == CR_OK)
        status = score_all(o, ranker, collection, scores, error);
    double seconds = cr_seconds() - began;
    bool scored = status == CR_OK;
    if (scored) {
        cr_common_note_cut(&o->common, ranker);
        status = report(o, collection, scores, seconds, error);
    }
    if (scored && o->save) { /* whether the figures could be shown or not */
        cr_error own;
        cr_status saved = save_run(o->save, fd, collection, scores,
                                   status == CR_OK ? error : &own);
        is_whole = saved == CR_OK;
        status = status == CR_OK ? saved : status;
    } else if (fd >= 0) {
        close(fd);
    }
    if (fd >= 0 && is_new && !is_whole)
        unlink(o->save); /* nothing, or half of it */
    cr_free(scores);
    return status;
}

static int run(int argc, char **argv) {
    /* Logits are what is compared: distinct ones may have equal sigmoids. */
    eval_options o = {.depth = 100,
                      .common = {.activation = CR_ACTIVATION_NONE}};
    cr_operands operands = {&o.folder, 0, 1};
    const cr_option options[] = {
        CR_TEXT_OPTION("run", "FILE", &o.run,
                       "the first stage's run (default: run.bm25.tsv, else "
                       "run.given.tsv in DIR)"),
        CR_NUMBER_OPTION("depth", "N", &o.depth, 1, 1000000,
                         "candidates of a query that are reranked (default: "
                         "100)"),
        CR_TEXT_OPTION("save", "FILE", &o.save,
                       "write the new ranking as a TREC run"),
        CR_FLAG("json", &o.json, "JSON, also on a terminal"),
        CR_FLAG("table", &o.table,
                "the table, also where output is no terminal"),
        CR_COMMON_OPTIONS(&o.common),
    };
    int code = cr_command_parse(&cr_command_eval, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    cr_error error;
    cr_ranker *ranker = NULL;
    cr_collection collection = {0};
    cr_status status = cr_common_open_single(&o.common, &ranker, &error);
    if (status == CR_OK)
        status =
            cr_collection_open(o.folder, o.run, o.depth, &collection, &error);
    if (status == CR_OK) {
        note_left_out(&o, &collection);
        status = evaluate(&o, ranker, &collection, &error);
    }
    cr_collection_close(&collection);
    cr_ranker_close(ranker);
    if (status == CR_OK)
        return CR_EXIT_DONE;
    code = cr_command_fail(&error);
    return status == CR_ERR_CANCELLED ? CR_EXIT_INTERRUPTED : code;
}

const cr_command cr_command_eval = {
    .name = "eval",
    .operands = "DIR",
    .summary = "NDCG, MRR and MAP of a BEIR folder before and after reranking",
    .about =
        "Reranks the first stage's candidates of every judged query in DIR "
        "and says how\n"
        "good both orders are. A terminal gets a table; elsewhere, or with "
        "--json:\n"
        "\n"
        "  "
        "{\"queries\":N,\"first_stage\":{\"ndcg@10\":X,\"mrr@10\":X,\"map\""
        ":X},\n"
        "   "
        "\"reranked\":{...},\"ci95\":{\"ndcg@10\":{\"first_stage\":[LOW,HIG"
        "H],\n"
        "   "
        "\"reranked\":[...],\"difference\":[...]},...},\"pairs_per_second\""
        ":X}\n"
        "\n"
        "DIR holds corpus.jsonl (_id, title, text), queries.jsonl (_id, "
        "text),\n"
        "judgements in qrels.test.tsv or qrels/test.tsv and a run. Runs are "
        "lines of\n"
        "query, document, score; of query, document, rank, score; or in "
        "TREC's form.\n"
        "Ranks are not looked at. A passage is its title, a space and its "
        "text, or the\n"
        "text alone.\n"
        "\n"
        "Gains are linear. MRR counts documents of grade 2 and more where "
        "any grade\n"
        "exceeds 1. Equal scores are ordered by document id, the greater "
        "first, as\n"
        "pytrec_eval does, and queries that are not both judged and in the "
        "run are left\n"
        "out. Intervals hold 95 % of a bootstrap over queries, with a fixed "
        "seed.\n",
    .examples = "  crossrank eval data/novel\n"
                "  crossrank eval --depth 50 --save reranked.trec --run "
                "bm25.trec scifact\n",
    .run = run,
};
