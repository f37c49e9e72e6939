/* What the tests of kernels share: the tables to compare with plain C, and
 * numbers. Each includes it once, and draws its own. */
#ifndef CR_TESTS_TABLES_H
#define CR_TESTS_TABLES_H

#include "kernels/isa.h"

#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_TABLES = 12 };

/* Tables to compare with ref: those this machine runs, and emulated ones. */
static inline size_t tables_of(const cr_kernels *out[MAX_TABLES]) {
    size_t n = 0;
    const cr_kernels *const *available = cr_kernels_available();
    for (size_t i = 0; available[i]; i++)
        out[n++] = available[i];
#if defined(__x86_64__)
    out[n++] = &cr_kernels_avx512_emulated;
#endif
    return n;
}

static inline bool is_available(const char *isa) {
    for (const char *const *names = cr_isa_names(); *names; names++)
        if (strcmp(*names, isa) == 0)
            return true;
    return false;
}

static uint64_t seed = 1;

static inline float number(float scale) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return scale * ((float)(seed >> 40) / (float)(1 << 23) - 1);
}

static inline float *numbers(size_t n, float scale) {
    float *x = cr_alloc_aligned(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = number(scale);
    return x;
}

static inline float *copy_of(const float *x, size_t n) {
    float *y = cr_alloc_aligned(n * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

static inline void assert_alike(const cr_kernels *k, bool exactly,
                                const float *want, const float *got, size_t n,
                                const char *what) {
    for (size_t i = 0; i < n; i++) {
        bool same =
            exactly ? memcmp(&want[i], &got[i], sizeof *got) == 0
                    : fabsf(want[i] - got[i]) <= 1e-4f * (1 + fabsf(want[i]));
        if (!same)
            fail_msg("%s of %s: element %zu is %.9g, ref has %.9g", what,
                     k->name, i, (double)got[i], (double)want[i]);
    }
}

/* Tables with fused multiply-add give ref's bits; others come near. */
static inline void assert_same(const cr_kernels *k, const float *want,
                               const float *got, size_t n, const char *what) {
    assert_alike(k, k->fused, want, got, n, what);
}
#endif
