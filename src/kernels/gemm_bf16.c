/* The bf16 matrix product on float32 instructions.
 *
 * Both factors are rounded to bfloat16 (nearest, ties to even); products of
 * those are exact in float32, and sums are fused as in the fp32 product. Gains
 * memory, not speed: the same numbers, near enough, as machines with bf16
 * instructions have. Activations stay in float32 form, weights in 16 bits. */
#include "kernels/bf16.h"
#include "kernels/sums_f32.h"
#include "kernels/tile.h"

enum { CR_A_BYTES = 4, CR_B_BYTES = 2 };

/* Adds one term, as cr_tile_term does. */
CR_INLINE void add_term(const cr_rows *a, size_t at, const char *b,
                        size_t panel_step, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    v16 column[CR_PANELS];
    CR_UNROLL
    for (size_t j = 0; j < CR_PANELS; j++) {
        const char *from = b + cr_panel_or_first(j, panels) * panel_step;
        column[j] = v16_from_bf16((const uint16_t *)(const void *)from);
    }
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        float x;
        memcpy(&x, cr_row(a, i) + at, sizeof x);
        v16 same = v16_set(x);
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] = v16_fma(same, column[j], sum[i][j]);
    }
}

/* k is even. */
CR_INLINE void tile_add(const cr_tile_of *t, const size_t rows,
                        const size_t panels, v16 sum[CR_ROWS][CR_PANELS]) {
    enum { ROW = CR_PANEL * CR_B_BYTES };
    const char *b = t->b;
    cr_rows a = cr_rows_from(t->a, t->a_step, rows);
    CR_NO_UNROLL
    for (size_t left = t->k / 2; left; left--, b += 2 * ROW) {
        add_term(&a, 0, b, t->panel_step, rows, panels, sum);
        CR_NOT_BEFORE;
        add_term(&a, CR_A_BYTES, b + ROW, t->panel_step, rows, panels, sum);
        cr_rows_move(&a, 2 * CR_A_BYTES, rows);
    }
}

#include "kernels/gemm_passes.h"

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    (void)scales;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++)
            ((float *)a)[i * k + j] = cr_bf16_widen(cr_bf16_of(x[i * ld + j]));
}

static void pack(const float *panels, size_t k, size_t n, void *packed,
                 float *scales, float *sums, int32_t *offsets) {
    (void)scales;
    (void)sums;
    (void)offsets;
    for (size_t i = 0; i < k * n; i++)
        ((uint16_t *)packed)[i] = cr_bf16_of(panels[i]);
}

CR_GEMM_OPS(gemm_bf16, false);
