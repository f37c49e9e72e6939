/* Lingering: connections that were answered before all that the client had to
 * say was read.
 *
 * Closing such a connection at once makes the kernel send a reset, and a client
 * that sends first and reads then loses its answer. So a copy of the descriptor
 * comes here: nothing more is sent, what comes is read and thrown away until
 * the client closes or a limit is passed. The limits are of bytes, of time, of
 * silence and of connections, for which the oldest gives way to a newcomer:
 * what a flood gains is what it would have had before.
 *
 * Threads: any, but for cr_linger_free; a thread of its own does the reading.
 * Ownership: descriptors stay the caller's, the copies are ours. */
#ifndef CR_SERVER_LINGER_H
#define CR_SERVER_LINGER_H

#include "base/error.h"

#include <stdint.h>

enum {
    CR_MAX_LINGERING = 64,      /* connections */
    CR_LINGER_SILENCE_MS = 2000 /* between two bytes */
};

typedef struct cr_linger cr_linger;

/* CR_ERR_MEMORY where there is no memory, pipe or thread. `max_bytes` is what
 * one connection may still send, `max_ms` for how long. */
cr_status cr_linger_new(uint64_t max_bytes, uint32_t max_ms, cr_linger **linger,
                        cr_error *error);
/* `fd` is a connected stream socket. Without a descriptor for the copy nothing
 * happens, and closing `fd` closes the connection. */
void cr_linger_add(cr_linger *linger, int fd);
/* How many linger at this moment. */
uint32_t cr_linger_count(cr_linger *linger);
/* Waits until nobody lingers, `ms` at most; then all are closed. NULL is
 * fine. */
void cr_linger_free(cr_linger *linger, uint32_t ms);

#endif
