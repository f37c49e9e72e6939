/* AVX-512 in plain C, lane by lane: what the kernels use of it, no more.
 *
 * Lets the avx512 kernel files be compiled and run on any machine, so that
 * their tiles, packing and order are tested where the instructions are not.
 * It says nothing about speed, and the test summary says that the real
 * instructions were not run. Semantics: Intel 64 and IA-32 Architectures
 * Software Developer's Manual, volume 2. */
#ifndef CR_EMULATED_AVX512_H
#define CR_EMULATED_AVX512_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define CR_EMULATED_INLINE static inline __attribute__((unused))

typedef struct {
    float f[16];
} __m512;

typedef struct {
    int32_t i[16];
} __m512i;

typedef uint16_t __mmask16;

enum { _MM_FROUND_TO_NEAREST_INT = 0, _MM_FROUND_NO_EXC = 8 };

#define CR_LANES(expression)                                                   \
    __m512 r;                                                                  \
    for (int k = 0; k < 16; k++)                                               \
        r.f[k] = (expression);                                                 \
    return r

CR_EMULATED_INLINE __m512 _mm512_set1_ps(float x) { CR_LANES(x); }
CR_EMULATED_INLINE __m512 _mm512_setzero_ps(void) { CR_LANES(0); }
CR_EMULATED_INLINE __m512 _mm512_loadu_ps(const void *p) {
    __m512 r;
    memcpy(&r, p, sizeof r);
    return r;
}
CR_EMULATED_INLINE void _mm512_storeu_ps(void *p, __m512 a) {
    memcpy(p, &a, sizeof a);
}
CR_EMULATED_INLINE __m512 _mm512_add_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] + b.f[k]);
}
CR_EMULATED_INLINE __m512 _mm512_sub_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] - b.f[k]);
}
CR_EMULATED_INLINE __m512 _mm512_mul_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] * b.f[k]);
}
CR_EMULATED_INLINE __m512 _mm512_div_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] / b.f[k]);
}
CR_EMULATED_INLINE float _mm512_cvtss_f32(__m512 a) { return a.f[0]; }
/* Quarters of four lanes: two of a, then two of b. */
CR_EMULATED_INLINE __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int which) {
    CR_LANES((k < 8 ? a : b).f[(which >> k / 4 * 2 & 3) * 4 + k % 4]);
}
/* The same inside each quarter, lane by lane. */
CR_EMULATED_INLINE __m512 _mm512_shuffle_ps(__m512 a, __m512 b, int which) {
    CR_LANES((k % 4 < 2 ? a : b).f[k / 4 * 4 + (which >> k % 4 * 2 & 3)]);
}
CR_EMULATED_INLINE __m512 _mm512_unpacklo_ps(__m512 a, __m512 b) {
    CR_LANES((k % 2 ? b : a).f[k / 4 * 4 + k % 4 / 2]);
}
CR_EMULATED_INLINE __m512 _mm512_unpackhi_ps(__m512 a, __m512 b) {
    CR_LANES((k % 2 ? b : a).f[k / 4 * 4 + k % 4 / 2 + 2]);
}
CR_EMULATED_INLINE __m512 _mm512_max_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] > b.f[k] ? a.f[k] : b.f[k]);
}
CR_EMULATED_INLINE __m512 _mm512_min_ps(__m512 a, __m512 b) {
    CR_LANES(a.f[k] < b.f[k] ? a.f[k] : b.f[k]);
}
CR_EMULATED_INLINE __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
    CR_LANES(fmaf(a.f[k], b.f[k], c.f[k]));
}
CR_EMULATED_INLINE __m512 _mm512_roundscale_ps(__m512 a, int how) {
    (void)how; /* to nearest, ties to even: the only one that is used */
    CR_LANES(nearbyintf(a.f[k]));
}
/* The smaller by size, with the sign of a: the only use of it. */
CR_EMULATED_INLINE __m512 _mm512_range_ps(__m512 a, __m512 b, int how) {
    (void)how;
    CR_LANES(
        copysignf(fabsf(a.f[k]) < fabsf(b.f[k]) ? a.f[k] : b.f[k], a.f[k]));
}
/* What has no integer, NaN among it, is the least one. */
CR_EMULATED_INLINE __m512i _mm512_cvtps_epi32(__m512 a) {
    __m512i r;
    for (int k = 0; k < 16; k++)
        r.i[k] = fabsf(a.f[k]) < 0x1p31f ? (int32_t)lrintf(a.f[k]) : INT32_MIN;
    return r;
}
CR_EMULATED_INLINE __m512i _mm512_slli_epi32(__m512i a, unsigned n) {
    for (int k = 0; k < 16; k++)
        a.i[k] = (int32_t)((uint32_t)a.i[k] << n);
    return a;
}
CR_EMULATED_INLINE __m512 _mm512_castsi512_ps(__m512i a) {
    __m512 r;
    memcpy(&r, &a, sizeof r);
    return r;
}

