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
 *   tile_add                 of tile_add.h, or what does the same
 *   CR_K_STEP                if tile_add is dear to begin, a longer step */
#ifndef CR_KERNELS_GEMM_PASSES_H
#define CR_KERNELS_GEMM_PASSES_H

#include "kernels/gemm_finish.h"
#include "kernels/tile.h"

/* 96 x 1536 floats are 576 KB, the second cache of today's cores; fewer rows
 * read the weights more often. Measured: 64 to 192 are within 3 %. */
enum { CR_BLOCK = 96, CR_CUT = CR_BLOCK };
enum { CR_SUMS_APART = false, CR_ROW_STEP = 1, CR_A_TERMS = CR_PANEL };
/* Terms of k in one pass: 24 KB of a panel. */
enum { CR_K_CHUNK = 24 * 1024 / (CR_PANEL * CR_B_BYTES) };
/* Terms between two rounds of fetching, few enough that a round is a line or
 * two where 96 rows share the fetching. A burst of fetches would stall, since a
 * core follows only a dozen or two at once. */
enum { CR_STEP_WORDS = CR_ROWS * CR_PANELS > 12 ? 8 : 16 };
#ifndef CR_K_STEP
#define CR_K_STEP (CR_STEP_WORDS * 4 / CR_A_BYTES)
#endif
enum { CR_LINE_BYTES = 64 };

/* What the tiles of a pass fetch between them, for the next one. Each fetches
 * its share of one panel; where there are fewer tiles than panels, its share
 * of every panel, one after the other. */
typedef struct fetch {
    const char *from; /* of b: the next pass's first panel */
    size_t panels;
    size_t tiles; /* to a panel */
    size_t lines; /* of a panel to a tile */
    size_t lines_a_step;
    size_t terms; /* after which a tile turns to its next panel */
} fetch;

/* What one pass over the rows does: terms [k0, k0 + k) of some panels. */
typedef struct pass {
    const cr_gemm *g;
    size_t column; /* first of the panels' */
    size_t k0, k;
    fetch fetch;
} pass;

CR_INLINE const char *panel_at(const cr_gemm *g, size_t column, size_t k) {
    return (const char *)g->b.panels +
           (column * g->b.k + k * CR_PANEL) * CR_B_BYTES;
}

CR_INLINE size_t parts_of(size_t n, size_t part) {
    return (n + part - 1) / part;
}

/* Where a tile's share begins, and how many lines of it a step fetches. */
static const char *fetch_share(const pass *p, size_t tile, size_t *lines) {
    const fetch *f = &p->fetch;
    size_t panel = tile / f->tiles;
    *lines = panel < f->panels ? f->lines_a_step : 0;
    return f->from + panel * p->g->b.k * CR_PANEL * CR_B_BYTES +
           tile % f->tiles * f->lines * CR_LINE_BYTES;
}

CR_INLINE void run_tile(const pass *p, size_t row, const size_t rows,
                        const size_t panels) {
    const cr_gemm *g = p->g;
    const size_t a_step = g->b.k * CR_A_BYTES;
    cr_tile t = {.a = (const char *)g->a + row * a_step + p->k0 * CR_A_BYTES,
                 .a_step = a_step,
                 .b = panel_at(g, p->column, p->k0),
                 .panel_step = g->b.k * CR_PANEL * CR_B_BYTES,
                 .b_step = 4 / CR_A_BYTES * CR_PANEL * CR_B_BYTES};
    float *c = (float *)g->c + row * g->ldc + p->column;
    cr_sum sum[CR_ROWS][CR_PANELS];
    CR_UNROLL
    for (size_t i = 0; i < rows; i++) {
        CR_UNROLL
        for (size_t j = 0; j < CR_PANELS; j++)
            sum[i][j] = p->k0 && j < panels
                            ? sum_load(c + i * g->ldc + j * CR_PANEL)
                            : sum_zero();
    }
    size_t lines;
    const char *share = fetch_share(p, row / CR_ROWS, &lines);
    for (size_t left = p->k, terms; left; left -= terms) {
        terms = left < p->fetch.terms ? left : p->fetch.terms;
        const char *line = share;
        share += t.panel_step;
        /* Steps of known length are faster. */
        t.k = CR_K_STEP;
        for (size_t steps = terms / CR_K_STEP; steps; steps--) {
            tile_add(&t, rows, panels, sum);
            t.a += CR_K_STEP * CR_A_BYTES;
            t.b += CR_K_STEP * CR_PANEL * CR_B_BYTES;
            CR_NO_UNROLL
            for (size_t i = 0; i < lines; i++, line += CR_LINE_BYTES)
                __builtin_prefetch(line, 0, 2);
        }
        /* k is a multiple of CR_PANEL: only longer steps leave a rest. */
        t.k = CR_PANEL % CR_K_STEP ? terms % CR_K_STEP : 0;
        if (t.k)
            tile_add(&t, rows, panels, sum);
        t.a += t.k * CR_A_BYTES;
        t.b += t.k * CR_PANEL * CR_B_BYTES;
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
    const cr_gemm *g = p->g;
    size_t end = p->column + panels * CR_PANEL;
    for (size_t i = row; i < row + rows; i++)
        for (size_t j = p->column; j < end; j += CR_PANEL) {
            float *c = (float *)g->c + i * g->ldc + j;
            v16 x = finish_sums(g, i, j, sum_load(c));
            x = finish_epilogue(x, g->epilogue);
            if (g->residual)
                x = v16_add(x, v16_load(g->residual + i * g->ld_residual + j));
            v16_store(c, x);
        }
}

/* Points the pass at what comes after it, and shares that between its tiles. */
static void plan_fetch(pass *p, size_t panels, size_t tiles) {
    const cr_gemm *g = p->g;
    size_t k_next = p->k0 + p->k;
    size_t column = p->column;
    if (k_next == g->b.k) {
        k_next = 0;
        column += panels * CR_PANEL;
        panels = cr_panels_of(g->b.n - column);
    }
    fetch f = {.tiles = 1, .terms = p->k};
    if (panels) {
        size_t k = g->b.k - k_next < CR_K_CHUNK ? g->b.k - k_next : CR_K_CHUNK;
        f.from = panel_at(g, column, k_next);
        f.panels = panels;
        if (tiles >= panels) {
            f.tiles = tiles / panels;
        } else {
            f.tiles = tiles;
            f.terms = parts_of(parts_of(p->k, CR_K_STEP), panels) * CR_K_STEP;
        }
        f.lines = parts_of(k * CR_PANEL * CR_B_BYTES / CR_LINE_BYTES, f.tiles);
        f.lines_a_step = parts_of(f.lines, parts_of(f.terms, CR_K_STEP));
    } else {
        f.from = panel_at(g, 0, 0); /* somewhere, and no line of it */
    }
    p->fetch = f;
}

static void run_passes(const cr_gemm *g) {
    size_t tiles = (g->m + CR_ROWS - 1) / CR_ROWS;
    for (size_t column = 0, panels; g->m && column < g->b.n;
         column += panels * CR_PANEL) {
        panels = cr_panels_of(g->b.n - column);
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
