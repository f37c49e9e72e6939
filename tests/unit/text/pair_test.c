/* Pairs: what is cut, against the rule as `tokenizers` writes it, and the
 * three ways to encode a pair against each other. */
#include "small.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The longest_first of `tokenizers`, restated: the shorter side keeps its
 * tokens if it can, else both get half and the longer one the odd token. */
static cr_pair_cut longest_first(size_t n_query, size_t n_passage,
                                 size_t budget) {
    size_t n1 = n_query, n2 = n_passage;
    if (n1 + n2 <= budget)
        return (cr_pair_cut){n1, n2};
    bool swap = n1 > n2;
    if (swap) {
        n1 = n_passage;
        n2 = n_query;
    }
    if (n1 > budget)
        n2 = n1;
    else
        n2 = n1 > budget - n1 ? n1 : budget - n1;
    if (n1 + n2 > budget) {
        n1 = budget / 2;
        n2 = n1 + budget % 2;
    }
    return swap ? (cr_pair_cut){n2, n1} : (cr_pair_cut){n1, n2};
}

static void longest_first_is_that_of_tokenizers(void **state) {
    (void)state;
    for (uint32_t max_length = 3; max_length < 24; max_length++)
        for (size_t q = 0; q < 40; q++)
            for (size_t p = 0; p < 40; p++) {
                cr_pair_cut want = longest_first(q, p, max_length - 3);
                cr_pair_cut got = cr_pair_truncate(q, p, max_length - 3,
                                                   CR_TRUNCATE_LONGEST_FIRST);
                if (got.n_query != want.n_query ||
                    got.n_passage != want.n_passage)
                    fail_msg("%zu and %zu tokens in %u", q, p,
                             (unsigned)max_length);
            }
}

static void only_second_cuts_the_query_last(void **state) {
    (void)state;
    static const struct {
        size_t n_query, n_passage;
        uint32_t max_length;
        cr_pair_cut cut;
    } CASES[] = {
        {4, 5, 12, {4, 5}},  {4, 6, 12, {4, 5}}, {8, 9, 12, {8, 1}},
        {9, 9, 12, {9, 0}},  {9, 0, 12, {9, 0}}, {20, 9, 12, {9, 0}},
        {20, 0, 12, {9, 0}}, {5, 5, 3, {0, 0}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        cr_pair_cut cut =
            cr_pair_truncate(CASES[i].n_query, CASES[i].n_passage,
                             CASES[i].max_length - 3, CR_TRUNCATE_ONLY_SECOND);
        assert_int_equal(cut.n_query, CASES[i].cut.n_query);
        assert_int_equal(cut.n_passage, CASES[i].cut.n_passage);
    }
}

enum { MAX_LENGTH = 16, MAX_TOKENS = 60 };

/* `n` tokens, of which each second one is the second piece of a word. */
static cr_text text_of(size_t n, char *out) {
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        if (i % 2 == 0)
            out[len++] = ' ';
        out[len++] = i % 2 ? 'b' : 'a';
    }
    return (cr_text){out, len};
}

/* All ways to encode a pair of these sizes give the same. */
static void check_pair(const small *s, cr_token_scratch *scratch,
                       const cr_pair *pair, size_t n_query, size_t n_passage,
                       uint32_t max_length, cr_truncation truncation) {
    int32_t ids[MAX_LENGTH], query_ids[MAX_LENGTH];
    uint8_t type_ids[MAX_LENGTH];
    bool truncated;
    cr_encoding *whole;
    assert_int_equal(cr_tokenizer_explain_pair(s->tokenizer, pair, max_length,
                                               truncation, &whole, NULL),
                     CR_OK);
    cr_pair_cut cut =
        cr_pair_truncate(n_query, n_passage, max_length - 3, truncation);
    assert_int_equal(whole->n_tokens, cut.n_query + cut.n_passage + 3);
    assert_int_equal(whole->n_truncated,
                     n_query + n_passage + 3 - whole->n_tokens);
    cr_tokens query = {.ids = query_ids, .capacity = max_length};
    cr_tokenizer_encode(s->tokenizer, scratch, pair->query, true, &query);
    assert_int_equal(query.n + query.n_beyond, n_query);
    for (int given = 0; given < 2; given++) {
        size_t n = cr_tokenizer_encode_pair(
            s->tokenizer, scratch, pair, given ? &query : NULL, max_length,
            truncation, ids, type_ids, &truncated);
        assert_int_equal(n, whole->n_tokens);
        assert_memory_equal(ids, whole->ids, n * sizeof *ids);
        assert_memory_equal(type_ids, whole->type_ids, n);
        assert_int_equal(truncated, whole->n_truncated > 0);
    }
    cr_encoding_free(whole);
}

