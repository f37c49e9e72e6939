/* The self-check: the same pairs alone and together, and known scores. */
#include "server/selfcheck.h"

#include "base/mem.h"
#include "model/json.h"

#include <math.h>
#include <string.h>

enum { N_BUILT_IN = 4, MAX_KNOWN = 64, MAX_FILE_BYTES = 1 << 20 };
/* fp32 is exact to rounding; other number formats are near. */
static const double FP32_TOLERANCE = 1e-3, OTHER_TOLERANCE = 0.5;

typedef struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
} waiter;

/* The logits of one pair. */
static size_t row_bytes(const cr_generation *g) {
    return g->n_labels * sizeof(float);
}

static void on_done(cr_job *job) {
    waiter *w = job->owner;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

/* Scores pairs[n] as one job and waits: logits[n][labels]. `cut` (may be NULL)
 * says which were longer than max_length. */
static cr_status score(cr_pipeline *pipeline, cr_generation *g,
                       const cr_pair *pairs, uint32_t n, float *logits,
                       uint8_t *cut, cr_error *error) {
    const cr_encode_options options = {.truncation = g->truncation};
    waiter w = {.done = false};
    cr_job job = {.done = on_done, .owner = &w, .hurry = true};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.changed, NULL);
    cr_status status = cr_job_encode(&job, g, pairs, n, &options, error);
    if (status == CR_OK)
        status = cr_pipeline_submit(pipeline, &job, error);
    if (status == CR_OK) {
        pthread_mutex_lock(&w.lock);
        while (!w.done)
            pthread_cond_wait(&w.changed, &w.lock);
        pthread_mutex_unlock(&w.lock);
        status = job.status;
        if (status == CR_OK)
            memcpy(logits, job.logits, n * row_bytes(g));
        else
            *error = job.error;
        if (cut)
            memcpy(cut, job.truncated, n);
    }
    cr_job_fini(&job);
    pthread_cond_destroy(&w.changed);
    pthread_mutex_destroy(&w.lock);
    return status;
}

static cr_text text(const char *s) { return (cr_text){s, strlen(s)}; }

/* Each pair alone, against rows of all together. */
static cr_status check_alone(cr_pipeline *pipeline, cr_generation *g,
                             const cr_pair *pairs, uint32_t n,
                             const float *together, float *alone,
                             cr_error *error) {
    cr_status status = CR_OK;
    for (uint32_t i = 0; status == CR_OK && i < n; i++) {
        status = score(pipeline, g, &pairs[i], 1, alone, NULL, error);
        for (uint32_t j = 0; status == CR_OK && j < g->n_labels; j++) {
            const float *want = together + (size_t)i * g->n_labels + j;
            bool same = memcmp(&alone[j], want, sizeof *alone) == 0;
            if (!isfinite(alone[j]) || (g->backend->description.exact && !same))
                status =
                    cr_fail(error, CR_ERR_MODEL,
                            "self-check: pair %u scores %.9g alone and %.9g "
                            "in company: this machine or build computes "
                            "wrongly",
                            i, (double)alone[j], (double)*want);
        }
    }
    return status;
}

static cr_status check_company(cr_pipeline *pipeline, cr_generation *g,
                               cr_error *error) {
    const char *query = "how high is the eiffel tower";
    const cr_pair pairs[N_BUILT_IN] = {
        {text(query), text("The Eiffel Tower is 330 metres tall.")},
        {text(query), text("Bananas are rich in potassium.")},
        {text(query), text("")},
        {text("banana"), text("Bananas are rich in potassium and grow in the "
                              "tropics, where they are eaten daily.")}};
    float *logits = cr_calloc(N_BUILT_IN + 1, row_bytes(g));
    if (!logits)
        return cr_fail_memory(error, (N_BUILT_IN + 1) * row_bytes(g), "logits");
    float *together = logits + g->n_labels;
    cr_status status =
        score(pipeline, g, pairs, N_BUILT_IN, together, NULL, error);
    if (status == CR_OK)
        status = check_alone(pipeline, g, pairs, N_BUILT_IN, together, logits,
                             error);
    cr_free(logits);
    return status;
}

/* ---- known_scores.json -------------------------------------------------- */

static bool is_for_these_weights(const cr_json *file, const cr_generation *g) {
    const char *stated = json_string_value(cr_json_get(file, "sha256"));
    return stated && strcmp(stated, g->sha256) == 0;
}

static bool is_text(const json_t *value) { return json_is_string(value); }

/* What a small max_length cut is not what the file speaks of. */
static cr_status compare(const json_t *list, const float *logits,
                         const uint8_t *cut, uint32_t n, double tolerance,
                         cr_error *error) {
    for (uint32_t i = 0; i < n; i++) {
        double want = json_number_value(
            json_object_get(json_array_get(list, i), "logit"));
        if (!cut[i] && !(fabs((double)logits[i] - want) <= tolerance))
            return cr_fail(error, CR_ERR_MODEL,
                           "self-check: pair %u of known_scores.json scores "
                           "%.9g, it should be %.9g: the model or this build "
                           "is damaged",
                           i, (double)logits[i], want);
    }
    return CR_OK;
}

static cr_status check_list(cr_pipeline *pipeline, cr_generation *g,
                            const json_t *list, cr_error *error) {
    cr_pair pairs[MAX_KNOWN];
    float logits[MAX_KNOWN];
    uint8_t cut[MAX_KNOWN];
    uint32_t n = 0;
    for (; n < MAX_KNOWN && n < json_array_size(list); n++) {
        const json_t *row = json_array_get(list, n);
        const json_t *query = json_object_get(row, "query");
        const json_t *passage = json_object_get(row, "passage");
        if (!is_text(query) || !is_text(passage) ||
            !json_is_number(json_object_get(row, "logit")))
            return cr_fail(error, CR_ERR_MODEL,
                           "known_scores.json: row %u needs query, passage and "
                           "logit",
                           n);
        pairs[n].query =
            (cr_text){json_string_value(query), json_string_length(query)};
        pairs[n].passage =
            (cr_text){json_string_value(passage), json_string_length(passage)};
    }
    bool fp32 = strcmp(g->backend->description.dtype, "fp32") == 0;
    cr_status status =
        n ? score(pipeline, g, pairs, n, logits, cut, error) : CR_OK;
    return status == CR_OK
               ? compare(list, logits, cut, n,
                         fp32 ? FP32_TOLERANCE : OTHER_TOLERANCE, error)
               : status;
}

static cr_status check_known(cr_pipeline *pipeline, cr_generation *g,
                             bool *known, cr_error *error) {
    cr_json file = {0};
    cr_status status =
        cr_json_load(&file, cr_model_path(g->model), "known_scores.json",
                     MAX_FILE_BYTES, 0, error);
    *known = status == CR_OK && file.root && is_for_these_weights(&file, g);
    if (*known && g->n_labels != 1)
        status = cr_fail(error, CR_ERR_UNSUPPORTED,
                         "known_scores.json has one logit a pair, the model "
                         "has %u labels: remove the file",
                         g->n_labels);
    else if (*known)
        status = check_list(pipeline, g, cr_json_get(&file, "pairs"), error);
    cr_json_fini(&file);
    return status;
}

cr_status cr_selfcheck_run(cr_pipeline *pipeline, cr_generation *g, bool *known,
                           cr_error *error) {
    cr_status status = check_company(pipeline, g, error);
    return status == CR_OK ? check_known(pipeline, g, known, error) : status;
}
