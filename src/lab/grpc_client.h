/* gRPC client: one connection that makes a unary call and waits.
 *
 * As little as a load generator needs: HTTP/2 without TLS, from its first
 * byte; no compression. A connection that the server closed between two calls
 * is opened again once.
 *
 * Threads: one a client. Ownership: an answer's bytes live until the next
 * call. */
#ifndef CR_LAB_GRPC_CLIENT_H
#define CR_LAB_GRPC_CLIENT_H

#include "base/error.h"

enum { CR_GRPC_ANSWER_BYTES = 256 << 20, CR_GRPC_REASON_BYTES = 128 };

typedef struct cr_grpc_client cr_grpc_client;

typedef struct cr_grpc_answer {
    int http_status;
    int code; /* grpc-status: 0 is good */
    char reason[CR_GRPC_REASON_BYTES];
    cr_text message;
    int64_t answered_ns; /* after the last byte */
} cr_grpc_answer;

/* `url` is http://HOST:PORT. Connects with the first call. CR_ERR_ARGUMENT,
 * CR_ERR_MEMORY. */
cr_status cr_grpc_client_open(const char *url, cr_grpc_client **client,
                              cr_error *error);
/* Calls that were made again, as the kept connection had been closed. */
size_t cr_grpc_client_resent(const cr_grpc_client *client);
/* NULL is allowed. */
void cr_grpc_client_close(cr_grpc_client *client);
/* Calls `path`, which is /PACKAGE.SERVICE/METHOD, with a serialized message.
 * CR_ERR_IO: no connection, or it broke; CR_ERR_INPUT: what came is no answer
 * of gRPC; CR_ERR_DEADLINE: CR_DIAL_TIMEOUT_S. Any code is an answer. */
cr_status cr_grpc_client_call(cr_grpc_client *client, const char *path,
                              cr_text message, cr_grpc_answer *answer,
                              cr_error *error);

#endif
