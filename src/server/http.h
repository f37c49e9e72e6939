/* HTTP/1.1: connections, bodies and their limits; nothing about reranking.
 *
 * libmicrohttpd in poll mode (its epoll loop stalls at 128 ready descriptors)
 * behind an interface that knows exchanges: one request and its answer. A
 * small body is received on the thread that reads it, a large one on an ingest
 * thread, so that nobody waits behind its parsing, and errands like a reload on
 * one of their own. While an exchange waits for
 * its scores its connection is suspended and costs nothing.
 *
 * Threads: `begin`, `finish` and `end` run on HTTP threads, `receive` and
 * `start` there, on the ingest thread or on that of errands; one at a time for
 * one exchange. Ownership: exchanges belong to this module. */
#ifndef CR_SERVER_HTTP_H
#define CR_SERVER_HTTP_H

#include "metrics/metrics.h"
#include "server/json_out.h"
#include "server/settings.h"

typedef struct cr_http cr_http;
typedef struct cr_exchange cr_exchange;
struct MHD_Connection;

enum {
    CR_MAX_HEADERS = 20,
    CR_HEADER_VALUE_BYTES = 256,
    CR_MAX_STREAMS = 16,      /* of events, at a time */
    CR_MIN_READ_RATE = 65536, /* bytes a second at which an answer is read, at
                                 least, beside receive_timeout_ms */
    CR_MAX_HEAD_BYTES = 32768 /* of a request's line and headers */
};

struct cr_exchange {
    cr_http *http;
    struct MHD_Connection *connection;
    int fd;
    uint64_t connection_id;
    char method[8];
    char path[128]; /* cut, where longer: then it is no route */
    cr_buf body;
    size_t held_bytes; /* of max_pending_bytes */
    int64_t begun_ns;
    int64_t received_ns; /* the last byte; 0: not yet */
    bool accepted;       /* counted as in flight */
    bool suspended;
    bool early; /* answered before its body was read */
    bool slow;  /* set in begin: receive is an errand */
    /* The answer. status 0: none yet. */
    int status;
    const char *type; /* of the content, static */
    cr_json_out out;
    const char *constant; /* instead of out: static bytes */
    size_t constant_bytes;
    struct cr_stream *stream; /* instead of out: events */
    size_t out_bytes;
    struct {
        const char *name; /* static */
        char value[CR_HEADER_VALUE_BYTES];
    } headers[CR_MAX_HEADERS];
    size_t n_headers;
    bool close;          /* the connection, after the answer */
    void *state;         /* the application's */
    cr_exchange *behind; /* in a worker's queue */
};

typedef struct cr_http_app {
    void *context;
    /* The head is there. May answer at once, by setting status. */
    void (*begin)(void *context, cr_exchange *exchange);
    /* All of the body is there. True: `start` follows; false: answered. */
    bool (*receive)(void *context, cr_exchange *exchange);
    /* The connection is suspended; cr_http_resume must be called once. */
    void (*start)(void *context, cr_exchange *exchange);
    /* After that: sets the answer. */
    void (*finish)(void *context, cr_exchange *exchange);
    /* It is over, answered or broken off (status 0). */
    void (*end)(void *context, cr_exchange *exchange);
    /* Too large, broken or too much at a time: sets the answer. */
    void (*refuse)(void *context, cr_exchange *exchange, int status,
                   const char *message);
} cr_http_app;

/* Listens and starts. CR_ERR_IO names the address and the reason. */
cr_status cr_http_open(const cr_settings *settings, const cr_http_app *app,
                       cr_metrics *metrics, cr_http **http, cr_error *error);
/* "http://127.0.0.1:8080", or "unix:/path". */
const char *cr_http_address(const cr_http *http);
/* Takes no new connections; answers close the ones there are. */
void cr_http_quiesce(cr_http *http);
/* Accepted exchanges that are not over. */
uint32_t cr_http_n_accepted(const cr_http *http);
/* Closes connections that take too long to send or to read. To be called a few
 * times a second. */
void cr_http_sweep(cr_http *http);
/* Connections that were answered early and are read to their end. */
uint32_t cr_http_n_lingering(const cr_http *http);
/* Idle connections that give way at a time, where all are taken. */
uint32_t cr_http_evictions(const cr_settings *settings);
/* How much a connection that was answered early may still send. */
uint32_t cr_http_linger_bytes(const cr_settings *settings);
/* Bytes that another front end holds count against max_pending_bytes too;
 * false: it is passed, and they are counted all the same. From any thread. */
bool cr_http_hold(cr_http *http, size_t bytes);
void cr_http_let_go(cr_http *http, size_t bytes);
/* Who has not read its answer a second after it was made is cut off, from now
 * on. */
void cr_http_give_up(cr_http *http);
/* Accepts nothing any more and waits for what was accepted, so who scores it
 * must still be there. */
void cr_http_close(cr_http *http);

/* Makes the answer a stream of what cr_http_publish is given from then on. It
 * is not counted as in flight, costs no thread and ends on quiescing. False:
 * there are too many, or no memory. */
bool cr_http_stream(cr_exchange *exchange);
bool cr_http_has_streams(const cr_http *http);
void cr_http_publish(cr_http *http, const char *event, size_t len);

void cr_http_resume(cr_exchange *exchange);
/* Whether the client has closed its side. */
bool cr_http_is_gone(const cr_exchange *exchange);
/* NULL where it is not there. */
const char *cr_exchange_header(const cr_exchange *exchange, const char *name);
/* A value of the query part of the URL; NULL where it is not there. */
const char *cr_exchange_argument(const cr_exchange *exchange, const char *name);
/* Adds a header to the answer; a value that is too long is left out. */
void cr_exchange_add_header(cr_exchange *exchange, const char *name,
                            const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
