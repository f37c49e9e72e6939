/* Logger: lines in their order, never waited for, and a count of lost ones. */
#include "cli/logger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All that can be read until the other end is closed. */
static char *read_all(int fd) {
    size_t len = 0, room = 4 << 20;
    char *text = malloc(room);
    for (ssize_t n; (n = read(fd, text + len, room - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static void test_lines_come_in_order(void **state) {
    (void)state;
    int ends[2];
    cr_logger *log;
    char line[32];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(cr_logger_open(ends[1], &log, NULL), CR_OK);
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(line, sizeof line, "line %d", i);
        assert_true(cr_logger_put(log, line, (size_t)n));
    }
    cr_logger_close(log, 10000);
    close(ends[1]);
    char *text = read_all(ends[0]), *at = text;
    for (int i = 0; i < 1000; i++) {
        int n = snprintf(line, sizeof line, "crossrank: line %d\n", i);
        assert_memory_equal(at, line, (size_t)n);
        at += n;
    }
    assert_int_equal(*at, '\0');
    free(text);
    close(ends[0]);
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (; (text = strstr(text, what)) != NULL; text++)
        n++;
    return n;
}

static void test_without_a_reader(void **state) {
    (void)state;
    enum { LINES = 20000, TEXT_BYTES = 4 << 20 };
    int ends[2];
    size_t kept = 0, lost = 0, len = 0;
    cr_logger *log;
    char line[128], *text = malloc(TEXT_BYTES);
    memset(line, 'x', sizeof line);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(cr_logger_open(ends[1], &log, NULL), CR_OK);
    for (int i = 0; i < LINES; i++)
        kept += cr_logger_put(log, line, sizeof line);
    assert_in_range(kept, 1000, LINES / 2);
    /* Somebody reads again: when there is room, the count comes first. */
    for (size_t n = 0; n < kept; n = count(text, "x\n")) {
        len += (size_t)read(ends[0], text + len, TEXT_BYTES / 2 - len);
        text[len] = '\0';
    }
    assert_true(cr_logger_put(log, "more", 4));
    cr_logger_close(log, 10000);
    close(ends[1]);
    char *rest = read_all(ends[0]);
    snprintf(text + len, TEXT_BYTES - len, "%s", rest);
    for (char *at = text, *end; *at; at = end + 1) {
        char *behind;
        end = strchr(at, '\n');
        assert_non_null(end);
        unsigned long n = strtoul(at + 11, &behind, 10);
        if (strncmp(behind, " lines of the log are lost", 26) == 0)
            lost += n;
        else
            assert_true(end - at == 11 + sizeof line || end[1] == '\0');
    }
    assert_int_equal(count(text, "x\n"), kept);
    assert_int_equal(lost, LINES - kept);
    assert_non_null(strstr(text, "\ncrossrank: more\n"));
    free(rest);
    free(text);
    close(ends[0]);
}

static void test_closing_waits_for_no_reader(void **state) {
    (void)state;
    int ends[2];
    cr_logger *log;
    char line[1024];
    memset(line, 'x', sizeof line);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(cr_logger_open(ends[1], &log, NULL), CR_OK);
    for (int i = 0; i < 200; i++)
        cr_logger_put(log, line, sizeof line);
    cr_logger_close(log, 20);
    char *text = malloc(1 << 20);
    assert_true(read(ends[0], text, 1 << 20) > 0);
    free(text);
    /* The ends stay open: the thread that was left behind writes there. */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_come_in_order),
        cmocka_unit_test(test_without_a_reader),
        cmocka_unit_test(test_closing_waits_for_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
