/* Peak: loops of one instruction on registers, written out in assembly so that
 * no compiler can improve or spoil them. */
#include "lab/peak.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* One way to multiply and add. A turn is TURN_INSTRUCTIONS of them, on as many
 * registers as there are: each is a chain whose next link waits for the last,
 * and at two a cycle 12 chains are too few for a latency of 6 (a Zen 5's
 * vdpbf16ps has 571 GFLOPS with 24 and 520 with 12). */
enum { TURN_INSTRUCTIONS = 24 };

typedef struct peak_loop {
    const char *instruction;
    cr_peak_kind kind;
    double operations; /* of one instruction */
    bool (*there)(void);
    void (*run)(uint64_t turns);
} peak_loop;

#define TWELVE(I)                                                              \
    I("0")                                                                     \
    I("1")                                                                     \
    I("2") I("3") I("4") I("5") I("6") I("7") I("8") I("9") I("10") I("11")
#define TWELVE_MORE(I)                                                         \
    I("16")                                                                    \
    I("17")                                                                    \
    I("18")                                                                    \
    I("19") I("20") I("21") I("22") I("23") I("24") I("25") I("26") I("27")

#if defined(__x86_64__)

/* The feature bits of cpuid, and which registers the system saves. */
typedef struct cpu {
    uint32_t ecx1, ebx7, ecx7, edx7, eax71;
    uint32_t saved; /* XCR0 */
} cpu;

enum { SAVES_YMM = 0x6, SAVES_ZMM = 0xe6, SAVES_TILES = 0x60000 };

static cpu detect(void) {
    cpu c = {0};
    uint32_t a, b, d, high;
    if (!__get_cpuid(1, &a, &b, &c.ecx1, &d) || !(c.ecx1 >> 27 & 1))
        return (cpu){0};
    __asm__ volatile("xgetbv" : "=a"(c.saved), "=d"(high) : "c"(0));
    uint32_t highest = 0;
    if (__get_cpuid_count(7, 0, &highest, &c.ebx7, &c.ecx7, &c.edx7) &&
        highest >= 1)
        __get_cpuid_count(7, 1, &c.eax71, &a, &b, &d);
    return c;
}

static bool saves(const cpu *c, uint32_t mask) {
    return (c->saved & mask) == mask;
}

static bool has_fma(void) {
    cpu c = detect();
    return saves(&c, SAVES_YMM) && c.ecx1 >> 12 & 1 && c.ebx7 >> 5 & 1;
}

static bool has_avx512(void) {
    cpu c = detect();
    return saves(&c, SAVES_ZMM) && c.ebx7 >> 16 & 1;
}

static bool has_avx512_bf16(void) {
    cpu c = detect();
    return has_avx512() && c.eax71 >> 5 & 1;
}

static bool has_avx512_vnni(void) {
    cpu c = detect();
    return has_avx512() && c.ecx7 >> 11 & 1;
}

static bool has_avx_vnni(void) {
    cpu c = detect();
    return saves(&c, SAVES_YMM) && c.eax71 >> 4 & 1;
}

