/* Matrix products: every table against plain C, bit by bit, over odd sizes. */
#include "tables.h"

#include "kernels/bf16.h"
#include "skip.h"
#include "trapped_amx.h"

typedef struct product {
    size_t m, k, n;
    cr_epilogue epilogue;
    bool residual;
} product;

/* A product's operands in float32, and what packing makes of them. */
typedef struct operands {
    float *a, *panels, *bias, *residual, *c;
    void *packed, *rows;
    float *b_scales, *b_sums;
    cr_row_scale *a_scales;
    int32_t *offsets;
    cr_gemm g;
} operands;

/* Rows and terms that any table's converted activations may be padded to. */
enum { MOST_ROW_STEP = 16, MOST_A_TERMS = 64 };

static size_t up_to(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

static void operands_init(operands *o, product p) {
    size_t rows = up_to(p.m, MOST_ROW_STEP), terms = up_to(p.k, MOST_A_TERMS);
    *o = (operands){.a = numbers(p.m * p.k, 1),
                    .panels = numbers(p.k * p.n, 1),
                    .bias = numbers(p.n, 1),
                    .residual = numbers(p.m * p.n, 1),
                    .c = numbers(p.m * p.n, 1),
                    .packed = numbers(p.k * p.n, 1),
                    .rows = numbers(rows * terms, 1),
                    .b_scales = numbers(p.n, 1),
                    .b_sums = numbers(p.n, 1),
                    .a_scales = cr_alloc_aligned(p.m * sizeof(cr_row_scale)),
                    .offsets = cr_alloc_aligned(p.n * sizeof(int32_t))};
    for (size_t i = 0; i < p.k && p.m > 1; i++)
        o->a[i] = 0; /* a row of zeros has no scale */
    o->g = (cr_gemm){
        .m = p.m,
        .a = o->rows,
        .a_scales = o->a_scales,
        .b = {p.k, p.n, o->packed, o->bias, o->b_scales, o->b_sums, o->offsets},
        .residual = p.residual ? o->residual : NULL,
        .ld_residual = p.n,
        .c = o->c,
        .ldc = p.n,
        .epilogue = p.epilogue};
}

static void operands_fini(operands *o) {
    void *all[] = {o->a,      o->panels,   o->bias,   o->residual,
                   o->c,      o->packed,   o->rows,   o->b_scales,
                   o->b_sums, o->a_scales, o->offsets};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_free_aligned(all[i]);
}

static void run_product(operands *o, const cr_gemm_ops *ops, float *c) {
    size_t k = o->g.b.k;
    ops->pack(o->panels, k, o->g.b.n, o->packed, o->b_scales, o->b_sums,
              o->offsets);
    ops->convert(o->a, k, o->g.m, k, o->rows, o->a_scales);
    o->g.c = c;
    ops->run(&o->g);
}

static void check_product(product p, cr_dtype dtype) {
    operands o;
    operands_init(&o, p);
    float *got = copy_of(o.c, p.m * p.n);
    run_product(&o, cr_kernels_ref.gemm[dtype], o.c);
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const cr_gemm_ops *ops = tables[t]->gemm[dtype];
        run_product(&o, ops, got);
        /* Instructions of bf16 round in their own order. */
        bool exactly = tables[t]->fused && !(dtype == CR_BF16 && ops->fast);
        assert_alike(tables[t], exactly, o.c, got, p.m * p.n,
                     cr_dtype_name(dtype));
    }
    cr_free_aligned(got);
    operands_fini(&o);
}

static void check_products(cr_dtype dtype) {
    for (size_t m = 0; m <= 26; m++)
        check_product((product){m, 48, 48, CR_EPILOGUE_NONE, m % 2}, dtype);
    static const size_t ks[] = {16, 32, 368, 384, 400, 784, 1536, 3088};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++)
        check_product((product){13, ks[i], 80, CR_EPILOGUE_GELU, true}, dtype);
    for (int e = CR_EPILOGUE_NONE; e <= CR_EPILOGUE_TANH; e++)
        check_product((product){7, 32, 16, (cr_epilogue)e, false}, dtype);
    check_product((product){50, 384, 1152, CR_EPILOGUE_NONE, false}, dtype);
}

