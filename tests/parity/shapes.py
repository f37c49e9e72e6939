"""The model shapes whose logits are compared with transformers.

Each is a small generated model (tools/make_tiny_model.py), equal bytes
everywhere, so that only the logits need to be committed.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from make_tiny_model import Shape, make  # noqa: E402,F401

SHAPES = {
    "plain": Shape(),
    "one-layer": Shape(layers=1, heads=1, hidden=16),
    "heads-of-26": Shape(layers=4, heads=12, hidden=312, intermediate=1200),
    "heads-of-8": Shape(layers=3, heads=16, hidden=128, intermediate=512),
    "width-40": Shape(layers=2, heads=4, hidden=40, intermediate=72),
    "gelu-new": Shape(act="gelu_new"),
    "relu": Shape(act="relu"),
    "float16": Shape(dtype="F16"),
    "bfloat16": Shape(dtype="BF16"),
    "one-type": Shape(types=1),
    "cased": Shape(cased=True),
    "vocab-txt": Shape(files="vocab.txt"),
    "large-eps": Shape(eps=1e-5),
    "no-prefix": Shape(prefix=""),
    "extra-rows": Shape(vocab_extra=7),
    "minilm": Shape(layers=12, heads=12, hidden=384, intermediate=1536,
                    positions=512),
    "tinybert": Shape(layers=2, heads=2, hidden=128, intermediate=512,
                      positions=512),
}

PAIRS = [
    ("what is the capital city", "Berlin is the capital city of the people."),
    ("", ""),
    ("water", ""),
    ("the river running fast", "slow, slow; SLOW dogs running (again)!"),
    ("Größe und 東京", "日本 의 수도 est très haute – naïve café"),
    ("score model " * 60, "rank passage answer " * 60),
    ("who", "a [SEP] b [MASK] c [CLS] d"),
    ("unaffable", "x" * 150 + " population"),
]
