/* The server: opening in order, ticking, reloading, draining. */
#include "server/server.h"

#include "base/clock.h"
#include "base/cpus.h"
#include "base/mem.h"
#include "server/grpc/grpc.h"
#include "server/json_in.h"
#include "server/notify.h"
#include "server/selfcheck.h"
#include "server/service.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 1024, GIVE_UP_MS = 60000 };

void cr_server_log(cr_server *server, const char *format, ...) {
    char line[LINE_BYTES];
    va_list args;
    if (!server->options.log)
        return;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (len < 0)
        return;
    size_t n = (size_t)len < sizeof line ? (size_t)len : sizeof line - 1;
    if (!server->options.log(server->options.log_context, line, n))
        cr_metrics_count(&server->metrics, CR_COUNT_LOG_LOST, 1);
}

/* ---- Looking ------------------------------------------------------------ */

static int64_t cpu_ns(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

/* Linux tells it; elsewhere the peak has to do. */
static int64_t resident_bytes(void) {
    cr_buf text;
    struct rusage u;
    unsigned long long pages = 0;
    cr_buf_init(&text, 4096);
    if (cr_buf_read_file(&text, "/proc/self/statm", NULL) == CR_OK &&
        text.data) {
        char *second = strchr(text.data, ' ');
        pages = second ? strtoull(second, NULL, 10) : 0;
    }
    cr_buf_fini(&text);
    if (pages)
        return (int64_t)pages * sysconf(_SC_PAGESIZE);
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)u.ru_maxrss * 1024;
}

void cr_server_look(cr_server *server) {
    cr_metrics *m = &server->metrics;
    cr_pipeline_state state = cr_pipeline_look(server->pipeline);
    cr_metrics_set(m, CR_GAUGE_QUEUE_AGE, state.oldest_age_ns);
    cr_metrics_set(m, CR_GAUGE_UPTIME, cr_now_ns() - server->started_ns);
    cr_metrics_set(m, CR_GAUGE_READY, atomic_load(&server->ready));
    cr_metrics_set(m, CR_GAUGE_RESIDENT, resident_bytes());
    cr_metrics_set(m, CR_GAUGE_LINGERING, cr_http_n_lingering(server->http));
    cr_metrics_set_counter(m, CR_COUNT_CPU, (uint64_t)cpu_ns());
}

/* What every open dashboard is told. */
static void publish(cr_server *s) {
    cr_call call = {.server = s};
    cr_json_out event;
    pthread_mutex_lock(&s->lock);
    call.generation = cr_generation_ref(s->generation);
    pthread_mutex_unlock(&s->lock);
    cr_facts facts = cr_call_facts(&call);
    cr_json_out_init(&event);
    cr_ops_event(s, &facts, &event);
    if (!event.failed)
        cr_http_publish(s->http, event.text.data, event.text.len);
    cr_json_out_fini(&event);
    cr_generation_unref(call.generation);
}

