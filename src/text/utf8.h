/* UTF-8 as Python reads it with errors="replace".
 *
 * Decoding never fails: each maximal ill-formed part (Unicode, chapter 3,
 * "U+FFFD substitution of maximal subparts") is one U+FFFD. Overlong forms,
 * surrogates and everything above U+10FFFF are ill-formed.
 *
 * Threads: pure functions. */
#ifndef CR_TEXT_UTF8_H
#define CR_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CR_UTF8_MAX_BYTES = 4 };

/* The code point at p (p < end) and in *n_bytes how many bytes it took. */
uint32_t cr_utf8_decode(const uint8_t *p, const uint8_t *end,
                        uint32_t *n_bytes);

/* Writes a code point that is no surrogate; returns the bytes written. */
uint32_t cr_utf8_encode(uint32_t code_point, uint8_t out[CR_UTF8_MAX_BYTES]);

/* Whether all of the text is well-formed. */
bool cr_utf8_is_valid(const uint8_t *p, size_t len);

/* A byte that begins no code point. */
static inline bool cr_utf8_is_continuation(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

#endif
