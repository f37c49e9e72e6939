/* A byte buffer that grows up to a stated maximum.
 *
 * Whatever outsiders can make long (a line, a file, a message) is gathered in
 * one of these, so that its limit stands where it is made. Not thread-safe. */
#ifndef CR_BASE_BUF_H
#define CR_BASE_BUF_H

#include "base/error.h"

typedef struct cr_buf {
    char *data; /* NUL behind len bytes; NULL while empty */
    size_t len;
    size_t capacity;
    size_t max; /* bytes */
} cr_buf;

void cr_buf_init(cr_buf *buf, size_t max);
void cr_buf_fini(cr_buf *buf);
/* Both: CR_ERR_MEMORY, or CR_ERR_INPUT where the maximum would be passed; the
 * buffer is then unchanged. */
cr_status cr_buf_append(cr_buf *buf, const void *bytes, size_t len,
                        cr_error *error);
cr_status cr_buf_printf(cr_buf *buf, cr_error *error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads the whole file at `path` with read(2): a file that shrinks meanwhile
 * is an error, never a signal. The caller frees buf. CR_ERR_IO names the path
 * and the system's reason, CR_ERR_INPUT the size and the limit. */
cr_status cr_buf_read_file(cr_buf *buf, const char *path, cr_error *error);

#endif
