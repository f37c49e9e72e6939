#!/usr/bin/env python3
"""One short request alone: on two lanes beside one, in every precision.

A request of a single pair cannot be shared out by pairs, so idle lanes join
as a team and share its rows. Both rankers live in one process and are asked
in turns, a lane of the other one sleeping meanwhile; figures are medians over
rounds of the median of a round's requests. Scores of one lane and of two must
be equal to the bit, or nothing is reported; beside each speed stands how far
its logits are from fp32's.

    python bench/lanes.py [--save]    --save keeps the rounds in
                                      bench/results/lanes-CPU.json"""

import argparse
import os
import pathlib
import statistics
import sys
import time

from records import MODEL, ROOT, SHARED, keep, read_pairs

os.environ.setdefault("CROSSRANK_LIBRARY",
                      str(ROOT / "build/libcrossrank.so"))
sys.path.insert(0, str(ROOT / "bindings/python"))
from crossrank import CrossEncoder  # noqa: E402

DTYPES = ["fp32", "bf16", "int8"]


def requests(shared, counter):
    """Some pairs of MS MARCO by about how many tokens they have, and eight
    passages of one query."""
    pairs = read_pairs(shared, 2000)
    sized = [(len(counter.tokenize(*pair).ids), pair) for pair in pairs]
    found = {}
    for want in (16, 32, 64, 96, 128, 192):
        n, pair = min(sized, key=lambda sized_pair: abs(sized_pair[0] - want))
        found[f"1 pair, {n} tokens"] = [pair]
    n = sum(n for n, _ in sized[:8])
    found[f"8 pairs, {n} tokens"] = pairs[:8]
    return found


def median_ms(encoder, request, times):
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        encoder.predict(request)
        taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(taken)


def measure(encoders, request, args):
    """Milliseconds of each round, by lanes."""
    rounds = {lanes: [] for lanes in encoders}
    for i in range(args.rounds + 1):  # the first round warms up
        for lanes, encoder in encoders.items():
            ms = median_ms(encoder, request, args.times)
            if i:
                rounds[lanes].append(ms)
    return rounds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--times", type=int, default=30,
                        help="requests of a round")
    parser.add_argument("--shared", type=pathlib.Path, default=SHARED)
    parser.add_argument("--save", action="store_true")
    args = parser.parse_args()

    def opened(dtype, lanes):
        return CrossEncoder(MODEL, dtype=dtype, threads=lanes,
                            activation_fn="identity")
    exact = opened("fp32", 1)
    results = []
    for dtype in DTYPES:
        encoders = {1: opened(dtype, 1), 2: opened(dtype, 2)}
        for name, request in requests(args.shared, exact).items():
            scores = [e.predict(request) for e in encoders.values()]
            if scores[0].tobytes() != scores[1].tobytes():
                raise SystemExit(f"{dtype}, {name}: scores differ by lanes")
            rounds = measure(encoders, request, args)
            one, two = (statistics.median(r) for r in rounds.values())
            speedup = statistics.median(
                a / b for a, b in zip(rounds[1], rounds[2]))
            error = float(abs(scores[0] - exact.predict(request)).max())
            print(f"{dtype} {name:20} {one:8.3f} ms {two:8.3f} ms "
                  f"{speedup:6.2f} x   |logit - fp32| <= {error:.1e}")
            results.append({
                "dtype": dtype, "request": name, "one_lane_ms": one,
                "two_lanes_ms": two, "speedup": speedup,
                "max_logit_difference_to_fp32": error,
                "rounds_ms": {str(n): r for n, r in rounds.items()}})
    if args.save:
        keep("lanes", "milliseconds of one request alone, one lane and two",
             "src", isa=exact.info.isa, requests_a_round=args.times,
             results=results)


if __name__ == "__main__":
    main()
