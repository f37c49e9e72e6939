/* The speed of every matrix product of the shipped model, and of both kinds of
 * attention, beside the arithmetic peak measured in the same run. Products are
 * of a block's rows and leave what the encoder asks for.
 *
 *     kernels_bench [ROUNDS [ISA]]
 *
 * Tables are those with instructions for int8, in the precisions that they have
 * instructions for; ISA names one, in all precisions. One thread. Rounds go
 * through all kernels in turn, the peak first, so that drift of the machine
 * meets all of them; figures are medians over the rounds, shares medians of
 * ratios within a round. One JSON object a line. */
#include "base/mem.h"
#include "kernels/bf16.h"
#include "kernels/kernels.h"
#include "lab/peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MOST_ROWS = 256, /* of any table's blocks */
    WIDTH = 384,
    INNER = 1536,
    N_HEADS = 12,
    MAX_TABLES = 8,
    MAX_ROUNDS = 99,
    MAX_CASES = 256,
    /* Different weights for consecutive calls, as layers are: the products
     * meet theirs in the third cache, not in the second. */
    COPIES = 6,
    SLICES = 7,
    SLICE_NS = 1000 * 1000
};

/* A kernel at one size, and what it took. */
typedef struct bench_case {
    const cr_kernels *table;
    cr_dtype dtype;
    const char *name;
    size_t m, k, n; /* of a product */
    size_t length;  /* of attention, else 0 */
    const cr_attention_ops *attention;
    bool converts; /* measures convert alone */
    cr_epilogue epilogue;
    cr_result result;
    bool residual;
    double rate[MAX_ROUNDS];  /* 10^9 operations a second */
    double share[MAX_ROUNDS]; /* of the peak in the same round */
    double ns[MAX_ROUNDS];    /* a row */
} bench_case;

static bench_case cases[MAX_CASES];
static size_t n_cases;

static void die(const char *why) {
    fprintf(stderr, "kernels_bench: %s\n", why);
    exit(2);
}

static void *need(size_t bytes) {
    void *block = cr_alloc_aligned(bytes);
    if (!block)
        die("out of memory");
    return block;
}

/* The same numbers every time, about as large as a layer's. */
static float *need_numbers(size_t n, float scale) {
    float *x = need(n * sizeof *x);
    uint32_t state = 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = ((float)(state >> 8) / (float)(1 << 23) - 1) * scale;
    }
    return x;
}

/* What all cases read and write. */
static float *numbers, *converted, *output, *bias, *residual, *scratch;
static uint16_t *narrow_numbers;
static cr_row_scale *row_scales;

/* One case's weights, packed COPIES times. */
typedef struct weights {
    char *packed;
    size_t bytes;
    float *scales, *sums;
    int32_t *offsets;
} weights;

static weights pack(const bench_case *c) {
    const cr_gemm_ops *ops = c->table->gemm[c->dtype];
    weights w = {.bytes = c->k * c->n * ops->b_bytes};
    w.packed = need(w.bytes * COPIES);
    w.scales = need(c->n * sizeof *w.scales);
    w.sums = need(c->n * sizeof *w.sums);
    w.offsets = need(c->n * sizeof *w.offsets);
    float *panels = need_numbers(c->k * c->n, 0.1f);
    for (size_t i = 0; i < COPIES; i++)
        ops->pack(panels, c->k, c->n, w.packed + i * w.bytes, w.scales, w.sums,
                  w.offsets);
    cr_free_aligned(panels);
    return w;
}

static void free_weights(weights *w) {
    cr_free_aligned(w->packed);
    cr_free_aligned(w->scales);
    cr_free_aligned(w->sums);
    cr_free_aligned(w->offsets);
}

static void run_product(const bench_case *c, const weights *w, size_t turn) {
    const cr_gemm_ops *ops = c->table->gemm[c->dtype];
    if (c->converts) {
        ops->convert(numbers, c->k, c->m, c->k, converted, row_scales);
        return;
    }
    cr_gemm g = {.a = c->dtype == CR_FP32 ? numbers : converted,
                 .a_scales = row_scales,
                 .m = c->m,
                 .b = {.k = c->k,
                       .n = c->n,
                       .panels = w->packed + turn % COPIES * w->bytes,
                       .bias = bias,
                       .scales = w->scales,
                       .sums = w->sums,
                       .offsets = w->offsets},
                 .residual = c->residual ? residual : NULL,
                 .ld_residual = c->n,
                 .c = output,
                 .ldc = c->n,
                 .result = c->result,
                 .epilogue = c->epilogue};
    ops->run(&g);
}