static void all_ways_agree(void **state) {
    (void)state;
    static char query[2 * MAX_TOKENS], passage[2 * MAX_TOKENS];
    cr_token_scratch *scratch;
    small s;
    small_describe(&s, "a ##b");
    small_open(&s);
    assert_int_equal(cr_token_scratch_new(MAX_LENGTH, &scratch, NULL), CR_OK);
    uint64_t n_checked = 0;
    for (uint32_t max_length = 3; max_length <= MAX_LENGTH; max_length++)
        for (size_t q = 0; q < MAX_TOKENS; q += q < 20 ? 1 : 7)
            for (size_t p = 0; p < MAX_TOKENS; p += p < 20 ? 1 : 5) {
                cr_pair pair = {text_of(q, query), text_of(p, passage)};
                check_pair(&s, scratch, &pair, q, p, max_length,
                           CR_TRUNCATE_LONGEST_FIRST);
                check_pair(&s, scratch, &pair, q, p, max_length,
                           CR_TRUNCATE_ONLY_SECOND);
                n_checked += 2;
            }
    assert_true(n_checked > 10000);
    cr_token_scratch_free(scratch);
    small_close(&s);
}

static void layout_and_offsets(void **state) {
    (void)state;
    static const int32_t ids[] = {2, 5, 6, 3, 5, 3};
    static const uint8_t type_ids[] = {0, 0, 0, 0, 1, 1};
    static const uint32_t offsets[][2] = {{0, 0}, {1, 2}, {2, 3},
                                          {0, 0}, {3, 4}, {0, 0}};
    cr_encoding *e;
    small s;
    small_describe(&s, "a ##b");
    small_open(&s);
    cr_pair pair = {SMALL_TEXT(" ab"), SMALL_TEXT("\xFF\xE2\x82 a")};
    assert_int_equal(cr_tokenizer_explain_pair(s.tokenizer, &pair, 512,
                                               CR_TRUNCATE_LONGEST_FIRST, &e,
                                               NULL),
                     CR_OK);
    assert_int_equal(e->n_tokens, 6);
    assert_int_equal(e->n_truncated, 0);
    assert_memory_equal(e->ids, ids, sizeof ids);
    assert_memory_equal(e->type_ids, type_ids, sizeof type_ids);
    assert_memory_equal(e->offsets, offsets, sizeof offsets);
    cr_encoding_free(e);
    cr_encoding_free(NULL);
    small_close(&s);
}

static void too_short_is_refused(void **state) {
    (void)state;
    cr_error error;
    cr_encoding *e;
    small s;
    small_describe(&s, "a");
    small_open(&s);
    cr_pair pair = {SMALL_TEXT("a"), SMALL_TEXT("a")};
    assert_int_equal(cr_tokenizer_explain_pair(s.tokenizer, &pair, 2,
                                               CR_TRUNCATE_LONGEST_FIRST, &e,
                                               &error),
                     CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "max_length is 2"));
    assert_null(e);
    small_close(&s);
}

/* A query of 1 MB: which side is longer still decides who gets the odd
 * token, and nothing is allocated to find out. */
static void the_longer_side_gets_the_odd_token(void **state) {
    (void)state;
    enum { LEN = 1 << 20 };
    char *text = cr_alloc(LEN);
    int32_t ids[MAX_LENGTH];
    uint8_t type_ids[MAX_LENGTH];
    cr_token_scratch *scratch;
    small s;
    small_describe(&s, "a");
    small_open(&s);
    assert_non_null(text);
    assert_int_equal(cr_token_scratch_new(MAX_LENGTH, &scratch, NULL), CR_OK);
    for (size_t i = 0; i < LEN; i++)
        text[i] = i % 2 ? ' ' : 'a';
    cr_pair pair = {{text, LEN}, {text, 0}};
    uint64_t n_allocations = cr_mem_count();
    for (size_t len = 0; len < 200; len++) {
        pair.passage = (cr_text){text, len};
        size_t n = cr_tokenizer_encode_pair(
            s.tokenizer, scratch, &pair, NULL, MAX_LENGTH,
            CR_TRUNCATE_LONGEST_FIRST, ids, type_ids, NULL);
        size_t n_passage = (len + 1) / 2 < 6 ? (len + 1) / 2 : 6;
        assert_int_equal(n, MAX_LENGTH);
        assert_int_equal(ids[MAX_LENGTH - n_passage - 2], 3);
    }
    assert_int_equal(cr_mem_count(), n_allocations);
    cr_token_scratch_free(scratch);
    cr_free(text);
    small_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_first_is_that_of_tokenizers),
        cmocka_unit_test(only_second_cuts_the_query_last),
        cmocka_unit_test(all_ways_agree),
        cmocka_unit_test(layout_and_offsets),
        cmocka_unit_test(too_short_is_refused),
        cmocka_unit_test(the_longer_side_gets_the_odd_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
