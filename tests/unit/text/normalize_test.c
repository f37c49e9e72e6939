/* Raw text to words, in each of the normaliser's switches. Expected words are
 * those of `tokenizers` 0.23.3; tests/parity asks it about far more. */
#include "base/mem.h"
#include "text/normalize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CLEAN = 1, CJK = 2, STRIP = 4, LOWER = 8, UNCASED = 15 };
#define TEXT(literal)                                                          \
    { (literal), sizeof(literal) - 1 } /* an initializer */

static const cr_specials NO_SPECIALS;

static cr_normalizer normalizer_of(unsigned steps, uint32_t max_word_chars) {
    cr_normalizer n = {.clean_text = steps & CLEAN,
                       .split_cjk = steps & CJK,
                       .strip_accents = steps & STRIP,
                       .lowercase = steps & LOWER,
                       .max_word_chars = max_word_chars,
                       .specials = &NO_SPECIALS};
    cr_normalizer_init(&n);
    return n;
}

/* All words as "word[begin,end]|"; too long ones as "!". */
static const char *words_of(unsigned steps, cr_text text) {
    static char out[4096];
    static cr_word_reader reader;
    cr_normalizer n = normalizer_of(steps, 20);
    cr_word word;
    size_t len = 0;
    cr_word_reader_start(&reader, &n, text, true);
    out[0] = '\0';
    while (cr_word_reader_next(&reader, &word)) {
        assert_null(word.special);
        assert_in_range(word.n_chars, 1, 20);
        assert_in_range(word.n_bytes, word.n_chars, 4 * word.n_chars);
        len += (size_t)snprintf(out + len, sizeof out - len, "%.*s[%u,%u]|",
                                word.too_long ? 1 : (int)word.n_bytes,
                                word.too_long ? "!" : (const char *)word.bytes,
                                (unsigned)word.begin, (unsigned)word.end);
    }
    assert_int_equal(cr_word_reader_n_read(&reader), text.len);
    return out;
}

typedef struct words_case {
    unsigned steps;
    cr_text text;
    const char *words;
} words_case;

static void check(const words_case *cases, size_t n) {
    for (size_t i = 0; i < n; i++)
        assert_string_equal(words_of(cases[i].steps, cases[i].text),
                            cases[i].words);
}
#define CHECK(cases) check(cases, sizeof(cases) / sizeof(cases)[0])

static void text_is_cleaned(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT(""), ""},
        {UNCASED, TEXT(" \t\n\r\xC2\xA0\xE3\x80\x80"), ""},
        {UNCASED, TEXT("a\0b"), "ab[0,3]|"},
        {UNCASED, TEXT("\0a\0"), "a[1,2]|"},
        {UNCASED,
         TEXT("a\x0B"
              "b\xC2\x85"
              "c"),
         "abc[0,5]|"},
        {LOWER,
         TEXT("a\x0B"
              "b\xC2\x85"
              "c"),
         "a[0,1]|b[2,3]|c[4,5]|"},
        {UNCASED,
         TEXT("a\xEF\xBF\xBD"
              "b\xFF"
              "c"),
         "abc[0,5]|"},
        {0,
         TEXT("a\xFF"
              "b"),
         "a\xEF\xBF\xBD"
         "b[0,3]|"},
        {UNCASED, TEXT("soft\xC2\xADhyphen"), "softhyphen[0,11]|"},
        {UNCASED, TEXT("\xEE\x80\x80"), ""}, /* private use */
        {UNCASED,
         TEXT("a\xE2\x80\x83"
              "b\xE1\x9A\x80"
              "c"),
         "a[0,1]|b[2,3]|c[4,5]|"},
    };
    CHECK(CASES);
}

static void punctuation_stands_alone(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT("it's...x"),
         "it[0,2]|'[2,3]|s[3,4]|.[4,5]|.[5,6]|.[6,7]|x[7,8]|"},
        {UNCASED, TEXT("$5~^`"), "$[0,1]|5[1,2]|~[2,3]|^[3,4]|`[4,5]|"},
        {UNCASED,
         TEXT("a\xE3\x80\x82"
              "b"),
         "a[0,1]|\xE3\x80\x82[1,2]|b[2,3]|"},
        /* U+226E is '<' and a mark; U+037E is ';'. */
        {UNCASED,
         TEXT("a\xE2\x89\xAE"
              "b"),
         "a[0,1]|<[1,2]|b[2,3]|"},
        {UNCASED, TEXT("\xCD\xBE"), ";[0,1]|"},
        {LOWER, TEXT("\xE2\x89\xAE"), "\xE2\x89\xAE[0,1]|"},
    };
    CHECK(CASES);
}

