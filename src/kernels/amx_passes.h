/* The way through a matrix product on tiles, for both precisions.
 *
 * Activations are converted to whole tiles, [m / 16][k / terms] of 16 rows,
 * rows and terms filled up, since a tile that lies together is loaded in half
 * the time of one whose rows lie apart. Packed weights are VNNI's: a lane's 4
 * bytes of terms next to each other, which is what a tile wants.
 *
 * A block is up to two by two tiles: 32 rows by two panels. Its sums stay in
 * tiles for all of k, are stored apart once, and are finished from there while
 * the tiles work on the next block, since neither waits for the other. Panels
 * are outside, rows inside: two panels stay near while all rows pass them, and
 * the next two are fetched meanwhile.
 *
 * Terms of k are added a tile at a time whatever the block's shape, so a row's
 * bits do not depend on its neighbours.
 *
 * The including file defines, before inclusion:
 *   CR_A_BYTES, CR_B_BYTES   of one activation and one weight
 *   CR_BLOCK                 rows of a product at once
 *   tile_dot                 of amx_tiles.h, for its type
 *   what sums_f32.h or sums_int32.h has */
#ifndef CR_KERNELS_AMX_PASSES_H
#define CR_KERNELS_AMX_PASSES_H

#include "kernels/amx_tiles.h"
#include "kernels/bf16_avx512.h"
#include "kernels/gemm_finish.h"

enum {
    TILE_TERMS = TILE_BYTES / CR_A_BYTES, /* of k */
    TILE_WHOLE = TILE_ROWS * TILE_BYTES,
    BLOCK_ROWS = 2 * TILE_ROWS,
    BLOCK_PANELS = 2,
    BLOCK_COLUMNS = BLOCK_PANELS * CR_PANEL,
    LINE_BYTES = 64,
    /* Two panels of more bytes do not stay in the nearest cache. */
    NEAR_BYTES = 32 * 1024,
    /* Dots of a step, after each of which a piece of the block before is
     * finished. */
    DOTS = 4,
    /* Dots before stored sums are read: until then they are on the way to the
     * cache, and a reader would wait. */
    STORE_DOTS = 2 * DOTS
};
enum { CR_SUMS_APART = true, CR_ROW_STEP = TILE_ROWS };
enum { CR_A_TERMS = TILE_TERMS, CR_CUT = BLOCK_ROWS };

/* A block of c; `rows` is 0 where there is none. */
typedef struct block {
    size_t row, rows;
    size_t column, panels;
    const float *sums; /* [rows][BLOCK_COLUMNS], of `row` on */
} block;

/* What a product leaves, known where its code is compiled. */
typedef struct ending {
    cr_epilogue epilogue;
    bool residual;
    cr_result result;
} ending;

/* A product under way. */
typedef struct pass {
    const cr_gemm *g;
    block before;        /* stored, and finished up to before.row */
    size_t wait;         /* dots until it is finished further */
    size_t rows_a_dot;   /* of it, to finish after each: 1 or 2 */
    const char *next;    /* of b, to fetch; NULL where there is none */
    size_t lines_a_step; /* of it */
    bool far;            /* panels are too long to stay near */
    size_t turn; /* store of the block under way; the other is before's */
    _Alignas(LINE_BYTES) float store[2][BLOCK_ROWS * BLOCK_COLUMNS];
} pass;

/* Where a block's terms lie. */
typedef struct operands {
    const char *a;
    size_t a_below; /* bytes to the next sixteen rows */
    const char *b;
    size_t panel_step;
} operands;

CR_INLINE size_t tiles_across(size_t n) {
    return (n + TILE_TERMS - 1) / TILE_TERMS;
}

/* Where row i of converted activations begins; its next tile's terms are
 * TILE_WHOLE bytes further. */
