/* HTTP/2 on libuv: the loop's thread, its sockets, its clock, and the ingest
 * thread beside it. */
#include "server/grpc/h2.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/grpc/conn.h"
#include "server/http.h"
#include "server/listen.h"

#include <stdio.h>
#include <string.h>

enum {
    SWEEP_MS = 250,
    LINGER_MS = 2000, /* for the other side to close */
    NOTICE_MS = 1000, /* for the other side to have read that it ends */
    BACKLOG = 1024
};

/* ---- Connections -------------------------------------------------------- */

static void on_closed(uv_handle_t *handle) {
    cr_h2_conn *conn = handle->data;
    atomic_fetch_sub(&conn->h2->n_connections, 1);
    cr_metrics_move(conn->h2->metrics, CR_GAUGE_CONNECTIONS, -1);
    cr_free(conn);
}

static void close_conn(cr_h2_conn *conn) {
    cr_h2 *h2 = conn->h2;
    if (conn->closed)
        return;
    conn->closed = true;
    if (conn->before)
        conn->before->behind = conn->behind;
    else
        h2->conns = conn->behind;
    if (conn->behind)
        conn->behind->before = conn->before;
    cr_h2_conn_fini(conn);
    uv_close((uv_handle_t *)&conn->socket, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)request;
    (void)status; /* the sweeper closes it if nobody else does */
}

/* All is said. Closing at once would throw away what is still unread, and with
 * it what the peer has not read yet. */
static void linger(cr_h2_conn *conn) {
    if (conn->phase == CR_H2_LINGERING)
        return;
    conn->phase = CR_H2_LINGERING;
    conn->since_ns = cr_now_ns();
    if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->socket,
                    on_shutdown) != 0)
        close_conn(conn);
}

static void flush(cr_h2_conn *conn);

static void on_written(uv_write_t *request, int status) {
    cr_h2_conn *conn = request->data;
    conn->writing = false;
    if (status < 0)
        close_conn(conn);
    else
        flush(conn);
}

/* One piece at a time: the rest stays with nghttp2 until that is gone. */
static void flush(cr_h2_conn *conn) {
    if (conn->closed || conn->writing || conn->phase == CR_H2_LINGERING)
        return;
    ssize_t n = cr_h2_conn_fill(conn);
    if (n < 0) {
        close_conn(conn);
        return;
    }
    if (n == 0) {
        if (cr_h2_conn_is_over(conn))
            linger(conn);
        return;
    }
    uv_buf_t buffer = uv_buf_init(conn->out, (unsigned)n);
    conn->writing = true;
    conn->write_began_ns = cr_now_ns();
    conn->write.data = conn;
    if (uv_write(&conn->write, (uv_stream_t *)&conn->socket, &buffer, 1,
                 on_written) != 0)
        close_conn(conn);
}

static void lend(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer) {
    const cr_h2_conn *conn = handle->data;
    (void)wanted;
    *buffer = uv_buf_init(conn->h2->in, sizeof conn->h2->in);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer) {
    cr_h2_conn *conn = stream->data;
    if (n < 0) {
        close_conn(conn);
        return;
    }
    if (n == 0 || conn->phase == CR_H2_LINGERING)
        return;
    if (cr_h2_conn_read(conn, buffer->base, (size_t)n))
        flush(conn);
    else
        close_conn(conn);
}