static void fp32_products_equal_ref(void **state) {
    (void)state;
    check_products(CR_FP32);
}

static void bf16_products_equal_ref(void **state) {
    (void)state;
    check_products(CR_BF16);
}

static void int8_products_equal_ref(void **state) {
    (void)state;
    check_products(CR_INT8);
}

/* The reference itself, against sums in float64; errors of rounding to bf16
 * or int8 are bounded by their step and the number of terms. */
static void check_ref_product(cr_dtype dtype, double limit) {
    enum { M = 5, K = 112, N = 32 };
    operands o;
    operands_init(&o, (product){M, K, N, CR_EPILOGUE_NONE, true});
    run_product(&o, cr_kernels_ref.gemm[dtype], o.c);
    double worst = 0;
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            double sum = (double)o.bias[j] + (double)o.residual[i * N + j];
            for (size_t k = 0; k < K; k++)
                sum += (double)o.a[i * K + k] *
                       (double)o.panels[j / 16 * 16 * K + k * 16 + j % 16];
            worst = fmax(worst, fabs(sum - (double)o.c[i * N + j]));
        }
    if (worst > limit)
        fail_msg("%s is %.3g off", cr_dtype_name(dtype), worst);
    operands_fini(&o);
}

static void ref_products_are_right(void **state) {
    (void)state;
    check_ref_product(CR_FP32, 1e-5);
    check_ref_product(CR_BF16, 0.06);
    check_ref_product(CR_INT8, 0.12);
}

/* A row has the same bits alone, as the [CLS] row of a single pair is in the
 * last layer, and anywhere in a block. */
static void check_rows_alone(const cr_gemm_ops *ops, const char *name,
                             product p) {
    operands o;
    operands_init(&o, p);
    float *alone = copy_of(o.c, p.n), *a = o.a;
    run_product(&o, ops, o.c);
    cr_gemm one = o.g;
    one.m = 1;
    one.c = alone;
    for (size_t row = 0; row < p.m; row++) {
        ops->convert(a + row * p.k, p.k, 1, p.k, o.rows, o.a_scales);
        one.residual = p.residual ? o.residual + row * p.n : NULL;
        ops->run(&one);
        if (memcmp(alone, o.c + row * p.n, p.n * sizeof *alone) != 0)
            fail_msg("%s: row %zu of %zu has other bits alone", name, row, p.m);
    }
    cr_free_aligned(alone);
    operands_fini(&o);
}

static void rows_alone_have_their_bits(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (cr_dtype dtype = CR_FP32; dtype < CR_N_DTYPES; dtype++)
            check_rows_alone(tables[t]->gemm[dtype], tables[t]->name,
                             (product){41, 400, 48, CR_EPILOGUE_GELU, true});
}

/* Whatever form a result takes, it is that of the float32 result. */
static void check_results(const cr_gemm_ops *ops, cr_dtype dtype, product p) {
    assert_true(ops->apart);
    operands o;
    operands_init(&o, p);
    run_product(&o, ops, o.c);
    uint16_t *rows = (void *)numbers(p.m * p.n, 1);
    o.g.result = CR_RESULT_BF16;
    run_product(&o, ops, (void *)rows);
    for (size_t i = 0; i < p.m * p.n; i++)
        assert_int_equal(rows[i], cr_bf16_of(o.c[i]));
    if (dtype == CR_BF16) {
        size_t bytes = cr_gemm_a_bytes(ops, p.m, p.n);
        void *want = cr_alloc_aligned(bytes), *got = cr_alloc_aligned(bytes);
        assert_true(want && got); /* and what is behind the last row is 0 */
        ops->convert(o.c, p.n, p.m, p.n, want, NULL);
        o.g.result = CR_RESULT_CONVERTED;
        run_product(&o, ops, got);
        assert_memory_equal(want, got, bytes);
        cr_free_aligned(want);
        cr_free_aligned(got);
    }
    cr_free_aligned(rows);
    operands_fini(&o);
}

/* c may be the residual. */
static void check_in_place(const cr_gemm_ops *ops, product p) {
    operands o;
    operands_init(&o, p);
    run_product(&o, ops, o.c);
    float *both = copy_of(o.residual, p.m * p.n);
    o.g.residual = both;
    run_product(&o, ops, both);
    assert_memory_equal(o.c, both, p.m * p.n * sizeof *both);
    cr_free_aligned(both);
    operands_fini(&o);
}

