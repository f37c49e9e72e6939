/* UTF-8: every code point there and back, and what is ill-formed, where
 * Python's errors="replace" puts its U+FFFD. */
#include "text/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_code_point_comes_back(void **state) {
    (void)state;
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        uint8_t bytes[CR_UTF8_MAX_BYTES];
        uint32_t n_bytes;
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        uint32_t n = cr_utf8_encode(c, bytes);
        if (cr_utf8_decode(bytes, bytes + n, &n_bytes) != c || n_bytes != n ||
            !cr_utf8_is_valid(bytes, n))
            fail_msg("U+%04X", (unsigned)c);
        for (uint32_t i = 1; i < n; i++) /* cut short: one part, all of it */
            if (cr_utf8_decode(bytes, bytes + i, &n_bytes) != 0xFFFD ||
                n_bytes != i || cr_utf8_is_valid(bytes, i))
                fail_msg("U+%04X cut to %u", (unsigned)c, (unsigned)i);
    }
}

/* Bytes, and how long each of the parts is that they are read as; '!' for one
 * that is ill-formed. As CPython 3.11 decodes them. */
static void ill_formed_parts_are_maximal(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        const char *parts;
    } CASES[] = {
        {"\x80", "1!"},
        {"\xBF\x80", "1!1!"},
        {"\xC0\x80", "1!1!"},
        {"\xC1\xBF", "1!1!"},
        {"\xC2", "1!"},
        {"\xC2\x41", "1!1"},
        {"\xC3\xA9", "2"},
        {"\xE0\x80\x80", "1!1!1!"},
        {"\xE0\x9F\x80", "1!1!1!"},
        {"\xE0\xA0", "2!"},
        {"\xE2\x82\x41", "2!1"},
        {"\xE2\x82\xE2\x82\xAC", "2!3"},
        {"\xED\x9F\xBF", "3"},
        {"\xED\xA0\x80", "1!1!1!"},
        {"\xEF\xBF\xBD", "3"},
        {"\xF0\x80\x80\x80", "1!1!1!1!"},
        {"\xF0\x90\x80", "3!"},
        {"\xF0\x9F\x98\x41", "3!1"},
        {"\xF0\x9F\x98\x80", "4"},
        {"\xF1\xBF\xBD\x41", "3!1"},
        {"\xF4\x8F\xBF\xBF", "4"},
        {"\xF4\x90\x80\x80", "1!1!1!1!"},
        {"\xF5\x80", "1!1!"},
        {"\xFF\xFE", "1!1!"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const uint8_t *p = (const uint8_t *)CASES[i].bytes;
        const uint8_t *end = p + strlen(CASES[i].bytes);
        char parts[32];
        size_t n = 0;
        bool valid = true;
        while (p < end) {
            uint32_t n_bytes;
            uint32_t c = cr_utf8_decode(p, end, &n_bytes);
            parts[n++] = (char)('0' + n_bytes);
            if (c == 0xFFFD && memcmp(p, "\xEF\xBF\xBD", n_bytes) != 0) {
                parts[n++] = '!';
                valid = false;
            }
            p += n_bytes;
        }
        parts[n] = '\0';
        assert_string_equal(parts, CASES[i].parts);
        assert_int_equal(cr_utf8_is_valid((const uint8_t *)CASES[i].bytes,
                                          strlen(CASES[i].bytes)),
                         valid);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(ill_formed_parts_are_maximal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
