/* Telling a service manager (systemd) how the server is.
 *
 * One datagram to the socket that NOTIFY_SOCKET names, and nothing where it
 * names none: no library is needed for it. Failures are ignored, because
 * nobody but the manager could be told.
 *
 * Threads: any. */
#ifndef CR_SERVER_NOTIFY_H
#define CR_SERVER_NOTIFY_H

typedef enum cr_notice {
    CR_NOTICE_READY, /* also: ready again */
    CR_NOTICE_RELOADING,
    CR_NOTICE_STOPPING
} cr_notice;

void cr_notify(cr_notice notice);

#endif