static void check_apart(const cr_gemm_ops *ops, cr_dtype dtype) {
    for (size_t m = 1; m <= 70; m += m < 34 ? 1 : 9)
        for (size_t panels = 1; panels <= 5; panels++) {
            cr_epilogue e = m % 2 ? CR_EPILOGUE_GELU : CR_EPILOGUE_NONE;
            check_results(ops, dtype,
                          (product){m, 64, 16 * panels, e, m % 3 == 0});
            check_in_place(ops, (product){m, 48, 16 * panels, e, true});
        }
    /* Rows finished one a dot, and panels that are too long to stay near, with
     * every ending that has code of its own. */
    for (size_t k = 384; k <= 1536; k *= 4) {
        check_results(ops, dtype, (product){70, k, 96, CR_EPILOGUE_NONE, 0});
        check_results(ops, dtype, (product){70, k, 96, CR_EPILOGUE_GELU, 0});
        check_in_place(ops, (product){96, k, 64, CR_EPILOGUE_NONE, true});
    }
}

static void results_take_their_form(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        for (cr_dtype dtype = CR_FP32; dtype < CR_N_DTYPES; dtype++)
            if (tables[t]->gemm[dtype]->apart)
                check_apart(tables[t]->gemm[dtype], dtype);
#if defined(__x86_64__)
    check_apart(&cr_gemm_bf16_amx_avx512_emulated, CR_BF16);
    check_apart(&cr_gemm_int8_amx_avx512_emulated, CR_INT8);
#endif
}

/* NaN and infinity in a row come out of all of its columns, as one or the
 * other, and of no other row: integers must not hide them. */
static void check_no_numbers(const cr_gemm_ops *ops, const char *name,
                             product p) {
    enum { BAD = 4 };
    const float bad[BAD] = {NAN, -NAN, INFINITY, -INFINITY};
    operands o;
    operands_init(&o, p);
    for (size_t i = 0; i < p.k; i++)
        o.a[i] = number(1); /* 0 times infinity would be right as well */
    run_product(&o, ops, o.c);
    float *got = copy_of(o.c, p.m * p.n);
    for (size_t i = 0; i < BAD; i++)
        o.a[(2 * i + 1) * p.k + (7 * i + 3) % p.k] = bad[i];
    run_product(&o, ops, got);
    for (size_t row = 0; row < p.m; row++) {
        bool hit = row % 2 && row < 2 * BAD;
        for (size_t i = row * p.n; i < (row + 1) * p.n; i++)
            if (hit ? isfinite(got[i])
                    : memcmp(&got[i], &o.c[i], sizeof *got) != 0)
                fail_msg("%s: row %zu, with %g, has %.9g", name, row,
                         hit ? (double)bad[row / 2] : 0, (double)got[i]);
    }
    cr_free_aligned(got);
    operands_fini(&o);
}

static void what_is_no_number_stays_none(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    const product plain = {19, 80, 48, CR_EPILOGUE_NONE, true};
    const product gelu = {19, 400, 32, CR_EPILOGUE_GELU, false};
    for (cr_dtype dtype = CR_FP32; dtype < CR_N_DTYPES; dtype++)
        for (size_t t = 0; t < n_tables; t++) {
            const cr_gemm_ops *ops = tables[t]->gemm[dtype];
            check_no_numbers(ops, tables[t]->name, plain);
            check_no_numbers(ops, tables[t]->name, gelu);
        }
#if defined(__x86_64__)
    check_no_numbers(&cr_gemm_int8_amx_avx512_emulated, "tiles", plain);
    check_no_numbers(&cr_gemm_bf16_amx_avx512_emulated, "tiles", gelu);
#endif
}

/* Blocks are alike, hold all rows and are no larger than the kernel likes. */
static void blocks_are_alike(void **state) {
    (void)state;
    cr_gemm_ops ops = {.block = 256, .cut = 32};
    assert_int_equal(cr_gemm_block(&ops, 20), 256);
    assert_int_equal(cr_gemm_block(&ops, 256), 256);
    assert_int_equal(cr_gemm_block(&ops, 257), 160);
    assert_int_equal(cr_gemm_block(&ops, 600), 224);
    ops = (cr_gemm_ops){.block = 96, .cut = 96};
    assert_int_equal(cr_gemm_block(&ops, 97), 96);
}

