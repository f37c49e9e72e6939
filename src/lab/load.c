/* Load: workers take numbers from one counter until there are no more. */
#include "lab/load.h"

#include "base/clock.h"
#include "base/mem.h"
#include "lab/client.h"
#include "lab/grpc_client.h"
#include "lab/infer.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* After a request that found no server. */
static const double FAILED_NAP_S = 0.02;

enum { POLL_MS = 50, MAX_BODY_BYTES = 64 << 20, STACK_BYTES = 1 << 20 };

typedef struct load load;

typedef struct worker {
    load *load;
    uint32_t number;
    pthread_t thread;
    cr_client client;
    cr_grpc_client *grpc;
    cr_buf body;
    uint32_t *indexes; /* [batch_size] */
    cr_pair *pairs;
    cr_wire_pair *wire;
    float *scores;
    cr_sample *samples;
    size_t n, capacity;
    cr_status status; /* of the worker itself, not of its requests */
    cr_error error;
} worker;

struct load {
    const cr_load_options *o;
    cr_load_result *result;
    worker *workers;
    pthread_mutex_t lock; /* of scores and reasons, and of the start */
    pthread_cond_t go;
    bool started;
    int64_t start_ns;
    _Atomic uint64_t next, done, failed;
    _Atomic uint32_t running;
    _Atomic bool stop;
    /* An open loop by time draws its times as they are taken. */
    uint64_t seed;
    double clock_s;
};

/* ---- Arrivals -------------------------------------------------------------
 */

static double next_gap(load *l) {
    if (l->o->fixed)
        return 1 / l->o->rate;
    l->seed = l->seed * 6364136223846793005u + 1442695040888963407u;
    double u = ((double)(l->seed >> 11) + 0.5) / 9007199254740992.0;
    return -log(u) / l->o->rate;
}

/* The next request's number and time; false: there is none. */
static bool take(load *l, uint64_t *number, double *scheduled_s) {
    const cr_load_options *o = l->o;
    bool more = true;
    *scheduled_s = (double)NAN;
    pthread_mutex_lock(&l->lock);
    *number = atomic_load(&l->next);
    if (o->requests && *number >= o->requests)
        more = false;
    if (more && o->rate > 0) {
        /* The first is due at once, whatever the rate. */
        if (*number)
            l->clock_s += next_gap(l);
        *scheduled_s = l->clock_s;
        more = o->requests || l->clock_s < o->duration_s;
    } else if (more && !o->requests) {
        more = (double)(cr_now_ns() - l->start_ns) * 1e-9 < o->duration_s;
    }
    if (more)
        atomic_store(&l->next, *number + 1);
    pthread_mutex_unlock(&l->lock);
    return more && !atomic_load(&l->stop);
}

/* Short naps, so that a stop is seen. */
static bool sleep_until(load *l, double at_s) {
    for (;;) {
        double left = at_s - (double)(cr_now_ns() - l->start_ns) * 1e-9;
        if (left <= 0 || atomic_load(&l->stop))
            return !atomic_load(&l->stop);
        double nap = fmin(left, 0.1);
        struct timespec t = {.tv_sec = 0, .tv_nsec = (long)(nap * 1e9)};
        nanosleep(&t, NULL);
    }
}

/* ---- One request ----------------------------------------------------------
 */

static uint32_t reason_of(load *l, const char *text) {
    cr_load_result *r = l->result;
    uint32_t i = 0;
    pthread_mutex_lock(&l->lock);
    while (i < r->n_reasons && strcmp(r->reasons[i], text) != 0)
        i++;
    if (i == r->n_reasons && i < CR_MAX_REASONS) {
        snprintf(r->reasons[i], CR_REASON_BYTES, "%.150s",
                 i + 1 < CR_MAX_REASONS ? text : "other reasons");
        r->n_reasons++;
    }
    if (i == CR_MAX_REASONS)
        i--;
    pthread_mutex_unlock(&l->lock);
    return i + 1;
}

static void widen(cr_score_range *range, float score) {
    if (isnan(range->low) || score < range->low)
        range->low = score;
    if (isnan(range->high) || score > range->high)
        range->high = score;
}

