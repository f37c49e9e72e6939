/* Errors: codes of every status, and messages that stay harmless. */
#include "base/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void every_status_has_its_codes(void **state) {
    (void)state;
    for (int i = CR_OK; i <= CR_ERR_INTERNAL; i++) {
        cr_status status = (cr_status)i;
        assert_int_equal(strncmp(cr_status_name(status), "CR_", 3), 0);
        assert_true(strlen(cr_status_text(status)) > 0);
        int exit_code = cr_status_exit_code(status);
        assert_true(status == CR_OK ? exit_code == 0
                                    : exit_code >= 1 && exit_code <= 4);
    }
}

static void codes_are_those_of_the_contract(void **state) {
    (void)state;
    assert_int_equal(cr_status_exit_code(CR_ERR_ARGUMENT), 2);
    assert_int_equal(cr_status_exit_code(CR_ERR_INPUT), 3);
    assert_int_equal(cr_status_exit_code(CR_ERR_MODEL), 3);
    assert_int_equal(cr_status_exit_code(CR_ERR_UNSUPPORTED), 3);
    assert_int_equal(cr_status_exit_code(CR_ERR_UNAVAILABLE), 4);
}

static void a_foreign_status_reads_as_internal(void **state) {
    (void)state;
    cr_status foreign = (cr_status)1000;
    assert_string_equal(cr_status_name(foreign), "CR_ERR_INTERNAL");
    assert_int_equal(cr_status_exit_code(foreign),
                     cr_status_exit_code(CR_ERR_INTERNAL));
}

static void fail_fills_all_of_the_error(void **state) {
    (void)state;
    cr_error error;
    memset(&error, 0x5a, sizeof error);
    assert_int_equal(cr_fail_at(&error, CR_ERR_INPUT, 7, 9, "is %d", 3),
                     CR_ERR_INPUT);
    assert_int_equal(error.status, CR_ERR_INPUT);
    assert_int_equal(error.line, 7);
    assert_int_equal(error.column, 9);
    assert_string_equal(error.message, "is 3");
    assert_int_equal(cr_fail(&error, CR_ERR_IO, "again"), CR_ERR_IO);
    assert_int_equal(error.line, 0);
    assert_int_equal(error.column, 0);
    assert_int_equal(cr_fail_memory(&error, 77, "a thing"), CR_ERR_MEMORY);
    assert_non_null(strstr(error.message, "77"));
    assert_non_null(strstr(error.message, "a thing"));
    assert_int_equal(cr_fail(NULL, CR_ERR_IO, "nobody asks"), CR_ERR_IO);
}

static void control_characters_become_question_marks(void **state) {
    (void)state;
    cr_error error;
    cr_fail(&error, CR_ERR_INPUT, "%s", "a\nb\x1b[31mc\x7f\td");
    assert_string_equal(error.message, "a?b?[31mc??d");
}

/* Whatever the length, what is left is whole UTF-8 characters. */
static void long_messages_are_cut_between_characters(void **state) {
    (void)state;
    static const char *const characters[] = {"x", "\xc3\xa4", "\xe2\x82\xac",
                                             "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < 4; c++) {
        size_t width = strlen(characters[c]);
        for (size_t shift = 0; shift < 4; shift++) {
            char text[2 * CR_ERROR_MESSAGE_BYTES] = "....";
            size_t len = shift;
            while (len + width < sizeof text) {
                memcpy(text + len, characters[c], width);
                len += width;
            }
            text[len] = '\0';
            cr_error error;
            cr_fail(&error, CR_ERR_INPUT, "%s", text);
            size_t left = strlen(error.message);
            assert_true(left < CR_ERROR_MESSAGE_BYTES);
            assert_true(left + width >= CR_ERROR_MESSAGE_BYTES);
            assert_int_equal((left - shift) % width, 0);
            assert_memory_equal(error.message, text, left);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_codes),
        cmocka_unit_test(codes_are_those_of_the_contract),
        cmocka_unit_test(a_foreign_status_reads_as_internal),
        cmocka_unit_test(fail_fills_all_of_the_error),
        cmocka_unit_test(control_characters_become_question_marks),
        cmocka_unit_test(long_messages_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
