/* Scripted: a server on loopback that says what a test tells it to.
 *
 * Connection i of a script is answered with steps of its own: for each step
 * the server reads one request (its head and the announced body), sends the
 * step's bytes and goes on; behind the last step it hangs up. A step that does
 * not read speaks first. */
#ifndef TESTS_LAB_SCRIPTED_H
#define TESTS_LAB_SCRIPTED_H

#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { SCRIPT_CONNECTIONS = 4, SCRIPT_STEPS = 4 };

typedef struct scripted {
    /* NULL ends a connection's steps, and an empty connection the script. */
    const char *steps[SCRIPT_CONNECTIONS][SCRIPT_STEPS];
    char url[64];
    int fd;
    pthread_t thread;
    size_t n_requests;
} scripted;

/* False where the client hung up. */
static bool scripted_read(int fd) {
    char head[8192] = "";
    size_t n = 0, body = 0;
    const char *end = NULL;
    while (!end || n < (size_t)(end - head) + 4 + body) {
        if (n == sizeof head - 1)
            return true; /* large enough to be one */
        ssize_t got = read(fd, head + n, sizeof head - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        head[n] = 0;
        end = strstr(head, "\r\n\r\n");
        const char *length = strstr(head, "Content-Length: ");
        body = length ? strtoul(length + 16, NULL, 10) : 0;
    }
    return true;
}

static void *scripted_serve(void *context) {
    scripted *s = context;
    for (size_t c = 0; c < SCRIPT_CONNECTIONS && s->steps[c][0]; c++) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        for (size_t i = 0; i < SCRIPT_STEPS && s->steps[c][i]; i++) {
            if (!scripted_read(fd))
                break;
            s->n_requests++;
            const char *bytes = s->steps[c][i];
            if (write(fd, bytes, strlen(bytes)) < 0)
                break;
        }
        /* A socket closed with bytes unread would take back what it said. */
        char rest[512];
        shutdown(fd, SHUT_WR);
        while (read(fd, rest, sizeof rest) > 0)
            ;
        close(fd);
    }
    return NULL;
}

static void scripted_start(scripted *s) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    s->n_requests = 0;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u",
             (unsigned)ntohs(a.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, scripted_serve, s), 0);
}

/* After the client hung up; connections that nobody made are not waited
 * for. */
static void scripted_stop(scripted *s) {
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

#endif
