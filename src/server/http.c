/* HTTP/1.1 on libmicrohttpd: suspend, hand over, resume. */
#include "server/http.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/linger.h"
#include "server/listen.h"
#include "server/stream.h"

#include <errno.h>
#include <microhttpd.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    INGEST_BYTES = 65536,   /* larger bodies are parsed on the ingest thread */
    LINGER_BYTES = 64 << 20 /* and more where twice max_body_bytes is */
};

/* In n_accepted, beside the number: nothing is accepted any more. */
static const uint32_t SHUT = UINT32_C(1) << 31;

/* What one connection is doing, for the sweeper and for its end. */
typedef enum conn_phase {
    FRESH,
    READING,
    WORKING,
    SENDING,
    IDLE,
    ANSWERED_EARLY
} conn_phase;

typedef struct conn {
    struct conn *before, *behind;
    int fd;
    uint64_t id;
    conn_phase phase;
    int64_t since_ns;
    size_t out_bytes; /* of the answer under way */
} conn;

/* Exchanges that wait for a thread of their own kind of work. */
typedef struct worker {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started, stop;
    cr_exchange *first, *last;
    cr_http *http;
} worker;

struct cr_http {
    const cr_settings *settings;
    cr_http_app app;
    cr_metrics *metrics;
    struct MHD_Daemon *daemon;
    cr_listener listener;
    cr_linger *linger;
    cr_streams *streams;
    _Atomic bool quiet;
    _Atomic bool giving_up;
    _Atomic uint64_t pending_bytes;
    _Atomic uint32_t n_accepted;
    pthread_mutex_t conn_lock; /* of the list and all in it */
    conn *conns;
    uint64_t n_conns_ever;
    worker ingest;  /* large bodies */
    worker errands; /* what takes long and is not scoring, so that no body
                       waits for it */
};

/* ---- Connections -------------------------------------------------------- */

static conn *conn_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static int fd_of(struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void enter_phase(cr_http *http, struct MHD_Connection *connection,
                        conn_phase phase, size_t out_bytes) {
    conn *c = conn_of(connection);
    if (!c)
        return;
    pthread_mutex_lock(&http->conn_lock);
    c->phase = phase;
    c->since_ns = cr_now_ns();
    c->out_bytes = out_bytes;
    pthread_mutex_unlock(&http->conn_lock);
}

static void set_phase(cr_http *http, struct MHD_Connection *connection,
                      conn_phase phase) {
    enter_phase(http, connection, phase, 0);
}

static void add_conn(cr_http *http, struct MHD_Connection *connection,
                     void **context) {
    conn *c = cr_calloc(1, sizeof *c);
    *context = c;
    if (!c) /* it is served all the same, without a sweeper */
        return;
    c->fd = fd_of(connection);
    c->since_ns = cr_now_ns();
    c->id = ++http->n_conns_ever;
    c->behind = http->conns;
    if (http->conns)
        http->conns->before = c;
    http->conns = c;
}

static void remove_conn(cr_http *http, conn *c) {
    if (!c)
        return;
    if (c->before)
        c->before->behind = c->behind;
    else
        http->conns = c->behind;
    if (c->behind)
        c->behind->before = c->before;
    cr_free(c);
}

/* Whether closing it now may lose the answer: there are bytes that nobody read,
 * or there will be. In the middle of a head libmicrohttpd closes what it
 * refuses itself. */
static bool is_cut_short(const conn *c) {
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n >= 0)
        return n > 0; /* 0: the client has closed first */
    return (errno == EAGAIN || errno == EWOULDBLOCK) &&
           (c->phase == READING || c->phase == ANSWERED_EARLY);
}

static void on_connection(void *context, struct MHD_Connection *connection,
                          void **conn_context,
                          enum MHD_ConnectionNotificationCode code) {
    cr_http *http = context;
    bool started = code == MHD_CONNECTION_NOTIFY_STARTED;
    conn *c = *conn_context;
    pthread_mutex_lock(&http->conn_lock);
    if (started) {
        add_conn(http, connection, conn_context);
    } else {
        /* libmicrohttpd closes it when this returns. */
        if (c && is_cut_short(c))
            cr_linger_add(http->linger, c->fd);
        remove_conn(http, c);
    }
    pthread_mutex_unlock(&http->conn_lock);
    cr_metrics_move(http->metrics, CR_GAUGE_CONNECTIONS, started ? 1 : -1);
}

