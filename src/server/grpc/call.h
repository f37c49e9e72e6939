/* What the files of the gRPC front end share: a call, and a table of methods.
 *
 * grpc.c brings a call through admission; messages.c reads and writes its
 * messages and knows nothing of streams. */
#ifndef CR_SERVER_GRPC_CALL_H
#define CR_SERVER_GRPC_CALL_H

#include "server/grpc/h2.h"
#include "server/service.h"

#include <protobuf-c/protobuf-c.h>

typedef struct cr_grpc_call {
    cr_call call;
    cr_h2_stream *stream;
    const struct cr_grpc_method *method;
    ProtobufCMessage *request; /* texts of the ask point into it */
    int64_t deadline_ns;       /* 0: none */
} cr_grpc_call;

typedef struct cr_grpc_method {
    const char *path;
    const ProtobufCMessageDescriptor *request;
    /* Fills the ask; NULL: an answer without lanes. */
    bool (*read)(cr_grpc_call *call, const cr_facts *facts);
    /* Sets the stream's answer. Both refuse through call->call.ask.refusal. */
    bool (*write)(cr_grpc_call *call, const cr_facts *facts);
    bool needs_one_label; /* as cr_ask_check_labels has it */
    bool open;            /* without a key */
} cr_grpc_method;

/* NULL: there is none. */
const cr_grpc_method *cr_grpc_method_find(const char *path);
/* The message of `len` bytes, in a budget for its size; refuses where it is
 * none or has more parts than texts could. Freed by cr_grpc_free. */
ProtobufCMessage *cr_grpc_unpack(const ProtobufCMessageDescriptor *type,
                                 const void *bytes, size_t len,
                                 cr_refusal *refusal);
void cr_grpc_free(ProtobufCMessage *message);

#endif
