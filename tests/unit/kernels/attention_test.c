/* Attention: every table against plain C, bit by bit, and plain C against
 * float64. */
#include "tables.h"

#include "kernels/bf16.h"
#include "skip.h"
#include "trapped_amx.h"

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

/* Row i of one head's q and k. Queries 1, 2 and 3 are huge where keys 3, 4 and
 * all are: their scores are infinite in one key, infinite and of both signs
 * before they are added up in one, and minus infinity in all. (Of two terms
 * next to each other AVX512-BF16 has the sum as if there were no limit.) */
static void spoil_scores(float *row, size_t width, size_t i) {
    const float huge = 1e25f;
    for (size_t d = 0; d < width; d++)
        row[d] = row[width + d] = 0;
    if (i >= 1 && i <= 3)
        row[4 * i] = row[4 * i + 2] = huge;
    row[width + 4] = row[width + 6] = i == 3 ? huge : 0;
    row[width + 8] = i == 4 ? huge : 0;
    row[width + 10] = -row[width + 8];
    row[width + 12] = row[width + 14] = -huge;
}

static void assert_spoilt(const float *out, size_t length, size_t width,
                          const char *name) {
    for (size_t i = 0; i < length; i++)
        for (size_t d = 0; d < width; d++)
            if ((i >= 1 && i <= 3) != isnan(out[i * width + d]))
                fail_msg("%s: query %zu has %g", name, i,
                         (double)out[i * width + d]);
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
    cr_kernels_ref.attention[CR_FP32]->run(&g);
    assert_right_attention(&g);
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        memcpy(got, before, length * row * sizeof *got);
        g.out = got;
        tables[t]->attention[CR_FP32]->run(&g);
        assert_same(tables[t], want, got, length * row, "attention_f32");
    }
    float *all[] = {qkv, want, got, scratch, before};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        cr_free_aligned(all[i]);
}

static void check_overflow(const cr_kernels *k) {
    enum { LENGTH = 37, WIDTH = 32, ROW = 3 * WIDTH };
    float *qkv = numbers(LENGTH * ROW, 2), *out = numbers(LENGTH * WIDTH, 1);
    float *scratch = numbers(cr_attention_scratch_floats(LENGTH, WIDTH), 1e30f);
    for (size_t i = 0; i < LENGTH; i++)
        spoil_scores(qkv + i * ROW, WIDTH, i);
    k->attention[CR_FP32]->run(&(cr_attention){.qkv = qkv,
                                               .ld_qkv = ROW,
                                               .length = LENGTH,
                                               .end_row = LENGTH,
                                               .n_heads = 1,
                                               .head_width = WIDTH,
                                               .scale = 0.25f,
                                               .out = out,
                                               .ld_out = WIDTH,
                                               .scratch = scratch});
    assert_spoilt(out, LENGTH, WIDTH, k->name);
    cr_free_aligned(qkv);
    cr_free_aligned(out);
    cr_free_aligned(scratch);
}

static void scores_that_overflow_are_no_numbers(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        check_overflow(tables[t]);
}

static void attention_equals_ref(void **state) {
    (void)state;
    for (size_t length = 1; length <= 40; length++)
        check_attention(length, 2, 32, 0, length);
    check_attention(100, 3, 16, 13, 57);
    check_attention(75, 2, 48, 74, 75);
    check_attention(129, 1, 64, 0, 1);
}

/* Attention that multiplies bfloat16, and whether it does in int8's order. */
typedef struct narrow_ops {
    const char *name;
    bool exactly;
    const cr_attention_ops *ops;
} narrow_ops;

static narrow_ops int8_of(const cr_kernels *k) {
    return (narrow_ops){k->name, k->fused, k->attention[CR_INT8]};
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
        a->qkv[i] = i < n ? cr_bf16_of(a->wide[i]) : 0x7fc0;
    for (size_t i = 0; i < n; i++)
        a->exact[i] = cr_bf16_widen(a->qkv[i]);
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
    bool reads_bf16 = ops.ops->reads == CR_RESULT_BF16;
    ops.ops->run(&(cr_attention){.qkv = reads_bf16 ? (void *)a->qkv : a->wide,
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
    narrow_run(&a, int8_of(&cr_kernels_ref), 0, length);
    if (ops.exactly)
        for (size_t i = 0; i < length * row; i++)
            if (memcmp(&got[i], &a.out[i], sizeof *got) != 0)
                fail_msg("attention of %s: element %zu is %.9g, ref has "
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
            a.qkv[i * ROW + d] = cr_bf16_of(a.wide[i * ROW + d]);
            a.qkv[i * ROW + WIDTH + d] =
                cr_bf16_of(a.wide[i * ROW + WIDTH + d]);
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

/* Scores that overflow, which are infinite, all of them or one, or no number at
 * all: the query's row becomes NaN, and others do not. */
static void check_narrow_overflow(narrow_ops ops) {
    enum { LENGTH = 37, WIDTH = 32, ROW = 3 * WIDTH };
    narrow a;
    narrow_init(&a, LENGTH, 1, WIDTH);
    for (size_t i = 0; i < LENGTH; i++)
        spoil_scores(a.wide + i * ROW, WIDTH, i);
    for (size_t i = 0; i < LENGTH * ROW; i++)
        a.qkv[i] = cr_bf16_of(a.wide[i]);
    narrow_run(&a, ops, 0, LENGTH);
    assert_spoilt(a.out, LENGTH, WIDTH, ops.name);
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
    check_narrow_overflow(ops);
}

static void int8_attention_equals_ref(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++)
        check_narrow_attention(int8_of(tables[t]));
}

/* Where it is one of its own. */
static void bf16_attention_is_right(void **state) {
    (void)state;
    const cr_kernels *tables[MAX_TABLES];
    size_t n_tables = tables_of(tables);
    for (size_t t = 0; t < n_tables; t++) {
        const cr_attention_ops *ops = tables[t]->attention[CR_BF16];
        if (ops != tables[t]->attention[CR_FP32])
            check_narrow_attention((narrow_ops){tables[t]->name, false, ops});
    }
#if defined(__x86_64__)
    check_narrow_attention(
        (narrow_ops){"emulated AVX512-BF16", false,
                     &cr_attention_bf16_avx512_avx512_emulated});
#endif
}

#if defined(__x86_64__)
static narrow_ops emulated_tiles(void) {
    return (narrow_ops){"emulated tiles", true,
                        &cr_attention_bf16_amx_avx512_emulated};
}

static void emulated_tiles_agree(void **state) {
    (void)state;
    check_narrow_attention(emulated_tiles());
}

#if defined(__linux__)
static void tile_object_code_agrees(void **state) {
    (void)state;
    if (!is_available("avx512"))
        CR_SKIP("not run on this machine: it lacks AVX-512");
    trap_tiles();
    for (size_t length = 1; length <= 80; length += 7) {
        narrow a;
        narrow_init(&a, length, 2, length % 2 ? 32 : 64);
        narrow_run(&a, emulated_tiles(), 0, length);
        size_t n = length * a.heads * a.width;
        float *want = copy_of(a.out, n);
        narrow_run(&a,
                   (narrow_ops){"tiles", true, &cr_attention_bf16_amx_avx512},
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attention_equals_ref),
        cmocka_unit_test(scores_that_overflow_are_no_numbers),
        cmocka_unit_test(int8_attention_equals_ref),
        cmocka_unit_test(bf16_attention_is_right),
#if defined(__x86_64__)
        cmocka_unit_test(emulated_tiles_agree),
#if defined(__linux__)
        cmocka_unit_test(tile_object_code_agrees),
#endif
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
