/* The operation table: what the encoder needs computed, by instruction set.
 *
 * Kernels are pure functions of their arguments. They allocate nothing, keep
 * nothing, check nothing (their caller has), and may run on any number of
 * threads as long as outputs do not overlap.
 *
 * Geometry. Vectors are sixteen floats wide, so every row length (n, width)
 * is a multiple of CR_PANEL and rows are padded with zeros up to that. Weights
 * are packed in panels: [n / 16][k][16].
 *
 * Order. A matrix product adds its k terms one after the other, fused; a sum
 * over a row keeps 16 partial sums and then halves them. That order is the
 * same in every table but `base`, so results are equal to the bit. */
#ifndef CR_KERNELS_KERNELS_H
#define CR_KERNELS_KERNELS_H

#include "base/error.h"

enum { CR_PANEL = 16 };

typedef enum cr_epilogue {
    CR_EPILOGUE_NONE,
    CR_EPILOGUE_GELU,
    CR_EPILOGUE_GELU_NEW,
    CR_EPILOGUE_RELU,
    CR_EPILOGUE_TANH
} cr_epilogue;

/* The precision of a matrix product. Sums are float32 (int32 for int8) and so
 * is what comes out, whatever goes in. */
typedef enum cr_dtype {
    CR_FP32,
    CR_BF16, /* both factors rounded to bfloat16 */
    CR_INT8, /* weights scaled by column, activations by row (int8.h) */
    CR_N_DTYPES
} cr_dtype;

/* Weights of a linear layer, packed for one table and precision. */
typedef struct cr_matrix {
    size_t k;               /* inputs, a multiple of 16 */
    size_t n;               /* outputs, a multiple of 16 */
    const void *panels;     /* [n / 16] panels of k * 16 packed weights */
    const float *bias;      /* [n] */
    const float *scales;    /* [n] of int8, else NULL */
    const float *sums;      /* [n] of int8: of a column's integers, scaled */
    const int32_t *offsets; /* [n] of int8: what the sums are too large by */
} cr_matrix;

/* What a row's integers mean: x = scale * integer - zero. */
typedef struct cr_row_scale {
    float scale, zero;
} cr_row_scale;

/* What a product leaves. */
typedef enum cr_result {
    CR_RESULT_FP32,     /* rows of float */
    CR_RESULT_BF16,     /* rows of uint16_t; of products that are `apart` */
    CR_RESULT_CONVERTED /* what convert would make of n columns of them; of bf16
                           products that are `apart` */
} cr_result;

/* c[m][n] = epilogue(a[m][k] b[k][n] + bias[n]) + residual[m][n], for the
 * columns of b that `b` names. */
typedef struct cr_gemm {
    const void *a;                /* [m][k] as the table's convert leaves it */
    const cr_row_scale *a_scales; /* [m] of int8, else unused */
    size_t m;                     /* may be 0 */
    cr_matrix b;
    const float *residual; /* [m][ld_residual] or NULL; c if `apart` */
    size_t ld_residual;
    void *c;    /* as `result` says, on a boundary of 64 bytes if converted */
    size_t ldc; /* elements from row to row, if not converted */
    cr_result result;
    cr_epilogue epilogue;
} cr_gemm;

/* A matrix product in one precision. Converted activations are in a form of
 * its own; they take cr_gemm_a_bytes, and a part of them that begins at a
 * multiple of row_step begins at that many rows' bytes. */
typedef struct cr_gemm_ops {
    bool fast;       /* by instructions made for it */
    bool apart;      /* sums are not kept in c before they are finished */
    size_t row_step; /* rows that are converted and multiplied together */
    size_t a_terms;  /* rows of a are padded to a multiple of this */
    size_t a_bytes;  /* of one converted activation */
    size_t b_bytes;  /* of one packed weight */
    size_t block;    /* most rows to take at once, a multiple of row_step: as
                        many as pay for reading the weights, and stay near */
    size_t cut;      /* rows that blocks are cut at to be alike: block where
                        what is left does not cost more than its part */
    /* x[m][ld] float32 to a; scales[m] only of int8. */
    void (*convert)(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales);
    /* float32 panels[n / 16][k][16] to the packed form; scales[n], sums[n] and
     * offsets[n] only of int8. */
    void (*pack)(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets);
    void (*run)(const cr_gemm *args);
} cr_gemm_ops;

/* Self-attention of query rows [first_row, end_row) of one sequence, all
 * heads: out = softmax(q k^T scale) v. Rows of qkv hold q, then k, then v,
 * each [n_heads][head_width]; softmax is float32. A query with a score that is
 * infinite or NaN gets NaN. */
