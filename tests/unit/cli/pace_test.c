/* Pace: slices follow the speed, never empty and never out of bounds. */
#include "cli/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { N = 4096 };

static cr_pair pairs[N];

static int fill(void **state) {
    (void)state;
    for (size_t i = 0; i < N; i++)
        pairs[i] = (cr_pair){{"", 40}, {"", 300}};
    return 0;
}

static void test_first_slice_is_small(void **state) {
    (void)state;
    cr_pace pace = {0};
    size_t n = cr_pace_take(&pace, pairs, N);
    assert_in_range(n, 50, 500);
    assert_int_equal(cr_pace_take(&pace, pairs, 3), 3);
}

static void test_slices_follow_the_speed(void **state) {
    (void)state;
    cr_pace slow = {.cost_per_second = 1}, fast = {.cost_per_second = 1e9};
    cr_pace medium = {.cost_per_second = 100 * (340 + 48)};
    assert_int_equal(cr_pace_take(&slow, pairs, N), 1);
    assert_int_equal(cr_pace_take(&fast, pairs, N), N);
    assert_in_range(cr_pace_take(&medium, pairs, N), 198, 202);
}

static void test_long_texts_cost_what_is_read_of_them(void **state) {
    (void)state;
    static cr_pair long_pairs[1000];
    cr_pace pace = {.cost_per_second = 100000};
    for (size_t i = 0; i < 1000; i++)
        long_pairs[i] = (cr_pair){{"", 1 << 20}, {"", 1 << 20}};
    assert_in_range(cr_pace_take(&pace, long_pairs, 1000), 70, 90);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_first_slice_is_small, fill),
        cmocka_unit_test_setup(test_slices_follow_the_speed, fill),
        cmocka_unit_test(test_long_texts_cost_what_is_read_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
