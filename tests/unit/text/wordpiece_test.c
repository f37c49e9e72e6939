/* WordPiece: longest piece first, whole words, and vocabularies that are odd.
 */
#include "base/mem.h"
#include "text/utf8.h"
#include "text/wordpiece.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

typedef struct small_vocab {
    cr_text texts[300];
    size_t n;
    cr_wordpiece wordpiece;
} small_vocab;

static void open_vocab(small_vocab *v, const char *words, const char *prefix) {
    v->n = 0;
    for (const char *p = words; *p;) {
        size_t len = strcspn(p, " ");
        v->texts[v->n++] = (cr_text){p, len};
        p += len + (p[len] == ' ');
    }
    cr_error error = {.message = ""};
    if (cr_wordpiece_init(&v->wordpiece, v->texts, v->n,
                          (cr_text){prefix, strlen(prefix)}, &error) != CR_OK)
        fail_msg("%s", error.message);
}

/* Pieces as "3@5 7@8": id and end. */
static const char *pieces_of(const small_vocab *v, const char *word) {
    static char out[1024];
    uint8_t bytes[256] = {0};
    cr_piece pieces[256];
    size_t len = 0, n_bytes = strlen(word);
    memcpy(bytes, word, n_bytes);
    memset(bytes + n_bytes, 'z', 8); /* must not matter */
    size_t n =
        cr_wordpiece_split(&v->wordpiece, bytes, (uint32_t)n_bytes, pieces);
    out[0] = '\0';
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%d@%u",
                                i ? " " : "", (int)pieces[i].id,
                                (unsigned)pieces[i].end_bytes);
    return out;
}

static void the_longest_piece_wins(void **state) {
    (void)state;
    small_vocab v;
    open_vocab(&v,
               "a ab abc ##c ##d ##cd abcdefgh abcdefghi ##ijklmnopq "
               "##ijklmnopqrstuvwx un ##afford ##able \xC3\xA9 ##\xC3\xA9",
               "##");
    assert_string_equal(pieces_of(&v, "a"), "0@1");
    assert_string_equal(pieces_of(&v, "abc"), "2@3");
    assert_string_equal(pieces_of(&v, "abcd"), "2@3 4@4");
    assert_string_equal(pieces_of(&v, "acd"), "0@1 5@3");
    assert_string_equal(pieces_of(&v, "unaffordable"), "10@2 11@8 12@12");
    assert_string_equal(pieces_of(&v, "abcdefgh"), "6@8");
    assert_string_equal(pieces_of(&v, "abcdefghi"), "7@9");
    assert_string_equal(pieces_of(&v, "abcdefghijklmnopq"), "");
    assert_string_equal(pieces_of(&v, "abijklmnopq"), "1@2 8@11");
    assert_string_equal(pieces_of(&v, "abijklmnopqrstuvwx"), "1@2 9@18");
    assert_string_equal(pieces_of(&v, "abijklmnopqrstuvwxc"), "1@2 9@18 3@19");
    assert_string_equal(pieces_of(&v, "abijklmnopqrstuvwyc"), "");
    /* Known at the start only, or inside only, or in part. */
    assert_string_equal(pieces_of(&v, "ca"), "");
    assert_string_equal(pieces_of(&v, "aa"), "");
    assert_string_equal(pieces_of(&v, "\xC3\xA9\xC3\xA9"), "13@2 14@4");
    assert_string_equal(pieces_of(&v, "\xC3\xA8"), "");
    cr_wordpiece_fini(&v.wordpiece);
}

static void texts_come_back(void **state) {
    (void)state;
    small_vocab v;
    open_vocab(&v, "a  ##b", "##"); /* id 1 is not in use */
    assert_int_equal(cr_wordpiece_text(&v.wordpiece, 2).len, 3);
    assert_memory_equal(cr_wordpiece_text(&v.wordpiece, 2).data, "##b", 3);
    assert_int_equal(cr_wordpiece_text(&v.wordpiece, 1).len, 0);
    assert_int_equal(cr_wordpiece_text(&v.wordpiece, 3).len, 0);
    assert_int_equal(cr_wordpiece_text(&v.wordpiece, -1).len, 0);
    cr_wordpiece_fini(&v.wordpiece);
}

