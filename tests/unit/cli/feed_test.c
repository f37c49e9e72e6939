/* Feed: windows over files and pipes, in bounded memory, in order. */
#include "base/mem.h"
#include "cli/feed.h"
#include "lab/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[] = "/tmp/cr_feed_XXXXXX";

static int set_up(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state) {
    (void)state;
    return unlink(path);
}

static FILE *rewrite(void) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

static cr_feed *open_pairs(const char *name) {
    cr_feed *feed;
    assert_int_equal(
        cr_feed_open(name, CR_RECORD_PAIR, CR_FORMAT_AUTO, &feed, NULL), CR_OK);
    return feed;
}

static void expect_text(cr_text text, const char *expected) {
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static void test_many_windows_in_order(void **state) {
    (void)state;
    enum { N = CR_WINDOW_ITEMS * 3 + 17 };
    FILE *file = rewrite();
    for (int i = 0; i < N; i++)
        fprintf(file, "q%d\tp%d\n", i / 10, i);
    fclose(file);
    cr_feed *feed = open_pairs(path);
    const cr_window *window;
    size_t seen = 0;
    for (;;) {
        assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
        if (window->n == 0)
            break;
        assert_true(window->n <= CR_WINDOW_ITEMS);
        for (size_t i = 0; i < window->n; i++, seen++) {
            char query[32], passage[32];
            cr_pair pair = cr_window_pair(window, i);
            snprintf(query, sizeof query, "q%zu", seen / 10);
            snprintf(passage, sizeof passage, "p%zu", seen);
            expect_text(pair.query, query);
            expect_text(pair.passage, passage);
            assert_int_equal(window->items[i].line, seen + 1);
            if (i && seen % 10)
                assert_ptr_equal(pair.query.data,
                                 cr_window_pair(window, i - 1).query.data);
        }
        assert_true(window->items[window->n - 1].end <= cr_feed_bytes(feed));
    }
    assert_int_equal(seen, N);
    cr_feed_close(feed);
}

static void test_bad_records_keep_their_place(void **state) {
    (void)state;
    FILE *file = rewrite();
    fprintf(file, "\n\xef\xbb\xbf{\"query\":\"q\",\"text\":\"p\"}\n{}\n");
    fprintf(file, "{\"query\":\"q\",\"text\":\"p\"}");
    fclose(file);
    cr_feed *feed = open_pairs(path);
    const cr_window *window;
    assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
    assert_int_equal(window->n, 4);
    assert_true(window->items[0].bad); /* empty, and decides nothing */
    assert_true(window->items[1].bad); /* a mark is dropped in line 1 only */
    assert_true(window->items[2].bad);
    cr_text message = cr_window_pair(window, 2).passage;
    assert_non_null(strstr(message.data, ":3: "));
    cr_feed_close(feed);
}

static void test_format_is_detected_behind_empty_lines(void **state) {
    (void)state;
    FILE *file = rewrite();
    fprintf(file, "\n{\"query\":\"q\",\"text\":\"p\"}\n");
    fclose(file);
    cr_feed *feed = open_pairs(path);
    const cr_window *window;
    assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
    assert_int_equal(window->n, 2);
    assert_true(window->items[0].bad);
    assert_false(window->items[1].bad);
    cr_feed_close(feed);
}

static void test_large_records_bound_a_window(void **state) {
    (void)state;
    enum { N = 40, BYTES = 1 << 20 };
    char *text = cr_alloc(BYTES);
    memset(text, 'x', BYTES);
    FILE *file = rewrite();
    for (int i = 0; i < N; i++) {
        fputs("q\t", file);
        fwrite(text, 1, BYTES, file);
        fputc('\n', file);
    }
    fclose(file);
    cr_free(text);
    cr_feed *feed = open_pairs(path);
    const cr_window *window;
    size_t seen = 0, n_windows = 0;
    for (;; n_windows++) {
        assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
        if (window->n == 0)
            break;
        assert_true(window->text.len <= CR_WINDOW_BYTES + BYTES + 1);
        seen += window->n;
    }
    assert_int_equal(seen, N);
    assert_true(n_windows >= 4);
    cr_feed_close(feed);
}

/* A pipe stands in for standard input. */
static int pipe_to_stdin(int *old_stdin) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    *old_stdin = dup(STDIN_FILENO);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    return ends[1];
}

static void restore_stdin(int old_stdin) {
    dup2(old_stdin, STDIN_FILENO);
    close(old_stdin);
}

static void test_slow_pipe_is_answered_at_once(void **state) {
    (void)state;
    int old, end = pipe_to_stdin(&old);
    cr_feed *feed = open_pairs("-");
    const cr_window *window;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(write(end, "q\tp\n", 4), 4);
        assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
        assert_int_equal(window->n, 1);
    }
    assert_int_equal(write(end, "q\tlast", 6), 6);
    close(end);
    assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
    assert_int_equal(window->n, 1);
    expect_text(cr_window_pair(window, 0).passage, "last");
    assert_int_equal(cr_feed_next(feed, &window, NULL), CR_OK);
    assert_int_equal(window->n, 0);
    cr_feed_close(feed);
    restore_stdin(old);
}

static void test_close_ends_a_waiting_reader(void **state) {
    (void)state;
    int old, end = pipe_to_stdin(&old);
    cr_feed_close(open_pairs("-")); /* waits for input */
    close(end);
    restore_stdin(old);
    FILE *file = rewrite();
    for (int i = 0; i < CR_WINDOW_ITEMS * 3; i++)
        fputs("q\tp\n", file);
    fclose(file);
    cr_feed_close(open_pairs(path)); /* waits for room */
}

static void test_errors(void **state) {
    (void)state;
    cr_feed *feed;
    cr_error error;
    const cr_window *window;
    assert_int_equal(
        cr_feed_open("/nowhere", CR_RECORD_PAIR, CR_FORMAT_AUTO, &feed, &error),
        CR_ERR_IO);
    assert_null(feed);
    /* Standard input that cannot be read: an error, not an end. */
    int old = dup(STDIN_FILENO);
    int write_only = open("/dev/null", O_WRONLY);
    dup2(write_only, STDIN_FILENO);
    close(write_only);
    feed = open_pairs("-");
    assert_int_equal(cr_feed_next(feed, &window, &error), CR_ERR_IO);
    assert_non_null(strstr(error.message, "<stdin>"));
    cr_feed_close(feed);
    restore_stdin(old);
}

static void test_every_allocation_may_fail(void **state) {
    (void)state;
    FILE *file = rewrite();
    fputs("q\tp\nq2\tp2\n", file);
    fclose(file);
    for (uint64_t n = 0;; n++) {
        cr_feed *feed;
        const cr_window *window;
        cr_mem_fail_after(n);
        cr_status status =
            cr_feed_open(path, CR_RECORD_PAIR, CR_FORMAT_AUTO, &feed, NULL);
        if (status == CR_OK)
            do
                status = cr_feed_next(feed, &window, NULL);
            while (status == CR_OK && window->n > 0);
        cr_mem_fail_never();
        cr_feed_close(feed);
        if (status == CR_OK)
            return;
        assert_int_equal(status, CR_ERR_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_windows_in_order),
        cmocka_unit_test(test_bad_records_keep_their_place),
        cmocka_unit_test(test_format_is_detected_behind_empty_lines),
        cmocka_unit_test(test_large_records_bound_a_window),
        cmocka_unit_test(test_slow_pipe_is_answered_at_once),
        cmocka_unit_test(test_close_ends_a_waiting_reader),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
