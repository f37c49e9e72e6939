"""Chaos: clients die, sockets are cut, models are swapped, and then every
request is accounted for.

Each request has an id of its own. What a client got an answer to is in the
access log once, with that status, and its scores are those of one of the two
models, whole. What was cut off is there at most once. Nothing stays behind.
CROSSRANK_CHAOS_SECONDS (default 6) says for how long."""

import collections
import http.client
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from serve import Server, words

SECONDS = float(os.environ.get("CROSSRANK_CHAOS_SECONDS", "6"))
BODIES = [{"query": f"query {n}", "texts": [words(1 + (i * 7) % 60, i + n + 1)
                                            for i in range(n)]}
          for n in (1, 3, 8, 40)]
# A client of its own process, to be killed in the middle of what it does.
VICTIM = """
import http.client, json, sys
port, name, body = int(sys.argv[1]), sys.argv[2], sys.argv[3]
c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
for i in range(1000000):
    c.request("POST", "/rerank", body, {"Content-Type": "application/json",
                                        "X-Request-Id": f"victim-{name}-{i}"})
    c.getresponse().read()
"""


@pytest.fixture(scope="module")
def models(root, tmp_path_factory):
    """Two models with other weights, small, so that many reloads fit in."""
    folders = []
    for layers in (1, 2):
        folder = tmp_path_factory.mktemp(f"model-{layers}")
        subprocess.run([sys.executable, root / "tools/make_tiny_model.py",
                        folder, "--layers", str(layers), "--positions", "128"],
                       check=True)
        folders.append(folder)
    return folders


class Chaos:
    def __init__(self, server, models, seed):
        self.server, self.models = server, models
        self.random = random.Random(seed)
        self.end = time.monotonic() + SECONDS
        self.lock = threading.Lock()
        self.answered = {}  # id -> (status, body, answer)
        self.cut = set()
        self.reloads = collections.Counter()
        self.faults = []

    def running(self):
        return time.monotonic() < self.end and not self.faults

    def client(self, number):
        """Asks over one connection; every now and then a new one."""
        pick = random.Random(number)
        connection = self.server.connect()
        for i in range(10**9):
            if not self.running():
                break
            name, body = f"ask-{number}-{i}", pick.randrange(len(BODIES))
            headers = {"X-Request-Id": name}
            if pick.random() < 0.1:
                headers["X-Request-Timeout-Ms"] = "1"
            if pick.random() < 0.05:
                connection.close()
            got = self.server.ask("POST", "/rerank", BODIES[body], headers,
                                  connection)
            with self.lock:
                self.answered[name] = (got.status, body, got)
        connection.close()

    def cutter(self, number):
        """Sends part or all of a request and cuts the socket."""
        pick = random.Random(number)
        for i in range(10**9):
            if not self.running():
                break
            name = f"cut-{number}-{i}"
            body = json.dumps(pick.choice(BODIES)).encode()
            data = (b"POST /rerank HTTP/1.1\r\nHost: x\r\nX-Request-Id: " +
                    name.encode() + b"\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n" % len(body)) + body
            self.cut.add(name)
            with self.server.socket() as s:
                s.sendall(data[:pick.choice([10, len(data) // 2, len(data)])])
                time.sleep(pick.random() * 0.01)
                if pick.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 struct.pack("ii", 1, 0))

    def killer(self, number):
        pick = random.Random(number)
        for i in range(10**9):
            if not self.running():
                break
            victim = subprocess.Popen(
                [sys.executable, "-c", VICTIM, str(self.server.port),
                 f"{number}-{i}", json.dumps(BODIES[3])],
                stderr=subprocess.DEVNULL)
            time.sleep(0.2 + pick.random() * 0.4)
            victim.kill()
            victim.wait()

    def reloader(self, number):
        for i in range(10**9):
            if not self.running():
                break
            model = [*self.models, "/nowhere"][(i + number) % 3]
            got = self.server.post("/admin/reload", {"model": str(model)})
            self.reloads[got.status] += 1
            time.sleep(0.05)

    def run(self):
        def guarded(work, number):
            try:
                work(number)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{work.__name__} {number}: {error!r}")

        work = ([self.client] * 6 + [self.cutter] * 3 + [self.killer] +
                [self.reloader])
        threads = [threading.Thread(target=guarded, args=(w, i), daemon=True)
                   for i, w in enumerate(work)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(SECONDS + 60 * self.server.slower)
            assert not t.is_alive(), "a client got no answer"


def right_answers(build, slower, models):
    """answers[model][body]"""
    answers = []
    for model in models:
        s = Server(build / "crossrank", slower, model=model)
        answers.append([s.post("/rerank", body).json for body in BODIES])
        assert s.stop() == 0
    assert answers[0] != answers[1]
    return answers


def test_every_request_is_accounted_for(build, slower, models):
    want = right_answers(build, slower, models)
    s = Server(build / "crossrank", slower, model=models[0], access_log=True,
               max_queue_tokens=6000)
    chaos = Chaos(s, models, 1)
    chaos.run()
    assert not chaos.faults
    end = time.monotonic() + 20 * slower
    while True:  # what was cut off is noticed soon
        stats = s.stats()
        if stats["requests_in_flight"] == 1 or time.monotonic() > end:
            break
        time.sleep(0.02)
    assert stats["requests_in_flight"] == 1  # the one that asks
    for name in ("queue_pairs", "queue_tokens", "pending_body_bytes"):
        assert stats[name] == 0, name
    assert s.stop() == 0, s.log[-2000:]
    assert "Sanitizer" not in s.log

    logged = collections.defaultdict(list)
    for name, status in re.findall(
            r"request_id=((?:ask|cut|victim)-\S+) .*? status=(\d+)", s.log):
        logged[name].append(int(status))
    for name, (status, body, got) in chaos.answered.items():
        assert logged[name] == [status], name
        assert status in (200, 429, 504), got
        if status == 200:
            assert got.json in (want[0][body], want[1][body]), name
    for name, statuses in logged.items():
        assert len(statuses) == 1, name
        assert name in chaos.answered or not name.startswith("ask")
    statuses = collections.Counter(a[0] for a in chaos.answered.values())
    assert statuses[200] > 20 and len(chaos.cut) > 20
    assert chaos.reloads[200] > 2 and chaos.reloads[500] > 0
    assert set(chaos.reloads) == {200, 500}
    print(dict(statuses), len(chaos.cut), "cut,", dict(chaos.reloads),
          "reloads,", stats["cancelled_client_gone"], "noticed")
