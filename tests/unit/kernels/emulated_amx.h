/* AMX in plain C: the tile operations that amx_tiles.h names, no more.
 *
 * Lets the tile kernels be compiled and run on any machine, so that their
 * shapes, packing and order are tested where the instructions are not. What
 * would be a fault of the processor ends the program: a tile that has no
 * shape, shapes that do not fit, tiles that were never configured. Semantics:
 * Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. */
#ifndef CR_EMULATED_AMX_H
#define CR_EMULATED_AMX_H

#include "emulated_avx512.h"

#include <assert.h>

enum { CR_EMULATED_TILES = 8 };

/* The registers of a thread. */
typedef struct cr_emulated_tile {
    size_t rows, row_bytes;
    uint8_t bytes[TILE_ROWS][TILE_BYTES];
} cr_emulated_tile;

static _Thread_local cr_emulated_tile cr_emulated_tiles[CR_EMULATED_TILES];

static inline cr_emulated_tile *cr_emulated_shaped(int t) {
    cr_emulated_tile *tile = &cr_emulated_tiles[t];
    assert(tile->rows && tile->row_bytes);
    return tile;
}

static inline void tile_release(void) {
    memset(cr_emulated_tiles, 0, sizeof cr_emulated_tiles);
}

static inline void tile_configure(const tile_shapes *shapes) {
    assert(shapes->palette == 1 && shapes->start == 0);
    tile_release();
    for (size_t t = 0; t < sizeof shapes->rows; t++) {
        size_t rows = shapes->rows[t], row_bytes = shapes->row_bytes[t];
        assert(rows <= TILE_ROWS && row_bytes <= TILE_BYTES);
        assert(!rows == !row_bytes);
        assert(t < CR_EMULATED_TILES || !rows);
        if (t < CR_EMULATED_TILES) {
            cr_emulated_tiles[t].rows = rows;
            cr_emulated_tiles[t].row_bytes = row_bytes;
        }
    }
    for (size_t i = 0; i < sizeof shapes->reserved; i++)
        assert(!shapes->reserved[i]);
}

static inline void tile_zero(int t) {
    cr_emulated_tile *tile = cr_emulated_shaped(t);
    memset(tile->bytes, 0, sizeof tile->bytes);
}

/* Rows and bytes beyond a tile's shape become zero. */
static inline void tile_load(int t, const void *p, size_t step) {
    cr_emulated_tile *tile = cr_emulated_shaped(t);
    memset(tile->bytes, 0, sizeof tile->bytes);
    for (size_t i = 0; i < tile->rows; i++)
        memcpy(tile->bytes[i], (const char *)p + i * step, tile->row_bytes);
}

static inline void tile_load_far(int t, const void *p, size_t step) {
    tile_load(t, p, step);
}

static inline void tile_store(int t, void *p, size_t step) {
    const cr_emulated_tile *tile = cr_emulated_shaped(t);
    for (size_t i = 0; i < tile->rows; i++)
        memcpy((char *)p + i * step, tile->bytes[i], tile->row_bytes);
}

/* The tiles of a product, whose shapes must fit each other. */
typedef struct cr_emulated_product {
    cr_emulated_tile *c;
    const cr_emulated_tile *a, *b;
    size_t columns, lanes; /* of c; of a row of a, 4 bytes each */
} cr_emulated_product;

static inline cr_emulated_product cr_emulated_fit(int c, int a, int b) {
    assert(c != a && c != b && a != b);
    cr_emulated_product p = {.c = cr_emulated_shaped(c),
                             .a = cr_emulated_shaped(a),
                             .b = cr_emulated_shaped(b)};
    p.columns = p.c->row_bytes / 4;
    p.lanes = p.a->row_bytes / 4;
    assert(p.c->rows == p.a->rows && p.c->row_bytes == p.b->row_bytes);
    assert(p.lanes == p.b->rows);
    return p;
}

/* Even and odd terms are added apart, fused, and both then to the sum. */
static inline float cr_emulated_sum_bf16(const cr_emulated_product *p,
                                         size_t row, size_t column) {
    float sums[2] = {0, 0}, sum;
    for (size_t k = 0; k < p->lanes; k++)
        for (size_t i = 0; i < 2; i++) {
            uint16_t x, y;
            memcpy(&x, &p->a->bytes[row][4 * k + 2 * i], sizeof x);
            memcpy(&y, &p->b->bytes[k][4 * column + 2 * i], sizeof y);
            sums[i] = fmaf(cr_emulated_bf16(x), cr_emulated_bf16(y), sums[i]);
        }
    memcpy(&sum, &p->c->bytes[row][4 * column], sizeof sum);
    return sum + (sums[0] + sums[1]);
}

static inline void tile_dot_bf16(int c, int a, int b) {
    cr_emulated_product p = cr_emulated_fit(c, a, b);
    for (size_t row = 0; row < p.c->rows; row++)
        for (size_t column = 0; column < p.columns; column++) {
            float sum = cr_emulated_sum_bf16(&p, row, column);
            memcpy(&p.c->bytes[row][4 * column], &sum, sizeof sum);
        }
}

/* Signed bytes of both, four to a lane. */
static inline int32_t cr_emulated_sum_int8(const cr_emulated_product *p,
                                           size_t row, size_t column) {
    int32_t sum;
    memcpy(&sum, &p->c->bytes[row][4 * column], sizeof sum);
    for (size_t k = 0; k < p->lanes; k++)
        for (size_t i = 0; i < 4; i++)
            sum += (int8_t)p->a->bytes[row][4 * k + i] *
                   (int8_t)p->b->bytes[k][4 * column + i];
    return sum;
}

static inline void tile_dot_int8(int c, int a, int b) {
    cr_emulated_product p = cr_emulated_fit(c, a, b);
    for (size_t row = 0; row < p.c->rows; row++)
        for (size_t column = 0; column < p.columns; column++) {
            int32_t sum = cr_emulated_sum_int8(&p, row, column);
            memcpy(&p.c->bytes[row][4 * column], &sum, sizeof sum);
        }
}

#endif
