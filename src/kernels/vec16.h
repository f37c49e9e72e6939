/* Sixteen floats as one value, whatever the machine's registers are.
 *
 * Kernels are written once over v16 and compiled once an instruction set. All
 * of them do the same roundings in the same order, sixteen lanes wide, so that
 * their results are equal to the bit wherever there is a fused multiply-add
 * (CR_ISA_base has none and promises a tolerance instead). CR_ISA_ref is plain
 * C with fmaf: slow, and what the others are compared with.
 *
 * Include only from files that are compiled with a CR_ISA_... macro. */
#ifndef CR_KERNELS_VEC16_H
#define CR_KERNELS_VEC16_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CR_V16 = 16 };

#define CR_INLINE static inline __attribute__((always_inline))

/* Before loops over a tile: unrolled at once, its sums become registers; left
 * to the compiler's taste, they end up in memory at a third of the speed. The
 * loop over k around them may be the one to leave alone: unrolled, it may ask
 * for more registers than there are. */
#if defined(__clang__)
#define CR_UNROLL _Pragma("clang loop unroll(full)")
#define CR_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define CR_UNROLL _Pragma("GCC unroll 16")
#define CR_NO_UNROLL _Pragma("GCC unroll 1")
#endif

/* Chains of dependent operations to run side by side, where each would leave
 * the core waiting: as many as the registers are enough for, of short chains
 * and of those that hold a polynomial's numbers. */
#if defined(CR_ISA_avx2)
enum { CR_CHAINS = 2, CR_LONG_CHAINS = 1 };
#else
enum { CR_CHAINS = 4, CR_LONG_CHAINS = 4 };
#endif

#if defined(CR_ISA_avx512)

#ifdef CR_EMULATED
#include "emulated_avx512.h" /* of the tests */
#else
#include <immintrin.h>
#endif

typedef __m512 v16;