static void on_connection(uv_stream_t *listener, int status) {
    cr_h2 *h2 = listener->data;
    cr_h2_conn *conn = status == 0 ? cr_calloc(1, sizeof *conn) : NULL;
    /* libuv offers no other one before this one is accepted. */
    h2->owes_accept = status == 0 && !conn;
    if (!conn)
        return;
    conn->h2 = h2;
    conn->id = ++h2->n_conns_ever;
    conn->since_ns = cr_now_ns();
    uv_tcp_init(&h2->loop, &conn->socket);
    conn->socket.data = conn;
    conn->behind = h2->conns;
    if (h2->conns)
        h2->conns->before = conn;
    h2->conns = conn;
    uint32_t n = atomic_fetch_add(&h2->n_connections, 1);
    cr_metrics_move(h2->metrics, CR_GAUGE_CONNECTIONS, 1);
    bool full = n >= h2->settings->max_connections;
    h2->turned_away = h2->turned_away || full;
    if (uv_accept(listener, (uv_stream_t *)&conn->socket) != 0 || full ||
        !cr_h2_conn_begin(conn) ||
        uv_read_start((uv_stream_t *)&conn->socket, lend, on_read) != 0) {
        close_conn(conn);
        return;
    }
    uv_tcp_nodelay(&conn->socket, 1);
    flush(conn);
}

/* ---- Time --------------------------------------------------------------- */

static bool is_idle(const cr_h2_conn *conn) {
    return conn->phase == CR_H2_OPEN && !conn->streams;
}

/* True: it was closed. */
static bool sweep_conn(cr_h2_conn *conn, int64_t now) {
    int64_t age = now - conn->since_ns;
    int64_t idle = (int64_t)conn->h2->settings->idle_timeout_s * 1000000000;
    bool stuck = conn->writing && now - conn->write_began_ns > idle;
    if (stuck || (conn->phase == CR_H2_LINGERING &&
                  age > (int64_t)LINGER_MS * 1000000)) {
        close_conn(conn);
        return true;
    }
    if (conn->phase == CR_H2_LINGERING)
        return false;
    if ((conn->phase == CR_H2_NOTICED && age > (int64_t)NOTICE_MS * 1000000) ||
        (is_idle(conn) && age > idle))
        cr_h2_conn_end(conn);
    cr_h2_conn_sweep(conn, now);
    return false;
}

/* Where somebody was turned away, as all connections are taken, a few of those
 * without calls are told to go, the longest idle first: as with HTTP (http.c),
 * others must not be kept out. Who is going already makes room, too. */
static void make_room(cr_h2 *h2, int64_t now) {
    const int64_t second = 1000000000;
    bool full =
        atomic_load(&h2->n_connections) >= h2->settings->max_connections;
    int64_t n_wanted =
        h2->turned_away && full ? cr_http_evictions(h2->settings) : 0;
    h2->turned_away = false;
    for (const cr_h2_conn *conn = h2->conns; conn; conn = conn->behind)
        n_wanted -= conn->phase >= CR_H2_ENDING;
    for (; n_wanted > 0; n_wanted--) {
        cr_h2_conn *idlest = NULL;
        for (cr_h2_conn *conn = h2->conns; conn; conn = conn->behind)
            if (is_idle(conn) && now - conn->since_ns > second &&
                (!idlest || conn->since_ns < idlest->since_ns))
                idlest = conn;
        if (!idlest)
            return;
        cr_h2_conn_end(idlest);
        cr_metrics_count(h2->metrics, CR_COUNT_EVICTED, 1);
    }
}

static void on_timer(uv_timer_t *timer) {
    cr_h2 *h2 = timer->data;
    int64_t now = cr_now_ns();
    if (h2->owes_accept && !h2->quiet)
        on_connection((uv_stream_t *)&h2->listener, 0);
    make_room(h2, now);
    for (cr_h2_conn *conn = h2->conns, *behind; conn; conn = behind) {
        behind = conn->behind;
        if (!sweep_conn(conn, now))
            flush(conn);
    }
}

/* ---- Waking ------------------------------------------------------------- */

void cr_h2_resume(cr_h2_stream *stream) {
    cr_h2 *h2 = stream->h2;
    /* With the lock, so that the loop cannot end between the two. */
    pthread_mutex_lock(&h2->lock);
    stream->next = h2->done;
    h2->done = stream;
    uv_async_send(&h2->wake);
    pthread_mutex_unlock(&h2->lock);
}

