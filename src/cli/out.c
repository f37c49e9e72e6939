/* Output: a buffer and one place that calls write(2). */
#include "cli/out.h"

#include "cli/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cr_out_init(cr_out *out, int fd, const char *name) {
    out->fd = fd;
    out->name = name;
    out->failure = 0;
    out->n = 0;
}

static void push(cr_out *out) {
    size_t at = 0;
    while (at < out->n && !out->failure) {
        ssize_t n = write(out->fd, out->buf + at, out->n - at);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            out->failure = errno;
    }
    out->n = 0;
}

void cr_out_write(cr_out *out, const char *bytes, size_t len) {
    while (len > 0 && !out->failure) {
        size_t room = sizeof out->buf - out->n;
        size_t n = len < room ? len : room;
        memcpy(out->buf + out->n, bytes, n);
        out->n += n;
        bytes += n;
        len -= n;
        if (out->n == sizeof out->buf)
            push(out);
    }
}

void cr_out_text(cr_out *out, const char *text) {
    cr_out_write(out, text, strlen(text));
}

void cr_out_printf(cr_out *out, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (len > 0)
        cr_out_write(out, text,
                     (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
}

cr_status cr_out_flush(cr_out *out, cr_error *error) {
    push(out);
    if (out->failure)
        return cr_fail(error, CR_ERR_IO, "cannot write to %s: %s", out->name,
                       strerror(out->failure));
    return CR_OK;
}

/* What stands for one byte in a JSON string, NULL: itself. */
static const char *json_escape(uint8_t byte, char text[8]) {
    switch (byte) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        if (byte >= 0x20)
            return NULL;
        snprintf(text, 8, "\\u%04x", byte);
        return text;
    }
}

void cr_out_json(cr_out *out, cr_text text) {
    char escape_text[8];
    size_t at = 0, used;
    cr_out_write(out, "\"", 1);
    while (at < text.len) {
        const char *s = text.data + at;
        uint32_t code = cr_utf8_next(s, text.len - at, &used);
        const char *escape =
            used == 1 ? json_escape((uint8_t)s[0], escape_text) : NULL;
        if (escape)
            cr_out_text(out, escape);
        else if (code == CR_REPLACEMENT)
            cr_out_text(out, "\xef\xbf\xbd");
        else
            cr_out_write(out, s, used);
        at += used;
    }
    cr_out_write(out, "\"", 1);
}

void cr_out_column(cr_out *out, cr_text text) {
    size_t begin = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte >= 0x20 && byte != 0x7f)
            continue;
        cr_out_write(out, text.data + begin, i - begin);
        cr_out_write(out, " ", 1);
        begin = i + 1;
    }
    cr_out_write(out, text.data + begin, text.len - begin);
}