static void case_and_accents(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT("R\xC3\xA9SUM\xC3\x89"), "resume[0,6]|"},
        {CLEAN | CJK, TEXT("R\xC3\xA9SUM\xC3\x89"),
         "R\xC3\xA9SUM\xC3\x89[0,6]|"},
        {LOWER, TEXT("R\xC3\xA9SUM\xC3\x89"), "r\xC3\xA9sum\xC3\xA9[0,6]|"},
        {STRIP, TEXT("R\xC3\xA9SUM\xC3\x89"), "ReSUME[0,6]|"},
        {UNCASED,
         TEXT("e\xCC\x81\xCC\x80"
              "x"),
         "ex[0,4]|"},
        {LOWER, TEXT("\xC4\xB0X"), "i\xCC\x87x[0,2]|"}, /* dotted I */
        {UNCASED, TEXT("\xC4\xB0X"), "ix[0,2]|"},
        {UNCASED, TEXT("\xCE\xA3\xCE\xA3"), "\xCF\x83\xCF\x83[0,2]|"},
        {UNCASED, TEXT("\xE2\x84\xAA"), "k[0,1]|"}, /* Kelvin */
        {UNCASED, TEXT("\xCC\x81"), ""},
    };
    CHECK(CASES);
}

static void scripts_of_the_east(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT("a\xE4\xB8\x80\xE4\xB8\x81z"),
         "a[0,1]|\xE4\xB8\x80[1,2]|\xE4\xB8\x81[2,3]|z[3,4]|"},
        {UNCASED & ~CJK, TEXT("a\xE4\xB8\x80z"), "a\xE4\xB8\x80z[0,3]|"},
        /* A compatibility ideograph becomes the unified one. */
        {UNCASED, TEXT("\xEF\xA4\x80"), "\xE8\xB1\x88[0,1]|"},
        {CLEAN | CJK, TEXT("\xEF\xA4\x80"), "\xEF\xA4\x80[0,1]|"},
        /* U+2B820 is not in the list of `tokenizers`. */
        {UNCASED, TEXT("a\xF0\xAB\xA0\xA0"), "a\xF0\xAB\xA0\xA0[0,2]|"},
        {UNCASED, TEXT("\xEA\xB0\x81"),
         "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8[0,1]|"},
        {UNCASED, TEXT("\xEA\xB0\x80"), "\xE1\x84\x80\xE1\x85\xA1[0,1]|"},
        {LOWER, TEXT("\xEA\xB0\x81"), "\xEA\xB0\x81[0,1]|"},
    };
    CHECK(CASES);
}

/* U+302E (class 224) and U+1D165 (216) outlive stripping; U+0301 (230) and
 * U+0316 (220) do not; U+034F (0) does not either, but ends the run. */
#define M224 "\xE3\x80\xAE"
#define M216 "\xF0\x9D\x85\xA5"
#define M230 "\xCC\x81"
#define M0 "\xCD\x8F"

static void marks_are_sorted_in_their_run(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT("a" M224 M216), "a" M216 M224 "[0,3]|"},
        {UNCASED, TEXT("a" M224 "\x01" M216), "a" M216 M224 "[0,4]|"},
        {UNCASED, TEXT("a" M224 M0 M216), "a" M224 M216 "[0,4]|"},
        {UNCASED, TEXT("a" M224 "b" M216), "a" M224 "b" M216 "[0,4]|"},
        {UNCASED, TEXT(M224 M216), M216 M224 "[0,2]|"},
        {UNCASED, TEXT("!" M224 M216 "!"), "![0,1]|" M216 M224 "[1,3]|![3,4]|"},
        {LOWER, TEXT("a" M224 M216), "a" M224 M216 "[0,3]|"},
        /* A stripped mark of a higher class makes room before it. */
        {UNCASED, TEXT("a" M230 M224 " x"), "a" M224 "[0,2]|x[4,5]|"},
        {UNCASED, TEXT("\xC3\xA1" M224), "a" M224 "[0,2]|"},
        {UNCASED, TEXT("a" M230 "\x01\x02" M224 "\x03 x"),
         "a" M224 "[0,2]|x[7,8]|"},
    };
    CHECK(CASES);
}

