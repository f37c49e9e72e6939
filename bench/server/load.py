"""Load on one thread: requests made beforehand, sockets that never block.

Closed: each of N connections asks again as soon as it is answered. Open:
requests begin at random times (Poisson) at a given rate whatever the answers
do, and latency counts from the time a request should have begun."""

import itertools
import json
import random
import selectors
import socket
import time
from typing import NamedTuple

MAX_CONNECTIONS = 1000
DRAIN_SECONDS = 60


class Done(NamedTuple):
    begun: float   # seconds since the load began; open: when it was due
    ended: float
    status: int
    n_pairs: int


class Request(NamedTuple):
    data: bytes
    n_pairs: int


def texts(n, n_words, seed):
    """n made-up texts; no two alike."""
    pick = random.Random(seed)
    some = ("air water stone house river green fast light wing metal city "
            "capital history of the music science play new found").split()
    return [" ".join(pick.choices(some, k=n_words)) for _ in range(n)]


def request(n_pairs, n_words, seed=1, path="/v1/rerank"):
    body = json.dumps({"query": texts(1, 6, -seed)[0], "top_n": 10,
                       "return_documents": False,
                       "documents": texts(n_pairs, n_words, seed)}).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: bench\r\n"
            f"Content-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    return Request(head + body, n_pairs)


class Connection:
    def __init__(self, port, selector):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.selector = selector
        selector.register(self.socket, selectors.EVENT_READ, self)

    def begin(self, request, begun):
        self.request, self.begun, self.answer = request, begun, b""
        self.unsent = memoryview(request.data)
        self.send()

    def send(self):
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        events = selectors.EVENT_READ
        if self.unsent:
            events |= selectors.EVENT_WRITE
        self.selector.modify(self.socket, events, self)

    def receive(self):
        """The status, once all of the answer is there."""
        data = self.socket.recv(1 << 16)
        if not data:
            return 0
        self.answer += data
        head, end, body = self.answer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                      if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]) if len(body) >= length else None

    def close(self):
        self.selector.unregister(self.socket)
        self.socket.close()


class Load:
    """pick() -> Request. One of `connections` (closed) and `rate` (open).
    port: the server's, or those of several, which connections take in turn."""

    def __init__(self, port, pick, seconds, connections=None, rate=None,
                 seed=1):
        self.ports = itertools.cycle([port] if isinstance(port, int)
                                     else port)
        self.pick, self.seconds = pick, seconds
        self.rate, self.random = rate, random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.idle = [Connection(next(self.ports), self.selector)
                     for _ in range(connections or 0)]
        self.n_connections = len(self.idle)
        self.n_busy = 0
        self.waiting = []  # open: due times that found no connection
        self.done = []
        self.due = 0.0

    def now(self):
        return time.perf_counter() - self.start

    def launch(self, begun):
        if not self.idle and self.n_connections < MAX_CONNECTIONS:
            self.idle.append(Connection(next(self.ports), self.selector))
            self.n_connections += 1
        if not self.idle:
            self.waiting.append(begun)
            return
        self.n_busy += 1
        self.idle.pop().begin(self.pick(), begun)

    def launch_due(self):
        """Begins what is due; how long until the next."""
        now = self.now()
        if self.rate is None:
            while self.idle and now < self.seconds:
                self.launch(now)
            return 0.1
        while self.waiting and self.idle:
            self.launch(self.waiting.pop(0))
        while self.due <= now and self.due < self.seconds:
            self.launch(self.due)
            self.due += self.random.expovariate(self.rate)
        return max(0.0, min(0.1, self.due - self.now()))

    def handle(self, connection, mask):
        if mask & selectors.EVENT_WRITE:
            connection.send()
        if not mask & selectors.EVENT_READ:
            return
        status = connection.receive()
        if status is None:
            return
        self.done.append(Done(connection.begun, self.now(), status,
                              connection.request.n_pairs))
        self.n_busy -= 1
        if status == 0:
            connection.close()
            self.n_connections -= 1
        else:
            self.idle.append(connection)

    def run(self):
        self.start = time.perf_counter()
        while self.now() < self.seconds + DRAIN_SECONDS:
            wait = self.launch_due()
            over = self.now() >= self.seconds
            if over and (self.rate is None or not self.n_busy):
                break  # closed: what is under way is cut off
            for key, mask in self.selector.select(wait):
                self.handle(key.data, mask)
        for key in list(self.selector.get_map().values()):
            key.data.close()
        self.selector.close()
        return self.done