/* Twice a second: a row of history, and a look at slow connections. */
static void *tick(void *context) {
    cr_server *s = context;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        until.tv_nsec += CR_HISTORY_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        while (!s->stop &&
               pthread_cond_timedwait(&s->tick, &s->lock, &until) == 0)
            ;
        if (s->stop)
            break;
        pthread_mutex_unlock(&s->lock);
        cr_server_look(s);
        cr_http_sweep(s->http);
        pthread_mutex_lock(&s->lock);
        cr_history_add(&s->history, &s->metrics, cr_now_ns(), s->started_ns);
        pthread_mutex_unlock(&s->lock);
        if (cr_http_has_streams(s->http))
            publish(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- Models ------------------------------------------------------------- */

static cr_status open_generation(cr_server *s, const char *path,
                                 uint32_t number, cr_generation **generation,
                                 cr_error *error) {
    cr_options options = *s->options.model;
    if (path)
        options.model = path;
    cr_status status =
        cr_generation_open(&options, s->lanes, number, generation, error);
    if (status == CR_OK)
        status =
            cr_settings_check(s->settings, (*generation)->max_length, error);
    if (status != CR_OK) {
        cr_generation_unref(*generation);
        *generation = NULL;
    }
    return status;
}

static void swap_in(cr_server *s, cr_generation *g) {
    pthread_mutex_lock(&s->lock);
    cr_generation *old = s->generation;
    s->generation = g;
    pthread_mutex_unlock(&s->lock);
    cr_generation_unref(old);
}

static cr_status try_reload(cr_server *s, const char *model, uint32_t *number,
                            cr_error *error) {
    cr_generation *g;
    bool known;
    pthread_mutex_lock(&s->lock);
    *number = s->generation->number + 1;
    char *path = model
                     ? NULL
                     : cr_strndup(cr_model_path(s->generation->model),
                                  strlen(cr_model_path(s->generation->model)));
    pthread_mutex_unlock(&s->lock);
    cr_status status = model || path ? open_generation(s, model ? model : path,
                                                       *number, &g, error)
                                     : cr_fail_memory(error, 1, "a path");
    cr_free(path);
    if (status != CR_OK)
        return status;
    status = cr_selfcheck_run(s->pipeline, g, &known, error);
    if (status == CR_OK)
        swap_in(s, g);
    else
        cr_generation_unref(g);
    return status;
}

cr_status cr_server_reload(cr_server *s, const char *model,
                           uint32_t *generation, cr_error *error) {
    cr_error own;
    uint32_t number;
    error = error ? error : &own;
    pthread_mutex_lock(&s->reload_lock);
    cr_notify(CR_NOTICE_RELOADING);
    cr_status status = try_reload(s, model, &number, error);
    if (generation)
        *generation = number;
    cr_notify(CR_NOTICE_READY);
    pthread_mutex_unlock(&s->reload_lock);
    cr_metrics_count(
        &s->metrics,
        status == CR_OK ? CR_COUNT_RELOADS_DONE : CR_COUNT_RELOADS_FAILED, 1);
    if (status == CR_OK)
        cr_server_log(s, "reloaded the model");
    else
        cr_server_log(s, "reload failed, the old model goes on: %s",
                      error->message);
    return status;
}

cr_status cr_server_reload_keys(cr_server *s, cr_error *error) {
    cr_notify(CR_NOTICE_RELOADING);
    cr_status status = cr_keys_reload(s->keys, error);
    cr_notify(CR_NOTICE_READY);
    return status;
}

/* ---- Life --------------------------------------------------------------- */

/* Descriptors for max_connections on both ports, as far as the system lets us;
 * where that is too few, connections would be refused without a word. */
static void raise_descriptors(cr_server *s) {
    enum { OTHER_DESCRIPTORS = 128 };
    struct rlimit limit;
    uint32_t port, wanted = s->settings->max_connections;
    if (cr_settings_grpc_port(s->settings, &port))
        wanted *= 2;
    wanted += OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit); /* what became of it */
    if (limit.rlim_cur < wanted)
        cr_server_log(s,
                      "max_connections is %u, which needs %u open files, and "
                      "the limit is %llu: raise it (ulimit -n, LimitNOFILE) or "
                      "lower max_connections",
                      s->settings->max_connections, wanted,
                      (unsigned long long)limit.rlim_cur);
}

static cr_status open_pipeline(cr_server *s, cr_error *error) {
    const cr_settings *settings = s->settings;
    const cr_backend_description *d = &s->generation->backend->description;
    cr_pipeline_options o = {
        .lanes = d->lanes,
        .batching = {.enabled = settings->batching_enabled,
                     .max_batch = settings->batching_max_batch,
                     .max_tokens = settings->batching_max_tokens,
                     .timeout_ns =
                         (int64_t)settings->batching_timeout_ms * 1000000},
        .quantum = cr_fair_quantum(d->group_tokens, d->lanes),
        .max_queue_tokens = settings->max_queue_tokens,
        .metrics = &s->metrics};
    return cr_pipeline_new(&o, &s->pipeline, error);
}

static cr_status open_grpc(cr_server *s, cr_error *error) {
    uint32_t port;
    return cr_settings_grpc_port(s->settings, &port)
               ? cr_grpc_open(s, port, &s->grpc, error)
               : CR_OK;
}

static cr_status start_ticker(cr_server *s, cr_error *error) {
    if (pthread_create(&s->ticker, NULL, tick, s) != 0)
        return cr_fail_thread(error);
    s->ticker_started = true;
    return CR_OK;
}

static cr_server *new_server(const cr_server_options *options) {
    cr_server *s = cr_calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    if (!s)
        return NULL;
    s->options = *options;
    s->settings = options->settings;
    s->started_ns = cr_now_ns();
    uint32_t threads = options->model->threads;
    s->lanes = threads ? threads : cr_cpus_count().cpus;
    cr_metrics_init(&s->metrics);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->reload_lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->tick, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return s;
}

static void free_server(cr_server *s) {
    if (s->ticker_started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_signal(&s->tick);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->ticker, NULL);
    }
    cr_h2_close(s->grpc); /* first: it counts its bytes with HTTP */
    cr_http_close(s->http);
    cr_pipeline_free(s->pipeline);
    cr_generation_unref(s->generation);
    cr_keys_free(s->keys);
    cr_gpu_close(s->gpu);
    pthread_cond_destroy(&s->tick);
    pthread_mutex_destroy(&s->reload_lock);
    pthread_mutex_destroy(&s->lock);
    cr_free(s);
}