static void long_words_are_read_to_their_end(void **state) {
    (void)state;
    static const words_case CASES[] = {
        {UNCASED, TEXT("aaaaaaaaaaaaaaaaaaaa b"),
         "aaaaaaaaaaaaaaaaaaaa[0,20]|b[21,22]|"},
        {UNCASED, TEXT("aaaaaaaaaaaaaaaaaaaaa b"), "![0,21]|b[22,23]|"},
        {UNCASED, TEXT("aaaaaaaaaaaaaaaaaaaa\xC3\xA9z.b"),
         "![0,22]|.[22,23]|b[23,24]|"},
        {UNCASED, TEXT("aaaaaaaaaaaaaaaaaaaa" M230 "\x01"),
         "aaaaaaaaaaaaaaaaaaaa[0,20]|"},
        {UNCASED, TEXT("aaaaaaaaaaaaaaaaaaaa" M224), "![0,21]|"},
        {UNCASED,
         TEXT("\xEA\xB0\x81\xEA\xB0\x81\xEA\xB0\x81\xEA\xB0\x81\xEA\xB0\x81"
              "\xEA\xB0\x81\xEA\xB0\x81"),
         "![0,7]|"},
    };
    CHECK(CASES);
}

/* Runs of marks far beyond any buffer: bounded memory, exact offsets. */
static void runs_of_marks_without_end(void **state) {
    (void)state;
    enum { N_MARKS = 50000 };
    char *text = cr_alloc(1 + 3 * N_MARKS + 2 * N_MARKS + 2);
    assert_non_null(text);
    size_t len = 0;
    text[len++] = 'a';
    for (size_t i = 0; i < N_MARKS; i++, len += 2)
        memcpy(text + len, M230, 2);
    memcpy(text + len, " b", 2);
    assert_string_equal(words_of(UNCASED, (cr_text){text, len + 2}),
                        "a[0,1]|b[50002,50003]|");
    /* One kept mark behind them all takes the first one's place. */
    memcpy(text + len, M224, 3);
    assert_string_equal(words_of(UNCASED, (cr_text){text, len + 3}),
                        "a" M224 "[0,2]|");
    /* Many kept ones and no letter: from the first place to their number. */
    for (size_t i = 0; i < N_MARKS; i++, len += 3)
        memcpy(text + len, M224, 3);
    assert_string_equal(words_of(UNCASED, (cr_text){text + 1, len - 1}),
                        "![0,50000]|");
    cr_free(text);
}

static void nothing_behind_the_word_is_read(void **state) {
    (void)state;
    static cr_word_reader reader;
    static const char text[] = "one two three";
    cr_normalizer n = normalizer_of(UNCASED, 100);
    cr_word word;
    cr_word_reader_start(&reader, &n, (cr_text)TEXT(text), false);
    assert_true(cr_word_reader_next(&reader, &word));
    assert_in_range(cr_word_reader_n_read(&reader), 3, 4);
    assert_true(cr_word_reader_next(&reader, &word));
    assert_in_range(cr_word_reader_n_read(&reader), 7, 8);
}

/* Words do not depend on whether offsets are wanted, in any switches, for any
 * code point among marks, letters and spaces. */
static void offsets_change_nothing(void **state) {
    (void)state;
    static cr_word_reader with, without;
    for (uint32_t c = 0; c <= CR_UNICODE_MAX; c += c < 0x20000 ? 1 : 97) {
        unsigned steps = c % 16;
        char text[64] = "x" M230;
        size_t len = 3;
        if (c < 0xD800 || c > 0xDFFF)
            len += cr_utf8_encode(c, (uint8_t *)text + len);
        memcpy(text + len, M224 M216 "y", 8);
        cr_normalizer n = normalizer_of(steps, 5);
        cr_word a, b;
        cr_word_reader_start(&with, &n, (cr_text){text, len + 8}, true);
        cr_word_reader_start(&without, &n, (cr_text){text, len + 8}, false);
        bool more = true;
        while (more) {
            more = cr_word_reader_next(&with, &a);
            assert_int_equal(cr_word_reader_next(&without, &b), more);
            if (!more)
                break;
            assert_int_equal(a.too_long, b.too_long);
            assert_int_equal(a.n_bytes, b.n_bytes);
            assert_memory_equal(a.bytes, b.bytes, a.n_bytes);
            assert_in_range(a.end, a.begin + 1, len + 8);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_cleaned),
        cmocka_unit_test(punctuation_stands_alone),
        cmocka_unit_test(case_and_accents),
        cmocka_unit_test(scripts_of_the_east),
        cmocka_unit_test(marks_are_sorted_in_their_run),
        cmocka_unit_test(long_words_are_read_to_their_end),
        cmocka_unit_test(runs_of_marks_without_end),
        cmocka_unit_test(nothing_behind_the_word_is_read),
        cmocka_unit_test(offsets_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
