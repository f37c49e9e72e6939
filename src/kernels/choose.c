/* Which operation table runs: what was built, what the CPU has, who asks. */
#include "kernels/isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

enum { MAX_ISAS = 12 };

static bool slow_bf16; /* set with the list of tables, before main */

/* Every name that some build has. */
static const char *const ALL_NAMES[] = {
    "amx",      "avx512bf16",  "avx512vnni", "avx512", "avx2", "neonbf16",
    "neoni8mm", "neondotprod", "neon",       "base",   "ref"};

#if defined(__x86_64__)
static bool has_avx512(void) {
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

/* Whether the CPU has tiles with both products, and the system saves tile
 * registers and lets this process use them. Linux gives that permission to the
 * whole process, on request. */
static bool has_amx(void) {
#if defined(__linux__)
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    enum { OS_SAVES = 1 << 27, SAVES_TILES = 0x60000 };
    enum { BF16 = 1 << 22, TILES = 1 << 24, INT8 = 1 << 25 };
    enum { ALL = BF16 | TILES | INT8 };
    uint32_t a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OS_SAVES))
        return false;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    return (saved & SAVES_TILES) == SAVES_TILES &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & ALL) == ALL &&
           syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* Whether bfloat16 is multiplied faster in float32 than by AVX512-BF16. Intel's
 * cores since Golden Cove begin one vdpbf16ps every second cycle, where they
 * begin four fused multiply-adds of half as many terms (docs/SPEED.md); AMD's
 * begin as many of one as of the other. Told by AVX512-FP16, which the older
 * Cooper Lake, never measured, does not have. The rule is fixed and not a
 * measurement at start, so that a machine always takes the same. */
static bool bf16_is_slow(void) {
    enum { FP16 = 1 << 23 };
    uint32_t a, b, c, d;
    return __builtin_cpu_is("intel") &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && d & FP16;
}

/* avx512 with better products, as far as the CPU has their instructions. */
static cr_kernels avx512_vnni, avx512_bf16, amx;

