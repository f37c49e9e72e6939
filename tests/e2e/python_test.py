"""The Python binding: built from bindings/python into a folder of its own,
equal to the C program to the bit, and with the results of sentence-transformers
(CROSSRANK_REFERENCE_PYTHON names an interpreter that has it)."""

import base64
import csv
import ctypes
import hashlib
import importlib
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest

from helpers import build_option, scores_of, write_jsonl

BINDING = "bindings/python"
MODEL = "models/crossrank-minilm-l6"
REFERENCE = os.environ.get("CROSSRANK_REFERENCE_PYTHON",
                           "/opt/peers-env/main/bin/python")


@pytest.fixture(scope="module", autouse=True)
def plain_build(build):
    sanitizer = build_option(build, "b_sanitize")
    if sanitizer != "none":
        pytest.skip("the wheel has a library of its own, without "
                    f"-fsanitize={sanitizer}")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    if importlib.util.find_spec("pip") is None:
        pytest.skip(f"{sys.executable} has no pip")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps",
         "--wheel-dir", folder, root / BINDING], text=True,
        capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder for sys.path, as pip fills it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-index",
                    "--no-deps", "--target", folder, wheel], check=True)
    return folder


@pytest.fixture(scope="module")
def package(installed):
    sys.path.insert(0, str(installed))
    for name in ("CROSSRANK_LIBRARY", "CROSSRANK_MODEL"):
        os.environ.pop(name, None)
    yield importlib.import_module("crossrank")
    sys.path.remove(str(installed))


@pytest.fixture(scope="module")
def encoder(package):
    return package.CrossEncoder(dtype="fp32")


@pytest.fixture(scope="module")
def pairs(root):
    """Real ones, and odd ones."""
    def rows(name):
        with open(root / "data/novel" / name) as file:
            return [json.loads(line) for line in file]
    passages = [row["text"] for row in rows("corpus.jsonl")]
    queries = [row["text"] for row in rows("queries.jsonl")]
    return [(queries[i % 7], passages[5 * i]) for i in range(25)] + [
        ("", ""), ("a", ""), ("Zürich", "東京 réchauffé 🍦"),
        ("nul\0inside", "x\0y"), ("long", "word " * 2000)]


