/* Encoded: one job has the tokens of all pairs, requests copy theirs. */
#include "lab/encoded.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/mem.h"
#include "sched/pipeline.h"

#include <string.h>

struct cr_encoded {
    cr_job all;
    cr_generation *generation;
    cr_pipeline *pipeline;
    cr_metrics metrics;
};

/* A request that somebody waits for. */
typedef struct waited {
    cr_job job;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
} waited;

static cr_status open_pipeline(cr_encoded *e, const cr_batching *batching,
                               cr_error *error) {
    const cr_backend_description *d = &e->generation->backend->description;
    const cr_pipeline_options o = {
        .lanes = d->lanes,
        .batching = *batching,
        .quantum = cr_fair_quantum(d->group_tokens, d->lanes),
        .max_queue_tokens = UINT64_MAX / 2,
        .metrics = &e->metrics};
    return cr_pipeline_new(&o, &e->pipeline, error);
}

cr_status cr_encoded_open(const cr_options *options,
                          const cr_batching *batching, const cr_pair *pairs,
                          size_t n, cr_encoded **encoded, cr_error *error) {
    const cr_encode_options how = {.truncation = options->truncation};
    cr_encoded *e = cr_calloc(1, sizeof *e);
    *encoded = NULL;
    if (!e)
        return cr_fail_memory(error, sizeof *e, "encoded pairs");
    cr_metrics_init(&e->metrics);
    cr_status status = cr_generation_open(
        options, options->threads ? options->threads : cr_cpus_count().cpus, 1,
        &e->generation, error);
    if (status == CR_OK && e->generation->n_labels != 1)
        status = cr_fail(error, CR_ERR_UNSUPPORTED,
                         "the model has %u labels, a benchmark of scores needs "
                         "one",
                         e->generation->n_labels);
    if (status == CR_OK && n > UINT32_MAX)
        status =
            cr_fail(error, CR_ERR_INPUT, "%zu pairs are too many to encode", n);
    if (status == CR_OK)
        status = cr_job_encode(&e->all, e->generation, pairs, (uint32_t)n, &how,
                               error);
    if (status == CR_OK)
        status = open_pipeline(e, batching, error);
    if (status == CR_OK)
        *encoded = e;
    else
        cr_encoded_close(e);
    return status;
}

void cr_encoded_close(cr_encoded *e) {
    if (!e)
        return;
    cr_pipeline_free(e->pipeline);
    cr_job_fini(&e->all);
    cr_generation_unref(e->generation);
    cr_free(e);
}

static void on_done(cr_job *job) {
    waited *w = job->owner;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static cr_status copy_pairs(const cr_encoded *e, const uint32_t *indexes,
                            uint32_t n, cr_job *job, cr_error *error) {
    size_t n_tokens = 0;
    for (uint32_t i = 0; i < n; i++)
        n_tokens += cr_job_pair_tokens(&e->all, indexes[i]);
    if (n_tokens > UINT32_MAX)
        return cr_fail(error, CR_ERR_INPUT, "%zu tokens are no request",
                       n_tokens);
    job->generation = cr_generation_ref(e->generation);
    job->max_group_tokens = e->all.max_group_tokens;
    job->ids = cr_calloc(n_tokens, sizeof *job->ids);
    job->starts = cr_calloc((size_t)n + 1, sizeof *job->starts);
    job->n_first = cr_calloc(n, sizeof *job->n_first);
    job->truncated = cr_calloc(n, sizeof *job->truncated);
    job->logits = cr_calloc(n, sizeof *job->logits);
    if (!job->ids || !job->starts || !job->n_first || !job->truncated ||
        !job->logits)
        return cr_fail_memory(error, n_tokens * sizeof *job->ids, "a request");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tokens = cr_job_pair_tokens(&e->all, indexes[i]);
        memcpy(job->ids + job->starts[i],
               e->all.ids + e->all.starts[indexes[i]],
               tokens * sizeof *job->ids);
        job->starts[i + 1] = job->starts[i] + tokens;
        job->n_first[i] = e->all.n_first[indexes[i]];
        job->truncated[i] = e->all.truncated[indexes[i]];
        job->n_truncated += job->truncated[i];
    }
    job->n_pairs = n;
    return CR_OK;
}

static cr_status run(cr_encoded *e, waited *w, cr_error *error) {
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    cr_status status = cr_pipeline_submit(e->pipeline, &w->job, error);
    if (status == CR_OK) {
        pthread_mutex_lock(&w->lock);
        while (!w->done)
            pthread_cond_wait(&w->changed, &w->lock);
        pthread_mutex_unlock(&w->lock);
        status = w->job.status;
        if (status != CR_OK && error)
            *error = w->job.error;
    }
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    return status;
}

cr_status cr_encoded_score(cr_encoded *e, uint64_t client,
                           const uint32_t *indexes, uint32_t n, float *logits,
                           int64_t *start_ns, int64_t *end_ns,
                           cr_error *error) {
    waited w = {.job = {.client = client, .done = on_done, .owner = &w}};
    cr_status status = copy_pairs(e, indexes, n, &w.job, error);
    *start_ns = cr_now_ns();
    if (status == CR_OK)
        status = run(e, &w, error);
    *end_ns = cr_now_ns();
    if (status == CR_OK)
        memcpy(logits, w.job.logits, n * sizeof *logits);
    cr_job_fini(&w.job);
    return status;
}
