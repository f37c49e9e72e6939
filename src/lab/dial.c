/* Dial: getaddrinfo, and the first address that answers. */
#include "lab/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

cr_status cr_dial_parse(cr_dial *d, const char *url, cr_error *error) {
    static const char SCHEME[] = "http://";
    const char *at = url + sizeof SCHEME - 1;
    size_t host =
        strncmp(url, SCHEME, sizeof SCHEME - 1) == 0 ? strcspn(at, ":/") : 0;
    memset(d, 0, sizeof *d);
    if (!host || host >= sizeof d->host)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "\"%.100s\" is not http://HOST:PORT (TLS is not spoken "
                       "here: measure behind the proxy that ends it)",
                       url);
    memcpy(d->host, at, host);
    at += host;
    snprintf(d->port, sizeof d->port, "80");
    if (*at == ':') {
        size_t digits = strspn(++at, "0123456789");
        if (!digits || digits >= sizeof d->port ||
            (at[digits] && at[digits] != '/'))
            return cr_fail(error, CR_ERR_ARGUMENT, "\"%.100s\": no port", url);
        snprintf(d->port, sizeof d->port, "%.*s", (int)digits, at);
        at += digits;
    }
    size_t base = strlen(at);
    while (base && at[base - 1] == '/')
        base--;
    if (base >= sizeof d->base)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "\"%.100s\": a path of %zu bytes, the limit is %zu", url,
                       base, sizeof d->base - 1);
    memcpy(d->base, at, base);
    return CR_OK;
}

static int connect_one(const struct addrinfo *a) {
    struct timeval patience = {.tv_sec = CR_DIAL_TIMEOUT_S};
    int on = 1;
    int fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
    if (fd < 0)
        return -1;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

cr_status cr_dial_connect(const cr_dial *d, int *fd, cr_error *error) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *list;
    int why = getaddrinfo(d->host, d->port, &want, &list);
    *fd = -1;
    if (why != 0)
        return cr_fail(error, CR_ERR_IO, "%s:%s: %s", d->host, d->port,
                       gai_strerror(why));
    for (const struct addrinfo *a = list; a && *fd < 0; a = a->ai_next)
        *fd = connect_one(a);
    int reason = errno;
    freeaddrinfo(list);
    return *fd >= 0 ? CR_OK
                    : cr_fail(error, CR_ERR_IO, "cannot connect to %s:%s: %s",
                              d->host, d->port, strerror(reason));
}

cr_status cr_dial_fail(const char *what, int reason, cr_error *error) {
    if (reason == EAGAIN || reason == EWOULDBLOCK)
        return cr_fail(error, CR_ERR_DEADLINE, "%s for %d s", what,
                       CR_DIAL_TIMEOUT_S);
    return cr_fail(error, CR_ERR_IO, "%s: %s", what, strerror(reason));
}
