/* One HTTP/2 connection: streams as nghttp2 tells of them, gRPC's framing, and
 * what a peer may not do too often. */
#include "server/grpc/conn.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INGEST_BYTES = 65536, /* larger messages are parsed on the ingest thread */
    STREAM_WINDOW_BYTES = 1 << 20,
    CONNECTION_WINDOW_BYTES = 8 << 20,
    MAX_OUTBOUND_FRAMES = 10000,
    HALF_SENT_MS = 2000 /* what a request may still take when we end */
};

/* ---- Streams ------------------------------------------------------------ */

static cr_h2_stream *new_stream(cr_h2_conn *conn, int32_t id) {
    cr_h2_stream *s = cr_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->h2 = conn->h2;
    s->conn = conn;
    s->connection_id = conn->id;
    s->id = id;
    s->begun_ns = cr_now_ns();
    cr_buf_init(&s->message, conn->h2->settings->max_body_bytes);
    s->behind = conn->streams;
    if (s->behind)
        s->behind->before = s;
    conn->streams = s;
    return s;
}

static void end_stream(cr_h2_stream *s) {
    cr_h2 *h2 = s->h2;
    h2->app.end(h2->app.context, s);
    h2->app.let_go(h2->app.context, s->held_bytes);
    for (int i = 0; i < CR_H2_N_HEADERS; i++)
        cr_free(s->headers[i]);
    cr_buf_fini(&s->message);
    cr_free(s->out);
    if (s->accepted) {
        cr_metrics_move(h2->metrics, CR_GAUGE_IN_FLIGHT, -1);
        atomic_fetch_sub(&h2->n_accepted, 1);
    }
    cr_free(s);
}

/* Off the wire; what is being worked on ends when it comes back. */
static void detach(cr_h2_stream *s) {
    cr_h2_conn *conn = s->conn;
    if (s->before)
        s->before->behind = s->behind;
    else
        conn->streams = s->behind;
    if (s->behind)
        s->behind->before = s->before;
    s->conn = NULL;
    atomic_store(&s->gone, true);
    conn->since_ns = cr_now_ns();
    if (!s->busy)
        end_stream(s);
}

/* ---- The answer --------------------------------------------------------- */

