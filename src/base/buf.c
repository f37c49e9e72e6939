/* A byte buffer that grows up to a stated maximum. */
#include "base/buf.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cr_buf_init(cr_buf *buf, size_t max) { *buf = (cr_buf){.max = max}; }

void cr_buf_fini(cr_buf *buf) {
    cr_free(buf->data);
    *buf = (cr_buf){.max = buf->max};
}

/* Makes room for `more` bytes and a NUL behind them. */
static cr_status reserve(cr_buf *buf, size_t more, cr_error *error) {
    if (more > buf->max - buf->len)
        return cr_fail(error, CR_ERR_INPUT,
                       "%zu bytes are over the limit of %zu bytes",
                       buf->len + more, buf->max);
    size_t need = buf->len + more + 1;
    if (need <= buf->capacity)
        return CR_OK;
    size_t capacity = buf->capacity ? buf->capacity : 256;
    while (capacity < need)
        capacity += capacity / 2;
    char *data = cr_realloc(buf->data, capacity);
    if (!data)
        return cr_fail_memory(error, capacity, "a buffer");
    buf->data = data;
    buf->capacity = capacity;
    return CR_OK;
}

cr_status cr_buf_append(cr_buf *buf, const void *bytes, size_t len,
                        cr_error *error) {
    cr_status status = reserve(buf, len, error);
    if (status != CR_OK)
        return status;
    if (len)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return CR_OK;
}

cr_status cr_buf_printf(cr_buf *buf, cr_error *error, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        return cr_fail(error, CR_ERR_INTERNAL, "a format failed");
    cr_status status = reserve(buf, (size_t)len, error);
    if (status != CR_OK)
        return status;
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
    return CR_OK;
}

cr_status cr_buf_read_file(cr_buf *buf, const char *path, cr_error *error) {
    cr_status status = CR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    char chunk[65536];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = cr_fail(error, CR_ERR_IO, "%s: cannot read: %s", path,
                             strerror(errno));
            break;
        }
        if (n == 0)
            break;
        if ((size_t)n > buf->max - buf->len) {
            status = cr_fail(error, CR_ERR_INPUT,
                             "%s: larger than the limit of %zu bytes", path,
                             buf->max);
            break;
        }
        status = cr_buf_append(buf, chunk, (size_t)n, error);
        if (status != CR_OK)
            break;
    }
    close(fd);
    return status;
}
