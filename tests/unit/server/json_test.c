/* JSON in and out: what is refused, what memory it may cost, and that numbers
 * and texts come back as they were. */
#include "base/mem.h"
#include "server/json_in.h"
#include "server/json_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static cr_refusal_kind parse(const char *bytes, size_t len) {
    cr_refusal refusal = {.kind = CR_REFUSAL_NONE};
    json_t *root = cr_json_in_parse(bytes, len, &refusal);
    assert_true((root != NULL) == (refusal.kind == CR_REFUSAL_NONE));
    json_decref(root);
    return refusal.kind;
}

static void bodies_are_read_strictly(void **state) {
    (void)state;
    static const struct {
        const char *text;
        cr_refusal_kind kind;
    } rows[] = {{"{}", CR_REFUSAL_NONE},
                {"{\"a\":\"\\u0000\"}", CR_REFUSAL_NONE},
                {"", CR_REFUSAL_MALFORMED},
                {"[]", CR_REFUSAL_SHAPE},
                {"{\"a\":1,\"a\":2}", CR_REFUSAL_MALFORMED},
                {"{\"a\":1e999}", CR_REFUSAL_MALFORMED},
                {"{\"a\":\"\xff\"}", CR_REFUSAL_MALFORMED},
                {"{\"a\":NaN}", CR_REFUSAL_MALFORMED},
                {"{} x", CR_REFUSAL_MALFORMED}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(parse(rows[i].text, strlen(rows[i].text)),
                         rows[i].kind);
    assert_int_equal(parse(NULL, 0), CR_REFUSAL_MALFORMED);
}

static void memory_is_bounded_by_the_body(void **state) {
    (void)state;
    enum { N = 2000000 };
    char *bomb = malloc(2 * N + 8);
    memcpy(bomb, "{\"a\":[", 6);
    for (size_t i = 0; i < N; i++)
        memcpy(bomb + 6 + 2 * i, i + 1 < N ? "0," : "0]", 2);
    bomb[6 + 2 * N] = '}';
    assert_int_equal(parse(bomb, 7 + 2 * N), CR_REFUSAL_SIZE);
    assert_int_equal(parse("{}", 2), CR_REFUSAL_NONE); /* and nothing stays */
    free(bomb);
}

static void failing_memory_is_a_refusal(void **state) {
    (void)state;
    const char *text = "{\"query\":\"q\",\"texts\":[\"a\",\"b\",{\"c\":1.5}]}";
    cr_refusal_kind kind = CR_REFUSAL_BACKEND;
    for (uint64_t n = 0; kind != CR_REFUSAL_NONE; n++) {
        assert_true(n < 1000);
        cr_mem_fail_after(n);
        kind = parse(text, strlen(text));
        cr_mem_fail_never();
    }
}

static void texts_come_back(void **state) {
    (void)state;
    static const char all[] = "{\"a\":\"\\u0000\\u0001\\n\\\"\\\\/\x7f"
                              "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"}";
    cr_json_out out;
    json_t *root = json_loads(all, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(root, "a");
    cr_json_out_init(&out);
    cr_json_put(&out, "{\"a\":");
    cr_json_put_text(
        &out, (cr_text){json_string_value(text), json_string_length(text)});
    cr_json_put(&out, "}");
    assert_false(out.failed);
    json_t *again =
        json_loadb(out.text.data, out.text.len, JSON_ALLOW_NUL, NULL);
    assert_true(json_equal(root, again));
    json_decref(again);
    json_decref(root);
    cr_json_out_fini(&out);
    cr_json_put_text(&out, (cr_text){"a\xff\xe2\x82z\xef\xbf\xbd", 8});
    assert_string_equal(out.text.data, "\"a\xef\xbf\xbd\xef\xbf\xbdz"
                                       "\xef\xbf\xbd\"");
    cr_json_out_fini(&out);
}

static void numbers_come_back(void **state) {
    (void)state;
    uint32_t seed = 5;
    for (int i = 0; i < 20000; i++) {
        cr_json_out out;
        float value;
        seed = seed * 1664525 + 1013904223;
        memcpy(&value, &seed, sizeof value);
        if (value != value || value - value != 0)
            continue;
        cr_json_out_init(&out);
        cr_json_put_number(&out, (double)value / 3);
        assert_true(!(strtod(out.text.data, NULL) < (double)value / 3) &&
                    !(strtod(out.text.data, NULL) > (double)value / 3));
        assert_false(out.failed);
        cr_json_out_fini(&out);
    }
    cr_json_out out;
    cr_json_out_init(&out);
    cr_json_put_number(&out, 1.0 / 0.0);
    assert_true(out.failed);
    cr_json_out_fini(&out);
}

static int install(void **state) {
    (void)state;
    cr_json_in_install();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_read_strictly),
        cmocka_unit_test(memory_is_bounded_by_the_body),
        cmocka_unit_test(failing_memory_is_a_refusal),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(numbers_come_back),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