static void take_done(cr_h2 *h2) {
    pthread_mutex_lock(&h2->lock);
    cr_h2_stream *s = h2->done;
    h2->done = NULL;
    pthread_mutex_unlock(&h2->lock);
    cr_h2_stream *first = NULL;
    for (cr_h2_stream *next; s; s = next) { /* in the order they came */
        next = s->next;
        s->next = first;
        first = s;
    }
    for (cr_h2_stream *next; first; first = next) {
        cr_h2_conn *conn = first->conn;
        next = first->next;
        cr_h2_stream_go_on(first);
        if (conn && (!next || next->conn != conn))
            flush(conn);
    }
}

static void quiesce(cr_h2 *h2) {
    if (h2->quiet)
        return;
    h2->quiet = true;
    uv_close((uv_handle_t *)&h2->listener, NULL);
    for (cr_h2_conn *conn = h2->conns, *behind; conn; conn = behind) {
        behind = conn->behind;
        cr_h2_conn_notice(conn);
        flush(conn);
    }
}

static void on_wake(uv_async_t *wake) {
    cr_h2 *h2 = wake->data;
    take_done(h2);
    if (atomic_load(&h2->quiet_wanted))
        quiesce(h2);
    if (!atomic_load(&h2->stop_wanted) || uv_is_closing((uv_handle_t *)wake))
        return;
    quiesce(h2);
    while (h2->conns)
        close_conn(h2->conns);
    /* What lanes work on comes back, each with a wake. */
    if (atomic_load(&h2->n_accepted))
        return;
    uv_close((uv_handle_t *)&h2->timer, NULL);
    uv_close((uv_handle_t *)wake, NULL);
}

