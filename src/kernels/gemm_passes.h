/* The way through a matrix product, for any precision.
 *
 * A tile's sums stay in registers while k runs; one panel of b stays in the
 * nearest cache while all rows pass it, and the next panel is fetched
 * meanwhile. Where k is long it is cut in chunks, and the tile's sums rest in
 * c between them, unrounded, so the chunks do not change a bit.
 *
 * The including file defines, before inclusion:
 *   CR_A_BYTES, CR_B_BYTES   of one activation and one weight
 *   what sums_f32.h or sums_int32.h has
 *   tile_add                 what cr_tile_add of tile.h does, for its type
 *   CR_K_STEP                if tile_add is dear to begin, a longer step */
#ifndef CR_KERNELS_GEMM_PASSES_H
#define CR_KERNELS_GEMM_PASSES_H

#include "kernels/gemm_finish.h"
#include "kernels/tile.h"

/* Terms of k in one pass: 24 KB of a panel. */
enum { CR_K_CHUNK = 24 * 1024 / (CR_PANEL * CR_B_BYTES) };
/* Terms between two rounds of fetching. A burst of fetches would stall, since
 * a core follows only a dozen or two at once. */
#ifndef CR_K_STEP
#define CR_K_STEP 16
#endif
enum { CR_LINE_BYTES = 64 };

/* What one pass over the rows does: terms [k0, k0 + k) of some panels. */
typedef struct pass {
    const cr_gemm *g;
    size_t column; /* first of the panels' */
    size_t k0, k;
    const char *next;    /* what the following pass will read of b, or NULL */
    size_t lines_a_step; /* of it, for each step of each tile to fetch */
} pass;

CR_INLINE const char *panel_at(const cr_gemm *g, size_t column, size_t k) {
    return (const char *)g->b.panels +
           (column * g->b.k + k * CR_PANEL) * CR_B_BYTES;
}

CR_INLINE size_t steps_of(size_t k) { return (k + CR_K_STEP - 1) / CR_K_STEP; }

CR_INLINE void run_tile(const pass *p, size_t row, const size_t rows,
                        const size_t panels) {
    const cr_gemm *g = p->g;
    cr_tile_of t = {.a = (const char *)g->a + row * g->a_step +
                         p->k0 * CR_A_BYTES,
                    .a_step = g->a_step,
                    .b = panel_at(g, p->column, p->k0),
                    .panel_step = g->b.k * CR_PANEL * CR_B_BYTES};
    float *c = g->c + row * g->ldc + p->column;
    cr_sum sum[CR_ROWS][CR_PANELS];
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum[i][j] =
                p->k0 ? sum_load(c + i * g->ldc + j * CR_PANEL) : sum_zero();
    }
    const char *next = p->next;
    if (next)
        next +=
            row / CR_ROWS * steps_of(p->k) * p->lines_a_step * CR_LINE_BYTES;
    for (size_t left = p->k; left; left -= t.k) {
        t.k = left < CR_K_STEP ? left : CR_K_STEP;
        tile_add(&t, rows, panels, sum);
        t.a += t.k * CR_A_BYTES;
        t.b += t.k * CR_PANEL * CR_B_BYTES;
        for (size_t i = 0; next && i < p->lines_a_step; i++) {
            __builtin_prefetch(next, 0, 2);
            next += CR_LINE_BYTES;
        }
    }
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < panels; j++)
            sum_store(c + i * g->ldc + j * CR_PANEL, sum[i][j]);
    }
}

/* What becomes of a tile's finished sums, which still lie in the nearest
 * cache: cheaper than having it in every tile's code. */
static void finish_tile(const pass *p, size_t row, size_t rows, size_t panels) {
    for (size_t i = row; i < row + rows; i++)
        finish_row(p->g, i, p->column, panels);
}

/* Points the pass at what comes after it, and shares the fetching between its
 * tiles' steps. */
static void plan_fetch(pass *p, size_t panels, size_t tiles) {
    const cr_gemm *g = p->g;
    size_t k_next = p->k0 + p->k;
    size_t column = p->column;
    if (k_next == g->b.k) {
        k_next = 0;
        column += panels * CR_PANEL;
    }
    size_t k = g->b.k - k_next < CR_K_CHUNK ? g->b.k - k_next : CR_K_CHUNK;
    size_t lines = k * CR_PANEL * CR_B_BYTES / CR_LINE_BYTES;
    size_t steps = tiles * steps_of(p->k);
    p->next = column < g->b.n ? panel_at(g, column, k_next) : NULL;
    p->lines_a_step = (lines + steps - 1) / steps;
}

static void run_passes(const cr_gemm *g) {
    size_t tiles = (g->m + CR_ROWS - 1) / CR_ROWS;
    for (size_t column = 0, panels; g->m && column < g->b.n;
         column += panels * CR_PANEL) {
        panels = g->b.n - column >= CR_PANELS * CR_PANEL ? CR_PANELS : 1;
        for (size_t k0 = 0; k0 < g->b.k; k0 += CR_K_CHUNK) {
            size_t k = g->b.k - k0 < CR_K_CHUNK ? g->b.k - k0 : CR_K_CHUNK;
            pass p = {.g = g, .column = column, .k0 = k0, .k = k};
            plan_fetch(&p, panels, tiles);
            for (size_t row = 0; row < g->m; row += CR_ROWS) {
                size_t left = g->m - row;
                size_t rows = left < CR_ROWS ? left : CR_ROWS;
                CR_TILE_SWITCH(rows, panels, run_tile, &p, row)
                if (k0 + k == g->b.k)
                    finish_tile(&p, row, rows, panels);
            }
        }
    }
}

#endif