#if defined(__x86_64__)
/* Instructions that this machine may lack, run as plain C. VNNI and AMX keep
 * the integers of the reference; bf16 instructions round in their own order. */
static void check_extension(const cr_gemm_ops *ops, cr_dtype dtype,
                            double limit, product p) {
    operands o;
    operands_init(&o, p);
    float *got = copy_of(o.c, p.m * p.n);
    run_product(&o, cr_kernels_ref.gemm[dtype], o.c);
    run_product(&o, ops, got);
    for (size_t at = 0; at < p.m * p.n; at++)
        if (!(fabs((double)o.c[at] - (double)got[at]) <= limit))
            fail_msg("%s, %zu x %zu x %zu: element %zu is %.9g, ref has %.9g",
                     cr_dtype_name(dtype), p.m, p.k, p.n, at, (double)got[at],
                     (double)o.c[at]);
    cr_free_aligned(got);
    operands_fini(&o);
}

/* Rows, terms and columns that are no multiple of a tile's. */
static void check_sizes(const cr_gemm_ops *ops, cr_dtype dtype, double limit) {
    static const product products[] = {
        {1, 32, 16, CR_EPILOGUE_NONE, false},
        {1, 384, 1152, CR_EPILOGUE_NONE, false},
        {13, 48, 80, CR_EPILOGUE_GELU, true},
        {16, 400, 48, CR_EPILOGUE_NONE, true},
        {17, 16, 16, CR_EPILOGUE_TANH, false},
        {33, 64, 32, CR_EPILOGUE_NONE, false},
        {96, 1536, 48, CR_EPILOGUE_NONE, true},
        {0, 32, 16, CR_EPILOGUE_NONE, false},
    };
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
        check_extension(ops, dtype, limit, products[i]);
    for (size_t m = 1; m <= 66; m++)
        check_extension(ops, dtype, limit,
                        (product){m, 80, 48, CR_EPILOGUE_NONE, m % 2});
    for (size_t k = 16; k <= 144; k += 16)
        check_extension(ops, dtype, limit,
                        (product){35, k, 32, CR_EPILOGUE_NONE, false});
    check_rows_alone(ops, "emulated", products[3]);
    check_rows_alone(ops, "emulated",
                     (product){41, 80, 48, CR_EPILOGUE_GELU, true});
}

static void emulated_extensions_agree(void **state) {
    (void)state;
    check_sizes(&cr_gemm_int8_vnni_avx512_emulated, CR_INT8, 0);
    check_sizes(&cr_gemm_bf16_avx512_avx512_emulated, CR_BF16, 1e-4);
}

static void emulated_tiles_agree(void **state) {
    (void)state;
    check_sizes(&cr_gemm_int8_amx_avx512_emulated, CR_INT8, 0);
    check_sizes(&cr_gemm_bf16_amx_avx512_emulated, CR_BF16, 1e-4);
}

#if defined(__linux__)
/* The same bits from the object code with real tile instructions, be they the
 * processor's or trapped one by one, as from its source on plain C. */
static void check_object_code(const cr_gemm_ops *ops,
                              const cr_gemm_ops *emulated, product p,
                              cr_result result) {
    operands o;
    operands_init(&o, p);
    o.g.result = result;
    size_t bytes =
        p.m * p.n *
        (result == CR_RESULT_BF16 ? sizeof(uint16_t) : sizeof(float));
    if (result == CR_RESULT_CONVERTED)
        bytes = cr_gemm_a_bytes(ops, p.m, p.n);
    float *want = cr_alloc_aligned(bytes), *got = cr_alloc_aligned(bytes);
    assert_true(want && got);
    run_product(&o, emulated, want);
    run_product(&o, ops, got);
    assert_memory_equal(want, got, bytes);
    cr_free_aligned(want);
    cr_free_aligned(got);
    operands_fini(&o);
}

