/* What the two files of the HTTP/2 transport share: h2.c has threads, sockets
 * and time, conn.c what nghttp2 says and hears on one connection. */
#ifndef CR_SERVER_GRPC_CONN_H
#define CR_SERVER_GRPC_CONN_H

#include "server/grpc/h2.h"

#include <nghttp2/nghttp2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

enum {
    CR_H2_READ_BYTES = 262144,
    CR_H2_WRITE_BYTES = 65536, /* of a piece; the last frame may go beyond */
    CR_H2_FRAME_BYTES = 16384 + 64
};

/* How far a connection is on its way out. */
typedef enum cr_h2_phase {
    CR_H2_OPEN,
    CR_H2_NOTICED,  /* told that it will end */
    CR_H2_ENDING,   /* told which stream is the last */
    CR_H2_LINGERING /* all is said: waits for the other side to close */
} cr_h2_phase;

/* So many at once, so many a second. */
typedef struct cr_h2_bucket {
    double level;
    int64_t since_ns;
} cr_h2_bucket;

typedef struct cr_h2_conn {
    cr_h2 *h2;
    uv_tcp_t socket;
    uv_write_t write;
    uv_shutdown_t shutdown;
    nghttp2_session *session;
    uint64_t id;
    cr_h2_phase phase;
    int64_t since_ns; /* of the phase, or without a stream */
    int64_t write_began_ns;
    bool writing, closed, broken;
    cr_h2_stream *streams;
    cr_h2_bucket resets, pings;
    struct cr_h2_conn *before, *behind;
    char out[CR_H2_WRITE_BYTES + CR_H2_FRAME_BYTES];
} cr_h2_conn;

struct cr_h2 {
    const cr_settings *settings;
    cr_h2_app app;
    cr_metrics *metrics;
    char address[320];
    uv_loop_t loop;
    uv_tcp_t listener;
    uv_async_t wake;
    uv_timer_t timer;
    pthread_t thread;
    bool started, quiet;
    bool turned_away; /* somebody, of late, as all connections are taken */
    bool owes_accept; /* there was no memory for a connection */
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    cr_h2_conn *conns;
    uint64_t n_conns_ever;
    _Atomic uint32_t n_connections, n_accepted;
    _Atomic bool quiet_wanted, stop_wanted;
    pthread_mutex_t lock; /* of the queues */
    pthread_cond_t ingest_wake;
    pthread_t ingest_thread;
    bool ingest_started, ingest_stop;
    cr_h2_stream *done;
    cr_h2_stream *ingest_first, *ingest_last;
    char in[CR_H2_READ_BYTES];
};

/* conn.c, all on the loop's thread. */
cr_status cr_h2_conn_prepare(cr_h2 *h2, cr_error *error);
/* A session for conn; false: no memory. */
bool cr_h2_conn_begin(cr_h2_conn *conn);
/* Bytes that came; false: it is broken. */
bool cr_h2_conn_read(cr_h2_conn *conn, const char *bytes, size_t len);
/* Fills conn->out; returns its bytes, or -1 where it is broken. */
ssize_t cr_h2_conn_fill(cr_h2_conn *conn);
bool cr_h2_conn_is_over(const cr_h2_conn *conn);
void cr_h2_conn_notice(cr_h2_conn *conn);
void cr_h2_conn_end(cr_h2_conn *conn);
/* Refuses what came too slowly, drops answers that nobody fetches. */
void cr_h2_conn_sweep(cr_h2_conn *conn, int64_t now_ns);
/* Everything off the wire. */
void cr_h2_conn_fini(cr_h2_conn *conn);
/* A stream that was resumed. */
void cr_h2_stream_go_on(cr_h2_stream *stream);

/* h2.c: to the ingest thread. */
void cr_h2_ingest(cr_h2 *h2, cr_h2_stream *stream);

#endif
