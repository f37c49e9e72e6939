/* Kernels: every table against plain C, bit by bit, over odd sizes. */
#include "kernels/isa.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "skip.h"
#include "trapped_amx.h"

/* ---- Tables and numbers ------------------------------------------------- */

enum { MAX_TABLES = 12 };

/* Tables to compare with ref: those this machine runs, and emulated ones. */
static size_t tables_of(const cr_kernels *out[MAX_TABLES]) {
    size_t n = 0;
    const cr_kernels *const *available = cr_kernels_available();
    for (size_t i = 0; available[i]; i++)
        out[n++] = available[i];
#if defined(__x86_64__)
    out[n++] = &cr_kernels_avx512_emulated;
#endif
    return n;
}

static bool is_available(const char *isa) {
    for (const char *const *names = cr_isa_names(); *names; names++)
        if (strcmp(*names, isa) == 0)
            return true;
    return false;
}

static uint64_t seed = 1;

static float number(float scale) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return scale * ((float)(seed >> 40) / (float)(1 << 23) - 1);
}

static float *numbers(size_t n, float scale) {
    float *x = cr_alloc_aligned(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = number(scale);
    return x;
}

static float *copy_of(const float *x, size_t n) {
    float *y = cr_alloc_aligned(n * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static void assert_alike(const cr_kernels *k, bool exactly, const float *want,
                         const float *got, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        bool same =
            exactly ? memcmp(&want[i], &got[i], sizeof *got) == 0
                    : fabsf(want[i] - got[i]) <= 1e-4f * (1 + fabsf(want[i]));
        if (!same)
            fail_msg("%s of %s: element %zu is %.9g, ref has %.9g", what,
                     k->name, i, (double)got[i], (double)want[i]);
    }
}

/* Tables with fused multiply-add give ref's bits; others come near. */
static void assert_same(const cr_kernels *k, const float *want,
                        const float *got, size_t n, const char *what) {
    assert_alike(k, k->fused, want, got, n, what);
}

/* ---- Matrix product ----------------------------------------------------- */

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

/* bfloat16 of what is not subnormal. */
static uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
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
        assert_int_equal(rows[i], bf16_of(o.c[i]));
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
    check_in_place(ops, (product){96, 1536, 64, CR_EPILOGUE_NONE, true});
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
                              const cr_gemm_ops *emulated, product p) {
    operands o;
    operands_init(&o, p);
    float *got = copy_of(o.c, p.m * p.n);
    run_product(&o, emulated, o.c);
    run_product(&o, ops, got);
    assert_memory_equal(o.c, got, p.m * p.n * sizeof *got);
    cr_free_aligned(got);
    operands_fini(&o);
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
                          &cr_gemm_int8_amx_avx512_emulated, p);
        check_object_code(&cr_gemm_bf16_amx_avx512,
                          &cr_gemm_bf16_amx_avx512_emulated, p);
    }
    size_t n = untrap_tiles();
    assert_true(is_available("amx") || n > 0);
}
#endif
#endif

/* ---- Attention ---------------------------------------------------------- */

/* softmax(q k^T scale) v of one query row and head, in float64. */
static void attend_exactly(const cr_attention *g, size_t row, size_t head,
                           double *out) {
    size_t d = g->head_width, all = g->n_heads * d;
    const float *qkv = g->qkv, *q = qkv + row * g->ld_qkv + head * d;
    double *weight = malloc(g->length * sizeof *weight), sum = 0, most = -1e30;
    for (size_t j = 0; j < g->length; j++) {
        const float *k = qkv + j * g->ld_qkv + all + head * d;
        weight[j] = 0;
        for (size_t i = 0; i < d; i++)
            weight[j] += (double)q[i] * (double)k[i];
        weight[j] *= (double)g->scale;
        most = weight[j] > most ? weight[j] : most;
    }
    memset(out, 0, d * sizeof *out);
    for (size_t j = 0; j < g->length; j++)
        sum += weight[j] = exp(weight[j] - most);
    for (size_t j = 0; j < g->length; j++)
        for (size_t i = 0; i < d; i++)
            out[i] += weight[j] / sum *
                      (double)qkv[j * g->ld_qkv + 2 * all + head * d + i];
    free(weight);
}