typedef struct cr_attention {
    const void *qkv; /* [length][ld_qkv], in the form that it reads */
    size_t ld_qkv;
    size_t length; /* tokens of the sequence, >= 1 */
    size_t first_row, end_row;
    size_t n_heads;
    size_t head_width;
    float scale; /* of q k^T, before softmax */
    float *out;  /* [length][ld_out]; rows outside the range untouched */
    size_t ld_out;
    float *scratch; /* cr_attention_scratch_floats(length, head_width), on a
                       boundary of 64 bytes */
} cr_attention;

/* Attention in one precision. That of int8 multiplies bfloat16, since tiles
 * would take longer to wait for float32 than for all products of a layer, in
 * one order of sums in every table, so that int8's scores are the same on every
 * machine. The order is that of AMX: of 32 terms, even and odd ones apart, then
 * both to what is there. It is alike to the bit in every table that is `fused`,
 * but that AMX takes what is smaller than 2^-126 for 0. That of bf16 multiplies
 * bfloat16 where there are instructions for it, in their order. */
typedef struct cr_attention_ops {
    cr_result reads; /* float32, or bfloat16, then with up to CR_HEAD_ROWS - 1
                        rows behind the last, whatever is in them */
    size_t terms;    /* head_width is a multiple of it */
    void (*run)(const cr_attention *args);
} cr_attention_ops;

/* Rows of each block of m but the last, which may have less. */
size_t cr_gemm_block(const cr_gemm_ops *ops, size_t m);

/* Bytes of m converted rows of k activations. */
size_t cr_gemm_a_bytes(const cr_gemm_ops *ops, size_t m, size_t k);

/* Query rows that attention takes at once, at most, in any table: of float32
 * and of bfloat16. */
enum { CR_MOST_ROWS = 8, CR_MOST_QUERIES = 48 };

/* What bf16 attention multiplies at once: so many terms of so many rows. */
enum { CR_HEAD_TERMS = 32, CR_HEAD_ROWS = 16 };

/* Floats of scratch for sequences of up to `length` tokens, of either. */
size_t cr_attention_scratch_floats(size_t length, size_t head_width);

/* out = (x - mean) / sqrt(variance + eps) * gain + bias over the first
 * `width` of each row; the padding up to a multiple of 16 becomes 0. */
typedef struct cr_layer_norm {
    const float *x; /* [m][ld] */
    float *out;     /* [m][ld], may be x */
    size_t ld;
    size_t m;
    size_t width;
    const float *gain; /* [width padded to 16], as bias */
    const float *bias;
    float eps;
} cr_layer_norm;

/* Rows of three tables added, then layer norm, written to norm.out. */
typedef struct cr_embedding {
    const int32_t *ids;        /* [norm.m] */
    const uint8_t *type_ids;   /* [norm.m] */
    const uint32_t *positions; /* [norm.m] */
    const float *words;        /* [..][norm.ld], as the others */
    const float *types;
    const float *places;
    cr_layer_norm norm; /* x is not used */
} cr_embedding;

typedef struct cr_kernels {
    const char *name;
    bool fused; /* has fused multiply-add: bit-equal with the others */
    const cr_gemm_ops *gemm[CR_N_DTYPES];
    const cr_attention_ops *attention[CR_N_DTYPES];
    void (*layer_norm)(const cr_layer_norm *args);
    void (*embedding)(const cr_embedding *args);
    /* y[i] = epilogue(x[i]), n a multiple of 16: for tests of the maths. */
    void (*map)(cr_epilogue epilogue, const float *x, float *y, size_t n);
    void (*exp2)(const float *x, float *y, size_t n);
} cr_kernels;

/* "fp32", "bf16", "int8". */
const char *cr_dtype_name(cr_dtype dtype);

/* Tables that this build holds and this machine can run, fastest first, `ref`
 * last, ending with NULL. Static. */
const cr_kernels *const *cr_kernels_available(void);

/* Whether the fastest table does without instructions for bf16 that the CPU
 * has, as those for fp32 are faster. */
bool cr_kernels_slow_bf16(void);

/* Largest sum of products that int8 can meet without overflow. */
enum { CR_INT8_MAX_K = 2147483647 / (127 * 255) };

/* The table called `name`; "auto" takes the fastest, NULL asks the environment
 * variable CROSSRANK_ISA before. CR_ERR_UNAVAILABLE names what
 * there is; CR_ERR_ARGUMENT for a name that no build has. */
cr_status cr_kernels_choose(const char *name, const cr_kernels **kernels,
                            cr_error *error);

#endif
