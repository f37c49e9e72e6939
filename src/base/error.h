/* Errors: how a fallible function says what went wrong.
 *
 * A function returns a cr_status and fills an optional cr_error. Messages name
 * the value, the limit and the fix, on one line. Nothing here prints. */
#ifndef CR_BASE_ERROR_H
#define CR_BASE_ERROR_H

#include "crossrank.h"

/* One row a status: name, text, exit code of the program. Every table about
 * statuses is made from this list; what the server answers stands in
 * server/refusal.h. */
#define CR_STATUS_LIST(X)                                                      \
    X(CR_OK, "done", 0)                                                        \
    X(CR_ERR_ARGUMENT, "an argument is out of its limits", 2)                  \
    X(CR_ERR_INPUT, "the input is not acceptable", 3)                          \
    X(CR_ERR_MODEL, "the model files are missing or faulty", 3)                \
    X(CR_ERR_UNSUPPORTED, "the model is of a kind not supported", 3)           \
    X(CR_ERR_UNAVAILABLE, "backend, device, dtype or ISA is not available", 4) \
    X(CR_ERR_MEMORY, "memory ran out", 3)                                      \
    X(CR_ERR_IO, "reading or writing failed", 3)                               \
    X(CR_ERR_OVERLOADED, "the queue is full", 1)                               \
    X(CR_ERR_DEADLINE, "the deadline passed", 1)                               \
    X(CR_ERR_CANCELLED, "the caller gave up", 1)                               \
    X(CR_ERR_INTERNAL, "a fault of this program", 1)

/* Exit codes of the program for a status, as the contract pins them. */
int cr_status_exit_code(cr_status status);

/* Writes status and message into *error (which may be NULL) and returns
 * status, so that a caller can `return cr_fail(error, ...)`. Positions are
 * cleared. Control characters in the message become '?', so that it stays on
 * one line and harmless on a terminal. */
cr_status cr_fail(cr_error *error, cr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with a position in a file, both from 1, 0 where unknown. */
cr_status cr_fail_at(cr_error *error, cr_status status, uint64_t line,
                     uint64_t column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* A value that breaks a rule is a faulty input where it stood in an input file,
 * such as an experiment (a setting of the server is an argument, wherever it
 * stands): CR_ERR_ARGUMENT becomes CR_ERR_INPUT, in *error (which may be NULL)
 * too; another status is returned as it is. */
cr_status cr_fail_as_input(cr_status status, cr_error *error);

/* CR_ERR_MEMORY where the system gives no thread, with what to raise. */
cr_status cr_fail_thread(cr_error *error);

/* CR_ERR_MEMORY with a message that says how many bytes for what. */
cr_status cr_fail_memory(cr_error *error, size_t bytes, const char *what);

#endif
