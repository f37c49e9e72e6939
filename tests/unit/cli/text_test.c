/* Text that leaves the program: UTF-8, widths, JSON, columns, failures. */
#include "cli/out.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static cr_text text_of(const char *s) { return (cr_text){s, strlen(s)}; }

/* What an output has gathered so far. */
static void expect_out(cr_out *out, const char *expected) {
    assert_int_equal(out->n, strlen(expected));
    assert_memory_equal(out->buf, expected, out->n);
    out->n = 0;
}

static void test_utf8(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t code;
        size_t used;
    } CASES[] = {
        {"a", 'a', 1},
        {"\xc3\xa9", 0xe9, 2},
        {"\xe2\x82\xac", 0x20ac, 3},
        {"\xf0\x9f\x98\x80", 0x1f600, 4},
        {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
        {"\xc0\x80", CR_REPLACEMENT, 1},     /* overlong */
        {"\xe0\x80\x80", CR_REPLACEMENT, 1}, /* overlong */
        {"\xed\xa0\x80", CR_REPLACEMENT, 1}, /* a surrogate */
        {"\xf4\x90\x80\x80", CR_REPLACEMENT, 1},
        {"\xf8", CR_REPLACEMENT, 1},
        {"\x80", CR_REPLACEMENT, 1},
        {"\xe2\x82", CR_REPLACEMENT, 2}, /* cut off */
        {"\xe2\x82x", CR_REPLACEMENT, 2},
        {"\xf0\x9f\x98", CR_REPLACEMENT, 3},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t used;
        uint32_t code =
            cr_utf8_next(CASES[i].bytes, strlen(CASES[i].bytes), &used);
        assert_int_equal(code, CASES[i].code);
        assert_int_equal(used, CASES[i].used);
    }
}

static void test_width(void **state) {
    (void)state;
    static const struct {
        uint32_t code;
        size_t width;
    } CASES[] = {{'a', 1},     {0xe9, 1},   {0x301, 0},   {0x4e2d, 2},
                 {0xac00, 2},  {0x200d, 0}, {0x1f600, 2}, {0x20ac, 1},
                 {0xff01, 2},  {0xff61, 1}, {0xfffd, 1},  {0x10ffff, 1},
                 {0xe0100, 0}, {0x2ff, 1},  {0x1f1e6, 1}, {0x3040, 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_int_equal(cr_utf8_width(CASES[i].code), CASES[i].width);
    size_t width;
    const char *chinese = "\xe4\xb8\xad\xe6\x96\x87";
    assert_int_equal(cr_utf8_fit(chinese, 6, 3, &width), 3);
    assert_int_equal(width, 2);
    assert_int_equal(cr_utf8_fit(chinese, 6, 4, &width), 6);
    assert_int_equal(cr_utf8_fit("e\xcc\x81x", 4, 1, &width), 3);
}

static void test_terminal_text(void **state) {
    (void)state;
    static cr_out out;
    cr_out_init(&out, -1, "test");
    cr_terminal_text(&out, text_of("short"), 8, false);
    expect_out(&out, "short");
    cr_terminal_text(&out, text_of("short"), 8, true);
    expect_out(&out, "short   ");
    cr_terminal_text(&out, text_of("exactly8"), 8, true);
    expect_out(&out, "exactly8");
    cr_terminal_text(&out, text_of("more than 8"), 8, true);
    expect_out(&out, "more th\xe2\x80\xa6");
    cr_terminal_text(&out, text_of("\x1b[31mred\n"), 20, false);
    expect_out(&out, " [31mred ");
    cr_terminal_text(&out, text_of("\xc2\x9b\xff"), 20, false);
    expect_out(&out, " \xef\xbf\xbd");
    cr_terminal_text(&out, text_of("\xe4\xb8\xad\xe6\x96\x87"), 3, true);
    expect_out(&out, "\xe4\xb8\xad\xe2\x80\xa6");
}

static void test_json(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *json;
    } CASES[] = {
        {"", "\"\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"\n\r\t\b\x1f\x7f", "\"\\n\\r\\t\\u0008\\u001f\x7f\""},
        {"\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\""},
        {"\xff\xe2\x82x", "\"\xef\xbf\xbd\xef\xbf\xbdx\""},
        {"\xef\xbf\xbd", "\"\xef\xbf\xbd\""},
    };
    static cr_out out;
    cr_out_init(&out, -1, "test");
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cr_out_json(&out, text_of(CASES[i].bytes));
        expect_out(&out, CASES[i].json);
    }
    cr_out_json(&out, (cr_text){"a\0b", 3});
    expect_out(&out, "\"a\\u0000b\"");
}

static void test_column(void **state) {
    (void)state;
    static cr_out out;
    cr_out_init(&out, -1, "test");
    cr_out_column(&out, text_of("\ta\r\nb\x7f"));
    expect_out(&out, " a  b ");
    cr_out_column(&out, text_of("\xc3\xa9\xff"));
    expect_out(&out, "\xc3\xa9\xff");
}

static void test_failed_writes_are_noticed(void **state) {
    (void)state;
    static cr_out out;
    cr_error error;
    cr_out_init(&out, -1, "the test");
    cr_out_text(&out, "x");
    assert_int_equal(cr_out_flush(&out, &error), CR_ERR_IO);
    assert_non_null(strstr(error.message, "the test"));
    /* It stays failed, though nothing more is to be written. */
    assert_int_equal(cr_out_flush(&out, &error), CR_ERR_IO);
    char path[] = "/tmp/cr_out_XXXXXX";
    int fd = mkstemp(path);
    cr_out_init(&out, fd, path);
    for (int i = 0; i < 100000; i++)
        cr_out_printf(&out, "%d\n", i % 10);
    assert_int_equal(cr_out_flush(&out, &error), CR_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), 200000);
    close(fd);
    unlink(path);
}

static void test_progress_line(void **state) {
    (void)state;
    char line[160];
    cr_progress known = {.unit = "pairs", .total = 400};
    cr_progress_format(&known, 100, -1, 10, line, sizeof line);
    assert_string_equal(line, "[######------------------]  25 %  100/400 "
                              "pairs  10.0 pairs/s  ETA 0:30");
    cr_progress_format(&known, 0, -1, 0, line, sizeof line);
    assert_non_null(strstr(line, "ETA ?"));
    cr_progress unknown = {.unit = "pairs"};
    cr_progress_format(&unknown, 100, -1, 10, line, sizeof line);
    assert_string_equal(line, "100 pairs  10.0 pairs/s");
    cr_progress_format(&unknown, 100, 0.5, 7200, line, sizeof line);
    assert_non_null(strstr(line, " 50 %  100 pairs"));
    assert_non_null(strstr(line, "ETA 2:00:00"));
    cr_progress_format(&unknown, 100, 1e-9, 7200, line, sizeof line);
    assert_non_null(strstr(line, "ETA 99:59:59"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_terminal_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_column),
        cmocka_unit_test(test_failed_writes_are_noticed),
        cmocka_unit_test(test_progress_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
