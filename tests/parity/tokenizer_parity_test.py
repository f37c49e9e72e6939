"""Our tokenizer against `tokenizers`, byte for byte.

Fuzzed pairs and real passages go through tokenize_driver and through the
package; ids, type ids, offsets and the number of cut tokens must be equal,
cased and uncased, both truncations, many lengths. pytest runs some 20 seconds
of it; the whole proof is

    python tests/parity/tokenizer_parity_test.py --pairs 1000000 --seed 1

which prints the first mismatches and exits 1 where there are any."""

import argparse
import array
import collections
import importlib.util
import itertools
import json
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import threading
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VOCAB = ROOT / "models/crossrank-minilm-l6/vocab.txt"
TRUNCATIONS = ["longest_first", "only_second"]
CHUNK = 1000  # pairs of one max_length and truncation
BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


text_fuzz = load("text_fuzz", HERE / "text_fuzz.py")
Added = collections.namedtuple(
    "Added", "text single_word lstrip rstrip", defaults=[False] * 3)
Config = collections.namedtuple(
    "Config", "name clean cjk strip lower max_chars specials",
    defaults=[tuple(map(Added, BERT_SPECIALS))])

ODD_SPECIALS = (*map(Added, BERT_SPECIALS[:4]),
                Added("[MASK]", lstrip=True), Added("[M", rstrip=True),
                Added("<a>", lstrip=True, rstrip=True),
                Added("of", single_word=True), Added("\u00e9t\u00e9"),
                Added("office", single_word=True, lstrip=True),
                Added("\u4e00\u4e01"), Added("[[[", single_word=True))
CONFIGS = [
    Config("uncased", True, True, True, True, 100),
    Config("cased", True, True, False, False, 100),
    Config("strip-cased", True, True, True, False, 100),
    Config("keep-uncased", True, True, False, True, 100),
    Config("raw", False, False, False, False, 100),
    Config("raw-uncased", False, False, True, True, 30),
    Config("no-cjk", True, False, True, True, 1000),
    Config("odd-specials", True, True, True, True, 7, ODD_SPECIALS),
    Config("odd-specials-raw", False, True, False, True, 100, ODD_SPECIALS),
]


def reference(config, vocabulary):
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing
    t = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]",
                            max_input_chars_per_word=config.max_chars))
    t.normalizer = BertNormalizer(
        clean_text=config.clean, handle_chinese_chars=config.cjk,
        strip_accents=config.strip, lowercase=config.lower)
    t.pre_tokenizer = BertPreTokenizer()
    t.add_special_tokens([
        AddedToken(a.text, single_word=a.single_word, lstrip=a.lstrip,
                   rstrip=a.rstrip, normalized=False, special=True)
        for a in config.specials])
    t.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]),
                        ("[SEP]", vocabulary["[SEP]"])])
    return t


def expected_encodings(t, pairs, max_length, truncation):
    """(ids, type_ids, offsets, n_truncated) as bytes, by the package. Where
    it refuses a query that leaves only_second no room, the query is cut: see
    cr_pair_truncate."""
    t.no_truncation()
    whole = t.encode_batch(pairs)
    budget = max_length - 3
    out = [None] * len(pairs)
    cut = []
    for i, e in enumerate(whole):
        n_query = e.type_ids.count(0) - 2
        if len(e) <= max_length:
            out[i] = pack(e.ids, e.type_ids, e.offsets, 0)
        elif truncation == "only_second" and n_query >= budget > 0:
            keep = [*range(budget + 1), n_query + 1, len(e) - 1]
            out[i] = pack([e.ids[k] for k in keep],
                          [e.type_ids[k] for k in keep],
                          [e.offsets[k] for k in keep], len(e) - max_length)
        else:
            cut.append(i)
    t.enable_truncation(max_length, strategy=truncation)
    for i, e in zip(cut, t.encode_batch([pairs[i] for i in cut])):
        out[i] = pack(e.ids, e.type_ids, e.offsets, len(whole[i]) - len(e))
    return out


def pack(ids, type_ids, offsets, n_truncated):
    return (array.array("i", ids).tobytes(), bytes(type_ids),
            array.array("I", itertools.chain.from_iterable(offsets)).tobytes(),
            n_truncated)


