/* A refusal: why a request gets no scores, in no wire format yet.
 *
 * Each kind has its usual HTTP status; a dialect may say it otherwise.
 *
 * Threads: pure. */
#ifndef CR_SERVER_REFUSAL_H
#define CR_SERVER_REFUSAL_H

#include "base/error.h"

/* id, HTTP status */
#define CR_REFUSAL_LIST(X)                                                     \
    X(NONE, 200)                                                               \
    X(MALFORMED, 400) /* no JSON, or headers that contradict */                \
    X(SHAPE, 422)     /* JSON of another shape or type */                      \
    X(EMPTY, 422)     /* nothing to score */                                   \
    X(LIMIT, 422)     /* more documents or tokens than allowed */              \
    X(KIND, 422)      /* the model is of another kind than is asked for */     \
    X(MEDIA, 415)                                                              \
    X(SIZE, 413)                                                               \
    X(AUTH, 401)                                                               \
    X(NOT_FOUND, 404)                                                          \
    X(METHOD, 405)                                                             \
    X(OVERLOADED, 429)                                                         \
    X(DEADLINE, 504)                                                           \
    X(GONE, 499)                                                               \
    X(UNREADY, 503)                                                            \
    X(BACKEND, 500)

#define CR_REFUSAL_ID(id, status) CR_REFUSAL_##id,
typedef enum cr_refusal_kind {
    CR_REFUSAL_LIST(CR_REFUSAL_ID) CR_N_REFUSALS
} cr_refusal_kind;

typedef struct cr_refusal {
    cr_refusal_kind kind;
    cr_error error; /* its message */
} cr_refusal;

/* Fills *refusal and returns false, so that a reader can `return` it. */
bool cr_refuse(cr_refusal *refusal, cr_refusal_kind kind, const char *format,
               ...) __attribute__((format(printf, 3, 4)));
/* From a status of the layers below. */
bool cr_refuse_status(cr_refusal *refusal, cr_status status,
                      const cr_error *error);
int cr_refusal_http_status(cr_refusal_kind kind);

#endif
