"""Models with several labels: `score` prints one score a label, /predict sorts
them, and what needs one score a pair says why it cannot.

The model is generated. What each label should score is asked of the same model
with that label's row of the classifier alone, so the values must be equal to
the last digit."""

import hashlib
import json
import math
import shutil
import struct
import sys
from pathlib import Path

import pytest

from helpers import message_of, write_jsonl, write_tsv
from serve import Server

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from make_tiny_model import Shape, make  # noqa: E402

NAMES = ["contradiction", "entailment", "neutral \"ü\""]
PAIRS = [("what is the capital city", "berlin is the capital city"),
         ("", ""), ("cats", "the dogs run fast " * 40), ("why", "")]


def write_safetensors(path, tensors):
    """tensors: (name, sizes, bytes of float32) of each."""
    header, data = {}, b""
    for name, sizes, content in tensors:
        header[name] = {"dtype": "F32", "shape": sizes,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    for name, entry in json.loads(raw[8:8 + n]).items():
        begin, end = entry["data_offsets"]
        yield name, entry["shape"], raw[8 + n + begin:8 + n + end]


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("classifier"),
                  Shape(labels=3, activation=""))
    edit_config(folder, id2label=dict(zip("012", NAMES)))
    return folder


@pytest.fixture(scope="module")
def want(classifier, crossrank, tmp_path_factory):
    """[pair][label] as text, from models of one label."""
    columns = []
    for label in range(3):
        folder = make(tmp_path_factory.mktemp("one-label"), Shape())
        write_safetensors(folder / "model.safetensors", [
            (name, [1, *sizes[1:]], content[label * (len(content) // 3):]
             [:len(content) // 3]) if name.startswith("classifier.")
            else (name, sizes, content) for name, sizes, content in
            read_safetensors(classifier / "model.safetensors")])
        columns.append(score(crossrank, folder, PAIRS))
    return [list(row) for row in zip(*columns)]


def score(crossrank, folder, pairs, *options):
    lines = "".join(f"{q}\t{p}\n" for q, p in pairs)
    done = crossrank("score", "--model", folder, "--dtype", "fp32", "--format",
                     "tsv", *options, "-", stdin=lines.encode())
    assert done.returncode == 0, message_of(done)
    return done.stdout.decode().splitlines()


def test_columns_have_a_score_for_each_label(crossrank, classifier, want):
    assert len({value for row in want for value in row}) == 12
    got = score(crossrank, classifier, PAIRS)
    assert [line.split("\t") for line in got] == want
    one = score(crossrank, classifier, PAIRS, "--threads", "1")
    assert one == got == score(crossrank, classifier, PAIRS, "--threads", "3")


def test_json_lines_name_the_labels(crossrank, classifier, want, tmp_path):
    path = write_jsonl(tmp_path / "pairs.jsonl",
                       [{"query": q, "passage": p} for q, p in PAIRS])
    done = crossrank("score", "--model", classifier, "--dtype", "fp32", path)
    assert done.returncode == 0, message_of(done)
    rows = [json.loads(line, parse_float=str)
            for line in done.stdout.splitlines()]
    assert [list(row) for row in rows] == [NAMES] * len(PAIRS)
    assert [list(row.values()) for row in rows] == want


def test_model_with_one_label_prints_a_number(crossrank, tiny_model):
    done = crossrank("score", "--model", tiny_model, "-",
                     stdin=b'{"query": "a", "passage": "b"}\n')
    assert isinstance(json.loads(done.stdout), float)


def test_activation_goes_to_each_label(crossrank, classifier, want):
    got = score(crossrank, classifier, PAIRS, "--activation", "sigmoid")
    for line, row in zip(got, want, strict=True):
        assert [float(x) for x in line.split("\t")] == pytest.approx(
            [1 / (1 + math.exp(-float(x))) for x in row], rel=1e-6)


def test_bad_lines_are_null(crossrank, classifier, want):
    done = crossrank("score", "--model", classifier, "--dtype", "fp32",
                     "--skip-errors", "-",
                     stdin=b"\ncats\tthe dogs\nno columns\n")
    assert done.returncode == 1
    first, second, third = done.stdout.decode().splitlines()
    assert (first, third) == ("null", "null")
    assert len(second.split("\t")) == 3


def test_ranking_is_refused_before_anything_is_read(crossrank, classifier,
                                                    root, tmp_path):
    missing = tmp_path / "missing"
    for command in (["rank", "--query", "q", missing],
                    ["eval", missing]):
        done = crossrank(*command, "--model", classifier)
        assert done.returncode == 3
        assert "has 3 labels" in message_of(done)
        assert "crossrank score" in message_of(done)
        assert done.stdout == b""


@pytest.mark.parametrize("mode", ["full", "inference_only"])
def test_bench_in_process_refuses_it(crossrank, classifier, tmp_path, mode):
    pairs = write_tsv(tmp_path / "pairs.tsv", PAIRS * 3)
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"name: x\nmodel: {classifier}\nload: {{requests: 2, "
                    f"batch_sizes: [2], dataset: {pairs}, protocol: "
                    f"in-process, mode: {mode}}}\n")
    done = crossrank("bench", plan, "-o", tmp_path / "out")
    assert done.returncode == 3
    assert "has 3 labels" in message_of(done)


def test_a_plan_for_it_is_refused_before_anything_is_measured(
        crossrank, classifier, tmp_path):
    done = crossrank("plan", "--rate", "1", "--pairs", "2", "--dataset",
                     tmp_path / "missing", "--model", classifier)
    assert done.returncode == 3
    assert "has 3 labels" in message_of(done)
    assert "one label" in message_of(done)
    assert done.stdout == b""


def test_info_names_the_labels(crossrank, classifier, tiny_model):
    def told(folder):
        done = crossrank("info", "--json", "--model", folder)
        assert done.returncode == 0, message_of(done)
        return json.loads(done.stdout)["model"]

    several, one = told(classifier), told(tiny_model)
    assert (several["labels"], several["label_names"]) == (3, NAMES)
    assert several["activation"] == "none"
    assert (one["labels"], one["label_names"]) == (1, ["LABEL_0"])
    text = crossrank("info", "--model", classifier).stdout.decode()
    assert "\nlabels     contradiction, entailment, neutral" in text


# ---- The server --------------------------------------------------------------


@pytest.fixture(scope="module")
def server(build, slower, classifier):
    s = Server(build / "crossrank", slower, model=classifier, dtype="fp32")
    yield s
    assert s.stop() == 0, s.log
    assert "Sanitizer" not in s.log


def softmax(row):
    raised = [math.exp(float(x)) for x in row]
    return [x / sum(raised) for x in raised]


def best_first(row):
    return sorted(zip(row, NAMES), reverse=True)


@pytest.mark.parametrize("raw", [False, True])
def test_predict_sorts_the_labels_of_each_pair(server, want, raw):
    # TEI refuses an empty text, so the pair of two is left out.
    chosen = [i for i, pair in enumerate(PAIRS) if any(pair)]
    got = server.post("/predict", {"inputs": [PAIRS[i] for i in chosen],
                                   "raw_scores": raw, "return_details": True})
    assert got.status == 200, got.data
    for i, row in zip(chosen, got.json, strict=True):
        values = [float(x) for x in want[i]]
        expected = best_first(values if raw else softmax(values))
        assert [x["label"] for x in row] == [name for _, name in expected]
        assert [x["score"] for x in row] == pytest.approx(
            [score for score, _ in expected], rel=1e-6)
        assert all(x["truncated"] is (i == 2) for x in row)


def test_predict_of_one_pair_is_one_list(server, want):
    row = server.post("/predict", {"inputs": list(PAIRS[0])}).json
    assert [x["label"] for x in row] \
        == [name for _, name in best_first(map(float, want[0]))]
    assert sum(x["score"] for x in row) == pytest.approx(1)
    for path in ("/", "/invocations"):
        assert server.post(path, {"inputs": list(PAIRS[0])}).json == row


@pytest.mark.parametrize("path, body, status", [
    ("/rerank", {"query": "q", "texts": ["a"]}, 424),
    ("/rerank", {"query": "q", "documents": ["a"]}, 422),
    ("/v1/rerank", {"query": "q", "documents": ["a"]}, 422),
    ("/v2/rerank", {"query": "q", "documents": ["a"]}, 422),
    ("/score", {"text_1": "q", "text_2": "a"}, 400)])
def test_what_needs_one_score_is_refused(server, path, body, status):
    got = server.post(path, body)
    assert got.status == status
    text = got.data.decode()
    assert "has 3 labels" in text and "/predict" in text
    if "texts" in body:
        assert got.json["error_type"] == "Backend"


def test_info_says_classifier(server):
    kinds = server.get("/info").json["model_type"]
    assert kinds == {"classifier": {
        "id2label": dict(zip("012", NAMES)),
        "label2id": {name: i for i, name in enumerate(NAMES)}}}


def test_reload_takes_a_model_of_another_kind(build, slower, tiny_model,
                                              classifier):
    s = Server(build / "crossrank", slower, model=tiny_model, threads=2)
    ask = {"query": "q", "texts": ["a", "b"]}
    assert s.post("/rerank", ask).status == 200
    for model, rerank, labels in ((classifier, 424, 3), (tiny_model, 200, 1)):
        done = s.post("/admin/reload", {"model": str(model)})
        assert done.status == 200, done.data
        assert s.post("/rerank", ask).status == rerank
        assert len(s.post("/predict", {"inputs": ["a", "b"]}).json) == labels
    assert s.stop() == 0, s.log


def test_known_scores_are_for_one_label(build, slower, classifier, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(classifier, folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "known_scores.json").write_text(json.dumps(
        {"sha256": hashlib.sha256(weights).hexdigest(),
         "pairs": [{"query": "a", "passage": "b", "logit": 1.0}]}))
    with pytest.raises(RuntimeError, match="known_scores.json .*3 labels"):
        Server(build / "crossrank", slower, model=folder)