static nghttp2_nv pair_of(const char *name, const char *value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *bytes,
                           size_t room, uint32_t *flags,
                           nghttp2_data_source *source, void *context) {
    cr_h2_stream *s = source->ptr;
    size_t n = s->out_bytes - s->n_sent;
    (void)context;
    if (n > room)
        n = room;
    memcpy(bytes, s->out + s->n_sent, n);
    s->n_sent += n;
    s->moved_ns = cr_now_ns();
    if (s->n_sent == s->out_bytes) {
        const nghttp2_nv trailer = pair_of("grpc-status", "0");
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, &trailer, 1) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static void respond(cr_h2_stream *s) {
    char code[12], http[12], pushback[16];
    nghttp2_nv h[8];
    size_t n = 0;
    s->responded = true;
    s->moved_ns = cr_now_ns();
    snprintf(code, sizeof code, "%d", (int)s->code);
    snprintf(http, sizeof http, "%d", s->http_status ? s->http_status : 200);
    snprintf(pushback, sizeof pushback, "%u", s->pushback_ms);
    h[n++] = pair_of(":status", http);
    h[n++] = pair_of("content-type", "application/grpc");
    if (*s->request_id)
        h[n++] = pair_of("x-request-id", s->request_id);
    if (s->code == CR_GRPC_OK) {
        nghttp2_data_provider provider = {.source.ptr = s,
                                          .read_callback = read_answer};
        s->conn->broken |= nghttp2_submit_response(s->conn->session, s->id, h,
                                                   n, &provider) != 0;
        return;
    }
    h[n++] = pair_of("grpc-status", code);
    if (*s->reason)
        h[n++] = pair_of("grpc-message", s->reason);
    if (s->pushback_ms)
        h[n++] = pair_of("grpc-retry-pushback-ms", pushback);
    s->conn->broken |=
        nghttp2_submit_response(s->conn->session, s->id, h, n, NULL) != 0;
}

static void refuse(cr_h2_stream *s, cr_refusal_kind kind, const char *message) {
    s->h2->app.refuse(s->h2->app.context, s, kind, message);
    respond(s);
}

void cr_h2_stream_go_on(cr_h2_stream *s) {
    s->busy = false;
    if (!s->conn) {
        end_stream(s);
        return;
    }
    if (!s->answered)
        s->h2->app.finish(s->h2->app.context, s);
    respond(s);
}

/* ---- The request -------------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session,
                            const nghttp2_frame *frame, void *context) {
    if (frame->hd.type != NGHTTP2_HEADERS ||
        frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    cr_h2_stream *s = new_stream(context, frame->hd.stream_id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, s->id, s) == 0
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool is(const uint8_t *name, size_t len, const char *word) {
    return len == strlen(word) && memcmp(name, word, len) == 0;
}

static void keep_header(cr_h2_stream *s, const uint8_t *name, size_t name_len,
                        const uint8_t *value, size_t len) {
    static const char *const names[CR_H2_N_HEADERS] = {
        [CR_H2_AUTHORIZATION] = "authorization",
        [CR_H2_X_API_KEY] = "x-api-key",
        [CR_H2_GRPC_TIMEOUT] = "grpc-timeout",
        [CR_H2_GRPC_ENCODING] = "grpc-encoding",
        [CR_H2_X_REQUEST_ID] = "x-request-id",
        [CR_H2_CONTENT_TYPE] = "content-type",
    };
    const char *text = (const char *)value;
    if (is(name, name_len, ":path"))
        snprintf(s->path, sizeof s->path, "%.*s", (int)len, text);
    if (is(name, name_len, ":method"))
        snprintf(s->method, sizeof s->method, "%.*s", (int)len, text);
    for (int i = 0; i < CR_H2_N_HEADERS; i++)
        if (!s->headers[i] && is(name, name_len, names[i]))
            s->headers[i] = cr_strndup(text, len);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t len, uint8_t flags, void *context) {
    cr_h2_stream *s =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)context;
    if (!s)
        return 0;
    s->header_bytes += name_len + len + 32;
    if (s->header_bytes <= CR_H2_MAX_HEADER_BYTES)
        keep_header(s, name, name_len, value, len);
    return 0;
}

static void take_headers(cr_h2_stream *s) {
    const char *type = s->headers[CR_H2_CONTENT_TYPE];
    const char *coding = s->headers[CR_H2_GRPC_ENCODING];
    if (s->header_bytes > CR_H2_MAX_HEADER_BYTES) {
        char message[80];
        snprintf(message, sizeof message,
                 "the headers have more than %d bytes: send fewer",
                 CR_H2_MAX_HEADER_BYTES);
        s->http_status = 431;
        refuse(s, CR_REFUSAL_SIZE, message);
    } else if (strcmp(s->method, "POST") != 0) {
        s->http_status = 405;
        refuse(s, CR_REFUSAL_METHOD, "gRPC is POST");
    } else if (!type || strncmp(type, "application/grpc", 16) != 0 ||
               (type[16] && !strchr(";+", type[16]))) {
        s->http_status = 415;
        refuse(s, CR_REFUSAL_MEDIA,
               "this port speaks gRPC: Content-Type must be application/grpc");
    } else if (coding && strcmp(coding, "identity") != 0) {
        refuse(s, CR_REFUSAL_METHOD,
               "compressed messages are not taken: send grpc-encoding "
               "identity");
    } else {
        s->h2->app.begin(s->h2->app.context, s);
        if (s->answered)
            respond(s);
    }
}

static void take_prefix(cr_h2_stream *s) {
    char message[160];
    cr_grpc_prefix prefix = cr_grpc_read_prefix(s->prefix);
    uint32_t most = s->h2->settings->max_body_bytes;
    s->announced_bytes = prefix.len;
    if (prefix.compressed) {
        refuse(s,
               prefix.compressed == 1 ? CR_REFUSAL_METHOD
                                      : CR_REFUSAL_MALFORMED,
               "compressed messages are not taken: send grpc-encoding "
               "identity");
        return;
    }
    if (prefix.len > most) {
        snprintf(message, sizeof message,
                 "the message has %u bytes, at most %u are taken: send fewer "
                 "documents or raise max_body_bytes",
                 prefix.len, most);
        refuse(s, CR_REFUSAL_SIZE, message);
        return;
    }
}

/* As they come: who announces much and sends nothing keeps nobody out. */
static bool hold(cr_h2_stream *s, size_t bytes) {
    char message[160];
    s->held_bytes += bytes;
    if (s->h2->app.hold(s->h2->app.context, bytes))
        return true;
    snprintf(message, sizeof message,
             "Model is overloaded: requests hold over max_pending_bytes "
             "(%u); try again later",
             s->h2->settings->max_pending_bytes);
    refuse(s, CR_REFUSAL_OVERLOADED, message);
    return false;
}

static void take_bytes(cr_h2_stream *s, const uint8_t *bytes, size_t len) {
    while (len && s->n_prefix < CR_GRPC_PREFIX_BYTES) {
        s->prefix[s->n_prefix++] = *bytes++;
        len--;
        if (s->n_prefix == CR_GRPC_PREFIX_BYTES)
            take_prefix(s);
    }
    if (!len || s->answered)
        return;
    if (len > s->announced_bytes - s->message.len)
        refuse(s, CR_REFUSAL_MALFORMED,
               "there is more than the one message of a unary call");
    else if (hold(s, len) &&
             cr_buf_append(&s->message, bytes, len, NULL) != CR_OK)
        refuse(s, CR_REFUSAL_UNREADY, "no memory for a message");
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id,
                   const uint8_t *bytes, size_t len, void *context) {
    cr_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)flags;
    (void)context;
    if (s && !s->answered)
        take_bytes(s, bytes, len);
    return 0;
}

