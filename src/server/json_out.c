/* JSON text: escaping by runs, numbers by trying digits. */
#include "server/json_out.h"

#include "text/utf8.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More than any answer has; bodies are bounded, so this is never met. */
enum { MAX_BYTES = 1 << 30, MAX_PIECE_BYTES = 512 };

void cr_json_out_init(cr_json_out *out) {
    cr_buf_init(&out->text, MAX_BYTES);
    out->failed = false;
}

void cr_json_out_fini(cr_json_out *out) { cr_buf_fini(&out->text); }

static void put(cr_json_out *out, const char *bytes, size_t len) {
    if (!out->failed)
        out->failed = cr_buf_append(&out->text, bytes, len, NULL) != CR_OK;
}

void cr_json_put(cr_json_out *out, const char *format, ...) {
    char piece[MAX_PIECE_BYTES];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof piece)
        out->failed = true;
    else
        put(out, piece, (size_t)len);
}

static void put_escaped(cr_json_out *out, uint8_t c) {
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = c ? strchr(plain, c) : NULL;
    if (found)
        cr_json_put(out, "\\%c", letters[found - plain]);
    else
        cr_json_put(out, "\\u%04x", c);
}

void cr_json_put_text(cr_json_out *out, cr_text text) {
    const uint8_t *p = (const uint8_t *)text.data, *end = p + text.len;
    const uint8_t *run = p; /* bytes that go out as they are */
    put(out, "\"", 1);
    while (p < end) {
        uint32_t n = 1;
        bool escape = *p < 0x20 || *p == '"' || *p == '\\' || *p == 0x7f;
        bool broken = *p >= 0x80 && cr_utf8_decode(p, end, &n) == 0xFFFD &&
                      !(n == 3 && p[0] == 0xEF && p[1] == 0xBF);
        if (escape || broken) {
            put(out, (const char *)run, (size_t)(p - run));
            if (escape)
                put_escaped(out, *p);
            else
                put(out, "\xEF\xBF\xBD", 3);
            run = p + n;
        }
        p += n;
    }
    put(out, (const char *)run, (size_t)(end - run));
    put(out, "\"", 1);
}

void cr_json_put_string(cr_json_out *out, const char *string) {
    cr_json_put_text(out, (cr_text){string, strlen(string)});
}

static void put_shortest(cr_json_out *out, double value, int digits,
                         int max_digits, bool as_float) {
    char text[40];
    if (!isfinite(value)) {
        out->failed = true;
        return;
    }
    for (;; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        double back = strtod(text, NULL);
        bool same = as_float ? !((float)back < (float)value) &&
                                   !((float)back > (float)value)
                             : !(back < value) && !(back > value);
        if (same || digits == max_digits)
            break;
    }
    put(out, text, strlen(text));
}

void cr_json_put_number(cr_json_out *out, double value) {
    put_shortest(out, value, 9, 17, false);
}
