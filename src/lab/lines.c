/* Lines: a sliding buffer over read(2). Bytes are moved only when the room
 * behind them runs out, and each byte is searched for its LF once. */
#include "lab/lines.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes asked for at once: a few milliseconds of work, few system calls. */
enum { READ_BYTES = 256 << 10 };

void cr_lines_init(cr_lines *lines, const char *name) {
    *lines = (cr_lines){.fd = -1, .name = name};
}

cr_status cr_lines_open(cr_lines *lines, const char *path, cr_error *error) {
    struct stat info;
    bool is_stdin = strcmp(path, "-") == 0;
    cr_lines_init(lines, is_stdin ? "<stdin>" : path);
    lines->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    lines->owns_fd = !is_stdin;
    if (lines->fd < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (fstat(lines->fd, &info) != 0)
        return CR_OK; /* reading will say what is wrong */
    if (S_ISDIR(info.st_mode)) {
        cr_lines_close(lines);
        return cr_fail(error, CR_ERR_IO, "%s: is a folder, not a file", path);
    }
    if (S_ISREG(info.st_mode))
        lines->size = (uint64_t)info.st_size;
    return CR_OK;
}

void cr_lines_close(cr_lines *lines) {
    if (lines->owns_fd && lines->fd >= 0)
        close(lines->fd);
    lines->fd = -1;
    cr_free(lines->data);
    lines->data = NULL;
    lines->begin = lines->end = lines->capacity = lines->scanned = 0;
}

/* Room for `more` bytes behind end. What waits is at most one line, so the
 * buffer stays below the limit of a line and two reads. */
static cr_status make_room(cr_lines *lines, size_t more, cr_error *error) {
    size_t waiting = lines->end - lines->begin;
    if (lines->capacity - lines->end >= more)
        return CR_OK;
    if (lines->begin >= waiting && lines->capacity - waiting >= more) {
        if (waiting)
            memcpy(lines->data, lines->data + lines->begin, waiting);
    } else {
        size_t capacity = waiting + waiting / 2 + more;
        char *data = cr_alloc(capacity);
        if (!data)
            return cr_fail_memory(error, capacity, "lines of a file");
        if (waiting)
            memcpy(data, lines->data + lines->begin, waiting);
        cr_free(lines->data);
        lines->data = data;
        lines->capacity = capacity;
    }
    lines->begin = 0;
    lines->end = waiting;
    return CR_OK;
}

cr_status cr_lines_fill(cr_lines *lines, cr_error *error) {
    cr_status status = make_room(lines, READ_BYTES, error);
    if (status != CR_OK)
        return status;
    ssize_t n;
    do
        n = read(lines->fd, lines->data + lines->end, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot read: %s", lines->name,
                       strerror(errno));
    lines->end += (size_t)n;
    lines->ended = n == 0;
    return CR_OK;
}

cr_status cr_lines_feed(cr_lines *lines, const char *bytes, size_t len,
                        cr_error *error) {
    cr_status status = make_room(lines, len, error);
    if (status != CR_OK)
        return status;
    if (len)
        memcpy(lines->data + lines->end, bytes, len);
    lines->end += len;
    lines->ended = len == 0;
    return CR_OK;
}

/* Drops `bytes` from the front; they count as read. */
static void drop(cr_lines *lines, size_t bytes) {
    lines->begin += bytes;
    lines->offset += bytes;
    lines->scanned = 0;
}

static cr_text without_end(const cr_lines *lines, const char *begin,
                           size_t len) {
    static const char MARK[] = {'\xef', '\xbb', '\xbf'};
    if (lines->line == 1 && len >= sizeof MARK &&
        memcmp(begin, MARK, sizeof MARK) == 0) {
        begin += sizeof MARK;
        len -= sizeof MARK;
    }
    if (len && begin[len - 1] == '\r')
        len--;
    return (cr_text){begin, len};
}

/* Called where no LF is in sight: is this the end, or too long, or neither? */
static cr_line_state take_unended(cr_lines *lines, cr_text *line) {
    size_t len = lines->end - lines->begin;
    const char *begin = len ? lines->data + lines->begin : "";
    /* One byte more than the limit may be the CR of a CRLF. */
    if (len > (size_t)CR_MAX_LINE_BYTES + 1 || lines->skipping) {
        bool first = !lines->skipping;
        drop(lines, len);
        lines->skipping = !lines->ended;
        lines->line += first;
        if (first)
            return CR_LINE_LONG;
        return lines->ended ? CR_LINE_END : CR_LINE_MORE;
    }
    lines->scanned = len;
    if (!lines->ended)
        return CR_LINE_MORE;
    if (len == 0)
        return CR_LINE_END;
    lines->line++;
    drop(lines, len);
    *line = without_end(lines, begin, len);
    return line->len > CR_MAX_LINE_BYTES ? CR_LINE_LONG : CR_LINE_READY;
}

cr_line_state cr_lines_take(cr_lines *lines, cr_text *line) {
    for (;;) {
        size_t len = lines->end - lines->begin;
        if (len == lines->scanned)
            return take_unended(lines, line);
        const char *begin = lines->data + lines->begin;
        const char *lf =
            memchr(begin + lines->scanned, '\n', len - lines->scanned);
        if (!lf)
            return take_unended(lines, line);
        drop(lines, (size_t)(lf - begin) + 1);
        if (lines->skipping) {
            lines->skipping = false;
            continue;
        }
        lines->line++;
        *line = without_end(lines, begin, (size_t)(lf - begin));
        return line->len > CR_MAX_LINE_BYTES ? CR_LINE_LONG : CR_LINE_READY;
    }
}

cr_status cr_lines_each(const char *path, cr_line_visit *visit, void *context,
                        cr_error *error) {
    cr_lines lines;
    cr_text line;
    bool end = false;
    cr_status status = cr_lines_open(&lines, path, error);
    if (status != CR_OK)
        return status;
    while (status == CR_OK && !end) {
        switch (cr_lines_take(&lines, &line)) {
        case CR_LINE_READY:
            status = visit(&lines, line, context, error);
            break;
        case CR_LINE_LONG:
            status = cr_lines_fail_long(&lines, error);
            break;
        case CR_LINE_END:
            end = true;
            break;
        case CR_LINE_MORE:
            status = cr_lines_fill(&lines, error);
            break;
        }
    }
    cr_lines_close(&lines);
    return status;
}

cr_status cr_lines_fail(const cr_lines *lines, cr_error *error,
                        const char *format, ...) {
    char text[CR_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return cr_fail_at(error, CR_ERR_INPUT, lines->line, 0, "%s:%llu: %s",
                      lines->name, (unsigned long long)lines->line, text);
}

cr_status cr_lines_fail_long(const cr_lines *lines, cr_error *error) {
    return cr_lines_fail(lines, error,
                         "a line is longer than the limit of %d MiB: cut the "
                         "text, of which a model reads a few KB at most",
                         CR_MAX_LINE_BYTES >> 20);
}
