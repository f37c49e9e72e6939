/* What every fuzz target shares: libFuzzer's entry, and a path for bytes.
 *
 * A target checks what must hold for any input by assert; crashes, leaks and
 * undefined behaviour are the sanitizers' to find. */
#ifndef CR_TESTS_FUZZ_H
#define CR_TESTS_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crossrank.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory that holds the bytes, for readers that take a path. */
typedef struct fuzz_file {
    int fd;
    char path[32];
} fuzz_file;

static inline void fuzz_file_open(fuzz_file *file, const void *data,
                                  size_t size) {
    file->fd = memfd_create("fuzz", MFD_CLOEXEC);
    assert(file->fd >= 0);
    ssize_t n = write(file->fd, data, size);
    assert(n == (ssize_t)size);
    snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
}

static inline void fuzz_file_close(fuzz_file *file) { close(file->fd); }

/* Several texts in one input, parted by NUL: the next one, up to the end. Its
 * data is NULL where the input has no more. */
static inline cr_text fuzz_next_text(const uint8_t **data, size_t *size) {
    if (!*data)
        return (cr_text){0};
    const uint8_t *begin = *data, *end = memchr(begin, 0, *size);
    cr_text text = {(const char *)begin, end ? (size_t)(end - begin) : *size};
    *size -= end ? text.len + 1 : text.len;
    *data = end ? end + 1 : NULL;
    return text;
}

#endif
