/* The tile registers of AMX: eight, each of up to 16 rows of 64 bytes.
 *
 * A thin layer of names over the instructions, so that the same kernels can
 * be compiled on plain C (CR_EMULATED, of the tests). Instructions are written
 * out because gcc 12's intrinsics forget which memory they touch. Registers
 * and their shapes belong to a thread; tile_release leaves them as they were.
 *
 * Numbers of tiles must be literal. The system has to have given permission
 * (choose.c) before any of this runs. */
#ifndef CR_KERNELS_AMX_TILES_H
#define CR_KERNELS_AMX_TILES_H

#include <stddef.h>
#include <stdint.h>

enum { TILE_ROWS = 16, TILE_BYTES = 64 };

/* As the instruction reads it; a tile of no rows must have no bytes. */
typedef struct tile_shapes {
    uint8_t palette; /* 1 */
    uint8_t start;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

_Static_assert(sizeof(tile_shapes) == 64, "what ldtilecfg reads");

#ifdef CR_EMULATED
#include "emulated_amx.h" /* of the tests */
#else

/* Zeroes all tiles. */
static inline void tile_configure(const tile_shapes *shapes) {
    __asm__ volatile("ldtilecfg %0" : : "m"(*shapes));
}
static inline void tile_release(void) { __asm__ volatile("tilerelease"); }

#define TILE_MOVE(text, p, step)                                               \
    __asm__ volatile(text : : "r"(p), "r"((size_t)(step)) : "memory")

#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t : :)
/* Rows from p on, `step` bytes from row to row. */
#define tile_load(t, p, step)                                                  \
    TILE_MOVE("tileloadd (%0,%1,1), %%tmm" #t, p, step)
/* The same for what will not be read again soon from the nearest cache. */
#define tile_load_far(t, p, step)                                              \
    TILE_MOVE("tileloaddt1 (%0,%1,1), %%tmm" #t, p, step)
#define tile_store(t, p, step)                                                 \
    TILE_MOVE("tilestored %%tmm" #t ", (%0,%1,1)", p, step)
/* c += a b: rows of a times columns of b, whose rows hold a lane's terms. */
#define tile_dot_bf16(c, a, b)                                                 \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)
/* Signed bytes of both. */
#define tile_dot_int8(c, a, b)                                                 \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

#endif

/* All tiles full but the first six, which have `rows`: sums and what is to the
 * left of a dot, whose time is that of its rows. */
static inline void tile_configure_rows(size_t rows) {
    enum { TILES = 8, RIGHT = 6 };
    tile_shapes shapes = {.palette = 1};
    for (size_t i = 0; i < TILES; i++) {
        shapes.rows[i] = i < RIGHT ? (uint8_t)rows : TILE_ROWS;
        shapes.row_bytes[i] = TILE_BYTES;
    }
    tile_configure(&shapes);
}

#endif
