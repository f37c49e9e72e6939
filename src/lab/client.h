/* Client: one HTTP/1.1 connection that asks and waits.
 *
 * As little as a load generator needs, so that it costs little: plain http,
 * keep-alive, answers with a length or in chunks. A connection that the server
 * closed between two requests is opened again once.
 *
 * Threads: one a client. Ownership: an answer's bytes live until the next
 * call. */
#ifndef CR_LAB_CLIENT_H
#define CR_LAB_CLIENT_H

#include "base/buf.h"
#include "lab/dial.h"

enum { CR_CLIENT_ANSWER_BYTES = 256 << 20 };

typedef struct cr_client {
    cr_dial to;
    int fd; /* -1: not connected */
    cr_buf out, in, body;
    size_t n_resent; /* requests, as the kept connection had been closed */
} cr_client;

typedef struct cr_answer {
    int status; /* of HTTP */
    cr_text body;
    int64_t sent_ns, answered_ns; /* before the first byte, after the last */
} cr_answer;

/* `url` is http://HOST[:PORT][/BASE]. Connects with the first request.
 * CR_ERR_ARGUMENT. */
cr_status cr_client_init(cr_client *client, const char *url, cr_error *error);
void cr_client_fini(cr_client *client);
/* CR_ERR_IO: no connection, or it broke; CR_ERR_INPUT: what came is not HTTP;
 * CR_ERR_DEADLINE: CR_DIAL_TIMEOUT_S. Any status of HTTP is an answer. */
cr_status cr_client_ask(cr_client *client, const char *method, const char *path,
                        cr_text body, cr_answer *answer, cr_error *error);

#endif
