/* Rows, functions and the choice of a table: every table against plain C, bit
 * by bit. Products and attention are in files of their own. */
#include "tables.h"

#include "skip.h"

/* ---- Rows --------------------------------------------------------------- */

static void layer_norm_equals_ref(void **state) {
    (void)state;
    static const size_t widths[] = {1, 15, 16, 17, 312, 384};
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        size_t width = widths[w], ld = (width + 15) / 16 * 16, m = 3;
        float *x = numbers(m * ld, 3), *gain = numbers(ld, 1);
        float *bias = numbers(ld, 1);
        for (size_t i = width; i < ld; i++)
            for (size_t row = 0; row <= m; row++)
                *(row < m ? &x[row * ld + i] : &gain[i]) = bias[i] = 0;
        float *want = copy_of(x, m * ld), *got = copy_of(x, m * ld);
        cr_layer_norm g = {x, want, ld, m, width, gain, bias, 1e-12f};
        cr_kernels_ref.layer_norm(&g);
        for (size_t row = 0; row < m; row++) {
            double mean = 0, variance = 0;
            for (size_t i = 0; i < width; i++)
                mean += (double)x[row * ld + i] / (double)width;
            for (size_t i = 0; i < width; i++)
                variance +=
                    pow((double)x[row * ld + i] - mean, 2) / (double)width;
            for (size_t i = 0; i < ld; i++) {
                double y = (((double)x[row * ld + i] - mean) /
                            sqrt(variance + 1e-12)) *
                               (double)gain[i] +
                           (double)bias[i];
                assert_true(i < width || want[row * ld + i] == 0);
                assert_true(width == 1 || i >= width ||
                            fabs(y - (double)want[row * ld + i]) < 1e-5);
            }
        }
        for (size_t t = 0; t < n_tables; t++) {
            g.out = got;
            tables[t]->layer_norm(&g);
            assert_same(tables[t], want, got, m * ld, "layer_norm");
        }
        float *all[] = {x, gain, bias, want, got};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            cr_free_aligned(all[i]);
    }
}

static void embedding_equals_ref(void **state) {
    (void)state;
    enum { M = 4, WIDTH = 40, LD = 48 };
    static const int32_t ids[M] = {3, 0, 2, 3};
    static const uint8_t types[M] = {0, 1, 1, 0};
    static const uint32_t positions[M] = {0, 1, 2, 0};
    float *table[3], *want = numbers(M * LD, 1), *got = numbers(M * LD, 1);
    for (size_t t = 0; t < 3; t++) {
        table[t] = numbers(4 * LD, 1);
        for (size_t i = 0; i < 4 * LD; i++)
            if (i % LD >= WIDTH)
                table[t][i] = 0;
    }
    float *gain = table[2] + LD, *bias = table[2] + 2 * LD;
    cr_embedding g = {ids,
                      types,
                      positions,
                      table[0],
                      table[1],
                      table[2],
                      {NULL, want, LD, M, WIDTH, gain, bias, 1e-12f}};
    cr_kernels_ref.embedding(&g);
    assert_memory_equal(want, want + 3 * LD, LD * sizeof *want);
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        g.norm.out = got;
        tables[t]->embedding(&g);
        assert_same(tables[t], want, got, M * LD, "embedding");
    }
    for (size_t t = 0; t < 3; t++)
        cr_free_aligned(table[t]);
    cr_free_aligned(want);
    cr_free_aligned(got);
}

/* ---- The maths ---------------------------------------------------------- */

static double exact(cr_epilogue epilogue, double x) {
    const double root_2 = 1.41421356237309504880;
    double inner = 0.79788456080286535588 * (x + 0.044715 * x * x * x);
    switch (epilogue) {
    case CR_EPILOGUE_GELU:
        return x / 2 * (1 + erf(x / root_2));
    case CR_EPILOGUE_GELU_NEW:
        return x / 2 * (1 + tanh(inner));
    case CR_EPILOGUE_RELU:
        return x > 0 ? x : 0;
    case CR_EPILOGUE_TANH:
        return tanh(x);
    case CR_EPILOGUE_NONE:
        break;
    }
    return x;
}

