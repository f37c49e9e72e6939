/* AMX on a processor without it: the kernels' own object code, its tile
 * instructions trapped.
 *
 * Such an instruction raises SIGILL; the handler reads it, does by
 * emulated_amx.h what it says and goes on behind it. Unlike the emulated build
 * this runs the encodings that were compiled: which register is which operand,
 * which address, which step. Linux on x86-64; one thread at a time. */
#ifndef CR_TRAPPED_AMX_H
#define CR_TRAPPED_AMX_H

#include <stddef.h>

/* From here on SIGILL is ours; any other bad instruction still ends the
 * program. */
void trap_tiles(void);

/* Gives SIGILL back. How many instructions were trapped: 0 where the processor
 * has them. */
size_t untrap_tiles(void);

#endif
