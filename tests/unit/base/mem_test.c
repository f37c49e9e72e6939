/* Memory: overflow, alignment, and the hook that makes allocations fail. */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void products_that_overflow_are_refused(void **state) {
    (void)state;
    assert_null(cr_calloc(SIZE_MAX / 2, 3));
    assert_null(cr_alloc_aligned(SIZE_MAX));
    assert_null(cr_alloc_aligned(SIZE_MAX - CR_ALIGN));
    assert_null(cr_strndup("", SIZE_MAX));
}

static void nothing_asked_is_something_given(void **state) {
    (void)state;
    void *blocks[] = {cr_alloc(0), cr_calloc(0, 0), cr_calloc(5, 0),
                      cr_realloc(NULL, 0)};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        assert_non_null(blocks[i]);
        cr_free(blocks[i]);
    }
    cr_free(NULL);
    cr_free_aligned(NULL);
}

static void aligned_blocks_are_aligned_and_zero(void **state) {
    (void)state;
    static const size_t sizes[] = {0,    1,    63,      64,      65,
                                   4096, 5000, 1 << 20, 2 << 20, 5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = cr_alloc_aligned(sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % CR_ALIGN, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            if (block[k])
                fail_msg("byte %zu of %zu is not zero", k, sizes[i]);
        memset(block, 0xff, sizes[i]);
        cr_free_aligned(block);
    }
}

static void strndup_copies_and_ends(void **state) {
    (void)state;
    char *copy = cr_strndup("a\0bcd", 4);
    assert_memory_equal(copy, "a\0bc", 5);
    cr_free(copy);
}

static void the_hook_fails_from_the_nth_on(void **state) {
    (void)state;
    uint64_t before = cr_mem_count();
    cr_mem_fail_after(2);
    void *first = cr_alloc(1), *second = cr_calloc(1, 1);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(cr_alloc(1));
    assert_null(cr_realloc(first, 100));
    assert_null(cr_alloc_aligned(1));
    assert_null(cr_strndup("x", 1));
    assert_int_equal(cr_mem_count() - before, 6);
    cr_mem_fail_never();
    first = cr_realloc(first, 100);
    assert_non_null(first);
    cr_free(first);
    cr_free(second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_that_overflow_are_refused),
        cmocka_unit_test(nothing_asked_is_something_given),
        cmocka_unit_test(aligned_blocks_are_aligned_and_zero),
        cmocka_unit_test(strndup_copies_and_ends),
        cmocka_unit_test(the_hook_fails_from_the_nth_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