/* The time from which a connection is too slow. The idle limit is
 * libmicrohttpd's, but a byte now and then would renew it for ever. */
static int64_t patience_ns(const cr_http *http, const conn *c) {
    const int64_t second = 1000000000;
    int64_t receive = (int64_t)http->settings->receive_timeout_ms * 1000000;
    int64_t idle = http->settings->idle_timeout_s * second;
    switch (c->phase) {
    case FRESH:
    case READING:
        return receive;
    case SENDING:
        if (atomic_load(&http->giving_up))
            return second;
        return receive + (int64_t)c->out_bytes * second / CR_MIN_READ_RATE;
    case IDLE:
        return idle + receive;
    case WORKING:
    case ANSWERED_EARLY:
        break;
    }
    return INT64_MAX;
}

/* Its closing is told under conn_lock, so the descriptor is its own. */
static void cut_off(cr_http *http, conn *c, cr_counter_id why) {
    shutdown(c->fd, SHUT_RDWR);
    c->phase = WORKING;
    cr_metrics_count(http->metrics, why, 1);
}

/* Asks for nothing. Who has just connected has a second to begin. */
static bool is_idle(const conn *c, int64_t now) {
    const int64_t second = 1000000000;
    return c->phase == IDLE ||
           (c->phase == FRESH && now - c->since_ns > second);
}

/* The idle one that has been so for the longest time, or NULL. */
static conn *most_idle(const cr_http *http, int64_t now) {
    conn *idlest = NULL;
    for (conn *c = http->conns; c; c = c->behind)
        if (is_idle(c, now) && (!idlest || c->since_ns < idlest->since_ns))
            idlest = c;
    return idlest;
}

static bool somebody_waits(const cr_http *http) {
    struct pollfd p = {.fd = http->listener.fd, .events = POLLIN};
    return p.fd >= 0 && poll(&p, 1, 0) > 0;
}

/* Where all connections are taken and somebody waits for one, a few of those
 * that ask for nothing go: pools of clients and balancers must not keep out
 * others, and probes. */