/* Errors are those of float32 at the size of the argument, and no more. */
static void functions_are_accurate(void **state) {
    (void)state;
    enum { N = 16 * 4096 };
    float *x = numbers(N, 12), *y = numbers(N, 1), *ref = numbers(N, 1);
    x[0] = 0, x[1] = -0.0f, x[2] = 1e-30f, x[3] = -1e-30f, x[4] = 300;
    x[5] = -300;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (int e = CR_EPILOGUE_NONE; e <= CR_EPILOGUE_TANH; e++) {
        cr_kernels_ref.map((cr_epilogue)e, x, ref, N);
        for (size_t i = 0; i < N; i++) {
            double want = exact((cr_epilogue)e, (double)x[i]);
            double limit = 3e-7 * (1 + fabs((double)x[i]));
            if (!(fabs(want - (double)ref[i]) <= limit))
                fail_msg("function %d of %.9g is %.9g, not %.9g", e,
                         (double)x[i], (double)ref[i], want);
        }
        for (size_t t = 0; t < n_tables; t++) {
            tables[t]->map((cr_epilogue)e, x, y, N);
            assert_same(tables[t], ref, y, N, "map");
        }
    }
    cr_free_aligned(x);
    cr_free_aligned(y);
    cr_free_aligned(ref);
}
/* No function makes a number of what is none. */
static void functions_keep_nan(void **state) {
    (void)state;
    float x[16], y[16];
    for (size_t i = 0; i < 16; i++)
        x[i] = i % 2 ? NAN : -NAN;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (int e = CR_EPILOGUE_NONE; e <= CR_EPILOGUE_TANH + 1; e++) {
            if (e <= CR_EPILOGUE_TANH)
                tables[t]->map((cr_epilogue)e, x, y, 16);
            else
                tables[t]->exp2(x, y, 16);
            for (size_t i = 0; i < 16; i++)
                if (!isnan(y[i]))
                    fail_msg("%s: function %d of NaN is %g", tables[t]->name, e,
                             (double)y[i]);
        }
}

static void exp2_is_accurate(void **state) {
    (void)state;
    enum { N = 16 * 4096 };
    float *x = numbers(N, 126), *y = numbers(N, 1), *ref = numbers(N, 1);
    x[0] = 0, x[1] = -1e30f, x[2] = -126.6f, x[3] = 1;
    cr_kernels_ref.exp2(x, ref, N);
    for (size_t i = 0; i < N; i++) {
        double want = x[i] < -126.5f ? 0 : exp2((double)x[i]);
        assert_true(fabs(want - (double)ref[i]) <= 2e-7 * want);
    }
    assert_true(ref[0] == 1 && ref[1] == 0 && ref[2] == 0 && ref[3] == 2);
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        tables[t]->exp2(x, y, N);
        assert_same(tables[t], ref, y, N, "exp2");
    }
    cr_free_aligned(x);
    cr_free_aligned(y);
    cr_free_aligned(ref);
}

/* ---- Choice ------------------------------------------------------------- */

static void choice_is_explicit(void **state) {
    (void)state;
    const cr_kernels *k = NULL;
    cr_error error;
    assert_int_equal(cr_kernels_choose("ref", &k, &error), CR_OK);
    assert_string_equal(k->name, "ref");
    assert_int_equal(cr_kernels_choose("sse9", &k, &error), CR_ERR_ARGUMENT);
    assert_non_null(strstr(error.message, "sse9"));
    assert_non_null(strstr(error.message, "base"));
    setenv("CROSSRANK_ISA", "base", 1);
    assert_int_equal(cr_kernels_choose(NULL, &k, &error), CR_OK);
    assert_string_equal(k->name, "base");
    assert_int_equal(cr_kernels_choose("ref", &k, &error), CR_OK);
    assert_string_equal(k->name, "ref");
    unsetenv("CROSSRANK_ISA");
    assert_int_equal(cr_kernels_choose("auto", &k, &error), CR_OK);
    assert_string_equal(k->name, cr_isa_names()[0]);
}

/* Skips, and so is named in the summary, for each set that was not run. */
static void was_run(void **state) {
    if (!is_available(*state))
        CR_SKIP("not run on this machine: it lacks the instructions");
}

#define WAS_RUN(isa)                                                           \
    {                                                                          \
#isa "_was_run", was_run, NULL, NULL, (char[]) { #isa }                \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm_equals_ref),
        cmocka_unit_test(embedding_equals_ref),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(exp2_is_accurate),
        cmocka_unit_test(functions_keep_nan),
        cmocka_unit_test(choice_is_explicit),
        WAS_RUN(amx),
        WAS_RUN(avx512bf16),
        WAS_RUN(avx512vnni),
        WAS_RUN(avx512),
        WAS_RUN(avx2),
        WAS_RUN(neonbf16),
        WAS_RUN(neoni8mm),
        WAS_RUN(neondotprod),
        WAS_RUN(neon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