static void *run_loop(void *context) {
    cr_h2 *h2 = context;
    uv_run(&h2->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* ---- The ingest thread -------------------------------------------------- */

void cr_h2_ingest(cr_h2 *h2, cr_h2_stream *stream) {
    pthread_mutex_lock(&h2->lock);
    stream->next = NULL;
    if (h2->ingest_last)
        h2->ingest_last->next = stream;
    else
        h2->ingest_first = stream;
    h2->ingest_last = stream;
    pthread_cond_signal(&h2->ingest_wake);
    pthread_mutex_unlock(&h2->lock);
}

static cr_h2_stream *pop_ingest(cr_h2 *h2) {
    pthread_mutex_lock(&h2->lock);
    while (!h2->ingest_first && !h2->ingest_stop)
        pthread_cond_wait(&h2->ingest_wake, &h2->lock);
    cr_h2_stream *s = h2->ingest_first;
    if (s) {
        h2->ingest_first = s->next;
        if (!h2->ingest_first)
            h2->ingest_last = NULL;
    }
    pthread_mutex_unlock(&h2->lock);
    return s;
}

static void *ingest(void *context) {
    cr_h2 *h2 = context;
    for (cr_h2_stream *s; (s = pop_ingest(h2)) != NULL;)
        if (!h2->app.receive(h2->app.context, s))
            cr_h2_resume(s);
    return NULL;
}

/* ---- Life --------------------------------------------------------------- */

static cr_status fail_uv(int code, const char *what, cr_error *error) {
    return cr_fail(error, CR_ERR_IO, "gRPC: cannot %s: %s", what,
                   uv_strerror(code));
}

/* From here on the loop owns the descriptor. */
static cr_status listen_on(cr_h2 *h2, cr_listener *l, cr_error *error) {
    int code = uv_tcp_open(&h2->listener, l->fd);
    if (code != 0)
        return fail_uv(code, "use the socket", error);
    l->fd = -1;
    code = uv_listen((uv_stream_t *)&h2->listener, BACKLOG, on_connection);
    return code == 0 ? CR_OK : fail_uv(code, "listen", error);
}

static cr_status open_loop(cr_h2 *h2, cr_listener *l, cr_error *error) {
    int code = uv_loop_init(&h2->loop);
    if (code != 0)
        return fail_uv(code, "make a loop", error);
    uv_tcp_init(&h2->loop, &h2->listener);
    uv_timer_init(&h2->loop, &h2->timer);
    code = uv_async_init(&h2->loop, &h2->wake, on_wake);
    h2->listener.data = h2->timer.data = h2->wake.data = h2;
    cr_status status =
        code == 0 ? listen_on(h2, l, error) : fail_uv(code, "wake", error);
    if (status == CR_OK) {
        uv_timer_start(&h2->timer, on_timer, SWEEP_MS, SWEEP_MS);
        h2->started = pthread_create(&h2->thread, NULL, run_loop, h2) == 0;
        if (!h2->started)
            status = cr_fail_thread(error);
    }
    if (status == CR_OK)
        return CR_OK;
    uv_close((uv_handle_t *)&h2->listener, NULL);
    uv_close((uv_handle_t *)&h2->timer, NULL);
    if (code == 0)
        uv_close((uv_handle_t *)&h2->wake, NULL);
    uv_run(&h2->loop, UV_RUN_DEFAULT);
    uv_loop_close(&h2->loop);
    return status;
}

cr_status cr_h2_open(const cr_settings *settings, uint32_t port,
                     const cr_h2_app *app, cr_metrics *metrics, cr_h2 **out,
                     cr_error *error) {
    cr_listener listener = {.fd = -1};
    *out = NULL;
    uv_replace_allocator(cr_alloc, cr_realloc, cr_calloc, cr_free);
    cr_h2 *h2 = cr_calloc(1, sizeof *h2);
    if (!h2)
        return cr_fail_memory(error, sizeof *h2, "an HTTP/2 server");
    h2->settings = settings;
    h2->app = *app;
    h2->metrics = metrics;
    pthread_mutex_init(&h2->lock, NULL);
    pthread_cond_init(&h2->ingest_wake, NULL);
    cr_status status = cr_listener_open_port(settings->host, port,
                                             "--grpc-port", &listener, error);
    snprintf(h2->address, sizeof h2->address, "%s", listener.address);
    if (status == CR_OK)
        status = cr_h2_conn_prepare(h2, error);
    if (status == CR_OK &&
        pthread_create(&h2->ingest_thread, NULL, ingest, h2) != 0)
        status = cr_fail_thread(error);
    else
        h2->ingest_started = status == CR_OK;
    if (status == CR_OK)
        status = open_loop(h2, &listener, error);
    cr_listener_close(&listener);
    if (status != CR_OK)
        cr_h2_close(h2);
    else
        *out = h2;
    return status;
}

const char *cr_h2_address(const cr_h2 *h2) { return h2->address; }

void cr_h2_quiesce(cr_h2 *h2) {
    atomic_store(&h2->quiet_wanted, true);
    uv_async_send(&h2->wake);
}

uint32_t cr_h2_n_accepted(const cr_h2 *h2) {
    return atomic_load(&h2->n_accepted);
}

uint32_t cr_h2_n_connections(const cr_h2 *h2) {
    return atomic_load(&h2->n_connections);
}

static void stop_ingest(cr_h2 *h2) {
    if (!h2->ingest_started)
        return;
    pthread_mutex_lock(&h2->lock);
    h2->ingest_stop = true;
    pthread_cond_signal(&h2->ingest_wake);
    pthread_mutex_unlock(&h2->lock);
    pthread_join(h2->ingest_thread, NULL);
}

void cr_h2_close(cr_h2 *h2) {
    if (!h2)
        return;
    if (h2->started) {
        pthread_mutex_lock(&h2->lock);
        atomic_store(&h2->stop_wanted, true);
        uv_async_send(&h2->wake);
        pthread_mutex_unlock(&h2->lock);
        pthread_join(h2->thread, NULL);
        uv_loop_close(&h2->loop);
    }
    stop_ingest(h2); /* behind the loop, which waits for what lies there */
    nghttp2_session_callbacks_del(h2->callbacks);
    nghttp2_option_del(h2->options);
    pthread_cond_destroy(&h2->ingest_wake);
    pthread_mutex_destroy(&h2->lock);
    cr_free(h2);
}
