/* Buffers: limits hold to the byte, failures leave them as they were. */
#include "base/buf.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void appends_up_to_the_maximum(void **state) {
    (void)state;
    cr_buf buf;
    cr_error error;
    cr_buf_init(&buf, 1000);
    assert_null(buf.data);
    assert_int_equal(cr_buf_append(&buf, NULL, 0, &error), CR_OK);
    assert_int_equal(buf.len, 0);
    for (int i = 0; i < 1000; i++) {
        char c = (char)('a' + i % 26);
        assert_int_equal(cr_buf_append(&buf, &c, 1, &error), CR_OK);
        assert_int_equal(buf.data[buf.len], '\0');
    }
    assert_int_equal(cr_buf_append(&buf, "x", 1, &error), CR_ERR_INPUT);
    assert_non_null(strstr(error.message, "1001"));
    assert_non_null(strstr(error.message, "1000"));
    assert_int_equal(buf.len, 1000);
    assert_int_equal(buf.data[999], 'a' + 999 % 26);
    /* A length whose sum would overflow is refused too. */
    assert_int_equal(cr_buf_append(&buf, "x", SIZE_MAX, &error), CR_ERR_INPUT);
    cr_buf_fini(&buf);
    assert_null(buf.data);
    assert_int_equal(buf.max, 1000);
    assert_int_equal(cr_buf_append(&buf, "y", 1, &error), CR_OK);
    cr_buf_fini(&buf);
}

static void printf_is_exact_and_bounded(void **state) {
    (void)state;
    cr_buf buf;
    cr_buf_init(&buf, 600);
    assert_int_equal(cr_buf_printf(&buf, NULL, "%0300d", 7), CR_OK);
    assert_int_equal(cr_buf_printf(&buf, NULL, "%0300d", 8), CR_OK);
    assert_int_equal(buf.len, 600);
    assert_int_equal(buf.data[299], '7');
    assert_int_equal(cr_buf_printf(&buf, NULL, "!"), CR_ERR_INPUT);
    assert_int_equal(cr_buf_printf(&buf, NULL, "%s", ""), CR_OK);
    assert_int_equal(buf.len, 600);
    cr_buf_fini(&buf);
}

static void a_failed_allocation_changes_nothing(void **state) {
    (void)state;
    char big[5000] = {0};
    cr_buf buf;
    cr_error error;
    cr_buf_init(&buf, SIZE_MAX / 2);
    assert_int_equal(cr_buf_append(&buf, "abc", 3, &error), CR_OK);
    cr_mem_fail_after(0);
    assert_int_equal(cr_buf_append(&buf, big, sizeof big, &error),
                     CR_ERR_MEMORY);
    assert_int_equal(cr_buf_printf(&buf, &error, "%5000d", 1), CR_ERR_MEMORY);
    cr_mem_fail_never();
    assert_int_equal(buf.len, 3);
    assert_string_equal(buf.data, "abc");
    cr_buf_fini(&buf);
}

static void reads_files_within_the_limit(void **state) {
    (void)state;
    char path[] = "/tmp/cr_buf_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char chunk[1000];
    for (size_t i = 0; i < sizeof chunk; i++)
        chunk[i] = (char)i;
    for (int i = 0; i < 200; i++)
        assert_int_equal(write(fd, chunk, sizeof chunk), sizeof chunk);
    close(fd);
    cr_buf buf;
    cr_error error;
    cr_buf_init(&buf, 200000);
    assert_int_equal(cr_buf_read_file(&buf, path, &error), CR_OK);
    assert_int_equal(buf.len, 200000);
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.data[i], chunk[i % sizeof chunk]);
    cr_buf_fini(&buf);
    cr_buf_init(&buf, 199999);
    assert_int_equal(cr_buf_read_file(&buf, path, &error), CR_ERR_INPUT);
    assert_non_null(strstr(error.message, path));
    assert_non_null(strstr(error.message, "199999"));
    cr_buf_fini(&buf);
    unlink(path);
    assert_int_equal(cr_buf_read_file(&buf, path, &error), CR_ERR_IO);
    assert_non_null(strstr(error.message, path));
    assert_int_equal(cr_buf_read_file(&buf, "/tmp", &error), CR_ERR_IO);
    cr_buf_fini(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_up_to_the_maximum),
        cmocka_unit_test(printf_is_exact_and_bounded),
        cmocka_unit_test(a_failed_allocation_changes_nothing),
        cmocka_unit_test(reads_files_within_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
