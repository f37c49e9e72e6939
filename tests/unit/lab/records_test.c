/* Records: what a line is read as, and what is said about bad ones. */
#include "lab/records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static cr_text text_of(const char *s) { return (cr_text){s, strlen(s)}; }

static void expect_text(cr_text text, const char *expected) {
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
}

static void test_detect(void **state) {
    (void)state;
    cr_text json = text_of(" \t{\"query\":1}"), plain = text_of("a\tb");
    assert_int_equal(cr_record_detect("x", json), CR_FORMAT_JSON);
    assert_int_equal(cr_record_detect("x", plain), CR_FORMAT_COLUMNS);
    assert_int_equal(cr_record_detect("x", text_of("")), CR_FORMAT_COLUMNS);
    assert_int_equal(cr_record_detect("a.tsv", json), CR_FORMAT_COLUMNS);
    assert_int_equal(cr_record_detect("a.jsonl", plain), CR_FORMAT_JSON);
    assert_int_equal(cr_record_detect("a.ndjson", plain), CR_FORMAT_JSON);
    assert_int_equal(cr_record_detect("jsonl", plain), CR_FORMAT_COLUMNS);
}

static void test_good_pairs(void **state) {
    (void)state;
    static const struct {
        cr_record_format format;
        const char *line, *query, *passage;
    } CASES[] = {
        {CR_FORMAT_COLUMNS, "q\tp", "q", "p"},
        {CR_FORMAT_COLUMNS, "id\tdoc\t1\tq\tp", "q", "p"},
        {CR_FORMAT_COLUMNS, "\t", "", ""},
        {CR_FORMAT_COLUMNS, "q\t", "q", ""},
        {CR_FORMAT_COLUMNS, "\tp", "", "p"},
        {CR_FORMAT_COLUMNS, "\"q\"\t{p}", "\"q\"", "{p}"},
        {CR_FORMAT_COLUMNS, "q\t\xff\xfe", "q", "\xff\xfe"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"passage\":\"p\"}", "q", "p"},
        {CR_FORMAT_JSON, "{\"text\":\"p\",\"query\":\"q\"}", "q", "p"},
        {CR_FORMAT_JSON, "{\"document\":\"p\",\"query\":\"q\",\"x\":[1]}", "q",
         "p"},
        {CR_FORMAT_JSON, "{\"text\":\"t\",\"passage\":\"p\",\"query\":\"\"}",
         "", "p"},
        {CR_FORMAT_JSON, " {\"query\":\"\\u00e9\",\"text\":\"a\\tb\"} ",
         "\xc3\xa9", "a\tb"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cr_record record;
        assert_int_equal(cr_record_parse(text_of(CASES[i].line), CR_RECORD_PAIR,
                                         CASES[i].format, &record, NULL),
                         CR_OK);
        expect_text(record.query, CASES[i].query);
        expect_text(record.passage, CASES[i].passage);
        cr_record_fini(&record);
    }
}

static void test_bad_pairs(void **state) {
    (void)state;
    static const struct {
        cr_record_format format;
        const char *line, *message;
    } CASES[] = {
        {CR_FORMAT_COLUMNS, "", "empty"},
        {CR_FORMAT_COLUMNS, "no tab", "1 column"},
        {CR_FORMAT_JSON, "", "empty"},
        {CR_FORMAT_JSON, "q\tp", "not valid JSON"},
        {CR_FORMAT_JSON, "[1]", "an array"},
        {CR_FORMAT_JSON, "\"s\"", "a string"},
        {CR_FORMAT_JSON, "{}", "no \"query\""},
        {CR_FORMAT_JSON, "{\"query\":\"q\"}", "no \"passage\""},
        {CR_FORMAT_JSON, "{\"query\":1,\"text\":\"\"}", "is a number"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"text\":null}", "is null"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"text\":true}", "is a boolean"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"text\":{}}", "is an object"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"query\":\"r\",\"text\":\"\"}",
         "duplicate"},
        {CR_FORMAT_JSON, "{\"query\":\"q\",\"text\":\"\"} x",
         "end of file expected"},
        {CR_FORMAT_JSON, "{\"query\":\"\xff\",\"text\":\"\"}",
         "unable to decode byte"},
        {CR_FORMAT_JSON, "{\"query\":\"\\ud800\",\"text\":\"\"}",
         "invalid Unicode"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cr_record record;
        cr_error error;
        assert_int_equal(cr_record_parse(text_of(CASES[i].line), CR_RECORD_PAIR,
                                         CASES[i].format, &record, &error),
                         CR_ERR_INPUT);
        if (!strstr(error.message, CASES[i].message))
            fail_msg("\"%s\" has no \"%s\"", error.message, CASES[i].message);
        cr_record_fini(&record);
    }
}

static void test_passages(void **state) {
    (void)state;
    cr_record record;
    assert_int_equal(cr_record_parse(text_of("a\tb"), CR_RECORD_PASSAGE,
                                     CR_FORMAT_COLUMNS, &record, NULL),
                     CR_OK);
    expect_text(record.passage, "a\tb");
    assert_int_equal(cr_record_parse(text_of(""), CR_RECORD_PASSAGE,
                                     CR_FORMAT_COLUMNS, &record, NULL),
                     CR_OK);
    expect_text(record.passage, "");
    assert_int_equal(cr_record_parse(text_of("{\"text\":\"t\"}"),
                                     CR_RECORD_PASSAGE, CR_FORMAT_JSON, &record,
                                     NULL),
                     CR_OK);
    expect_text(record.passage, "t");
    cr_record_fini(&record);
}

static void test_nul_in_json_is_kept(void **state) {
    (void)state;
    cr_record record;
    const char *line = "{\"query\":\"a\\u0000b\",\"text\":\"\"}";
    assert_int_equal(cr_record_parse(text_of(line), CR_RECORD_PAIR,
                                     CR_FORMAT_JSON, &record, NULL),
                     CR_OK);
    assert_int_equal(record.query.len, 3);
    assert_memory_equal(record.query.data, "a\0b", 3);
    cr_record_fini(&record);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detect),
        cmocka_unit_test(test_good_pairs),
        cmocka_unit_test(test_bad_pairs),
        cmocka_unit_test(test_passages),
        cmocka_unit_test(test_nul_in_json_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
