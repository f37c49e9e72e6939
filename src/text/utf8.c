/* UTF-8: which second byte may follow which first one, and the rest follows. */
#include "text/utf8.h"

#include "text/unicode.h"

#include <string.h>

/* How many bytes a sequence with this first byte has, and which second byte
 * it allows; 0 where no sequence begins so. */
typedef struct lead {
    uint32_t n_bytes;
    uint8_t second_min;
    uint8_t second_max;
} lead;

static lead lead_of(uint8_t byte) {
    if (byte < 0xC2 || byte > 0xF4)
        return (lead){0, 0, 0};
    if (byte < 0xE0)
        return (lead){2, 0x80, 0xBF};
    if (byte < 0xF0) /* no overlong forms, no surrogates */
        return (lead){3, byte == 0xE0 ? 0xA0 : 0x80,
                      byte == 0xED ? 0x9F : 0xBF};
    return (lead){4, byte == 0xF0 ? 0x90 : 0x80, byte == 0xF4 ? 0x8F : 0xBF};
}

uint32_t cr_utf8_decode(const uint8_t *p, const uint8_t *end,
                        uint32_t *n_bytes) {
    *n_bytes = 1;
    if (p[0] < 0x80)
        return p[0];
    lead l = lead_of(p[0]);
    if (!l.n_bytes)
        return CR_UNICODE_REPLACEMENT;
    uint32_t c = p[0] & (0x7Fu >> l.n_bytes);
    for (uint32_t i = 1; i < l.n_bytes; i++) {
        uint8_t min = i == 1 ? l.second_min : 0x80;
        uint8_t max = i == 1 ? l.second_max : 0xBF;
        if (p + i == end || p[i] < min || p[i] > max) {
            *n_bytes = i;
            return CR_UNICODE_REPLACEMENT;
        }
        c = c << 6 | (p[i] & 0x3Fu);
    }
    *n_bytes = l.n_bytes;
    return c;
}

uint32_t cr_utf8_encode(uint32_t c, uint8_t out[CR_UTF8_MAX_BYTES]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    uint32_t n_bytes = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (uint32_t i = n_bytes - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3F));
    out[0] = (uint8_t)((0xF00u >> n_bytes & 0xF0) | c);
    return n_bytes;
}

bool cr_utf8_is_valid(const uint8_t *p, size_t len) {
    static const uint8_t replacement[] = {0xEF, 0xBF, 0xBD};
    if (len == 0) /* p may be NULL then */
        return true;
    const uint8_t *end = p + len;
    while (p < end) {
        uint32_t n_bytes;
        if (cr_utf8_decode(p, end, &n_bytes) == CR_UNICODE_REPLACEMENT &&
            !(n_bytes == 3 && memcmp(p, replacement, 3) == 0))
            return false;
        p += n_bytes;
    }
    return true;
}
