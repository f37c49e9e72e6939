/* fp32 matrix product: panels of 16 columns, tiles of CR_ROWS rows.
 *
 * A tile's sums stay in registers while k runs; one panel of b (k x 16) stays
 * in the nearest cache while all rows pass it, and the next panel is fetched
 * meanwhile. Where k is long it is cut in chunks, and the tile's sums rest in
 * c between them, unrounded: float32 in, float32 out, so the chunks do not
 * change a bit. */
#include "kernels/isa.h"
#include "kernels/math16.h"
#include "kernels/tile.h"

/* Terms of k in one pass: a panel of 384 x 16 floats is 24 KB. */
enum { CR_K_CHUNK = 384 };

/* What one pass over the rows does: terms [k0, k0 + k) of some panels. */
typedef struct pass {
    const cr_gemm_f32 *g;
    size_t column; /* first of the panels' */
    size_t k0, k;
    const float *next;    /* what the following pass will read of b, or NULL */
    size_t lines_a_step;  /* of it, for each step of each tile to fetch */
} pass;

/* Terms between two rounds of fetching. A burst of fetches would stall, since
 * a core follows only a dozen or two at once. */
enum { CR_K_STEP = 16 };

CR_INLINE void run_tile(const pass *p, size_t row, const size_t rows,
                        const size_t panels) {
    const cr_gemm_f32 *g = p->g;
    cr_tile t = {.a = g->a + row * g->lda + p->k0,
                 .lda = g->lda,
                 .b = g->b + p->column * g->k + p->k0 * CR_PANEL,
                 .panel_step = g->k * CR_PANEL,
                 .row_step = CR_PANEL,
                 .k = p->k};
    float *c = g->c + row * g->ldc + p->column;
    v16 sum[CR_ROWS][CR_PANELS];
    CR_UNROLL
    for (size_t i = 0; i < rows; i++)
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] = p->k0 ? v16_load(c + i * g->ldc + j * CR_PANEL)
                              : v16_zero();
    const float *next = p->next;
    if (next)
        next += row / CR_ROWS * ((p->k + CR_K_STEP - 1) / CR_K_STEP) *
                p->lines_a_step * CR_PANEL;
    for (size_t left = p->k; left; left -= t.k) {
        t.k = left < CR_K_STEP ? left : CR_K_STEP;
        cr_tile_add(&t, rows, panels, sum);
        t.a += t.k;
        t.b += t.k * CR_PANEL;
        for (size_t i = 0; next && i < p->lines_a_step; i++, next += CR_PANEL)
            __builtin_prefetch(next, 0, 2);
    }
    CR_UNROLL
    for (size_t i = 0; i < rows; i++)
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            v16_store(c + i * g->ldc + j * CR_PANEL, sum[i][j]);
}

/* What becomes of a tile's finished sums, which still lie in the nearest
 * cache: cheaper than having it in every tile's code. */
static void finish_tile(const pass *p, size_t row, size_t rows,
                        size_t panels) {
    const cr_gemm_f32 *g = p->g;
    for (size_t i = row; i < row + rows; i++)
        for (size_t j = p->column; j < p->column + panels * CR_PANEL;
             j += CR_PANEL) {
            float *c = g->c + i * g->ldc + j;
            v16 x = v16_add(v16_load(c), v16_load(g->bias + j));
            x = cr_epilogue_apply(x, g->epilogue);
            if (g->residual)
                x = v16_add(x, v16_load(g->residual + i * g->ld_residual + j));
            v16_store(c, x);
        }
}

/* Points the pass at what comes after it, and shares the fetching between its
 * tiles. */
static void plan_fetch(pass *p, size_t panels, size_t tiles) {
    const cr_gemm_f32 *g = p->g;
    size_t k_next = p->k0 + p->k;
    size_t column = p->column;
    if (k_next == g->k) {
        k_next = 0;
        column += panels * CR_PANEL;
    }
    size_t lines = g->k - k_next < CR_K_CHUNK ? g->k - k_next : CR_K_CHUNK;
    size_t steps = tiles * ((p->k + CR_K_STEP - 1) / CR_K_STEP);
    bool more = column < g->n;
    p->next = more ? g->b + column * g->k + k_next * CR_PANEL : NULL;
    p->lines_a_step = (lines + steps - 1) / steps;
}

void CR_ISA_NAME(gemm_f32)(const cr_gemm_f32 *g) {
    if (g->m == 0)
        return;
    size_t tiles = (g->m + CR_ROWS - 1) / CR_ROWS;
    for (size_t column = 0, panels; column < g->n;
         column += panels * CR_PANEL) {
        panels = g->n - column >= CR_PANELS * CR_PANEL ? CR_PANELS : 1;
        for (size_t k0 = 0; k0 < g->k; k0 += CR_K_CHUNK) {
            size_t k = g->k - k0 < CR_K_CHUNK ? g->k - k0 : CR_K_CHUNK;
            pass p = {.g = g, .column = column, .k0 = k0, .k = k};
            plan_fetch(&p, panels, tiles);
            for (size_t row = 0; row < g->m; row += CR_ROWS) {
                size_t left = g->m - row;
                size_t rows = left < CR_ROWS ? left : CR_ROWS;
                CR_TILE_SWITCH(rows, panels, run_tile, &p, row)
                if (k0 + k == g->k)
                    finish_tile(&p, row, rows, panels);
            }
        }
    }
}
