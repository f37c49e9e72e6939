#!/usr/bin/env python3
"""What an engine of bulk scoring costs: its pairs a second beside those of
CrossEncoder.predict in this process, on the same cores and pairs.

Each round scores all pairs in process, then with every engine, one after the
other; the median of the rounds counts. An engine's seconds are from its first
open model to its last part on the disk, as its pairs_per_second says: start-up
is apart, and so is reading texts into Python in process. Scores are compared to
the bit. Spark runs as local-cluster, one executor with all the cores; Ray with
one actor.

    .venv-scale/bin/python bench/bulk.py [--save]    --save keeps every round in
                                              bench/results/bulk-CPU.json"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings/python"))
N_CPUS = len(os.sched_getaffinity(0))
ENGINES = {
    "local": [],
    "spark": ["--master", f"local-cluster[1,{N_CPUS},2048]"],
    "ray": ["--threads", str(N_CPUS)],
}


def cpu_name():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*: (.*)", text)[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def read_pairs(shared, n):
    """(query, passage) of MS MARCO, again from the first where they end."""
    path = shared / "data/msmarco-bench/pairs.dl22.bm25top100.tsv"
    with open(path, encoding="utf-8") as lines:
        rows = [tuple(line.rstrip("\n").split("\t")[-2:]) for line in lines]
    return [rows[i % len(rows)] for i in range(n)]


def in_process(pairs, arguments):
    """Seconds and scores."""
    import crossrank
    with crossrank.CrossEncoder(dtype=arguments.dtype,
                                threads=N_CPUS) as encoder:
        encoder.predict(pairs[:100])
        begin = time.perf_counter()
        scores = encoder.predict(pairs)
        return time.perf_counter() - begin, scores


def with_engine(engine, source, folder, arguments):
    """Pairs a second, seconds of the whole command, and the scores."""
    import pyarrow.parquet as pq
    import numpy as np
    out = pathlib.Path(folder) / "out"
    environment = dict(
        os.environ, HOME=folder, PYTHONPATH=str(ROOT / "bindings/python"),
        SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_DIRS=folder,
        SPARK_WORKER_DIR=folder, RAY_TMPDIR=folder, RAY_AUTH_MODE="disabled",
        RAY_USAGE_STATS_ENABLED="0")
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "crossrank.bulk", "--engine", engine,
         *ENGINES[engine], "--dtype", arguments.dtype, "--part-rows",
         str(arguments.part_rows), source, out],
        env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if done.returncode != 0:
        raise SystemExit(f"{engine} failed: {done.stderr}")
    rate = float(done.stderr.split("pairs_per_second=")[1])
    parts = [pq.read_table(path)["score"].to_numpy()
             for path in sorted(out.glob("part-*"))]
    return rate, seconds, np.concatenate(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=50000)
    parser.add_argument("--part-rows", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--engines", nargs="+", choices=ENGINES,
                        default=list(ENGINES))
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(
        os.environ.get("CROSSRANK_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    import pyarrow as pa
    import pyarrow.parquet as pq
    pairs = read_pairs(arguments.shared, arguments.pairs)
    rounds = {name: [] for name in ("in_process", *arguments.engines)}
    whole = {name: [] for name in arguments.engines}
    with tempfile.TemporaryDirectory(prefix="crossrank-") as folder:
        source = pathlib.Path(folder) / "pairs.parquet"
        pq.write_table(pa.table({"query": [q for q, _ in pairs],
                                 "passage": [p for _, p in pairs]}), source)
        for _ in range(arguments.rounds):
            seconds, scores = in_process(pairs, arguments)
            rounds["in_process"].append(len(pairs) / seconds)
            for engine in arguments.engines:
                with tempfile.TemporaryDirectory(prefix="crossrank-") as own:
                    rate, seconds, found = with_engine(engine, source, own,
                                                       arguments)
                if found.tobytes() != scores.tobytes():
                    raise SystemExit(f"the scores of {engine} differ")
                rounds[engine].append(rate)
                whole[engine].append(seconds)
    medians = {name: statistics.median(all_) for name, all_ in rounds.items()}
    print(f"{len(pairs)} pairs, {arguments.dtype}, {N_CPUS} lanes, parts of "
          f"{arguments.part_rows}, {arguments.rounds} rounds; median pairs a "
          "second, beside in process, and start-up and end:")
    for name, value in medians.items():
        rest = "" if name == "in_process" else "  {:6.1f} s".format(
            statistics.median(whole[name]) - len(pairs) / value)
        print(f"  {name:12} {value:8.1f}  "
              f"{value / medians['in_process']:6.1%}{rest}")
    if arguments.save:
        save(arguments, medians, rounds, whole)


def save(arguments, medians, rounds, whole):
    import pyarrow
    import pyspark
    import ray
    name = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    out = ROOT / f"bench/results/bulk-{name}.json"
    out.write_text(json.dumps({
        "what": "bulk scoring beside CrossEncoder.predict, MS MARCO pairs",
        "when": datetime.date.today().isoformat(), "cpu": cpu_name(),
        "load": os.getloadavg(),
        "versions": {"pyarrow": pyarrow.__version__,
                     "pyspark": pyspark.__version__, "ray": ray.__version__},
        "pairs": arguments.pairs, "part_rows": arguments.part_rows,
        "dtype": arguments.dtype, "lanes": N_CPUS,
        "median_pairs_per_second": medians,
        "of_in_process": {name: rate / medians["in_process"]
                          for name, rate in medians.items()},
        "rounds_pairs_per_second": rounds,
        "seconds_of_the_command": whole}, indent=1) + "\n")
    print(f"kept in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
