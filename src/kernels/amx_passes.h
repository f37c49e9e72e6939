/* The way through a matrix product on tiles, for both precisions.
 *
 * A block is up to two by two tiles: 32 rows by two panels. Its sums stay in
 * tiles for all of k, are stored in c once, and are finished there while the
 * tiles work on the next block, since neither waits for the other. Panels are
 * outside, rows inside: two panels stay near while all rows pass them, and the
 * next two are fetched meanwhile.
 *
 * Terms of k are added a tile at a time whatever the block's shape, so a row's
 * bits do not depend on its neighbours. Packed weights are VNNI's: a lane's 4
 * bytes of terms next to each other, which is what a tile wants.
 *
 * The including file defines, before inclusion:
 *   CR_A_BYTES, CR_B_BYTES   of one activation and one weight
 *   tile_dot                 of amx_tiles.h, for its type
 *   what sums_f32.h or sums_int32.h has */
#ifndef CR_KERNELS_AMX_PASSES_H
#define CR_KERNELS_AMX_PASSES_H

#include "kernels/amx_tiles.h"
#include "kernels/gemm_finish.h"

enum {
    TILE_TERMS = TILE_BYTES / CR_A_BYTES, /* of k */
    TILE_PANEL_BYTES = TILE_ROWS * TILE_BYTES,
    BLOCK_ROWS = 2 * TILE_ROWS,
    BLOCK_PANELS = 2,
    LINE_BYTES = 64
};

/* A block of c; `rows` is 0 where there is none. */
typedef struct block {
    size_t row, rows;
    size_t column, panels;
} block;

/* A product under way. */
typedef struct pass {
    const cr_gemm *g;
    block before;        /* stored, and finished up to before.row */
    size_t rows_a_step;  /* of it, to finish in a step of k */
    const char *next;    /* of b, to fetch; NULL where there is none */
    size_t lines_a_step; /* of it */
    size_t shaped;       /* rows that the tiles' shapes are for, or 0 */
} pass;

/* Where a block's terms lie. */
typedef struct operands {
    const char *a;
    size_t a_step;
    const char *b;
    size_t panel_step;
} operands;

/* Tiles 0 to 3 gather: rows 0 to 15 in 0 and 1, the others in 2 and 3; 4 and 5
 * are read from a, 6 and 7 from b. */
static void shape_tiles(pass *p, size_t rows) {
    if (p->shaped == rows)
        return;
    size_t first = rows < TILE_ROWS ? rows : TILE_ROWS;
    const size_t of_tile[] = {first, first,        rows - first, rows - first,
                              first, rows - first, TILE_ROWS,    TILE_ROWS};
    tile_shapes shapes = {.palette = 1};
    for (size_t i = 0; i < sizeof of_tile / sizeof *of_tile; i++) {
        shapes.rows[i] = (uint8_t)of_tile[i];
        shapes.row_bytes[i] = of_tile[i] ? TILE_BYTES : 0;
    }
    tile_configure(&shapes);
    p->shaped = rows;
}

CR_INLINE void zero_sums(const size_t row_tiles, const size_t panels) {
    tile_zero(0);
    if (panels > 1)
        tile_zero(1);
    if (row_tiles > 1)
        tile_zero(2);
    if (row_tiles > 1 && panels > 1)
        tile_zero(3);
}

/* A tile's terms of k. */
CR_INLINE void add_terms(const operands *o, const size_t row_tiles,
                         const size_t panels) {
    tile_load(6, o->b, TILE_BYTES);
    tile_load_far(4, o->a, o->a_step);
    tile_dot(0, 4, 6);
    if (panels > 1) {
        tile_load(7, o->b + o->panel_step, TILE_BYTES);
        tile_dot(1, 4, 7);
    }
    if (row_tiles > 1) {
        tile_load_far(5, o->a + TILE_ROWS * o->a_step, o->a_step);
        tile_dot(2, 5, 6);
    }
    if (row_tiles > 1 && panels > 1)
        tile_dot(3, 5, 7);
}

/* Where k is no multiple of a tile's terms: the last ones, and zeros. */
static void copy_last_terms(const operands *from, const block *now,
                            size_t terms, char a[BLOCK_ROWS][TILE_BYTES],
                            char b[BLOCK_PANELS][TILE_PANEL_BYTES]) {
    memset(a, 0, BLOCK_ROWS * sizeof *a);
    memset(b, 0, BLOCK_PANELS * sizeof *b);
    for (size_t i = 0; i < now->rows; i++)
        memcpy(a[i], from->a + i * from->a_step, terms * CR_A_BYTES);
    for (size_t j = 0; j < now->panels; j++)
        memcpy(b[j], from->b + j * from->panel_step,
               terms * CR_PANEL * CR_B_BYTES);
}

