/* Listening: bind, and say where. */
#include "server/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static int open_socket(int family) {
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* A file that nobody listens on any more is in the way after a crash. */
static bool is_abandoned(const struct sockaddr_un *address) {
    struct stat info;
    if (stat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return false;
    int fd = open_socket(AF_UNIX);
    bool refused =
        fd >= 0 &&
        connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static cr_status open_unix(const char *path, cr_listener *l, cr_error *error) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "unix_socket has %zu bytes, at most %zu are possible",
                       strlen(path), sizeof address.sun_path - 1);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (is_abandoned(&address))
        unlink(path);
    l->fd = open_socket(AF_UNIX);
    /* Nobody else may connect, not even between bind and chmod. */
    mode_t before = umask(0177);
    bool bound = l->fd >= 0 && bind(l->fd, (const struct sockaddr *)&address,
                                    sizeof address) == 0;
    umask(before);
    if (!bound)
        return cr_fail(error, CR_ERR_IO, "unix:%s: cannot listen: %s", path,
                       strerror(errno));
    snprintf(l->file, sizeof l->file, "%s", path);
    snprintf(l->address, sizeof l->address, "unix:%s", path);
    return CR_OK;
}

static uint16_t port_of(int fd) {
    struct sockaddr_storage address;
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)(void *)&address)->sin6_port
                     : ((struct sockaddr_in *)(void *)&address)->sin_port);
}

static bool bind_to(const struct addrinfo *info, cr_listener *l) {
    int on = 1;
    l->fd = open_socket(info->ai_family);
    if (l->fd < 0)
        return false;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(l->fd, info->ai_addr, info->ai_addrlen) == 0)
        return true;
    int why = errno;
    close(l->fd);
    l->fd = -1;
    errno = why;
    return false;
}

cr_status cr_listener_open_port(const char *host, uint32_t number,
                                const char *flag, cr_listener *l,
                                cr_error *error) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE};
    struct addrinfo *list = NULL;
    char port[16];
    *l = (cr_listener){.fd = -1};
    host = host ? host : "127.0.0.1";
    snprintf(port, sizeof port, "%u", number);
    int code = getaddrinfo(host, port, &hints, &list);
    if (code != 0)
        return cr_fail(error, CR_ERR_IO, "host \"%.100s\": %s", host,
                       gai_strerror(code));
    for (const struct addrinfo *at = list; at && l->fd < 0; at = at->ai_next)
        bind_to(at, l);
    int why = errno;
    freeaddrinfo(list);
    if (l->fd < 0)
        return cr_fail(error, CR_ERR_IO,
                       "%.100s port %u: cannot listen: %s (%s 0 takes any "
                       "free one)",
                       host, number, strerror(why), flag);
    bool v6 = strchr(host, ':') != NULL;
    snprintf(l->address, sizeof l->address, "%s%.250s%s:%u", v6 ? "[" : "",
             host, v6 ? "]" : "", port_of(l->fd));
    return CR_OK;
}

static cr_status open_tcp(const cr_settings *s, cr_listener *l,
                          cr_error *error) {
    char address[sizeof l->address];
    cr_status status =
        cr_listener_open_port(s->host, s->port, "--port", l, error);
    snprintf(address, sizeof address, "http://%.300s", l->address);
    memcpy(l->address, address, sizeof address);
    return status;
}

cr_status cr_listener_open(const cr_settings *s, cr_listener *l,
                           cr_error *error) {
    *l = (cr_listener){.fd = -1};
    cr_status status = s->unix_socket ? open_unix(s->unix_socket, l, error)
                                      : open_tcp(s, l, error);
    if (status == CR_OK && listen(l->fd, BACKLOG) != 0)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot listen: %s", l->address,
                         strerror(errno));
    if (status != CR_OK)
        cr_listener_close(l);
    return status;
}

void cr_listener_close(cr_listener *l) {
    if (l->fd >= 0)
        close(l->fd);
    if (*l->file)
        unlink(l->file);
    l->fd = -1;
    *l->file = '\0';
}
