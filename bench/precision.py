#!/usr/bin/env python3
"""What number formats cost in accuracy, on a BEIR folder:

    python3 bench/precision.py FOLDER [--build build] [--json FILE]

Reranks the folder's first stage with `crossrank eval` in every format and
compares with fp32: NDCG@10, differences of logits, and how much of each
query's first ten is the same. Needs nothing but Python's standard library."""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DTYPES = ["fp32", "bf16", "int8"]
TOP = 10


def read_run(path):
    """{query: {document: score}} of a TREC run."""
    scores = collections.defaultdict(dict)
    for line in path.read_text().splitlines():
        query, _, document, _, score, _ = line.split()
        scores[query][document] = float(score)
    return scores


def rerank(program, folder, dtype, out):
    done = subprocess.run(
        [program, "eval", folder, "--dtype", dtype, "--quiet", "--save", out],
        check=True, capture_output=True, text=True)
    return json.loads(done.stdout), read_run(out)


def best(scores):
    return set(sorted(scores, key=scores.get, reverse=True)[:TOP])


def compare(reference, run):
    off = sorted(abs(run[q][d] - score) for q, scores in reference.items()
                 for d, score in scores.items())
    all_scores = [s for scores in reference.values() for s in scores.values()]
    deviation = statistics.pstdev(all_scores)
    return {"mean_abs_diff": statistics.fmean(off),
            "p999_abs_diff": off[int(len(off) * 0.999)],
            "max_abs_diff": off[-1],
            "p999_by_deviation_of_logits": off[int(len(off) * 0.999)]
            / deviation,
            "top10_overlap": statistics.fmean(
                len(best(reference[q]) & best(run[q])) / TOP
                for q in reference)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    program = options.build / "crossrank"
    about = json.loads(subprocess.run([program, "info", "--json"], check=True,
                                      capture_output=True).stdout)
    results = {"collection": options.folder.name, "version": about["version"],
               "isa": about["isa"], "dtypes": {}}
    reference = None
    with tempfile.TemporaryDirectory() as folder:
        for dtype in DTYPES:
            told, run = rerank(program, options.folder, dtype,
                               pathlib.Path(folder) / "run")
            reference = reference or run
            row = {"queries": told["queries"],
                   "pairs": sum(map(len, run.values())),
                   "ndcg@10": told["reranked"]["ndcg@10"],
                   **compare(reference, run)}
            results["dtypes"][dtype] = row
            print(dtype, " ".join(
                f"{key} {value:.4g}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