def python(installed, code, *arguments, interpreter=sys.executable, **options):
    environment = dict(os.environ, PYTHONPATH=str(installed))
    done = subprocess.run([interpreter, "-c", code, *map(str, arguments)],
                          text=True, env=environment, capture_output=True,
                          timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- The wheel --------------------------------------------------------------


def test_wheel_is_whole(root, wheel):
    version = re.search(r"version: '(.*?)'",
                        (root / "meson.build").read_text())[1]
    assert wheel.name.startswith(f"crossrank-{version}-py3-none-")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        info = f"crossrank-{version}.dist-info"
        record = opened.read(f"{info}/RECORD").decode()
        for name, digest, size in csv.reader(record.splitlines()):
            if name == f"{info}/RECORD":
                continue
            data = opened.read(name)
            hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
            assert digest == "sha256=" + hashed.decode().rstrip("=")
            assert int(size) == len(data)
        metadata = opened.read(f"{info}/METADATA").decode()
    assert len(record.splitlines()) == len(names) == len(set(names))
    assert {"crossrank/py.typed", "crossrank/bulk/__main__.py",
            f"crossrank/{MODEL}/model.safetensors",
            f"{info}/licenses/LICENSE"} <= set(names)
    needed = re.findall("^Requires-Dist: (.*)$", metadata, re.M)
    assert [name for name in needed if "extra" not in name] == ["numpy>=1.21"]
    extras = set(re.findall("^Provides-Extra: (.*)$", metadata, re.M))
    assert extras == {"bulk", "spark", "ray"}
    assert {re.search('extra == "(.*)"', name)[1]
            for name in needed if "extra" in name} == extras


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
def test_library_of_the_wheel_needs_the_c_library_only(installed):
    own = {path.name for path in (installed / "crossrank").iterdir()}
    dynamic = subprocess.run(
        ["readelf", "-d", installed / "crossrank/libcrossrank.so"],
        check=True, text=True, capture_output=True).stdout
    needed = set(re.findall(r"Shared library: \[(.*?)\]", dynamic))
    assert {name.split(".so")[0] for name in needed - own} \
        <= {"libc", "libm", "libpthread", "ld-linux-x86-64",
            "ld-linux-aarch64"}
    assert "runpath: [$ORIGIN]" in dynamic


def test_model_can_be_left_out_of_the_wheel(root, tmp_path):
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import backend
backend.build_libraries = lambda folder: []
print(backend.build_wheel(sys.argv[2], {"model": "none"}))
"""
    name = python("", code, root / BINDING, tmp_path).strip()
    with zipfile.ZipFile(tmp_path / name) as opened:
        assert not any("models" in n for n in opened.namelist())


def test_sdist_holds_what_a_build_needs(root, tmp_path):
    """Meson finds every file of the unpacked archive; compiling them is the
    same as in a checkout."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import backend
print(backend.build_sdist(sys.argv[2]))
"""
    name = python("", code, root / BINDING, tmp_path).strip()
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path)
    unpacked = tmp_path / name.removesuffix(".tar.gz")
    assert (unpacked / "PKG-INFO").exists()
    assert (unpacked / "csrc" / MODEL / "model.safetensors").exists()
    subprocess.run(["meson", "setup", tmp_path / "build", unpacked / "csrc",
                    "-Dprogram=false"], check=True, capture_output=True)
    listed = json.loads(
        (tmp_path / "build/meson-info/intro-targets.json").read_text())
    sources = {source for target in listed
               for group in target["target_sources"]
               for source in group.get("sources", [])}
    assert len(sources) > 20
    assert all(pathlib.Path(source).exists() for source in sources)


def test_structures_are_those_of_the_header(root, package, tmp_path):
    """Sizes, offsets and constants, as a C compiler has them."""
    library = importlib.import_module("crossrank._library")
    structures = {"cr_error": library.Error, "cr_options": library.Options,
                  "cr_ranker_info": library.Info, "cr_text": library.Text,
                  "cr_pair": library.Pair, "cr_encoding": library.Encoding}
    lines, expected = [], []
    for name, structure in structures.items():
        lines.append(f"sizeof({name})")
        expected.append(ctypes.sizeof(structure))
        for field, *_ in structure._fields_:
            lines.append(f"offsetof({name}, {field})")
            expected.append(getattr(structure, field).offset)
    for prefix, constants in (("CR_TRUNCATE_", library.TRUNCATIONS),
                              ("CR_ACTIVATION_", library.ACTIVATIONS)):
        for name, value in constants.items():
            lines.append(prefix + name.upper())
            expected.append(value)
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <crossrank.h>\n#include <stdio.h>\nint main(void) {\n"
        + "".join(f'printf("%zu\\n", (size_t)({line}));\n' for line in lines)
        + "}\n")
    subprocess.run(["cc", f"-I{root / 'include'}", source, "-o",
                    tmp_path / "layout"], check=True)
    printed = subprocess.run([tmp_path / "layout"], check=True, text=True,
                             capture_output=True).stdout
    assert list(map(int, printed.split())) == expected


# ---- Scores -----------------------------------------------------------------


@pytest.mark.parametrize("dtype, options, arguments", [
    ("fp32", {}, []),
    ("bf16", {}, []),
    ("int8", {}, []),
    ("fp32", {"max_length": 48, "truncation": "only_second"},
     ["--max-length", "48", "--truncation", "only_second"]),
    ("fp32", {"activation_fn": "sigmoid"}, ["--activation", "sigmoid"]),
    ("fp32", {"isa": "base"}, ["--isa", "base"]),
])
def test_scores_are_the_programs_to_the_bit(package, crossrank, pairs, root,
                                            tmp_path, dtype, options,
                                            arguments):
    if "isa" in options:
        pairs = pairs[-5:]  # plain C takes its time
    file = write_jsonl(tmp_path / "pairs.jsonl", [
        {"query": query, "passage": passage} for query, passage in pairs])
    done = crossrank("score", "--dtype", dtype, *arguments, file, seconds=300)
    if done.returncode == 4:
        pytest.skip(done.stderr.decode().strip())
    assert done.returncode == 0, done.stderr
    with package.CrossEncoder(root / MODEL, dtype=dtype, threads=2,
                              **options) as encoder:
        scores = encoder.predict(pairs)
        assert encoder.info.dtype == dtype
    assert scores.dtype == np.float32
    # Nine digits tell every float32 from its neighbours.
    assert scores.tolist() == np.array(scores_of(done), np.float32).tolist()


def test_rank_is_the_programs(encoder, crossrank, pairs):
    query = "how does the engine work"
    passages = [passage.replace("\n", " ") for _, passage in pairs[:20]]
    done = crossrank("rank", "--dtype", "fp32", "--query", query, "--json",
                     "--top", "7", "-",
                     stdin="\n".join(passages).encode() + b"\n")
    assert done.returncode == 0, done.stderr
    hits = encoder.rank(query, passages, top_k=7, return_documents=True)
    assert [hit["text"] for hit in hits] \
        == [passages[hit["corpus_id"]] for hit in hits]
    printed = re.findall(r'"index": ?(\d+)', done.stdout.decode())
    assert [hit["corpus_id"] for hit in hits] == list(map(int, printed))


def test_steps_of_a_long_list_do_not_show(package, pairs, monkeypatch):
    inner = importlib.import_module("crossrank._encoder")
    pairs = pairs[-12:]
    with package.CrossEncoder(dtype="fp32", threads=1) as encoder:
        whole = encoder.predict(pairs)
        monkeypatch.setattr(inner, "FIRST_STEP", 3)
        monkeypatch.setattr(inner, "SECONDS_A_STEP", 0)
        assert encoder.predict(pairs).tolist() == whole.tolist()
        assert [encoder.predict(pair) for pair in pairs] == whole.tolist()


def test_steps_follow_the_speed(package, monkeypatch):
    """Long pairs behind short ones make no step of half a minute, for Ctrl-C
    and the progress bar wait for a step's end."""
    inner = importlib.import_module("crossrank._encoder")
    now, took = [0.0], []
    monkeypatch.setattr(inner.time, "perf_counter", lambda: now[0])
    pairs = [("a", "b" * 20)] * 20000 + [("a", "b" * 3000)] * 500
    with package.CrossEncoder(threads=1) as encoder:
        def logits(pairs, first, end, n_labels):
            tokens = sum(3 + min(509, len(q + p) // 4)
                         for q, p in pairs[first:end])
            took.append(tokens / 5000)
            now[0] += took[-1]
            return np.zeros((end - first, n_labels), np.float32)
        monkeypatch.setattr(encoder._ranker, "logits", logits)
        assert len(encoder.predict(pairs)) == len(pairs)
    assert max(took) < 4
    assert len(took) < 1.5 * sum(took) + 10  # nor are they too short


def test_max_length_can_be_set(package, long_pair=("a b", "c " * 400)):
    with package.CrossEncoder(dtype="fp32") as encoder, \
            package.CrossEncoder(dtype="fp32", max_length=32) as short:
        whole, cut = encoder.predict(long_pair), short.predict(long_pair)
        assert whole != cut
        encoder.max_seq_length = 32
        assert encoder.predict(long_pair) == cut
        assert encoder.max_length == encoder.max_seq_length == 32
        with pytest.raises(package.ArgumentError, match="513"):
            encoder.max_length = 513
        assert encoder.predict(long_pair) == cut  # as it was
        encoder.max_length = None
        assert encoder.predict(long_pair) == whole


def test_constructor_of_sentence_transformers(package, root):
    folder = str(root / "models/crossrank-minilm-l6")
    for arguments in ({"model_name_or_path": folder}, {"model_name": folder},
                      {"num_labels": 1, "local_files_only": True},
                      {"trust_remote_code": True, "model_kwargs": None},
                      {"tokenizer_kwargs": {}, "cache_folder": None}):
        with package.CrossEncoder(**arguments) as encoder:
            assert encoder.num_labels == 1
    with package.CrossEncoder(folder, 1, 64, "sigmoid", "cpu") as encoder:
        assert encoder.max_length == 64 and encoder.activation_fn == "sigmoid"
    for arguments, words in (({"num_labels": 3}, "num_labels is 3"),
                             ({"cache_folder": "x"}, "HF_HUB_CACHE"),
                             ({"model_kwargs": {"a": 1}}, "dtype=")):
        with pytest.raises(package.ArgumentError, match=words):
            package.CrossEncoder(**arguments)
    with pytest.raises(TypeError, match="nonsense"):
        package.CrossEncoder(nonsense=1)


# ---- Arguments and results --------------------------------------------------


def test_shapes_of_inputs(encoder):
    two = [("a", "b"), ("c", "d")]
    expected = encoder.predict(two).tolist()
    for many in (two, tuple(two), [["a", "b"], ["c", "d"]], np.array(two),
                 np.array(two, object), iter(two), zip("ac", "bd"),
                 [np.array(["a", "b"]), ("c", "d")]):
        assert encoder.predict(many).tolist() == expected
    for one in (two[0], list(two[0]), np.array(two[0])):
        score = encoder.predict(one)
        assert isinstance(score, np.float32) and score == expected[0]
    for none in ([], (), np.empty((0, 2), "U1")):
        assert encoder.predict(none).shape == (0,)
    assert encoder.rank("a", []) == []


@pytest.mark.parametrize("inputs, words", [
    ("text", "got a str"), (b"text", "got a bytes"), ({"a": "b"}, "a dict"),
    (["a"], "pair 0 .*got .str.$"), (["a", "b", "c"], "pair 0"),
    ([("a", "b"), ("c", None)], r"pair 1 .*\(str, NoneType\)"),
    ([("a", "b"), "cd"], "pair 1 .*got a str"), ([1], "pair 0 .*a int"),
    ([("a", b"b")], r"\(str, bytes\)"), ([("a",)], r"\(str\)")])
def test_wrong_inputs_name_themselves(encoder, inputs, words):
    with pytest.raises(TypeError, match=words):
        encoder.predict(inputs)


@pytest.mark.parametrize("documents", ["bc", b"bc", {"x": 1}])
def test_documents_are_a_list(encoder, documents):
    with pytest.raises(TypeError, match="documents must be a list"):
        encoder.rank("a", documents)


@pytest.mark.parametrize("name", ["dtype", "isa", "model"])
def test_names_hold_no_nul(package, name):
    with pytest.raises(package.ArgumentError, match=f"{name} is .*no NUL"):
        package.CrossEncoder(**{name: "int8\0x"})


def test_lone_surrogates_are_refused(package, encoder):
    with pytest.raises(package.InputError,
                       match="pair 1: the passage .*D800 at 1"):
        encoder.predict([("a", "b"), ("c", "d\ud800")])


def test_activations(package, encoder, pairs):
    pairs = pairs[:5]
    logits = encoder.predict(pairs)
    assert encoder.predict(pairs, activation_fn="identity").tolist() \
        == logits.tolist()
    exact = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    sigmoid = encoder.predict(pairs, activation_fn="sigmoid")
    np.testing.assert_allclose(sigmoid, exact, rtol=1e-7)
    seen = []

    def twice(values):
        seen.append((values.shape, values.dtype))
        return values * 2
    assert encoder.predict(pairs, activation_fn=twice).tolist() \
        == (logits * 2).tolist()
    assert seen == [((len(pairs), 1), np.float32)]
    both = encoder.predict(pairs, apply_softmax=True, activation_fn=lambda x:
                           np.concatenate([x, x + 1], axis=1))
    assert both.shape == (len(pairs), 2)
    np.testing.assert_allclose(both.sum(axis=1), 1, rtol=1e-6)
    # A callable orders by what it returns, worst first here.
    worst = encoder.rank("a", ["a b", "c"], activation_fn=lambda x: -x)
    assert worst == [dict(hit, score=-hit["score"])
                     for hit in encoder.rank("a", ["a b", "c"])[::-1]]
    with pytest.raises(ValueError, match=r"shape \(1,\) for 5 pairs"):
        encoder.predict(pairs, activation_fn=lambda x: x[0])
    with pytest.raises(package.ArgumentError, match="'softplus'"):
        encoder.predict(pairs, activation_fn="softplus")
    with pytest.raises(TypeError, match="got int"):
        encoder.predict(pairs, activation_fn=3)
    with package.CrossEncoder(activation_fn="sigmoid", dtype="fp32") as own:
        assert own.predict(pairs).tolist() == sigmoid.tolist()


def test_several_labels(package, crossrank, root, pairs, tmp_path):
    subprocess.run([sys.executable, root / "tools/make_tiny_model.py",
                    tmp_path, "--labels", "3"], check=True)
    done = crossrank("score", "--model", tmp_path, "--dtype", "fp32",
                     "--format", "jsonl", "-", stdin="".join(json.dumps(
                         {"query": q, "passage": p}) + "\n"
                         for q, p in pairs).encode())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    with package.CrossEncoder(tmp_path, dtype="fp32") as encoder:
        assert encoder.num_labels == 3
        assert list(encoder.id2label.values()) == list(rows[0])
        scores = encoder.predict(pairs)
        assert (scores.shape, scores.dtype) == ((len(pairs), 3), np.float32)
        assert scores.tolist() == [list(map(np.float32, row.values()))
                                   for row in rows]
        assert encoder.predict(pairs[0]).tolist() == scores[0].tolist()
        assert encoder.predict([]).shape == (0, 3)
        odds = encoder.predict(pairs, apply_softmax=True)
        np.testing.assert_allclose(odds.sum(axis=1), 1, rtol=1e-6)
        assert (odds.argmax(axis=1) == scores.argmax(axis=1)).all()
        seen = []
        last = encoder.predict(pairs, activation_fn=lambda x:
                               (seen.append(x.shape), x[:, 2])[1])
        assert seen == [scores.shape]
        assert last.tolist() == scores[:, 2].tolist()
        with pytest.raises(package.UnsupportedModelError,
                           match="num_labels=1.* has 3"):
            encoder.rank("a", ["b"])
        with pytest.raises(ValueError):
            encoder.rank("a", [])


def test_what_is_accepted_and_what_is_refused(package, encoder):
    pair = ("a", "b")
    score = encoder.predict(pair)
    assert encoder.predict(pair, batch_size=1, chunk_size=3, device="cpu",
                           show_progress_bar=False) == score
    with pytest.raises(package.ArgumentError, match="batch_size .*got 0"):
        encoder.predict(pair, batch_size=0)
    for refused in ({"prompt": "query: "}, {"prompt_name": "query"},
                    {"pool": {}}, {"device": "cuda"}, {"device": ["cpu"]}):
        with pytest.raises(package.ArgumentError, match=next(iter(refused))[:6]):
            encoder.predict(pair, **refused)
        with pytest.raises(package.ArgumentError):
            encoder.rank("a", ["b"], **refused)
    with pytest.raises(TypeError):
        encoder.predict(pair, nonsense=1)
    for old in ({"sentences": pair}, {"inputs": pair, "num_workers": 2},
                {"inputs": pair, "activation_fct": "identity"}):
        with pytest.warns(DeprecationWarning):
            assert encoder.predict(**old) == score


def test_rank_cuts_and_keeps_the_order_of_equals(encoder):
    documents = ["gelato", "wind tunnel", "gelato", "shear flow"]
    whole = encoder.rank("what is gelato", documents)
    assert [hit["corpus_id"] for hit in whole][:2] == [0, 2]
    assert set(whole[0]) == {"corpus_id", "score"}
    assert type(whole[0]["score"]) is float
    assert type(whole[0]["corpus_id"]) is int
    for top_k in (0, 1, 3, 99, None):
        assert encoder.rank("what is gelato", documents, top_k=top_k) \
            == whole[:top_k]


def test_progress_goes_to_standard_error(installed):
    code = """
import logging, sys
sys.modules["tqdm.auto"] = None
import crossrank
encoder = crossrank.CrossEncoder()
encoder.predict([("a", "b")] * 3, show_progress_bar=True)
encoder.predict([("a", "b")] * 4, show_progress_bar=False)
encoder.predict([("a", "b")] * 5)
logging.getLogger("crossrank").setLevel("INFO")
encoder.predict([("a", "b")] * 6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True,
                          env=dict(os.environ, PYTHONPATH=str(installed)))
    assert done.returncode == 0 and done.stdout == b"", done.stderr
    assert done.stderr == (b"\rcrossrank: 3 of 3 pairs\n"
                           b"\rcrossrank: 6 of 6 pairs\n")


def test_tensors_need_torch(encoder):
    if importlib.util.find_spec("torch"):
        pytest.skip("torch is here")
    for asked in ({"convert_to_tensor": True}, {"convert_to_numpy": False}):
        with pytest.raises(ImportError, match="pip install torch"):
            encoder.predict(("a", "b"), **asked)


def test_tokens_and_facts(package, encoder, crossrank, root):
    encoding = encoder.tokenize("Zürich", "unaffable gelato")
    done = crossrank("tokenize", "-", stdin="Zürich\tunaffable gelato\n".encode())
    printed = json.loads(done.stdout)
    assert encoding.ids == printed["ids"]
    assert encoding.type_ids == printed["type_ids"]
    assert encoding.tokens == printed["tokens"]
    assert [list(o) for o in encoding.offsets] == printed["offsets"]
    assert encoding.n_truncated == printed["truncated"] == 0
    info = encoder.info
    assert (info.n_layers, info.hidden_size, info.vocab_size) \
        == (6, 384, 30522)
    assert info.isa in package.isa_names()
    assert info.backend in package.backend_names()
    assert (info.truncation, info.model_activation) \
        == ("longest_first", "none")
    assert encoder.max_length == 512 and encoder.num_labels == 1
    assert "crossrank-minilm-l6" in repr(encoder)
    encoder.predict(("long", "word " * 600))
    now = encoder.info
    assert now.n_pairs_scored == info.n_pairs_scored + 1
    assert now.n_pairs_cut == info.n_pairs_cut + 1
    assert now.n_tokens_scored == info.n_tokens_scored + 512


# ---- Errors -----------------------------------------------------------------


@pytest.mark.parametrize("options, name, builtin, words", [
    ({"model": "/nonexistent"}, "ModelError", ValueError, "/nonexistent"),
    ({"dtype": "fp64"}, "UnavailableError", RuntimeError, "fp64"),
    ({"device": "cuda"}, "UnavailableError", RuntimeError, "cuda"),
    ({"backend": "tpu"}, "UnavailableError", RuntimeError, "tpu"),
    ({"isa": "sse9"}, "ArgumentError", ValueError, "sse9"),
    ({"max_length": 513}, "ArgumentError", ValueError, "513"),
    ({"max_length": -1}, "ArgumentError", ValueError, "-1"),
    ({"threads": 5000}, "ArgumentError", ValueError, "5000"),
    ({"truncation": "none"}, "ArgumentError", ValueError, "none"),
    ({"activation_fn": "relu"}, "ArgumentError", ValueError, "relu")])
def test_errors_are_classes_with_the_message(package, options, name, builtin,
                                             words):
    with pytest.raises(package.CrossrankError, match=words) as raised:
        package.CrossEncoder(**options)
    assert type(raised.value) is getattr(package, name)
    assert isinstance(raised.value, builtin)
    assert raised.value.status.startswith("CR_ERR_")


def test_unsupported_model_is_a_model_error(package, root, tmp_path):
    shutil.copytree(root / MODEL, tmp_path / "model")
    config = tmp_path / "model/config.json"
    text = json.loads(config.read_text())
    config.write_text(json.dumps(dict(text, model_type="gpt2")))
    with pytest.raises(package.UnsupportedModelError, match="gpt2"):
        package.CrossEncoder(tmp_path / "model")
    assert issubclass(package.UnsupportedModelError, package.ModelError)


def test_missing_library_says_what_to_do(installed):
    code = """
try:
    import crossrank
except ImportError as error:
    print(error)
"""
    os.environ["CROSSRANK_LIBRARY"] = "/nonexistent.so"
    try:
        assert "CROSSRANK_LIBRARY" in python(installed, code)
    finally:
        del os.environ["CROSSRANK_LIBRARY"]


# ---- Threads, processes, lifetime -------------------------------------------


def test_many_threads_share_an_encoder(encoder, pairs):
    pairs = pairs[:11]
    expected = encoder.predict(pairs).tolist()
    got = []

    def call(i):
        for _ in range(3):
            part = encoder.predict(pairs[i:i + 4]).tolist()
            got.append(part == expected[i:i + 4])
    threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [True] * 24


def test_scoring_releases_the_gil(encoder, pairs):
    done = threading.Event()

    def score():
        for _ in range(3):
            encoder.predict(pairs[-1:] * 8)
        done.set()
    thread = threading.Thread(target=score)
    thread.start()
    n_ticks = 0
    while not done.wait(0.002):
        n_ticks += 1
    thread.join()
    # Holding it would leave three ticks, one between two calls.
    assert n_ticks > 10


def test_close_waits_for_those_who_score(package, pairs):
    encoder = package.CrossEncoder(dtype="fp32")
    expected = encoder.predict(pairs[-1:] * 8).tolist()
    got, started = [], threading.Event()

    def score():
        started.set()
        got.append(encoder.predict(pairs[-1:] * 8).tolist())
    thread = threading.Thread(target=score)
    thread.start()
    started.wait()
    time.sleep(0.02)
    encoder.close()
    encoder.close()
    thread.join()
    assert got == [expected]
    with pytest.raises(ValueError, match="closed"):
        encoder.predict(pairs[0])
    with encoder as again, pytest.raises(ValueError, match="closed"):
        again.tokenize("a", "b")


def test_garbage_collection_frees_the_model(installed):
    """Ten models one after another take the memory of two."""
    code = """
import resource
import crossrank
def open_and_score():
    crossrank.CrossEncoder(threads=1).predict(("a", "b"))
open_and_score(); open_and_score()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(8):
    open_and_score()
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert after < before + 100_000, (before, after)
"""
    python(installed, code)


def test_forked_child_opens_its_own(installed):
    code = """
import os, signal
import crossrank
encoder = crossrank.CrossEncoder(dtype="fp32", threads=2)
score = encoder.predict(("a", "b"))
child = os.fork()
if child == 0:
    signal.alarm(60)
    same = encoder.predict(("a", "b")) == score
    encoder.close()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
assert encoder.predict(("a", "b")) == score
"""
    python(installed, code)


def test_pickle_carries_the_arguments(package, encoder):
    with package.CrossEncoder(dtype="fp32", threads=1, max_length=64,
                              activation_fn="sigmoid") as first:
        second = pickle.loads(pickle.dumps(first))
        assert second.predict(("a", "b")) == first.predict(("a", "b"))
        assert second.info == first.info
        assert second.info.n_pairs_scored == 1
        second.close()


# ---- Types and pages --------------------------------------------------------


USER = """
from __future__ import annotations
import numpy as np
from numpy.typing import NDArray
import crossrank
encoder = crossrank.CrossEncoder("folder", dtype="fp32", threads=1)
one: np.float32 = encoder.predict(("a", "b"))
many: NDArray[np.float32] = encoder.predict(
    [("a", "b")], activation_fn="sigmoid", batch_size=8)
lists: NDArray[np.float32] = encoder.predict([["a", "b"], ["c", "d"]])
ids: list[int] = encoder.tokenize("a", "b").ids
for hit in encoder.rank("a", ["b"], top_k=3, return_documents=True):
    print(hit["corpus_id"], many.argmax(), one + 1)
"""


def test_types_are_strict(installed, tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("no mypy here")
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(
        USER + 'encoder.predict(("a", "b"), batch_size="x")\n')

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull,
         installed / "crossrank", "user.py", "wrong.py"], text=True,
        capture_output=True, cwd=tmp_path,
        env=dict(os.environ, MYPYPATH=str(installed)))
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1 and errors[0].startswith("wrong.py:"), done.stdout


@pytest.mark.parametrize("page", ["docs/PYTHON.md", f"{BINDING}/README.md"])
def test_examples_of_the_pages_run(installed, root, page):
    code = re.search(r"```python\n(.*?)```", (root / page).read_text(), re.S)
    assert python(installed, code[1]).strip()


def test_examples_of_the_docstring_run(package):
    doctest = importlib.import_module("doctest")
    failed, attempted = doctest.testmod(package)
    assert (failed, attempted > 0) == (0, True)


# ---- sentence-transformers itself -------------------------------------------


COMPARE = """
import json, sys, warnings
import numpy as np, torch
import sentence_transformers, crossrank
folder, pairs = sys.argv[1], json.loads(sys.stdin.read())
torch.set_num_threads(1)
pairs = [tuple(pair) for pair in pairs]
theirs = sentence_transformers.CrossEncoder(
    folder, device="cpu", model_kwargs={"dtype": torch.float32})
ours = crossrank.CrossEncoder(folder, dtype="fp32", threads=1)
worst = 0.0

def alike(a, b):
    global worst
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, list):
        assert len(a) == len(b)
        return all([alike(x, y) for x, y in zip(a, b)])
    assert a.dtype == b.dtype and a.shape == b.shape, (a, b)
    worst = max(worst, float(np.abs(np.asarray(a) - np.asarray(b)).max()))
    return worst <= 1e-4

for arguments in ({}, {"batch_size": 7}, {"activation_fn": None},
                  {"activation_fn": torch.nn.Sigmoid()},
                  {"activation_fn": torch.nn.Tanh()},
                  {"activation_fn": torch.nn.Identity()},
                  {"activation_fn": torch.nn.Softplus()},
                  {"activation_fn": lambda x: x * 2 + 1},
                  {"apply_softmax": True}, {"convert_to_tensor": True},
                  {"convert_to_numpy": False}):
    for inputs in (pairs, pairs[0], list(pairs[0]), np.array(pairs[:3]),
                   tuple(pairs[:2])):
        a = theirs.predict(inputs, show_progress_bar=False, **arguments)
        b = ours.predict(inputs, show_progress_bar=False, **arguments)
        assert alike(a, b), (arguments, a, b)
assert ours.num_labels == theirs.num_labels
assert ours.id2label == theirs.config.id2label
query, documents = pairs[0][0], [passage for _, passage in pairs]
if ours.num_labels > 1:
    for model in (theirs, ours):
        try:
            model.rank(query, documents)
        except ValueError as error:
            assert "num_labels=1" in str(error), error
        else:
            raise AssertionError(model)
    print(f"{worst:.2g}")
    sys.exit()
for arguments in ({}, {"top_k": 5}, {"top_k": 0}, {"top_k": 1000},
                  {"return_documents": True},
                  {"activation_fn": torch.nn.Sigmoid()},
                  {"activation_fn": lambda x: -x}):
    a = theirs.rank(query, documents, **arguments)
    b = ours.rank(query, documents, **arguments)
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert list(x) == list(y) and type(x["score"]) is type(y["score"])
        assert x["corpus_id"] == y["corpus_id"], (x, y)
        assert x.get("text") == y.get("text")
        assert abs(x["score"] - y["score"]) <= 1e-4
print(f"{worst:.2g}")
"""


@pytest.mark.parametrize("labels", [1, 2, 3])
def test_results_are_those_of_sentence_transformers(installed, root, pairs,
                                                    labels, tmp_path):
    model = root / MODEL
    if labels > 1:
        model = tmp_path
        subprocess.run([sys.executable, root / "tools/make_tiny_model.py",
                        model, "--labels", str(labels), "--positions", "512",
                        "--activation", ""], check=True)
    if not pathlib.Path(REFERENCE).exists():
        pytest.skip(f"no interpreter with sentence-transformers at {REFERENCE}:"
                    " set CROSSRANK_REFERENCE_PYTHON")
    chosen = [pair for pair in pairs if len(pair[1]) < 400][-8:]
    worst = python(installed, COMPARE, model, interpreter=REFERENCE,
                   input=json.dumps(chosen))
    assert float(worst) <= 1e-4
