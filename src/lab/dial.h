/* Dial: a connection to where an http:// URL points.
 *
 * Threads: pure. */
#ifndef CR_LAB_DIAL_H
#define CR_LAB_DIAL_H

#include "base/error.h"

enum {
    CR_DIAL_HOST_BYTES = 256,
    CR_DIAL_TIMEOUT_S = 120 /* without a byte, either way */
};

typedef struct cr_dial {
    char host[CR_DIAL_HOST_BYTES], port[8];
    char base[CR_DIAL_HOST_BYTES]; /* the path, without its last slash */
} cr_dial;

/* `url` is http://HOST[:PORT][/BASE]. CR_ERR_ARGUMENT. */
cr_status cr_dial_parse(cr_dial *dial, const char *url, cr_error *error);
/* *fd is the caller's to close. CR_ERR_IO. */
cr_status cr_dial_connect(const cr_dial *dial, int *fd, cr_error *error);
/* What errno `reason` of a read or a write on it means: CR_ERR_DEADLINE after
 * CR_DIAL_TIMEOUT_S, else CR_ERR_IO. */
cr_status cr_dial_fail(const char *what, int reason, cr_error *error);

#endif
