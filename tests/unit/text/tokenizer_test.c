/* The tokenizer as a whole: the shipped vocabulary, limits, how much of a
 * text is read, contradictions, and memory that runs out. */
#include "small.h"

#include "base/buf.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EXPECT(s, literal, tokens)                                             \
    assert_string_equal(small_tokens(s, SMALL_TEXT(literal)), tokens)

static void words_become_tokens(void **state) {
    (void)state;
    small s;
    small_describe(&s, "un ##afford ##able hello , \xE1\x84\x80 "
                       "##\xE1\x85\xA1 ##\xE1\x86\xA8");
    small_open(&s);
    EXPECT(&s, "", "");
    EXPECT(&s, "  \t", "");
    EXPECT(&s,
           "Hello,Un\xC3\x84"
           "ffordable",
           "hello[0,5] ,[5,6] un[6,8] ##afford[8,14] ##able[14,18]");
    EXPECT(&s, "hello, x unafford",
           "hello[0,5] ,[5,6] [UNK][7,8] un[9,11] ##afford[11,17]");
    EXPECT(&s, "unx", "[UNK][0,3]");
    /* Three tokens from one code point: a syllable comes apart. */
    EXPECT(&s, "\xEA\xB0\x81",
           "\xE1\x84\x80[0,1] ##\xE1\x85\xA1[0,1] ##\xE1\x86\xA8[0,1]");
    small_close(&s);
}

static void long_words_are_unknown(void **state) {
    (void)state;
    small s;
    small_describe(&s, "a ##a");
    s.spec.max_word_chars = 3;
    small_open(&s);
    EXPECT(&s, "aaa", "a[0,1] ##a[1,2] ##a[2,3]");
    EXPECT(&s, "aaaa a", "[UNK][0,4] a[5,6]");
    EXPECT(&s, "\xC3\xA1\xC3\xA1\xC3\xA1", "a[0,1] ##a[1,2] ##a[2,3]");
    EXPECT(&s,
           "a\xCC\x81\xCC\x81\xCC\x81"
           "a",
           "a[0,1] ##a[4,5]");
    small_close(&s);
}

/* Of a 1 MB text as much is read as of a 10 KB one: up to the first token too
 * many. */
static void reading_stops_at_the_capacity(void **state) {
    (void)state;
    enum { SHORT = 10 << 10, LONG = 1 << 20, CAPACITY = 509 };
    static const char part[] = "hello, \xC3\xA9t\xC3\xA9 \xE4\xB8\x80 ";
    static int32_t ids[CAPACITY];
    size_t lens[] = {SHORT, LONG}, n_read[2];
    char *text = cr_alloc(LONG);
    cr_token_scratch *scratch;
    small s;
    small_describe(&s, "hello , ete");
    small_open(&s);
    assert_non_null(text);
    assert_int_equal(cr_token_scratch_new(CAPACITY, &scratch, NULL), CR_OK);
    for (size_t i = 0; i < LONG; i++)
        text[i] = part[i % (sizeof part - 1)];
    for (int i = 0; i < 2; i++) {
        cr_tokens tokens = {.ids = ids, .capacity = CAPACITY};
        cr_tokenizer_encode(s.tokenizer, scratch, (cr_text){text, lens[i]},
                            false, &tokens);
        assert_true(tokens.cut);
        assert_int_equal(tokens.n, CAPACITY);
        assert_int_equal(tokens.n_beyond, 1);
        n_read[i] = tokens.n_bytes_read;
        cr_tokenizer_encode(s.tokenizer, scratch, (cr_text){text, lens[i]},
                            true, &tokens);
        assert_int_equal(tokens.n_bytes_read, lens[i]);
        assert_in_range(tokens.n + tokens.n_beyond, lens[i] / 5, lens[i] / 3);
    }
    print_message("# read of 10 KB: %zu bytes, of 1 MB: %zu\n", n_read[0],
                  n_read[1]);
    assert_int_equal(n_read[0], n_read[1]);
    assert_in_range(n_read[1], CAPACITY, 5 * CAPACITY);
    cr_token_scratch_free(scratch);
    cr_free(text);
    small_close(&s);
}

