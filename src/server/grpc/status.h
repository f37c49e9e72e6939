/* What gRPC puts into HTTP/2 headers and before a message: codes, messages,
 * time limits, lengths.
 *
 * Threads: pure. */
#ifndef CR_SERVER_GRPC_STATUS_H
#define CR_SERVER_GRPC_STATUS_H

#include "server/refusal.h"

typedef enum cr_grpc_code {
    CR_GRPC_OK = 0,
    CR_GRPC_CANCELLED = 1,
    CR_GRPC_INVALID_ARGUMENT = 3,
    CR_GRPC_DEADLINE_EXCEEDED = 4,
    CR_GRPC_NOT_FOUND = 5,
    CR_GRPC_RESOURCE_EXHAUSTED = 8,
    CR_GRPC_FAILED_PRECONDITION = 9,
    CR_GRPC_UNIMPLEMENTED = 12,
    CR_GRPC_INTERNAL = 13,
    CR_GRPC_UNAVAILABLE = 14,
    CR_GRPC_UNAUTHENTICATED = 16
} cr_grpc_code;

enum {
    CR_GRPC_PREFIX_BYTES = 5,
    /* Of a percent-encoded message; longer ones are cut at a character. */
    CR_GRPC_MESSAGE_BYTES = 1024
};

cr_grpc_code cr_grpc_code_of(cr_refusal_kind kind);

/* grpc-message: bytes outside of ' '..'~' and '%' become %XX. */
void cr_grpc_encode_message(const char *message,
                            char out[CR_GRPC_MESSAGE_BYTES]);

/* grpc-timeout: one to eight digits and one of H M S m u n. False: it is none
 * of that. Longer than a day is a day. */
bool cr_grpc_read_timeout(const char *text, int64_t *ns);

/* The five bytes before a message. */
typedef struct cr_grpc_prefix {
    uint8_t compressed; /* 0 or 1, else it is no gRPC */
    uint32_t len;
} cr_grpc_prefix;
cr_grpc_prefix cr_grpc_read_prefix(const uint8_t bytes[CR_GRPC_PREFIX_BYTES]);
void cr_grpc_write_prefix(uint32_t len, uint8_t bytes[CR_GRPC_PREFIX_BYTES]);

#endif
