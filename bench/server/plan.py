#!/usr/bin/env python3
"""crossrank plan against real servers: predicted and measured percentiles.

    python3 bench/server/plan.py measure [--build build] [--seconds 62]
    python3 bench/server/plan.py compare [--build build]

`measure` takes about seven and a half minutes on a quiet machine of two CPUs.
For 1 and 2 replicas of one lane, each server on a CPU of its own, it lets
crossrank plan measure service times, finds what the servers can really do
(16 connections a replica), then puts an open loop of Poisson arrivals on them
at 50, 80 and 95 % of that; the client gives each request to the server with
the fewest outstanding. All of it goes to bench/results/plan.json.

`compare` asks crossrank plan, with those service times, what to expect at such
rates and writes bench/results/plan.md. A minute of load is a sample: 40
simulations of as many requests say how far such samples scatter."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests/e2e")]

from load import Connection, Load, Request  # noqa: E402
from serve import Server  # noqa: E402

PAIRS, SHARES, SETTLE, SEEDS = 2, (0.5, 0.8, 0.95), 2.0, 40
RAW = ROOT / "bench/results/plan.json"
TABLE = ROOT / "bench/results/plan.md"
PERCENTILES = ("p50", "p95", "p99")


def percentile(values, p):
    """Between the nearest two, as crossrank plan has it."""
    values = sorted(values)
    at = p / 100 * (len(values) - 1)
    low = values[int(at)]
    return low + (at - int(at)) * (values[min(int(at) + 1, len(values) - 1)]
                                   - low)


# ---- Requests -----------------------------------------------------------


def rows(name):
    return map(json.loads, (ROOT / "data/novel" / name).open())


def requests():
    """The load generator's requests of data/novel: PAIRS passages of a query,
    the next ones in each round."""
    texts = {r["_id"]: f"{r['title']} {r['text']}".strip()
             for r in rows("corpus.jsonl")}
    candidates = {}
    for line in (ROOT / "data/novel/run.bm25.tsv").open():
        query, document = line.split("\t")[:2]
        candidates.setdefault(query, []).append(texts[document])
    made = []
    for query in rows("queries.jsonl"):
        passages = candidates[query["_id"]]
        for first in range(0, len(passages), PAIRS):
            body = json.dumps({
                "query": query["text"], "raw_scores": True, "texts": [
                    passages[(first + i) % len(passages)]
                    for i in range(PAIRS)]}).encode()
            made.append(Request(
                b"POST /rerank HTTP/1.1\r\nHost: bench\r\nContent-Type: "
                b"application/json\r\nContent-Length: "
                + str(len(body)).encode() + b"\r\n\r\n" + body, PAIRS))
    return made


class Balanced(Load):
    """An open or closed loop on several servers: each request to the one with
    the fewest outstanding, in turns where several have as few."""

    def __init__(self, ports, pick, seconds, per_port=None, rate=None,
                 seed=1):
        super().__init__(ports[0], pick, seconds, rate=rate, seed=seed)
        self.ports = list(ports)
        self.busy = dict.fromkeys(ports, 0)
        self.kept = {port: [] for port in ports}
        if per_port:
            self.idle = [self.connect(p) for p in ports
                         for _ in range(per_port)]
            self.n_connections = len(self.idle)

    def connect(self, port):
        connection = Connection(port, self.selector)
        connection.port = port
        return connection

    def launch(self, begun):
        if self.rate is None:  # closed: connections stay with their server
            connection = self.idle.pop()
        else:
            port = min(self.ports, key=self.busy.get)
            self.ports.remove(port)
            self.ports.append(port)
            connection = (self.kept[port].pop() if self.kept[port]
                          else self.connect(port))
        self.busy[connection.port] += 1
        self.n_busy += 1
        connection.begin(self.pick(), begun)

    def handle(self, connection, mask):
        before = len(self.done)
        super().handle(connection, mask)
        if len(self.done) == before:
            return
        self.busy[connection.port] -= 1
        if self.rate is not None and self.idle:
            self.idle.pop()
            self.kept[connection.port].append(connection)


# ---- Measuring ----------------------------------------------------------


def ask_plan(program, *options):
    done = subprocess.run(
        [program, "plan", "--pairs", str(PAIRS), "--lanes", "1", "--json",
         *map(str, options)], capture_output=True, text=True)
    if done.returncode > 1:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def serve(program, cpus):
    """A server of one lane on each CPU; what they start stays there."""
    before, servers = os.sched_getaffinity(0), []
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        servers.append(Server(program, threads=1))
    os.sched_setaffinity(0, before)
    return servers


def busy_share(before, after, servers, seconds):
    return statistics.mean(
        (a["lane_busy_s"] - b["lane_busy_s"]) / seconds
        for a, b in zip(after, before))


def measure_one(servers, pick, share, rate, seconds):
    before = [s.stats() for s in servers]
    done = Balanced([s.port for s in servers], pick, seconds, rate=rate,
                    seed=int(100 * share)).run()
    after = [s.stats() for s in servers]
    counted = [d for d in done if d.begun >= SETTLE]
    return {"share": share, "rate": rate, "seconds": seconds,
            "failed": sum(d.status != 200 for d in done),
            "busy": busy_share(before, after, servers,
                               max(d.ended for d in done)),
            "latencies_ms": [round((d.ended - d.begun) * 1e3, 2)
                             for d in counted]}


def measure_replicas(program, n, made, seconds):
    """Service times as n lanes at once have them, as n servers will."""
    plan = ask_plan(program, "--rate", 1, "--threads", n)
    servers = serve(program, range(n))
    chosen = random.Random(n)
    pick = lambda: chosen.choice(made)  # noqa: E731
    ports = [s.port for s in servers]
    Balanced(ports, pick, 1, per_port=4).run()
    done = Balanced(ports, pick, 7, per_port=16).run()
    capacity = sum(d.ended > 1 for d in done) / (
        max(d.ended for d in done) - 1)
    print(f"{n} replicas: {capacity:.2f} requests/s at most", flush=True)
    runs = []
    for share in SHARES:
        run = measure_one(servers, pick, share, share * capacity, seconds)
        runs.append(run)
        print(f"  {share:.0%}: {len(run['latencies_ms'])} requests, " + ", "
              .join(f"{p} {percentile(run['latencies_ms'], int(p[1:])):.1f} ms"
                    for p in PERCENTILES), flush=True)
    for server in servers:
        server.stop()
    return {"replicas": n, "capacity": capacity, "plan": plan, "runs": runs}


def measure(program, seconds):
    made = requests()
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo")
                if line.startswith("model name")), "unknown")
    raw = {"date": datetime.date.today().isoformat(),
           "machine": {"cpu": cpu, "cpus": os.cpu_count(),
                       "system": platform.platform()},
           "load_before": os.getloadavg(), "pairs": PAIRS,
           "measured": [measure_replicas(program, n, made, seconds)
                        for n in (1, 2)],
           "load_after": os.getloadavg()}
    RAW.write_text(json.dumps(raw, indent=1) + "\n")


# ---- Comparing ----------------------------------------------------------


def predict(program, one, run, folder):
    """The long run's percentiles, and where 90 of 100 samples of this size
    have theirs."""
    file = folder / f"plan-{one['replicas']}.json"
    file.write_text(json.dumps(one["plan"]))
    options = ["--rate", run["rate"], "--replicas", one["replicas"],
               "--results", file]
    with ThreadPoolExecutor(2) as pool:
        samples = list(pool.map(
            lambda seed: ask_plan(program, *options, "--seed", seed,
                                  "--requests", len(run["latencies_ms"])),
            range(2, SEEDS + 2)))
    long = ask_plan(program, *options, "--requests", 200000)
    spread = {}
    for p in PERCENTILES:
        found = [s["answer"][p + "_ms"] for s in samples]
        # An overloaded sample is beyond all others.
        found = sorted(v if v is not None else float("inf") for v in found)
        spread[p] = (percentile(found, 5), percentile(found, 95))
    return long, spread


def table_row(one, run, long, spread):
    cells = [str(one["replicas"]), f"{run['share']:.0%}",
             f"{run['rate']:.1f}", str(len(run["latencies_ms"]))]
    errors = []
    for p in PERCENTILES:
        expected = long["answer"][p + "_ms"]
        found = percentile(run["latencies_ms"], int(p[1:]))
        if expected is None:
            cells.append(f"overloaded / {found:.0f}")
            continue
        error = expected / found - 1
        low, high = spread[p]
        errors.append({"p": p, "error": error, "in": low <= found <= high})
        cells.append(f"{expected:.0f} / {found:.0f} ({error:+.0%}; "
                     f"{low:.0f} to {high:.0f})")
    busy = long["answer"]["utilization"]
    cells.append(f"{busy:.0%} / {run['busy']:.0%}" if busy is not None
                 else f"- / {run['busy']:.0%}")
    return cells, errors


def compare(program, folder):
    raw = json.loads(RAW.read_text())
    head = ["replicas", "load", "requests/s", "requests"] + [
        f"{p} ms" for p in PERCENTILES] + ["lanes at work"]
    lines = ["predicted / measured (error; where 90 of 100 simulations of as "
             "many requests lie)", "", f"| {' | '.join(head)} |",
             "|" + "---|" * len(head)]
    all_errors = []
    for one in raw["measured"]:
        for run in one["runs"]:
            cells, errors = table_row(one, run,
                                      *predict(program, one, run, folder))
            lines.append(f"| {' | '.join(cells)} |")
            all_errors += errors
    lines += ["", "| replicas | capacity, predicted | measured | error |",
              "|---|---|---|---|"]
    for one in raw["measured"]:
        expected = one["replicas"] * one["plan"]["replica"]["requests_per_s"]
        lines.append(f"| {one['replicas']} | {expected:.2f} requests/s | "
                     f"{one['capacity']:.2f} | "
                     f"{expected / one['capacity'] - 1:+.1%} |")
    inside = sum(e["in"] for e in all_errors)
    lines += ["", f"{inside} of {len(all_errors)} measured percentiles lie "
              "where 90 of 100 simulations of as many requests do.", ""]
    TABLE.write_text("\n".join(lines))
    print("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("measure", "compare"))
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--seconds", default=62.0, type=float)
    arguments = parser.parse_args()
    program = arguments.build.resolve() / "crossrank"
    if arguments.what == "measure":
        measure(program, arguments.seconds)
    else:
        folder = arguments.build.resolve() / "plan"
        folder.mkdir(exist_ok=True)
        compare(program, folder)


if __name__ == "__main__":
    main()