/* ---- Integers ----------------------------------------------------------- */

typedef struct {
    uint16_t h[16];
} __m256i;

#define CR_INTEGERS(expression)                                                \
    __m512i r;                                                                 \
    for (int k = 0; k < 16; k++)                                               \
        r.i[k] = (int32_t)(expression);                                        \
    return r

CR_EMULATED_INLINE __m512i _mm512_setzero_si512(void) { CR_INTEGERS(0); }
CR_EMULATED_INLINE __m512i _mm512_set1_epi32(int32_t x) { CR_INTEGERS(x); }
CR_EMULATED_INLINE __m512i _mm512_loadu_si512(const void *p) {
    __m512i r;
    memcpy(&r, p, sizeof r);
    return r;
}
CR_EMULATED_INLINE void _mm512_storeu_si512(void *p, __m512i a) {
    memcpy(p, &a, sizeof a);
}
CR_EMULATED_INLINE __m512i _mm512_add_epi32(__m512i a, __m512i b) {
    CR_INTEGERS((uint32_t)a.i[k] + (uint32_t)b.i[k]);
}
CR_EMULATED_INLINE __m512i _mm512_sub_epi32(__m512i a, __m512i b) {
    CR_INTEGERS((uint32_t)a.i[k] - (uint32_t)b.i[k]);
}
CR_EMULATED_INLINE __m512i _mm512_max_epi32(__m512i a, __m512i b) {
    CR_INTEGERS(a.i[k] > b.i[k] ? a.i[k] : b.i[k]);
}
CR_EMULATED_INLINE __m512i _mm512_max_epu32(__m512i a, __m512i b) {
    CR_INTEGERS((uint32_t)a.i[k] > (uint32_t)b.i[k] ? a.i[k] : b.i[k]);
}
CR_EMULATED_INLINE int32_t _mm512_reduce_max_epi32(__m512i a) {
    int32_t most = a.i[0];
    for (int k = 1; k < 16; k++)
        most = a.i[k] > most ? a.i[k] : most;
    return most;
}
CR_EMULATED_INLINE uint32_t _mm512_reduce_max_epu32(__m512i a) {
    uint32_t most = (uint32_t)a.i[0];
    for (int k = 1; k < 16; k++)
        most = (uint32_t)a.i[k] > most ? (uint32_t)a.i[k] : most;
    return most;
}
CR_EMULATED_INLINE __m512 _mm512_cvtepi32_ps(__m512i a) {
    CR_LANES((float)a.i[k]);
}
CR_EMULATED_INLINE __m512i _mm512_madd_epi16(__m512i a, __m512i b) {
    int16_t x[32], y[32];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    CR_INTEGERS(x[2 * k] * y[2 * k] + x[2 * k + 1] * y[2 * k + 1]);
}
CR_EMULATED_INLINE __mmask16 _mm512_test_epi32_mask(__m512i a, __m512i b) {
    __mmask16 m = 0;
    for (int k = 0; k < 16; k++)
        m = (__mmask16)(m | (a.i[k] & b.i[k] ? 1 << k : 0));
    return m;
}
/* Lanes of a, then of b, by number. */
CR_EMULATED_INLINE __m512 _mm512_permutex2var_ps(__m512 a, __m512i which,
                                                 __m512 b) {
    CR_LANES((which.i[k] & 16 ? b : a).f[which.i[k] & 15]);
}
CR_EMULATED_INLINE __m512i _mm512_permutexvar_epi32(__m512i which, __m512i a) {
    CR_INTEGERS(a.i[which.i[k] & 15]);
}
/* Cut to 16 bits; quarters of four lanes: of a, then of b. */
CR_EMULATED_INLINE __m512i _mm512_packs_epi32(__m512i a, __m512i b) {
    int16_t x[32];
    for (int k = 0; k < 32; k++) {
        int32_t from = (k & 4 ? b : a).i[k / 8 * 4 + k % 4];
        x[k] = (int16_t)(from < -32768 ? -32768 : from > 32767 ? 32767 : from);
    }
    __m512i r;
    memcpy(&r, x, sizeof r);
    return r;
}
/* Cut to 8 bits; quarters of eight lanes: of a, then of b. */
CR_EMULATED_INLINE __m512i _mm512_packs_epi16(__m512i a, __m512i b) {
    int16_t x[32], y[32];
    int8_t z[64];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int k = 0; k < 64; k++) {
        int16_t from = (k & 8 ? y : x)[k / 16 * 8 + k % 8];
        z[k] = (int8_t)(from < -128 ? -128 : from > 127 ? 127 : from);
    }
    __m512i r;
    memcpy(&r, z, sizeof r);
    return r;
}
CR_EMULATED_INLINE __m256i _mm256_loadu_si256(const void *p) {
    __m256i r;
    memcpy(&r, p, sizeof r);
    return r;
}
CR_EMULATED_INLINE __m512i _mm512_cvtepu16_epi32(__m256i a) {
    CR_INTEGERS(a.h[k]);
}
CR_EMULATED_INLINE __m512i _mm512_castps_si512(__m512 a) {
    __m512i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
CR_EMULATED_INLINE __m512i _mm512_srli_epi32(__m512i a, unsigned n) {
    CR_INTEGERS((uint32_t)a.i[k] >> n);
}
CR_EMULATED_INLINE __m512i _mm512_and_si512(__m512i a, __m512i b) {
    CR_INTEGERS(a.i[k] & b.i[k]);
}
CR_EMULATED_INLINE __m512i _mm512_or_si512(__m512i a, __m512i b) {
    CR_INTEGERS(a.i[k] | b.i[k]);
}
CR_EMULATED_INLINE void _mm256_storeu_si256(void *p, __m256i a) {
    memcpy(p, &a, sizeof a);
}
/* VNNI: unsigned bytes of a times signed bytes of b, four to a lane. */
CR_EMULATED_INLINE __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a,
                                               __m512i b) {
    uint8_t x[64];
    int8_t y[64];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int k = 0; k < 64; k++)
        sum.i[k / 4] += x[k] * y[k];
    return sum;
}