static void make_room(cr_http *http, int64_t now) {
    uint32_t n = 0;
    for (conn *c = http->conns; c; c = c->behind)
        n++;
    if (n < http->settings->max_connections || !somebody_waits(http))
        return;
    for (uint32_t i = cr_http_evictions(http->settings); i; i--) {
        conn *c = most_idle(http, now);
        char byte;
        if (!c)
            return;
        if (c->phase == IDLE &&
            recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
            c->since_ns = now; /* a request has just come */
        else
            cut_off(http, c, CR_COUNT_EVICTED);
    }
}

void cr_http_sweep(cr_http *http) {
    int64_t now = cr_now_ns();
    pthread_mutex_lock(&http->conn_lock);
    for (conn *c = http->conns; c; c = c->behind)
        if (now - c->since_ns > patience_ns(http, c))
            cut_off(http, c, CR_COUNT_SWEPT);
    make_room(http, now);
    pthread_mutex_unlock(&http->conn_lock);
}

bool cr_http_is_gone(const cr_exchange *exchange) {
#ifdef POLLRDHUP
    struct pollfd p = {.fd = exchange->fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
#else
    char byte;
    return recv(exchange->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
#endif
}

/* ---- Exchanges ---------------------------------------------------------- */

const char *cr_exchange_header(const cr_exchange *exchange, const char *name) {
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND,
                                       name);
}

const char *cr_exchange_argument(const cr_exchange *exchange,
                                 const char *name) {
    return MHD_lookup_connection_value(exchange->connection,
                                       MHD_GET_ARGUMENT_KIND, name);
}

void cr_exchange_add_header(cr_exchange *exchange, const char *name,
                            const char *format, ...) {
    if (exchange->n_headers == CR_MAX_HEADERS)
        return;
    char *value = exchange->headers[exchange->n_headers].value;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(value, CR_HEADER_VALUE_BYTES, format, args);
    va_end(args);
    if (len >= 0 && len < CR_HEADER_VALUE_BYTES)
        exchange->headers[exchange->n_headers++].name = name;
}

static cr_exchange *new_exchange(cr_http *http,
                                 struct MHD_Connection *connection,
                                 const char *url, const char *method) {
    cr_exchange *x = cr_calloc(1, sizeof *x);
    if (!x)
        return NULL;
    const conn *c = conn_of(connection);
    x->http = http;
    x->connection = connection;
    x->fd = fd_of(connection);
    x->connection_id = c ? c->id : 0;
    x->begun_ns = cr_now_ns();
    x->type = "application/json";
    snprintf(x->method, sizeof x->method, "%s", method);
    snprintf(x->path, sizeof x->path, "%s", url);
    cr_buf_init(&x->body, http->settings->max_body_bytes);
    cr_json_out_init(&x->out);
    return x;
}

bool cr_http_hold(cr_http *http, size_t bytes) {
    uint64_t sum = atomic_fetch_add(&http->pending_bytes, bytes) + bytes;
    cr_metrics_set(http->metrics, CR_GAUGE_PENDING_BYTES, (int64_t)sum);
    return sum <= http->settings->max_pending_bytes;
}

void cr_http_let_go(cr_http *http, size_t bytes) {
    uint64_t sum = atomic_fetch_sub(&http->pending_bytes, bytes) - bytes;
    cr_metrics_set(http->metrics, CR_GAUGE_PENDING_BYTES, (int64_t)sum);
}

static bool hold(cr_exchange *x, size_t bytes) {
    x->held_bytes += bytes;
    return cr_http_hold(x->http, bytes);
}

static void let_go(cr_exchange *x) {
    cr_http_let_go(x->http, x->held_bytes);
    x->held_bytes = 0;
}

static void free_text(void *text) { cr_free(text); }

/* False: it is too late, the server ends. */
static bool count(cr_exchange *x) {
    _Atomic uint32_t *n = &x->http->n_accepted;
    if (atomic_fetch_add(n, 1) & SHUT) {
        atomic_fetch_sub(n, 1);
        return false;
    }
    x->accepted = true;
    cr_metrics_move(x->http->metrics, CR_GAUGE_IN_FLIGHT, 1);
    return true;
}

/* From now on it is not waited for. */
static void uncount(cr_exchange *x) {
    if (!x->accepted)
        return;
    x->accepted = false;
    cr_metrics_move(x->http->metrics, CR_GAUGE_IN_FLIGHT, -1);
    atomic_fetch_sub(&x->http->n_accepted, 1);
}

static struct MHD_Response *make_response(cr_exchange *x) {
    if (x->stream) {
        uncount(x);
        struct MHD_Response *r = cr_stream_respond(x->stream, x->connection);
        x->stream = NULL;
        return r;
    }
    if (x->constant) {
        x->out_bytes = x->constant_bytes;
        return MHD_create_response_from_buffer(x->constant_bytes,
                                               (void *)(uintptr_t)x->constant,
                                               MHD_RESPMEM_PERSISTENT);
    }
    x->out_bytes = x->out.text.len;
    struct MHD_Response *r = MHD_create_response_from_buffer_with_free_callback(
        x->out.text.len, x->out.text.data ? x->out.text.data : NULL, free_text);
    if (r)
        cr_buf_init(&x->out.text, x->out.text.max); /* the response's now */
    return r;
}

static enum MHD_Result send_answer(cr_exchange *x) {
    cr_http *http = x->http;
    if (x->out.failed) {
        cr_json_out_fini(&x->out);
        cr_json_out_init(&x->out);
        http->app.refuse(http->app.context, x, 503,
                         "no memory for an answer; try again later");
    }
    bool streams = x->stream, made = !streams && !x->constant;
    bool typed = !made || x->out.text.len;
    struct MHD_Response *r = make_response(x);
    if (!r)
        return MHD_NO;
    if (typed)
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->type);
    for (size_t i = 0; i < x->n_headers; i++)
        MHD_add_response_header(r, x->headers[i].name, x->headers[i].value);
    if (x->close || atomic_load(&http->quiet))
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result =
        MHD_queue_response(x->connection, (unsigned)x->status, r);
    MHD_destroy_response(r);
    /* The body was read; what is held from now on is the answer. */
    let_go(x);
    cr_buf_fini(&x->body);
    if (made)
        hold(x, x->out_bytes);
    if (!x->early && !streams)
        enter_phase(http, x->connection, SENDING, x->out_bytes);
    return result;
}

/* ---- The head ----------------------------------------------------------- */

static enum MHD_Result count_length(void *context, enum MHD_ValueKind kind,
                                    const char *key, const char *value) {
    (void)kind;
    (void)value;
    if (strcasecmp(key, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0)
        ++*(unsigned *)context;
    return MHD_YES;
}

/* Refused, and the connection ends with that. */
__attribute__((format(printf, 3, 4))) static void
refuse(cr_exchange *x, int status, const char *format, ...) {
    char message[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    x->close = true;
    x->http->app.refuse(x->http->app.context, x, status, message);
}

static void refuse_size(cr_exchange *x, unsigned long long bytes) {
    refuse(x, 413,
           "the body has %llu bytes, at most %u are taken: send fewer "
           "documents or raise max_body_bytes",
           bytes, x->http->settings->max_body_bytes);
}

static void refuse_overload(cr_exchange *x) {
    refuse(x, 429,
           "Model is overloaded: requests hold over max_pending_bytes (%u); "
           "try again later",
           x->http->settings->max_pending_bytes);
}

/* Whether a body of so many bytes may come. They are held as they come, or who
 * announces much and sends nothing would keep others out. */
static bool has_room(cr_http *http, size_t bytes) {
    return atomic_load(&http->pending_bytes) + bytes <=
           http->settings->max_pending_bytes;
}

/* What is refused before any of the body is read. */
static void check_head(cr_http *http, cr_exchange *x) {
    unsigned n_lengths = 0;
    const char *length = cr_exchange_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *coding =
        cr_exchange_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    unsigned long long bytes = length ? strtoull(length, NULL, 10) : 0;
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_length,
                              &n_lengths);
    if (n_lengths > 1)
        refuse(x, 400, "Content-Length is there twice");
    else if (coding && length) /* a proxy may have taken the other one */
        refuse(x, 400,
               "Content-Length and Transfer-Encoding are both there: send one");
    else if (coding && strcasecmp(coding, "chunked") != 0)
        refuse(x, 400,
               "Transfer-Encoding is \"%.40s\": send chunked, or a "
               "Content-Length",
               coding);
    else if (bytes > http->settings->max_body_bytes)
        refuse_size(x, bytes);
    else if (!has_room(http, (size_t)bytes))
        refuse_overload(x);
    else
        http->app.begin(http->app.context, x);
}

static enum MHD_Result begin(cr_http *http, struct MHD_Connection *connection,
                             const char *url, const char *method,
                             void **context) {
    cr_exchange *x = new_exchange(http, connection, url, method);
    *context = x;
    if (!x)
        return MHD_NO;
    check_head(http, x);
    /* Without a body the next call would come at once: wait for it, so that
     * the connection can be kept. */
    const char *length = cr_exchange_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    const char *coding =
        cr_exchange_header(x, MHD_HTTP_HEADER_TRANSFER_ENCODING);
    bool has_body = coding || (length && strcmp(length, "0") != 0);
    if (!x->status || !has_body)
        return MHD_YES;
    set_phase(http, connection, WORKING);
    x->early = true;
    return send_answer(x);
}

/* ---- The body ----------------------------------------------------------- */

static enum MHD_Result take_bytes(cr_exchange *x, const char *data,
                                  size_t *size) {
    size_t n = *size;
    *size = 0;
    if (x->status) /* refused: the rest is of no use */
        return MHD_YES;
    /* An answer cannot be sent before the body's end, to which the sweeper
     * gives its time. */
    size_t len = x->body.len + n;
    if (len > x->held_bytes && !hold(x, len - x->held_bytes))
        refuse_overload(x);
    else if (len > x->http->settings->max_body_bytes)
        refuse_size(x, len);
    else if (cr_buf_append(&x->body, data, n, NULL) == CR_OK)
        return MHD_YES;
    else
        return MHD_NO;
    let_go(x);
    cr_buf_fini(&x->body);
    return MHD_YES;
}

/* In this order: once others know it, it may be resumed at any time. */
static void suspend(cr_exchange *x) {
    x->suspended = true;
    MHD_suspend_connection(x->connection);
}

void cr_http_resume(cr_exchange *x) {
    x->suspended = false;
    MHD_resume_connection(x->connection);
}

static void push(worker *w, cr_exchange *x) {
    pthread_mutex_lock(&w->lock);
    x->behind = NULL;
    if (w->last)
        w->last->behind = x;
    else
        w->first = x;
    w->last = x;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static enum MHD_Result receive(cr_http *http, cr_exchange *x) {
    set_phase(http, x->connection, WORKING);
    if (x->status)
        return send_answer(x);
    x->received_ns = cr_now_ns();
    if (!count(x)) {
        refuse(x, 503,
               "the server is stopping: ask another one, or this one when it "
               "is back");
        return send_answer(x);
    }
    if (x->slow || x->body.len > INGEST_BYTES) {
        suspend(x);
        push(x->slow ? &http->errands : &http->ingest, x);
        return MHD_YES;
    }
    if (!http->app.receive(http->app.context, x))
        return send_answer(x);
    suspend(x);
    http->app.start(http->app.context, x);
    return MHD_YES;
}

static cr_exchange *pop(worker *w) {
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->stop)
        pthread_cond_wait(&w->wake, &w->lock);
    cr_exchange *x = w->first;
    if (x) {
        w->first = x->behind;
        if (!w->first)
            w->last = NULL;
    }
    pthread_mutex_unlock(&w->lock);
    return x;
}

static void *receive_all(void *context) {
    worker *w = context;
    cr_http_app *app = &w->http->app;
    for (cr_exchange *x; (x = pop(w)) != NULL;) {
        if (app->receive(app->context, x))
            app->start(app->context, x);
        else
            cr_http_resume(x);
    }
    return NULL;
}

static void worker_init(worker *w, cr_http *http) {
    w->http = http;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
}

static cr_status worker_start(worker *w, cr_error *error) {
    if (pthread_create(&w->thread, NULL, receive_all, w) != 0)
        return cr_fail_thread(error);
    w->started = true;
    return CR_OK;
}

static void worker_stop(worker *w) {
    if (!w->started)
        return;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
}

static void worker_fini(worker *w) {
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
}

/* ---- libmicrohttpd's calls ---------------------------------------------- */

static enum MHD_Result on_request(void *context,
                                  struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *data,
                                  size_t *size, void **exchange) {
    cr_http *http = context;
    cr_exchange *x = *exchange;
    (void)version;
    if (!x)
        return begin(http, connection, url, method, exchange);
    if (*size)
        return take_bytes(x, data, size);
    if (!x->received_ns)
        return receive(http, x);
    /* Resumed: the ingest thread may have answered it already. */
    if (!x->status)
        http->app.finish(http->app.context, x);
    return send_answer(x);
}

static void on_completed(void *context, struct MHD_Connection *connection,
                         void **exchange,
                         enum MHD_RequestTerminationCode code) {
    cr_http *http = context;
    cr_exchange *x = *exchange;
    *exchange = NULL;
    if (!x)
        return;
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        x->close = true;
    http->app.end(http->app.context, x);
    let_go(x);
    cr_buf_fini(&x->body);
    cr_json_out_fini(&x->out);
    cr_stream_drop(x->stream);
    uncount(x);
    set_phase(http, connection, x->early ? ANSWERED_EARLY : IDLE);
    cr_free(x);
}

/* The request line is there. */
static void *on_uri(void *context, const char *uri,
                    struct MHD_Connection *connection) {
    (void)uri;
    set_phase(context, connection, READING);
    return NULL;
}

static void ignore_log(void *context, const char *format, va_list args) {
    (void)context;
    (void)format;
    (void)args;
}

/* ---- Life --------------------------------------------------------------- */

static cr_status start_daemon(cr_http *http, cr_error *error) {
    const cr_settings *s = http->settings;
    unsigned flags = MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     MHD_USE_ITC | MHD_USE_ERROR_LOG;
    uint32_t threads = s->http_threads;
    uint32_t limit = s->max_connections;
    if (limit < threads)
        threads = limit;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, http, MHD_OPTION_EXTERNAL_LOGGER,
        ignore_log, NULL, MHD_OPTION_LISTEN_SOCKET, http->listener.fd,
        MHD_OPTION_THREAD_POOL_SIZE, threads > 1 ? threads : 0,
        MHD_OPTION_CONNECTION_LIMIT, limit, MHD_OPTION_CONNECTION_TIMEOUT,
        s->idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CR_MAX_HEAD_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, http, MHD_OPTION_END);
    return http->daemon
               ? CR_OK
               : cr_fail(error, CR_ERR_IO,
                         "cannot start %u HTTP threads for %u connections: "
                         "allow more threads or descriptors",
                         threads, limit);
}

cr_status cr_http_open(const cr_settings *settings, const cr_http_app *app,
                       cr_metrics *metrics, cr_http **out, cr_error *error) {
    *out = NULL;
    cr_http *http = cr_calloc(1, sizeof *http);
    if (!http)
        return cr_fail_memory(error, sizeof *http, "an HTTP server");
    http->settings = settings;
    http->app = *app;
    http->metrics = metrics;
    http->listener.fd = -1;
    pthread_mutex_init(&http->conn_lock, NULL);
    worker_init(&http->ingest, http);
    worker_init(&http->errands, http);
    cr_status status = cr_listener_open(settings, &http->listener, error);
    if (status == CR_OK)
        status =
            cr_linger_new(cr_http_linger_bytes(settings),
                          settings->receive_timeout_ms, &http->linger, error);
    if (status == CR_OK)
        status = cr_streams_new(CR_MAX_STREAMS, &http->streams, error);
    if (status == CR_OK)
        status = worker_start(&http->ingest, error);
    if (status == CR_OK)
        status = worker_start(&http->errands, error);
    *out = http; /* who waits in the backlog may be answered from here on */
    if (status == CR_OK)
        status = start_daemon(http, error);
    if (status != CR_OK) {
        *out = NULL;
        cr_http_close(http);
    }
    return status;
}

const char *cr_http_address(const cr_http *http) {
    return http->listener.address;
}

uint32_t cr_http_n_lingering(const cr_http *http) {
    return cr_linger_count(http->linger);
}

uint32_t cr_http_evictions(const cr_settings *settings) {
    enum { PART = 128, MOST = 8 };
    uint32_t n = settings->max_connections / PART + 1;
    return n < MOST ? n : MOST;
}

uint32_t cr_http_linger_bytes(const cr_settings *settings) {
    uint32_t twice = 2 * settings->max_body_bytes; /* at most 2^31 */
    return twice > LINGER_BYTES ? twice : LINGER_BYTES;
}

void cr_http_quiesce(cr_http *http) {
    if (atomic_exchange(&http->quiet, true))
        return;
    cr_streams_end(http->streams);
    MHD_socket fd = MHD_quiesce_daemon(http->daemon);
    pthread_mutex_lock(&http->conn_lock); /* the sweeper looks at it */
    if (fd != MHD_INVALID_SOCKET)
        cr_listener_close(&http->listener);
    pthread_mutex_unlock(&http->conn_lock);
}

uint32_t cr_http_n_accepted(const cr_http *http) {
    return atomic_load(&http->n_accepted) & ~SHUT;
}

bool cr_http_stream(cr_exchange *x) {
    x->stream = cr_stream_new(x->http->streams);
    return x->stream != NULL;
}

bool cr_http_has_streams(const cr_http *http) {
    return cr_streams_any(http->streams);
}

void cr_http_publish(cr_http *http, const char *event, size_t len) {
    cr_streams_publish(http->streams, event, len);
}

void cr_http_give_up(cr_http *http) { atomic_store(&http->giving_up, true); }

/* Connections that are kept go on asking until they are closed, and
 * libmicrohttpd aborts where one is suspended by then. Who does not read its
 * answer is no longer waited for. */
static void shut(cr_http *http) {
    const struct timespec nap = {.tv_nsec = 1000000};
    atomic_fetch_or(&http->n_accepted, SHUT);
    cr_http_give_up(http);
    while (cr_http_n_accepted(http)) {
        cr_http_sweep(http);
        nanosleep(&nap, NULL);
    }
}

void cr_http_close(cr_http *http) {
    if (!http)
        return;
    if (http->daemon)
        shut(http);
    worker_stop(&http->ingest);
    worker_stop(&http->errands);
    if (http->daemon) {
        bool quiet = atomic_load(&http->quiet);
        cr_streams_end(http->streams);
        MHD_stop_daemon(http->daemon);
        if (!quiet) /* it closed the descriptor itself */
            http->listener.fd = -1;
    }
    cr_listener_close(&http->listener);
    uint32_t drain_ms = http->settings->drain_timeout_ms;
    cr_linger_free(http->linger, drain_ms < CR_LINGER_SILENCE_MS
                                     ? drain_ms
                                     : CR_LINGER_SILENCE_MS);
    cr_streams_free(http->streams);
    worker_fini(&http->ingest);
    worker_fini(&http->errands);
    pthread_mutex_destroy(&http->conn_lock);
    cr_free(http);
}
