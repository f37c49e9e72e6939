/* HTTP/2 for unary calls: connections, streams and their limits; nothing about
 * reranking.
 *
 * nghttp2 speaks, libuv reads and writes, on one thread. A stream is one call:
 * a request of one message, and its answer. A small message is received on
 * that thread, a large one on an ingest thread, so that nobody waits behind
 * its parsing. A connection is written one piece at a time, so a reader that
 * is slow holds what it asked for and nothing more.
 *
 * Threads: `begin`, `finish` and `end` run on the loop's thread, `receive`
 * there or on the ingest thread; one at a time for one stream.
 * Ownership: streams belong to this module. */
#ifndef CR_SERVER_GRPC_H2_H
#define CR_SERVER_GRPC_H2_H

#include "metrics/metrics.h"
#include "server/grpc/status.h"
#include "server/settings.h"

typedef struct cr_h2 cr_h2;
typedef struct cr_h2_stream cr_h2_stream;
struct cr_h2_conn;

enum {
    CR_H2_MAX_STREAMS = 1024, /* of a connection, at a time */
    CR_H2_MAX_HEADER_BYTES = 32768,
    /* What costs its sender nothing: so many at once, so many a second. */
    CR_H2_RESET_BURST = 10000,
    CR_H2_RESETS_PER_SECOND = 1000,
    CR_H2_PING_BURST = 20000,
    CR_H2_PINGS_PER_SECOND = 10000
};

/* The request headers that are kept. */
typedef enum cr_h2_header {
    CR_H2_AUTHORIZATION,
    CR_H2_X_API_KEY,
    CR_H2_GRPC_TIMEOUT,
    CR_H2_GRPC_ENCODING,
    CR_H2_X_REQUEST_ID,
    CR_H2_CONTENT_TYPE,
    CR_H2_N_HEADERS
} cr_h2_header;

struct cr_h2_stream {
    cr_h2 *h2;
    uint64_t connection_id; /* from 1 */
    char method[8];
    char path[128];                 /* cut, where longer: then it is no route */
    char *headers[CR_H2_N_HEADERS]; /* NULL: not there */
    cr_buf message;                 /* without its prefix */
    int64_t begun_ns;
    int64_t received_ns; /* the last byte; 0: not yet */
    _Atomic bool gone;   /* nobody is there to read the answer */
    /* The answer. */
    bool answered;
    cr_grpc_code code;
    char reason[CR_GRPC_MESSAGE_BYTES]; /* encoded */
    char request_id[80];                /* of the answer's headers, or "" */
    unsigned pushback_ms;               /* when to try again; 0: not said */
    uint8_t *out;                       /* [out_bytes] prefix and message */
    size_t out_bytes;
    void *state; /* the application's */

    /* This module's own. */
    struct cr_h2_conn *conn; /* NULL: off the wire */
    int32_t id;
    uint32_t announced_bytes; /* of the message */
    size_t n_prefix;
    uint8_t prefix[CR_GRPC_PREFIX_BYTES];
    size_t held_bytes, header_bytes, n_sent;
    int64_t moved_ns; /* when the answer was last read from */
    bool accepted, busy, ended, responded;
    int http_status; /* of an answer that is no gRPC; 0: it is */
    struct cr_h2_stream *before, *behind; /* of its connection */
    struct cr_h2_stream *next;            /* in a queue */
};

typedef struct cr_h2_app {
    void *context;
    /* The headers are there. May answer at once. */
    void (*begin)(void *context, cr_h2_stream *stream);
    /* All of the message is there. True: cr_h2_resume is called once, on
     * whatever thread, and `finish` follows. False: answered. */
    bool (*receive)(void *context, cr_h2_stream *stream);
    /* Answers. */
    void (*finish)(void *context, cr_h2_stream *stream);
    /* It is over, answered or broken off. */
    void (*end)(void *context, cr_h2_stream *stream);
    /* Broken, too large or too slow: answers. */
    void (*refuse)(void *context, cr_h2_stream *stream, cr_refusal_kind kind,
                   const char *message);
    /* Bytes of messages, held and let go; false: too many. */
    bool (*hold)(void *context, size_t bytes);
    void (*let_go)(void *context, size_t bytes);
} cr_h2_app;

/* Listens and starts. CR_ERR_IO names the address and the reason. */
cr_status cr_h2_open(const cr_settings *settings, uint32_t port,
                     const cr_h2_app *app, cr_metrics *metrics, cr_h2 **h2,
                     cr_error *error);
/* "127.0.0.1:50051" */
const char *cr_h2_address(const cr_h2 *h2);
/* No new connections; every client is told that those there are end, and they
 * end with the last call that was on its way by then. */
void cr_h2_quiesce(cr_h2 *h2);
/* Calls whose message was received and whose answer is not yet written. */
uint32_t cr_h2_n_accepted(const cr_h2 *h2);
uint32_t cr_h2_n_connections(const cr_h2 *h2);
/* Breaks off what is there, without waiting for answers to be read; returns
 * when all jobs that are out have come back. */
void cr_h2_close(cr_h2 *h2);

/* What `receive` waited for is there. From any thread. */
void cr_h2_resume(cr_h2_stream *stream);

#endif