CR_INLINE void add_last_terms(const operands *from, const block *now,
                              size_t terms, const size_t row_tiles,
                              const size_t panels) {
    char a[BLOCK_ROWS][TILE_BYTES], b[BLOCK_PANELS][TILE_PANEL_BYTES];
    copy_last_terms(from, now, terms, a, b);
    operands last = {*a, TILE_BYTES, *b, TILE_PANEL_BYTES};
    add_terms(&last, row_tiles, panels);
}

CR_INLINE void store_sums(const pass *p, const block *now,
                          const size_t row_tiles, const size_t panels) {
    size_t step = p->g->ldc * sizeof(float);
    float *c = p->g->c + now->row * p->g->ldc + now->column;
    float *below = c + TILE_ROWS * p->g->ldc;
    tile_store(0, c, step);
    if (panels > 1)
        tile_store(1, c + CR_PANEL, step);
    if (row_tiles > 1)
        tile_store(2, below, step);
    if (row_tiles > 1 && panels > 1)
        tile_store(3, below + CR_PANEL, step);
}

/* Finishes up to `rows` more rows of the block before. */
static void finish_before(pass *p, size_t rows) {
    block *b = &p->before;
    for (; rows && b->rows; rows--, b->rows--, b->row++)
        finish_row(p->g, b->row, b->column, b->panels);
}

/* What is done beside the tiles in each step of k. */
CR_INLINE void work_beside(pass *p) {
    finish_before(p, p->rows_a_step);
    for (size_t i = 0; p->next && i < p->lines_a_step; i++) {
        __builtin_prefetch(p->next, 0, 2);
        p->next += LINE_BYTES;
    }
}

CR_INLINE void run_block(pass *p, const block *now, const size_t row_tiles,
                         const size_t panels) {
    const cr_gemm *g = p->g;
    operands o = {.a = (const char *)g->a + now->row * g->a_step,
                  .a_step = g->a_step,
                  .b = (const char *)g->b.panels +
                       now->column * g->b.k * CR_B_BYTES,
                  .panel_step = g->b.k * CR_PANEL * CR_B_BYTES};
    zero_sums(row_tiles, panels);
    size_t left = g->b.k;
    for (; left >= TILE_TERMS; left -= TILE_TERMS) {
        add_terms(&o, row_tiles, panels);
        o.a += TILE_BYTES;
        o.b += TILE_PANEL_BYTES;
        work_beside(p);
    }
    if (left)
        add_last_terms(&o, now, left, row_tiles, panels);
    finish_before(p, BLOCK_ROWS);
    store_sums(p, now, row_tiles, panels);
    p->before = *now;
}

/* Each shape of a block is compiled by itself. */
static void run_any_block(pass *p, const block *now) {
    bool two_rows = now->rows > TILE_ROWS, two_panels = now->panels > 1;
    shape_tiles(p, now->rows);
    if (two_rows && two_panels)
        run_block(p, now, 2, 2);
    else if (two_rows)
        run_block(p, now, 2, 1);
    else if (two_panels)
        run_block(p, now, 1, 2);
    else
        run_block(p, now, 1, 1);
}

/* Shares the fetching of the next panels between the steps of these. */
static void plan_fetch(pass *p, size_t column, size_t steps) {
    const cr_gemm *g = p->g;
    size_t panels = (g->b.n - column) / CR_PANEL;
    panels = panels < BLOCK_PANELS ? panels : BLOCK_PANELS;
    size_t panel_bytes = g->b.k * CR_PANEL * CR_B_BYTES;
    size_t lines = panels * panel_bytes / LINE_BYTES;
    p->next = panels
                  ? (const char *)g->b.panels + column / CR_PANEL * panel_bytes
                  : NULL;
    p->lines_a_step = (lines + steps - 1) / steps;
}

static void run_passes(const cr_gemm *g) {
    size_t steps = g->b.k / TILE_TERMS ? g->b.k / TILE_TERMS : 1;
    size_t blocks = (g->m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    pass p = {.g = g, .rows_a_step = (BLOCK_ROWS + steps - 1) / steps};
    for (size_t column = 0, panels; g->m && column < g->b.n;
         column += panels * CR_PANEL) {
        panels = (g->b.n - column) / CR_PANEL;
        panels = panels < BLOCK_PANELS ? panels : BLOCK_PANELS;
        plan_fetch(&p, column + panels * CR_PANEL, blocks * steps);
        for (size_t row = 0; row < g->m; row += BLOCK_ROWS) {
            size_t rows = g->m - row < BLOCK_ROWS ? g->m - row : BLOCK_ROWS;
            run_any_block(&p, &(block){row, rows, column, panels});
        }
    }
    finish_before(&p, BLOCK_ROWS);
    if (p.shaped)
        tile_release();
}

#endif
