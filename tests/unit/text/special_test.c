/* Added tokens in raw text, with each of their switches; expected tokens and
 * offsets are those of `tokenizers` 0.23.3. */
#include "small.h"

#include "text/special.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define EXPECT(s, literal, tokens)                                             \
    assert_string_equal(small_tokens(s, SMALL_TEXT(literal)), tokens)

static void they_are_found_as_written(void **state) {
    (void)state;
    small s;
    small_describe(&s, "a b sep [ ] ##b");
    small_open(&s);
    EXPECT(&s, "a[SEP]b", "a[0,1] [SEP][1,6] b[6,7]");
    EXPECT(&s, "[SEP]", "[SEP][0,5]");
    EXPECT(&s, "[SEP][SEP]", "[SEP][0,5] [SEP][5,10]");
    EXPECT(&s, "[[SEP]]", "[[0,1] [SEP][1,6] ][6,7]");
    EXPECT(&s, "[sep]", "[[0,1] sep[1,4] ][4,5]");
    EXPECT(&s, "[SEP", "[[0,1] sep[1,4]");
    EXPECT(&s, "[S\0EP]", "[[0,1] sep[1,5] ][5,6]");
    EXPECT(&s, "\xE2\x82[PAD]", "[PAD][1,6]");
    EXPECT(&s, "[SEP]\xCC\x81", "[SEP][0,5]");
    EXPECT(&s, "a[UNK]b", "a[0,1] [UNK][1,6] b[6,7]");
    small_close(&s);
}

static void the_longest_wins(void **state) {
    (void)state;
    small s;
    small_describe(&s, "x");
    small_add_special(&s, (cr_special_token){.text = {"<a", 2}, .id = 10});
    small_add_special(&s, (cr_special_token){.text = {"<a><b", 5}, .id = 11});
    small_add_special(&s, (cr_special_token){.text = {"<a>", 3}, .id = 12});
    small_add_special(&s,
                      (cr_special_token){.text = {"\xC3\xA9t", 3}, .id = 13});
    small_add_special(&s, (cr_special_token){.text = {"", 0}, .id = 14});
    small_open(&s);
    EXPECT(&s, "<a><b<a>x<a", "<a><b[0,5] <a>[5,8] x[8,9] <a[9,11]");
    EXPECT(&s, "\xC3\xA9tx", "\xC3\xA9t[0,2] x[2,3]");
    assert_int_equal(cr_tokenizer_vocab_size(s.tokenizer), 14);
    small_close(&s);
}

static void white_space_goes_along(void **state) {
    (void)state;
    small s;
    small_describe(&s, "a b");
    small_add_special(
        &s, (cr_special_token){.text = {"<l>", 3}, .id = 9, .lstrip = true});
    small_add_special(
        &s, (cr_special_token){.text = {"<r>", 3}, .id = 10, .rstrip = true});
    small_open(&s);
    EXPECT(&s, "a  <l>  b", "a[0,1] <l>[1,6] b[8,9]");
    EXPECT(&s, "a  <r>  b", "a[0,1] <r>[3,8] b[8,9]");
    EXPECT(&s, "<r> \xC2\xA0\xE3\x80\x80 <l>", "<r>[0,7] <l>[7,10]");
    EXPECT(&s, "<l>\n<l>", "<l>[0,3] <l>[3,7]");
    EXPECT(&s, "\xC2\x85<l>", "<l>[0,4]");
    EXPECT(&s, "\xA0<l>", "<l>[1,4]"); /* half a space is none */
    EXPECT(&s, " <l><r> ", "<l>[0,4] <r>[4,8]");
    small_close(&s);
}

static void whole_words_only(void **state) {
    (void)state;
    small s;
    small_describe(&s, "of a x . offx xo ##f e o");
    small_add_special(
        &s,
        (cr_special_token){.text = {"off", 3}, .id = 14, .single_word = true});
    small_add_special(&s, (cr_special_token){.text = {"f", 1}, .id = 15});
    small_open(&s);
    EXPECT(&s, "off", "off[0,3]");
    EXPECT(&s, "a off.", "a[0,1] off[2,5] .[5,6]");
    /* Not whole: nothing else begins inside it either. */
    EXPECT(&s, "offx", "offx[0,4]");
    EXPECT(&s, "xof", "xo[0,2] f[2,3]");
    EXPECT(&s, "xoff", "xo[0,2] ##f[2,3] ##f[3,4]");
    EXPECT(&s, "\xC3\xA9off\xFF", "[UNK][0,4]");
    EXPECT(&s, "\xE2\x80\x94off\xFF", "[UNK][0,1] off[1,4]");
    small_close(&s);
}

static void faulty_ones_are_refused(void **state) {
    (void)state;
    cr_error error;
    cr_specials specials;
    static const struct {
        cr_special_token tokens[2];
        cr_status status;
        const char *message;
    } CASES[] = {
        {{{.text = {"<a>", 3}, .id = 7, .normalized = true}},
         CR_ERR_UNSUPPORTED,
         "\"<a>\" (id 7) is \"normalized\""},
        {{{.text = {"x\xFF", 2}, .id = 7}}, CR_ERR_UNSUPPORTED, "U+FFFD"},
        {{{.text = {"\xEF\xBF\xBD", 3}, .id = 7}},
         CR_ERR_UNSUPPORTED,
         "U+FFFD"},
        {{{.text = {"<a>", 3}, .id = 7}, {.text = {"<a>", 3}, .id = 8}},
         CR_ERR_MODEL,
         "two added tokens have one text"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(
            cr_specials_init(&specials, CASES[i].tokens, 2, &error),
            CASES[i].status);
        assert_non_null(strstr(error.message, CASES[i].message));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_found_as_written),
        cmocka_unit_test(the_longest_wins),
        cmocka_unit_test(white_space_goes_along),
        cmocka_unit_test(whole_words_only),
        cmocka_unit_test(faulty_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
