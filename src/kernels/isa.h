/* The name of the instruction set that a kernel file is being compiled for.
 *
 * Each kernel file is compiled once a set, with CR_ISA_<set> defined and that
 * set's compiler flags; CR_ISA_NAME(f) makes its symbols distinct. */
#ifndef CR_KERNELS_ISA_H
#define CR_KERNELS_ISA_H

#include "kernels/kernels.h"

#if defined(CR_ISA_avx512) && defined(CR_EMULATED)
#define CR_ISA_NAME(f) cr_##f##_avx512_emulated
#define CR_ISA_TEXT "avx512 emulated"
#elif defined(CR_ISA_avx512)
#define CR_ISA_NAME(f) cr_##f##_avx512
#define CR_ISA_TEXT "avx512"
#elif defined(CR_ISA_avx2)
#define CR_ISA_NAME(f) cr_##f##_avx2
#define CR_ISA_TEXT "avx2"
#elif defined(CR_ISA_neon)
#define CR_ISA_NAME(f) cr_##f##_neon
#define CR_ISA_TEXT "neon"
#elif defined(CR_ISA_base)
#define CR_ISA_NAME(f) cr_##f##_base
#define CR_ISA_TEXT "base"
#elif defined(CR_ISA_ref)
#define CR_ISA_NAME(f) cr_##f##_ref
#define CR_ISA_TEXT "ref"
#endif

#ifdef CR_ISA_TEXT
extern const cr_gemm_ops CR_ISA_NAME(gemm_f32);
extern const cr_gemm_ops CR_ISA_NAME(gemm_bf16);
extern const cr_gemm_ops CR_ISA_NAME(gemm_int8);
/* Extensions, compiled and chosen apart. */
#if defined(CR_ISA_avx512)
extern const cr_gemm_ops CR_ISA_NAME(gemm_int8_vnni);
extern const cr_gemm_ops CR_ISA_NAME(gemm_bf16_avx512);
extern const cr_gemm_ops CR_ISA_NAME(gemm_int8_amx);
extern const cr_gemm_ops CR_ISA_NAME(gemm_bf16_amx);
extern const cr_attention_ops CR_ISA_NAME(attention_bf16_avx512);
extern const cr_attention_ops CR_ISA_NAME(attention_bf16_amx);
#elif defined(CR_ISA_neon)
extern const cr_gemm_ops CR_ISA_NAME(gemm_int8_dotprod);
extern const cr_gemm_ops CR_ISA_NAME(gemm_int8_i8mm);
extern const cr_gemm_ops CR_ISA_NAME(gemm_bf16_neon);
#endif
extern const cr_attention_ops CR_ISA_NAME(attention_f32);
extern const cr_attention_ops CR_ISA_NAME(attention_bf16);
void CR_ISA_NAME(layer_norm)(const cr_layer_norm *args);
void CR_ISA_NAME(embedding)(const cr_embedding *args);
void CR_ISA_NAME(map)(cr_epilogue epilogue, const float *x, float *y, size_t n);
void CR_ISA_NAME(exp2)(const float *x, float *y, size_t n);
#endif

extern const cr_kernels cr_kernels_avx512;
/* In tests alone. */
extern const cr_kernels cr_kernels_avx512_emulated;
extern const cr_gemm_ops cr_gemm_int8_vnni_avx512_emulated;
extern const cr_gemm_ops cr_gemm_bf16_avx512_avx512_emulated;
extern const cr_gemm_ops cr_gemm_int8_amx_avx512_emulated;
extern const cr_gemm_ops cr_gemm_bf16_amx_avx512_emulated;
extern const cr_attention_ops cr_attention_bf16_avx512_avx512_emulated;
extern const cr_attention_ops cr_attention_bf16_amx_avx512_emulated;

extern const cr_gemm_ops cr_gemm_int8_vnni_avx512;
extern const cr_gemm_ops cr_gemm_bf16_avx512_avx512;
extern const cr_gemm_ops cr_gemm_int8_amx_avx512;
extern const cr_gemm_ops cr_gemm_bf16_amx_avx512;
extern const cr_attention_ops cr_attention_bf16_avx512_avx512;
extern const cr_attention_ops cr_attention_bf16_amx_avx512;
extern const cr_kernels cr_kernels_avx2;
extern const cr_kernels cr_kernels_neon;
extern const cr_gemm_ops cr_gemm_int8_dotprod_neon;
extern const cr_gemm_ops cr_gemm_int8_i8mm_neon;
extern const cr_gemm_ops cr_gemm_bf16_neon_neon;
extern const cr_kernels cr_kernels_base;
extern const cr_kernels cr_kernels_ref;

#endif