CR_INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
CR_INLINE v16 v16_set(float x) { return _mm512_set1_ps(x); }
CR_INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
CR_INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
CR_INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
CR_INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
CR_INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
CR_INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
CR_INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
CR_INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
CR_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
/* Cut to +-limit: the smaller by size, with the sign of a. */
CR_INLINE v16 v16_within(v16 a, v16 limit) {
    return _mm512_range_ps(a, limit, 2);
}
CR_INLINE v16 v16_round(v16 a) {
    return _mm512_roundscale_ps(a,
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
CR_INLINE v16 v16_pow2(v16 n) {
    __m512i e = _mm512_cvtps_epi32(_mm512_add_ps(n, _mm512_set1_ps(127)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
CR_INLINE v16 v16_first(size_t n, v16 a, v16 rest) {
    return _mm512_mask_blend_ps((__mmask16)((1u << n) - 1), rest, a);
}

typedef __m512i v16i;

CR_INLINE v16i v16i_zero(void) { return _mm512_setzero_si512(); }
CR_INLINE v16i v16i_load(const void *p) { return _mm512_loadu_si512(p); }
CR_INLINE void v16i_store(void *p, v16i a) { _mm512_storeu_si512(p, a); }
CR_INLINE v16i v16i_set(int32_t x) { return _mm512_set1_epi32(x); }
CR_INLINE v16i v16i_sub(v16i a, v16i b) { return _mm512_sub_epi32(a, b); }
CR_INLINE v16i v16i_max(v16i a, v16i b) { return _mm512_max_epi32(a, b); }
CR_INLINE v16i v16i_umax(v16i a, v16i b) { return _mm512_max_epu32(a, b); }
CR_INLINE int32_t v16i_max_lane(v16i a) { return _mm512_reduce_max_epi32(a); }
CR_INLINE uint32_t v16i_umax_lane(v16i a) { return _mm512_reduce_max_epu32(a); }
CR_INLINE v16 v16i_to_float(v16i a) { return _mm512_cvtepi32_ps(a); }
CR_INLINE v16i v16_to_int(v16 a) { return _mm512_cvtps_epi32(a); }
CR_INLINE v16i v16i_dot2(v16i sum, v16i a, v16i b) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
}
CR_INLINE v16 v16_from_bf16(const uint16_t *p) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

/* p 2^n cut to bfloat16, where the last bits of `whole` are n. */
CR_INLINE v16 v16_scale_cut(v16 p, v16 whole) {
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(whole), 23);
    __m512i bits = _mm512_add_epi32(_mm512_castps_si512(p), exponent);
    return _mm512_castsi512_ps(
        _mm512_and_si512(bits, v16i_set((int32_t)0xffff0000u)));
}
/* The nearest bfloat16, ties to even; what is subnormal becomes 0. */
CR_INLINE v16 v16_round_bf16(v16 a) {
    __m512i bits = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), v16i_set(1));
    bits = _mm512_add_epi32(bits, _mm512_add_epi32(odd, v16i_set(0x7fff)));
    bits = _mm512_and_si512(bits, v16i_set((int32_t)0xffff0000u));
    __mmask16 normal =
        _mm512_test_epi32_mask(_mm512_castps_si512(a), v16i_set(0x7f800000));
    return _mm512_mask_blend_ps(normal, _mm512_setzero_ps(),
                                _mm512_castsi512_ps(bits));
}
/* Even and odd lanes of a, then of b. */
CR_INLINE void v16_unzip(v16 *a, v16 *b) {
    static const int32_t even[] = {0,  2,  4,  6,  8,  10, 12, 14,
                                   16, 18, 20, 22, 24, 26, 28, 30};
    __m512i evens = v16i_load(even);
    __m512i odds = _mm512_add_epi32(evens, v16i_set(1));
    v16 low = *a;
    *a = _mm512_permutex2var_ps(low, evens, *b);
    *b = _mm512_permutex2var_ps(low, odds, *b);
}

#elif defined(CR_ISA_avx2)

#include <immintrin.h>

typedef struct v16 {
    __m256 lo, hi;
} v16;

#define CR_V16_BOTH(lo_expression, hi_expression)                              \
    ((v16){(lo_expression), (hi_expression)})

CR_INLINE v16 v16_set(float x) {
    __m256 v = _mm256_set1_ps(x);
    return CR_V16_BOTH(v, v);
}
CR_INLINE v16 v16_zero(void) {
    return CR_V16_BOTH(_mm256_setzero_ps(), _mm256_setzero_ps());
}
CR_INLINE v16 v16_load(const float *p) {
    return CR_V16_BOTH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
CR_INLINE void v16_store(float *p, v16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
CR_INLINE v16 v16_add(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_sub(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_mul(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_div(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_max(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_min(v16 a, v16 b) {
    return CR_V16_BOTH(_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi));
}
CR_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    return CR_V16_BOTH(_mm256_fmadd_ps(a.lo, b.lo, c.lo),
                       _mm256_fmadd_ps(a.hi, b.hi, c.hi));
}
CR_INLINE __m256 cr_round8(__m256 a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
CR_INLINE v16 v16_round(v16 a) {
    return CR_V16_BOTH(cr_round8(a.lo), cr_round8(a.hi));
}
CR_INLINE __m256 cr_pow2_8(__m256 n) {
    __m256i e = _mm256_cvtps_epi32(_mm256_add_ps(n, _mm256_set1_ps(127)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
CR_INLINE v16 v16_pow2(v16 n) {
    return CR_V16_BOTH(cr_pow2_8(n.lo), cr_pow2_8(n.hi));
}
CR_INLINE __m256 cr_first8(int n, __m256 a, __m256 rest) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i in = _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane);
    return _mm256_blendv_ps(rest, a, _mm256_castsi256_ps(in));
}
CR_INLINE v16 v16_first(size_t n, v16 a, v16 rest) {
    return CR_V16_BOTH(cr_first8((int)n, a.lo, rest.lo),
                       cr_first8((int)n - 8, a.hi, rest.hi));
}

typedef struct v16i {
    __m256i lo, hi;
} v16i;

CR_INLINE v16i v16i_set(int32_t x) {
    return (v16i){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
CR_INLINE v16i v16i_zero(void) { return v16i_set(0); }
CR_INLINE v16i v16i_load(const void *p) {
    const __m256i *q = p;
    return (v16i){_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
CR_INLINE void v16i_store(void *p, v16i a) {
    __m256i *q = p;
    _mm256_storeu_si256(q, a.lo);
    _mm256_storeu_si256(q + 1, a.hi);
}
CR_INLINE v16i v16i_sub(v16i a, v16i b) {
    return (v16i){_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)};
}
CR_INLINE v16i v16i_max(v16i a, v16i b) {
    return (v16i){_mm256_max_epi32(a.lo, b.lo), _mm256_max_epi32(a.hi, b.hi)};
}
CR_INLINE v16i v16i_umax(v16i a, v16i b) {
    return (v16i){_mm256_max_epu32(a.lo, b.lo), _mm256_max_epu32(a.hi, b.hi)};
}
#define CR_FOLD_INTEGERS(op, a)                                                \
    do {                                                                       \
        a = op(a, _mm256_permute2x128_si256(a, a, 1));                         \
        a = op(a, _mm256_shuffle_epi32(a, 0x4e));                              \
        a = op(a, _mm256_shuffle_epi32(a, 0xb1));                              \
    } while (0)
CR_INLINE int32_t v16i_max_lane(v16i a) {
    __m256i half = _mm256_max_epi32(a.lo, a.hi);
    CR_FOLD_INTEGERS(_mm256_max_epi32, half);
    return _mm256_cvtsi256_si32(half);
}
CR_INLINE uint32_t v16i_umax_lane(v16i a) {
    __m256i half = _mm256_max_epu32(a.lo, a.hi);
    CR_FOLD_INTEGERS(_mm256_max_epu32, half);
    return (uint32_t)_mm256_cvtsi256_si32(half);
}
CR_INLINE v16 v16i_to_float(v16i a) {
    return CR_V16_BOTH(_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi));
}
CR_INLINE v16i v16_to_int(v16 a) {
    return (v16i){_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}
CR_INLINE v16i v16i_dot2(v16i sum, v16i a, v16i b) {
    return (v16i){_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, b.lo)),
                  _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, b.hi))};
}
CR_INLINE __m256 cr_from_bf16_8(const uint16_t *p) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
CR_INLINE v16 v16_from_bf16(const uint16_t *p) {
    return CR_V16_BOTH(cr_from_bf16_8(p), cr_from_bf16_8(p + 8));
}

CR_INLINE __m256 cr_scale_cut8(__m256 p, __m256 whole) {
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(whole), 23);
    __m256i bits = _mm256_add_epi32(_mm256_castps_si256(p), exponent);
    return _mm256_castsi256_ps(
        _mm256_and_si256(bits, _mm256_set1_epi32((int32_t)0xffff0000u)));
}
CR_INLINE v16 v16_scale_cut(v16 p, v16 whole) {
    return CR_V16_BOTH(cr_scale_cut8(p.lo, whole.lo),
                       cr_scale_cut8(p.hi, whole.hi));
}
CR_INLINE __m256 cr_round_bf16_8(__m256 a) {
    __m256i from = _mm256_castps_si256(a);
    __m256i odd =
        _mm256_and_si256(_mm256_srli_epi32(from, 16), _mm256_set1_epi32(1));
    __m256i bits = _mm256_add_epi32(
        from, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    bits = _mm256_and_si256(bits, _mm256_set1_epi32((int32_t)0xffff0000u));
    __m256i exponent = _mm256_and_si256(from, _mm256_set1_epi32(0x7f800000));
    __m256i none = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
    return _mm256_castsi256_ps(_mm256_andnot_si256(none, bits));
}
CR_INLINE v16 v16_round_bf16(v16 a) {
    return CR_V16_BOTH(cr_round_bf16_8(a.lo), cr_round_bf16_8(a.hi));
}
/* Even (which 0x88) or odd (0xdd) lanes of both halves. */
#define CR_UNZIP8(a, which)                                                    \
    _mm256_castpd_ps(_mm256_permute4x64_pd(                                    \
        _mm256_castps_pd(_mm256_shuffle_ps((a).lo, (a).hi, which)), 0xd8))
CR_INLINE void v16_unzip(v16 *a, v16 *b) {
    v16 low = *a, high = *b;
    *a = CR_V16_BOTH(CR_UNZIP8(low, 0x88), CR_UNZIP8(high, 0x88));
    *b = CR_V16_BOTH(CR_UNZIP8(low, 0xdd), CR_UNZIP8(high, 0xdd));
}

#elif defined(CR_ISA_neon)

#include <arm_neon.h>

typedef struct v16 {
    float32x4_t q[4];
} v16;

#define CR_V16_EACH(expression)                                                \
    v16 r;                                                                     \
    for (int i = 0; i < 4; i++)                                                \
        r.q[i] = (expression);                                                 \
    return r

CR_INLINE v16 v16_set(float x) { CR_V16_EACH(vdupq_n_f32(x)); }
CR_INLINE v16 v16_zero(void) { return v16_set(0); }
CR_INLINE v16 v16_load(const float *p) { CR_V16_EACH(vld1q_f32(p + 4 * i)); }
CR_INLINE void v16_store(float *p, v16 a) {
    for (int i = 0; i < 4; i++)
        vst1q_f32(p + 4 * i, a.q[i]);
}
CR_INLINE v16 v16_add(v16 a, v16 b) { CR_V16_EACH(vaddq_f32(a.q[i], b.q[i])); }
CR_INLINE v16 v16_sub(v16 a, v16 b) { CR_V16_EACH(vsubq_f32(a.q[i], b.q[i])); }
CR_INLINE v16 v16_mul(v16 a, v16 b) { CR_V16_EACH(vmulq_f32(a.q[i], b.q[i])); }
CR_INLINE v16 v16_div(v16 a, v16 b) { CR_V16_EACH(vdivq_f32(a.q[i], b.q[i])); }
CR_INLINE v16 v16_max(v16 a, v16 b) {
    CR_V16_EACH(vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
CR_INLINE v16 v16_min(v16 a, v16 b) {
    CR_V16_EACH(vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]));
}
CR_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    CR_V16_EACH(vfmaq_f32(c.q[i], a.q[i], b.q[i]));
}
CR_INLINE v16 v16_round(v16 a) { CR_V16_EACH(vrndnq_f32(a.q[i])); }
CR_INLINE v16 v16_pow2(v16 n) {
    CR_V16_EACH(vreinterpretq_f32_s32(
        vshlq_n_s32(vcvtnq_s32_f32(vaddq_f32(n.q[i], vdupq_n_f32(127))), 23)));
}
CR_INLINE v16 v16_first(size_t n, v16 a, v16 rest) {
    static const int32_t lane[4] = {0, 1, 2, 3};
    CR_V16_EACH(
        vbslq_f32(vcltq_s32(vld1q_s32(lane), vdupq_n_s32((int32_t)n - 4 * i)),
                  a.q[i], rest.q[i]));
}

typedef struct v16i {
    int32x4_t q[4];
} v16i;

#define CR_V16I_EACH(expression)                                               \
    v16i r;                                                                    \
    for (int i = 0; i < 4; i++)                                                \
        r.q[i] = (expression);                                                 \
    return r

CR_INLINE v16i v16i_set(int32_t x) { CR_V16I_EACH(vdupq_n_s32(x)); }
CR_INLINE v16i v16i_zero(void) { return v16i_set(0); }
CR_INLINE v16i v16i_load(const void *p) {
    CR_V16I_EACH(vld1q_s32((const int32_t *)p + 4 * i));
}
CR_INLINE void v16i_store(void *p, v16i a) {
    for (int i = 0; i < 4; i++)
        vst1q_s32((int32_t *)p + 4 * i, a.q[i]);
}
CR_INLINE v16i v16i_sub(v16i a, v16i b) {
    CR_V16I_EACH(vsubq_s32(a.q[i], b.q[i]));
}
CR_INLINE v16i v16i_max(v16i a, v16i b) {
    CR_V16I_EACH(vmaxq_s32(a.q[i], b.q[i]));
}
CR_INLINE int32x4_t cr_umax4(int32x4_t a, int32x4_t b) {
    uint32x4_t x = vreinterpretq_u32_s32(a), y = vreinterpretq_u32_s32(b);
    return vreinterpretq_s32_u32(vmaxq_u32(x, y));
}
CR_INLINE v16i v16i_umax(v16i a, v16i b) {
    CR_V16I_EACH(cr_umax4(a.q[i], b.q[i]));
}
CR_INLINE int32_t v16i_max_lane(v16i a) {
    int32x4_t half = vmaxq_s32(a.q[0], a.q[1]);
    return vmaxvq_s32(vmaxq_s32(half, vmaxq_s32(a.q[2], a.q[3])));
}
CR_INLINE uint32_t v16i_umax_lane(v16i a) {
    int32x4_t half = cr_umax4(a.q[0], a.q[1]);
    half = cr_umax4(half, cr_umax4(a.q[2], a.q[3]));
    return vmaxvq_u32(vreinterpretq_u32_s32(half));
}
CR_INLINE v16 v16i_to_float(v16i a) { CR_V16_EACH(vcvtq_f32_s32(a.q[i])); }
CR_INLINE v16i v16_to_int(v16 a) { CR_V16I_EACH(vcvtnq_s32_f32(a.q[i])); }
CR_INLINE int32x4_t cr_dot2_4(int32x4_t sum, int32x4_t a, int32x4_t b) {
    int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
    int32x4_t low = vmull_s16(vget_low_s16(x), vget_low_s16(y));
    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(x, y)));
}
CR_INLINE v16i v16i_dot2(v16i sum, v16i a, v16i b) {
    CR_V16I_EACH(cr_dot2_4(sum.q[i], a.q[i], b.q[i]));
}
CR_INLINE v16 v16_from_bf16(const uint16_t *p) {
    CR_V16_EACH(vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)));
}

CR_INLINE float32x4_t cr_scale_cut4(float32x4_t p, float32x4_t whole) {
    uint32x4_t bits = vaddq_u32(vreinterpretq_u32_f32(p),
                                vshlq_n_u32(vreinterpretq_u32_f32(whole), 23));
    return vreinterpretq_f32_u32(vandq_u32(bits, vdupq_n_u32(0xffff0000u)));
}
CR_INLINE v16 v16_scale_cut(v16 p, v16 whole) {
    CR_V16_EACH(cr_scale_cut4(p.q[i], whole.q[i]));
}
CR_INLINE float32x4_t cr_round_bf16_4(float32x4_t a) {
    uint32x4_t from = vreinterpretq_u32_f32(a);
    uint32x4_t odd = vandq_u32(vshrq_n_u32(from, 16), vdupq_n_u32(1));
    uint32x4_t bits = vaddq_u32(from, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    bits = vandq_u32(bits, vdupq_n_u32(0xffff0000u));
    uint32x4_t normal = vtstq_u32(from, vdupq_n_u32(0x7f800000));
    return vreinterpretq_f32_u32(vandq_u32(bits, normal));
}
CR_INLINE v16 v16_round_bf16(v16 a) { CR_V16_EACH(cr_round_bf16_4(a.q[i])); }
CR_INLINE void v16_unzip(v16 *a, v16 *b) {
    v16 even, odd;
    for (int i = 0; i < 4; i++) {
        const v16 *from = i < 2 ? a : b;
        float32x4_t x = from->q[i % 2 * 2], y = from->q[i % 2 * 2 + 1];
        even.q[i] = vuzp1q_f32(x, y);
        odd.q[i] = vuzp2q_f32(x, y);
    }
    *a = even;
    *b = odd;
}

#else /* ref, base: plain C */

typedef struct v16 {
    float x[16];
} v16;

#define CR_V16_EACH(expression)                                                \
    v16 r;                                                                     \
    for (size_t i = 0; i < CR_V16; i++)                                        \
        r.x[i] = (expression);                                                 \
    return r

CR_INLINE v16 v16_set(float x) { CR_V16_EACH(x); }
CR_INLINE v16 v16_zero(void) { return v16_set(0); }
CR_INLINE v16 v16_load(const float *p) { CR_V16_EACH(p[i]); }
CR_INLINE void v16_store(float *p, v16 a) { memcpy(p, a.x, sizeof a.x); }
CR_INLINE v16 v16_add(v16 a, v16 b) { CR_V16_EACH(a.x[i] + b.x[i]); }
CR_INLINE v16 v16_sub(v16 a, v16 b) { CR_V16_EACH(a.x[i] - b.x[i]); }
CR_INLINE v16 v16_mul(v16 a, v16 b) { CR_V16_EACH(a.x[i] * b.x[i]); }
CR_INLINE v16 v16_div(v16 a, v16 b) { CR_V16_EACH(a.x[i] / b.x[i]); }
CR_INLINE v16 v16_max(v16 a, v16 b) {
    CR_V16_EACH(a.x[i] > b.x[i] ? a.x[i] : b.x[i]);
}
CR_INLINE v16 v16_min(v16 a, v16 b) {
    CR_V16_EACH(a.x[i] < b.x[i] ? a.x[i] : b.x[i]);
}
#if defined(CR_ISA_base)
/* Two roundings: machines without the instruction would need a library call. */
CR_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    CR_V16_EACH(a.x[i] * b.x[i] + c.x[i]);
}
#else
CR_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    CR_V16_EACH(fmaf(a.x[i], b.x[i], c.x[i]));
}
#endif
/* Adding and taking away 1.5 * 2^23 rounds to nearest even; |a| < 2^22. */
CR_INLINE v16 v16_round(v16 a) {
    CR_V16_EACH((a.x[i] + 0x1.8p23f) - 0x1.8p23f);
}
CR_INLINE v16 v16_pow2(v16 n) {
    v16 r;
    for (size_t i = 0; i < CR_V16; i++) {
        bool number = n.x[i] == n.x[i];
        uint32_t bits = number ? (uint32_t)(int32_t)(n.x[i] + 127) << 23 : 0;
        memcpy(&r.x[i], &bits, sizeof bits);
    }
    return r;
}
CR_INLINE v16 v16_first(size_t n, v16 a, v16 rest) {
    CR_V16_EACH(i < n ? a.x[i] : rest.x[i]);
}

CR_INLINE v16 v16_scale_cut(v16 p, v16 whole) {
    for (size_t i = 0; i < CR_V16; i++) {
        uint32_t bits, n;
        memcpy(&bits, &p.x[i], sizeof bits);
        memcpy(&n, &whole.x[i], sizeof n);
        bits = (bits + (n << 23)) & 0xffff0000u;
        memcpy(&p.x[i], &bits, sizeof bits);
    }
    return p;
}
CR_INLINE v16 v16_round_bf16(v16 a) {
    for (size_t i = 0; i < CR_V16; i++) {
        uint32_t bits;
        memcpy(&bits, &a.x[i], sizeof bits);
        bool normal = bits & 0x7f800000;
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        bits = normal ? bits : 0;
        memcpy(&a.x[i], &bits, sizeof bits);
    }
    return a;
}
CR_INLINE void v16_unzip(v16 *a, v16 *b) {
    v16 even, odd;
    for (size_t i = 0; i < CR_V16; i++) {
        const v16 *from = i < CR_V16 / 2 ? a : b;
        even.x[i] = from->x[2 * i % CR_V16];
        odd.x[i] = from->x[(2 * i + 1) % CR_V16];
    }
    *a = even;
    *b = odd;
}
#endif

#if !defined(CR_ISA_avx512)
/* Cut to +-limit. */
CR_INLINE v16 v16_within(v16 a, v16 limit) {
    return v16_max(v16_min(a, limit), v16_sub(v16_zero(), limit));
}
#endif

#if !defined(CR_ISA_avx512) && !defined(CR_ISA_avx2) && !defined(CR_ISA_neon)

typedef struct v16i {
    int32_t x[16];
} v16i;

CR_INLINE v16i v16i_set(int32_t x) {
    v16i r;
    for (size_t i = 0; i < CR_V16; i++)
        r.x[i] = x;
    return r;
}
CR_INLINE v16i v16i_zero(void) { return v16i_set(0); }
CR_INLINE v16i v16i_load(const void *p) {
    v16i r;
    memcpy(&r, p, sizeof r);
    return r;
}
CR_INLINE void v16i_store(void *p, v16i a) { memcpy(p, &a, sizeof a); }
CR_INLINE v16i v16i_sub(v16i a, v16i b) {
    for (size_t i = 0; i < CR_V16; i++)
        a.x[i] -= b.x[i];
    return a;
}
CR_INLINE v16i v16i_max(v16i a, v16i b) {
    for (size_t i = 0; i < CR_V16; i++)
        a.x[i] = a.x[i] > b.x[i] ? a.x[i] : b.x[i];
    return a;
}
CR_INLINE v16i v16i_umax(v16i a, v16i b) {
    for (size_t i = 0; i < CR_V16; i++)
        a.x[i] = (uint32_t)a.x[i] > (uint32_t)b.x[i] ? a.x[i] : b.x[i];
    return a;
}
CR_INLINE int32_t v16i_max_lane(v16i a) {
    int32_t most = a.x[0];
    for (size_t i = 1; i < CR_V16; i++)
        most = a.x[i] > most ? a.x[i] : most;
    return most;
}
CR_INLINE uint32_t v16i_umax_lane(v16i a) {
    uint32_t most = (uint32_t)a.x[0];
    for (size_t i = 1; i < CR_V16; i++)
        most = (uint32_t)a.x[i] > most ? (uint32_t)a.x[i] : most;
    return most;
}
CR_INLINE v16 v16i_to_float(v16i a) {
    float x[CR_V16];
    for (size_t i = 0; i < CR_V16; i++)
        x[i] = (float)a.x[i];
    return v16_load(x);
}
CR_INLINE v16i v16_to_int(v16 a) {
    float x[CR_V16];
    v16i r;
    v16_store(x, v16_round(a));
    for (size_t i = 0; i < CR_V16; i++)
        r.x[i] = (int32_t)x[i];
    return r;
}
/* Each 32-bit lane holds two 16-bit numbers. */
CR_INLINE v16i v16i_dot2(v16i sum, v16i a, v16i b) {
    int16_t x[2 * CR_V16], y[2 * CR_V16];
    memcpy(x, &a, sizeof x);
    memcpy(y, &b, sizeof y);
    for (size_t i = 0; i < CR_V16; i++)
        sum.x[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    return sum;
}
CR_INLINE v16 v16_from_bf16(const uint16_t *p) {
    float x[CR_V16];
    for (size_t i = 0; i < CR_V16; i++) {
        uint32_t bits = (uint32_t)p[i] << 16;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return v16_load(x);
}

#endif

/* v16_round: to the nearest integer, ties to even, |a| < 2^22.
 * v16_max, v16_min: b where either is NaN.
 * v16_pow2: 2^n for whole n in -127 .. 127; -127 and NaN give 0.
 * v16_first: the first n lanes of a, the others of rest; n <= 16.
 * v16_to_int: to the nearest integer, ties to even, |a| < 2^22.
 * v16i_umax: the larger as unsigned integers.
 * v16i_dot2: sum + a0 b0 + a1 b1, where a lane of a and b is two int16. */

/* Rows become columns: lane j of x[i] and lane i of x[j] change places. */
#if defined(CR_ISA_avx512)

/* Inside quarters first, then whole quarters, in two steps of two each. */
CR_INLINE void v16_turn(v16 x[CR_V16]) {
    v16 t[CR_V16];
    CR_UNROLL
    for (size_t i = 0; i < CR_V16; i += 4) {
        v16 low01 = _mm512_unpacklo_ps(x[i], x[i + 1]);
        v16 high01 = _mm512_unpackhi_ps(x[i], x[i + 1]);
        v16 low23 = _mm512_unpacklo_ps(x[i + 2], x[i + 3]);
        v16 high23 = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
        t[i] = _mm512_shuffle_ps(low01, low23, 0x44);
        t[i + 1] = _mm512_shuffle_ps(low01, low23, 0xee);
        t[i + 2] = _mm512_shuffle_ps(high01, high23, 0x44);
        t[i + 3] = _mm512_shuffle_ps(high01, high23, 0xee);
    }
    CR_UNROLL
    for (size_t i = 0; i < 4; i++) {
        v16 even0 = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
        v16 even1 = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
        v16 odd0 = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        v16 odd1 = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        x[i] = _mm512_shuffle_f32x4(even0, even1, 0x88);
        x[i + 8] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
        x[i + 4] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
        x[i + 12] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
    }
}

#elif defined(CR_ISA_avx2)

/* Eight half rows to eight half columns. */
CR_INLINE void cr_turn8(__m256 x[8]) {
    __m256 t[8];
    CR_UNROLL
    for (size_t i = 0; i < 8; i += 4) {
        __m256 low01 = _mm256_unpacklo_ps(x[i], x[i + 1]);
        __m256 high01 = _mm256_unpackhi_ps(x[i], x[i + 1]);
        __m256 low23 = _mm256_unpacklo_ps(x[i + 2], x[i + 3]);
        __m256 high23 = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
        t[i] = _mm256_shuffle_ps(low01, low23, 0x44);
        t[i + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
        t[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
        t[i + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
    }
    CR_UNROLL
    for (size_t i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

CR_INLINE void v16_turn(v16 x[CR_V16]) {
    __m256 corner[2][2][8];
    CR_UNROLL
    for (size_t i = 0; i < CR_V16; i++) {
        corner[i / 8][0][i % 8] = x[i].lo;
        corner[i / 8][1][i % 8] = x[i].hi;
    }
    cr_turn8(corner[0][0]);
    cr_turn8(corner[0][1]);
    cr_turn8(corner[1][0]);
    cr_turn8(corner[1][1]);
    CR_UNROLL
    for (size_t i = 0; i < CR_V16; i++)
        x[i] = CR_V16_BOTH(corner[0][i / 8][i % 8], corner[1][i / 8][i % 8]);
}

#else

CR_INLINE void v16_turn(v16 x[CR_V16]) {
    float rows[CR_V16][CR_V16], columns[CR_V16][CR_V16];
    for (size_t i = 0; i < CR_V16; i++)
        v16_store(rows[i], x[i]);
    for (size_t i = 0; i < CR_V16; i++)
        for (size_t j = 0; j < CR_V16; j++)
            columns[j][i] = rows[i][j];
    for (size_t i = 0; i < CR_V16; i++)
        x[i] = v16_load(columns[i]);
}

#endif

/* The canonical sum of lanes: halves onto halves, 8, 4, 2, 1. */
#if defined(CR_ISA_avx512)

#define CR_FOLD(op, a)                                                         \
    do {                                                                       \
        a = op(a, _mm512_shuffle_f32x4(a, a, 0x4e));                           \
        a = op(a, _mm512_shuffle_f32x4(a, a, 0xb1));                           \
        a = op(a, _mm512_shuffle_ps(a, a, 0x4e));                              \
        a = op(a, _mm512_shuffle_ps(a, a, 0xb1));                              \
    } while (0)

CR_INLINE float v16_sum(v16 a) {
    CR_FOLD(_mm512_add_ps, a);
    return _mm512_cvtss_f32(a);
}
CR_INLINE float v16_max_lane(v16 a) {
    CR_FOLD(_mm512_max_ps, a);
    return _mm512_cvtss_f32(a);
}

#elif defined(CR_ISA_avx2)

#define CR_FOLD(op, a)                                                         \
    do {                                                                       \
        a = op(a, _mm256_permute2f128_ps(a, a, 1));                            \
        a = op(a, _mm256_permute_ps(a, 0x4e));                                 \
        a = op(a, _mm256_permute_ps(a, 0xb1));                                 \
    } while (0)

CR_INLINE float v16_sum(v16 a) {
    __m256 half = _mm256_add_ps(a.lo, a.hi);
    CR_FOLD(_mm256_add_ps, half);
    return _mm256_cvtss_f32(half);
}
CR_INLINE float v16_max_lane(v16 a) {
    __m256 half = _mm256_max_ps(a.lo, a.hi);
    CR_FOLD(_mm256_max_ps, half);
    return _mm256_cvtss_f32(half);
}

#else

CR_INLINE float v16_sum(v16 a) {
    float x[CR_V16];
    v16_store(x, a);
    for (size_t half = CR_V16 / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            x[i] += x[i + half];
    return x[0];
}

CR_INLINE float v16_max_lane(v16 a) {
    float x[CR_V16];
    v16_store(x, a);
    for (size_t half = CR_V16 / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
    return x[0];
}

#endif

#endif