static void run_attention(const bench_case *c) {
    cr_attention a = {.qkv = c->attention->reads == CR_RESULT_BF16
                                 ? (const void *)narrow_numbers
                                 : numbers,
                      .ld_qkv = 3 * WIDTH,
                      .length = c->length,
                      .end_row = c->length,
                      .n_heads = N_HEADS,
                      .head_width = WIDTH / N_HEADS,
                      .scale = 0.1767767f,
                      .out = output,
                      .ld_out = WIDTH,
                      .scratch = scratch};
    c->attention->run(&a);
}

/* Of this thread's own time: others on the machine do not count. */
static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

/* Nanoseconds of one call: the best of some slices, as the peak is. */
static double time_case(const bench_case *c) {
    weights w = {0};
    if (!c->length) {
        w = pack(c);
        c->table->gemm[c->dtype]->convert(numbers, c->k, c->m, c->k, converted,
                                          row_scales);
    }
    double best = 0;
    for (size_t slice = 0; slice <= SLICES; slice++) {
        double start = now_ns(), ns = 0;
        size_t turns = 0;
        for (; ns < SLICE_NS; ns = now_ns() - start)
            for (size_t i = 0; i < COPIES; i++, turns++) {
                if (c->length)
                    run_attention(c);
                else
                    run_product(c, &w, i);
            }
        ns /= (double)turns;
        /* The first is to warm up. */
        if (slice == 1 || (slice && ns < best))
            best = ns;
    }
    free_weights(&w);
    return best;
}

static void add(bench_case c) {
    if (n_cases == MAX_CASES)
        die("too many cases");
    cases[n_cases++] = c;
}

/* That of one precision, if it is not another's, too. What multiplies bfloat16
 * does so in float32 where that is what it reads, but by AVX512-BF16. */
static void add_attention(const cr_kernels *table, cr_dtype dtype) {
    const cr_attention_ops *ops = table->attention[dtype];
    for (size_t i = 0; i < dtype; i++)
        if (table->attention[i] == ops)
            return;
    bool narrow = dtype == CR_BF16 || ops->reads == CR_RESULT_BF16;
    for (size_t length = 32; length <= 512; length *= 2)
        add((bench_case){.table = table,
                         .dtype = narrow ? CR_BF16 : CR_FP32,
                         .name = dtype == CR_FP32   ? "attention_fp32"
                                 : dtype == CR_BF16 ? "attention_bf16"
                                                    : "attention_int8",
                         .attention = ops,
                         .length = length});
}

/* `every` precision, or those that it has instructions for. */
static void add_cases(const cr_kernels *table, bool every) {
    enum { QKV, OUT, UP };
    static const bench_case layer[] = {
        [QKV] = {.name = "qkv", .k = WIDTH, .n = 3 * WIDTH},
        [OUT] = {.name = "attention_out",
                 .k = WIDTH,
                 .n = WIDTH,
                 .residual = true},
        [UP] = {.name = "up",
                .k = WIDTH,
                .n = INNER,
                .epilogue = CR_EPILOGUE_GELU},
        {.name = "up_no_gelu", .k = WIDTH, .n = INNER},
        {.name = "down", .k = INNER, .n = WIDTH, .residual = true},
        {.name = "convert", .k = INNER, .n = CR_PANEL, .converts = true},
    };
    for (cr_dtype dtype = CR_FP32; dtype < CR_N_DTYPES; dtype++) {
        if (dtype != CR_FP32 && !every && !table->gemm[dtype]->fast)
            continue;
        for (size_t i = 0; i < sizeof layer / sizeof *layer; i++) {
            bench_case c = layer[i];
            const cr_gemm_ops *ops = table->gemm[dtype];
            c.table = table;
            c.dtype = dtype;
            c.m = ops->block;
            if (c.m > MOST_ROWS)
                die("MOST_ROWS is too small");
            if (ops->apart && i == QKV)
                c.result = CR_RESULT_BF16;
            else if (ops->apart && i == UP && dtype == CR_BF16)
                c.result = CR_RESULT_CONVERTED;
            if (!(c.converts && dtype == CR_FP32))
                add(c);
        }
    }
    for (size_t i = 0; i < CR_N_DTYPES; i++)
        add_attention(table, (cr_dtype)i);
}