static void assert_right_attention(const cr_attention *g) {
    double exact[256];
    for (size_t row = g->first_row; row < g->end_row; row++)
        for (size_t h = 0; h < g->n_heads; h++) {
            attend_exactly(g, row, h, exact);
            for (size_t i = 0; i < g->head_width; i++) {
                float got = g->out[row * g->ld_out + h * g->head_width + i];
                assert_true(fabs(exact[i] - (double)got) < 2e-5);
            }
        }
}

static void check_attention(size_t length, size_t heads, size_t width,
                            size_t first, size_t end) {
    size_t row = heads * width;
    float *qkv = numbers(length * 3 * row, 2);
    float *want = numbers(length * row, 1), *got = copy_of(want, length * row);
    float *scratch = numbers(cr_attention_scratch_floats(length, width), 1e30f);
    cr_attention g = {.qkv = qkv,
                      .ld_qkv = 3 * row,
                      .length = length,
                      .first_row = first,
                      .end_row = end,
                      .n_heads = heads,
                      .head_width = width,
                      .scale = 0.25f,
                      .out = want,
                      .ld_out = row,
                      .scratch = scratch};
    float *before = copy_of(want, length * row);
    cr_kernels_ref.attention_f32(&g);
    assert_right_attention(&g);
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        memcpy(got, before, length * row * sizeof *got);
        g.out = got;
        tables[t]->attention_f32(&g);
        assert_same(tables[t], want, got, length * row, "attention_f32");
    }
    float *all[] = {qkv, want, got, scratch, before};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_free_aligned(all[i]);
}

static void attention_equals_ref(void **state) {
    (void)state;
    for (size_t length = 1; length <= 40; length++)
        check_attention(length, 2, 32, 0, length);
    check_attention(100, 3, 16, 13, 57);
    check_attention(75, 2, 48, 74, 75);
    check_attention(129, 1, 64, 0, 1);
}

/* Attention in bfloat16, and the form that it reads. */
typedef struct narrow_ops {
    const char *name;
    bool fused;
    cr_result reads;
    void (*run)(const cr_attention *args);
} narrow_ops;

static narrow_ops narrow_of(const cr_kernels *k) {
    return (narrow_ops){k->name, k->fused, k->attention_reads,
                        k->attention_bf16};
}

/* A sequence's attention in bfloat16. Behind its last row lies what is no
 * number, and may be read. */
typedef struct narrow {
    uint16_t *qkv;
    float *wide;  /* what qkv was rounded from */
    float *exact; /* what it was rounded to */
    float *out, *scratch;
    size_t length, heads, width;
} narrow;

