/* Peak: what this machine's arithmetic units could do at best.
 *
 * Independent multiply-adds on registers, no memory: the denominator of every
 * "share of peak". It asks the processor itself what it has and does not look
 * at the kernels. Threads: starts its own for the measurement of many. */
#ifndef CR_LAB_PEAK_H
#define CR_LAB_PEAK_H

#include <stdint.h>

typedef enum cr_peak_kind {
    CR_PEAK_FP32,
    CR_PEAK_BF16,
    CR_PEAK_INT8,
    CR_N_PEAKS
} cr_peak_kind;

/* In 10^9 operations a second; a multiply-add is two. */
typedef struct cr_peak {
    const char *instruction; /* the fastest there is, NULL: there is none */
    double one_thread;
    double all_threads;
} cr_peak;

/* "fp32", "bf16", "int8". */
const char *cr_peak_name(cr_peak_kind kind);

/* Takes half a second for each instruction that the kind can use here, and half
 * a second for the fastest on n_threads of 1..1024. */
cr_peak cr_peak_measure(cr_peak_kind kind, uint32_t n_threads);

#endif
