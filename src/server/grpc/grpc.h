/* gRPC: calls of other clients on a port of their own, through the admission,
 * the queue and the lanes that HTTP has.
 *
 * Threads: from one at a time. Ownership: the server outlives it. */
#ifndef CR_SERVER_GRPC_GRPC_H
#define CR_SERVER_GRPC_GRPC_H

#include "server/grpc/h2.h"

struct cr_server;

/* Listens and starts; what follows is cr_h2's. */
cr_status cr_grpc_open(struct cr_server *server, uint32_t port, cr_h2 **h2,
                       cr_error *error);

#endif
