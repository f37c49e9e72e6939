/* The polynomials of the network's functions, sixteen lanes at a time.
 *
 * One set of coefficients for every instruction set. They are minimax fits
 * made for this project (weighted least squares, iterated towards equal error),
 * errors stated beside each. Not a math library: domains are what the encoder
 * needs. */
#ifndef CR_KERNELS_MATH16_H
#define CR_KERNELS_MATH16_H

#include "kernels/kernels.h"
#include "kernels/vec16.h"

/* 2^x for x <= 127; relative error 2e-9 + rounding; 0 below -126.5; NaN stays
 * NaN. */
CR_INLINE v16 v16_exp2(v16 x) {
    x = v16_max(v16_set(-127), x);
    v16 n = v16_round(x);
    v16 f = v16_sub(x, n); /* -0.5 .. 0.5, exact */
    v16 p = v16_set(1.534581071e-4f);
    p = v16_fma(p, f, v16_set(1.33999316e-3f));
    p = v16_fma(p, f, v16_set(9.618488965e-3f));
    p = v16_fma(p, f, v16_set(5.550328776e-2f));
    p = v16_fma(p, f, v16_set(2.402264689e-1f));
    p = v16_fma(p, f, v16_set(6.931472057e-1f));
    p = v16_fma(p, f, v16_set(1.0f));
    return v16_mul(p, v16_pow2(n));
}

/* erf(x / sqrt(2)): z P(z^2) / Q(z^2) on |z| <= 3.9, beyond which float32
 * knows only +-1; absolute error 1.5e-8 + rounding (in all 4e-7). */
CR_INLINE v16 v16_erf_of_root_half(v16 x) {
    v16 z = v16_mul(x, v16_set(0.707106781f));
    z = v16_max(v16_min(z, v16_set(3.9f)), v16_set(-3.9f));
    v16 s = v16_mul(z, z);
    v16 p = v16_set(2.0503544e-6f);
    p = v16_fma(p, s, v16_set(2.87446317e-4f));
    p = v16_fma(p, s, v16_set(3.83664037e-3f));
    p = v16_fma(p, s, v16_set(5.29662035e-2f));
    p = v16_fma(p, s, v16_set(1.91936262e-1f));
    p = v16_fma(p, s, v16_set(1.12837903f));
    v16 q = v16_set(3.82298201e-5f);
    q = v16_fma(q, s, v16_set(1.18166608e-3f));
    q = v16_fma(q, s, v16_set(1.51087487e-2f));
    q = v16_fma(q, s, v16_set(1.14756155e-1f));
    q = v16_fma(q, s, v16_set(5.03430865e-1f));
    q = v16_fma(q, s, v16_set(1.0f));
    return v16_div(v16_mul(z, p), q);
}

/* x (1 + erf(x / sqrt(2))) / 2. */
CR_INLINE v16 v16_gelu(v16 x) {
    v16 half = v16_mul(x, v16_set(0.5f));
    return v16_fma(half, v16_erf_of_root_half(x), half);
}

/* The same for what becomes bfloat16 or int8 next, whose steps are 2^-9 of a
 * number and some 2^-6: x (1/2 + z P(z^2)), |z| <= 4, error 6e-5 (1 + |x|).
 * Without a division, which takes as long as all of this. */
CR_INLINE v16 v16_gelu_short(v16 x) {
    v16 z = v16_within(x, v16_set(4.0f));
    v16 s = v16_mul(z, z);
    v16 p = v16_set(-1.5807853e-09f);
    p = v16_fma(p, s, v16_set(1.21711049e-07f));
    p = v16_fma(p, s, v16_set(-4.10086496e-06f));
    p = v16_fma(p, s, v16_set(8.06673764e-05f));
    p = v16_fma(p, s, v16_set(-0.00104820427f));
    p = v16_fma(p, s, v16_set(0.00966487374f));
    p = v16_fma(p, s, v16_set(-0.0661753785f));
    p = v16_fma(p, s, v16_set(0.398847509f));
    return v16_mul(x, v16_fma(z, p, v16_set(0.5f)));
}

/* tanh(x) = 1 - 2 / (exp(2x) + 1); absolute error 1e-7; NaN stays NaN. */
CR_INLINE v16 v16_tanh(v16 x) {
    const float two_log2_e = 2.885390082f;
    v16 clamped = v16_max(v16_set(-10), v16_min(v16_set(10), x));
    v16 e = v16_exp2(v16_mul(clamped, v16_set(two_log2_e)));
    v16 one = v16_set(1);
    return v16_sub(one, v16_div(v16_set(2), v16_add(e, one)));
}

/* GPT-2's GELU: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2. */
CR_INLINE v16 v16_gelu_new(v16 x) {
    v16 cube = v16_mul(v16_mul(x, x), x);
    v16 inner = v16_fma(cube, v16_set(0.044715f), x);
    v16 t = v16_tanh(v16_mul(inner, v16_set(0.797884561f)));
    v16 half = v16_mul(x, v16_set(0.5f));
    return v16_fma(half, t, half);
}

/* NaN stays NaN. */
CR_INLINE v16 v16_relu(v16 x) { return v16_max(v16_zero(), x); }

CR_INLINE v16 cr_epilogue_apply(v16 x, cr_epilogue epilogue) {
    switch (epilogue) {
    case CR_EPILOGUE_GELU:
        return v16_gelu(x);
    case CR_EPILOGUE_GELU_NEW:
        return v16_gelu_new(x);
    case CR_EPILOGUE_RELU:
        return v16_relu(x);
    case CR_EPILOGUE_TANH:
        return v16_tanh(x);
    case CR_EPILOGUE_NONE:
        break;
    }
    return x;
}

/* As products of bfloat16 and int8 have it. */
CR_INLINE v16 cr_epilogue_apply_short(v16 x, cr_epilogue epilogue) {
    return epilogue == CR_EPILOGUE_GELU ? v16_gelu_short(x)
                                        : cr_epilogue_apply(x, epilogue);
}

#endif
