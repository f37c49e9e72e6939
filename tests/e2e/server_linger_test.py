"""Answers that come before the body was read: who sends all of it first still
reads them, and who never ends costs the server little for a short while."""

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time

import pytest

from serve import Server

MAX_BODY = 4 << 20
LINGERING = 64  # CR_MAX_LINGERING


@pytest.fixture(scope="module")
def server(build, slower):
    s = Server(build / "crossrank", slower, max_body_bytes=MAX_BODY,
               receive_timeout_ms=5000)
    yield s
    assert s.stop() == 0, s.log
    assert "Sanitizer" not in s.log


def head(n, path="/rerank", more=""):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}"
            "Content-Type: application/json\r\n"
            f"Content-Length: {n}\r\n\r\n").encode()


def read_all(s):
    """Until the server closes; a reset is an error."""
    return b"".join(iter(lambda: s.recv(65536), b""))


def refused(server, first=b""):
    """A connection whose answer has come: 413, and no more after it."""
    s = server.socket()
    s.sendall(head(MAX_BODY + 1) + first)
    assert read_all(s).startswith(b"HTTP/1.1 413 ")
    return s


def wait_until_cut_off(server, s, pause):
    """Sends a byte at a time until that fails; how many were taken."""
    end = time.monotonic() + 60 * server.slower
    for n in range(10**9):
        try:
            s.sendall(b"x")
        except OSError:
            return n
        assert time.monotonic() < end, "it lingers for ever"
        time.sleep(pause)


def n_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


needs_proc = pytest.mark.skipif(sys.platform != "linux",
                                reason="no /proc to count descriptors in")


@pytest.mark.parametrize("n, path, more, status", [
    (MAX_BODY + 1, "/rerank", "", b"413"),
    (8 * MAX_BODY, "/rerank", "", b"413"),
    (MAX_BODY, "/nowhere", "", b"404"),
    (MAX_BODY, "/livez", "", b"405"),
    (MAX_BODY, "/rerank", "Content-Length: 1\r\n", b"400"),
    (10, "/rerank", "X: " + "h" * (1 << 20) + "\r\n", b"431"),
])
def test_who_sends_first_and_then_reads_has_the_answer(server, n, path, more,
                                                       status):
    for _ in range(10):
        with server.socket() as s:
            s.sendall(head(n, path, more))
            s.sendall(b"x" * n)
            got = read_all(s)
        assert got.split()[1:2] == [status], got[:200]
        front, _, data = got.partition(b"\r\n\r\n")
        length, = re.findall(rb"(?i)^content-length: (\d+)", front, re.M)
        assert len(data) == int(length)


def test_an_answer_comes_before_the_body(server):
    s = refused(server)
    with s:
        s.sendall(b"x" * 100_000)  # still taken, not answered
        time.sleep(0.1)
        s.sendall(b"x")


def test_who_lingers_is_counted(server):
    def lingering():
        return server.stats()["connections_lingering"]

    def wait_for(n, *talking):
        end = time.monotonic() + 20 * server.slower
        while lingering() != n:
            assert time.monotonic() < end, lingering()
            for s in talking:  # or they are cut off for their silence
                s.sendall(b"x")
            time.sleep(0.05)

    wait_for(0)
    with refused(server) as one, refused(server) as other:
        wait_for(2, one, other)
    wait_for(0)


def test_bytes_are_limited(server):
    limit = server.get("/info").json["crossrank"]["limits"]["linger_bytes"]
    assert limit == 64 << 20
    with refused(server) as s, pytest.raises(OSError):
        for _ in range(4 * limit // (1 << 20)):
            s.sendall(b"x" * (1 << 20))


def test_silence_and_time_are_limited(server):
    with refused(server) as silent, refused(server) as dripping:
        # Five bytes a second are no silence, but more than five seconds are
        # more time than a request has.
        n = wait_until_cut_off(server, dripping, 0.2)
        assert 0 < n < 60 * server.slower
        silent.settimeout(1)
        assert wait_until_cut_off(server, silent, 0) < 100


def wait_for_files(server, most):
    end = time.monotonic() + 60 * server.slower
    while n_files(server) > most:
        assert time.monotonic() < end, "descriptors stay open"
        time.sleep(0.05)


@needs_proc
def test_connections_are_limited(server):
    """The oldest gives way, and in the end nothing is left."""
    before = n_files(server)
    with contextlib.ExitStack() as stack:
        all_of_them = [stack.enter_context(refused(server))
                       for _ in range(2 * LINGERING)]
        wait_for_files(server, before + LINGERING + 5)
        # Who connects and goes takes nobody's place.
        for _ in range(2 * LINGERING):
            server.socket().close()
        all_of_them[-1].sendall(b"x")
        time.sleep(0.1)
        all_of_them[-1].sendall(b"x")
        # A newcomer lingers all the same.
        with refused(server) as s:
            s.sendall(b"x" * MAX_BODY)
        assert wait_until_cut_off(server, all_of_them[0], 0) < 100
        wait_for_files(server, before)
    assert server.stats()["connections"] == 1  # the one that asks


def test_stopping_waits_for_who_still_sends(build, slower):
    s = Server(build / "crossrank", slower, max_body_bytes=MAX_BODY)
    with s.socket() as late, s.socket() as never:
        for one in (late, never):
            one.sendall(head(8 * MAX_BODY))
            one.sendall(b"x" * 1000)
            one.recv(1, socket.MSG_PEEK)  # it was answered
        code = []
        stopping = threading.Thread(target=lambda: code.append(
            s.stop(signal.SIGTERM)))
        stopping.start()
        with pytest.raises(OSError):  # until it listens no more
            while True:
                s.socket().close()
        late.sendall(b"x" * (8 * MAX_BODY - 1000))
        assert read_all(late).startswith(b"HTTP/1.1 413 ")
        stopping.join()  # though one never ends
    assert code == [0], s.log
    assert "Sanitizer" not in s.log
