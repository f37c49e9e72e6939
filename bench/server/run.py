#!/usr/bin/env python3
"""Proofs of what the server promises, in under six minutes:

    python3 bench/server/run.py [--build build] [--scale 1] [--only NAME]...

The server runs on CPU 0 with one lane, the load on the others. Every raw
figure goes to bench/results/server.json beside the machine and its load before
and after; what is printed is computed from those. --scale multiplies all
durations: 3 makes the overload a minute long."""

import argparse
import datetime
import itertools
import json
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests/e2e")]

from load import Load, request, texts  # noqa: E402
from serve import Server  # noqa: E402

SERVER_CPU = 0
DOCUMENTS, WORDS = 8, 40  # of the usual request


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def latencies_ms(done):
    ms = [(d.ended - d.begun) * 1e3 for d in done if d.status == 200]
    return {f"p{p:g}": round(percentile(ms, p), 2)
            for p in (50, 95, 99, 99.9)} if ms else {}


def statuses(done):
    return {str(s): sum(d.status == s for d in done)
            for s in sorted({d.status for d in done})}


def pairs_per_s(done, begin, end):
    return sum(d.n_pairs for d in done
               if d.status == 200 and begin <= d.ended < end) / (end - begin)


class Bench:
    def __init__(self, build, scale):
        self.program, self.scale = build / "crossrank", scale
        self.requests = [request(DOCUMENTS, WORDS, i) for i in range(50)]

    def serve(self, **options):
        """A server on its CPU; what it starts stays there."""
        others = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {SERVER_CPU})
        try:
            return Server(self.program, threads=1, **options)
        finally:
            os.sched_setaffinity(0, others)

    def usual(self):
        return itertools.cycle(self.requests).__next__

    def closed(self, server, connections, seconds, pick=None):
        return Load(server.port, pick or self.usual(), seconds * self.scale,
                    connections=connections).run()

    def capacity(self, server, seconds=5):
        """Pairs a second with 16 connections, the first second left out."""
        done = self.closed(server, 16, seconds)
        return pairs_per_s(done, 1 * self.scale, seconds * self.scale)

    # ---- The proofs ------------------------------------------------------

    def connections(self):
        """1 to 256 keep-alive connections: throughput must not fall."""
        s = self.serve()
        self.closed(s, 4, 2)
        rows = []
        for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            # Counted by the server: with many connections all are served in
            # turns, so that their requests end together, seconds apart.
            counts = []

            def count():
                for seconds in (1, 4):
                    time.sleep(seconds * self.scale)
                    counts.append((s.stats()["pairs"], time.perf_counter()))

            counter = threading.Thread(target=count)
            counter.start()
            done = self.closed(s, n, 5.5)
            counter.join()
            (before, begin), (after, end) = counts
            rows.append({"connections": n, "statuses": statuses(done),
                         "pairs_per_s": (after - before) / (end - begin),
                         "latency_ms": latencies_ms(done)})
        s.stop()
        best = max(r["pairs_per_s"] for r in rows)
        return {"rows": rows, "least_to_best":
                min(r["pairs_per_s"] for r in rows) / best}

    def overload(self):
        """Ten times as much as it can do: goodput, 429s, recovery."""
        s = self.serve()
        peak = self.capacity(s)
        tokens_per_pair = s.stats()["tokens_real"] / s.stats()["pairs"]
        s.stop()
        limit = int(peak * tokens_per_pair / 2)
        s = self.serve(max_queue_tokens=limit)  # half a second of work
        self.closed(s, 4, 1)
        seconds = 20 * self.scale
        done = Load(s.port, self.usual(), seconds,
                    rate=10 * peak / DOCUMENTS).run()
        begin = time.perf_counter()
        got = s.ask("POST", "/v1/rerank",
                    self.requests[0].data.partition(b"\r\n\r\n")[2])
        recovery = time.perf_counter() - begin
        s.stop()
        goodput = pairs_per_s(done, 1, seconds)
        return {"peak_pairs_per_s": peak, "seconds": seconds,
                "offered_requests_per_s": 10 * peak / DOCUMENTS,
                "max_queue_tokens": limit, "goodput_pairs_per_s": goodput,
                "goodput_to_peak": goodput / peak, "statuses": statuses(done),
                "latency_ms_of_200": latencies_ms(done),
                "last_answer_s_after_load":
                    max(d.ended for d in done) - seconds,
                "one_request_after": {"status": got.status,
                                      "ms": recovery * 1e3}}

    def open_loop(self):
        """Poisson arrivals at 50, 80 and 95 % of its capacity."""
        s = self.serve()
        peak = self.capacity(s)
        rows = []
        for load in (50, 80, 95):
            rate = peak / DOCUMENTS * load / 100
            done = Load(s.port, self.usual(), 15 * self.scale, rate=rate,
                        seed=load).run()
            rows.append({"percent": load, "requests_per_s": rate,
                         "n": len(done), "statuses": statuses(done),
                         "latency_ms": latencies_ms(done)})
        s.stop()
        return {"capacity_pairs_per_s": peak, "rows": rows}

    def memory(self):
        """Requests of random sizes to a one-layer model: resident bytes."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, ROOT / "tools/make_tiny_model.py",
                            folder, "--layers", "1", "--positions", "512"],
                           check=True, stdout=subprocess.DEVNULL)
            s = self.serve(model=folder)
        pick = random.Random(1)
        sizes = [request(pick.randint(1, 30), pick.randint(1, 100), i)
                 for i in range(300)]
        samples, stop = [], threading.Event()

        def sample():
            while not stop.wait(0.5):
                stats = s.stats()
                samples.append((stats["responses_2xx"],
                                stats["memory_bytes"]))

        thread = threading.Thread(target=sample)
        thread.start()
        done = self.closed(s, 8, 30, lambda: pick.choice(sizes))
        stop.set()
        thread.join()
        s.stop()
        steady = [m for _, m in samples[len(samples) // 3:]]
        return {"requests": len(done), "statuses": statuses(done),
                "samples": samples, "steady_min": min(steady),
                "steady_max": max(steady),
                "spread": (max(steady) - min(steady)) / min(steady)}

    def idle(self):
        """CPU time of a server that nobody asks."""
        s = self.serve()
        self.closed(s, 4, 1)
        time.sleep(2)  # what is left of the load is no idleness
        before = s.stats()["cpu_s"]
        seconds = 15 * self.scale
        time.sleep(seconds)
        used = s.stats()["cpu_s"] - before
        s.stop()
        return {"seconds": seconds, "cpu_s": used, "share": used / seconds}

    def http_cost(self):
        """The same pairs through HTTP and through `crossrank score`, in
        turns, each with one lane on one CPU."""
        n = 32
        pick = [request(n, WORDS, i) for i in range(40)]
        pairs = "".join(f"{texts(1, 6, -i)[0]}\t{t}\n" for i in range(40)
                        for t in texts(n, WORDS, i)).encode()
        s = self.serve()
        self.closed(s, 4, 2)
        rounds = []
        for _ in range(4):
            load = threading.Thread(target=self.closed, args=(
                s, 4, 7, itertools.cycle(pick).__next__))
            load.start()
            time.sleep(1 * self.scale)
            # Counted by the server: requests of 32 are too coarse.
            before, at = s.stats()["pairs"], time.perf_counter()
            time.sleep(5 * self.scale)
            http = (s.stats()["pairs"] - before) / (time.perf_counter() - at)
            load.join()
            out = subprocess.run(
                ["taskset", "-c", str(SERVER_CPU), self.program, "score",
                 "--threads", "1", "-"], input=pairs, capture_output=True,
                check=True).stderr.decode()
            alone = float(re.search(r"pairs_per_second=([\d.]+)", out)[1])
            rounds.append({"http": http, "in_process": alone})
        s.stop()
        return {"rounds_pairs_per_s": rounds, "http_to_in_process":
                statistics.median(r["http"] / r["in_process"]
                                  for r in rounds)}

    def fairness(self):
        """A client with 5 passages twice a second beside one that posts 1,000
        without pause."""
        s = self.serve()
        bulk = request(1000, WORDS, 7)
        small = request(5, WORDS, 8)

        def ask_small(seconds):
            begin, ms = time.perf_counter(), []
            connection = s.connect()
            body = small.data.partition(b"\r\n\r\n")[2]
            for i in range(int(seconds * 2)):
                time.sleep(max(0, begin + i / 2 - time.perf_counter()))
                at = time.perf_counter()
                got = s.ask("POST", "/v1/rerank", body, connection=connection)
                assert got.status == 200
                ms.append((time.perf_counter() - at) * 1e3)
            connection.close()
            return ms

        def pairs_done():
            return s.stats()["pairs"]

        def bulk_rate(seconds, beside=None):
            stop, n_small, ms = time.monotonic() + seconds + 1, 0, []

            def post():
                connection = s.connect(600)
                body = bulk.data.partition(b"\r\n\r\n")[2]
                while time.monotonic() < stop:
                    s.ask("POST", "/v1/rerank", body, connection=connection)
                connection.close()

            thread = threading.Thread(target=post)
            thread.start()
            time.sleep(1)
            before, at = pairs_done(), time.perf_counter()
            if beside:
                ms = beside(seconds)
                n_small = 5 * len(ms)
            else:
                time.sleep(seconds)
            rate = (pairs_done() - before - n_small) / (
                time.perf_counter() - at)
            thread.join()
            return rate, ms

        unloaded = ask_small(15 * self.scale)
        solo, _ = bulk_rate(15 * self.scale)
        s.post("/stats/reset", {})
        beside, loaded = bulk_rate(20 * self.scale, ask_small)
        group_ms = s.stats()["inference_ms"]["mean"]
        s.stop()
        added = percentile(loaded, 99) - percentile(unloaded, 99)
        return {"unloaded_ms": unloaded, "loaded_ms": loaded,
                "p99_unloaded_ms": percentile(unloaded, 99),
                "p99_loaded_ms": percentile(loaded, 99),
                "mean_group_ms": group_ms, "p99_added_groups":
                added / group_ms, "bulk_solo_pairs_per_s": solo,
                "bulk_beside_pairs_per_s": beside,
                "bulk_kept": beside / solo}

    def batcher(self):
        """One connection, no window: what lies between tokens and lane."""
        s = self.serve()
        one = request(1, WORDS, 3)
        self.closed(s, 1, 1, lambda: one)
        s.post("/stats/reset", {})
        done = self.closed(s, 1, 5, lambda: one)
        wait = s.stats()["queue_wait_ms"]
        s.stop()
        return {"requests": len(done), "queue_wait_ms": wait}


# What each must show, said from its own figures.
SUMMARIES = {
    "connections": lambda r: f"least of 1..256 connections is "
    f"{r['least_to_best']:.3f} of the best; " + ", ".join(
        f"{x['connections']}: {x['pairs_per_s']:.0f}" for x in r["rows"])
    + " pairs/s",
    "overload": lambda r: f"goodput {r['goodput_to_peak']:.3f} of the peak "
    f"({r['peak_pairs_per_s']:.0f} pairs/s), statuses {r['statuses']}, last "
    f"answer {r['last_answer_s_after_load']:.2f} s after the load, then one in "
    f"{r['one_request_after']['ms']:.0f} ms",
    "open_loop": lambda r: "; ".join(
        f"{x['percent']} %: {x['latency_ms']} ms" for x in r["rows"]),
    "memory": lambda r: f"{r['requests']} requests, spread "
    f"{100 * r['spread']:.2f} % of {r['steady_min'] / 1e6:.1f} MB",
    "idle": lambda r: f"{100 * r['share']:.3f} % of one CPU",
    "http_cost": lambda r: f"{r['http_to_in_process']:.3f} of in process",
    "fairness": lambda r: f"p99 {r['p99_unloaded_ms']:.1f} -> "
    f"{r['p99_loaded_ms']:.1f} ms, {r['p99_added_groups']:.2f} groups of "
    f"{r['mean_group_ms']:.1f} ms; bulk keeps {r['bulk_kept']:.3f}",
    "batcher": lambda r: f"queue wait mean "
    f"{1e3 * r['queue_wait_ms']['mean']:.0f} us, p99 "
    f"{1e3 * r['queue_wait_ms']['p99']:.0f} us",
}


def commit():
    done = subprocess.run(["git", "-C", ROOT, "describe", "--always",
                           "--dirty"], capture_output=True, text=True)
    return done.stdout.strip()


def cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = {k: re.search(rf"^{k}\s*: (.*)$", text, re.M)
             for k in ("model name", "cpu family", "model")}
    return {k.replace(" ", "_"): m[1] for k, m in found.items() if m}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", action="append", choices=SUMMARIES)
    parser.add_argument("--output", type=pathlib.Path,
                        default=ROOT / "bench/results/server.json")
    a = parser.parse_args()
    cpus = os.sched_getaffinity(0)
    load_cpus = cpus - {SERVER_CPU} or cpus
    os.sched_setaffinity(0, load_cpus)
    bench = Bench(a.build.resolve(), a.scale)
    result = {"what": "crossrank serve, one lane on one CPU",
              "when": datetime.date.today().isoformat(), "commit": commit(),
              "machine": {"cpu": cpu_model(), "cpus": len(cpus),
                          "system": f"{platform.system()} "
                                    f"{platform.machine()}",
                          "load_before": os.getloadavg()},
              "request": {"documents": DOCUMENTS, "words": WORDS},
              "scale": a.scale, "proofs": {}}
    for name in a.only or SUMMARIES:
        at = time.monotonic()
        figures = getattr(bench, name)()
        figures["took_s"] = time.monotonic() - at
        result["proofs"][name] = figures
        print(f"{name:12} {SUMMARIES[name](figures)}", flush=True)
        result["machine"]["load_after"] = os.getloadavg()
        a.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
