"""Scores against transformers: committed logits, every instruction set.

The promise is 1e-4; the limits here are what float32 really keeps, so that a
loss of accuracy is seen long before the promise is broken.
"""
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from make_golden import passage_of, read_jsonl  # noqa: E402
from shapes import (  # noqa: E402
    HF_PAIRS, HF_SHAPES, PAIRS, ROOT, SHAPES, make)

GOLDEN = Path(__file__).parent / "golden"
MODEL = ROOT / "models" / "crossrank-minilm-l6"


@pytest.fixture
def score(crossrank):
    """score(pairs, *options) -> the logits that the program prints."""
    def run(pairs, *options, isa=None):
        lines = "".join(json.dumps({"query": q, "passage": p}) + "\n"
                        for q, p in pairs)
        env = dict(os.environ, **({"CROSSRANK_ISA": isa} if isa else {}))
        done = crossrank("score", "--activation", "none", *options, "-",
                         stdin=lines.encode(), seconds=400, env=env)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]
    return run


def golden_pairs(folder, name):
    corpus = read_jsonl(folder / "corpus.jsonl")
    queries = read_jsonl(folder / "queries.jsonl")
    rows = [line.split("\t") for line in open(GOLDEN / name, encoding="utf-8")
            if not line.startswith("#")]
    pairs = [(queries[q]["text"], passage_of(corpus[d])) for q, d, *_ in rows]
    return pairs, [float(row[2]) for row in rows]


def differences(got, want):
    assert len(got) == len(want) > 0
    return sorted(abs(a - b) for a, b in zip(got, want))


def test_shipped_collection_is_exact(score):
    pairs, want = golden_pairs(ROOT / "data" / "novel", "novel.tsv")
    got = score(pairs, "--model", str(MODEL), "--dtype", "fp32")
    assert differences(got, want)[-1] <= 2e-5


@pytest.mark.parametrize("isa", ["amx", "avx512bf16", "avx512vnni", "avx512",
                                 "avx2", "neonbf16", "neoni8mm", "neondotprod",
                                 "neon", "base", "ref"])
def test_every_isa_is_exact(isa, score, crossrank, wrapper):
    info = json.loads(crossrank("info", "--json").stdout)
    if isa not in info["isa_available"]:
        pytest.skip(f"not run on this machine: it lacks {isa}")
    pairs, want = golden_pairs(ROOT / "data" / "novel", "novel.tsv")
    some = range(0, len(pairs), 60)
    if wrapper:  # emulated, so slow that the shortest must do
        some = sorted(range(len(pairs)), key=lambda i: len(pairs[i][1]))[:3]
    pairs, want = [pairs[i] for i in some], [want[i] for i in some]
    got = score(pairs, "--model", str(MODEL), "--dtype", "fp32", isa=isa)
    assert differences(got, want)[-1] <= 2e-5


def test_dl19_is_exact(score, shared):
    folder = shared / "data" / "trec-dl19"
    pairs, want = golden_pairs(folder, "trec-dl19.tsv")
    assert len(pairs) == 4300
    got = score(pairs, "--model", str(MODEL), "--dtype", "fp32")
    assert differences(got, want)[-1] <= 5e-5


def overlap(got, want, depth):
    """Of each query's first ten, `depth` pairs a query: how many both have."""
    kept = []
    for first in range(0, len(want), depth):
        best = [set(sorted(range(depth), key=lambda i: -s[first + i])[:10])
                for s in (got, want)]
        kept.append(len(best[0] & best[1]) / 10)
    return sum(kept) / len(kept)


def test_bf16_keeps_its_gate(score):
    """p99.9 within 5 % of the logits' standard deviation."""
    pairs, want = golden_pairs(ROOT / "data" / "novel", "novel.tsv")
    mean = sum(want) / len(want)
    deviation = (sum((x - mean) ** 2 for x in want) / len(want)) ** 0.5
    got = score(pairs, "--model", str(MODEL), "--dtype", "bf16")
    diff = differences(got, want)
    assert 1e-4 < diff[int(0.999 * len(diff))] <= 0.05 * deviation


def test_int8_keeps_its_gate(score):
    """Top-10 overlap of at least 95 %."""
    pairs, want = golden_pairs(ROOT / "data" / "novel", "novel.tsv")
    got = score(pairs, "--model", str(MODEL), "--dtype", "int8")
    assert differences(got, want)[-1] > 1e-3  # it did run in int8
    assert overlap(got, want, 20) >= 0.95


def test_int8_keeps_its_gate_on_dl19(score, shared):
    folder = shared / "data" / "trec-dl19"
    pairs, want = golden_pairs(folder, "trec-dl19.tsv")
    got = score(pairs, "--model", str(MODEL), "--dtype", "int8")
    assert overlap(got, want, 100) >= 0.95


def numbers(scores):
    """One list of them, also of models that score several labels."""
    if isinstance(scores[0], (dict, list)):
        rows = (s.values() if isinstance(s, dict) else s for s in scores)
        return [number for row in rows for number in row]
    return scores


def check_shape(shape, pairs, want, folder, score, limit=1e-4):
    make(folder, shape)
    got = numbers(score(pairs, "--model", str(folder), "--dtype", "fp32"))
    want = numbers(want)
    assert len(set(want)) > len(want) // 2  # scores that differ say something
    for a, b in zip(got, want, strict=True):
        assert abs(a - b) <= limit * max(1, abs(b))


@pytest.mark.parametrize("name", SHAPES)
def test_shape_is_exact(name, tmp_path, score):
    want = json.loads((GOLDEN / "shapes.json").read_text())["logits"][name]
    check_shape(SHAPES[name], PAIRS, want, tmp_path, score)


@pytest.mark.parametrize("name", HF_SHAPES)
def test_shape_with_other_tokenizer_is_exact(name, tmp_path, score,
                                             hf_tokenizers):
    want = json.loads((GOLDEN / "hf_shapes.json").read_text())["logits"][name]
    check_shape(HF_SHAPES[name], HF_PAIRS, want, tmp_path, score)
