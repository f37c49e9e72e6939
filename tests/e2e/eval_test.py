"""crossrank eval: its report, what it saves, and folders that are wrong.
Agreement with pytrec_eval is in tests/parity/test_eval.py."""

import json
import re
import shutil

import pytest

from helpers import message_of, only_cpu

METRICS = ["ndcg@10", "mrr@10", "map"]


@pytest.fixture(scope="module")
def novel(root):
    return root / "data" / "novel"


@pytest.fixture(scope="module")
def report(crossrank, novel, tmp_path_factory):
    """What is said about data/novel, and the run that was saved."""
    saved = tmp_path_factory.mktemp("eval") / "run.trec"
    done = crossrank("eval", novel, "--save", saved, seconds=300)
    assert done.returncode == 0, message_of(done)
    return json.loads(done.stdout), saved


@only_cpu("420 pairs take a minute")
def test_report(report):
    told, _ = report
    assert list(told) == ["queries", "first_stage", "reranked", "ci95",
                          "pairs_per_second"]
    assert told["queries"] == 21
    assert told["first_stage"]["ndcg@10"] == pytest.approx(0.6066, abs=5e-5)
    assert told["reranked"]["ndcg@10"] == pytest.approx(0.751, abs=5e-3)
    assert told["pairs_per_second"] > 0
    for name in ("first_stage", "reranked"):
        assert list(told[name]) == METRICS
    for metric in METRICS:
        for name in ("first_stage", "reranked"):
            low, high = told["ci95"][metric][name]
            assert low <= told[name][metric] <= high
        low, high = told["ci95"][metric]["difference"]
        assert low <= told["reranked"][metric] \
            - told["first_stage"][metric] <= high


@only_cpu("420 pairs take a minute")
def test_saved_run(report):
    _, saved = report
    seen = {}
    for line in saved.read_text().splitlines():
        query, q0, document, rank, score, tag = line.split()
        assert q0 == "Q0" and tag == "crossrank"
        seen.setdefault(query, []).append((float(score), document))
        assert int(rank) == len(seen[query])
    assert len(seen) == 21
    for ranking in seen.values():
        assert ranking == sorted(ranking, reverse=True)


def test_reranking_a_saved_run(tiny, novel, tmp_path):
    """What was saved is a first stage like any other."""
    saved = tmp_path / "run.trec"
    first = tiny("eval", novel, "--save", saved)
    told = json.loads(first.stdout)
    done = tiny("eval", novel, "--run", saved,
                     "--json")
    again = json.loads(done.stdout)
    assert again["first_stage"] == told["reranked"] == again["reranked"]
    for metric in METRICS:
        assert again["ci95"][metric]["difference"] == [0, 0]


def test_table(tiny, novel):
    done = tiny("eval", novel, "--table",
                     "--depth", "5")
    text = done.stdout.decode()
    assert "21 queries, 105 pairs" in text
    assert re.search(r"^NDCG@10 +0\.\d{4} +0\.\d{4} +[+-]0\.\d{4}", text, re.M)


@pytest.fixture
def small(novel, tmp_path):
    """Two queries of data/novel with three candidates each."""
    for name in ("corpus.jsonl", "queries.jsonl"):
        shutil.copy(novel / name, tmp_path)
    (tmp_path / "qrels.test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n0\t0-3\t2\n1\t1-0\t2\n")
    (tmp_path / "run.bm25.tsv").write_text(
        "0\t0-0\t1\t3\n0\t0-3\t2\t2\n0\t0-6\t3\t1\n1\t1-0\t1\t1\n")
    return tmp_path


def test_small(tiny, small):
    told = json.loads(tiny("eval", small).stdout)
    assert told["queries"] == 2
    assert told["first_stage"]["mrr@10"] == 0.75