static void receive(cr_h2_stream *s) {
    cr_h2 *h2 = s->h2;
    s->ended = true;
    if (s->answered)
        return;
    if (s->n_prefix < CR_GRPC_PREFIX_BYTES ||
        s->message.len < s->announced_bytes) {
        refuse(s, CR_REFUSAL_MALFORMED,
               "the message ends before its length says");
        return;
    }
    s->received_ns = cr_now_ns();
    s->accepted = s->busy = true;
    atomic_fetch_add(&h2->n_accepted, 1);
    cr_metrics_move(h2->metrics, CR_GAUGE_IN_FLIGHT, 1);
    if (s->message.len > INGEST_BYTES) {
        cr_h2_ingest(h2, s);
    } else if (!h2->app.receive(h2->app.context, s)) {
        s->busy = false;
        respond(s);
    }
}

/* ---- What costs its sender nothing -------------------------------------- */

static bool pour(cr_h2_bucket *bucket, double most, double per_second) {
    int64_t now = cr_now_ns();
    bucket->level -= (double)(now - bucket->since_ns) * 1e-9 * per_second;
    bucket->since_ns = now;
    bucket->level = bucket->level < 0 ? 1 : bucket->level + 1;
    return bucket->level <= most;
}

static bool is_too_often(cr_h2_conn *conn, const nghttp2_frame *frame) {
    switch (frame->hd.type) {
    case NGHTTP2_RST_STREAM:
        return !pour(&conn->resets, CR_H2_RESET_BURST, CR_H2_RESETS_PER_SECOND);
    case NGHTTP2_DATA:
        if (frame->hd.length || frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            return false;
        break;
    case NGHTTP2_PING:
    case NGHTTP2_SETTINGS:
    case NGHTTP2_PRIORITY:
        break;
    default:
        return false;
    }
    return !pour(&conn->pings, CR_H2_PING_BURST, CR_H2_PINGS_PER_SECOND);
}

/* ---- What nghttp2 says -------------------------------------------------- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame,
                    void *context) {
    cr_h2_conn *conn = context;
    if (is_too_often(conn, frame)) {
        nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
        return 0;
    }
    if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK &&
        conn->phase == CR_H2_NOTICED)
        cr_h2_conn_end(conn);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    cr_h2_stream *s =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS &&
        frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        take_headers(s);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        receive(s);
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code,
                    void *context) {
    cr_h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
    (void)code;
    (void)context;
    if (s)
        detach(s);
    return 0;
}

/* Answered before the request was all there: once the answer is out, the rest
 * is not wanted. Earlier, it would take the answer with it. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame,
                   void *context) {
    (void)context;
    if (frame->hd.type != NGHTTP2_HEADERS ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    const cr_h2_stream *s =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s && !s->ended)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id,
                                  NGHTTP2_NO_ERROR);
    return 0;
}

cr_status cr_h2_conn_prepare(cr_h2 *h2, cr_error *error) {
    if (nghttp2_session_callbacks_new(&h2->callbacks) != 0 ||
        nghttp2_option_new(&h2->options) != 0)
        return cr_fail_memory(error, 1, "an HTTP/2 server");
    nghttp2_session_callbacks *c = h2->callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(c,
                                                            on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
#ifdef CR_HAS_NGHTTP2_RESET_LIMIT
    nghttp2_option_set_stream_reset_rate_limit(h2->options, CR_H2_RESET_BURST,
                                               CR_H2_RESETS_PER_SECOND);
#endif
    return CR_OK;
}

static void *take(size_t bytes, void *context) {
    (void)context;
    return cr_alloc(bytes);
}

static void *take_zeroed(size_t n, size_t bytes, void *context) {
    (void)context;
    return cr_calloc(n, bytes);
}

static void *take_more(void *block, size_t bytes, void *context) {
    (void)context;
    return cr_realloc(block, bytes);
}

static void give_back(void *block, void *context) {
    (void)context;
    cr_free(block);
}

bool cr_h2_conn_begin(cr_h2_conn *conn) {
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, CR_H2_MAX_STREAMS},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, CR_H2_MAX_HEADER_BYTES}};
    nghttp2_mem mem = {.malloc = take,
                       .free = give_back,
                       .calloc = take_zeroed,
                       .realloc = take_more};
    return nghttp2_session_server_new3(&conn->session, conn->h2->callbacks,
                                       conn, conn->h2->options, &mem) == 0 &&
           nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings,
                                   sizeof settings / sizeof *settings) == 0 &&
           nghttp2_session_set_local_window_size(conn->session,
                                                 NGHTTP2_FLAG_NONE, 0,
                                                 CONNECTION_WINDOW_BYTES) == 0;
}

bool cr_h2_conn_read(cr_h2_conn *conn, const char *bytes, size_t len) {
    return nghttp2_session_mem_recv(conn->session, (const uint8_t *)bytes,
                                    len) >= 0 &&
           !conn->broken &&
           nghttp2_session_get_outbound_queue_size(conn->session) <=
               MAX_OUTBOUND_FRAMES;
}

ssize_t cr_h2_conn_fill(cr_h2_conn *conn) {
    size_t n = 0;
    while (n < CR_H2_WRITE_BYTES) {
        const uint8_t *bytes;
        ssize_t len = nghttp2_session_mem_send(conn->session, &bytes);
        if (len < 0 || conn->broken)
            return -1;
        if (len == 0)
            break;
        if ((size_t)len >
            sizeof conn->out - n) /* no frame of ours is so long */
            return -1;
        memcpy(conn->out + n, bytes, (size_t)len);
        n += (size_t)len;
    }
    return (ssize_t)n;
}