class Driver:
    """tokenize_driver for one configuration."""

    def __init__(self, build, config, vocabulary):
        specials, next_id = [], len(vocabulary)
        for a in config.specials:
            number = vocabulary.get(a.text)
            if number is None:
                number, next_id = next_id, next_id + 1
            specials.append(f"{number},{a.single_word:d},{a.lstrip:d},"
                            f"{a.rstrip:d},{a.text}")
        flags = (f"{config.clean:d},{config.cjk:d},{config.strip:d},"
                 f"{config.lower:d},{config.max_chars},")
        self.process = subprocess.Popen(
            [*os.environ.get("CROSSRANK_WRAPPER", "").split(),
             build / "tests/parity/tokenize_driver", VOCAB, flags, *specials],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode(self, pairs, max_length, truncation):
        def feed():
            number = TRUNCATIONS.index(truncation)
            for query, passage in pairs:
                self.process.stdin.write(struct.pack(
                    "=4I", max_length, number, len(query), len(passage)))
                self.process.stdin.write(query)
                self.process.stdin.write(passage)
            self.process.stdin.flush()
        feeder = threading.Thread(target=feed)
        feeder.start()
        out = []
        for _ in pairs:
            n, n_truncated = struct.unpack("=2I", self.read(8))
            out.append((self.read(4 * n), self.read(n), self.read(8 * n),
                        n_truncated))
        feeder.join()
        return out

    def read(self, n):
        data = self.process.stdout.read(n)
        if len(data) != n:
            raise RuntimeError("tokenize_driver stopped, exit code "
                               f"{self.process.wait()}")
        return data

    def close(self):
        self.process.stdin.close()
        code = self.process.wait()
        assert code == 0, f"tokenize_driver ended with exit code {code}"


def describe(config, pair, max_length, truncation, ours, theirs):
    def unpack(e):
        return {"ids": array.array("i", e[0]).tolist(), "type_ids": list(e[1]),
                "offsets": array.array("I", e[2]).tolist(), "cut": e[3]}
    a, b = unpack(ours), unpack(theirs)
    lines = [f"{config.name} max_length={max_length} {truncation} {pair!r}"]
    lines += [f"  {k}: ours   {a[k]}\n  {k}: theirs {b[k]}"
              for k in a if a[k] != b[k]]
    return "\n".join(lines)


class Comparison:
    def __init__(self, build, config):
        lines = VOCAB.read_text(encoding="utf-8").split("\n")
        vocabulary = {w: i for i, w in enumerate(lines) if w}
        self.config = config
        self.vocabulary = vocabulary
        self.reference = reference(config, vocabulary)
        self.driver = Driver(build, config, vocabulary)
        self.n_pairs = 0
        self.mismatches = []

    def run(self, pairs, max_length, truncation):
        ours = self.driver.encode(pairs, max_length, truncation)
        theirs = expected_encodings(
            self.reference, [(q.decode("utf-8", "replace"),
                              p.decode("utf-8", "replace")) for q, p in pairs],
            max_length, truncation)
        self.n_pairs += len(pairs)
        for pair, a, b in zip(pairs, ours, theirs):
            if a != b:
                self.mismatches.append(describe(
                    self.config, pair, max_length, truncation, a, b))


def some_length(rng):
    return rng.choice([3, 4, 5, 6, 7, 8, 11, 16, 17, 32, 33, 64, 128, 200, 511,
                       512, 512, 512, rng.randint(3, 600)])


def compare_fuzzed(build, config, n_pairs, seed):
    c = Comparison(build, config)
    texts = text_fuzz.Texts(f"{seed}-{config.name}", list(c.vocabulary),
                            [a.text for a in config.specials])
    for begin in range(0, n_pairs, CHUNK):
        n = min(CHUNK, n_pairs - begin)
        pairs = [(texts.text(), texts.text()) for _ in range(n)]
        c.run(pairs, some_length(texts.random),
              texts.random.choice(TRUNCATIONS))
    c.driver.close()
    return c


def real_pairs(shared):
    """Every passage of the shared data, with queries in turn."""
    pairs = []
    for folder in sorted(shared.glob("data/*/")):
        if (folder / "corpus.jsonl").exists():
            def read(name):
                with open(folder / name, encoding="utf-8") as lines:
                    return [json.loads(line) for line in lines]
            queries = itertools.cycle(q["text"] for q in read("queries.jsonl"))
            pairs += [(next(queries), f"{d['title']} {d['text']}" if d.get(
                "title") else d["text"]) for d in read("corpus.jsonl")]
        for tsv in sorted(folder.glob("pairs*.tsv")):
            with open(tsv, encoding="utf-8") as lines:
                pairs += [tuple(line.rstrip("\n").split("\t")[-2:])
                          for line in lines]
    return [(q.encode(), p.encode()) for q, p in pairs]


def compare_real(build, config, pairs, seed):
    c = Comparison(build, config)
    rng = random.Random(seed)
    for begin in range(0, len(pairs), CHUNK):
        c.run(pairs[begin:begin + CHUNK], rng.choice([512, 512, 256, 64, 32]),
              rng.choice(TRUNCATIONS))
    c.driver.close()
    return c


# ---- pytest -----------------------------------------------------------------

@pytest.fixture(scope="module")
def package():
    tokenizers = pytest.importorskip("tokenizers")
    version = load("gen", ROOT / "tools/gen_unicode_tables.py").VERSION
    if tokenizers.__version__ != version:
        pytest.skip(f"tokenizers {tokenizers.__version__} is installed, the "
                    f"tables are from {version}")
    return tokenizers


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
def test_fuzzed_pairs(build, package, config):
    n_pairs = 5000 if config in CONFIGS[:2] else 1200
    c = compare_fuzzed(build, config, n_pairs, 1)
    assert c.n_pairs == n_pairs
    assert not c.mismatches, "\n".join(c.mismatches[:3])


@pytest.mark.parametrize("config", CONFIGS[:2], ids=lambda c: c.name)
def test_real_pairs(build, package, shared, config):
    pairs = real_pairs(shared)
    assert len(pairs) > 20000
    c = compare_real(build, config, pairs[::8], 1)
    assert not c.mismatches, "\n".join(c.mismatches[:3])


def test_tables_are_those_of_the_package(package, tmp_path):
    again = tmp_path / "unicode_tables.h"
    subprocess.run([sys.executable, ROOT / "tools/gen_unicode_tables.py",
                    again], check=True, timeout=300)
    assert again.read_bytes() == (
        ROOT / "src/text/unicode_tables.h").read_bytes()


# ---- The whole proof ----------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1000000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--shared", type=pathlib.Path, default=pathlib.Path(
        os.environ.get("CROSSRANK_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--config", help="only this one")
    args = parser.parse_args()
    begin, n_pairs, n_mismatches = time.monotonic(), 0, 0
    runs = []
    configs = [c for c in CONFIGS if args.config in (None, c.name)]
    # A third each for uncased and cased, the rest shared by the others.
    for c in configs:
        share = 1 / 3 if c in CONFIGS[:2] else 1 / 3 / (len(CONFIGS) - 2)
        n = math.ceil(args.pairs * (share if len(configs) > 1 else 1))
        runs.append((c, "fuzzed", lambda c=c, n=n: compare_fuzzed(
            args.build, c, n, args.seed)))
    if args.shared.is_dir():
        real = real_pairs(args.shared)
        runs += [(c, "real", lambda c=c: compare_real(
            args.build, c, real, args.seed)) for c in configs]
    for config, kind, run in runs:
        c = run()
        n_pairs += c.n_pairs
        n_mismatches += len(c.mismatches)
        print(f"{config.name} {kind}: {c.n_pairs} pairs, "
              f"{len(c.mismatches)} mismatches", flush=True)
        for text in c.mismatches[:3]:
            print(text, flush=True)
    print(f"seed {args.seed}: {n_pairs} pairs, {n_mismatches} mismatches, "
          f"{time.monotonic() - begin:.0f} s")
    sys.exit(1 if n_mismatches else 0)


if __name__ == "__main__":
    main()
