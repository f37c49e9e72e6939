#!/usr/bin/env python3
"""Tokens a second by length and batch, in every precision.

Every pair of a case has the same number of tokens, so that the length is the
only thing that changes: a query with the passages that follow it in MS MARCO,
cut by max_length. Work of a case is counted as the products and attention of
its tokens (`gflop` below), and its share is of the peak that `crossrank info
--peak` measures in the same run, before and after. Cases are taken in turns,
round by round; figures are medians over rounds. Beside each speed stands how
far its logits are from fp32's.

    python bench/throughput.py [--save]   --save keeps the rounds in
                                          bench/results/throughput-CPU.json"""

import argparse
import os
import pathlib
import statistics
import sys
import time

from records import MODEL, ROOT, SHARED, keep, measure_peak, read_pairs

os.environ.setdefault("CROSSRANK_LIBRARY",
                      str(ROOT / "build/libcrossrank.so"))
sys.path.insert(0, str(ROOT / "bindings/python"))
from crossrank import CrossEncoder  # noqa: E402

DTYPES = ["fp32", "bf16", "int8"]
LENGTHS = [16, 32, 64, 128, 256, 512]
BATCHES = [1, 8, 32, 96]
LAYERS, WIDTH, INNER = 6, 384, 1536


def gflop(length):
    """Of one pair. The last layer gives [CLS] alone: keys and values of all
    tokens, the rest of one."""
    projections = WIDTH * WIDTH
    whole = 4 * projections + 2 * WIDTH * INNER
    products = (LAYERS - 1) * length * whole + length * 2 * projections + \
        whole - 2 * projections
    attention = ((LAYERS - 1) * length + 1) * length * 2 * WIDTH
    return 2e-9 * (products + attention)


def long_pairs(shared, n, counter):
    """n pairs of at least 512 tokens, their queries of at most 12."""
    rows = [(query, passage) for query, passage in read_pairs(shared)
            if len(counter.tokenize(query, "").ids) <= 12]
    return [(rows[i][0], " ".join(p for _, p in rows[i:i + 24]))
            for i in range(n)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3,
                        help="of a case in a round, at least")
    parser.add_argument("--shared", type=pathlib.Path, default=SHARED)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()

    peaks = [measure_peak()]
    cases, pairs = [], None
    for length in LENGTHS:
        encoders = {dtype: CrossEncoder(MODEL, dtype=dtype, max_length=length,
                                        activation_fn="identity")
                    for dtype in DTYPES}
        pairs = pairs or long_pairs(args.shared, max(BATCHES),
                                    encoders["fp32"])
        for pair in pairs:
            if len(encoders["fp32"].tokenize(*pair).ids) != length:
                raise SystemExit(f"not {length} tokens: {pair}")
        exact = encoders["fp32"].predict(pairs)
        for dtype, encoder in encoders.items():
            error = float(abs(encoder.predict(pairs) - exact).max())
            cases += [{"dtype": dtype, "length": length, "batch": batch,
                       "max_logit_difference_to_fp32": error,
                       "rounds_tokens_per_s": [], "encoder": encoder}
                      for batch in BATCHES]
    for _ in range(args.rounds):
        for case in cases:
            request, n = pairs[:case["batch"]], 0
            begin = time.perf_counter()
            while True:
                case["encoder"].predict(request)
                n += case["batch"] * case["length"]
                taken = time.perf_counter() - begin
                if taken >= args.seconds:
                    break
            case["rounds_tokens_per_s"].append(n / taken)
    peaks.append(measure_peak())

    for case in cases:
        info = case.pop("encoder").info
        best = max(p[case["dtype"]] or 0 for p in peaks)
        case["isa"] = info.isa
        case["tokens_per_s"] = statistics.median(case["rounds_tokens_per_s"])
        case["gflops"] = (gflop(case["length"]) / case["length"]
                          * case["tokens_per_s"])
        case["share_of_peak"] = case["gflops"] / best if best else None
    print("tokens/s (share of the peak where the CPU has that precision)")
    for dtype in DTYPES:
        print(f"\n| {dtype}: tokens a pair | " + " | ".join(
            f"{batch} pair{'s' * (batch > 1)}" for batch in BATCHES)
            + " | largest difference of logits |\n|---" +
            "|---:" * (len(BATCHES) + 1) + "|")
        for length in LENGTHS:
            of = [c for c in cases
                  if (c["dtype"], c["length"]) == (dtype, length)]
            print(f"| {length} | " + " | ".join(
                f"{c['tokens_per_s']:,.0f}" +
                (f" ({c['share_of_peak']:.0%})" if c["share_of_peak"] else "")
                for c in of) + f" | {of[0]['max_logit_difference_to_fp32']:.1e} |")
    if args.save:
        keep("throughput", "tokens a second by length and batch, all CPUs",
             "src", peak_gflops=peaks, cases=cases)


if __name__ == "__main__":
    main()
