/* Child: programs that are no server, and one that is slow to leave. */
#include "lab/child.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct folder {
    char program[256], log[256], dir[128];
} folder;

static void write_program(const folder *f, const char *text) {
    FILE *file = fopen(f->program, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", text);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(f->program, 0700), 0);
}

static int make(void **state) {
    static folder f;
    snprintf(f.dir, sizeof f.dir, "/tmp/cr_child_test_XXXXXX");
    if (!mkdtemp(f.dir))
        return -1;
    snprintf(f.program, sizeof f.program, "%s/program", f.dir);
    snprintf(f.log, sizeof f.log, "%s/log", f.dir);
    *state = &f;
    return 0;
}

static int clean(void **state) {
    const folder *f = *state;
    unlink(f->program);
    unlink(f->log);
    return rmdir(f->dir);
}

static cr_status start(const folder *f, cr_child *child, const char *text,
                       cr_error *error) {
    const char *arguments[] = {"--model", "m"};
    write_program(f, text);
    return cr_child_start(child, f->program, arguments, 2, f->log, error);
}

static void test_ready(void **state) {
    const folder *f = *state;
    cr_child child;
    cr_error error = {.message = ""};
    assert_int_equal(start(f, &child,
                           "trap 'exit 0' TERM\n"
                           "echo \"$*\" >&2\n"
                           "echo '{\"http\":\"http://127.0.0.1:1\",\"grpc\":"
                           "\"127.0.0.1:2\"}'\n"
                           "trap 'exit 0' TERM\n"
                           "while :; do sleep 0.05; done",
                           &error),
                     CR_OK);
    assert_string_equal(child.url, "http://127.0.0.1:1");
    assert_string_equal(child.grpc_url, "http://127.0.0.1:2");
    pid_t pid = child.pid;
    /* Ctrl-C of our group must not reach it. */
    assert_int_equal(getpgid(pid), pid);
    assert_int_equal(cr_child_stop(&child, &error), CR_OK);
    assert_int_equal(child.pid, 0);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    FILE *log = fopen(f->log, "r");
    char line[128] = "";
    assert_non_null(log);
    assert_non_null(fgets(line, sizeof line, log));
    fclose(log);
    assert_string_equal(line, "serve --port 0 --model m\n");
    /* Nothing is left to stop. */
    assert_int_equal(cr_child_stop(&child, &error), CR_OK);
}

static void test_without_grpc(void **state) {
    const folder *f = *state;
    cr_child child;
    cr_error error = {.message = ""};
    assert_int_equal(start(f, &child,
                           "trap 'exit 7' TERM\n"
                           "echo '{\"http\":\"http://127.0.0.1:1\"}'\n"
                           "while :; do sleep 0.05; done",
                           &error),
                     CR_OK);
    assert_string_equal(child.grpc_url, "");
    /* One that ends otherwise than it should is an error. */
    assert_int_equal(cr_child_stop(&child, &error), CR_ERR_IO);
    assert_non_null(strstr(error.message, "did not end well"));
}

static void test_exit_codes(void **state) {
    const folder *f = *state;
    static const struct {
        const char *code;
        cr_status status;
    } CASES[] = {{"4", CR_ERR_UNAVAILABLE},
                 {"2", CR_ERR_ARGUMENT},
                 {"3", CR_ERR_INPUT},
                 {"9", CR_ERR_IO}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        cr_child child;
        cr_error error = {.message = ""};
        char text[100];
        snprintf(text, sizeof text,
                 "echo first >&2\necho 'crossrank: no such device' >&2\n"
                 "exit %s",
                 CASES[i].code);
        assert_int_equal(start(f, &child, text, &error), CASES[i].status);
        assert_string_equal(error.message,
                            "the server did not start: no such device");
        assert_int_equal(child.pid, 0);
    }
}

static void test_no_ready_line(void **state) {
    const folder *f = *state;
    static const char *const LINES[] = {"ready", "{}", "{\"http\":5}"};
    for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++) {
        cr_child child;
        cr_error error = {.message = ""};
        char text[100];
        snprintf(text, sizeof text, "echo '%s'\nexec sleep 100", LINES[i]);
        assert_int_equal(start(f, &child, text, &error), CR_ERR_INTERNAL);
        assert_non_null(strstr(error.message, "where it listens"));
        assert_int_equal(child.pid, 0);
    }
}

static void test_no_program(void **state) {
    const folder *f = *state;
    cr_child child;
    cr_error error = {.message = ""};
    assert_int_equal(
        cr_child_start(&child, "/nonexistent", NULL, 0, f->log, &error),
        CR_ERR_IO);
    assert_non_null(strstr(error.message, "it said nothing"));
    assert_int_equal(cr_child_start(&child, "/bin/true", NULL, 0,
                                    "/nonexistent/log", &error),
                     CR_ERR_IO);
    assert_non_null(strstr(error.message, "/nonexistent/log"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ready, make, clean),
        cmocka_unit_test_setup_teardown(test_without_grpc, make, clean),
        cmocka_unit_test_setup_teardown(test_exit_codes, make, clean),
        cmocka_unit_test_setup_teardown(test_no_ready_line, make, clean),
        cmocka_unit_test_setup_teardown(test_no_program, make, clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
