/* A listening socket: TCP by name or number, or a file.
 *
 * Threads: not shared. Ownership: a socket file is removed on closing. */
#ifndef CR_SERVER_LISTEN_H
#define CR_SERVER_LISTEN_H

#include "server/settings.h"

typedef struct cr_listener {
    int fd; /* -1: closed */
    char address[320];
    char file[120]; /* of a unix socket, else empty */
} cr_listener;

/* CR_ERR_IO names the address and the reason. */
cr_status cr_listener_open(const cr_settings *settings, cr_listener *listener,
                           cr_error *error);
/* TCP alone, not listening yet; the address is HOST:PORT. `flag` is what sets
 * the port, for the message. */
cr_status cr_listener_open_port(const char *host, uint32_t port,
                                const char *flag, cr_listener *listener,
                                cr_error *error);
void cr_listener_close(cr_listener *listener);

#endif
