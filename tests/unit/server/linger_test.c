/* Lingering connections: what comes is read away until the peer closes or a
 * limit is passed, of bytes, time, silence and connections.
 *
 * Real sockets, and poll on the peer's end: POLLHUP is ours being closed. */
#include "base/clock.h"
#include "server/linger.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    LONG_MS = 60000,
    PIECE = 4096,
    PIECES = 2048 /* more than a socket holds */
};

static cr_linger *start(uint64_t max_bytes, uint32_t max_ms) {
    cr_linger *l;
    cr_error error;
    if (cr_linger_new(max_bytes, max_ms, &l, &error) != CR_OK)
        fail_msg("%s", error.message);
    return l;
}

/* The peer's end of a connection that lingers; ours is closed as a server
 * would. */
static int add(cr_linger *l) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    cr_linger_add(l, ends[0]);
    close(ends[0]);
    return ends[1];
}

/* Whether ours is closed within that time. */
static bool is_closed(int peer, int ms) {
    struct pollfd p = {.fd = peer};
    return poll(&p, 1, ms) == 1 && p.revents & POLLHUP;
}

static bool send_piece(int peer) {
    static const char piece[PIECE];
    return send(peer, piece, sizeof piece, MSG_NOSIGNAL) == PIECE;
}

static double ms_since(int64_t ns) { return (double)(cr_now_ns() - ns) / 1e6; }

static void what_comes_is_read_until_the_peer_closes(void **state) {
    (void)state;
    cr_linger *l = start(UINT64_MAX, LONG_MS);
    int peer = add(l);
    char byte;
    assert_int_equal(recv(peer, &byte, 1, 0), 0); /* nothing more is sent */
    for (int i = 0; i < PIECES; i++)
        assert_true(send_piece(peer));
    assert_false(is_closed(peer, 0));
    close(peer);
    int64_t begin = cr_now_ns();
    cr_linger_free(l, LONG_MS);
    assert_true(ms_since(begin) < LONG_MS / 2);
}

static void bytes_have_a_limit(void **state) {
    (void)state;
    cr_linger *l = start(10 * PIECE, LONG_MS);
    int peer = add(l);
    for (int i = 0; i < 10; i++)
        assert_true(send_piece(peer));
    /* It has them all, or will have, and waits for the end. */
    assert_false(is_closed(peer, 100));
    (void)send_piece(peer);
    assert_true(is_closed(peer, LONG_MS));
    close(peer);
    cr_linger_free(l, 0);
}

static void time_has_a_limit_that_talking_does_not_move(void **state) {
    (void)state;
    enum { MAX_MS = 300 };
    cr_linger *l = start(UINT64_MAX, MAX_MS);
    int64_t begin = cr_now_ns();
    int peer = add(l);
    while (!is_closed(peer, 5) && ms_since(begin) < LONG_MS)
        (void)send_piece(peer);
    assert_true(ms_since(begin) >= MAX_MS && ms_since(begin) < LONG_MS);
    close(peer);
    cr_linger_free(l, 0);
}

static void silence_has_a_limit(void **state) {
    (void)state;
    cr_linger *l = start(UINT64_MAX, LONG_MS);
    int64_t begin = cr_now_ns();
    int silent = add(l), talks = add(l);
    while (!is_closed(silent, 20) && ms_since(begin) < LONG_MS)
        assert_true(send_piece(talks));
    assert_true(ms_since(begin) >= CR_LINGER_SILENCE_MS &&
                ms_since(begin) < LONG_MS / 2);
    assert_false(is_closed(talks, 0));
    close(silent);
    close(talks);
    cr_linger_free(l, LONG_MS);
}

static void the_oldest_gives_way(void **state) {
    (void)state;
    enum { MORE = 3 };
    cr_linger *l = start(UINT64_MAX, LONG_MS);
    int peers[CR_MAX_LINGERING + MORE];
    for (int i = 0; i < CR_MAX_LINGERING + MORE; i++) {
        peers[i] = add(l);
        /* What is read has a place, and so have those before it: only the
         * next comes to a full house. Before that it would but take time,
         * which is silence for the others. */
        for (int n = 0; i >= CR_MAX_LINGERING - 1 && n < PIECES; n++)
            assert_true(send_piece(peers[i]));
        if (i >= CR_MAX_LINGERING)
            assert_true(is_closed(peers[i - CR_MAX_LINGERING], LONG_MS));
    }
    for (int i = MORE; i < CR_MAX_LINGERING + MORE; i++)
        assert_false(is_closed(peers[i], 0));
    for (int i = 0; i < CR_MAX_LINGERING + MORE; i++)
        close(peers[i]);
    cr_linger_free(l, LONG_MS);
}

static void the_end_waits_no_longer_than_it_is_told(void **state) {
    (void)state;
    enum { MS = 100 };
    cr_linger *l = start(UINT64_MAX, LONG_MS);
    int peer = add(l);
    int64_t begin = cr_now_ns();
    cr_linger_free(l, MS);
    assert_true(ms_since(begin) >= MS && ms_since(begin) < LONG_MS / 2);
    assert_true(is_closed(peer, 0));
    close(peer);
    cr_linger_free(NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_is_read_until_the_peer_closes),
        cmocka_unit_test(bytes_have_a_limit),
        cmocka_unit_test(time_has_a_limit_that_talking_does_not_move),
        cmocka_unit_test(silence_has_a_limit),
        cmocka_unit_test(the_oldest_gives_way),
        cmocka_unit_test(the_end_waits_no_longer_than_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
