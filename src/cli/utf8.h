/* UTF-8 for the eye: where the next character ends and how wide it is.
 *
 * For terminals and JSON output only; what a model reads is text/'s matter.
 * Threads: pure. */
#ifndef CR_CLI_UTF8_H
#define CR_CLI_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { CR_REPLACEMENT = 0xfffd };

/* The code point at s[0..len), len > 0, and in *used its bytes. Where these
 * are not UTF-8: CR_REPLACEMENT and the bytes of the longest ill-formed part,
 * at least 1. */
uint32_t cr_utf8_next(const char *s, size_t len, size_t *used);

/* Columns of a terminal: 0 for combining marks and what joins, 2 for East
 * Asian wide characters and emoji, else 1. */
size_t cr_utf8_width(uint32_t code_point);

/* Of s[0..len) the most bytes that fit in `columns`, whole characters only;
 * *width is what they take. Control characters count as 1. */
size_t cr_utf8_fit(const char *s, size_t len, size_t columns, size_t *width);

#endif
