"""crossrank rank: order, forms of output, odd passages."""

import json
import os
import subprocess

import pytest

from helpers import (alike, message_of, only_cpu, open_terminal, scores_of,
                     write_tsv)

QUERY = "What is the capital of Italy?"
PASSAGES = ["Paris is the capital and largest city of France.",
            "Rome is the capital of Italy.",
            "Pasta is a staple of Italian cooking.",
            "Rome is the capital of Italy.",
            ""]


def rows_of(done):
    return [line.split("\t") for line in done.stdout.decode().splitlines()]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("rank") / "passages.txt"
    path.write_text("".join(p + "\n" for p in PASSAGES))
    return path


def test_order_is_that_of_the_scores(crossrank, path, tmp_path):
    done = crossrank("rank", "--query", QUERY, path)
    assert done.returncode == 0, message_of(done)
    rows = rows_of(done)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    # The two equal passages are first, the earlier one in front.
    assert [row[1] for row in rows[:2]] == ["1", "3"]
    assert alike(float(rows[0][2]), float(rows[1][2]))
    scores = scores_of(crossrank("score", write_tsv(
        tmp_path / "p", [(QUERY, p) for p in PASSAGES])))
    for row in rows:
        assert alike(float(row[2]), scores[int(row[1])])
        assert row[3] == PASSAGES[int(row[1])]
    assert alike([float(r[2]) for r in rows], sorted(scores, reverse=True))
    assert b"pairs_per_second=" in done.stderr


def test_top(tiny, path):
    every = rows_of(tiny("rank", "--query", QUERY, path))
    for n in (1, 2, 5, 99):
        done = tiny("rank", "--query", QUERY, "--top", n, path)
        assert rows_of(done) == every[:n]


@only_cpu("a score depends on its company within rounding, so order may too")
def test_top_of_many(tiny, tmp_path):
    many = tmp_path / "many"
    many.write_text("".join(f"p {i}\n" for i in range(20000)))
    every = rows_of(tiny("rank", "--query", "q",
                              many))
    assert len(every) == 20000
    assert sorted(int(row[1]) for row in every) == list(range(20000))
    for row, after in zip(every, every[1:]):
        key = lambda r: (-float(r[2]), int(r[1]))
        assert key(row) < key(after)
    best = rows_of(tiny("rank", "--query", "q",
                             "--top", 700, many))
    assert best == every[:700]


def test_sigmoid_keeps_the_order_of_logits(tiny, path):
    raw = rows_of(tiny("rank", "--query", QUERY, "--activation", "none",
                            path))
    sigmoid = rows_of(tiny("rank", "--query", QUERY, "--activation",
                                "sigmoid", path))
    assert [r[1] for r in raw] == [r[1] for r in sigmoid]
    assert all(0 <= float(r[2]) <= 1 for r in sigmoid)


def test_json(crossrank, path):
    done = crossrank("rank", "--query", QUERY, "--json", path)
    told = json.loads(done.stdout)
    assert told["query"] == QUERY
    rows = rows_of(crossrank("rank", "--query", QUERY, path))
    assert [(r["rank"], r["index"]) for r in told["results"]] == \
        [(int(row[0]), int(row[1])) for row in rows]
    for result in told["results"]:
        assert result["text"] == PASSAGES[result["index"]]
        assert result["truncated"] == 0
        assert result["tokens"] >= 3
    long = crossrank("rank", "--query", QUERY, "--json", "-",
                     stdin=b"word " * 1000)
    result = json.loads(long.stdout)["results"][0]
    assert result["tokens"] == 512 and result["truncated"] > 400


def test_json_lines_and_columns(tiny, tmp_path):
    texts = ["a\ttab", "two\nlines", "quote \" and \\ backslash", "\u4e2d"]
    lines = "".join(json.dumps({"_id": i, "text": t}) + "\n"
                    for i, t in enumerate(texts)).encode()
    told = json.loads(tiny("rank", "--query", "q", "--json", "-",
                                stdin=lines).stdout)
    assert {r["index"]: r["text"] for r in told["results"]} == \
        dict(enumerate(texts))
    rows = rows_of(tiny("rank", "--query", "q", "-", stdin=lines))
    assert all(len(row) == 4 for row in rows)
    assert {int(r[1]): r[3] for r in rows} == dict(enumerate(
        ["a tab", "two lines", texts[2], texts[3]]))
    # --format text takes the lines as they are.
    rows = rows_of(tiny("rank", "--query", "q", "--format", "text", "-",
                             stdin=lines))
    assert sorted(r[3] for r in rows) == sorted(lines.decode().splitlines())


def test_bad_lines(tiny, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"text":"a"}\n{"text":1}\n{"text":"b"}\n')
    done = tiny("rank", "--query", "q", path)
    assert (done.returncode, done.stdout) == (3, b"")
    assert message_of(done).startswith(f"{path}:2: ")
    done = tiny("rank", "--query", "q", "--skip-errors", path)
    assert done.returncode == 1
    assert sorted(row[1] for row in rows_of(done)) == ["0", "2"]


def test_nothing_to_rank(tiny):
    done = tiny("rank", "--query", "q", "-")
    assert (done.returncode, done.stdout) == (0, b"")
    done = tiny("rank", "--query", "q", "--json", "-")
    assert json.loads(done.stdout)["results"] == []


def test_empty_query_and_odd_bytes(tiny):
    done = tiny("rank", "--query", "", "-",
                     stdin=b"\xff\n\0\n\x1b[31m\n\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    done = tiny("rank", "--query", "\udcff", "--json", "-",
                     stdin=b"\xff\n\0\n")
    told = json.loads(done.stdout.decode())  # valid UTF-8 whatever came in
    assert told["query"] == "\ufffd"
    assert {r["text"] for r in told["results"]} == {"\ufffd", "\0"}


def test_table_on_a_terminal(build, path):
    import fcntl
    import struct
    import termios
    master, slave = open_terminal()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    program = subprocess.Popen(
        [build / "crossrank", "rank", "--query", QUERY, path], stdout=slave,
        stderr=subprocess.DEVNULL)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert program.wait(timeout=60) == 0
    lines = shown.decode().replace("\r", "").splitlines()
    assert lines[0].split() == ["rank", "score", "index", "text"]
    assert len(lines) == 1 + len(PASSAGES)
    assert all(len(line) <= 50 for line in lines)
    assert any(line.endswith("\u2026") for line in lines)


def test_table_can_be_forced(tiny, path):
    done = tiny("rank", "--query", QUERY, "--table", path)
    assert done.stdout.split()[:4] == [b"rank", b"score", b"index", b"text"]


def test_full_disk_is_an_error(build, path):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [build / "crossrank", "rank", "--query", "q", path], stdout=full,
            stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 3
    assert b"No space left" in done.stderr
