"""Byte-level BPE and Unigram against the Python package `tokenizers`.

Ids, tokens, offsets and the number of cut tokens of pairs must be equal: real
words, scripts, marks, controls, bytes that are no UTF-8, added tokens in raw
text; cut to many lengths. What the server and the Python binding make of such
a model must be the same. Run as a script for more pairs:

    python3 tests/parity/hf_parity_test.py --pairs 100000
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from shapes import HF_SHAPES, ROOT, make  # noqa: E402
import text_fuzz  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/e2e"))
from helpers import build_option  # noqa: E402
from serve import Server  # noqa: E402

KINDS = ("bpe", "unigram")
SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
LENGTHS = (4, 5, 6, 7, 9, 16, 33, 64)
TRUNCATIONS = ("longest_first", "only_second")
N_PAIRS = 3200


class Model:
    def __init__(self, kind, folder):
        import tokenizers
        self.kind = kind
        self.folder = make(folder, HF_SHAPES[kind])
        self.reference = tokenizers.Tokenizer.from_file(
            str(self.folder / "tokenizer.json"))
        words = [w for w in self.reference.get_vocab() if w.isascii()]
        self.texts = text_fuzz.Texts(f"1-{kind}", sorted(words), SPECIALS)

    def expect(self, query, passage, length, truncation):
        """As the package gives it; where it refuses to cut the query, the
        query is cut: see cr_pair_truncate."""
        t, budget = self.reference, length - 4
        t.no_truncation()
        whole = t.encode(query, passage)
        n_query = len(t.encode(query, add_special_tokens=False))
        if truncation == "only_second" and n_query >= budget > 0 \
                and len(whole) > length:
            keep = [*range(budget + 1), n_query + 1, n_query + 2,
                    len(whole) - 1]
            return picture(t, [whole.ids[k] for k in keep],
                           [whole.offsets[k] for k in keep],
                           len(whole) - length)
        # Its own max_length 4 leaves nothing of only_second either.
        if truncation == "only_second" and budget == 0 and len(whole) > length:
            keep = [0, n_query + 1, n_query + 2, len(whole) - 1]
            return picture(t, [whole.ids[k] for k in keep], [(0, 0)] * 4,
                           len(whole) - length)
        t.enable_truncation(length, strategy=truncation)
        e = t.encode(query, passage)
        return picture(t, e.ids, e.offsets, len(whole) - len(e))


def picture(t, ids, offsets, cut):
    # Tokens are the ids' texts: the package shows what an <unk> stands for.
    return {"ids": list(ids), "type_ids": [0] * len(ids),
            "tokens": [t.id_to_token(i) for i in ids], "offsets": [list(o) for o in offsets],
            "truncated": cut}


@pytest.fixture(scope="module")
def models(tmp_path_factory, hf_tokenizers):
    pytest.importorskip("tokenizers")
    return {k: Model(k, tmp_path_factory.mktemp(k)) for k in KINDS}


def compare(model, tokenize, n_pairs):
    """Differences between tokenize(pairs, length, truncation) and the
    package, of pairs made of the model's texts."""
    differences = []
    chunks = [(n, t) for t in TRUNCATIONS for n in LENGTHS]
    for length, truncation in chunks:
        pairs = [tuple(model.texts.text().decode("utf-8", "replace")
                       for _ in range(2))
                 for _ in range(n_pairs // len(chunks))]
        for pair, got in zip(pairs, tokenize(pairs, length, truncation),
                             strict=True):
            want = model.expect(*pair, length, truncation)
            if got != want:
                differences.append((length, truncation, pair, got, want))
    return differences


def by_program(run, model):
    def tokenize(pairs, length, truncation):
        lines = "".join(json.dumps({"query": q, "passage": p}) + "\n"
                        for q, p in pairs)
        done = run("tokenize", "--model", model.folder, "--max-length", length,
                   "--truncation", truncation, "-", stdin=lines.encode())
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
    return tokenize


@pytest.mark.parametrize("kind", KINDS)
def test_fuzzed_pairs(kind, models, crossrank, slower):
    differences = compare(models[kind], by_program(crossrank, models[kind]),
                          int(N_PAIRS / slower))
    assert not differences, differences[:2]


BROKEN = [b"a\xff\xe2\x82b", b"c\xf0\x9f d", b"\xed\xa0\x80 water", b"\xc0\x80"]


@pytest.mark.parametrize("kind", KINDS)
def test_broken_bytes(kind, models, crossrank):
    """Bytes that are no UTF-8 are read as Python's errors="replace" does."""
    model = models[kind]
    lines = b"".join(b"%s\t%s\n" % (b, BROKEN[i - 1])
                     for i, b in enumerate(BROKEN))
    done = crossrank("tokenize", "--model", model.folder, "-", stdin=lines)
    assert done.returncode == 0, done.stderr
    for i, line in enumerate(done.stdout.splitlines()):
        query, passage = (b.decode("utf-8", "replace")
                          for b in (BROKEN[i], BROKEN[i - 1]))
        assert json.loads(line) == model.expect(query, passage, 64,
                                                "longest_first")


BINDING = """
import json, sys
from crossrank import CrossEncoder
with CrossEncoder(sys.argv[1], dtype="fp32") as model:
    pairs = json.load(sys.stdin)
    print(json.dumps({"ids": [list(model.tokenize(*p).ids) for p in pairs],
                      "scores": [float(s) for s in model.predict(pairs)]}))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_python_binding(kind, models, build, crossrank):
    if build_option(build, "b_sanitize") != "none":
        pytest.skip("Python cannot load a library of a sanitizer build")
    pairs = [["water", "the river"], ["a <mask> b ﬁne", "東京 \ufffd"],
             ["river " * 40, "the cats " * 40]]
    done = subprocess.run(
        [sys.executable, "-c", BINDING, models[kind].folder],
        input=json.dumps(pairs), capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings/python"),
             "CROSSRANK_LIBRARY": str(build / "libcrossrank.so")})
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    for pair, ids in zip(pairs, got["ids"], strict=True):
        assert ids == models[kind].expect(*pair, 64, "longest_first")["ids"]
    lines = "".join(json.dumps({"query": q, "passage": p}) + "\n"
                    for q, p in pairs)
    done = crossrank("score", "--model", models[kind].folder, "--dtype",
                     "fp32", "-", stdin=lines.encode())
    scores = [float(line) for line in done.stdout.splitlines()]
    assert got["scores"] == pytest.approx(scores, abs=1e-6)


@pytest.fixture(scope="module")
def servers(models, build, slower):
    found = {}
    for kind, model in models.items():
        found[kind] = Server(build / "crossrank", slower, model=model.folder,
                             dtype="fp32", max_length=48)
    yield found
    for server in found.values():
        assert server.stop() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_server_tokenizes_and_decodes(kind, models, servers):
    t, server = models[kind].reference, servers[kind]
    t.no_truncation()
    texts = ["capital of <mask> Größe", "東京 e\u0301 👩‍👩‍👧 ﬁne", " two  spaces ",
             "water"]
    answer = server.post("/tokenize", {"inputs": texts})
    assert answer.status == 200, answer.data
    for text, tokens in zip(texts, answer.json, strict=True):
        want = t.encode(text)
        assert [k["id"] for k in tokens] == want.ids
        for token, (begin, end), mask in zip(
                tokens, want.offsets, want.special_tokens_mask):
            if token["special"]:
                assert mask
            else:
                assert token["text"] == text[begin:end]
    lists = [[k["id"] for k in tokens] for tokens in answer.json]
    for skip in (True, False):
        got = server.post("/decode", {"ids": lists,
                                      "skip_special_tokens": skip})
        assert got.json == [t.decode(ids, skip_special_tokens=skip)
                            for ids in lists]


def ranking(answer):
    return [(r["index"], r["relevance_score"]) for r in answer.json["results"]]


@pytest.mark.parametrize("kind", KINDS)
def test_server_scores_as_the_program(kind, models, servers, crossrank):
    passages = ["the river", "water is in the river " * 20, "", "cats run",
                "Größe 東京 <mask>"]
    lines = "".join(json.dumps({"query": "river water", "passage": p}) + "\n"
                    for p in passages)
    done = crossrank("score", "--model", models[kind].folder, "--dtype",
                     "fp32", "--activation", "sigmoid", "--max-length", 48, "-",
                     stdin=lines.encode())
    scores = [float(line) for line in done.stdout.splitlines()]
    answer = servers[kind].post("/v1/rerank", {
        "query": "river water", "documents": passages})
    assert answer.status == 200, answer.data
    want = sorted(enumerate(scores), key=lambda r: (-r[1], r[0]))
    for got, expected in zip(ranking(answer), want, strict=True):
        assert got[0] == expected[0]
        assert got[1] == pytest.approx(expected[1], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_server_predicts_texts_alone(kind, models, servers, crossrank):
    """A text alone is <s> text </s>, cut to the limit as any."""
    text = "river water the cats " * 30
    short = servers[kind].post("/predict", {"inputs": [["river"], [text]],
                                            "truncate": True})
    assert short.status == 200, short.data
    refused = servers[kind].post("/predict", {"inputs": [text],
                                              "truncate": False})
    n = len(models[kind].reference.encode(text))
    assert refused.status in (413, 422)
    assert f"Given: {n} " in refused.data.decode()


@pytest.mark.parametrize("kind", KINDS)
def test_server_cuts_at_the_beginning(kind, servers):
    """With truncation_direction left the last tokens are kept: what stands in
    front of them does not change the score."""
    tail = " the cats run fast in the water" * 12
    answers = [servers[kind].post("/rerank", {
        "query": "river", "texts": [head + tail], "truncate": True,
        "truncation_direction": "left"}) for head in ("", "capital city")]
    assert [a.status for a in answers] == [200, 200], answers[0].data
    first, second = (a.json[0]["score"] for a in answers)
    assert first == second


def beginning(t, text, most):
    """The longest of the beginnings that end with one of the first `most`
    tokens and have at most that many."""
    offsets = t.encode(text, add_special_tokens=False).offsets
    for keep in range(min(most, len(offsets)), 0, -1):
        part = text[:offsets[keep - 1][1]]
        if len(t.encode(part, add_special_tokens=False)) <= most:
            return part
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_server_limits_tokens_of_a_document(kind, models, servers):
    t, server = models[kind].reference, servers[kind]
    t.no_truncation()
    text = "Größe of 東京 capitals, unaffable rivers and 👩‍👩‍👧 running"
    for most in range(1, 20):
        parts = [beginning(t, text, most), text]
        cut, whole = (server.post("/v1/rerank", {
            "query": "river", "documents": [part],
            **({"max_tokens_per_doc": most} if part is text else {})})
            for part in parts)
        assert cut.status == whole.status == 200, whole.data
        assert ranking(cut) == ranking(whole), parts


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=100000)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    args = parser.parse_args()

    def run(*arguments, stdin=b""):
        return subprocess.run([args.build / "crossrank", *map(str, arguments)],
                              input=stdin, capture_output=True)

    failed = 0
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            model = Model(kind, pathlib.Path(folder))
            differences = compare(model, by_program(run, model), args.pairs)
        print(f"{kind}: {args.pairs} pairs, {len(differences)} differ")
        for difference in differences[:3]:
            print(difference)
        failed += len(differences)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
