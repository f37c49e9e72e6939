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
    "minilm-l2": Shape(layers=2, heads=12, hidden=384, intermediate=1536,
                       positions=512),
    "minilm-l4": Shape(layers=4, heads=12, hidden=384, intermediate=1536,
                       positions=512),
    "tinybert": Shape(layers=2, heads=2, hidden=128, intermediate=512,
                      positions=512),
    "two-labels": Shape(labels=2),
    "labels-17": Shape(labels=17, hidden=40),
}

# RoBERTa's graph with BERT's tokenizer, whose [UNK] is the padding token of
# the first: RoBERTa gives that no position.
ROBERTA = {"types": 1, "eps": 1e-5}
SHAPES.update({
    "roberta": Shape(kind="roberta", **ROBERTA),
    "xlm-roberta": Shape(kind="xlm-roberta", pad_id=0, **ROBERTA),
    "roberta-two-types": Shape(kind="roberta", eps=1e-5),
    "roberta-no-prefix": Shape(kind="roberta", prefix="", **ROBERTA),
    # The two-layer head with several labels, as a classifier of pairs has it.
    "roberta-three-labels": Shape(kind="roberta", labels=3, **ROBERTA),
    "xlm-roberta-labels-17": Shape(kind="xlm-roberta", pad_id=0, labels=17,
                                   hidden=40, **ROBERTA),
})

CHARSMAP = ROOT / "tests/fixtures/tokenizers/nmt_nfkc.xz"
BPE = {"kind": "roberta", "tokenizer": "bpe", **ROBERTA}
UNIGRAM = {"kind": "xlm-roberta", "tokenizer": "unigram",
           "charsmap": str(CHARSMAP), **ROBERTA}
# Those that need the component `tokenizers`: layers, heads and positions of
# models that people have, in small.
HF_SHAPES = {
    "bpe": Shape(**BPE),
    "unigram": Shape(**UNIGRAM),
    # cross-encoder/nli-distilroberta-base, cross-encoder/nli-roberta-base
    "distilroberta-nli": Shape(layers=6, heads=12, hidden=48, positions=512,
                               labels=3, **BPE),
    "roberta-nli": Shape(layers=12, heads=12, hidden=96, positions=512,
                         labels=3, **BPE),
    # Several labels of an XLM-RoBERTa
    "unigram-labels-5": Shape(labels=5, **UNIGRAM),
    # cross-encoder/stsb-distilroberta-base, cross-encoder/stsb-roberta-large
    "distilroberta": Shape(layers=6, heads=12, hidden=48, positions=512, **BPE),
    "roberta-large": Shape(layers=24, heads=16, hidden=64, positions=512, **BPE),
    # BAAI/bge-reranker-base, BAAI/bge-reranker-v2-m3,
    # cross-encoder/mmarco-mMiniLMv2-L12-H384-v1
    "bge-reranker-base": Shape(layers=12, heads=12, hidden=96, positions=512,
                               **UNIGRAM),
    "bge-reranker-v2-m3": Shape(layers=24, heads=16, hidden=64,
                                positions=8192, **UNIGRAM),
    "mmarco-minilm": Shape(layers=12, heads=12, hidden=48, dtype="F16",
                           positions=512, **UNIGRAM),
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
HF_PAIRS = PAIRS + [
    ("a <mask> b", "<s>c</s> <pad> d <unk>"),
    (" two  spaces ", "\ttab\nline\r\n"),
    ("ﬁne ①②③ Ｆｕｌｌｗｉｄｔｈ ｶﾞ", "👩‍👩‍👧 e\u0301é \u200b\u00ad"),
    ("capital " * 300, "river water " * 400),
]
