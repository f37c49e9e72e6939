/* The public API: a model, a backend and lanes behind one handle. */
#include "crossrank.h"

#include "base/cpus.h"
#include "base/mem.h"
#include "engine/activation.h"
#include "engine/lanes.h"

#include <fenv.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Limits of options; each is named in the message that refuses. */
enum { MAX_THREADS = 1024, MAX_OPTIONS_BYTES = 4096 };

struct cr_ranker {
    cr_model *model;
    cr_backend *backend;
    cr_lanes *lanes;
    uint32_t max_length;
    cr_truncation truncation;
    cr_activation activation;
    pid_t process; /* that has the lanes' threads */
};

/* The least cr_options that was ever published. */
enum {
    LEAST_OPTIONS_BYTES =
        offsetof(cr_options, activation) + sizeof(cr_activation)
};

/* Callers may be built with an older header, whose options are a beginning of
 * ours, or a newer one, whose further options must then be left at 0. */
static cr_status read_options(const cr_options *given, cr_options *o,
                              cr_error *error) {
    const size_t bytes = given->struct_bytes;
    if (bytes < LEAST_OPTIONS_BYTES || bytes > MAX_OPTIONS_BYTES)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "options.struct_bytes is %zu, not %zu: call "
                       "cr_options_init first",
                       bytes, sizeof *o);
    for (size_t i = sizeof *o; i < bytes; i++)
        if (((const char *)given)[i] != 0)
            return cr_fail(error, CR_ERR_ARGUMENT,
                           "options have a field at byte %zu that crossrank "
                           "%s does not know: leave it 0 or use the library "
                           "of your header",
                           i, cr_version());
    *o = (cr_options){.struct_bytes = sizeof *o};
    memcpy(o, given, bytes < sizeof *o ? bytes : sizeof *o);
    return CR_OK;
}

static cr_status check_options(const cr_options *o, cr_error *error) {
    if (!o->model || !*o->model)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "no model is named: set options.model to a folder");
    if (o->threads > MAX_THREADS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "threads is %u, at most %d are possible", o->threads,
                       MAX_THREADS);
    if (o->truncation > CR_TRUNCATE_ONLY_SECOND)
        return cr_fail(error, CR_ERR_ARGUMENT, "truncation %d is unknown",
                       (int)o->truncation);
    if (o->activation > CR_ACTIVATION_TANH)
        return cr_fail(error, CR_ERR_ARGUMENT, "activation %d is unknown",
                       (int)o->activation);
    return CR_OK;
}

static cr_status choose_length(const cr_options *o, const cr_model *model,
                               uint32_t *max_length, cr_error *error) {
    const cr_model_config *c = cr_model_get_config(model);
    uint32_t least = cr_tokenizer_pair_specials(cr_model_get_tokenizer(model));
    *max_length = o->max_length ? o->max_length : c->max_length;
    if (*max_length < least || *max_length > c->max_positions)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "max_length is %u, this model takes %u to %u tokens",
                       *max_length, least, c->max_positions);
    return CR_OK;
}

static cr_status open_parts(cr_ranker *r, const cr_options *o,
                            cr_error *error) {
    const cr_backend_ops *ops = NULL;
    cr_status status = cr_backend_find(o->backend, &ops, error);
    if (status == CR_OK)
        status = cr_model_open(o->model, &r->model, error);
    if (status != CR_OK)
        return status;
    const cr_model_config *c = cr_model_get_config(r->model);
    r->truncation = o->truncation;
    r->activation =
        o->activation == CR_ACTIVATION_MODEL ? c->activation : o->activation;
    status = choose_length(o, r->model, &r->max_length, error);
    if (status != CR_OK)
        return status;
    cr_backend_options backend = {.device = o->device,
                                  .dtype = o->dtype,
                                  .isa = o->isa,
                                  .lanes = o->threads ? o->threads
                                                      : cr_cpus_count().cpus,
                                  .max_length = r->max_length};
    status = ops->open(r->model, &backend, &r->backend, error);
    cr_lanes_options lanes = {.backend = r->backend,
                              .model = r->model,
                              .max_length = r->max_length,
                              .n_labels = c->n_labels,
                              .truncation = r->truncation};
    if (status == CR_OK)
        status = cr_lanes_new(&lanes, &r->lanes, error);
    return status;
}

