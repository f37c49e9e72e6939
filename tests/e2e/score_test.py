"""crossrank score: formats, bad input, streams, limits, memory."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import (BACKEND, alike, message_of, only_cpu, open_terminal,
                     scores_of, write_jsonl, write_tsv)

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from make_tiny_model import Shape, make  # noqa: E402

PAIRS = [("capital of Italy", "Rome is the capital of Italy."),
         ("capital of Italy", "Paris is the capital of France."),
         ("solar power", "Panels turn sunlight into electricity."),
         ("", "an empty query"), ("an empty passage", ""), ("", "")]


@pytest.fixture(scope="module")
def expected(crossrank, tmp_path_factory):
    """The scores of PAIRS."""
    path = write_tsv(tmp_path_factory.mktemp("pairs") / "p.tsv", PAIRS)
    done = crossrank("score", path)
    assert done.returncode == 0, message_of(done)
    scores = scores_of(done)
    assert len(scores) == len(PAIRS)
    assert all(abs(s) < 50 for s in scores)
    assert scores[0] > scores[1]
    return scores


@pytest.mark.parametrize("blank", ["", "\t", "   "])
def test_a_name_says_the_format_of_a_blank_first_line_too(blank, tiny,
                                                          tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(blank + '\n{"query":"a","passage":"b"}\n')
    done = tiny("score", path)
    assert done.returncode == 3
    assert f"{path}:1: " in message_of(done)
    assert "JSON" in message_of(done)


def test_numbers_that_nobody_reads_may_be_large(tiny):
    line = '{"id":14472334024676221000,"query":"a","passage":"b"}\n'
    done = tiny("score", "-", stdin=line.encode())
    assert done.returncode == 0, message_of(done)


def test_auto_is_the_fastest_whatever_the_environment_says(crossrank):
    isas = json.loads(crossrank("info", "--json").stdout)["isa_available"]
    there = {**os.environ, "CROSSRANK_ISA": "ref"}
    for arguments, isa in (([], "ref"), (["--isa", "auto"], isas[0])):
        done = crossrank("info", "--json", *arguments, env=there)
        assert json.loads(done.stdout)["isa"] == isa
    done = crossrank("info", env={**os.environ, "CROSSRANK_ISA": "sse9"})
    assert done.returncode == 2
    assert "isa 'sse9' of $CROSSRANK_ISA is unknown" in message_of(done)


def test_a_configuration_with_fewer_layers_is_refused(crossrank, tmp_path):
    make(tmp_path, Shape(layers=2))
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = crossrank("score", "--model", tmp_path, "-", stdin=b"a\tb\n")
    assert done.returncode == 3
    assert "num_hidden_layers of config.json, 1" in message_of(done)


def test_last_line_of_standard_error_is_the_speed(tiny):
    done = tiny("score", "-", stdin=b"q\tp\n")
    last = done.stderr.decode().splitlines()[-1]
    assert re.fullmatch(r"pairs_per_second=[0-9.e+]+", last)
    assert float(last.split("=")[1]) > 0
    assert tiny("score", "--quiet", "-", stdin=b"q\tp\n").stderr == b""


def test_nine_digits_carry_the_whole_float(crossrank, expected):
    import struct
    for score in expected:
        assert struct.unpack("f", struct.pack("f", score))[0] == \
            pytest.approx(score, rel=1e-8)
        assert float("%.9g" % struct.unpack("f", struct.pack("f", score))) \
            == score


@pytest.mark.parametrize("text", [
    "".join(f"{q}\t{p}\n" for q, p in PAIRS),
    "".join(f"{q}\t{p}\n" for q, p in PAIRS)[:-1],
    "".join(f"{q}\t{p}\r\n" for q, p in PAIRS),
    "".join(f"17\tdoc\t1\t{q}\t{p}\n" for q, p in PAIRS),
    "\ufeff" + "".join(f"{q}\t{p}\n" for q, p in PAIRS),
    "".join(json.dumps({"query": q, "passage": p}) + "\n" for q, p in PAIRS),
    "".join(json.dumps({"text": p, "id": [1], "query": q}) + "\r\n"
            for q, p in PAIRS),
    "".join("  " + json.dumps({"query": q, "document": p}) + "\n"
            for q, p in PAIRS)[:-1],
], ids=["tsv", "no last end", "crlf", "five columns", "mark", "passage",
        "text crlf", "document indented"])
@pytest.mark.parametrize("through", ["file", "stdin"])
def test_formats_give_equal_scores(crossrank, tmp_path, expected, text,
                                   through):
    if through == "file":
        path = tmp_path / "pairs"
        path.write_bytes(text.encode())
        done = crossrank("score", path)
    else:
        done = crossrank("score", "-", stdin=text.encode())
    assert done.returncode == 0, message_of(done)
    assert alike(scores_of(done), expected)


def test_missing_final_newline(crossrank, expected):
    done = crossrank("score", "-", stdin=b"\t\n" + b"capital of Italy\t"
                     b"Rome is the capital of Italy.")
    assert alike(scores_of(done), [expected[5], expected[0]])


def test_name_and_option_decide_the_format(tiny, tmp_path):
    line = '{"query":"q","passage":"p"}\n'
    (tmp_path / "a.tsv").write_text(line)
    (tmp_path / "b.jsonl").write_text("q\tp\n")
    (tmp_path / "c.txt").write_text(line)
    assert "1 column" in message_of(tiny("score", tmp_path / "a.tsv"))
    assert "not valid JSON" in \
        message_of(tiny("score", tmp_path / "b.jsonl"))
    assert tiny("score", tmp_path / "c.txt").returncode == 0
    assert tiny("score", "--format", "jsonl",
                     tmp_path / "a.tsv").returncode == 0
    assert tiny("score", "--format", "tsv",
                     tmp_path / "b.jsonl").returncode == 0


def test_empty_input_is_no_error(tiny, tmp_path):
    (tmp_path / "empty").touch()
    done = tiny("score", tmp_path / "empty")
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"pairs_per_second=0" in done.stderr


BAD_LINES = [
    (b"only one column", "1 column"),
    (b"", "empty"),
    (b'{"query":"q"}', "passage"),
    (b'{"passage":"p"}', "query"),
    (b'{"query":1,"passage":"p"}', "is a number"),
    (b'{"query":"q","passage":["p"]}', "is an array"),
    (b'{"query":"q","text":null}', "is null"),
    (b'{"query":"q","query":"r","text":"p"}', "duplicate"),
    (b'{"query":"q","text":"p"', "not valid JSON"),
    (b'{"query":"q","text":"p"} trailing', "not valid JSON"),
    (b'{"query":"\xff","text":"p"}', "not valid JSON"),
    (b"[1,2]", "array"),
    (b"null", "null"),
]


@pytest.mark.parametrize("line, expected_message", BAD_LINES)
def test_bad_lines(tiny, tmp_path, line, expected_message):
    good = b'{"query":"q","text":"p"}\n' if line[:1] in (b"{", b"[", b"n") \
        and line else b"q\tp\n"
    path = tmp_path / "pairs"
    path.write_bytes(good + line + b"\n" + good + good)
    done = tiny("score", path)
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 1  # what was before it
    assert message_of(done).startswith(f"{path}:2: ")
    assert expected_message in message_of(done)
    skipped = tiny("score", "--skip-errors", path)
    assert skipped.returncode == 1
    first, null, third, fourth = scores_of(skipped)
    assert null is None and alike([first, third], [third, fourth])
    assert f"{path}:2: " in message_of(skipped)
    assert message_of(skipped).splitlines()[-1].startswith("pairs_per_second")


def test_bad_line_of_standard_input_is_named(tiny):
    done = tiny("score", "-", stdin=b"a\tb\nc\n")
    assert done.returncode == 3
    assert message_of(done).startswith("<stdin>:2: ")


def test_many_bad_lines_are_counted(tiny):
    done = tiny("score", "--skip-errors", "-", stdin=b"x\n" * 1000)
    assert done.returncode == 1
    assert done.stdout == b"null\n" * 1000
    assert len(message_of(done).splitlines()) == 22
    assert "1000 bad lines" in message_of(done)


def test_line_over_the_limit(tiny, tmp_path):
    path = tmp_path / "pairs"
    with path.open("wb") as f:
        f.write(b"q\tp\nq\t" + b"x" * (33 << 20) + b"\nq\tp\n")
    done = tiny("score", path)
    assert done.returncode == 3
    assert message_of(done).startswith(f"{path}:2: ")
    assert "32 MiB" in message_of(done)
    done = tiny("score", "--skip-errors", path)
    assert done.returncode == 1
    first, null, third = scores_of(done)
    assert null is None and first == third


def test_odd_bytes_are_scored(crossrank):
    lines = [b"q\tp", b"q\0\tp\0", b"\xff\xfe\t\x80", b"q\t\xed\xa0\x80",
             b"\x1b[31m\t\x07", b"q\t\xe2\x80\xa8p",
             "\u4e2d\u6587\t\u6f22\u5b57 \U0001f600".encode(),
             b"[SEP]\t[CLS] [MASK] [PAD]", b" \t "]
    done = crossrank("score", "-", stdin=b"\n".join(lines))
    assert done.returncode == 0, message_of(done)
    scores = scores_of(done)
    assert len(scores) == len(lines)
    assert all(s == s and abs(s) < 100 for s in scores)
    # NUL is dropped by the cleaning, as in the reference.
    assert alike(scores[1], scores[0])
    # Invalid bytes are U+FFFD.
    replaced = crossrank("score", "-", stdin="\ufffd\ufffd\t\ufffd".encode())
    assert alike(scores_of(replaced)[0], scores[2])


def test_duplicates_order_and_threads_change_nothing(tiny, tmp_path):
    random.seed(5)
    words = "reranking makes search better when models read pairs".split()
    pairs = [(" ".join(random.choices(words, k=3)),
              " ".join(random.choices(words, k=random.randrange(60))))
             for _ in range(60)]
    pairs += pairs[:20]
    base = scores_of(tiny("score", write_tsv(tmp_path / "a", pairs)))
    assert alike(base[60:], base[:20])
    order = list(range(80))
    random.shuffle(order)
    path = write_tsv(tmp_path / "b", [pairs[i] for i in order])
    for threads in (1, 2, 3):
        done = tiny("score", "--threads", threads, path)
        assert alike(scores_of(done), [base[i] for i in order])


@only_cpu("texts are cut before a backend sees them")
def test_long_texts(crossrank, slower):
    long_query = "query " * 600
    passage = "word " * 200000  # 1 MB
    begin = time.monotonic()
    done = crossrank("score", "-", stdin="".join([
        f"{long_query}\tp\n", f"q\t{passage}\n", f"{long_query}\t{passage}\n",
        f"q\t{passage[:5 * 600]}\n"]).encode())
    assert done.returncode == 0, message_of(done)
    scores = scores_of(done)
    assert len(scores) == 4
    assert alike(scores[1], scores[3])  # what is cut does not matter
    assert time.monotonic() - begin < 20 * slower


@only_cpu("texts are cut before a backend sees them")
def test_truncation_of_long_queries(crossrank):
    line = f"{'query ' * 600}\t{'word ' * 600}\n".encode()
    both = [crossrank("score", "--truncation", how, "-", stdin=line)
            for how in ("longest_first", "only_second")]
    assert scores_of(both[0]) != scores_of(both[1])
    assert crossrank("score", "-", stdin=line).stdout == both[0].stdout


def test_max_length_is_kept(crossrank):
    line = f"q\t{'a b c d e ' * 100}\n".encode()
    short = f"q\t{'a b c d e ' * 2}\n".encode()
    cut = crossrank("score", "--max-length", "14", "-", stdin=line)
    whole = crossrank("score", "-", stdin=short)
    # 3 specials, 1 query, 10 words
    assert alike(scores_of(cut), scores_of(whole))


@only_cpu("texts are cut before a backend sees them")
def test_what_is_cut_is_said(crossrank):
    lines = f"q\t{'word ' * 509}\nq\tp\nq\t{'word ' * 508}\n".encode()
    done = crossrank("score", "-", stdin=lines)
    assert "1 of 3 pairs have more than 512 tokens" in message_of(done)
    done = crossrank("score", "--max-length", "5", "-", stdin=lines)
    assert "2 of 3 pairs have more than 5 tokens" in message_of(done)
    assert crossrank("score", "--quiet", "-", stdin=lines).stderr == b""
    done = crossrank("score", "-", stdin=b"q\tp\n")
    assert len(message_of(done).splitlines()) == 1


def test_activations(crossrank, expected, tmp_path):
    import math
    path = write_tsv(tmp_path / "p", PAIRS)
    raw = scores_of(crossrank("score", "--activation", "none", path))
    sigmoid = scores_of(crossrank("score", "--activation", "sigmoid", path))
    model = scores_of(crossrank("score", "--activation", "model", path))
    assert alike(model, expected)
    assert sigmoid == pytest.approx([1 / (1 + math.exp(-x)) for x in raw],
                                    abs=1e-7)


# ---- Streams ----------------------------------------------------------------


def test_full_disk_is_an_error(build):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([build / "crossrank", "score", "-"],
                              input=b"q\tp\n" * 10, stdout=full,
                              stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == 3
    assert b"No space left" in done.stderr


def test_closed_reader_is_an_error(build):
    program = subprocess.Popen([build / "crossrank", "score", "-"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    program.stdout.close()
    _, message = program.communicate(b"q\tp\n" * 10, timeout=60)
    assert program.returncode == 3
    assert b"Broken pipe" in message


def test_slow_pipe_is_answered_at_once(build, slower):
    program = subprocess.Popen([build / "crossrank", "score", "-"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    for _ in range(3):
        program.stdin.write(b"q\tp\n")
        program.stdin.flush()
        begin = time.monotonic()
        float(program.stdout.readline())
        assert time.monotonic() - begin < 10 * slower
    program.stdin.close()
    assert program.wait(timeout=60) == 0
    program.stdout.close()
    program.stderr.close()


def start_endless(build, *arguments):
    """A program whose input goes on; returns it when it has begun."""
    return subprocess.Popen([build / "crossrank", "score", *arguments, "-"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_while_waiting(build, number):
    program = start_endless(build)
    program.stdin.write(b"q\tp\n")
    program.stdin.flush()
    line = program.stdout.readline()
    program.send_signal(number)
    rest, message = program.communicate(timeout=60)
    assert program.returncode == 130
    assert float(line) and rest == b""
    assert b"interrupted after 1 pairs" in message


def test_a_line_that_never_ends(build, slower):
    """More than a line may have, and then nothing, and no end."""
    program = start_endless(build)
    try:
        try:
            os.write(program.stdin.fileno(), b"q\tp\n")
            for _ in range(33):
                os.write(program.stdin.fileno(), b"x" * (1 << 20))
        except BrokenPipeError:
            pass  # it has had enough
        message = program.stderr.read()
        assert program.wait(timeout=60 * slower) == 3
        assert float(program.stdout.read())
        assert b"<stdin>:2: a line is longer than the limit" in message
    finally:
        program.kill()
        program.stdin.close()


def test_interrupt_while_scoring(build, tmp_path, slower):
    path = tmp_path / "pairs"
    path.write_bytes((b"q\t" + b"some words of a passage " * 30 + b"\n")
                     * 200000)
    program = subprocess.Popen([build / "crossrank", "score", "--quiet", path],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = [program.stdout.readline() for _ in range(10)]
    program.send_signal(signal.SIGINT)
    begin = time.monotonic()
    out = b"".join(lines) + program.stdout.read()
    message = program.stderr.read()
    assert program.wait(timeout=60 * slower) == 130
    assert time.monotonic() - begin < 20 * slower
    assert out.endswith(b"\n")
    assert len(set(out.splitlines())) == 1
    done = re.search(rb"interrupted after (\d+) pairs", message)
    assert int(done[1]) == len(out.splitlines())


def test_no_progress_without_a_terminal(tiny, tmp_path):
    path = write_tsv(tmp_path / "p", PAIRS * 20)
    assert b"\r" not in tiny("score", path).stderr


def test_progress_on_a_terminal(build, tmp_path):
    path = write_tsv(tmp_path / "p", PAIRS * 20)
    master, slave = open_terminal()
    program = subprocess.Popen([build / "crossrank", "score", path],
                               stdout=subprocess.PIPE, stderr=slave)
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
    program.communicate(timeout=60)
    assert b"pairs/s" in shown and b"ETA" in shown
    assert shown.splitlines()[-1].split(b"\r")[-1].startswith(
        b"pairs_per_second=")


# ---- Size -------------------------------------------------------------------


def peak_megabytes(build, model, path):
    """Peak memory of a run over `path`, its scores counted."""
    script = ("import resource, subprocess, sys\n"
              "n = len(subprocess.run(sys.argv[1:], check=True, "
              "capture_output=True).stdout.splitlines())\n"
              "used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
              "print(n, used)\n")
    done = subprocess.run(
        [sys.executable, "-c", script, build / "crossrank", "score",
         "--quiet", "--model", model, path],
        capture_output=True, check=True, timeout=600)
    n, used = map(int, done.stdout.split())
    return n, used * (1 if sys.platform == "darwin" else 1024) / 1e6


@only_cpu("its allocator keeps memory; its own test bounds that")
def test_memory_does_not_grow_with_the_number_of_pairs(build, tiny_model,
                                                       tmp_path, slower):
    if slower > 1:
        pytest.skip("memory under a sanitizer says nothing")
    used = {}
    for n in (10000, 100000):
        path = tmp_path / str(n)
        path.write_bytes(b"".join(b"q%d\tp %d\n" % (i % 7, i)
                                  for i in range(n)))
        count, used[n] = peak_megabytes(build, tiny_model, path)
        assert count == n
    assert used[100000] < used[10000] + 6, used


def test_golden_logits(crossrank, root, slower, tmp_path):
    """Every score of the shipped collection; sanitized builds and other
    backends, which take many times as long, every twentieth."""
    golden = root / "tests" / "parity" / "golden" / "novel.tsv"
    data = root / "data" / "novel"
    corpus = {r["_id"]: r for r in
              map(json.loads, (data / "corpus.jsonl").open())}
    queries = {r["_id"]: r["text"] for r in
               map(json.loads, (data / "queries.jsonl").open())}
    rows = [line.split("\t") for line in golden.read_text().splitlines()
            if line and not line.startswith("#")][
                ::20 if slower > 1 or BACKEND != "cpu" else 1]
    pairs = [{"query": queries[q], "passage": " ".join(filter(None, (
        corpus[d].get("title"), corpus[d]["text"])))} for q, d, *_ in rows]
    done = crossrank("score", "--activation", "none", "--dtype", "fp32",
                     write_jsonl(tmp_path / "p.jsonl", pairs), seconds=300)
    assert done.returncode == 0, message_of(done)
    worst = max(abs(score - float(row[2]))
                for score, row in zip(scores_of(done), rows, strict=True))
    assert worst <= 1e-4
