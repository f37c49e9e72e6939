/* Output: standard output or a file, where every failure is noticed.
 *
 * A buffer before write(2). After the first failure nothing more is written
 * and every flush returns it, so that callers need to look once. Also writes
 * JSON strings. Threads: one. Ownership: the descriptor is the caller's. */
#ifndef CR_CLI_OUT_H
#define CR_CLI_OUT_H

#include "base/error.h"

enum { CR_OUT_BYTES = 64 << 10 };

typedef struct cr_out {
    int fd;
    const char *name; /* for messages */
    int failure;      /* errno of the first failure, 0: none */
    size_t n;
    char buf[CR_OUT_BYTES];
} cr_out;

void cr_out_init(cr_out *out, int fd, const char *name);
void cr_out_write(cr_out *out, const char *bytes, size_t len);
void cr_out_text(cr_out *out, const char *text);
/* At most 511 bytes a call; for numbers and short words. */
void cr_out_printf(cr_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* CR_ERR_IO names the output and the system's reason. */
cr_status cr_out_flush(cr_out *out, cr_error *error);

/* A JSON string in quotes. Bytes that are not UTF-8 become U+FFFD, so that
 * the output is valid whatever came in. */
void cr_out_json(cr_out *out, cr_text text);
/* The text on one line of columns: tabs and other control characters become
 * blanks. */
void cr_out_column(cr_out *out, cr_text text);

#endif
