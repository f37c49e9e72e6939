/* Lines: ends, limits, and the same lines however the bytes arrive. */
#include "base/mem.h"
#include "lab/lines.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void put(char **out, const char *bytes, size_t len) {
    memcpy(*out, bytes, len);
    *out += len;
}

/* All lines of `bytes`, fed `step` bytes at a time, each in brackets; lines
 * over the limit as "!". */
static void gather(const char *bytes, size_t len, size_t step, char *out) {
    cr_lines lines;
    cr_text line;
    size_t at = 0;
    cr_line_state state;
    cr_lines_init(&lines, "test");
    while ((state = cr_lines_take(&lines, &line)) != CR_LINE_END) {
        if (state == CR_LINE_READY) {
            put(&out, "[", 1);
            put(&out, line.data, line.len);
            put(&out, "]", 1);
        }
        if (state == CR_LINE_LONG)
            put(&out, "!", 1);
        if (state == CR_LINE_MORE) {
            size_t n = len - at < step ? len - at : step;
            assert_int_equal(cr_lines_feed(&lines, bytes + at, n, NULL), CR_OK);
            at += n;
        }
    }
    *out = '\0';
    assert_int_equal(lines.offset, len);
    cr_lines_close(&lines);
}

static void test_ends_and_steps(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        const char *lines;
    } CASES[] = {
        {"", ""},
        {"\n", "[]"},
        {"a", "[a]"},
        {"a\n", "[a]"},
        {"a\nb", "[a][b]"},
        {"a\r\nb\r\n", "[a][b]"},
        {"a\r", "[a]"},
        {"a\r\r\n", "[a\r]"},
        {"\n\na\n\n", "[][][a][]"},
        {"\xef\xbb\xbf"
         "a\n\xef\xbb\xbf"
         "b",
         "[a][\xef\xbb\xbf"
         "b]"},
        {"\xef\xbb", "[\xef\xbb]"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        for (size_t step = 1; step < 8; step++) {
            char out[256];
            gather(CASES[i].bytes, strlen(CASES[i].bytes), step, out);
            assert_string_equal(out, CASES[i].lines);
        }
}

static void test_nul_is_a_byte_like_others(void **state) {
    (void)state;
    cr_lines lines;
    cr_text line;
    cr_lines_init(&lines, "test");
    cr_lines_feed(&lines, "a\0b\n", 4, NULL);
    assert_int_equal(cr_lines_take(&lines, &line), CR_LINE_READY);
    assert_int_equal(line.len, 3);
    assert_memory_equal(line.data, "a\0b", 3);
    cr_lines_close(&lines);
}

/* A line of `len` bytes between two short ones: is the long one dropped? */
static void check_long_line(size_t len, bool last, const char *expected) {
    char *bytes = cr_alloc(len + 16), *out = cr_alloc(len + 64);
    size_t at = 0;
    memcpy(bytes, "x\n", 2);
    at = 2;
    memset(bytes + at, 'a', len);
    at += len;
    if (!last) {
        memcpy(bytes + at, "\ny\n", 3);
        at += 3;
    }
    gather(bytes, at, 1 << 20, out);
    if (strcmp(expected, "kept") == 0)
        assert_int_equal(strlen(out), len + (last ? 5 : 8));
    else
        assert_string_equal(out, expected);
    cr_free(bytes);
    cr_free(out);
}

static void test_line_limit(void **state) {
    (void)state;
    check_long_line(CR_MAX_LINE_BYTES, false, "kept");
    check_long_line(CR_MAX_LINE_BYTES, true, "kept");
    check_long_line((size_t)CR_MAX_LINE_BYTES + 1, false, "[x]![y]");
    check_long_line((size_t)CR_MAX_LINE_BYTES + 1, true, "[x]!");
    check_long_line((size_t)CR_MAX_LINE_BYTES * 3, false, "[x]![y]");
    check_long_line((size_t)CR_MAX_LINE_BYTES * 3, true, "[x]!");
}

static void test_memory_stays_below_one_line(void **state) {
    (void)state;
    cr_lines lines;
    cr_text line;
    static char chunk[65536];
    memset(chunk, 'a', sizeof chunk);
    cr_lines_init(&lines, "test");
    for (size_t fed = 0; fed < (size_t)256 << 20; fed += sizeof chunk) {
        cr_lines_feed(&lines, chunk, sizeof chunk, NULL);
        while (cr_lines_take(&lines, &line) != CR_LINE_MORE)
            ;
    }
    assert_true(lines.capacity < (size_t)CR_MAX_LINE_BYTES * 2);
    cr_lines_close(&lines);
}

/* What a visit saw, and where it should fail. */
typedef struct visits {
    char seen[64]; /* lines, each with a stop behind it */
    uint64_t fail_at;
} visits;

static cr_status visit(const cr_lines *lines, cr_text line, void *context,
                       cr_error *error) {
    visits *v = context;
    size_t len = strlen(v->seen);
    snprintf(v->seen + len, sizeof v->seen - len, "%.*s.", (int)line.len,
             line.data);
    return lines->line == v->fail_at ? cr_lines_fail(lines, error, "no good")
                                     : CR_OK;
}

static void test_files(void **state) {
    (void)state;
    cr_lines lines;
    cr_error error;
    visits all = {.fail_at = 0}, two = {.fail_at = 2};
    assert_int_equal(cr_lines_each("/nowhere/at-all", visit, &all, &error),
                     CR_ERR_IO);
    assert_non_null(strstr(error.message, "/nowhere/at-all: cannot open"));
    assert_int_equal(cr_lines_open(&lines, "/", &error), CR_ERR_IO);
    assert_non_null(strstr(error.message, "is a folder"));
    char path[] = "/tmp/cr_lines_XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "one\ntwo\r\n\nend", 13), 13);
    close(fd);
    assert_int_equal(cr_lines_open(&lines, path, &error), CR_OK);
    assert_int_equal(lines.size, 13);
    cr_lines_close(&lines);
    assert_int_equal(cr_lines_each(path, visit, &all, &error), CR_OK);
    assert_string_equal(all.seen, "one.two..end.");
    assert_int_equal(cr_lines_each(path, visit, &two, &error), CR_ERR_INPUT);
    assert_string_equal(two.seen, "one.two.");
    assert_int_equal(error.line, 2);
    assert_non_null(strstr(error.message, ":2: no good"));
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends_and_steps),
        cmocka_unit_test(test_nul_is_a_byte_like_others),
        cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_memory_stays_below_one_line),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
