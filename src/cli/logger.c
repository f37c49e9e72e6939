/* Logger: a ring of bytes between those who put lines and one who writes. */
#include "cli/logger.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RING_BYTES = 1 << 20, PIECE_BYTES = 1 << 16 };

struct cr_logger {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake, idle;
    char ring[RING_BYTES];
    size_t first, len;
    bool writing, stop;
    uint64_t n_lost; /* and no line has said so yet */
};

/* What a closed pipe does not take is gone: there is nobody to tell. */
static void write_all(int fd, const char *bytes, size_t len) {
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n >= 0) {
            bytes += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return;
        }
    }
}

static void take(cr_logger *l, char *piece, size_t n) {
    size_t to_end = RING_BYTES - l->first;
    size_t now = n < to_end ? n : to_end;
    memcpy(piece, l->ring + l->first, now);
    memcpy(piece + now, l->ring, n - now);
    l->first = (l->first + n) % RING_BYTES;
    l->len -= n;
}

/* All of it or nothing. */
static bool append(cr_logger *l, const char *bytes, size_t n) {
    if (n > RING_BYTES - l->len)
        return false;
    size_t at = (l->first + l->len) % RING_BYTES;
    size_t to_end = RING_BYTES - at;
    size_t now = n < to_end ? n : to_end;
    memcpy(l->ring + at, bytes, now);
    memcpy(l->ring, bytes + now, n - now);
    l->len += n;
    return true;
}

/* After something was taken, so that there is room. */
static void tell_lost(cr_logger *l) {
    char line[128];
    int n = snprintf(line, sizeof line,
                     "crossrank: %llu lines of the log are lost here: nobody "
                     "read it in time\n",
                     (unsigned long long)l->n_lost);
    if (l->n_lost && append(l, line, (size_t)n))
        l->n_lost = 0;
}

static void *write_lines(void *context) {
    cr_logger *l = context;
    char piece[PIECE_BYTES];
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (!l->len && !l->stop)
            pthread_cond_wait(&l->wake, &l->lock);
        if (!l->len)
            break;
        size_t n = l->len < sizeof piece ? l->len : sizeof piece;
        take(l, piece, n);
        tell_lost(l);
        l->writing = true;
        pthread_mutex_unlock(&l->lock);
        write_all(l->fd, piece, n);
        pthread_mutex_lock(&l->lock);
        l->writing = false;
        if (!l->len)
            pthread_cond_signal(&l->idle);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

cr_status cr_logger_open(int fd, cr_logger **logger, cr_error *error) {
    pthread_condattr_t monotonic;
    cr_logger *l = *logger = cr_calloc(1, sizeof *l);
    if (!l)
        return cr_fail_memory(error, sizeof *l, "the log");
    l->fd = fd;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->wake, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&l->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&l->thread, NULL, write_lines, l) == 0)
        return CR_OK;
    cr_free(l);
    *logger = NULL;
    return cr_fail_thread(error);
}

bool cr_logger_put(void *logger, const char *line, size_t len) {
    cr_logger *l = logger;
    char text[CR_LOG_LINE_BYTES + sizeof "crossrank: \n"];
    int n = snprintf(text, sizeof text, "crossrank: %.*s\n",
                     (int)(len < CR_LOG_LINE_BYTES ? len : CR_LOG_LINE_BYTES),
                     line);
    if (n < 0)
        return false;
    pthread_mutex_lock(&l->lock);
    bool kept = !l->n_lost && append(l, text, (size_t)n);
    l->n_lost += !kept;
    if (kept)
        pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    return kept;
}

void cr_logger_close(cr_logger *l, uint32_t ms) {
    if (!l)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    while ((l->len || l->writing) &&
           pthread_cond_timedwait(&l->idle, &l->lock, &until) == 0)
        ;
    bool done = !l->len && !l->writing;
    pthread_mutex_unlock(&l->lock);
    if (!done) {
        pthread_detach(l->thread);
        return;
    }
    pthread_join(l->thread, NULL);
    pthread_cond_destroy(&l->idle);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    cr_free(l);
}
