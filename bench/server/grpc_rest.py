#!/usr/bin/env python3
"""gRPC beside REST: the same pairs to the same server, in turns.

    .venv-tests/bin/python3 bench/server/grpc_rest.py [--build build]

For 1, 8 and 100 pairs a request and 1 and 4 requests in flight: latency as a
Python client sees it (grpcio, and http.client with kept connections), pairs a
second, and CPU seconds of the server for a thousand requests, which no client
has a part in. Scores must be equal. Rounds alternate; medians are printed, all
is kept in bench/results/grpc-rest.json."""

import argparse
import http.client
import json
import pathlib
import platform
import statistics
import struct
import sys
import threading
import time

import grpc

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests/e2e")]

from load import texts  # noqa: E402
from serve import Server  # noqa: E402

SIZES, FLIGHTS, ROUNDS, SECONDS, WORDS = (1, 8, 100), (1, 4), 3, 2.0, 40


def field(number, data):
    n, length = len(data), bytearray()
    while n > 127:
        length.append(n & 127 | 128)
        n >>= 7
    return bytes([number << 3 | 2]) + bytes(length) + bytes([n]) + data


class Rest:
    def __init__(self, server, pairs):
        self.connection = http.client.HTTPConnection(server.host, server.port)
        self.body = json.dumps({"inputs": pairs}).encode()

    def ask(self):
        self.connection.request("POST", "/predict", self.body,
                                {"Content-Type": "application/json"})
        return self.connection.getresponse().read()

    @staticmethod
    def scores(answer):
        rows = json.loads(answer)
        return [struct.unpack("f", struct.pack("f", (r[0] if isinstance(
            r, list) else r)["score"]))[0] for r in rows]


class Grpc:
    def __init__(self, server, pairs):
        channel = grpc.insecure_channel(
            server.grpc_address,
            options=[("grpc.use_local_subchannel_pool", 1)])
        self.call = channel.unary_unary("/inference.InferenceService/Infer")
        self.body = b"".join(
            field(1, field(1, q.encode()) + field(2, p.encode()))
            for q, p in pairs)

    def ask(self):
        return self.call(self.body)

    @staticmethod
    def scores(answer):
        # InferResponse: field 1, packed floats, comes first.
        assert answer[0] == 0x0A
        at, n, shift = 1, 0, 0
        while True:
            n |= (answer[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if answer[at - 1] < 128:
                break
        return list(struct.unpack(f"<{n // 4}f", answer[at:at + n]))


def run(server, kind, pairs, flights):
    clients = [kind(server, pairs) for _ in range(flights)]
    for client in clients:
        client.ask()
    times, end = [[] for _ in clients], time.monotonic() + SECONDS

    def work(i):
        while time.monotonic() < end:
            begin = time.monotonic()
            clients[i].ask()
            times[i].append((time.monotonic() - begin) * 1e3)

    cpu = server_cpu(server)
    begin = time.monotonic()
    threads = [threading.Thread(target=work, args=(i,))
               for i in range(flights)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took, ms = time.monotonic() - begin, sorted(sum(times, []))
    return {"p50_ms": statistics.median(ms), "p95_ms": ms[len(ms) * 95 // 100],
            "pairs_per_s": len(ms) * len(pairs) / took,
            "cpu_s_per_1000": (server_cpu(server) - cpu) / len(ms) * 1e3}


def server_cpu(server):
    stat = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text()
    ticks = stat.rpartition(")")[2].split()
    return (int(ticks[11]) + int(ticks[12])) / 100


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    arguments = parser.parse_args()
    server = Server(arguments.build.resolve() / "crossrank")
    query, results = texts(1, 6, 7)[0], []
    for n in SIZES:
        pairs = [(query, p) for p in texts(n, WORDS, n)]
        a, b = Rest(server, pairs), Grpc(server, pairs)
        assert a.scores(a.ask()) == b.scores(b.ask()), "scores differ"
        for flights in FLIGHTS:
            rounds = {"rest": [], "grpc": []}
            for _ in range(ROUNDS):
                for name, kind in (("rest", Rest), ("grpc", Grpc)):
                    rounds[name].append(run(server, kind, pairs, flights))
            results.append({"pairs": n, "in_flight": flights,
                            "rounds": rounds})
            for name in rounds:
                middle = {k: round(statistics.median(r[k] for r in
                                                     rounds[name]), 2)
                          for k in rounds[name][0]}
                print(f"{n:4} pairs, {flights} in flight, {name}: {middle}",
                      flush=True)
    machine = {"cpu": next((line.split(":")[1].strip() for line in open(
        "/proc/cpuinfo") if line.startswith("model name")), "unknown"),
               "system": platform.platform(), "dtype": json.loads(
                   http_get(server, "/info"))["crossrank"]["dtype"]}
    server.process.terminate()
    server.process.wait()
    (ROOT / "bench/results/grpc-rest.json").write_text(
        json.dumps({"machine": machine, "results": results}, indent=1) + "\n")


def http_get(server, path):
    connection = http.client.HTTPConnection(server.host, server.port)
    connection.request("GET", path)
    return connection.getresponse().read()


if __name__ == "__main__":
    main()
