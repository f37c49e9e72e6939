#!/usr/bin/env python3
"""Pairs a second and core: our tokenizer and `tokenizers`, one thread each.

Both encode the same MS MARCO pairs to at most 512 tokens, in turns, in one
run: ours a pair at a time, the package by encode_batch_fast (its fastest call:
no offsets) without its threads. Seconds are CPU seconds of the process, so
that other work on the machine matters less; the median of the rounds counts.
The token counts of both must agree, or nothing is reported.

    python bench/tokenizer.py [--save]    --save keeps the rounds in
                                          bench/results/tokenizer-CPU.json"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when it is imported
import tokenizers  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/crossrank-minilm-l6"


def cpu_name():
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*: (.*)", text)[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def machine():
    def read(pattern):
        try:
            return re.search(pattern, pathlib.Path("/proc/cpuinfo").read_text()
                             )[1].strip()
        except (OSError, TypeError):
            return None
    return {"cpu": cpu_name(), "cpu_family": read(r"cpu family\s*: (.*)"),
            "cpu_model": read(r"model\s*: (\d+)"), "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load": os.getloadavg()}


def commit(folder="src/text"):
    """The commit that last changed what is measured."""
    got = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h", "--",
                          folder], capture_output=True, text=True)
    return got.stdout.strip() or None


class Ours:
    def __init__(self, build, pairs, max_length):
        self.process = subprocess.Popen(
            [build / "bench/tokenizer_bench", MODEL, pairs, str(max_length)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.n_pairs = int(self.process.stdout.readline().split()[1])

    def run(self, how):
        self.process.stdin.write(how + "\n")
        self.process.stdin.flush()
        seconds, n_tokens = self.process.stdout.readline().split()
        return float(seconds), int(n_tokens)


class Theirs:
    def __init__(self, path, max_length):
        with open(path, encoding="utf-8") as lines:
            self.pairs = [tuple(line.rstrip("\n").split("\t")[-2:])
                          for line in lines]
        self.tokenizer = tokenizers.Tokenizer.from_file(
            str(MODEL / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)

    def run(self):
        begin = time.process_time()
        encodings = self.tokenizer.encode_batch_fast(self.pairs)
        seconds = time.process_time() - begin
        return seconds, sum(len(e.ids) for e in encodings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(
        os.environ.get("CROSSRANK_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    path = args.shared / "data/msmarco-bench/pairs.dl22.bm25top100.tsv"
    ours = Ours(args.build, path, args.max_length)
    theirs = Theirs(path, args.max_length)
    assert ours.n_pairs == len(theirs.pairs)
    rounds = {"ours": [], "ours_query_once": [], "tokenizers": []}
    for i in range(args.rounds + 1):  # the first round warms up
        results = {"ours": ours.run("pairs"),
                   "ours_query_once": ours.run("queries"),
                   "tokenizers": theirs.run()}
        n_tokens = {n for _, n in results.values()}
        if len(n_tokens) > 1:
            raise SystemExit(f"the token counts differ: {results}")
        if i:
            for name, (seconds, _) in results.items():
                rounds[name].append(ours.n_pairs / seconds)
    medians = {name: statistics.median(r) for name, r in rounds.items()}
    ratio = medians["ours"] / medians["tokenizers"]
    print(f"{ours.n_pairs} pairs, {n_tokens.pop()} tokens, "
          f"{args.rounds} rounds, one thread; median pairs a CPU second:")
    for name, value in medians.items():
        print(f"  {name:16} {value:10,.0f}  "
              f"{value / medians['tokenizers']:6.1f} x")
    if args.save:
        slug = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
        out = ROOT / f"bench/results/tokenizer-{slug}.json"
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps({
            "what": "pairs a CPU second, MS MARCO DL22 BM25 top 100",
            "when": datetime.date.today().isoformat(), "commit": commit(),
            "machine": machine(), "tokenizers": tokenizers.__version__,
            "max_length": args.max_length, "n_pairs": ours.n_pairs,
            "median_pairs_per_cpu_second": medians, "ratio": ratio,
            "rounds_pairs_per_cpu_second": rounds}, indent=1) + "\n")
        print(f"kept in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
