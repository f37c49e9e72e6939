/* Lingering: one thread, one poll, a fixed number of places. */
#include "server/linger.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 65536,
    PIECES = 4 /* at most, of one connection before the next has its turn */
};

typedef struct place {
    int fd;
    int64_t since_ns, heard_ns;
    uint64_t n_bytes;
} place;

struct cr_linger {
    uint64_t max_bytes;
    int64_t max_ns;
    int wake[2]; /* read, write */
    pthread_t thread;
    bool started;
    _Atomic int64_t until_ns;  /* for all, once it stops */
    pthread_mutex_t lock;      /* of the next three */
    int new[CR_MAX_LINGERING]; /* descriptors that have no place yet */
    uint32_t n_new;
    bool stop;
    /* The thread's alone, the oldest first. */
    place places[CR_MAX_LINGERING];
    uint32_t n_places;
    _Atomic uint32_t n_told; /* the same, for everybody */
    char piece[PIECE_BYTES];
};

static void wake(cr_linger *l) {
    char byte = 0;
    /* Full: then it is about to wake anyway. */
    ssize_t n = write(l->wake[1], &byte, 1);
    (void)n;
}

/* ---- The thread --------------------------------------------------------- */

/* Those that have ended, marked by -1, leave; the others keep their order. */
static void close_up(cr_linger *l) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_places; i++)
        if (l->places[i].fd >= 0)
            l->places[n++] = l->places[i];
    l->n_places = n;
}

static void end(place *p) {
    close(p->fd);
    p->fd = -1;
}

static void give_place(cr_linger *l, int fd) {
    if (l->n_places == CR_MAX_LINGERING) {
        end(&l->places[0]);
        close_up(l);
    }
    int64_t now = cr_now_ns();
    l->places[l->n_places++] =
        (place){.fd = fd, .since_ns = now, .heard_ns = now};
}

/* False: nobody is left, and nobody will come. */
static bool take_new(cr_linger *l) {
    int new[CR_MAX_LINGERING];
    pthread_mutex_lock(&l->lock);
    uint32_t n = l->n_new;
    for (uint32_t i = 0; i < n; i++)
        new[i] = l->new[i];
    l->n_new = 0;
    bool stop = l->stop;
    pthread_mutex_unlock(&l->lock);
    for (uint32_t i = 0; i < n; i++)
        give_place(l, new[i]);
    return l->n_places || !stop;
}

static int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t deadline_ns(const cr_linger *l, const place *p) {
    int64_t silence = (int64_t)CR_LINGER_SILENCE_MS * 1000000;
    return earlier(earlier(p->since_ns + l->max_ns, p->heard_ns + silence),
                   atomic_load(&l->until_ns));
}

static void sleep_until_needed(cr_linger *l) {
    struct pollfd fds[CR_MAX_LINGERING + 1];
    int64_t until = INT64_MAX;
    for (uint32_t i = 0; i < l->n_places; i++) {
        fds[i] = (struct pollfd){.fd = l->places[i].fd, .events = POLLIN};
        until = earlier(until, deadline_ns(l, &l->places[i]));
    }
    fds[l->n_places] = (struct pollfd){.fd = l->wake[0], .events = POLLIN};
    int64_t left_ns = until - cr_now_ns();
    int ms = until == INT64_MAX ? -1
             : left_ns <= 0     ? 0
                                : (int)(left_ns / 1000000) + 1;
    atomic_store(&l->n_told, l->n_places);
    poll(fds, l->n_places + 1, ms);
    if (fds[l->n_places].revents) {
        ssize_t n = read(l->wake[0], l->piece, sizeof l->piece);
        (void)n;
    }
}

/* False: it has ended. */
static bool read_away(cr_linger *l, place *p) {
    for (int i = 0; i < PIECES; i++) {
        ssize_t n = recv(p->fd, l->piece, sizeof l->piece, MSG_DONTWAIT);
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
        p->n_bytes += (uint64_t)n;
        if (n == 0 || p->n_bytes > l->max_bytes)
            return false;
        p->heard_ns = cr_now_ns();
    }
    return true;
}

static void *run(void *context) {
    cr_linger *l = context;
    while (take_new(l)) {
        sleep_until_needed(l);
        for (uint32_t i = 0; i < l->n_places; i++) {
            place *p = &l->places[i];
            if (!read_away(l, p) || cr_now_ns() >= deadline_ns(l, p))
                end(p);
        }
        close_up(l);
    }
    return NULL;
}

/* ---- For others --------------------------------------------------------- */

static bool open_pipe(int wake[2]) {
    if (pipe(wake) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        fcntl(wake[i], F_SETFD, FD_CLOEXEC);
        fcntl(wake[i], F_SETFL, O_NONBLOCK);
    }
    return true;
}

cr_status cr_linger_new(uint64_t max_bytes, uint32_t max_ms, cr_linger **linger,
                        cr_error *error) {
    cr_linger *l = cr_calloc(1, sizeof *l);
    *linger = NULL;
    if (!l)
        return cr_fail_memory(error, sizeof *l, "lingering connections");
    l->max_bytes = max_bytes;
    l->max_ns = (int64_t)max_ms * 1000000;
    l->wake[0] = l->wake[1] = -1;
    atomic_store(&l->until_ns, INT64_MAX);
    pthread_mutex_init(&l->lock, NULL);
    l->started =
        open_pipe(l->wake) && pthread_create(&l->thread, NULL, run, l) == 0;
    if (!l->started) {
        cr_linger_free(l, 0);
        return cr_fail(error, CR_ERR_MEMORY,
                       "cannot start a thread with a pipe: allow more threads "
                       "or descriptors");
    }
    *linger = l;
    return CR_OK;
}

void cr_linger_add(cr_linger *l, int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return;
    shutdown(copy, SHUT_WR);
    pthread_mutex_lock(&l->lock);
    bool room = !l->stop && l->n_new < CR_MAX_LINGERING;
    if (room)
        l->new[l->n_new++] = copy;
    pthread_mutex_unlock(&l->lock);
    if (room)
        wake(l);
    else
        close(copy);
}

uint32_t cr_linger_count(cr_linger *l) { return atomic_load(&l->n_told); }

void cr_linger_free(cr_linger *l, uint32_t ms) {
    if (!l)
        return;
    if (l->started) {
        pthread_mutex_lock(&l->lock);
        l->stop = true;
        atomic_store(&l->until_ns, cr_now_ns() + (int64_t)ms * 1000000);
        pthread_mutex_unlock(&l->lock);
        wake(l);
        pthread_join(l->thread, NULL);
    }
    for (int i = 0; i < 2; i++)
        if (l->wake[i] >= 0)
            close(l->wake[i]);
    pthread_mutex_destroy(&l->lock);
    cr_free(l);
}
