"""The mlx backend against the cpu backend: the same pairs, of the collection
that ships, on MLX's CPU device. In fp32 logits agree within 1e-3, and two pairs
that the backends order differently lie within 2e-3 of each other."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from shapes import PAIRS, SHAPES, make  # noqa: E402

MAX_DIFFERENCE = 1e-3
MAX_DISCORDANT = 2e-3
N_QUERIES, N_PASSAGES = 2, 6
# Words of the longest passage: the reference BLAS of MLX's wheel is slow.
N_WORDS = 60


@pytest.fixture(scope="module")
def mlx(build):
    if not (build / "libcrossrank-mlx.so").is_file():
        pytest.skip("this build has no mlx backend: ./run deps-mlx, then "
                    "build with -Dmlx=enabled")


@pytest.fixture(scope="module")
def pairs(root):
    def lines(name, n):
        with open(root / "data/novel" / name, encoding="utf-8") as file:
            return [json.loads(line) for line, _ in zip(file, range(n))]

    passages = [row["text"].split() for row in
                lines("corpus.jsonl", N_PASSAGES)]
    # Of many lengths, so that several batches and paddings occur.
    passages = [" ".join(p[:N_WORDS // (1 + i % 4)])
                for i, p in enumerate(passages)]
    return [(row["text"], passage) for row in lines("queries.jsonl", N_QUERIES)
            for passage in passages] + [("x", ""), ("", "")]


def logits(crossrank, pairs, *options):
    lines = "".join(json.dumps({"query": q, "passage": p}) + "\n"
                    for q, p in pairs)
    done = crossrank("score", "--activation", "none", *options, "-",
                     stdin=lines.encode(), seconds=200)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.splitlines()]


def on_cpu():
    return "--backend", "cpu", "--device", "cpu", "--dtype", "fp32"


def on_mlx(dtype="fp32"):
    return "--backend", "mlx", "--device", "cpu", "--dtype", dtype


def worst(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def test_fp32_agrees(mlx, crossrank, pairs):
    want = logits(crossrank, pairs, *on_cpu())
    got = logits(crossrank, pairs, *on_mlx())
    print(f"largest difference {worst(want, got):.3g} of {len(pairs)} pairs")
    assert worst(want, got) <= MAX_DIFFERENCE
    for i in range(len(pairs)):
        for j in range(i):
            if (want[i] - want[j]) * (got[i] - got[j]) < 0:
                assert abs(want[i] - want[j]) <= MAX_DISCORDANT


@pytest.mark.parametrize("dtype, limit", [("fp16", 0.02), ("bf16", 0.15)])
def test_reduced_formats_are_near(mlx, crossrank, pairs, dtype, limit):
    few = sorted(pairs, key=lambda p: len(p[1]))[:4]
    want = logits(crossrank, few, *on_cpu())
    got = logits(crossrank, few, *on_mlx(dtype))
    print(f"largest difference {worst(want, got):.3g}")
    assert 0 < worst(want, got) <= limit


@pytest.mark.parametrize("act", ["gelu", "gelu_new", "relu"])
def test_hidden_activations(mlx, crossrank, tiny_model, tmp_path, pairs, act):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["hidden_act"] = act
    (folder / "config.json").write_text(json.dumps(config))
    model = ("--model", folder, "--max-length", "24")
    want = logits(crossrank, pairs, *model, *on_cpu())
    got = logits(crossrank, pairs, *model, *on_mlx())
    assert worst(want, got) <= 1e-4


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta"])
def test_roberta(mlx, crossrank, tmp_path, name):
    """Its positions: [UNK] is the padding token of the first, and has none."""
    model = ("--model", make(tmp_path, SHAPES[name]))
    want = logits(crossrank, PAIRS, *model, "--dtype", "fp32")
    got = logits(crossrank, PAIRS, *model, *on_mlx())
    assert worst(want, got) <= 1e-4
