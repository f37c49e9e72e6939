/* Logger: lines to a descriptor, written by a thread of their own.
 *
 * A pipe that is not drained stops whoever writes to it; here lines wait in
 * memory instead, a megabyte of them, and what does not fit is lost and
 * counted. A line says so as soon as there is room.
 *
 * Threads: cr_logger_put from any, the others from one. */
#ifndef CR_CLI_LOGGER_H
#define CR_CLI_LOGGER_H

#include "base/error.h"

typedef struct cr_logger cr_logger;

/* The descriptor stays the caller's, and open until the end of the program. */
cr_status cr_logger_open(int fd, cr_logger **logger, cr_error *error);

/* Of a line; what is longer is cut. */
enum { CR_LOG_LINE_BYTES = 2000 };

/* Queues "crossrank: LINE" with an end. Never waits. False: it is lost, there
 * is no room. `logger` is a cr_logger. */
bool cr_logger_put(void *logger, const char *line, size_t len);

/* Waits for what is queued, `ms` at most; then a thread that still waits for
 * its reader is left behind, with its memory. NULL is fine. */
void cr_logger_close(cr_logger *logger, uint32_t ms);

#endif
