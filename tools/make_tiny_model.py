#!/usr/bin/env python3
"""Writes a small BERT or RoBERTa cross-encoder with random weights, in any shape.

Needs nothing but Python. The folder is in Hugging Face layout, so that
transformers, sentence-transformers and crossrank all read it; equal arguments
give equal bytes. Weights are scaled so that scores differ from pair to pair:
a model whose scores are all alike would hide mistakes.

    tools/make_tiny_model.py DIR --layers 3 --heads 12 --hidden 312
    tools/make_tiny_model.py DIR --dtype BF16 --cased --act relu --types 1
    tools/make_tiny_model.py DIR --kind xlm-roberta --tokenizer unigram

As a module: make(folder, Shape(layers=3, ...)).
"""

import argparse
import array
import dataclasses
import json
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import tiny_tokenizers  # noqa: E402

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in a is that for it as was with be by on not he his
this are or have from at which but an they you were her she there all one we
what who how when where why query passage answer question berlin paris city
people population museum river capital world year water model score rank
search cat cats dog dogs run runs running walk fast slow red green blue""".split()
PIECES = ["##s", "##ed", "##ing", "##er", "##ly", "##tion", "##al", "##ity",
          "##ness", "##ment", "##able", "##est"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
FOREIGN = "äöüßéèñçåøабвгдежзαβγδабабשלוםسلام日本語中文한국"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~–—’“”…。、"


ARCHITECTURES = {"bert": "Bert", "roberta": "Roberta",
                 "xlm-roberta": "XLMRoberta"}


@dataclasses.dataclass
class Shape:
    kind: str = "bert"  # of ARCHITECTURES
    tokenizer: str = "wordpiece"  # or bpe or unigram: tiny_tokenizers
    charsmap: str = ""  # for unigram: a packed normalization
    layers: int = 2
    heads: int = 4
    hidden: int = 32
    intermediate: int = 0  # 0: 4 * hidden
    positions: int = 64  # RoBERTa's too: tokens; its table has more rows
    pad_id: int = -1  # pad_token_id, -1: 1 for RoBERTa, 0 for BERT
    types: int = 2
    labels: int = 1
    act: str = "gelu"
    eps: float = 1e-12
    dtype: str = "F32"  # F32, F16 or BF16
    cased: bool = False
    vocab: str = ""  # a vocab.txt to take, "": a small one
    vocab_extra: int = 0  # embedding rows beyond the vocabulary
    files: str = "both"  # tokenizer.json, vocab.txt or both
    max_length: int = 0  # model_max_length, 0: positions
    activation: str = "torch.nn.modules.linear.Identity"  # "": none stated
    prefix: str = "bert."  # of tensor names; RoBERTa's own instead of it
    seed: int = 1

    def is_roberta(self):
        return self.kind != "bert"

    def padding(self):
        return self.is_roberta() * 1 if self.pad_id < 0 else self.pad_id

    def position_rows(self):
        return self.positions + self.is_roberta() * (1 + self.padding())


# ---- Tokenizer --------------------------------------------------------------


def small_vocab(cased):
    """Letters of several scripts, alone and inside words, and some words."""
    single = list(dict.fromkeys(LETTERS + FOREIGN + PUNCTUATION))
    if cased:
        single += [c for c in LETTERS.upper() if c not in single]
    words = list(WORDS) + ([w.capitalize() for w in WORDS] if cased else [])
    inside = ["##" + c for c in single if c not in PUNCTUATION]
    tokens = SPECIALS + ["[unused0]"] + single + inside + words + PIECES
    return list(dict.fromkeys(tokens))


def read_vocab(path):
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return [line.rstrip() for line in text.split("\n") if line.rstrip()]


def added_token(token, index):
    return {"id": index, "content": token, "single_word": False,
            "lstrip": False, "rstrip": False, "normalized": False,
            "special": True}


def tokenizer_json(vocab, cased):
    ids = {token: i for i, token in enumerate(vocab)}
    special = {t: {"id": t, "ids": [ids[t]], "tokens": [t]}
               for t in ("[CLS]", "[SEP]")}

    def piece(kind, name, type_id):
        return {kind: {"id": name, "type_id": type_id}}

    single = [piece("SpecialToken", "[CLS]", 0), piece("Sequence", "A", 0),
              piece("SpecialToken", "[SEP]", 0)]
    pair = single + [piece("Sequence", "B", 1),
                     piece("SpecialToken", "[SEP]", 1)]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added_token(t, ids[t]) for t in SPECIALS],
        "normalizer": {"type": "BertNormalizer", "clean_text": True,
                       "handle_chinese_chars": True, "strip_accents": None,
                       "lowercase": not cased},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": single,
                           "pair": pair, "special_tokens": special},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]",
                  "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids},
    }


def tokenizer_config(shape):
    config = {"tokenizer_class": "BertTokenizer",
              "do_lower_case": not shape.cased, "strip_accents": None,
              "tokenize_chinese_chars": True,
              "model_max_length": shape.max_length or shape.positions,
              "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]",
              "unk_token": "[UNK]", "mask_token": "[MASK]"}
    if shape.types == 1:  # else transformers would look up type 1 and fail
        config["model_input_names"] = ["input_ids", "attention_mask"]
    return config


# ---- Configuration ----------------------------------------------------------


def config_json(shape, vocab_size):
    config = {
        "architectures": [
            ARCHITECTURES[shape.kind] + "ForSequenceClassification"],
        "model_type": shape.kind, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate, "vocab_size": vocab_size,
        "max_position_embeddings": shape.position_rows(),
        "type_vocab_size": shape.types, "hidden_act": shape.act,
        "layer_norm_eps": shape.eps, "pad_token_id": shape.padding(),
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "position_embedding_type": "absolute", "dtype": "float32",
        "id2label": {str(i): f"LABEL_{i}" for i in range(shape.labels)},
        "label2id": {f"LABEL_{i}": i for i in range(shape.labels)},
    }
    if shape.activation:
        config["sentence_transformers"] = {"activation_fn": shape.activation,
                                           "version": "5.0.0"}
    return config


# ---- Weights ----------------------------------------------------------------


def tensors(shape, vocab_size):
    """(name, sizes, mean, standard deviation) of every tensor."""
    h, i = shape.hidden, shape.intermediate

    def linear(name, rows, columns, gain=1.0):
        yield f"{name}.weight", [rows, columns], 0.0, gain / columns ** 0.5
        yield f"{name}.bias", [rows], 0.0, 0.1

    def norm(name):
        yield f"{name}.LayerNorm.weight", [h], 1.0, 0.1
        yield f"{name}.LayerNorm.bias", [h], 0.0, 0.1

    prefix, classifier = shape.prefix, "classifier"
    pooler = prefix + "pooler.dense"
    if shape.is_roberta():
        prefix = shape.prefix and "roberta."
        pooler, classifier = "classifier.dense", "classifier.out_proj"
    e = prefix + "embeddings"
    yield f"{e}.word_embeddings.weight", [vocab_size, h], 0.0, 0.5
    yield f"{e}.position_embeddings.weight", [shape.position_rows(), h], 0.0, 0.2
    yield f"{e}.token_type_embeddings.weight", [shape.types, h], 0.0, 0.5
    yield from norm(e)
    for layer in range(shape.layers):
        n = f"{prefix}encoder.layer.{layer}"
        yield from linear(f"{n}.attention.self.query", h, h, 1.5)
        yield from linear(f"{n}.attention.self.key", h, h, 1.5)
        yield from linear(f"{n}.attention.self.value", h, h)
        yield from linear(f"{n}.attention.output.dense", h, h)
        yield from norm(f"{n}.attention.output")
        yield from linear(f"{n}.intermediate.dense", i, h)
        yield from linear(f"{n}.output.dense", h, i)
        yield from norm(f"{n}.output")
    yield from linear(pooler, h, h)
    yield from linear(classifier, shape.labels, h, 3.0)


def packed(values, dtype):
    """Little-endian bytes; bfloat16 is rounded to nearest, ties to even."""
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    floats = array.array("f", values)
    if sys.byteorder == "big":
        floats.byteswap()
    if dtype == "F32":
        return floats.tobytes()
    bits = array.array("I", floats.tobytes())
    return struct.pack(f"<{len(bits)}H",
                       *((b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits))


def write_safetensors(path, named, dtype, seed):
    """`named` as tensors() gives it; the values come from the seed."""
    gauss = random.Random(seed).gauss
    header, offset, rows = {}, 0, list(named)
    for name, sizes, _, _ in rows:
        n = 1
        for size in sizes:
            n *= size
        n_bytes = n * (4 if dtype == "F32" else 2)
        header[name] = {"dtype": dtype, "shape": sizes,
                        "data_offsets": [offset, offset + n_bytes]}
        offset += n_bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, _, mean, deviation in rows:
            begin, end = header[name]["data_offsets"]
            n = (end - begin) // (4 if dtype == "F32" else 2)
            out.write(packed([gauss(mean, deviation) for _ in range(n)],
                             dtype))


# ---- The folder -------------------------------------------------------------


def dump(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n",
                    encoding="utf-8")


def write_tokenizer(folder, shape):
    """Writes the tokenizer's files and returns the vocabulary."""
    if shape.tokenizer != "wordpiece":
        vocab, text = tiny_tokenizers.tokenizer_json(
            shape.tokenizer, WORDS, LETTERS + FOREIGN + PUNCTUATION,
            shape.charsmap)
        dump(folder / "tokenizer.json", text)
        dump(folder / "tokenizer_config.json", tiny_tokenizers.tokenizer_config(
            shape.tokenizer, shape.max_length or shape.positions))
        return vocab
    vocab = read_vocab(shape.vocab) if shape.vocab else small_vocab(shape.cased)
    dump(folder / "tokenizer_config.json", tokenizer_config(shape))
    if shape.files in ("both", "tokenizer.json"):
        dump(folder / "tokenizer.json", tokenizer_json(vocab, shape.cased))
    if shape.files in ("both", "vocab.txt"):
        (folder / "vocab.txt").write_text("\n".join(vocab) + "\n",
                                          encoding="utf-8")
    return vocab


def make(folder, shape):
    """Writes the model and returns its folder as a Path."""
    shape = dataclasses.replace(
        shape, intermediate=shape.intermediate or 4 * shape.hidden)
    if shape.hidden % shape.heads:
        raise ValueError(f"hidden {shape.hidden} is not a multiple of heads "
                         f"{shape.heads}")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    vocab = write_tokenizer(folder, shape)
    vocab_size = len(vocab) + shape.vocab_extra
    dump(folder / "config.json", config_json(shape, vocab_size))
    write_safetensors(folder / "model.safetensors", tensors(shape, vocab_size),
                      shape.dtype, shape.seed)
    return folder


def main():
    parser = argparse.ArgumentParser(
        description="Write a small random cross-encoder.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder")
    for field in dataclasses.fields(Shape):
        name = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(name, action="store_true")
        else:
            parser.add_argument(name, type=type(field.default),
                                default=field.default)
    args = vars(parser.parse_args())
    folder = args.pop("folder")
    make(folder, Shape(**args))
    print(folder)


if __name__ == "__main__":
    main()