cr_status cr_server_open(const cr_server_options *options, cr_server **server,
                         cr_error *error) {
    *server = NULL;
    cr_json_in_install();
    cr_server *s = new_server(options);
    uint32_t lanes = 0; /* a reload may come before this returns */
    bool known = false;
    if (!s)
        return cr_fail_memory(error, sizeof *s, "a server");
    raise_descriptors(s);
    cr_status status = cr_keys_new(s->settings->api_keys_file, &s->keys, error);
    if (status == CR_OK)
        status = open_generation(s, NULL, 1, &s->generation, error);
    if (status == CR_OK)
        status = open_pipeline(s, error);
    if (status == CR_OK) /* nobody is answered before */
        status = cr_selfcheck_run(s->pipeline, s->generation, &known, error);
    cr_metrics_reset(&s->metrics); /* the self-check is nobody's request */
    atomic_store(&s->counted_since_ns, cr_now_ns());
    if (status == CR_OK) {
        lanes = s->generation->backend->description.lanes;
        if (strcmp(s->generation->backend->description.device, "cpu") != 0)
            s->gpu = cr_gpu_open(NULL);
        cr_http_app app = cr_service_app;
        app.context = s;
        status = cr_http_open(s->settings, &app, &s->metrics, &s->http, error);
    }
    if (status == CR_OK)
        status = open_grpc(s, error);
    if (status == CR_OK)
        status = start_ticker(s, error);
    if (status != CR_OK) {
        free_server(s);
        return status;
    }
    atomic_store(&s->ready, true);
    cr_server_log(s, "ready on %s, %u lanes, %s", cr_server_address(s), lanes,
                  known ? "known scores right" : "model without known scores");
    cr_notify(CR_NOTICE_READY);
    *server = s;
    return CR_OK;
}

const char *cr_server_address(const cr_server *s) {
    return cr_http_address(s->http);
}

const char *cr_server_grpc_address(const cr_server *s) {
    return s->grpc ? cr_h2_address(s->grpc) : NULL;
}

static uint32_t n_accepted(const cr_server *s) {
    return cr_http_n_accepted(s->http) +
           (s->grpc ? cr_h2_n_accepted(s->grpc) : 0);
}

/* Connections of gRPC are waited for too, so that what was answered is read;
 * only for accepted requests does the limit count as passed. */
static bool wait_for_none(const cr_server *s, int64_t limit_ms) {
    const struct timespec nap = {.tv_nsec = 2000000};
    int64_t until = cr_now_ns() + limit_ms * 1000000;
    while (n_accepted(s) || (s->grpc && cr_h2_n_connections(s->grpc))) {
        if (cr_now_ns() >= until)
            return n_accepted(s) == 0;
        nanosleep(&nap, NULL);
    }
    return true;
}

bool cr_server_stop(cr_server *s) {
    atomic_store(&s->ready, false);
    cr_notify(CR_NOTICE_STOPPING);
    cr_pipeline_hurry(s->pipeline);
    cr_http_quiesce(s->http);
    if (s->grpc)
        cr_h2_quiesce(s->grpc);
    bool drained = wait_for_none(s, s->settings->drain_timeout_ms);
    if (!drained) {
        cr_server_log(s, "drain_timeout_ms passed: giving up %u requests",
                      n_accepted(s));
        atomic_store(&s->giving_up, true);
        cr_http_give_up(s->http);
        wait_for_none(s, GIVE_UP_MS);
    }
    free_server(s);
    return drained;
}