def test_left_out_queries_are_said(tiny, small):
    with (small / "run.bm25.tsv").open("a") as f:
        f.write("2\t2-0\t1\t1\n")
    with (small / "qrels.test.tsv").open("a") as f:
        f.write("3\t3-0\t1\n")
    done = tiny("eval", small)
    assert json.loads(done.stdout)["queries"] == 2
    assert "1 queries of the run are not judged" in message_of(done)
    assert "1 judged queries are not in the run" in message_of(done)
    done = tiny("eval", "--quiet", small)
    assert done.stderr == b""


def test_official_layout(tiny, small):
    (small / "qrels").mkdir()
    (small / "qrels.test.tsv").rename(small / "qrels" / "test.tsv")
    (small / "run.bm25.tsv").rename(small / "run.given.tsv")
    done = tiny("eval", small)
    assert json.loads(done.stdout)["queries"] == 2


@pytest.mark.parametrize("name, content, expected", [
    ("qrels.test.tsv", "0\t0-3\n", "qrels.test.tsv:1: 2 columns"),
    ("qrels.test.tsv", "h\th\th\n0\t0-3\tx\n", "qrels.test.tsv:2: "),
    ("qrels.test.tsv", None, "neither qrels.test.tsv nor qrels/test.tsv"),
    ("run.bm25.tsv", "0\t0-0\t1\tnan\n", 'tsv:1: "nan" is not a finite'),
    ("run.bm25.tsv", "0\t0-0\t1\t1e999\n", 'tsv:1: "1e999" is not a finite'),
    ("run.bm25.tsv", "0\tno-such\t1\t1\n", 'no _id "no-such"'),
    ("run.bm25.tsv", "0\t0-0\t1\t1\n0\t0-0\t2\t1\n", "run.bm25.tsv:2: "),
    ("run.bm25.tsv", "7\t0-0\t1\t1\n", "no query of the run is judged"),
    ("run.bm25.tsv", None, "--run FILE"),
    ("corpus.jsonl", '{"_id":"0-0"}\n', "corpus.jsonl:1: no \"text\""),
    ("corpus.jsonl", "{\n", "corpus.jsonl:1: not valid JSON"),
    ("corpus.jsonl", None, "corpus.jsonl"),
    ("queries.jsonl", '{"_id":"0","text":"q"}\n', 'no _id "1"'),
])
def test_wrong_folders(tiny, small, name, content, expected):
    if content is None:
        (small / name).unlink()
    else:
        (small / name).write_text(content)
    done = tiny("eval", small)
    assert (done.returncode, done.stdout) == (3, b"")
    assert expected in message_of(done)


def test_saving_fails_loudly(tiny, small):
    done = tiny("eval", small, "--save",
                     "/nowhere/at/all")
    assert (done.returncode, done.stdout) == (3, b"")
    assert "/nowhere/at/all: cannot write" in message_of(done)
    done = tiny("eval", small, "--save",
                     "/dev/full")
    assert done.returncode == 3
    # Figures that were computed are shown though the run is lost.
    assert list(json.loads(done.stdout))[0] == "queries"


def test_ids_with_blanks_are_saved_as_they_can_be_read(tiny, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text("".join(
        json.dumps({"_id": f"doc {i}", "text": t}) + "\n"
        for i, t in enumerate(["Rome is in Italy", "tea is hot"])))
    (folder / "queries.jsonl").write_text(
        json.dumps({"_id": "q 1", "text": "capital"}) + "\n")
    (folder / "qrels.test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq 1\tdoc 0\t1\n")
    (folder / "run.bm25.tsv").write_text("q 1\tdoc 0\t2\nq 1\tdoc 1\t1\n")
    saved = tmp_path / "run"
    first = tiny("eval", folder, "--save", saved)
    assert first.returncode == 0, message_of(first)
    again = tiny("eval", folder, "--run", saved)
    assert again.returncode == 0, message_of(again)
    assert json.loads(again.stdout)["first_stage"] \
        == json.loads(first.stdout)["reranked"]