static size_t find_avx512(const cr_kernels **list) {
    size_t n = 0;
    if (!has_avx512())
        return 0;
    avx512_vnni = cr_kernels_avx512;
    avx512_vnni.name = "avx512vnni";
    avx512_vnni.gemm[CR_INT8] = &cr_gemm_int8_vnni_avx512;
    avx512_bf16 = avx512_vnni;
    avx512_bf16.name = "avx512bf16";
    avx512_bf16.gemm[CR_BF16] = &cr_gemm_bf16_avx512_avx512;
    avx512_bf16.attention[CR_BF16] = &cr_attention_bf16_avx512_avx512;
    amx = cr_kernels_avx512;
    amx.name = "amx";
    amx.gemm[CR_BF16] = &cr_gemm_bf16_amx_avx512;
    amx.gemm[CR_INT8] = &cr_gemm_int8_amx_avx512;
    amx.attention[CR_BF16] = &cr_attention_bf16_amx_avx512;
    amx.attention[CR_INT8] = &cr_attention_bf16_amx_avx512;
    bool vnni = __builtin_cpu_supports("avx512vnni");
    bool bf16 = vnni && __builtin_cpu_supports("avx512bf16");
    if (bf16 && has_amx())
        list[n++] = &amx;
    slow_bf16 = bf16 && n == 0 && bf16_is_slow();
    if (bf16 && !slow_bf16)
        list[n++] = &avx512_bf16;
    if (vnni)
        list[n++] = &avx512_vnni;
    if (slow_bf16)
        list[n++] = &avx512_bf16;
    list[n++] = &cr_kernels_avx512;
    return n;
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#if defined(__aarch64__)
/* neon with better products, as far as the system says that the CPU has their
 * instructions; each has those of the ones before it. */
static cr_kernels neon_dotprod, neon_i8mm, neon_bf16;

static size_t find_neon(const cr_kernels **list) {
    bool dotprod = false, i8mm = false, bf16 = false;
#if defined(__linux__)
    dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
    i8mm = dotprod && getauxval(AT_HWCAP2) & HWCAP2_I8MM;
    bf16 = i8mm && getauxval(AT_HWCAP2) & HWCAP2_BF16;
#endif
    neon_dotprod = cr_kernels_neon;
    neon_dotprod.name = "neondotprod";
    neon_dotprod.gemm[CR_INT8] = &cr_gemm_int8_dotprod_neon;
    neon_i8mm = neon_dotprod;
    neon_i8mm.name = "neoni8mm";
    neon_i8mm.gemm[CR_INT8] = &cr_gemm_int8_i8mm_neon;
    neon_bf16 = neon_i8mm;
    neon_bf16.name = "neonbf16";
    neon_bf16.gemm[CR_BF16] = &cr_gemm_bf16_neon_neon;
    size_t n = 0;
    if (bf16)
        list[n++] = &neon_bf16;
    if (i8mm)
        list[n++] = &neon_i8mm;
    if (dotprod)
        list[n++] = &neon_dotprod;
    list[n++] = &cr_kernels_neon;
    return n;
}
#endif

/* Fills list[] up to a NULL; runs once, before main. */
static const cr_kernels *available[MAX_ISAS];
static const char *names[MAX_ISAS];

__attribute__((constructor)) static void find_available(void) {
    size_t n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    n += find_avx512(available);
    if (has_avx2())
        available[n++] = &cr_kernels_avx2;
#elif defined(__aarch64__)
    n += find_neon(available);
#endif
    available[n++] = &cr_kernels_base;
    available[n++] = &cr_kernels_ref;
    for (size_t i = 0; i < n; i++)
        names[i] = available[i]->name;
}

const cr_kernels *const *cr_kernels_available(void) { return available; }

bool cr_kernels_slow_bf16(void) { return slow_bf16; }

const char *const *cr_isa_names(void) { return names; }

static bool known_name(const char *name) {
    for (size_t i = 0; i < sizeof ALL_NAMES / sizeof *ALL_NAMES; i++)
        if (strcmp(ALL_NAMES[i], name) == 0)
            return true;
    return false;
}

/* The available names with commas, into text[size]. */
static void list_names(char *text, size_t size) {
    text[0] = '\0';
    for (size_t i = 0; names[i]; i++) {
        size_t len = strlen(text);
        snprintf(text + len, size - len, "%s%s", i ? ", " : "", names[i]);
    }
}

cr_status cr_kernels_choose(const char *name, const cr_kernels **kernels,
                            cr_error *error) {
    const char *from = name ? "" : " of $CROSSRANK_ISA";
    if (!name)
        name = getenv("CROSSRANK_ISA");
    if (!name || !*name || strcmp(name, "auto") == 0) {
        *kernels = available[0];
        return CR_OK;
    }
    for (size_t i = 0; available[i]; i++)
        if (strcmp(available[i]->name, name) == 0) {
            *kernels = available[i];
            return CR_OK;
        }
    char list[128];
    list_names(list, sizeof list);
    if (!known_name(name))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "isa '%s'%s is unknown; this machine has %s", name, from,
                       list);
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "isa '%s'%s is not available on this machine; use one of %s",
                   name, from, list);
}

const char *cr_dtype_name(cr_dtype dtype) {
    static const char *const dtype_names[CR_N_DTYPES] = {"fp32", "bf16",
                                                         "int8"};
    return dtype_names[dtype];
}

static size_t up_to(size_t n, size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

size_t cr_gemm_block(const cr_gemm_ops *ops, size_t m) {
    size_t n = (m + ops->block - 1) / ops->block;
    return n > 1 ? up_to((m + n - 1) / n, ops->cut) : ops->block;
}

size_t cr_gemm_a_bytes(const cr_gemm_ops *ops, size_t m, size_t k) {
    return up_to(m, ops->row_step) * up_to(k, ops->a_terms) * ops->a_bytes;
}

size_t cr_attention_scratch_floats(size_t length, size_t head_width) {
    /* fp32: keys, and scores of the rows at once. */
    size_t fp32 = up_to(length, CR_PANEL) * (head_width + (size_t)CR_MOST_ROWS);
    /* bf16: keys, values and weights, queries and results; tiles need less. */
    size_t queries = CR_MOST_QUERIES;
    size_t bf16 = up_to(length, CR_HEAD_TERMS) * (2 * head_width + queries) +
                  2 * head_width * queries;
    return fp32 > bf16 ? fp32 : bf16;
}
