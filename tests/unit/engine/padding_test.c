/* Padding: few lengths, every sequence once, nothing over the limit. */
#include "engine/padding.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MAX_SEQUENCES = 200, MAX_LENGTH = 512 };

static void test_lengths_are_few_and_near(void **state) {
    (void)state;
    uint32_t n_lengths = 0, last = 0;
    for (uint32_t n = 1; n <= MAX_LENGTH; n++) {
        uint32_t padded = cr_padded_length(n, MAX_LENGTH);
        assert_true(padded >= n && padded >= last);
        assert_true(n <= 16 || padded < 2 * n);
        n_lengths += padded != last;
        last = padded;
    }
    assert_int_equal(n_lengths, 10);
    assert_int_equal(cr_padded_length(33, MAX_LENGTH), 48);
    assert_int_equal(cr_padded_length(49, MAX_LENGTH), 64);
    assert_int_equal(cr_padded_length(512, MAX_LENGTH), 512);
    assert_int_equal(cr_padded_length(300, 320), 320); /* the limit itself */
    assert_int_equal(cr_padded_length(3, 8), 8);
}

/* A group of n sequences whose lengths come from a small generator. */
static cr_group make_group(uint32_t n, uint32_t seed, uint32_t *starts) {
    starts[0] = 0;
    for (uint32_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        starts[i + 1] = starts[i] + 3 + (seed >> 16) % (MAX_LENGTH - 2);
    }
    return (cr_group){
        .n_tokens = starts[n], .n_sequences = n, .starts = starts};
}

static void test_every_sequence_is_in_one_batch(void **state) {
    (void)state;
    uint32_t starts[MAX_SEQUENCES + 1], rows[MAX_SEQUENCES];
    for (uint32_t n = 0; n < MAX_SEQUENCES; n += 7)
        for (uint32_t limit = 1; limit < 20000; limit = limit * 3 + 1) {
            cr_group g = make_group(n, n + limit, starts);
            uint32_t seen[MAX_SEQUENCES] = {0}, last = 0;
            uint64_t at = 0, tokens = 0;
            cr_padded_batch b = {.rows = rows};
            while (cr_padding_next(&g, MAX_LENGTH, limit, &at, &b)) {
                assert_true(b.n_rows > 0 && b.length >= last);
                assert_true(b.n_rows == 1 || b.n_rows * b.length <= limit);
                last = b.length;
                tokens += (uint64_t)b.n_rows * b.length;
                for (uint32_t i = 0; i < b.n_rows; i++) {
                    uint32_t length = starts[rows[i] + 1] - starts[rows[i]];
                    assert_int_equal(cr_padded_length(length, MAX_LENGTH),
                                     b.length);
                    seen[rows[i]]++;
                }
            }
            for (uint32_t i = 0; i < n; i++)
                assert_int_equal(seen[i], 1);
            assert_int_equal(tokens - g.n_tokens,
                             cr_padding_of(&g, MAX_LENGTH));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_are_few_and_near),
        cmocka_unit_test(test_every_sequence_is_in_one_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
