#!/usr/bin/env python3
"""The share of the CPU's arithmetic peak that bulk scoring reaches, in turns
with the peak itself.

On a machine that others use, too, a peak of another minute is the peak of
another machine: where the other hyperthread of a core works, tiles multiply at
less than half the rate. So each turn measures the peak (`crossrank info
--peak`, the best of seven rounds of 50 ms) and scores the pairs in each
precision, and a share is of the peak before it. Work is counted at 19.0 MFLOP
a token. Figures are medians over turns, with the quarter of the turns of the
highest shares beside them.

    python bench/share.py [--save]   --save keeps the turns in
                                     bench/results/share-CPU.json"""

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

MFLOP_A_TOKEN = 19.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--dtypes", default="fp32,bf16,int8")
    parser.add_argument("--shared", type=pathlib.Path, default=SHARED)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()

    pairs = read_pairs(args.shared)[:args.pairs]
    dtypes = args.dtypes.split(",")
    peaks = measure_peak()
    for dtype in dtypes:
        if peaks[dtype] is None:
            print(f"{dtype} is left out: this CPU has no instructions for it, "
                  "so no peak", file=sys.stderr)
    dtypes = [dtype for dtype in dtypes if peaks[dtype] is not None]
    encoders = {dtype: CrossEncoder(MODEL, dtype=dtype,
                                    activation_fn="identity")
                for dtype in dtypes}
    exact = CrossEncoder(MODEL, dtype="fp32",
                         activation_fn="identity").predict(pairs)
    cases = []
    for dtype, encoder in encoders.items():
        error = abs(encoder.predict(pairs) - exact)
        cases.append({"dtype": dtype, "isa": encoder.info.isa,
                      "mean_logit_difference_to_fp32": float(error.mean()),
                      "max_logit_difference_to_fp32": float(error.max()),
                      "peak_gflops": [], "gflops": []})
    tokens = sum(len(encoder.tokenize(*pair).ids) for pair in pairs)
    for _ in range(args.turns):
        for case in cases:
            peak = measure_peak()[case["dtype"]]
            begin = time.perf_counter()
            encoders[case["dtype"]].predict(pairs)
            taken = time.perf_counter() - begin
            case["peak_gflops"].append(peak)
            case["gflops"].append(tokens * MFLOP_A_TOKEN * 1e-3 / taken)

    print("| precision | set | pairs/s | GFLOPS | peak beside it | share | "
          "best quarter of turns | mean, max difference |\n"
          "|---|---|---:|---:|---:|---:|---:|---|")
    for case in cases:
        shares = sorted(g / p for g, p in
                        zip(case["gflops"], case["peak_gflops"]))
        case["share"] = statistics.median(shares)
        case["share_best_quarter"] = statistics.median(
            shares[-max(1, len(shares) // 4):])
        gflops = statistics.median(case["gflops"])
        case["pairs_per_second"] = (
            gflops / MFLOP_A_TOKEN * 1e3 * len(pairs) / tokens)
        print(f"| {case['dtype']} | {case['isa']} | "
              f"{case['pairs_per_second']:.0f} | {gflops:.0f} | "
              f"{statistics.median(case['peak_gflops']):.0f} | "
              f"{case['share']:.1%} | {case['share_best_quarter']:.1%} | "
              f"{case['mean_logit_difference_to_fp32']:.2g}, "
              f"{case['max_logit_difference_to_fp32']:.2g} |")
    if args.save:
        keep("share", "bulk scoring and the arithmetic peak in turns, all CPUs",
             "src", pairs=len(pairs), tokens=tokens, cases=cases)


if __name__ == "__main__":
    main()
