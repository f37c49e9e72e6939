/* Feed: a file's records, read and parsed by a thread of its own.
 *
 * Records come in windows of bounded size, so that a file of any length takes
 * bounded memory, and one window is read while the one before is scored. A
 * window is handed over when it is full, when the input ends, or when the
 * input has nothing more to read just now: a slow pipe is answered at once. A
 * record that cannot be read is an item with a message, in its place.
 *
 * Threads: one consumer. Ownership: a window is the consumer's until its next
 * call. SIGINT ends the input early. */
#ifndef CR_CLI_FEED_H
#define CR_CLI_FEED_H

#include "base/buf.h"
#include "lab/records.h"

/* A window's limits; a single record may pass the second. At 8,192 pairs the
 * end of a window costs less than 1 % on 64 lanes, and 16 MB stay bounded. */
enum { CR_WINDOW_ITEMS = 8192, CR_WINDOW_BYTES = 8 << 20 };

typedef struct cr_feed_item {
    size_t query, query_len;     /* in the window's text; equal queries that */
    size_t passage, passage_len; /* follow each other share their bytes */
    uint64_t line;
    uint64_t end; /* bytes of the input up to this record's end */
    bool bad;     /* the passage is the message "FILE:LINE: ..." */
} cr_feed_item;

typedef struct cr_window {
    cr_feed_item *items; /* [CR_WINDOW_ITEMS] */
    size_t n;
    cr_buf text;
    cr_record_format format; /* of the file; CR_FORMAT_AUTO: not yet known */
} cr_window;

typedef struct cr_feed cr_feed;

/* Starts to read `path`, "-" for standard input. CR_ERR_IO, CR_ERR_MEMORY. */
cr_status cr_feed_open(const char *path, cr_record_kind kind,
                       cr_record_format format, cr_feed **feed,
                       cr_error *error);
/* The next window; of 0 items at the end. An error of reading comes after
 * everything that could be read. */
cr_status cr_feed_next(cr_feed *feed, const cr_window **window,
                       cr_error *error);
/* Stops the thread wherever it is. NULL is allowed. */
void cr_feed_close(cr_feed *feed);

/* Bytes of the whole input, 0 where unknown. */
uint64_t cr_feed_bytes(const cr_feed *feed);

cr_pair cr_window_pair(const cr_window *window, size_t i);

#endif