/* ---- bfloat16 ----------------------------------------------------------- */

typedef __m512i __m512bh;
typedef __m256i __m256bh;

CR_EMULATED_INLINE float cr_emulated_bf16(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return fpclassify(wide) == FP_SUBNORMAL ? 0 : wide;
}
/* Nearest, ties to even; subnormal numbers become zero of their sign. */
CR_EMULATED_INLINE uint16_t cr_emulated_to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (fpclassify(x) == FP_SUBNORMAL)
        return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
CR_EMULATED_INLINE __m256bh _mm512_cvtneps_pbh(__m512 a) {
    __m256bh r;
    for (int k = 0; k < 16; k++)
        r.h[k] = cr_emulated_to_bf16(a.f[k]);
    return r;
}
CR_EMULATED_INLINE __m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
    __m256bh half[2] = {_mm512_cvtneps_pbh(low), _mm512_cvtneps_pbh(high)};
    __m512bh r;
    memcpy(&r, half, sizeof r);
    return r;
}
/* The odd of each pair is added first; no step is fused with the next. */
CR_EMULATED_INLINE __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
    uint16_t x[32], y[32];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (int k = 31; k >= 0; k--)
        sum.f[k / 2] =
            fmaf(cr_emulated_bf16(x[k]), cr_emulated_bf16(y[k]), sum.f[k / 2]);
    return sum;
}

CR_EMULATED_INLINE __m512 _mm512_mask_blend_ps(__mmask16 m, __m512 a,
                                               __m512 b) {
    CR_LANES(m >> k & 1 ? b.f[k] : a.f[k]);
}

#endif
