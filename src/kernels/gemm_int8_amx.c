/* The int8 matrix product on AMX: 16 x 16 sums of 64 terms an instruction.
 *
 * The integers are those of every other table, and so are the floats. */

enum { CR_A_BYTES = 1, CR_B_BYTES = 1, CR_BLOCK = 192 };
enum { CR_LANE_TERMS = 4, CR_SHIFT = 0 };

#include "kernels/int8_bytes.h"
#include "kernels/sums_int32.h"

#define tile_dot(c, a, b) tile_dot_int8(c, a, b)

#include "kernels/amx_passes.h"

/* A tile's row of activations; the instructions cut to bytes what has been
 * rounded, where int8.h cuts first: for what is finite the same. */
CR_INLINE void store_tile_row(uint8_t *to, const float *x, cr_int8_row how) {
    __m512i q[TILE_TERMS / CR_PANEL];
    CR_UNROLL
    for (size_t i = 0; i < TILE_TERMS / CR_PANEL; i++)
        q[i] = v16_to_int(cr_int8_steps(x + i * CR_PANEL, how));
    /* Packing takes four lanes of each in turn. */
    static const int32_t in_order[] = {0, 4, 8,  12, 1, 5, 9,  13,
                                       2, 6, 10, 14, 3, 7, 11, 15};
    __m512i mixed = _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]),
                                       _mm512_packs_epi32(q[2], q[3]));
    v16i_store(to, _mm512_permutexvar_epi32(v16i_load(in_order), mixed));
}

static void convert(const float *x, size_t ld, size_t m, size_t k, void *a,
                    cr_row_scale *scales) {
    for (size_t i = 0; i < m; i++) {
        const float *from = x + i * ld;
        uint8_t *to = row_of_tiles(a, i, k);
        cr_int8_row how = cr_int8_scale(from, k, &scales[i]);
        size_t j = 0;
        for (; j + TILE_TERMS <= k; j += TILE_TERMS, to += TILE_WHOLE)
            store_tile_row(to, from + j, how);
        if (j == k)
            continue;
        memset(to, 0, TILE_BYTES);
        for (; j < k; j += CR_PANEL)
            store_bytes(to + j % TILE_TERMS, from + j, how);
    }
}

CR_GEMM_OPS(gemm_int8_amx, true);