static double operations(const bench_case *c) {
    if (c->converts)
        return 0;
    if (c->length)
        return 4.0 * (double)c->length * (double)c->length * WIDTH;
    return 2.0 * (double)c->m * (double)c->k * (double)c->n;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static void print_case(bench_case *c, size_t rounds) {
    printf("{\"isa\":\"%s\",\"dtype\":\"%s\",\"kernel\":\"%s\"", c->table->name,
           cr_dtype_name(c->dtype), c->name);
    if (c->length)
        printf(",\"length\":%zu", c->length);
    else
        printf(",\"m\":%zu,\"k\":%zu,\"n\":%zu", c->m, c->k, c->n);
    printf(",\"ns_per_row\":%.1f", median(c->ns, rounds));
    if (!c->converts)
        printf(",\"gflops\":%.1f,\"share_of_peak\":%.3f",
               median(c->rate, rounds), median(c->share, rounds));
    puts("}");
}

static void run_round(size_t round, double *peaks[CR_N_PEAKS]) {
    static const cr_peak_kind kind[CR_N_DTYPES] = {[CR_FP32] = CR_PEAK_FP32,
                                                   [CR_BF16] = CR_PEAK_BF16,
                                                   [CR_INT8] = CR_PEAK_INT8};
    for (size_t i = 0; i < CR_N_PEAKS; i++)
        peaks[i][round] = cr_peak_measure((cr_peak_kind)i, 1).one_thread;
    for (size_t i = 0; i < n_cases; i++) {
        bench_case *c = &cases[i];
        double ns = time_case(c), peak = peaks[kind[c->dtype]][round];
        c->ns[round] = ns / (double)(c->length ? c->length : c->m);
        c->rate[round] = operations(c) / ns;
        c->share[round] = peak > 0 ? c->rate[round] / peak : 0;
    }
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 5;
    if (rounds < 1 || rounds > MAX_ROUNDS)
        die("ROUNDS is 1 to 99");
    size_t most = (size_t)MOST_ROWS * INNER + (512 + CR_HEAD_ROWS) * 3 * WIDTH;
    numbers = need_numbers(most, 1);
    converted = need_numbers(most, 1);
    output = need_numbers(most, 1);
    residual = need_numbers(most, 1);
    bias = need_numbers(INNER, 1);
    row_scales = need(MOST_ROWS * sizeof *row_scales);
    narrow_numbers = need(most * sizeof *narrow_numbers);
    for (size_t i = 0; i < most; i++)
        narrow_numbers[i] = cr_bf16_of(numbers[i]);
    scratch =
        need_numbers(cr_attention_scratch_floats(512, WIDTH / N_HEADS), 0);
    const cr_kernels *const *tables = cr_kernels_available();
    for (; *tables; tables++)
        if (argc > 2 ? !strcmp((*tables)->name, argv[2])
                     : (*tables)->gemm[CR_INT8]->fast)
            add_cases(*tables, argc > 2);
    if (!n_cases)
        die("no such instruction set here; crossrank info lists them");
    double values[CR_N_PEAKS][MAX_ROUNDS];
    double *peaks[CR_N_PEAKS] = {values[0], values[1], values[2]};
    for (size_t round = 0; round < (size_t)rounds; round++)
        run_round(round, peaks);
    for (size_t i = 0; i < CR_N_PEAKS; i++)
        printf("{\"peak\":\"%s\",\"gflops\":%.1f}\n",
               cr_peak_name((cr_peak_kind)i), median(peaks[i], (size_t)rounds));
    for (size_t i = 0; i < n_cases; i++)
        print_case(&cases[i], (size_t)rounds);
    return 0;
}