/* What a caller rounds to, and whether it flushes to zero, is its own affair:
 * scores are those of the default, of any thread. Weights are converted and
 * threads made in it as well. */
static fenv_t enter_arithmetic(void) {
    fenv_t callers;
    fegetenv(&callers);
    fesetenv(FE_DFL_ENV);
    return callers;
}

static void leave_arithmetic(fenv_t callers) { fesetenv(&callers); }

cr_status cr_ranker_open(const cr_options *given, cr_ranker **ranker,
                         cr_error *error) {
    cr_options options;
    *ranker = NULL;
    cr_status status = read_options(given, &options, error);
    if (status == CR_OK)
        status = check_options(&options, error);
    if (status != CR_OK)
        return status;
    cr_ranker *r = cr_calloc(1, sizeof *r);
    if (!r)
        return cr_fail_memory(error, sizeof *r, "a ranker");
    r->process = getpid();
    fenv_t callers = enter_arithmetic();
    status = open_parts(r, &options, error);
    leave_arithmetic(callers);
    if (status != CR_OK)
        cr_ranker_close(r);
    else
        *ranker = r;
    return status;
}

void cr_ranker_close(cr_ranker *r) {
    if (!r)
        return;
    /* A child has none of the threads, nor perhaps the locks: what they have
     * is left to the process's end. */
    if (getpid() == r->process)
        cr_lanes_free(r->lanes);
    if (r->backend)
        r->backend->ops->close(r->backend);
    cr_model_close(r->model);
    cr_free(r);
}

void cr_ranker_read_info(const cr_ranker *r, cr_ranker_info *info,
                         size_t info_bytes) {
    const cr_model_config *c = cr_model_get_config(r->model);
    const cr_backend_description *d = &r->backend->description;
    cr_lanes_totals totals = {0};
    if (getpid() == r->process)
        totals = cr_lanes_count(r->lanes);
    const cr_ranker_info known = {.model_path = cr_model_path(r->model),
                                  .model_name = cr_model_name(r->model),
                                  .backend = d->name,
                                  .device = d->device,
                                  .dtype = d->dtype,
                                  .isa = d->isa,
                                  .threads = d->lanes,
                                  .max_length = r->max_length,
                                  .n_layers = c->n_layers,
                                  .n_heads = c->n_heads,
                                  .hidden_size = c->hidden_size,
                                  .intermediate_size = c->intermediate_size,
                                  .vocab_size = c->vocab_size,
                                  .n_labels = c->n_labels,
                                  .truncation = r->truncation,
                                  .activation = r->activation,
                                  .model_activation = c->activation,
                                  .weight_bytes = d->weight_bytes,
                                  .workspace_bytes = d->workspace_bytes +
                                                     cr_lanes_bytes(r->lanes),
                                  .n_pairs_scored = totals.n_pairs,
                                  .n_pairs_cut = totals.n_cut,
                                  .n_tokens_scored = totals.n_tokens};
    memset(info, 0, info_bytes);
    memcpy(info, &known, info_bytes < sizeof known ? info_bytes : sizeof known);
}

/* ---- Scoring ------------------------------------------------------------ */

/* Without this a call in a forked child would wait for ever: the lanes'
 * threads are the parent's alone. */
static cr_status run(cr_ranker *r, const cr_work *work, cr_error *error) {
    pid_t process = getpid();
    if (process != r->process)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "this ranker was opened by process %ld and cannot be "
                       "used in its fork %ld: open one after the fork",
                       (long)r->process, (long)process);
    return cr_lanes_run(r->lanes, work, error);
}

static uint32_t n_labels_of(const cr_ranker *r) {
    return cr_model_get_config(r->model)->n_labels;
}