CR_INLINE void *row_of_tiles(void *a, size_t i, size_t k) {
    return (char *)a + i / TILE_ROWS * tiles_across(k) * TILE_WHOLE +
           i % TILE_ROWS * TILE_BYTES;
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

CR_INLINE void load_panel(const operands *o, const size_t panel,
                          const bool far) {
    const char *b = o->b + panel * o->panel_step;
    if (panel == 0 && far)
        tile_load_far(6, b, TILE_BYTES);
    else if (panel == 0)
        tile_load(6, b, TILE_BYTES);
    else if (far)
        tile_load_far(7, b, TILE_BYTES);
    else
        tile_load(7, b, TILE_BYTES);
}

/* A tile's terms of k, and after each dot a piece of other work: finer turns
 * overlap, coarse ones do not, since tiles take up much of what the core looks
 * ahead. */
#define ADD_TERMS(o, row_tiles, panels, far, beside)                           \
    do {                                                                       \
        load_panel(o, 0, far);                                                 \
        tile_load_far(4, (o)->a, TILE_BYTES);                                  \
        tile_dot(0, 4, 6);                                                     \
        beside;                                                                \
        if ((panels) > 1) {                                                    \
            load_panel(o, 1, far);                                             \
            tile_dot(1, 4, 7);                                                 \
            beside;                                                            \
        }                                                                      \
        if ((row_tiles) > 1) {                                                 \
            tile_load_far(5, (o)->a + (o)->a_below, TILE_BYTES);               \
            tile_dot(2, 5, 6);                                                 \
            beside;                                                            \
        }                                                                      \
        if ((row_tiles) > 1 && (panels) > 1) {                                 \
            tile_dot(3, 5, 7);                                                 \
            beside;                                                            \
        }                                                                      \
    } while (0)

/* Where k is no multiple of a tile's terms: the last ones of b, and zeros. */
CR_INLINE void add_last_terms(const operands *from, size_t terms,
                              const size_t row_tiles, const size_t panels) {
    char b[BLOCK_PANELS][TILE_WHOLE];
    memset(b, 0, sizeof b);
    for (size_t j = 0; j < panels; j++)
        memcpy(b[j], from->b + j * from->panel_step,
               terms * CR_PANEL * CR_B_BYTES);
    operands last = {from->a, from->a_below, *b, TILE_WHOLE};
    ADD_TERMS(&last, row_tiles, panels, false, (void)0);
}

CR_INLINE void store_sums(float *sums, const size_t row_tiles,
                          const size_t panels) {
    const size_t step = BLOCK_COLUMNS * sizeof(float);
    float *below = sums + TILE_ROWS * BLOCK_COLUMNS;
    tile_store(0, sums, step);
    if (panels > 1)
        tile_store(1, sums + CR_PANEL, step);
    if (row_tiles > 1)
        tile_store(2, below, step);
    if (row_tiles > 1 && panels > 1)
        tile_store(3, below + CR_PANEL, step);
}

/* Columns [j, j + 16 * panels) of row i; y is not used of one panel. */
CR_INLINE void put_row(const cr_gemm *g, size_t i, size_t j,
                       const size_t panels, v16 x, v16 y,
                       const cr_result result) {
    if (result == CR_RESULT_CONVERTED) {
        char *to = row_of_tiles(g->c, i, g->b.n);
        to += j / TILE_TERMS * TILE_WHOLE;
        v16_store_bf16((uint16_t *)to, x, panels > 1 ? y : v16_zero());
    } else if (result == CR_RESULT_BF16) {
        uint16_t *to = (uint16_t *)g->c + i * g->ldc + j;
        if (panels > 1)
            v16_store_bf16(to, x, y);
        else
            v16_store_bf16_half(to, x);
    } else {
        float *to = (float *)g->c + i * g->ldc + j;
        v16_store(to, x);
        if (panels > 1)
            v16_store(to + CR_PANEL, y);
    }
}

/* The next n rows of a block. Rows go side by side, because in each every
 * operation waits for the one before. */
CR_INLINE void finish_rows(const cr_gemm *g, block *b, const size_t n,
                           const size_t panels, const ending e) {
    v16 x[2 * BLOCK_PANELS];
    CR_UNROLL
    for (size_t q = 0; q < n * panels; q++) {
        size_t i = q / panels, j = q % panels * CR_PANEL;
        x[q] = finish_sums(g, b->row + i, b->column + j,
                           sum_load(b->sums + i * BLOCK_COLUMNS + j));
    }
    CR_UNROLL
    for (size_t q = 0; q < n * panels; q++)
        x[q] = finish_epilogue(x[q], e.epilogue);
    CR_UNROLL
    for (size_t q = 0; q < n * panels; q++) {
        size_t i = b->row + q / panels, j = b->column + q % panels * CR_PANEL;
        if (e.residual)
            x[q] =
                v16_add(x[q], v16_load(g->residual + i * g->ld_residual + j));
    }
    CR_UNROLL
    for (size_t i = 0; i < n; i++)
        put_row(g, b->row + i, b->column, panels, x[i * panels],
                x[i * panels + panels - 1], e.result);
    b->row += n;
    b->rows -= n;
    b->sums += n * BLOCK_COLUMNS;
}

/* What is left of the block before, whatever it is. */
static void finish_rest(const cr_gemm *g, block *b) {
    ending e = {g->epilogue, g->residual, g->result};
    while (b->rows && b->panels > 1)
        finish_rows(g, b, 1, 2, e);
    while (b->rows)
        finish_rows(g, b, 1, 1, e);
}

/* Up to n rows of a block of two panels, once it is time. */
CR_INLINE void finish_piece(const cr_gemm *g, block *b, size_t *wait,
                            const size_t n, const ending e) {
    if (*wait)
        --*wait;
    else if (b->rows >= n)
        finish_rows(g, b, n, 2, e);
}

static void fetch_next(pass *p) {
    for (size_t i = 0; p->next && i < p->lines_a_step; i++) {
        __builtin_prefetch(p->next, 0, 2);
        p->next += LINE_BYTES;
    }
}

CR_INLINE operands operands_of(const cr_gemm *g, const block *now) {
    const size_t across = tiles_across(g->b.k);
    return (operands){
        .a = (const char *)g->a + now->row / TILE_ROWS * across * TILE_WHOLE,
        .a_below = across * TILE_WHOLE,
        .b = (const char *)g->b.panels + now->column * g->b.k * CR_B_BYTES,
        .panel_step = g->b.k * CR_PANEL * CR_B_BYTES};
}

/* Stores a block's sums, which is then the one before. */
CR_INLINE void end_block(pass *p, const block *now, const size_t row_tiles,
                         const size_t panels) {
    store_sums(p->store[p->turn], row_tiles, panels);
    p->before = *now;
    p->before.sums = p->store[p->turn];
    p->turn = !p->turn;
}

/* A block of two by two tiles, behind one of two panels. */
CR_INLINE void run_whole(pass *p, const block *now, const bool far,
                         const size_t n, const ending e) {
    const cr_gemm *g = p->g;
    operands o = operands_of(g, now);
    block before = p->before;
    size_t wait = p->wait, left = g->b.k;
    zero_sums(2, 2);
    for (; left >= TILE_TERMS; left -= TILE_TERMS) {
        ADD_TERMS(&o, 2, 2, far, finish_piece(g, &before, &wait, n, e));
        o.a += TILE_WHOLE;
        o.b += TILE_WHOLE;
        fetch_next(p);
    }
    if (left)
        add_last_terms(&o, left, 2, 2);
    if (before.rows)
        finish_rest(g, &before);
    end_block(p, now, 2, 2);
}

/* Any other block, or behind any other. */
CR_INLINE void run_block(pass *p, const block *now, const size_t row_tiles,
                         const size_t panels) {
    operands o = operands_of(p->g, now);
    size_t left = p->g->b.k;
    finish_rest(p->g, &p->before);
    zero_sums(row_tiles, panels);
    for (; left >= TILE_TERMS; left -= TILE_TERMS) {
        ADD_TERMS(&o, row_tiles, panels, true, (void)0);
        o.a += TILE_WHOLE;
        o.b += TILE_WHOLE;
        fetch_next(p);
    }
    if (left)
        add_last_terms(&o, left, row_tiles, panels);
    end_block(p, now, row_tiles, panels);
}

/* Each ending that the encoder asks for all the time is compiled by itself. */
static void run_whole_block(pass *p, const block *now) {
    const cr_epilogue epilogue = p->g->epilogue;
    const cr_result result = p->g->result;
    const bool narrow = CR_A_BYTES == sizeof(uint16_t);
    const bool plain = epilogue == CR_EPILOGUE_NONE;
    const bool gelu = epilogue == CR_EPILOGUE_GELU && !p->g->residual;
    const bool fp32 = result == CR_RESULT_FP32;
#define ENDING(...)                                                            \
    do {                                                                       \
        const ending e = {__VA_ARGS__};                                        \
        if (p->far)                                                            \
            run_whole(p, now, true, 1, e);                                     \
        else if (p->rows_a_dot > 1)                                            \
            run_whole(p, now, false, 2, e);                                    \
        else                                                                   \
            run_whole(p, now, false, 1, e);                                    \
    } while (0)
    if (plain && p->g->residual && fp32)
        ENDING(CR_EPILOGUE_NONE, true, CR_RESULT_FP32);
    else if (plain && !p->g->residual && fp32)
        ENDING(CR_EPILOGUE_NONE, false, CR_RESULT_FP32);
    else if (plain && !p->g->residual && result == CR_RESULT_BF16)
        ENDING(CR_EPILOGUE_NONE, false, CR_RESULT_BF16);
    else if (gelu && fp32 && !narrow)
        ENDING(CR_EPILOGUE_GELU, false, CR_RESULT_FP32);
    else if (gelu && result == CR_RESULT_CONVERTED && narrow)
        ENDING(CR_EPILOGUE_GELU, false, CR_RESULT_CONVERTED);
    else
        run_block(p, now, 2, 2);
#undef ENDING
}

static void run_any_block(pass *p, const block *now) {
    bool two_rows = now->rows > TILE_ROWS, two_panels = now->panels > 1;
    if (two_rows && two_panels && p->before.panels > 1)
        run_whole_block(p, now);
    else if (two_rows && two_panels)
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

/* Shares a block's finishing between the dots of the next. */
static void plan_finish(pass *p, size_t steps) {
    const size_t dots = steps * DOTS;
    p->rows_a_dot = dots < BLOCK_ROWS + STORE_DOTS ? 2 : 1;
    size_t pieces = BLOCK_ROWS / p->rows_a_dot;
    size_t spare = dots > pieces ? dots - pieces : 0;
    p->wait = spare < STORE_DOTS ? spare : STORE_DOTS;
}

static void run_passes(const cr_gemm *g) {
    size_t steps = g->b.k / TILE_TERMS ? g->b.k / TILE_TERMS : 1;
    size_t blocks = (g->m + BLOCK_ROWS - 1) / BLOCK_ROWS;
    if (!g->m)
        return;
    pass p;
    p.g = g;
    p.before.rows = p.before.panels = 0;
    p.turn = 0;
    p.far = g->b.k * CR_B_BYTES * BLOCK_COLUMNS > NEAR_BYTES;
    plan_finish(&p, steps);
    tile_configure_rows(g->m < TILE_ROWS ? g->m : TILE_ROWS);
    for (size_t column = 0, panels; column < g->b.n;
         column += panels * CR_PANEL) {
        panels = (g->b.n - column) / CR_PANEL;
        panels = panels < BLOCK_PANELS ? panels : BLOCK_PANELS;
        plan_fetch(&p, column + panels * CR_PANEL, blocks * steps);
        for (size_t row = 0; row < g->m; row += BLOCK_ROWS) {
            size_t rows = g->m - row < BLOCK_ROWS ? g->m - row : BLOCK_ROWS;
            run_any_block(&p, &(block){row, rows, column, panels, NULL});
        }
    }
    finish_rest(g, &p.before);
    tile_release();
}

#endif