static void keep_scores(worker *w) {
    const cr_load_options *o = w->load->o;
    if (!o->scores)
        return;
    pthread_mutex_lock(&w->load->lock);
    for (uint32_t i = 0; i < o->batch_size; i++)
        widen(&o->scores[w->indexes[i]], w->scores[i]);
    pthread_mutex_unlock(&w->load->lock);
}

static cr_status ask_server(worker *w, cr_sample *sample, int64_t *start_ns,
                            int64_t *end_ns, cr_error *error) {
    const cr_load_options *o = w->load->o;
    const cr_load_target *t = o->target;
    cr_answer answer = {0};
    for (uint32_t i = 0; i < o->batch_size; i++)
        w->wire[i] = o->dataset->wire[w->indexes[i]];
    w->body.len = 0;
    cr_status status = cr_wire_write(t->dialect, o->as_pairs,
                                     (cr_text){t->model, strlen(t->model)},
                                     w->wire, o->batch_size, &w->body, error);
    if (status != CR_OK)
        return status;
    /* Connecting is part of it. */
    *start_ns = cr_now_ns();
    status =
        cr_client_ask(&w->client, "POST", cr_wire_path(t->dialect, o->as_pairs),
                      (cr_text){w->body.data, w->body.len}, &answer, error);
    *end_ns = status == CR_OK ? answer.answered_ns : cr_now_ns();
    sample->status = answer.status;
    if (status == CR_OK && answer.status != 200)
        status = cr_fail(error, CR_ERR_INPUT, "HTTP %d: %.*s", answer.status,
                         (int)(answer.body.len < 80 ? answer.body.len : 80),
                         answer.body.data);
    if (status == CR_OK)
        status = cr_wire_read(t->dialect, o->as_pairs, answer.body, w->scores,
                              o->batch_size, error);
    return status;
}

static cr_status ask_grpc(worker *w, cr_sample *sample, int64_t *start_ns,
                          int64_t *end_ns, cr_error *error) {
    const cr_load_options *o = w->load->o;
    cr_grpc_answer answer = {0};
    for (uint32_t i = 0; i < o->batch_size; i++)
        w->pairs[i] = o->dataset->pairs[w->indexes[i]];
    w->body.len = 0;
    cr_status status = cr_infer_write(w->pairs, o->batch_size, &w->body, error);
    if (status != CR_OK)
        return status;
    *start_ns = cr_now_ns();
    status = cr_grpc_client_call(w->grpc, CR_INFER_PATH,
                                 (cr_text){w->body.data, w->body.len}, &answer,
                                 error);
    *end_ns = status == CR_OK ? answer.answered_ns : cr_now_ns();
    sample->status = answer.http_status;
    if (status == CR_OK && answer.code != 0)
        status = cr_fail(error, CR_ERR_INPUT, "gRPC %d: %.80s", answer.code,
                         answer.reason);
    if (status == CR_OK)
        status = cr_infer_read(answer.message, w->scores, o->batch_size, error);
    return status;
}

static cr_status tokenize(worker *w, cr_error *error) {
    cr_status status = CR_OK;
    for (uint32_t i = 0; i < w->load->o->batch_size && status == CR_OK; i++) {
        cr_encoding *encoding;
        status = cr_tokenize(w->load->o->target->ranker, &w->pairs[i],
                             &encoding, error);
        if (status == CR_OK)
            cr_encoding_free(encoding);
    }
    return status;
}

static cr_status ask_ranker(worker *w, cr_sample *sample, int64_t *start_ns,
                            int64_t *end_ns, cr_error *error) {
    const cr_load_options *o = w->load->o;
    if (o->target->encoded) {
        cr_status status =
            cr_encoded_score(o->target->encoded, w->number, w->indexes,
                             o->batch_size, w->scores, start_ns, end_ns, error);
        sample->status = status == CR_OK ? 200 : 0;
        return status;
    }
    for (uint32_t i = 0; i < o->batch_size; i++)
        w->pairs[i] = o->dataset->pairs[w->indexes[i]];
    *start_ns = cr_now_ns();
    cr_status status = o->target->only_tokenize
                           ? tokenize(w, error)
                           : cr_score(o->target->ranker, w->pairs,
                                      o->batch_size, w->scores, error);
    *end_ns = cr_now_ns();
    sample->status = status == CR_OK ? 200 : 0;
    return status;
}

