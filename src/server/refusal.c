/* A refusal: kinds and their usual statuses. */
#include "server/refusal.h"

#include <stdarg.h>
#include <stdio.h>

#define STATUS(id, status) [CR_REFUSAL_##id] = status,
static const int STATUSES[CR_N_REFUSALS] = {CR_REFUSAL_LIST(STATUS)};

bool cr_refuse(cr_refusal *refusal, cr_refusal_kind kind, const char *format,
               ...) {
    char message[CR_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    refusal->kind = kind;
    cr_fail(&refusal->error, CR_ERR_INPUT, "%s", message);
    return false;
}

static cr_refusal_kind kind_of(cr_status status) {
    switch (status) {
    case CR_ERR_OVERLOADED:
        return CR_REFUSAL_OVERLOADED;
    case CR_ERR_MEMORY:
        return CR_REFUSAL_UNREADY;
    case CR_ERR_DEADLINE:
        return CR_REFUSAL_DEADLINE;
    case CR_ERR_CANCELLED:
        return CR_REFUSAL_GONE;
    case CR_ERR_INPUT:
    case CR_ERR_ARGUMENT:
        return CR_REFUSAL_LIMIT;
    default:
        return CR_REFUSAL_BACKEND;
    }
}

bool cr_refuse_status(cr_refusal *refusal, cr_status status,
                      const cr_error *error) {
    refusal->kind = kind_of(status);
    refusal->error = *error;
    return false;
}

int cr_refusal_http_status(cr_refusal_kind kind) { return STATUSES[kind]; }
