"""Bulk scoring on real clusters: Spark with two executors (local-cluster mode:
a master, workers and executors, each a process), Ray with two actors. Scores
to the bit as in process; workers and whole runs killed in mid-run."""

import pytest

for name in ("pyarrow", "pyspark", "ray"):
    pytest.importorskip(
        name, reason=f"{name} is not installed: ./run scale does it all")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from bulk import check, kill_one, parts_in, wait_for  # noqa: E402

N_ROWS = 210
PART_ROWS = 25
NULL_ROW = 77


@pytest.fixture(scope="module")
def table(texts):
    passages = [passage for _, passage in texts[:N_ROWS]]
    passages[NULL_ROW] = None
    return pa.table({
        "id": pa.array(range(N_ROWS), pa.int32()),
        "query": [query for query, _ in texts[:N_ROWS]], "passage": passages,
        "tags": [["a", None]] * N_ROWS})


@pytest.fixture(scope="module")
def source(table, tmp_path_factory):
    """The table in two files, with row groups that are not the parts."""
    folder = tmp_path_factory.mktemp("input")
    for name, rows in (("a.parquet", table[:115]), ("b.parquet", table[115:])):
        pq.write_table(rows, folder / name, row_group_size=30)
    return folder


@pytest.fixture(scope="module")
def expected(package, table):
    """(scores, reasons) of the table, in process."""
    pairs = zip(table["query"].to_pylist(), table["passage"].to_pylist())
    with package.CrossEncoder() as encoder:
        scores = encoder.predict([(q, p or "") for q, p in pairs])
    reasons = [None] * N_ROWS
    reasons[NULL_ROW] = "the passage is null"
    return scores, reasons


@pytest.mark.parametrize("engine", ["spark", "ray"])
def test_a_killed_worker_costs_nothing(bulk, engine, source, table, expected,
                                       tmp_path):
    out = tmp_path / "out"
    with bulk.running(engine, source, out, "--part-rows",
                      PART_ROWS) as process:
        kill_one(out, engine)
        status, lines = bulk.end(process)
    assert status == 1, lines
    check(out, table, *expected)
    assert len(parts_in(out)) == 5 + 4
    assert "1 rows have no score; the reason is beside it" in lines[-2]
    assert lines[-1].startswith("pairs_per_second=")


@pytest.mark.parametrize("engine, then", [
    ("local", "local"), ("spark", "ray"), ("ray", "spark")])
def test_a_killed_run_goes_on(bulk, engine, then, source, table, expected,
                              tmp_path):
    """On any engine, from the parts that were done, which stay as they are."""
    out = tmp_path / "out"
    with bulk.running(engine, source, out, "--part-rows", PART_ROWS):
        wait_for(lambda: len(parts_in(out)) >= 2)
    assert not (out / "_SUCCESS").exists()
    done = {path: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in parts_in(out)}
    assert 2 <= len(done) < 9

    status, lines = bulk(then, source, out, "--part-rows", PART_ROWS)
    assert status == 1, lines
    check(out, table, *expected)
    for path, was in done.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == was
    # One model on each worker, with the lanes that the engine granted.
    n_workers = 1 if then == "local" else 2
    assert f"210 rows in 9 parts, {len(done)} of them before; workers: " \
        f"{n_workers}, lanes: 2" in lines[-3]