static cr_status add_sample(worker *w, const cr_sample *sample) {
    if (w->n == w->capacity) {
        size_t room = w->capacity ? 2 * w->capacity : 256;
        cr_sample *samples = cr_realloc(w->samples, room * sizeof *samples);
        if (!samples)
            return cr_fail_memory(&w->error, room * sizeof *samples, "samples");
        w->samples = samples;
        w->capacity = room;
    }
    w->samples[w->n++] = *sample;
    return CR_OK;
}

static cr_status do_request(worker *w, uint64_t number, double scheduled_s) {
    load *l = w->load;
    const cr_load_options *o = l->o;
    int64_t start_ns = cr_now_ns(), end_ns = 0;
    cr_sample sample = {.request = number,
                        .scheduled_s = scheduled_s,
                        .worker = w->number,
                        .pairs = o->batch_size};
    cr_error error = {.message = ""};
    cr_dataset_take(o->dataset, o->as_pairs, number, o->batch_size, w->indexes);
    for (uint32_t i = 0; i < o->batch_size; i++)
        sample.tokens += o->tokens[w->indexes[i]];
    cr_status status =
        (o->target->grpc_url ? ask_grpc
         : o->target->url    ? ask_server
                          : ask_ranker)(w, &sample, &start_ns, &end_ns, &error);
    if (!end_ns)
        end_ns = cr_now_ns();
    sample.start_s = (double)(start_ns - l->start_ns) * 1e-9;
    sample.end_s = (double)(end_ns - l->start_ns) * 1e-9;
    if (status == CR_OK && !o->target->only_tokenize)
        keep_scores(w);
    if (status != CR_OK) {
        sample.reason = reason_of(l, error.message);
        atomic_fetch_add(&l->failed, 1);
    }
    atomic_fetch_add(&l->done, 1);
    /* Nobody is there: that is not to be asked a thousand times a second. */
    if (status == CR_ERR_IO)
        sleep_until(l, sample.end_s + FAILED_NAP_S);
    return add_sample(w, &sample);
}

/* ---- Workers --------------------------------------------------------------
 */

static void *work(void *context) {
    worker *w = context;
    load *l = w->load;
    uint64_t number;
    double scheduled_s;
    pthread_mutex_lock(&l->lock);
    while (!l->started)
        pthread_cond_wait(&l->go, &l->lock);
    pthread_mutex_unlock(&l->lock);
    while (w->status == CR_OK && take(l, &number, &scheduled_s)) {
        if (l->o->rate > 0 && !sleep_until(l, scheduled_s))
            break;
        w->status = do_request(w, number, scheduled_s);
    }
    atomic_fetch_sub(&l->running, 1);
    return NULL;
}

static cr_status worker_init(worker *w, load *l, uint32_t number,
                             cr_error *error) {
    size_t n = l->o->batch_size;
    w->load = l;
    w->number = number;
    w->client.fd = -1;
    cr_buf_init(&w->body, MAX_BODY_BYTES);
    w->indexes = cr_calloc(n, sizeof *w->indexes);
    w->pairs = cr_calloc(n, sizeof *w->pairs);
    w->wire = cr_calloc(n, sizeof *w->wire);
    w->scores = cr_calloc(n, sizeof *w->scores);
    if (!w->indexes || !w->pairs || !w->wire || !w->scores)
        return cr_fail_memory(error, n * sizeof *w->pairs, "a worker");
    const cr_load_target *t = l->o->target;
    return t->grpc_url ? cr_grpc_client_open(t->grpc_url, &w->grpc, error)
           : t->url    ? cr_client_init(&w->client, t->url, error)
                       : CR_OK;
}