static float widened(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static void narrow_init(narrow *a, size_t length, size_t heads, size_t width) {
    size_t row = heads * width, n = length * 3 * row;
    size_t all = n + (CR_HEAD_ROWS - 1) * 3 * row;
    *a = (narrow){
        .qkv = (void *)numbers(all, 1),
        .wide = numbers(n, 2),
        .exact = numbers(n, 1),
        .out = numbers(length * row, 1),
        .scratch = numbers(cr_attention_scratch_floats(length, width), 1e30f),
        .length = length,
        .heads = heads,
        .width = width};
    for (size_t i = 0; i < all; i++)
        a->qkv[i] = i < n ? bf16_of(a->wide[i]) : 0x7fc0;
    for (size_t i = 0; i < n; i++)
        a->exact[i] = widened(a->qkv[i]);
}

static void narrow_fini(narrow *a) {
    cr_free_aligned(a->qkv);
    cr_free_aligned(a->wide);
    cr_free_aligned(a->exact);
    cr_free_aligned(a->out);
    cr_free_aligned(a->scratch);
}

static void narrow_run(const narrow *a, narrow_ops ops, size_t first,
                       size_t end) {
    size_t row = a->heads * a->width;
    ops.run(&(cr_attention){.qkv = ops.reads == CR_RESULT_BF16 ? (void *)a->qkv
                                                               : a->wide,
                            .ld_qkv = 3 * row,
                            .length = a->length,
                            .first_row = first,
                            .end_row = end,
                            .n_heads = a->heads,
                            .head_width = a->width,
                            .scale = 0.25f,
                            .out = a->out,
                            .ld_out = row,
                            .scratch = a->scratch});
}

/* Weights are cut to 8 bits: values of +-2 are weighed with an error of a
 * hundredth of what they differ by, at most. Every table has ref's bits. */
static void check_narrow(narrow_ops ops, size_t length, size_t heads,
                         size_t width) {
    narrow a;
    narrow_init(&a, length, heads, width);
    narrow_run(&a, ops, 0, length);
    size_t row = heads * width;
    cr_attention g = {.qkv = a.exact,
                      .ld_qkv = 3 * row,
                      .length = length,
                      .n_heads = heads,
                      .head_width = width,
                      .scale = 0.25f};
    double want[256], mean = 0;
    for (size_t i = 0; i < length; i++)
        for (size_t h = 0; h < heads; h++) {
            attend_exactly(&g, i, h, want);
            for (size_t d = 0; d < width; d++) {
                double error =
                    fabs(want[d] - (double)a.out[i * row + h * width + d]);
                mean += error / (double)(length * row);
                assert_true(error < 0.03);
            }
        }
    assert_true(mean < 0.003);
    float *got = copy_of(a.out, length * row);
    narrow_run(&a, narrow_of(&cr_kernels_ref), 0, length);
    if (ops.fused)
        for (size_t i = 0; i < length * row; i++)
            if (memcmp(&got[i], &a.out[i], sizeof *got) != 0)
                fail_msg("attention_bf16 of %s: element %zu is %.9g, ref has "
                         "%.9g",
                         ops.name, i, (double)got[i], (double)a.out[i]);
    cr_free_aligned(got);
    narrow_fini(&a);
}

/* Any part of the rows has the bits that it has among all, and rows outside it
 * are left alone. */
static void check_narrow_part(narrow_ops ops, size_t length, size_t first,
                              size_t end) {
    narrow a;
    narrow_init(&a, length, 2, 32);
    const size_t row = 2 * 32, n = length * row;
    float *before = copy_of(a.out, n);
    narrow_run(&a, ops, first, end);
    float *part = copy_of(a.out, n);
    narrow_run(&a, ops, 0, length);
    for (size_t i = 0; i < length; i++)
        assert_memory_equal(part + i * row,
                            (i >= first && i < end ? a.out : before) + i * row,
                            row * sizeof *part);
    cr_free_aligned(before);
    cr_free_aligned(part);
    narrow_fini(&a);
}

/* Scores so far apart that all weights but one vanish, and a row of equals. */
static void check_narrow_extremes(narrow_ops ops) {
    enum { LENGTH = 37, WIDTH = 32, ROW = 3 * WIDTH };
    narrow a;
    narrow_init(&a, LENGTH, 1, WIDTH);
    for (size_t i = 0; i < LENGTH; i++)
        for (size_t d = 0; d < WIDTH; d++) {
            a.wide[i * ROW + d] = i == 1 ? 0 : 1000;
            a.wide[i * ROW + WIDTH + d] = i == 5 ? 1000 : -1000;
            a.qkv[i * ROW + d] = bf16_of(a.wide[i * ROW + d]);
            a.qkv[i * ROW + WIDTH + d] = bf16_of(a.wide[i * ROW + WIDTH + d]);
        }
    narrow_run(&a, ops, 0, LENGTH);
    for (size_t d = 0; d < WIDTH; d++) {
        double mean = 0, one = (double)a.exact[5 * ROW + 2 * WIDTH + d];
        for (size_t i = 0; i < LENGTH; i++)
            mean += (double)a.exact[i * ROW + 2 * WIDTH + d] / LENGTH;
        assert_true(fabs((double)a.out[d] - one) <= 2e-7 * fabs(one));
        assert_true(fabs((double)a.out[WIDTH + d] - mean) < 1e-5);
    }
    narrow_fini(&a);
}

static void check_narrow_attention(narrow_ops ops) {
    for (size_t length = 1; length <= 66; length++)
        check_narrow(ops, length, 1, 32);
    check_narrow(ops, 129, 2, 32);
    check_narrow(ops, 45, 3, 64);
    check_narrow(ops, 20, 2, 96);
    check_narrow(ops, 33, 1, 128);
    check_narrow_part(ops, 75, 0, 1);
    check_narrow_part(ops, 75, 13, 57);
    check_narrow_part(ops, 40, 32, 40);
    check_narrow_extremes(ops);
}

static void bf16_attention_equals_ref(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        check_narrow_attention(narrow_of(tables[t]));
}

#if defined(__x86_64__)
static narrow_ops emulated_narrow(void) {
    return (narrow_ops){"emulated tiles", true, CR_RESULT_BF16,
                        cr_attention_bf16_amx_avx512_emulated};
}

static void emulated_bf16_attention_agrees(void **state) {
    (void)state;
    check_narrow_attention(emulated_narrow());
}

#if defined(__linux__)
static void attention_object_code_agrees(void **state) {
    (void)state;
    if (!is_available("avx512"))
        CR_SKIP("not run on this machine: it lacks AVX-512");
    trap_tiles();
    for (size_t length = 1; length <= 80; length += 7) {
        narrow a;
        narrow_init(&a, length, 2, length % 2 ? 32 : 64);
        narrow_run(&a, emulated_narrow(), 0, length);
        size_t n = length * a.heads * a.width;
        float *want = copy_of(a.out, n);
        narrow_run(&a,
                   (narrow_ops){"tiles", true, CR_RESULT_BF16,
                                cr_attention_bf16_amx_avx512},
                   0, length);
        assert_memory_equal(want, a.out, n * sizeof *want);
        cr_free_aligned(want);
        narrow_fini(&a);
    }
    size_t n = untrap_tiles();
    assert_true(is_available("amx") || n > 0);
}
#endif
#endif

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
            uint32_t bits = (uint32_t)bf16_of(o.a[i * K]) << 16;
            float x;
            memcpy(&x, &bits, sizeof x);
            double off = fabs(exact(CR_EPILOGUE_GELU, (double)x) -
                              (double)o.c[i * N_COLUMNS]);
            if (!(off <= 6e-5 * (1 + fabs((double)x))))
                fail_msg("%s: GELU of %.9g is %.3g off", tables[t]->name,
                         (double)x, off);
        }
    }
    operands_fini(&o);
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
        cmocka_unit_test(ref_products_are_right),
        cmocka_unit_test(fp32_products_equal_ref),
        cmocka_unit_test(bf16_products_equal_ref),
        cmocka_unit_test(int8_products_equal_ref),
        cmocka_unit_test(rows_alone_have_their_bits),
        cmocka_unit_test(results_take_their_form),
        cmocka_unit_test(blocks_are_alike),
#if defined(__x86_64__)
        cmocka_unit_test(emulated_extensions_agree),
        cmocka_unit_test(emulated_tiles_agree),
#if defined(__linux__)
        cmocka_unit_test(tile_object_code_agrees),
        cmocka_unit_test(attention_object_code_agrees),
#endif
        cmocka_unit_test(emulated_bf16_attention_agrees),
#endif
        cmocka_unit_test(attention_equals_ref),
        cmocka_unit_test(bf16_attention_equals_ref),
        cmocka_unit_test(layer_norm_equals_ref),
        cmocka_unit_test(embedding_equals_ref),
        cmocka_unit_test(functions_are_accurate),
        cmocka_unit_test(narrow_gelu_is_accurate),
        cmocka_unit_test(exp2_is_accurate),
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