/* Linux hands out the tile registers on request. */
static bool has_tiles(uint32_t bit) {
#if defined(__linux__)
    enum { ARCH_REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    cpu c = detect();
    return saves(&c, SAVES_TILES) && c.edx7 >> 24 & 1 && c.edx7 >> bit & 1 &&
           syscall(SYS_arch_prctl, ARCH_REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    (void)bit;
    return false;
#endif
}

static bool has_amx_bf16(void) { return has_tiles(22); }
static bool has_amx_int8(void) { return has_tiles(25); }

/* There are 16 registers, of 512 bits 32. To a compiler that is not told of
 * AVX-512 the second 16 have no names, and it keeps nothing there. */
#define VECTOR_LOOP(name, I, REST)                                             \
    static void name(uint64_t turns) {                                         \
        __asm__ volatile("vpxor %%xmm14,%%xmm14,%%xmm14\n\t"                   \
                         "vpxor %%xmm15,%%xmm15,%%xmm15\n"                     \
                         "1:\n\t" TWELVE(I) REST(I) "dec %0\n\tjnz 1b\n\t"     \
                                                    "vzeroupper"               \
                         : "+r"(turns)                                         \
                         :                                                     \
                         : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",       \
                           "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",    \
                           "xmm11", "xmm14", "xmm15");                         \
    }
#define FMA_YMM(r) "vfmadd231ps %%ymm14,%%ymm15,%%ymm" r "\n\t"
#define FMA_ZMM(r) "vfmadd231ps %%zmm14,%%zmm15,%%zmm" r "\n\t"
#define BF16_ZMM(r) "vdpbf16ps %%zmm14,%%zmm15,%%zmm" r "\n\t"
#define INT8_ZMM(r) "vpdpbusd %%zmm14,%%zmm15,%%zmm" r "\n\t"
#define INT8_YMM(r) "%{vex%} vpdpbusd %%ymm14,%%ymm15,%%ymm" r "\n\t"
VECTOR_LOOP(run_fma_ymm, FMA_YMM, TWELVE)
VECTOR_LOOP(run_fma_zmm, FMA_ZMM, TWELVE_MORE)
VECTOR_LOOP(run_bf16_zmm, BF16_ZMM, TWELVE_MORE)
VECTOR_LOOP(run_int8_zmm, INT8_ZMM, TWELVE_MORE)
VECTOR_LOOP(run_int8_ymm, INT8_YMM, TWELVE)

/* All eight tiles of 16 rows of 64 bytes, of zeros. */
static void open_tiles(void) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0\n\t"
                     "tilezero %%tmm0\n\ttilezero %%tmm1\n\t"
                     "tilezero %%tmm2\n\ttilezero %%tmm3\n\t"
                     "tilezero %%tmm4\n\ttilezero %%tmm5\n\t"
                     "tilezero %%tmm6\n\ttilezero %%tmm7"
                     :
                     : "m"(config));
}

/* Tiles 0 to 3 gather, 4 to 7 are read. Four chains are enough: a product
 * begins every 16 cycles and ends 52 after that (Intel's optimization manual).
 */
#define FOUR_TILES(I)                                                          \
    I " %%tmm6,%%tmm4,%%tmm0\n\t" I " %%tmm7,%%tmm4,%%tmm1\n\t" I              \
      " %%tmm6,%%tmm5,%%tmm2\n\t" I " %%tmm7,%%tmm5,%%tmm3\n\t"
#define TILE_LOOP(name, I)                                                     \
    static void name(uint64_t turns) {                                         \
        open_tiles();                                                          \
        __asm__ volatile(                                                      \
            "1:\n\t" FOUR_TILES(I) FOUR_TILES(I) FOUR_TILES(I) FOUR_TILES(I)   \
                FOUR_TILES(I) FOUR_TILES(I) "dec %0\n\tjnz 1b\n\ttilerelease"  \
            : "+r"(turns)                                                      \
            :                                                                  \
            : "cc");                                                           \
    }
TILE_LOOP(run_bf16_tiles, "tdpbf16ps")
TILE_LOOP(run_int8_tiles, "tdpbssd")

/* Products of bfloat16 are exact in float32, whose instruction has twice the
 * rate on Intel's cores that have both. */
static const peak_loop LOOPS[] = {
    {"avx512", CR_PEAK_FP32, 32, has_avx512, run_fma_zmm},
    {"avx2", CR_PEAK_FP32, 16, has_fma, run_fma_ymm},
    {"amx", CR_PEAK_BF16, 16384, has_amx_bf16, run_bf16_tiles},
    {"avx512_bf16", CR_PEAK_BF16, 64, has_avx512_bf16, run_bf16_zmm},
    {"avx512", CR_PEAK_BF16, 32, has_avx512_bf16, run_fma_zmm},
    {"amx", CR_PEAK_INT8, 32768, has_amx_int8, run_int8_tiles},
    {"avx512_vnni", CR_PEAK_INT8, 128, has_avx512_vnni, run_int8_zmm},
    {"avx_vnni", CR_PEAK_INT8, 64, has_avx_vnni, run_int8_ymm},
};

#elif defined(__aarch64__)

static bool always(void) { return true; }

/* Two registers are read; "wN" and "vN" are the same register to clobbers. */
#define FMLA(r) "fmla v" r ".4s,v14.4s,v15.4s\n\t"
static void run_fmla(uint64_t turns) {
    __asm__ volatile(
        "movi v14.4s,#0\n\tmovi v15.4s,#0\n"
        "1:\n\t" TWELVE(FMLA) TWELVE_MORE(FMLA) "subs %0,%0,#1\n\tb.ne 1b"
        : "+r"(turns)
        :
        : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
          "v10", "v11", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21",
          "v22", "v23", "v24", "v25", "v26", "v27");
}

static const peak_loop LOOPS[] = {
    {"neon", CR_PEAK_FP32, 8, always, run_fmla},
};

#else

static bool never(void) { return false; }
static void run_nothing(uint64_t turns) { (void)turns; }
static const peak_loop LOOPS[] = {{"", CR_PEAK_FP32, 0, never, run_nothing}};

#endif

const char *cr_peak_name(cr_peak_kind kind) {
    static const char *const NAMES[] = {"fp32", "bf16", "int8"};
    return NAMES[kind];
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Threads that begin together; the time is from the last one's beginning to
 * the last one's end. */
typedef struct peak_crowd {
    const peak_loop *loop;
    uint64_t turns;
    uint32_t n;
    _Atomic uint32_t n_here;
} peak_crowd;

static void *run_one(void *context) {
    peak_crowd *crowd = context;
    /* Wakes the core up, then waits for the others. */
    crowd->loop->run(crowd->turns / 8 + 1);
    atomic_fetch_add(&crowd->n_here, 1);
    while (atomic_load(&crowd->n_here) < crowd->n)
        ;
    crowd->loop->run(crowd->turns);
    return NULL;
}

/* Operations a second of n threads, 0 where they cannot be started. */
static double measure_once(const peak_loop *loop, uint64_t turns, uint32_t n) {
    peak_crowd crowd = {.loop = loop, .turns = turns, .n = n + 1};
    uint32_t started = 0;
    pthread_t *threads = cr_calloc(n, sizeof *threads);
    if (!threads)
        return 0;
    while (started < n &&
           pthread_create(&threads[started], NULL, run_one, &crowd) == 0)
        started++;
    while (atomic_load(&crowd.n_here) < started)
        ;
    double began = seconds_now();
    /* Lets all go; those that never started count as here. */
    atomic_fetch_add(&crowd.n_here, n + 1 - started);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    double seconds = seconds_now() - began;
    cr_free(threads);
    return started == n ? TURN_INSTRUCTIONS * loop->operations * (double)turns *
                              n / seconds
                        : 0;
}

/* The best of some rounds of about 50 ms: what disturbs makes it slower. */
static double measure(const peak_loop *loop, uint32_t n) {
    enum { N_ROUNDS = 7 };
    double best = 0, seconds = 0;
    uint64_t turns = 1024;
    do {
        turns *= 4;
        double began = seconds_now();
        loop->run(turns);
        seconds = seconds_now() - began;
    } while (seconds < 0.02);
    turns = (uint64_t)((double)turns * 0.05 / seconds) + 1;
    for (int i = 0; i < N_ROUNDS; i++) {
        double rate = measure_once(loop, turns, n);
        best = rate > best ? rate : best;
    }
    return best / 1e9;
}

cr_peak cr_peak_measure(cr_peak_kind kind, uint32_t n_threads) {
    const peak_loop *best = NULL;
    cr_peak peak = {0};
    for (size_t i = 0; i < sizeof LOOPS / sizeof LOOPS[0]; i++) {
        if (LOOPS[i].kind != kind || !LOOPS[i].there())
            continue;
        double rate = measure(&LOOPS[i], 1);
        if (!best || rate > peak.one_thread) {
            best = &LOOPS[i];
            peak.one_thread = rate;
        }
    }
    if (best) {
        peak.instruction = best->instruction;
        peak.all_threads = measure(best, n_threads);
    }
    return peak;
}
