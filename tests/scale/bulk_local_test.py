"""Bulk scoring in one process: what is read and written, what is refused, what
is counted. What it shares with the other engines is tested here."""

import datetime
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

for name in ("pyarrow", "pyspark", "ray"):
    pytest.importorskip(
        name, reason=f"{name} is not installed: ./run scale does it all")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from bulk import check, parts_in, read, wait_for  # noqa: E402


@pytest.fixture(scope="module")
def encoder(package, tiny_model):
    return package.CrossEncoder(tiny_model, dtype="fp32")


@pytest.fixture
def run(bulk, tiny_model):
    """run(IN, OUT, ...) of engine local with a tiny model."""
    def call(source, out, *arguments):
        return bulk("local", source, out, "--model", tiny_model, "--dtype",
                    "fp32", *arguments)
    return call


@pytest.fixture
def small(tmp_path, texts):
    """A folder with a file of 40 rows, and its table."""
    table = pa.table({"query": [q for q, _ in texts[:40]],
                      "passage": [p for _, p in texts[:40]]})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in/a.parquet")
    return tmp_path / "in", table


def predict(encoder, table, query="query", passage="passage"):
    return encoder.predict(list(zip(table[query].to_pylist(),
                                    table[passage].to_pylist())))


# ---- What is read and written -----------------------------------------------