static void worker_fini(worker *w) {
    cr_client_fini(&w->client);
    cr_grpc_client_close(w->grpc);
    cr_buf_fini(&w->body);
    cr_free(w->indexes);
    cr_free(w->pairs);
    cr_free(w->wire);
    cr_free(w->scores);
    cr_free(w->samples);
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void start(load *l) {
    pthread_mutex_lock(&l->lock);
    l->start_ns = cr_now_ns();
    l->started = true;
    pthread_cond_broadcast(&l->go);
    pthread_mutex_unlock(&l->lock);
}

static void wait_for_workers(load *l) {
    const cr_load_options *o = l->o;
    while (atomic_load(&l->running)) {
        struct timespec t = {.tv_sec = 0, .tv_nsec = POLL_MS * 1000000L};
        nanosleep(&t, NULL);
        if (o->stop && o->stop()) {
            atomic_store(&l->stop, true);
            l->result->stopped = true;
        }
        if (o->progress)
            o->progress(o->context, atomic_load(&l->done),
                        atomic_load(&l->failed),
                        (double)(cr_now_ns() - l->start_ns) * 1e-9);
    }
}

/* Threads that cannot be had are an error; those that were are sent home. */
static cr_status run_workers(load *l, uint32_t n, cr_error *error) {
    cr_status status = CR_OK;
    pthread_attr_t small;
    uint32_t made = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    atomic_store(&l->running, 0);
    for (; made < n && status == CR_OK; made++) {
        atomic_fetch_add(&l->running, 1);
        int why = pthread_create(&l->workers[made].thread, &small, work,
                                 &l->workers[made]);
        if (why != 0) {
            status = cr_fail(error, CR_ERR_IO, "worker %u of %u: %s", made, n,
                             strerror(why));
            atomic_fetch_sub(&l->running, 1);
            atomic_store(&l->stop, true);
            break;
        }
    }
    pthread_attr_destroy(&small);
    double before = cpu_seconds();
    start(l);
    wait_for_workers(l);
    l->result->cpu_s = cpu_seconds() - before;
    for (uint32_t i = 0; i < made; i++)
        pthread_join(l->workers[i].thread, NULL);
    return status;
}

static int by_end(const void *a, const void *b) {
    double x = ((const cr_sample *)a)->end_s;
    double y = ((const cr_sample *)b)->end_s;
    return (x > y) - (x < y);
}

static cr_status gather(load *l, uint32_t n, cr_error *error) {
    cr_load_result *r = l->result;
    size_t total = 0;
    double first = HUGE_VAL, last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (l->workers[i].status != CR_OK) {
            if (error)
                *error = l->workers[i].error;
            return l->workers[i].status;
        }
        total += l->workers[i].n;
    }
    r->samples = cr_calloc(total + 1, sizeof *r->samples);
    if (!r->samples)
        return cr_fail_memory(error, total * sizeof *r->samples, "samples");
    for (uint32_t i = 0; i < n; i++) {
        if (l->workers[i].n)
            memcpy(r->samples + r->n, l->workers[i].samples,
                   l->workers[i].n * sizeof *r->samples);
        r->n += l->workers[i].n;
        r->n_resent += l->workers[i].client.n_resent;
        if (l->workers[i].grpc)
            r->n_resent += cr_grpc_client_resent(l->workers[i].grpc);
    }
    qsort(r->samples, r->n, sizeof *r->samples, by_end);
    for (size_t i = 0; i < r->n; i++) {
        first = fmin(first, r->samples[i].start_s);
        last = fmax(last, r->samples[i].end_s);
        r->n_failed += r->samples[i].reason != 0;
    }
    r->duration_s = r->n ? last - first : 0;
    return CR_OK;
}

cr_status cr_load_run(const cr_load_options *o, cr_load_result *result,
                      cr_error *error) {
    memset(result, 0, sizeof *result);
    load l = {.o = o, .result = result, .seed = 1};
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.go, NULL);
    cr_status status = CR_OK;
    l.workers = cr_calloc(o->concurrency, sizeof *l.workers);
    uint32_t n = 0;
    if (!l.workers)
        status = cr_fail_memory(error, o->concurrency * sizeof *l.workers,
                                "workers");
    while (status == CR_OK && n < o->concurrency) {
        status = worker_init(&l.workers[n], &l, n, error);
        n++;
    }
    if (status == CR_OK)
        status = run_workers(&l, n, error);
    if (status == CR_OK)
        status = gather(&l, n, error);
    for (uint32_t i = 0; i < n; i++)
        worker_fini(&l.workers[i]);
    cr_free(l.workers);
    pthread_cond_destroy(&l.go);
    pthread_mutex_destroy(&l.lock);
    if (status != CR_OK)
        cr_load_fini(result);
    return status;
}

void cr_load_fini(cr_load_result *result) {
    cr_free(result->samples);
    memset(result, 0, sizeof *result);
}
