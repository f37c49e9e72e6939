/* A caller whose thread takes subnormal numbers for 0, as audio programs and
 * what is linked with -ffast-math have it: scores are as ever, and its setting
 * is left alone. The model's logits are subnormal. */
#include "crossrank.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../model/tiny.h"
#include "skip.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define HAS_FLUSHING 1
enum { FLUSHING = 0x8040 }; /* results to 0, operands from 0: MXCSR */
static uint64_t arithmetic(void) { return _mm_getcsr(); }
static void set_arithmetic(uint64_t x) { _mm_setcsr((unsigned)x); }
#elif defined(__aarch64__)
#define HAS_FLUSHING 1
enum { FLUSHING = 1 << 24 }; /* FZ of FPCR */
static uint64_t arithmetic(void) {
    uint64_t x;
    __asm__ volatile("mrs %0, fpcr" : "=r"(x));
    return x;
}
static void set_arithmetic(uint64_t x) {
    __asm__ volatile("msr fpcr, %0" : : "r"(x));
}
#endif

#ifdef HAS_FLUSHING
enum { N = 3, N_CLASSIFIER = 5 }; /* 4 weights and a bias, the last tensors */
static const cr_pair PAIRS[N] = {
    {{"a", 1}, {"b a", 3}}, {{"the cat", 7}, {"a", 1}}, {{"a", 1}, {"b", 1}}};

static void make_logits_subnormal(const tiny_folder *folder) {
    static const float tiny[N_CLASSIFIER] = {1e-40f, 2e-40f, 3e-40f, 4e-40f, 0};
    FILE *file = fopen(tiny_path(folder, "model.safetensors"), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -(long)sizeof tiny, SEEK_END), 0);
    assert_int_equal(fwrite(tiny, sizeof tiny, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static void score(const tiny_folder *folder, float *scores) {
    cr_options o;
    cr_ranker *ranker = NULL;
    cr_error error;
    cr_options_init(&o);
    o.model = folder->path;
    o.dtype = "fp32";
    o.threads = 1; /* so that the caller's thread does the work */
    o.activation = CR_ACTIVATION_NONE;
    if (cr_ranker_open(&o, &ranker, &error) != CR_OK ||
        cr_score(ranker, PAIRS, N, scores, &error) != CR_OK)
        fail_msg("%s", error.message);
    cr_ranker_close(ranker);
}
#endif

static void flushing_is_the_callers_affair(void **state) {
    (void)state;
#ifdef HAS_FLUSHING
    tiny_folder folder;
    float want[N], got[N];
    tiny_folder_make(&folder);
    tiny_write_model(&folder);
    make_logits_subnormal(&folder);
    score(&folder, want);
    for (size_t i = 0; i < N; i++)
        assert_true(fpclassify(want[i]) == FP_SUBNORMAL);
    const uint64_t before = arithmetic();
    set_arithmetic(before | FLUSHING);
    volatile float least = 1e-40f;
    assert_true(least * 2 == 0); /* it does flush */
    score(&folder, got);
    uint64_t after = arithmetic();
    set_arithmetic(before);
    assert_true((after & FLUSHING) == FLUSHING);
    assert_memory_equal(want, got, sizeof want);
    tiny_folder_remove(&folder);
#else
    CR_SKIP("it is not known how to make this CPU flush");
#endif
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flushing_is_the_callers_affair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
