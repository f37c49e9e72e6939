/* Child: a server of our own, for the time of a measurement.
 *
 * `crossrank serve` on a free port, in a process group of its own so that
 * Ctrl-C reaches only us; it ends with us, however we end, where the system
 * can arrange that (Linux). Its messages go to a file.
 *
 * Threads: one. */
#ifndef CR_LAB_CHILD_H
#define CR_LAB_CHILD_H

#include "base/error.h"

#include <sys/types.h>

enum { CR_CHILD_URL_BYTES = 128, CR_CHILD_READY_S = 120, CR_CHILD_STOP_S = 60 };

typedef struct cr_child {
    pid_t pid; /* 0: none */
    char url[CR_CHILD_URL_BYTES];
    char grpc_url[CR_CHILD_URL_BYTES]; /* http://HOST:PORT, or "" */
    char log[4096];
} cr_child;

/* Runs `program` with arguments[n] behind "serve --port 0" and waits until it
 * says that it is ready. CR_ERR_UNAVAILABLE, CR_ERR_ARGUMENT, CR_ERR_INPUT by
 * its exit code, with its last message; CR_ERR_IO; CR_ERR_DEADLINE. */
cr_status cr_child_start(cr_child *child, const char *program,
                         const char *const *arguments, size_t n,
                         const char *log, cr_error *error);
/* SIGTERM and a wait for its end, then SIGKILL. CR_ERR_IO where it ended
 * otherwise than with 0. */
cr_status cr_child_stop(cr_child *child, cr_error *error);

#endif
