/* Lines of a file or of standard input, each at most 32 MiB.
 *
 * Bytes go in, lines come out; the caller decides when to read, so that it can
 * wait for several things at once, and a parser can be tested without a file.
 * A line ends with LF or CRLF, which are not part of it; the last one may lack
 * its end. A byte order mark before the first line is dropped. A line over the
 * limit is an error of that line alone: the next one follows.
 *
 * Threads: one at a time. Ownership: a line lives until the next call. */
#ifndef CR_LAB_LINES_H
#define CR_LAB_LINES_H

#include "base/error.h"

/* The longest line that is accepted, its end not counted. */
enum { CR_MAX_LINE_BYTES = 32 << 20 };

typedef struct cr_lines {
    int fd;           /* -1: bytes come by cr_lines_feed only */
    bool owns_fd;     /* closed by cr_lines_close */
    bool ended;       /* no more bytes will come */
    bool skipping;    /* inside the rest of a line over the limit */
    const char *name; /* for messages, the caller's */
    uint64_t line;    /* number of the line that was taken last, from 1 */
    uint64_t offset;  /* bytes of all lines taken so far, with their ends */
    uint64_t size;    /* of the file in bytes, 0 where unknown */
    char *data;       /* [capacity]; begin..end hold bytes not yet taken */
    size_t begin, end, capacity;
    size_t scanned; /* bytes from begin that are known to hold no LF */
} cr_lines;

/* Opens `path`; "-" is standard input, which is not closed. CR_ERR_IO. */
cr_status cr_lines_open(cr_lines *lines, const char *path, cr_error *error);
/* For bytes from elsewhere. */
void cr_lines_init(cr_lines *lines, const char *name);
void cr_lines_close(cr_lines *lines);

typedef enum cr_line_state {
    CR_LINE_READY, /* *line is the next line */
    CR_LINE_MORE,  /* more bytes are needed: cr_lines_fill */
    CR_LINE_LONG,  /* this line is over the limit and was dropped */
    CR_LINE_END    /* there are no more lines */
} cr_line_state;

/* Takes the next line out of what was read. */
cr_line_state cr_lines_take(cr_lines *lines, cr_text *line);

/* One read(2), which may block. CR_ERR_IO, CR_ERR_MEMORY. */
cr_status cr_lines_fill(cr_lines *lines, cr_error *error);
/* Adds bytes by hand; len 0 says that the last byte was seen. */
cr_status cr_lines_feed(cr_lines *lines, const char *bytes, size_t len,
                        cr_error *error);

/* The simple loop, for who need not wait for anything else: `visit` has every
 * line of a file, in order and empty ones too, until one fails. CR_ERR_INPUT
 * with FILE:LINE for a line over the limit. */
typedef cr_status cr_line_visit(const cr_lines *lines, cr_text line,
                                void *context, cr_error *error);
cr_status cr_lines_each(const char *path, cr_line_visit *visit, void *context,
                        cr_error *error);

/* CR_ERR_INPUT "FILE:LINE: ..." for the line that was taken last. */
cr_status cr_lines_fail(const cr_lines *lines, cr_error *error,
                        const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The message for CR_LINE_LONG. */
cr_status cr_lines_fail_long(const cr_lines *lines, cr_error *error);

#endif
