/* gRPC's small encodings: codes, messages, time limits, prefixes. */
#include "server/grpc/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void every_refusal_has_a_code(void **state) {
    (void)state;
    assert_int_equal(cr_grpc_code_of(CR_REFUSAL_NONE), CR_GRPC_OK);
    for (int kind = CR_REFUSAL_NONE + 1; kind < CR_N_REFUSALS; kind++)
        assert_int_not_equal(cr_grpc_code_of((cr_refusal_kind)kind),
                             CR_GRPC_OK);
}

static void messages_are_ascii(void **state) {
    char out[CR_GRPC_MESSAGE_BYTES];
    char text[CR_GRPC_MESSAGE_BYTES];
    (void)state;
    cr_grpc_encode_message("a %\n\xC3\xBC~\x7f", out);
    assert_string_equal(out, "a %25%0A%C3%BC~%7F");
    cr_grpc_encode_message("", out);
    assert_string_equal(out, "");
    /* Longer than there is room for: cut between characters' codes. */
    memset(text, '%', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cr_grpc_encode_message(text, out);
    assert_true(strlen(out) % 3 == 0 && strlen(out) + 4 > sizeof out - 3);
}

static void timeouts(void **state) {
    static const struct {
        const char *text;
        int64_t ns; /* -1: refused */
    } cases[] = {
        {"1n", 1},
        {"20u", 20000},
        {"300m", 300000000},
        {"4S", INT64_C(4000000000)},
        {"1M", INT64_C(60000000000)},
        {"1H", INT64_C(3600000000000)},
        {"99999999H", INT64_C(86400000000000)},
        {"0S", 0},
        {"123456789n", -1},
        {"", -1},
        {"S", -1},
        {"1", -1},
        {"1x", -1},
        {"1SS", -1},
        {"-1S", -1},
        {" 1S", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t ns = -1;
        assert_int_equal(cr_grpc_read_timeout(cases[i].text, &ns),
                         cases[i].ns >= 0);
        assert_int_equal(ns, cases[i].ns);
    }
}

static void prefixes_come_back(void **state) {
    static const uint32_t lens[] = {0, 1, 255, 256, 0x01020304, UINT32_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        uint8_t bytes[CR_GRPC_PREFIX_BYTES];
        cr_grpc_write_prefix(lens[i], bytes);
        cr_grpc_prefix prefix = cr_grpc_read_prefix(bytes);
        assert_int_equal(prefix.compressed, 0);
        assert_int_equal(prefix.len, lens[i]);
    }
    assert_int_equal(cr_grpc_read_prefix((const uint8_t[]){7, 1, 2, 3, 4}).len,
                     0x01020304);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_has_a_code),
        cmocka_unit_test(messages_are_ascii),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(prefixes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
