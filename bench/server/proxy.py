#!/usr/bin/env python3
"""What HAProxy costs: the same requests to two replicas, with and without it.

    .venv-tests/bin/python3 bench/server/proxy.py [--build build]

deploy/haproxy/haproxy.cfg as it ships, in plain text. Two replicas of one lane;
the load is closed, eight kept connections, four to each replica where there is
no proxy. In "apart" both replicas have the first CPU, proxy and load generator
the second, as where the proxy has CPUs of its own; in "shared" all may use
both, so that the proxy's CPU time is the replicas' loss. Rounds alternate. A
line says pairs a second with and without, the median of the rounds' ratios,
and the CPU time of the proxy beside the replicas'. All is kept in
bench/results/proxy.json."""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests/e2e")]

from load import Load, request  # noqa: E402
from haproxy import Proxy, make_certificate  # noqa: E402
from run import commit, cpu_model  # noqa: E402
from serve import Server  # noqa: E402

SIZES, CONNECTIONS, WORDS, WARM_SECONDS = (1, 8, 32), 8, 40, 0.5


def on(cpus, make):
    """What make() starts runs on these CPUs alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        return make()
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(
        ")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, build, folder, arrangement, seconds):
        first, second = sorted(os.sched_getaffinity(0))[:2]
        apart = arrangement == "apart"
        self.seconds = seconds
        self.theirs = {first} if apart else {first, second}
        self.ours = {second} if apart else {first, second}
        self.replicas = [on(self.theirs, lambda: Server(
            build / "crossrank", threads=1)) for _ in range(2)]
        addresses = [(f"127.0.0.1:{r.port}", r.grpc_address)
                     for r in self.replicas]
        folder = folder / arrangement
        folder.mkdir()
        self.proxy = on(self.ours, lambda: Proxy(
            folder, addresses, make_certificate(folder)[0], check_ms=None))

    def close(self):
        self.proxy.close()
        for r in self.replicas:
            r.stop()

    def load(self, ports, wanted, seconds):
        load = Load(ports, lambda: wanted, seconds, connections=CONNECTIONS)
        return on(self.ours, load.run)

    def round(self, through_proxy, wanted):
        ports = self.proxy.ports["plain"] if through_proxy else [
            r.port for r in self.replicas]
        self.load(ports, wanted, WARM_SECONDS)
        before = [cpu_seconds(p.process) for p in self.all()]
        done = self.load(ports, wanted, self.seconds)
        after = [cpu_seconds(p.process) for p in self.all()]
        statuses = {d.status for d in done}
        assert statuses == {200}, f"answers: {statuses or 'none'}"
        return {"requests": len(done), "pairs_per_s": sum(
            d.n_pairs for d in done) / max(d.ended for d in done),
            "cpu_s": [round(b - a, 2) for a, b in zip(before, after)]}

    def all(self):
        return [*self.replicas, self.proxy]


def middle(rounds, name):
    return statistics.median(r[name] for r in rounds)


def summary(rounds):
    """ratio: pairs a second with the proxy over those without."""
    direct, proxied = rounds["direct"], rounds["proxy"]
    ratios = [p["pairs_per_s"] / d["pairs_per_s"]
              for d, p in zip(direct, proxied)]
    n = sum(r["requests"] for r in proxied)
    proxy_s = sum(r["cpu_s"][2] for r in proxied)
    return {"direct_pairs_per_s": round(middle(direct, "pairs_per_s"), 1),
            "proxy_pairs_per_s": round(middle(proxied, "pairs_per_s"), 1),
            "ratio": round(statistics.median(ratios), 4),
            "ratios": [round(r, 4) for r in sorted(ratios)],
            "proxy_cpu_us_per_request": round(1e6 * proxy_s / n, 1),
            "proxy_cpu_share": round(proxy_s / sum(
                sum(r["cpu_s"][:2]) for r in proxied), 4)}


def measure(bench, arrangement, n_pairs, n_rounds):
    wanted = request(n_pairs, WORDS, n_pairs)
    rounds = {"direct": [], "proxy": []}
    for i in range(n_rounds):
        for name in ("direct", "proxy")[::1 if i % 2 else -1]:
            rounds[name].append(bench.round(name == "proxy", wanted))
    result = {"arrangement": arrangement, "pairs": n_pairs, **summary(rounds)}
    print(result, flush=True)
    return {**result, "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    parser.add_argument("--rounds", default=5, type=int)
    parser.add_argument("--seconds", default=3.0, type=float)
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("needs two CPUs")
    load_before, results = os.getloadavg(), []
    with tempfile.TemporaryDirectory() as folder:
        for arrangement in ("apart", "shared"):
            bench = Bench(arguments.build.resolve(), pathlib.Path(folder),
                          arrangement, arguments.seconds)
            try:
                dtype = bench.replicas[0].get("/info").json["crossrank"][
                    "dtype"]
                results += [measure(bench, arrangement, n, arguments.rounds)
                            for n in SIZES]
            finally:
                bench.close()
    machine = {"cpu": cpu_model(), "system": platform.platform(),
               "dtype": dtype, "commit": commit(),
               "load_before": load_before}
    (ROOT / "bench/results/proxy.json").write_text(json.dumps(
        {"machine": machine, "connections": CONNECTIONS, "words": WORDS,
         "seconds": arguments.seconds, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
