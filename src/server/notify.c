/* systemd's notification protocol: sd_notify(3) says what a datagram holds. */
#include "server/notify.h"

#include "base/clock.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* An absolute path, or @ and a name in the abstract namespace. */
static socklen_t read_address(struct sockaddr_un *address) {
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;
    if (len < 2 || len >= sizeof address->sun_path ||
        (*path != '/' && *path != '@'))
        return 0;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, len);
    if (*path == '@')
        address->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

static int write_notice(cr_notice notice, char *text, size_t bytes) {
    switch (notice) {
    case CR_NOTICE_READY:
        return snprintf(text, bytes, "READY=1");
    case CR_NOTICE_STOPPING:
        return snprintf(text, bytes, "STOPPING=1");
    case CR_NOTICE_RELOADING:
        break;
    }
    return snprintf(text, bytes, "RELOADING=1\nMONOTONIC_USEC=%lld",
                    (long long)(cr_now_ns() / 1000));
}

void cr_notify(cr_notice notice) {
    struct sockaddr_un address;
    char text[64];
    socklen_t len = read_address(&address);
    int fd = len ? socket(AF_UNIX, SOCK_DGRAM, 0) : -1;
    if (fd < 0)
        return;
    int n = write_notice(notice, text, sizeof text);
    ssize_t sent = sendto(fd, text, (size_t)n, MSG_DONTWAIT,
                          (const struct sockaddr *)&address, len);
    (void)sent;
    close(fd);
}