def test_rows_keep_their_order_and_their_columns(run, encoder, texts,
                                                 tmp_path):
    """Files in folders, row groups that are not the parts, a file of no rows,
    columns of every kind."""
    n = 300
    day = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)
    table = pa.table({
        "passage": pa.array([p for _, p in texts[:n]], pa.large_string()),
        "id": pa.array(range(n), pa.uint16()),
        "when": pa.array([day] * n, pa.timestamp("ns", "UTC")),
        "price": pa.array([None, 1] * (n // 2), pa.decimal128(9, 2)),
        "blob": pa.array([b"\xff\0"] * n, pa.binary()),
        "deep": pa.array([{"a": [1, None]}, None] * (n // 2)),
        "query": pa.array([q for q, _ in texts[:n]]).dictionary_encode(),
    }).replace_schema_metadata({"owner": "somebody"})
    files = {"2024/x.parquet": table[:130], "2024/y.parquet": table[130:130],
             "2025/x.parquet": table[130:131], "2026/z.parquet": table[131:]}
    for name, rows in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path, row_group_size=37)
    for ignored in ("2024/_SUCCESS", "2024/.x.parquet", "_old/x.parquet",
                    "2024/notes.txt"):
        path = tmp_path / "in" / ignored
        path.parent.mkdir(exist_ok=True)
        path.write_text("no Parquet")

    out = tmp_path / "out"
    status, lines = run(tmp_path / "in", out, "--part-rows", 50)
    assert status == 0, lines
    check(out, table, predict(encoder, table), [None] * n)
    assert [path.relative_to(out).as_posix() for path in parts_in(out)] == [
        "2024/part-000000.parquet", "2024/part-000001.parquet",
        "2024/part-000002.parquet", "2024/part-000003.parquet",
        "2025/part-000004.parquet", "2026/part-000005.parquet",
        "2026/part-000006.parquet", "2026/part-000007.parquet",
        "2026/part-000008.parquet"]
    first = pq.read_table(parts_in(out)[0])
    assert first.schema.metadata[b"owner"] == b"somebody"
    assert first.schema.field("query").type == table.schema.field("query").type
    assert pq.read_table(parts_in(out)[3]).num_rows == 0
    assert re.fullmatch(r"crossrank: 300 rows in 9 parts; workers: 1, "
                        r"lanes: 2", lines[-2])
    assert re.fullmatch(r"pairs_per_second=[\d.e+]+", lines[-1])


def test_bad_rows_are_null_and_counted(run, encoder, tmp_path):
    """Null texts and bytes that are no UTF-8; empty texts are texts."""
    odd = pa.Array.from_buffers(pa.string(), 2, pa.array(
        [b"good", b"b\xffd"], pa.binary()).buffers())
    table = pa.table({
        "query": ["a", None, "", None, "a", "nul\0inside"] + ["a", "a"],
        "passage": pa.chunked_array([pa.array(
            ["b", "b", "", None, None, "東京 🍦"]), odd])})
    pq.write_table(table, tmp_path / "a.parquet")
    out = tmp_path / "out"
    status, lines = run(tmp_path / "a.parquet", out)
    assert status == 1
    reasons = [None, "the query is null", None, "the query is null",
               "the passage is null", None, None,
               "the passage is not UTF-8 at byte 1"]
    good = [("a", "b"), ("", ""), ("nul\0inside", "東京 🍦"), ("a", "good")]
    scores = np.zeros(8, np.float32)
    scores[[0, 2, 5, 6]] = encoder.predict(good)
    check(out, table, scores, reasons)
    assert lines[-2] \
        == "crossrank: 4 rows have no score; the reason is beside it"
    # Counted again, though nothing is left to do.
    status, lines = run(tmp_path / "a.parquet", out)
    assert status == 1 and "4 rows have no score" in lines[-2]
    assert lines[-1] == "pairs_per_second=0"


def test_columns_and_settings(run, package, tiny_model, texts, tmp_path):
    table = pa.table({"score": ["kept"] * 30, "q": [q for q, _ in texts[:30]],
                      "p": [p for _, p in texts[:30]]})
    pq.write_table(table, tmp_path / "a.parquet")
    columns = ["--query-column", "q", "--passage-column", "p",
               "--score-column", "points", "--reason-column", "why"]
    settings = ["--max-length", "40", "--truncation", "only_second",
                "--activation", "sigmoid"]
    out = tmp_path / "out"
    assert run(tmp_path / "a.parquet", out, *columns, *settings)[0] == 0
    found = read(out)
    assert found.column_names == ["score", "q", "p", "points", "why"]
    assert found["score"].to_pylist() == ["kept"] * 30
    with package.CrossEncoder(
            tiny_model, dtype="fp32", max_length=40, truncation="only_second",
            activation_fn="sigmoid") as other:
        assert found["points"].to_pylist() \
            == predict(other, table, "q", "p").tolist()
    # What was written may be read by another run, with other names.
    again = tmp_path / "again"
    assert run(out, again, *columns[:4])[0] == 3
    assert run(out, again, *columns[:4], "--score-column", "second")[0] == 0
    assert read(again).column_names[3:] == ["points", "why", "second",
                                            "reason"]


def test_longest_rows_go_first(package, encoder, monkeypatch):
    score = importlib.import_module("crossrank.bulk._score")
    given = []
    predict_at = package.CrossEncoder._predict_at

    def spy(self, table):
        given.append((table[:, 1] + table[:, 3]).tolist())
        return predict_at(self, table)
    monkeypatch.setattr(package.CrossEncoder, "_predict_at", spy)
    pairs = [("cat", "dog"), ("a cat", None), ("", "a"), ("cat", "a dog runs")]
    queries, passages = (pa.array(side) for side in zip(*pairs))
    scores, reasons = score.score_batch(encoder, queries, passages)
    assert given == [[13, 6, 1]] and list(reasons) == [1]
    good = [pairs[0], pairs[2], pairs[3]]
    assert scores[[0, 2, 3]].tolist() == encoder.predict(good).tolist()


def test_long_documents_make_small_batches(package):
    score = importlib.import_module("crossrank.bulk._score")

    class Metadata:
        num_rows, num_row_groups, total_byte_size = 0, 1, 0

        def row_group(self, _):
            return self
    for n_rows, n_bytes, expected in (
            (0, 0, 1), (10**6, 10**8, 16384), (10**6, 10**11, 671),
            (10, 10**10, 1)):
        Metadata.num_rows, Metadata.total_byte_size = n_rows, n_bytes
        assert score._batch_rows(Metadata()) == expected


# ---- Stopped runs -----------------------------------------------------------


def test_interrupt_ends_with_130_and_may_go_on(bulk, texts, tmp_path,
                                               package):
    table = pa.table({"query": [q for q, _ in texts[:100]],
                      "passage": [p for _, p in texts[:100]]})
    pq.write_table(table, tmp_path / "a.parquet")
    out = tmp_path / "out"
    with bulk.running("local", tmp_path / "a.parquet", out, "--part-rows",
                      20) as process:
        wait_for(lambda: parts_in(out))
        process.send_signal(signal.SIGINT)
        status, lines = bulk.end(process)
    assert status == 130 and "start again to go on" in lines[-1], lines
    assert 1 <= len(parts_in(out)) < 5 and not (out / "_SUCCESS").exists()
    assert bulk("local", tmp_path / "a.parquet", out, "--part-rows",
                20)[0] == 0
    with package.CrossEncoder() as encoder:
        check(out, table, predict(encoder, table), [None] * 100)


def test_a_whole_run_is_not_done_again(run, small, tmp_path):
    source, _ = small
    out = tmp_path / "out"
    assert run(source, out)[0] == 0
    was = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    status, lines = run(source, out)
    assert status == 0
    assert lines == ["crossrank: 40 rows in 1 parts, 1 of them before; "
                     "workers: 0, lanes: 0", "pairs_per_second=0"]
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == was


@pytest.mark.parametrize("arguments, words", [
    (["--part-rows", "39"], "another part_rows: 40, now 39"),
    (["--max-length", "100"], "another max_length: 512, now 100"),
    (["--activation", "sigmoid"], "another activation: model, now sigmoid"),
    (["--score-column", "x"], "another score: score, now x"),
    (["--dtype", "int8"], "another dtype: fp32, now int8")])
def test_other_settings_do_not_resume(run, small, tmp_path, arguments, words):
    out = tmp_path / "out"
    assert run(small[0], out, "--part-rows", "40")[0] == 0
    before = (out / "_manifest.json").read_bytes()
    given = arguments if "--part-rows" in arguments \
        else ["--part-rows", "40", *arguments]
    status, lines = run(small[0], out, *given)
    assert status == 2 and words in lines[-1], lines
    assert (out / "_manifest.json").read_bytes() == before


def test_another_model_does_not_resume(run, small, tiny_model, tmp_path):
    out = tmp_path / "out"
    assert run(small[0], out)[0] == 0
    # The same one in another place is the same.
    other = shutil.copytree(tiny_model, tmp_path / "model")
    assert run(small[0], out, "--model", other)[0] == 0
    config = other / "config.json"
    config.write_text(config.read_text() + "\n")
    status, lines = run(small[0], out, "--model", other)
    assert status == 2 and "another model_sha256: " in lines[-1]


def test_another_input_does_not_resume(run, small, tmp_path):
    source, table = small
    out = tmp_path / "out"
    assert run(source, out)[0] == 0
    pq.write_table(table, source / "b.parquet")
    status, lines = run(source, out)
    assert status == 2 and "another input: b.parquet is new" in lines[-1]
    (source / "b.parquet").unlink()
    assert run(source, out)[0] == 0
    pq.write_table(table[::-1], source / "a.parquet")
    status, lines = run(source, out)
    assert status == 2 and "another input: a.parquet was changed" in lines[-1]
    (source / "a.parquet").rename(source / "c.parquet")
    status, lines = run(source, out)
    assert status == 2 and "a.parquet is missing" in lines[-1]


def test_parts_of_others_are_not_taken(run, small, tmp_path):
    out = tmp_path / "out"
    assert run(small[0], out, "--part-rows", 25)[0] == 0
    first, second = parts_in(out)
    (out / "_SUCCESS").unlink()
    for spoil in (lambda: first.write_bytes(b"PAR1"),
                  lambda: shutil.copy(small[0] / "a.parquet", first),
                  lambda: shutil.copy(second, first)):
        spoil()
        status, lines = run(small[0], out, "--part-rows", 25)
        assert status == 3 and f"{first.name}: is not a part of this run" \
            in lines[-1], lines
        assert not (out / "_SUCCESS").exists()
    first.unlink()
    assert run(small[0], out, "--part-rows", 25)[0] == 0
    first.unlink()
    status, lines = run(small[0], out, "--part-rows", 25)
    assert status == 3 and "is missing though _SUCCESS" in lines[-1]


# ---- What goes wrong --------------------------------------------------------


def test_a_spoilt_file_stops_only_its_part(run, encoder, texts, tmp_path):
    """Its footer is sound; its pages are not."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name, first in (("a", 0), ("b", 50), ("c", 100)):
        pq.write_table(pa.table({
            "query": [q for q, _ in texts[first:first + 50]],
            "passage": [p for _, p in texts[first:first + 50]]}),
            source / f"{name}.parquet")
    path = source / "b.parquet"
    data = bytearray(path.read_bytes())
    data[8:4000] = bytes(3992)
    path.write_bytes(data)
    status, lines = run(source, out)
    assert status == 3, lines
    assert any(line.startswith("crossrank: b.parquet: ") for line in lines)
    assert "1 of 3 parts cannot be scored" in lines[-1]
    assert [path.name for path in parts_in(out)] \
        == ["part-000000.parquet", "part-000002.parquet"]
    assert not (out / "_SUCCESS").exists()
    assert os.listdir(out / "_temporary") == []


def test_a_part_that_kills_is_given_up(package, encoder, tiny_model, small,
                                       tmp_path):
    """Three workers that left a file half written, and no more."""
    job = importlib.import_module("crossrank.bulk._job")
    score = importlib.import_module("crossrank.bulk._score")
    part = job.Part(7, "a.parquet", 0, 40, "part-000007.parquet")
    whole = job.Job(str(small[0]), str(tmp_path / "out"),
                    job.Columns("query", "passage", "score", "reason"), {},
                    score.identity_of(encoder), "run")
    worker = score.Worker(whole, 1, encoder)
    for _ in range(2):
        name = worker.target.new_temporary(part.target)
        (tmp_path / "out" / name).write_text("half")
    worker.target.new_temporary("part-000008.parquet")
    assert score.score_part(whole, part, 1, worker).error == ""
    (tmp_path / "out" / worker.target.new_temporary(part.target)).touch()
    result = score.score_part(whole, part, 1, worker)
    assert "rows 0 to 39: 3 workers died" in result.error
    assert result.exit_code == 3


def test_a_worker_with_another_model_is_refused(package, encoder):
    score = importlib.import_module("crossrank.bulk._score")
    here = score.identity_of(encoder)
    score.check_identity(here, dict(here))
    with pytest.raises(package.ModelError, match="model_sha256 is x, where"):
        score.check_identity(here, {**here, "model_sha256": "x"})
    with pytest.raises(package.UnavailableError, match="isa is None, where"):
        score.check_identity({**here, "isa": "avx2"}, here)
    # Without a fused multiply-add the last bits differ.
    with package.CrossEncoder(encoder.info.model_path, dtype="fp32",
                              isa="base") as base:
        assert score.identity_of(base) == {**here, "isa": "base"}


@pytest.mark.parametrize("table, words", [
    ({"passage": ["a"]}, "no column 'query', it has passage"),
    ({"query": [1], "passage": ["a"]}, "column 'query' is int64, it must be"),
    ({"query": ["a"], "passage": [b"a"]}, "column 'passage' is binary"),
    ({"query": ["a"], "passage": ["a"], "score": [1]}, "--score-column"),
    ({"query": ["a"], "passage": ["a"], "reason": [1]}, "--reason-column")])
def test_columns_that_do_not_fit(run, tmp_path, table, words):
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    status, lines = run(tmp_path / "a.parquet", tmp_path / "out")
    assert status == 3 and lines[-1].startswith("crossrank: a.parquet: ")
    assert words in lines[-1] and not (tmp_path / "out").exists()


def test_places_that_do_not_fit(run, small, tmp_path):
    source, _ = small
    for given, status, words in (
            ((tmp_path / "nowhere", tmp_path / "out"), 3, "no file named"),
            ((source, source / "out"), 2, "is inside IN"),
            ((source / "a.parquet", source), 2, "has a.parquet and no _man"),
            ((source, source / "a.parquet"), 2, "is inside IN")):
        got, lines = run(*given)
        assert got == status and words in lines[-1], lines
    (source / "b.parquet").write_text("text")
    got, lines = run(source, tmp_path / "out")
    assert got == 3 and "b.parquet: is not Parquet" in lines[-1]
    assert set(os.listdir(source)) == {"a.parquet", "b.parquet"}


def test_usage_and_what_is_not_available(run, bulk, small, tmp_path):
    for given, status, words in (
            (["--part-rows", "0"], 2, "'0' must be 1 or more"),
            (["--conf", "a"], 2, "'a' must be NAME=VALUE"),
            (["--workers", "2"], 2, "--workers is of --engine ray"),
            (["--master", "local"], 2, "--master is of --engine spark"),
            (["--max-length", "513"], 2, "513"),
            (["--activation", "softplus"], 2, "'softplus'"),
            (["--backend", "tpu"], 4, "tpu"),
            (["--model", "/nonexistent"], 3, "/nonexistent")):
        got, lines = run(small[0], tmp_path / "out", *given)
        assert got == status and words in lines[-1], lines


@pytest.mark.parametrize("engine, missing, extra", [
    ("local", "pyarrow", "bulk"), ("spark", "pyspark", "spark"),
    ("ray", "ray", "ray")])
def test_a_missing_package_is_named_with_its_extra(bulk, engine, missing,
                                                   extra):
    code = f"import runpy, sys; sys.modules[{missing!r}] = None; " \
        "runpy.run_module('crossrank.bulk', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, "--engine", engine, "in", "out"],
        env=bulk.environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert f"pip install 'crossrank[{extra}]'" in done.stderr


# ---- What it promises to Spark and Ray --------------------------------------


def test_cores_of_an_executor(package):
    spark = importlib.import_module("crossrank.bulk._spark")
    for master, configured, threads, cores in (
            ("local-cluster[2,3,1024]", None, 0, 3), ("local[5]", None, 0, 5),
            ("local[5,2]", None, 5, 5), ("local", None, 0, 1),
            ("local[*]", None, 0, len(os.sched_getaffinity(0))),
            ("yarn", "8", 0, 8), ("yarn", "8", 8, 8), ("yarn", None, 4, 4)):
        assert spark._executor_cores(master, configured, threads) == cores
    for master, configured, threads, words in (
            ("spark://host:7077", None, 0, "spark.executor.cores=N"),
            ("yarn", "8", 4, "--threads is 4, but an executor has 8")):
        with pytest.raises(package.ArgumentError, match=words):
            spark._executor_cores(master, configured, threads)


def test_the_manifest_says_what_the_run_is(run, small, tmp_path):
    assert run(small[0], tmp_path / "out")[0] == 0
    manifest = json.loads((tmp_path / "out/_manifest.json").read_text())
    assert set(manifest) == {"format", "columns", "model", "part_rows",
                             "input"}
    assert manifest["input"][0]["name"] == "a.parquet"
    assert manifest["input"][0]["rows"] == 40
    assert re.fullmatch("[0-9a-f]{64}", manifest["model"]["model_sha256"])