static void of_equal_texts_the_last_counts(void **state) {
    (void)state;
    small_vocab v;
    open_vocab(&v, "a ##b a ##b", "##");
    assert_string_equal(pieces_of(&v, "ab"), "2@1 3@2");
    cr_wordpiece_fini(&v.wordpiece);
}

static void prefixes_of_other_kinds(void **state) {
    (void)state;
    small_vocab v;
    open_vocab(&v, "a b xb xc", "x"); /* one that words may begin with */
    assert_string_equal(pieces_of(&v, "ab"), "0@1 2@2");
    assert_string_equal(pieces_of(&v, "xb"), "2@2");
    assert_string_equal(pieces_of(&v, "xbc"), "2@2 3@3");
    cr_wordpiece_fini(&v.wordpiece);
    open_vocab(&v, "a b bc", "");
    assert_string_equal(pieces_of(&v, "abc"), "0@1 2@3");
    cr_wordpiece_fini(&v.wordpiece);
}

static void every_key_of_many_is_found(void **state) {
    (void)state;
    enum { N = 20000 };
    char(*texts)[16] = cr_calloc(N, sizeof *texts);
    cr_text *vocab = cr_calloc(N, sizeof *vocab);
    cr_wordpiece w;
    cr_piece pieces[16];
    assert_non_null(texts);
    assert_non_null(vocab);
    for (size_t i = 0; i < N; i++)
        vocab[i] =
            (cr_text){texts[i], (size_t)snprintf(texts[i], sizeof texts[i],
                                                 "%s%zx", i % 2 ? "##" : "",
                                                 i * 2654435761u % (1 << 30))};
    assert_int_equal(cr_wordpiece_init(&w, vocab, N, (cr_text){"##", 2}, NULL),
                     CR_OK);
    for (size_t i = 0; i < N; i += 2) {
        uint8_t word[32] = {0};
        memcpy(word, texts[i], vocab[i].len);
        assert_int_equal(
            cr_wordpiece_split(&w, word, (uint32_t)vocab[i].len, pieces), 1);
        assert_int_equal(pieces[0].id, i);
    }
    cr_wordpiece_fini(&w);
    cr_free(texts);
    cr_free(vocab);
}

static void faulty_vocabularies_are_refused(void **state) {
    (void)state;
    cr_wordpiece w;
    cr_error error;
    cr_text vocab[] = {{"a", 1}, {"\xC3", 1}};
    assert_int_equal(
        cr_wordpiece_init(&w, vocab, 2, (cr_text){"##", 2}, &error),
        CR_ERR_MODEL);
    assert_non_null(strstr(error.message, "token 1 is not valid UTF-8"));
    char *giant = cr_alloc(CR_MAX_TOKEN_BYTES + 1);
    assert_non_null(giant);
    memset(giant, 'a', CR_MAX_TOKEN_BYTES + 1);
    vocab[1] = (cr_text){giant, CR_MAX_TOKEN_BYTES + 1};
    assert_int_equal(
        cr_wordpiece_init(&w, vocab, 2, (cr_text){"##", 2}, &error),
        CR_ERR_MODEL);
    assert_non_null(strstr(error.message, "65536 bytes"));
    cr_free(giant);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_piece_wins),
        cmocka_unit_test(texts_come_back),
        cmocka_unit_test(of_equal_texts_the_last_counts),
        cmocka_unit_test(prefixes_of_other_kinds),
        cmocka_unit_test(every_key_of_many_is_found),
        cmocka_unit_test(faulty_vocabularies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