bool cr_h2_conn_is_over(const cr_h2_conn *conn) {
    return !nghttp2_session_want_read(conn->session) &&
           !nghttp2_session_want_write(conn->session);
}

/* Streams that are on their way meanwhile are still served: the last one is
 * named when the peer has read this, which its answer to the ping says. */
void cr_h2_conn_notice(cr_h2_conn *conn) {
    if (conn->phase != CR_H2_OPEN)
        return;
    conn->phase = CR_H2_NOTICED;
    conn->since_ns = cr_now_ns();
    conn->broken |=
        nghttp2_submit_shutdown_notice(conn->session) != 0 ||
        nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL) != 0;
}

void cr_h2_conn_end(cr_h2_conn *conn) {
    if (conn->phase >= CR_H2_ENDING)
        return;
    conn->phase = CR_H2_ENDING;
    conn->since_ns = cr_now_ns();
    conn->broken |= nghttp2_submit_goaway(
                        conn->session, NGHTTP2_FLAG_NONE,
                        nghttp2_session_get_last_proc_stream_id(conn->session),
                        NGHTTP2_NO_ERROR, NULL, 0) != 0;
}

void cr_h2_conn_sweep(cr_h2_conn *conn, int64_t now) {
    const cr_settings *settings = conn->h2->settings;
    int64_t receive_ns = (int64_t)settings->receive_timeout_ms * 1000000;
    int64_t idle_ns = (int64_t)settings->idle_timeout_s * 1000000000;
    bool give_up = conn->h2->quiet && conn->phase == CR_H2_ENDING &&
                   now - conn->since_ns > (int64_t)HALF_SENT_MS * 1000000;
    /* `ended` first: `answered` of what has ended may be another thread's. */
    for (cr_h2_stream *s = conn->streams; s; s = s->behind) {
        if (!s->ended && !s->answered && give_up) {
            refuse(s, CR_REFUSAL_UNREADY, "the server is stopping");
        } else if (!s->ended && !s->answered &&
                   now - s->begun_ns > receive_ns) {
            cr_metrics_count(conn->h2->metrics, CR_COUNT_SWEPT, 1);
            refuse(s, CR_REFUSAL_DEADLINE,
                   "the message took longer than receive_timeout_ms");
        } else if (s->responded && now - s->moved_ns > idle_ns) {
            nghttp2_submit_rst_stream(conn->session, NGHTTP2_FLAG_NONE, s->id,
                                      NGHTTP2_CANCEL);
        }
    }
}

void cr_h2_conn_fini(cr_h2_conn *conn) {
    while (conn->streams)
        detach(conn->streams);
    nghttp2_session_del(conn->session);
    conn->session = NULL;
}
