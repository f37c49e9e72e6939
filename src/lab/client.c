/* Client: a request is one write where the socket takes it. */
#include "lab/client.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_BYTES = 65536, READ_BYTES = 65536, MAX_BODY_BYTES = 64 << 20 };

cr_status cr_client_init(cr_client *c, const char *url, cr_error *error) {
    memset(c, 0, sizeof *c);
    c->fd = -1;
    cr_buf_init(&c->out, MAX_BODY_BYTES + HEAD_BYTES);
    cr_buf_init(&c->in, CR_CLIENT_ANSWER_BYTES + HEAD_BYTES);
    cr_buf_init(&c->body, CR_CLIENT_ANSWER_BYTES);
    return cr_dial_parse(&c->to, url, error);
}

static void hang_up(cr_client *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void cr_client_fini(cr_client *c) {
    hang_up(c);
    cr_buf_fini(&c->out);
    cr_buf_fini(&c->in);
    cr_buf_fini(&c->body);
}

/* ---- Asking ---------------------------------------------------------------
 */

static cr_status send_all(cr_client *c, cr_error *error) {
    for (size_t at = 0; at < c->out.len;) {
        ssize_t n =
            send(c->fd, c->out.data + at, c->out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cr_dial_fail("nothing could be sent", errno, error);
        at += (size_t)n;
    }
    return CR_OK;
}

/* One more piece of the answer; *ended where the server closed. */
static cr_status receive(cr_client *c, bool *ended, cr_error *error) {
    char bytes[READ_BYTES];
    ssize_t n;
    do
        n = recv(c->fd, bytes, sizeof bytes, 0);
    while (n < 0 && errno == EINTR);
    *ended = n == 0;
    if (n < 0)
        return cr_dial_fail("no answer", errno, error);
    return cr_buf_append(&c->in, bytes, (size_t)n, error);
}

/* ---- Reading --------------------------------------------------------------
 */

typedef struct head {
    int status;
    size_t bytes; /* of status line, headers and the empty line */
    bool has_length, chunked, closes;
    size_t length;
} head;

static bool is_header(const char *line, const char *name, const char **value) {
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    for (*value = line + n + 1; **value == ' ' || **value == '\t';)
        (*value)++;
    return true;
}

static cr_status read_head(const cr_client *c, const char *end, head *h,
                           cr_error *error) {
    const char *line = c->in.data, *value;
    *h = (head){.bytes = (size_t)(end - c->in.data) + 4};
    if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12)
        return cr_fail(error, CR_ERR_INPUT, "the answer is not HTTP/1");
    h->status = (int)strtol(line + 9, NULL, 10);
    h->closes = line[7] == '0';
    while ((line = strstr(line, "\r\n")) && line < end) {
        line += 2;
        if (is_header(line, "Content-Length", &value)) {
            h->has_length = true;
            h->length = strtoull(value, NULL, 10);
        } else if (is_header(line, "Transfer-Encoding", &value)) {
            h->chunked = strncasecmp(value, "chunked", 7) == 0;
        } else if (is_header(line, "Connection", &value)) {
            h->closes = strncasecmp(value, "close", 5) == 0;
        }
    }
    return CR_OK;
}

/* Takes whole chunks off the input; *done after the last one. */
static cr_status read_chunks(cr_client *c, size_t *at, bool *done,
                             cr_error *error) {
    for (;;) {
        const char *line = c->in.data + *at;
        const char *end = strstr(line, "\r\n");
        char *digits;
        if (!end)
            return CR_OK;
        unsigned long long n = strtoull(line, &digits, 16);
        if (digits == line || n > CR_CLIENT_ANSWER_BYTES)
            return cr_fail(error, CR_ERR_INPUT, "the answer has a bad chunk");
        size_t begin = (size_t)(end - c->in.data) + 2;
        if (c->in.len < begin + n + 2)
            return CR_OK;
        cr_status status =
            cr_buf_append(&c->body, c->in.data + begin, (size_t)n, error);
        if (status != CR_OK)
            return status;
        *at = begin + (size_t)n + 2;
        if (n == 0) {
            *done = true;
            return CR_OK;
        }
    }
}

static cr_status read_body(cr_client *c, const head *h, cr_answer *answer,
                           cr_error *error) {
    cr_status status = CR_OK;
    bool ended = false, done = false;
    size_t at = h->bytes;
    if (h->has_length && h->length > CR_CLIENT_ANSWER_BYTES)
        return cr_fail(error, CR_ERR_INPUT,
                       "the answer has %zu bytes, at most %d are read",
                       h->length, CR_CLIENT_ANSWER_BYTES);
    while (status == CR_OK) {
        if (h->chunked)
            status = read_chunks(c, &at, &done, error);
        else if (h->has_length)
            done = c->in.len >= h->bytes + h->length;
        else
            done = ended || h->status == 204;
        if (status != CR_OK || done)
            break;
        if (ended)
            return cr_fail(error, CR_ERR_IO,
                           "the server hung up in its answer");
        status = receive(c, &ended, error);
    }
    if (status != CR_OK)
        return status;
    if (h->chunked)
        answer->body = (cr_text){c->body.data, c->body.len};
    else
        answer->body =
            (cr_text){c->in.data + h->bytes,
                      h->has_length ? h->length : c->in.len - h->bytes};
    return CR_OK;
}

/* *untouched: the connection ended before any byte of an answer. */
static cr_status ask_once(cr_client *c, cr_answer *answer, bool *untouched,
                          cr_error *error) {
    head h = {0};
    const char *end = NULL;
    *untouched = true;
    c->in.len = c->body.len = 0;
    answer->sent_ns = cr_now_ns();
    cr_status status = send_all(c, error);
    while (status == CR_OK && !end) {
        bool ended;
        status = receive(c, &ended, error);
        if (status == CR_OK && ended)
            status = cr_fail(error, CR_ERR_IO, "the server hung up");
        if (status != CR_OK)
            break;
        *untouched = false;
        end = strstr(c->in.data, "\r\n\r\n");
        if (!end && c->in.len > HEAD_BYTES)
            status = cr_fail(error, CR_ERR_INPUT,
                             "the answer's head is over "
                             "%d bytes",
                             HEAD_BYTES);
    }
    if (status == CR_OK)
        status = read_head(c, end, &h, error);
    if (status == CR_OK)
        status = read_body(c, &h, answer, error);
    answer->answered_ns = cr_now_ns();
    answer->status = h.status;
    if (status != CR_OK || h.closes || (!h.chunked && !h.has_length))
        hang_up(c);
    return status;
}

cr_status cr_client_ask(cr_client *c, const char *method, const char *path,
                        cr_text body, cr_answer *answer, cr_error *error) {
    bool was_open = c->fd >= 0, untouched;
    memset(answer, 0, sizeof *answer);
    c->out.len = 0;
    cr_status status = cr_buf_printf(
        &c->out, error,
        "%s %s%s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n\r\n",
        method, c->to.base, path, c->to.host, c->to.port, body.len);
    if (status == CR_OK && body.len)
        status = cr_buf_append(&c->out, body.data, body.len, error);
    if (status == CR_OK && !was_open)
        status = cr_dial_connect(&c->to, &c->fd, error);
    if (status != CR_OK)
        return status;
    status = ask_once(c, answer, &untouched, error);
    if (status == CR_ERR_IO && was_open && untouched) {
        c->n_resent++;
        status = cr_dial_connect(&c->to, &c->fd, error);
        if (status == CR_OK)
            status = ask_once(c, answer, &untouched, error);
    }
    return status;
}
