/* gRPC client: nghttp2 frames what a blocking socket carries. */
#include "lab/grpc_client.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "lab/dial.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PREFIX_BYTES = 5, /* compressed or not, and the message's length */
    READ_BYTES = 65536,
    WINDOW_BYTES = 16 << 20, /* an answer never waits for our consent */
    AUTHORITY_BYTES = CR_DIAL_HOST_BYTES + 16
};

struct cr_grpc_client {
    cr_dial to;
    char authority[AUTHORITY_BYTES];
    int fd; /* -1: not connected */
    size_t n_resent;
    nghttp2_session *session;
    int send_errno;
    bool leaving; /* the server takes no more calls here */
    /* The call. */
    int32_t stream;
    uint8_t prefix[PREFIX_BYTES];
    cr_text message;
    size_t n_sent; /* of prefix and message */
    bool begun, ended, has_code;
    uint32_t reset; /* code of HTTP/2 */
    cr_grpc_answer *answer;
    cr_buf in;
};

/* ---- What nghttp2 asks for ------------------------------------------------
 */

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *bytes,
                          size_t len, int flags, void *context) {
    cr_grpc_client *c = context;
    ssize_t n;
    (void)session;
    (void)flags;
    do
        n = send(c->fd, bytes, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    c->send_errno = errno;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t read_message(nghttp2_session *session, int32_t stream,
                            uint8_t *out, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *context) {
    cr_grpc_client *c = context;
    size_t n = 0;
    (void)session;
    (void)stream;
    (void)source;
    while (n < room && c->n_sent < PREFIX_BYTES)
        out[n++] = c->prefix[c->n_sent++];
    if (c->n_sent >= PREFIX_BYTES) {
        size_t at = c->n_sent - PREFIX_BYTES, left = c->message.len - at;
        size_t piece = left < room - n ? left : room - n;
        if (piece)
            memcpy(out + n, c->message.data + at, piece);
        c->n_sent += piece;
        n += piece;
    }
    if (c->n_sent == PREFIX_BYTES + c->message.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int hex(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* grpc-message is percent-encoded. */
static void decode(const uint8_t *text, size_t len,
                   char out[CR_GRPC_REASON_BYTES]) {
    size_t n = 0;
    for (size_t i = 0; i < len && n < CR_GRPC_REASON_BYTES - 1; i++) {
        bool coded = text[i] == '%' && i + 2 < len && hex(text[i + 1]) >= 0 &&
                     hex(text[i + 2]) >= 0;
        out[n++] = coded ? (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]))
                         : (char)text[i];
        i += coded ? 2 : 0;
    }
    out[n] = 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame,
                     const uint8_t *name, size_t name_len, const uint8_t *value,
                     size_t value_len, uint8_t flags, void *context) {
    cr_grpc_client *c = context;
    const char *key = (const char *)name;
    (void)session;
    (void)name_len;
    (void)flags;
    if (frame->hd.stream_id != c->stream)
        return 0;
    c->begun = true;
    if (strcmp(key, ":status") == 0) {
        c->answer->http_status = (int)strtol((const char *)value, NULL, 10);
    } else if (strcmp(key, "grpc-status") == 0) {
        c->answer->code = (int)strtol((const char *)value, NULL, 10);
        c->has_code = true;
    } else if (strcmp(key, "grpc-message") == 0) {
        decode(value, value_len, c->answer->reason);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream,
                   const uint8_t *bytes, size_t len, void *context) {
    cr_grpc_client *c = context;
    (void)session;
    (void)flags;
    if (stream != c->stream)
        return 0;
    return cr_buf_append(&c->in, (const char *)bytes, len, NULL) == CR_OK
               ? 0
               : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_close(nghttp2_session *session, int32_t stream,
                           uint32_t code, void *context) {
    cr_grpc_client *c = context;
    (void)session;
    if (stream == c->stream) {
        c->ended = true;
        c->reset = code;
    }
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame,
                    void *context) {
    cr_grpc_client *c = context;
    (void)session;
    c->leaving = c->leaving || frame->hd.type == NGHTTP2_GOAWAY;
    return 0;
}

/* ---- The connection -------------------------------------------------------
 */

static void hang_up(cr_grpc_client *c) {
    nghttp2_session_del(c->session);
    if (c->fd >= 0)
        close(c->fd);
    c->session = NULL;
    c->fd = -1;
    c->leaving = false;
}

static cr_status begin_session(cr_grpc_client *c, cr_error *error) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES}};
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return cr_fail_memory(error, 1, "a session of HTTP/2");
    nghttp2_session_callbacks_set_send_callback(callbacks, send_bytes);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    int why = nghttp2_session_client_new(&c->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    if (why == 0)
        why = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings,
                                      sizeof settings / sizeof *settings);
    if (why == 0)
        why = nghttp2_session_set_local_window_size(
            c->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
    return why == 0
               ? CR_OK
               : cr_fail_memory(error, WINDOW_BYTES, "a session of HTTP/2");
}

static cr_status connect_anew(cr_grpc_client *c, cr_error *error) {
    hang_up(c);
    cr_status status = cr_dial_connect(&c->to, &c->fd, error);
    if (status == CR_OK)
        status = begin_session(c, error);
    if (status != CR_OK)
        hang_up(c);
    return status;
}

cr_status cr_grpc_client_open(const char *url, cr_grpc_client **client,
                              cr_error *error) {
    cr_grpc_client *c = cr_calloc(1, sizeof *c);
    if (!c)
        return cr_fail_memory(error, sizeof *c, "a client");
    c->fd = -1;
    cr_buf_init(&c->in, CR_GRPC_ANSWER_BYTES + PREFIX_BYTES);
    cr_status status = cr_dial_parse(&c->to, url, error);
    if (status == CR_OK && *c->to.base)
        status = cr_fail(error, CR_ERR_ARGUMENT,
                         "\"%.100s\": a server of gRPC has no path, only "
                         "http://HOST:PORT",
                         url);
    if (status != CR_OK) {
        cr_grpc_client_close(c);
        return status;
    }
    snprintf(c->authority, sizeof c->authority, "%s:%s", c->to.host,
             c->to.port);
    *client = c;
    return CR_OK;
}

void cr_grpc_client_close(cr_grpc_client *c) {
    if (!c)
        return;
    hang_up(c);
    cr_buf_fini(&c->in);
    cr_free(c);
}

/* ---- A call ---------------------------------------------------------------
 */

static nghttp2_nv header(const char *name, const char *value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

static cr_status submit(cr_grpc_client *c, const char *path, cr_text message,
                        cr_grpc_answer *answer, cr_error *error) {
    const nghttp2_nv headers[] = {header(":method", "POST"),
                                  header(":scheme", "http"),
                                  header(":path", path),
                                  header(":authority", c->authority),
                                  header("content-type", "application/grpc"),
                                  header("te", "trailers"),
                                  header("user-agent", "crossrank-bench")};
    nghttp2_data_provider body = {.read_callback = read_message};
    c->message = message;
    c->prefix[0] = 0;
    for (size_t i = 1; i < PREFIX_BYTES; i++)
        c->prefix[i] = (uint8_t)(message.len >> (8 * (PREFIX_BYTES - 1 - i)));
    c->n_sent = c->in.len = 0;
    c->begun = c->ended = c->has_code = false;
    c->answer = answer;
    memset(answer, 0, sizeof *answer);
    c->stream =
        nghttp2_submit_request(c->session, NULL, headers,
                               sizeof headers / sizeof *headers, &body, NULL);
    return c->stream > 0 ? CR_OK
                         : cr_fail(error, CR_ERR_IO, "no call: %s",
                                   nghttp2_strerror(c->stream));
}

/* Sends what there is and waits for one piece more. */
static cr_status move(cr_grpc_client *c, cr_error *error) {
    uint8_t bytes[READ_BYTES];
    ssize_t n;
    int why = nghttp2_session_send(c->session);
    if (why == NGHTTP2_ERR_CALLBACK_FAILURE)
        return cr_dial_fail("nothing could be sent", c->send_errno, error);
    if (why != 0)
        return cr_fail(error, CR_ERR_IO, "nothing could be sent: %s",
                       nghttp2_strerror(why));
    /* With what breaks the protocol nghttp2 has ended the session by now. */
    if (!nghttp2_session_want_read(c->session))
        return cr_fail(error, CR_ERR_INPUT, "the answer is not HTTP/2");
    do
        n = recv(c->fd, bytes, sizeof bytes, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return cr_dial_fail("no answer", errno, error);
    if (n == 0)
        return cr_fail(error, CR_ERR_IO, "the server hung up");
    ssize_t taken = nghttp2_session_mem_recv(c->session, bytes, (size_t)n);
    return taken >= 0
               ? CR_OK
               : cr_fail(error, CR_ERR_INPUT, "the answer is not HTTP/2: %s",
                         nghttp2_strerror((int)taken));
}

static cr_status read_answer(cr_grpc_client *c, cr_error *error) {
    const uint8_t *prefix = (const uint8_t *)c->in.data;
    cr_grpc_answer *a = c->answer;
    if (a->http_status != 200 && c->begun)
        return cr_fail(error, CR_ERR_INPUT, "HTTP %d is no answer of gRPC",
                       a->http_status);
    if (!c->has_code)
        return cr_fail(error, CR_ERR_IO, "the call was broken off: %s",
                       nghttp2_http2_strerror(c->reset));
    if (a->code != 0)
        return CR_OK;
    size_t len = 0;
    if (c->in.len >= PREFIX_BYTES)
        for (size_t i = 1; i < PREFIX_BYTES; i++)
            len = len << 8 | prefix[i];
    if (c->in.len < PREFIX_BYTES || prefix[0] != 0 ||
        len != c->in.len - PREFIX_BYTES)
        return cr_fail(error, CR_ERR_INPUT,
                       "the answer is not one message as it was announced");
    a->message = (cr_text){c->in.data + PREFIX_BYTES, len};
    return CR_OK;
}

/* *untouched: the server cannot have begun with it. */
static cr_status try_call(cr_grpc_client *c, const char *path, cr_text message,
                          cr_grpc_answer *answer, bool *untouched,
                          cr_error *error) {
    cr_status status = submit(c, path, message, answer, error);
    while (status == CR_OK && !c->ended)
        status = move(c, error);
    answer->answered_ns = cr_now_ns();
    *untouched = !c->begun && (!c->ended || c->reset == NGHTTP2_REFUSED_STREAM);
    if (status == CR_OK)
        status = read_answer(c, error);
    if (status != CR_OK || c->leaving)
        hang_up(c);
    return status;
}

cr_status cr_grpc_client_call(cr_grpc_client *c, const char *path,
                              cr_text message, cr_grpc_answer *answer,
                              cr_error *error) {
    bool was_open = c->fd >= 0, untouched = false;
    cr_status status = was_open ? CR_OK : connect_anew(c, error);
    memset(answer, 0, sizeof *answer);
    if (status == CR_OK)
        status = try_call(c, path, message, answer, &untouched, error);
    if (status != CR_ERR_IO || !was_open || !untouched)
        return status;
    c->n_resent++;
    status = connect_anew(c, error);
    if (status == CR_OK)
        status = try_call(c, path, message, answer, &untouched, error);
    return status;
}

size_t cr_grpc_client_resent(const cr_grpc_client *c) { return c->n_resent; }
