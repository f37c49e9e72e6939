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
import os
import pathlib
import statistics
import subprocess
import time

from records import MODEL, PAIRS, ROOT, SHARED, keep, read_pairs

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when it is imported
import tokenizers  # noqa: E402


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
    def __init__(self, pairs, max_length):
        self.pairs = pairs
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
    parser.add_argument("--shared", type=pathlib.Path, default=SHARED)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()
    ours = Ours(args.build, args.shared / PAIRS, args.max_length)
    theirs = Theirs(read_pairs(args.shared), args.max_length)
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
        keep("tokenizer", "pairs a CPU second, MS MARCO DL22 BM25 top 100",
             "src/text", tokenizers=tokenizers.__version__,
             max_length=args.max_length, n_pairs=ours.n_pairs,
             median_pairs_per_cpu_second=medians, ratio=ratio,
             rounds_pairs_per_cpu_second=rounds)


if __name__ == "__main__":
    main()