/* What gives a pair one score cannot choose among several. */
static cr_status need_one_label(const cr_ranker *r, cr_error *error) {
    if (n_labels_of(r) == 1)
        return CR_OK;
    return cr_fail(error, CR_ERR_UNSUPPORTED,
                   "%s has %u labels, one score a pair needs a model with one: "
                   "cr_score_labels, crossrank score and predict() of Python "
                   "give a score for each",
                   cr_model_name(r->model), n_labels_of(r));
}

static cr_status score_labels(cr_ranker *r, const cr_pair *pairs, size_t n,
                              float *scores, cr_error *error) {
    size_t n_labels = n_labels_of(r);
    cr_work work = {.pairs = pairs,
                    .n = n,
                    .logits = scores,
                    .logit_step = n_labels * sizeof *scores};
    fenv_t callers = enter_arithmetic();
    cr_status status = run(r, &work, error);
    for (size_t i = 0; status == CR_OK && i < n * n_labels; i++)
        scores[i] = cr_activate(r->activation, scores[i]);
    leave_arithmetic(callers);
    return status;
}

cr_status cr_score(cr_ranker *r, const cr_pair *pairs, size_t n, float *scores,
                   cr_error *error) {
    cr_status status = need_one_label(r, error);
    return status == CR_OK ? score_labels(r, pairs, n, scores, error) : status;
}

cr_status cr_score_labels(cr_ranker *r, const cr_pair *pairs, size_t n,
                          size_t n_labels, float *scores, cr_error *error) {
    if (n_labels != n_labels_of(r))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "scores have room for %zu labels a pair, %s has %u: "
                       "n_labels of cr_ranker_get_info says it",
                       n_labels, cr_model_name(r->model), n_labels_of(r));
    return score_labels(r, pairs, n, scores, error);
}

const char *cr_label_name(const cr_ranker *r, uint32_t label) {
    return label < n_labels_of(r) ? cr_model_get_labels(r->model)[label] : NULL;
}

cr_status cr_apply_activation(cr_activation activation, float *values, size_t n,
                              cr_error *error) {
    if (activation == CR_ACTIVATION_MODEL || activation > CR_ACTIVATION_TANH)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "activation %d cannot be applied: name one, such as "
                       "model_activation of cr_ranker_get_info",
                       (int)activation);
    fenv_t callers = enter_arithmetic();
    for (size_t i = 0; i < n; i++)
        values[i] = cr_activate(activation, values[i]);
    leave_arithmetic(callers);
    return CR_OK;
}

static int by_score_then_index(const void *a, const void *b) {
    const cr_ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* From logits in the order of the passages to scores in their own. Logits are
 * sorted, because distinct logits may have equal scores. */
static void order(cr_ranked *ranked, size_t n, cr_activation activation) {
    for (size_t i = 0; i < n; i++)
        ranked[i].index = i;
    qsort(ranked, n, sizeof *ranked, by_score_then_index);
    for (size_t i = 0; i < n; i++)
        ranked[i].score = cr_activate(activation, ranked[i].score);
}

cr_status cr_rank(cr_ranker *r, cr_text query, const cr_text *passages,
                  size_t n, size_t top_n, cr_ranked *ranked, size_t *n_ranked,
                  cr_error *error) {
    *n_ranked = 0;
    cr_status status = need_one_label(r, error);
    if (status != CR_OK || n == 0)
        return status;
    cr_work work = {.query = query,
                    .passages = passages,
                    .n = n,
                    .logits = &ranked[0].score,
                    .logit_step = sizeof *ranked};
    fenv_t callers = enter_arithmetic();
    status = run(r, &work, error);
    if (status == CR_OK) {
        order(ranked, n, r->activation);
        *n_ranked = top_n && top_n < n ? top_n : n;
    }
    leave_arithmetic(callers);
    return status;
}

/* ---- Tokenizing --------------------------------------------------------- */

cr_status cr_tokenize(const cr_ranker *r, const cr_pair *pair,
                      cr_encoding **encoding, cr_error *error) {
    return cr_tokenizer_explain_pair(cr_model_get_tokenizer(r->model), pair,
                                     r->max_length, r->truncation, encoding,
                                     error);
}

cr_text cr_token_text(const cr_ranker *r, int32_t id) {
    return cr_tokenizer_token_text(cr_model_get_tokenizer(r->model), id);
}
