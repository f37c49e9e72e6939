/* Memory that runs out: every allocation of opening a ranker, and of its first
 * call, fails in turn, in every precision; each time that is an error, nothing
 * is lost, and the next try works. */
#include "base/mem.h"
#include "crossrank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "../model/tiny.h"

static tiny_folder folder;

static int set_up(void **state) {
    (void)state;
    tiny_watch_jansson();
    tiny_folder_make(&folder);
    tiny_write_model(&folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tiny_folder_remove(&folder);
    return 0;
}

static cr_status open_with(const char *dtype, cr_ranker **ranker,
                           cr_error *error) {
    cr_options o;
    cr_options_init(&o);
    o.model = folder.path;
    o.dtype = dtype;
    o.threads = 2;
    return cr_ranker_open(&o, ranker, error);
}

static void every_allocation_of_opening_fails(void **state) {
    (void)state;
    static const char *const dtypes[] = {"fp32", "bf16", "int8"};
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (uint64_t n = 0;; n++) {
            cr_ranker *ranker;
            cr_error error = {.message = ""};
            cr_mem_fail_after(n);
            cr_status status = open_with(dtypes[d], &ranker, &error);
            cr_mem_fail_never();
            if (status == CR_OK) {
                assert_true(n > 100);
                cr_ranker_close(ranker);
                break;
            }
            assert_null(ranker);
            tiny_expect_no_memory(status, &error);
        }
}

/* Calls allocate at most at the first time; then they need nothing. */
static void every_allocation_of_a_call_fails(void **state) {
    (void)state;
    const cr_pair pair = {{"a", 1}, {"b a", 3}};
    const cr_text passages[] = {{"a", 1}, {"b", 1}};
    for (uint64_t n = 0, failed = 1; failed; n++) {
        cr_ranker *ranker;
        cr_error error = {.message = ""};
        cr_ranked ranked[2];
        cr_encoding *encoding;
        float score = (float)NAN;
        size_t n_ranked;
        failed = 0;
        assert_int_equal(open_with("fp32", &ranker, &error), CR_OK);
        cr_mem_fail_after(n);
        cr_status status = cr_score(ranker, &pair, 1, &score, &error);
        cr_mem_fail_never();
        if (status != CR_OK) {
            tiny_expect_no_memory(status, &error);
            failed++;
        }
        cr_mem_fail_after(n);
        status = cr_rank(ranker, pair.query, passages, 2, 2, ranked, &n_ranked,
                         &error);
        cr_mem_fail_never();
        if (status != CR_OK) {
            tiny_expect_no_memory(status, &error);
            failed++;
        }
        cr_mem_fail_after(n);
        status = cr_tokenize(ranker, &pair, &encoding, &error);
        cr_mem_fail_never();
        if (status == CR_OK)
            cr_encoding_free(encoding);
        else {
            tiny_expect_no_memory(status, &error);
            failed++;
        }
        assert_int_equal(cr_score(ranker, &pair, 1, &score, &error), CR_OK);
        assert_true(isfinite(score));
        cr_ranker_close(ranker);
        assert_true(n < 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_opening_fails),
        cmocka_unit_test(every_allocation_of_a_call_fails),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
