/* How busy a GPU is, as far as the system tells.
 *
 * Linux: NVIDIA's management library (NVML), loaded when it is asked for, so
 * that nothing is linked with it. macOS: what IOKit says of the accelerator.
 * Elsewhere, and where the library or a GPU is not there, nothing is watched.
 * It is the use of the whole GPU, by whomever; the first one is watched.
 *
 * Untested with a GPU: NVML's calls were run against a library of the tests
 * alone, the part for macOS was never compiled.
 *
 * Threads: open and close, one; read, any. */
#ifndef CR_SERVER_GPU_H
#define CR_SERVER_GPU_H

#include <stdbool.h>

typedef struct cr_gpu cr_gpu;

/* NULL: none can be watched. `library` is NVML's file, NULL for the system's
 * own; it means nothing on macOS. */
cr_gpu *cr_gpu_open(const char *library);
void cr_gpu_close(cr_gpu *gpu); /* NULL: nothing */

/* "nvml" or "iokit". */
const char *cr_gpu_source(const cr_gpu *gpu);

/* 0 to 100; false: it is not known now. */
bool cr_gpu_read(const cr_gpu *gpu, double *percent);

#endif