static void contradictions_are_refused(void **state) {
    (void)state;
    for (int fault = 0; fault < 9; fault++) {
        static const char *const MESSAGES[] = {
            "the cls token has id 99",
            "the sep token has id -1",
            "the unk token has id 6",
            "max_input_chars_per_word is 0",
            "max_input_chars_per_word is 1001",
            "\"[SEP]\" has id 4, which is \"[MASK]\"",
            "\"<x>\" has id -1",
            "token 5 is not valid UTF-8",
            "the cls token has id 0",
        };
        small s;
        small_describe(&s, "a  b"); /* id 6 is not in use */
        if (fault == 0)
            s.spec.cls_id = 99;
        if (fault == 1)
            s.spec.sep_id = -1;
        if (fault == 2)
            s.spec.unk_id = 6;
        if (fault == 3)
            s.spec.max_word_chars = 0;
        if (fault == 4)
            s.spec.max_word_chars = CR_MAX_WORD_CHARS + 1;
        if (fault == 5)
            s.specials[3].id = 4;
        if (fault == 6)
            small_add_special(&s,
                              (cr_special_token){.text = {"<x>", 3}, .id = -1});
        if (fault == 7)
            s.vocab[5] = (cr_text){"\xC0", 1};
        if (fault == 8) {
            s.spec.n_vocab = 0;
            s.spec.n_specials = 0;
            s.spec.cls_id = 0;
        }
        cr_error error = {.message = ""};
        cr_status want =
            fault == 3 || fault == 4 ? CR_ERR_UNSUPPORTED : CR_ERR_MODEL;
        assert_int_equal(cr_tokenizer_new(&s.spec, &s.tokenizer, &error), want);
        if (!strstr(error.message, MESSAGES[fault]))
            fail_msg("\"%s\" lacks \"%s\"", error.message, MESSAGES[fault]);
        assert_null(s.tokenizer);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    cr_pair pair = {SMALL_TEXT("a[SEP]b"), SMALL_TEXT("a a a")};
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        cr_token_scratch *scratch = NULL;
        cr_encoding *encoding = NULL;
        cr_error error = {.message = ""};
        small s;
        small_describe(&s, "a b");
        cr_mem_fail_after(n);
        cr_status status = cr_tokenizer_new(&s.spec, &s.tokenizer, &error);
        if (status == CR_OK)
            status = cr_token_scratch_new(64, &scratch, &error);
        if (status == CR_OK)
            status = cr_tokenizer_explain_pair(s.tokenizer, &pair, 64,
                                               CR_TRUNCATE_LONGEST_FIRST,
                                               &encoding, &error);
        cr_mem_fail_never();
        done = status == CR_OK;
        if (!done) {
            assert_int_equal(status, CR_ERR_MEMORY);
            assert_null(encoding);
            assert_int_not_equal(error.message[0], '\0');
            assert_in_range(n, 0, 30);
        } else {
            assert_in_range(n, 12, 30);
        }
        cr_encoding_free(encoding);
        cr_token_scratch_free(scratch);
        small_close(&s);
    }
}

/* A few lines of the shipped model's vocabulary, ids by `tokenizers` 0.23.3
 * (tests/parity asks it about millions). */
static void the_shipped_vocabulary(void **state) {
    (void)state;
    static const int32_t IDS[] = {7632, 2045, 1010, 14477, 4246, 8551,
                                  3085, 1005, 1055, 4895,  1011, 1998,
                                  102,  1996, 1746, 100,   1012};
    cr_buf file;
    cr_text *vocab = cr_calloc(40000, sizeof *vocab);
    assert_non_null(vocab);
    cr_buf_init(&file, 1 << 20);
    assert_int_equal(cr_buf_read_file(&file,
                                      CR_SOURCE_ROOT
                                      "/models/crossrank-minilm-l6/vocab.txt",
                                      NULL),
                     CR_OK);
    small s;
    small_describe(&s, "");
    s.spec.vocab = vocab;
    s.spec.n_vocab = 0;
    for (char *p = file.data; p < file.data + file.len;) {
        char *end = strchr(p, '\n');
        vocab[s.spec.n_vocab++] = (cr_text){p, (size_t)(end - p)};
        p = end + 1;
    }
    assert_int_equal(s.spec.n_vocab, 30522);
    s.spec.unk_id = 100;
    s.spec.cls_id = 101;
    s.spec.sep_id = 102;
    static const int32_t SPECIAL_IDS[] = {0, 100, 101, 102, 103};
    for (int i = 0; i < 5; i++)
        s.specials[i].id = SPECIAL_IDS[i];
    small_open(&s);
    int32_t ids[64];
    cr_tokens tokens = {.ids = ids, .capacity = 64};
    cr_token_scratch *scratch;
    assert_int_equal(cr_token_scratch_new(64, &scratch, NULL), CR_OK);
    cr_tokenizer_encode(
        s.tokenizer, scratch,
        SMALL_TEXT("Hi there, unaffordable's un-and[SEP]the \xE4\xB8\xAD "
                   "\xF0\x9F\x98\x80."),
        true, &tokens);
    assert_int_equal(tokens.n, sizeof IDS / sizeof IDS[0]);
    assert_memory_equal(ids, IDS, sizeof IDS);
    cr_token_scratch_free(scratch);
    small_close(&s);
    cr_buf_fini(&file);
    cr_free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_become_tokens),
        cmocka_unit_test(long_words_are_unknown),
        cmocka_unit_test(reading_stops_at_the_capacity),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_shipped_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