/* Every ending that has code of its own, where rows are finished two a dot and
 * one a dot, and where panels do not stay near. */
static void check_endings(const cr_gemm_ops *ops, const cr_gemm_ops *emulated,
                          cr_dtype dtype) {
    static const size_t ks[] = {128, 384, 768, 1536};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        product plain = {70, ks[i], 64, CR_EPILOGUE_NONE, false}, add = plain,
                gelu = plain;
        add.residual = true;
        gelu.epilogue = CR_EPILOGUE_GELU;
        check_object_code(ops, emulated, add, CR_RESULT_FP32);
        check_object_code(ops, emulated, plain, CR_RESULT_FP32);
        check_object_code(ops, emulated, plain, CR_RESULT_BF16);
        check_object_code(ops, emulated, gelu, CR_RESULT_FP32);
        if (dtype == CR_BF16)
            check_object_code(ops, emulated, gelu, CR_RESULT_CONVERTED);
    }
}

static void tile_object_code_agrees(void **state) {
    (void)state;
    if (!is_available("avx512bf16"))
        CR_SKIP("not run on this machine: it lacks AVX512-BF16");
    trap_tiles();
    for (size_t m = 1; m <= 66; m++) {
        product p = {m, 16 * (1 + m % 9), 16 * (1 + m % 3),
                     m % 2 ? CR_EPILOGUE_GELU : CR_EPILOGUE_NONE, m % 4 == 1};
        check_object_code(&cr_gemm_int8_amx_avx512,
                          &cr_gemm_int8_amx_avx512_emulated, p, CR_RESULT_FP32);
        check_object_code(&cr_gemm_bf16_amx_avx512,
                          &cr_gemm_bf16_amx_avx512_emulated, p, CR_RESULT_FP32);
    }
    check_endings(&cr_gemm_int8_amx_avx512, &cr_gemm_int8_amx_avx512_emulated,
                  CR_INT8);
    check_endings(&cr_gemm_bf16_amx_avx512, &cr_gemm_bf16_amx_avx512_emulated,
                  CR_BF16);
    size_t n = untrap_tiles();
    assert_true(is_available("amx") || n > 0);
}
#endif
#endif

/* The GELU of narrow products, whose one term is x: to what rounding sees. */
static void narrow_gelu_is_accurate(void **state) {
    (void)state;
    enum { M = 1024, K = 16, N_COLUMNS = 16 };
    operands o;
    operands_init(&o, (product){M, K, N_COLUMNS, CR_EPILOGUE_GELU, false});
    memset(o.a, 0, M * K * sizeof *o.a);
    memset(o.panels, 0, K * N_COLUMNS * sizeof *o.panels);
    memset(o.bias, 0, N_COLUMNS * sizeof *o.bias);
    o.panels[0] = 1;
    for (size_t i = 0; i < M; i++)
        o.a[i * K] = ((float)i - M / 2) / 32; /* as bfloat16 has it or near */
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        run_product(&o, tables[t]->gemm[CR_BF16], o.c);
        for (size_t i = 0; i < M; i++) {
            double x = (double)cr_bf16_widen(cr_bf16_of(o.a[i * K]));
            double want = x / 2 * (1 + erf(x / sqrt(2)));
            double off = fabs(want - (double)o.c[i * N_COLUMNS]);
            if (!(off <= 6e-5 * (1 + fabs(x))))
                fail_msg("%s: GELU of %.9g is %.3g off", tables[t]->name, x,
                         off);
        }
    }
    operands_fini(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_products_are_right),
        cmocka_unit_test(fp32_products_equal_ref),
        cmocka_unit_test(bf16_products_equal_ref),
        cmocka_unit_test(int8_products_equal_ref),
        cmocka_unit_test(rows_alone_have_their_bits),
        cmocka_unit_test(results_take_their_form),
        cmocka_unit_test(what_is_no_number_stays_none),
        cmocka_unit_test(blocks_are_alike),
        cmocka_unit_test(narrow_gelu_is_accurate),
#if defined(__x86_64__)
        cmocka_unit_test(emulated_extensions_agree),
        cmocka_unit_test(emulated_tiles_agree),
#if defined(__linux__)
        cmocka_unit_test(tile_object_code_agrees),
#endif
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
