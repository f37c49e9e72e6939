/* gRPC's small encodings. */
#include "server/grpc/status.h"

#include <string.h>

static const int64_t MAX_TIMEOUT_NS = INT64_C(86400) * 1000000000;

cr_grpc_code cr_grpc_code_of(cr_refusal_kind kind) {
    switch (kind) {
    case CR_REFUSAL_NONE:
        return CR_GRPC_OK;
    case CR_REFUSAL_MALFORMED:
    case CR_REFUSAL_SHAPE:
    case CR_REFUSAL_EMPTY:
    case CR_REFUSAL_LIMIT:
    case CR_REFUSAL_MEDIA:
        return CR_GRPC_INVALID_ARGUMENT;
    case CR_REFUSAL_KIND:
        return CR_GRPC_FAILED_PRECONDITION;
    case CR_REFUSAL_SIZE:
    case CR_REFUSAL_OVERLOADED:
        return CR_GRPC_RESOURCE_EXHAUSTED;
    case CR_REFUSAL_AUTH:
        return CR_GRPC_UNAUTHENTICATED;
    case CR_REFUSAL_NOT_FOUND:
    case CR_REFUSAL_METHOD:
        return CR_GRPC_UNIMPLEMENTED;
    case CR_REFUSAL_DEADLINE:
        return CR_GRPC_DEADLINE_EXCEEDED;
    case CR_REFUSAL_GONE:
        return CR_GRPC_CANCELLED;
    case CR_REFUSAL_UNREADY:
        return CR_GRPC_UNAVAILABLE;
    case CR_REFUSAL_BACKEND:
    case CR_N_REFUSALS:
        break;
    }
    return CR_GRPC_INTERNAL;
}

void cr_grpc_encode_message(const char *message,
                            char out[CR_GRPC_MESSAGE_BYTES]) {
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const char *p = message; *p && n + 4 <= CR_GRPC_MESSAGE_BYTES; p++) {
        uint8_t byte = (uint8_t)*p;
        if (byte >= ' ' && byte <= '~' && byte != '%') {
            out[n++] = *p;
            continue;
        }
        out[n++] = '%';
        out[n++] = digits[byte >> 4];
        out[n++] = digits[byte & 15];
    }
    out[n] = '\0';
}

bool cr_grpc_read_timeout(const char *text, int64_t *ns) {
    static const char units[] = "HMSmun";
    static const int64_t unit_ns[] = {INT64_C(3600000000000),
                                      INT64_C(60000000000),
                                      1000000000,
                                      1000000,
                                      1000,
                                      1};
    size_t digits = strspn(text, "0123456789");
    if (digits < 1 || digits > 8 || !text[digits] || text[digits + 1])
        return false;
    const char *unit = strchr(units, text[digits]);
    if (!unit)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < digits; i++)
        value = 10 * value + (text[i] - '0');
    int64_t scale = unit_ns[unit - units];
    *ns = value > MAX_TIMEOUT_NS / scale ? MAX_TIMEOUT_NS : value * scale;
    return true;
}

cr_grpc_prefix cr_grpc_read_prefix(const uint8_t bytes[CR_GRPC_PREFIX_BYTES]) {
    return (cr_grpc_prefix){.compressed = bytes[0],
                            .len = (uint32_t)bytes[1] << 24 |
                                   (uint32_t)bytes[2] << 16 |
                                   (uint32_t)bytes[3] << 8 | bytes[4]};
}

void cr_grpc_write_prefix(uint32_t len, uint8_t bytes[CR_GRPC_PREFIX_BYTES]) {
    bytes[0] = 0;
    for (int i = 0; i < 4; i++)
        bytes[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}
