"""The server's promises beside its wire formats: limits, overload, deadlines,
clients that go away, draining, reloading, keys, settings."""

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from helpers import BACKEND, alike
from serve import Server, free_port, words

QUERY = "how does air flow over a wing"


@pytest.fixture
def start(build, slower):
    """start(**options) -> Server; all are stopped at the end."""
    servers = []

    def start_one(**options):
        servers.append(Server(build / "crossrank", slower, **options))
        return servers[-1]

    yield start_one
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="module")
def server(build, slower):
    s = Server(build / "crossrank", slower, receive_timeout_ms=700,
               max_body_bytes=4 << 20)
    yield s
    assert s.stop() == 0, s.log
    assert "Sanitizer" not in s.log


def rerank(n, n_words=20):
    return {"query": QUERY, "texts": [words(n_words, i + 1) for i in range(n)]}


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def in_threads(n, work):
    """work(i) on n threads at once; what it returned, in order."""
    results = [None] * n

    def run(i):
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


# ---- Scores -----------------------------------------------------------------


def test_scores_are_those_of_the_program(server, crossrank):
    texts = [words(n, n) for n in range(1, 40)]
    pairs = "".join(f"{QUERY}\t{t}\n" for t in texts)
    done = crossrank("score", "--activation", "none", "-",
                     stdin=pairs.encode())
    want = [float(line) for line in done.stdout.split()]
    for body in ({"text_1": QUERY, "text_2": texts},
                 {"queries": [QUERY] * len(texts), "documents": texts}):
        got = server.post("/score", body).json["data"]
        assert [item["index"] for item in got] == list(range(len(texts)))
        assert [item["score"] for item in got] == pytest.approx(
            want, abs=1e-6 if BACKEND == "cpu" else 1e-3)


def test_scores_do_not_depend_on_load(server):
    bodies = [rerank(1 + i % 9, 5 + 3 * i) for i in range(16)]
    alone = [server.post("/rerank", b).json for b in bodies]
    for _ in range(2):
        together = in_threads(
            16, lambda i: server.post("/rerank", bodies[i]).json)
        assert alike(together, alone)


def test_distinct_logits_stay_distinct(server):
    texts = [words(12, i + 1) for i in range(60)]
    logits = server.post("/rerank", {"query": QUERY, "texts": texts,
                                     "raw_scores": True}).json
    scores = server.post("/rerank", {"query": QUERY, "texts": texts}).json
    assert [r["index"] for r in logits] == [r["index"] for r in scores]
    assert len({r["score"] for r in logits}) == len(
        {r["score"] for r in scores})
    assert all(0 < r["score"] < 1 for r in scores)


def test_odd_texts_are_scored(server):
    texts = ["", " ", "\0", "a\0b", "é", "😀", "[SEP]", "x" * 100000, "\ud7ff"]
    got = server.post("/rerank", {"query": "", "texts": texts})
    assert got.status == 200
    assert sorted(r["index"] for r in got.json) == list(range(len(texts)))


def test_a_thousand_documents(server):
    got = server.post("/v1/rerank", {"query": QUERY, "top_n": 3,
                                     "documents": [words(3, i) for i in
                                                   range(1000)]})
    assert got.status == 200
    assert len(got.json["results"]) == 3


def test_cutting_at_the_beginning(server):
    text = words(600) + " gelato"
    body = {"query": QUERY, "texts": [text], "raw_scores": True}
    right = server.post("/rerank", body).json
    left = server.post("/rerank", {**body, "truncation_direction": "Left"})
    want = server.post("/rerank", {
        "query": QUERY, "texts": [text[-6 * 560:]], "raw_scores": True,
        "truncation_direction": "left"})
    assert left.json != right
    assert left.json == want.json


@pytest.mark.parametrize("rows", ["0", "7201", "-1", "x", "", "1e3", "9" * 30])
def test_rows_of_history_have_limits(server, rows):
    got = server.get(f"/stats?rows={rows}")
    assert got.status == 400
    assert f'rows is \\"{rows}\\", it must be a number from 1 to 7200' \
        in got.data.decode()
    assert len(server.get("/stats?rows=1").json["history"]["rows"]) <= 1
    assert server.get("/stats?rows=7200").status == 200


def test_a_request_says_how_many_tokens_a_pair_has(server, start):
    """vLLM's truncate_prompt_tokens scores as a server of that max_length."""
    documents = [words(n) for n in (2, 8, 30, 600)]
    body = {"queries": QUERY, "documents": documents, "return_details": True}
    short = start(max_length=16).post("/score", body).json["data"]
    for path, scale, key in (("/score", {}, "documents"),
                             ("/v1/rerank", {"raw_scores": True}, "documents"),
                             ("/rerank", {"raw_scores": True}, "texts")):
        got = server.post(path, {
            "query": QUERY, "queries": QUERY, key: documents, **scale,
            "return_details": True, "truncate_prompt_tokens": 16}).json
        rows = got if isinstance(got, list) else got.get(
            "data", got.get("results"))
        assert {(r["index"], r["tokens"], r["truncated"]) for r in rows} == {
            (r["index"], r["tokens"], r["truncated"]) for r in short}
        assert {r["index"]: r.get("score", r.get("relevance_score"))
                for r in rows} == {r["index"]: r["score"] for r in short}
    full = server.post("/score", body).json["data"]
    for most in (-1, None, 10000):
        assert server.post("/score", {
            **body, "truncate_prompt_tokens": most}).json["data"] == full
    for most in (-2, 0, 2, "16", 1.5):
        got = server.post("/score", {**body, "truncate_prompt_tokens": most})
        assert got.status == 400
        assert "truncate_prompt_tokens" in got.json["error"]["message"]


def test_a_lone_text_is_cut_where_it_must_be(start):
    """[CLS] text [SEP]: max_length - 2 tokens of it are read."""
    s = start(max_length=16)
    for direction in ("Right", "Left"):
        body = {"truncation_direction": direction, "return_details": True}
        full = s.post("/predict", {**body, "inputs": words(14)}).json[0]
        assert full["tokens"] == 16 and not full["truncated"]
        long = {"Right": words(14) + " wing", "Left": "wing " + words(14)}
        cut = s.post("/predict", {**body, "inputs": long[direction]}).json[0]
        assert cut["tokens"] == 16 and cut["truncated"]
        assert cut["score"] == full["score"]
    got = s.post("/predict", {"inputs": words(15), "truncate": False})
    assert got.status == 422 and "Given: 17 " in got.json["error"]
    got = s.post("/predict", {"inputs": words(14), "truncate": False})
    assert got.status == 200


def test_a_wrong_method_is_told_the_right_ones(server):
    for path, allowed in (("/rerank", "POST"), ("/info", "GET, HEAD"),
                          ("/", "GET, HEAD, POST")):
        got = server.ask("DELETE", path, None)
        assert (got.status, got.headers["allow"]) == (405, allowed)
    assert "allow" not in server.ask("DELETE", "/nowhere", None).headers


@pytest.mark.parametrize("ids", [[-1], [101, 1 << 32], [[101], [-1]]])
def test_ids_that_cannot_be_are_not_decoded(server, ids):
    got = server.ask("POST", "/decode", json.dumps({"ids": ids}).encode(),
                     {"Content-Type": "application/json"})
    assert got.status == 422 and b"4294967295" in got.data


# ---- Bodies -----------------------------------------------------------------

JSON = b"Content-Type: application/json\r\n"


@pytest.mark.parametrize("body, status", [
    (b"", 400), (b"{", 400), (b"[]", 422), (b"null", 400), (b"\xff\xfe", 400),
    (b'{"query":"\xff","texts":["a"]}', 400),
    (b'{"query":"\\ud800","texts":["a"]}', 400),
    (b'{"query":1e999,"texts":["a"]}', 400),
    (b'{"query":"a","query":"b","texts":["a"]}', 400),
    (b'{"query":"q","texts":["a"]} trailing', 400),
    (b'{"query":"q","texts":[' + b"[" * 3000, 400),
    (b'{"query":"q","texts":[[["a"]]]}', 422),
    (b'{"query":"q","texts":{"a":1}}', 422),
    (b'{"query":"q","texts":[null]}', 422),
    (b'{"query":null,"texts":["a"]}', 422),
    (b'{"query":"q","texts":["a"],"truncate":"yes"}', 422),
    (b'{"query":"q","texts":["a"],"truncation_direction":"Up"}', 422),
    (b'{"query":"q","texts":["a"],"x":' + b"0" * 2000000 + b"}", 400),
    (b'{"query":"q","texts":[' + b"0," * 1900000 + b"0]}", 413),
    (b'{"query":"q","texts":["a"],"junk":"' + b"j" * 3000000 + b'"}', 200),
])
def test_bodies(server, body, status):
    got = server.ask("POST", "/rerank", body,
                     {"Content-Type": "application/json"})
    assert got.status == status, got.data[:200]
    assert server.get("/livez").status == 200


@pytest.mark.parametrize("path, body, n", [
    ("/v1/rerank", {"query": "q", "documents": ["a", "b", "c"],
                    "top_n": None, "top_k": 1}, 1),
    ("/v1/rerank", {"query": "q", "documents": ["a", "b"], "top_n": 1.0}, 1),
    ("/rerank", {"query": "q", "texts": ["a"], "documents": None}, 1),
    ("/score", {"queries": None, "documents": None, "text_1": "a",
                "text_2": ["b"]}, 1),
])
def test_null_is_absent_and_whole_is_whole(server, path, body, n):
    got = server.post(path, body)
    assert got.status == 200, got.data
    answer = got.json
    if isinstance(answer, dict):
        answer = answer.get("results") or answer["data"]
    assert len(answer) == n


@pytest.mark.parametrize("path, body, what", [
    ("/v1/rerank", {"query": "q", "documents": [{"title": "a"}],
                    "rank_fields": ["nope"]}, "none of `documents` has one of"),
    ("/v1/rerank", {"query": "q", "documents": [{"title": "a"}],
                    "rank_fields": "title"}, "`rank_fields` must be a list"),
    ("/v1/rerank", {"query": "q", "documents": ["a"], "top_n": 1.5},
     "one with a fraction"),
    ("/tokenize", {"inputs": ["a" * (1 << 19), "b" * (1 << 19), "c"]},
     "1048577 bytes, at most 1048576"),
    ("/admin/reload", {"model": 5}, "`model` must be the name of a folder"),
    ("/admin/reload", {"model": ""}, "`model` must be the name of a folder"),
])
def test_what_cannot_be_meant_is_refused(server, path, body, what):
    got = server.post(path, body)
    assert got.status == 422
    assert what in got.data.decode()


def test_bodies_are_not_unpacked(server):
    got = server.post("/rerank", rerank(1), Content_Encoding="gzip")
    assert got.status == 415
    assert b'Content-Encoding is \"gzip\"' in got.data or \
        b'Content-Encoding is "gzip"' in got.data
    assert server.post("/rerank", rerank(1),
                       Content_Encoding="identity").status == 200


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity", "xchunked"])
def test_other_codings_are_refused_at_once(server, coding):
    got = server.raw(b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
                     b"Transfer-Encoding: %s\r\n\r\n" % coding.encode(),
                     seconds=5)
    assert got.split()[1:2] == [b"400"], got[:100]


def test_a_body_over_the_limit_is_refused_unread(server):
    head = (b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
            b"Content-Length: 4194305\r\n")
    for expect in (b"", b"Expect: 100-continue\r\n"):
        got = server.raw(head + expect + b"\r\n")
        assert got.startswith(b"HTTP/1.1 413 "), got
        assert b"max_body_bytes" in got


def test_a_chunked_body(server):
    body = json.dumps(rerank(2)).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c)
                      for c in (body[:10], body[10:50], body[50:]))
    head = (b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
            b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    got = server.raw(head + chunks + b"0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK"), got
    many = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    got = server.raw(head + many * 5 + b"0\r\n\r\n")  # over 4 MiB
    assert got.startswith(b"HTTP/1.1 413 "), got
    assert b"max_body_bytes" in got
    got = server.raw(head + many * 5)  # and no end: cut off
    assert not got.startswith(b"HTTP/1.1 200"), got
    wait_until(lambda: server.stats()["pending_body_bytes"] == 0)
    assert server.get("/livez").status == 200


@pytest.mark.parametrize("head, status", [
    (b"Content-Length: 5\r\nContent-Length: 7\r\n", b"400"),
    (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"400"),
    (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"400"),
    (b"Content-Length: -1\r\n", b"400"),
    (b"Content-Length: five\r\n", b"400"),
    (b"X: " + b"h" * 60000 + b"\r\n", b"431"),
    (b"".join(b"X-%d: y\r\n" % i for i in range(20000)), b"431"),
])
def test_heads_that_lie(server, head, status):
    got = server.raw(b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON + head +
                     b"\r\nabcde\r\n")
    assert got.split()[1:2] in ([status], []), got[:100]
    assert server.get("/livez").status == 200


def test_slow_senders_are_cut_off(server):
    before = server.stats()["connections_swept"]

    def dribble(data):
        with server.socket() as s:
            begin = time.monotonic()
            try:
                for i in range(1000):
                    s.sendall(data[i:i + 1] or b"x")
                    time.sleep(0.05)
            except OSError:
                pass
            return time.monotonic() - begin

    head = b"POST /rerank HTTP/1.1\r\nHost: x\r\n"
    times = in_threads(3, lambda i: dribble(
        [head, head + b"Content-Length: 9999\r\n\r\n", b"G"][i]))
    assert max(times) < 10 * server.slower
    assert server.stats()["connections_swept"] >= before + 3


def test_pipelined_requests(server):
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    got = server.raw(one + b"\r\n" + one + b"\r\n" + one +
                     b"Connection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 3


def test_128_connections_are_answered(server):
    """libmicrohttpd's epoll loop stalls at exactly 128 ready descriptors."""
    for n in (127, 128, 129):
        sockets = [server.socket(20) for _ in range(n)]
        for s in sockets:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        for s in sockets:
            assert s.recv(4096).startswith(b"HTTP/1.1 200 OK")
            s.close()


def test_idle_connections_make_room(start):
    """Connections that ask for nothing, kept or fresh, keep nobody out, and
    are kept as long as nobody waits."""
    s = start(max_connections=8)
    kept = [s.connect() for _ in range(4)]
    for connection in kept:
        assert s.ask("GET", "/livez", connection=connection).status == 200
    fresh = [s.socket() for _ in range(4)]
    time.sleep(1.5)  # all are taken; asking for statistics takes one more
    begin = time.monotonic()
    assert s.stats()["connections_evicted"] == 1
    assert time.monotonic() - begin < 5 * s.slower
    for connection in kept[1:]:  # the first was the longest idle
        assert s.ask("GET", "/livez", connection=connection).status == 200
    more = [s.socket() for _ in range(8)]
    assert s.get("/livez").status == 200
    for connection in kept + fresh + more:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc to look into")
def test_open_files_follow_max_connections(start):
    """The soft limit is raised; a hard one below it is told in the log."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4096:
        pytest.skip("the hard limit of open files is below 4,096 here")
    for hard, told in ((4096, False), (300, True)):
        s = start(max_connections=500, through=(
            "sh", "-c", f'ulimit -Sn 64; ulimit -Hn {hard}; exec "$@"', "sh"))
        with open(f"/proc/{s.process.pid}/limits") as limits:
            soft = re.search(r"Max open files +(\d+)", limits.read()).group(1)
        assert int(soft) == (300 if told else 2 * 500 + 128)
        assert s.stop() == 0
        assert ("needs 1128 open files, and the limit is 300" in s.log) == told


def test_a_log_that_nobody_reads(start):
    """Its pipe is full: requests go on, lines are lost and counted."""
    reading = threading.Event()
    s = start(access_log=True, read_log_after=reading)
    one = b"GET /" + b"x" * 120 + b" HTTP/1.1\r\nHost: x\r\n"
    last = one + b"Connection: close\r\n\r\n"
    # Lines of over 200 bytes: a pipe takes 64 KiB, the server 1 MiB.
    for _ in range(80):
        got = s.raw((one + b"\r\n") * 99 + last)
        assert got.count(b"HTTP/1.1 404") == 100
    assert s.stats()["log_lines_lost"] > 0
    assert s.post("/rerank", rerank(2)).status == 200
    reading.set()
    wait_until(lambda: s.get("/livez") and "lines of the log are lost here"
               in s.log)
    assert s.stop() == 0


def test_stopping_waits_for_no_reader_of_the_log(build, slower):
    """What is in the pipe by then is all that anybody gets."""
    reading = threading.Event()
    s = Server(build / "crossrank", slower, access_log=True,
               read_log_after=reading)
    one = b"GET /" + b"x" * 120 + b" HTTP/1.1\r\nHost: x\r\n"
    for _ in range(8):
        s.raw((one + b"\r\n") * 99 + one + b"Connection: close\r\n\r\n")
    s.process.send_signal(signal.SIGTERM)
    s.process.wait(20 * slower)
    reading.set()
    assert s.stop() == 0


# ---- Overload, deadlines, clients that go -----------------------------------


def test_overload_is_refused_at_once(start):
    s = start(max_queue_tokens=3000)
    body = rerank(40, 60)

    def post(_):
        begin = time.monotonic()
        got = s.post("/rerank", body)
        return got, time.monotonic() - begin

    results = in_threads(24, post)
    refused = [got for got, _ in results if got.status == 429]
    assert {got.status for got, _ in results} == {200, 429}
    assert all(1 <= int(got.headers["retry-after"]) <= 120 for got in refused)
    assert all(got.json["error_type"] == "Overloaded" for got in refused)
    assert s.stats()["refused_overload"] == len(refused)
    assert s.post("/rerank", body).status == 200
    # Refusals, which take no time, are in no latency. (A request is over a
    # moment after its answer is here.)
    n_scored = len(results) - len(refused) + 1
    wait_until(lambda: s.stats()["request_ms"]["count"] == n_scored)
    stats = s.stats()
    assert sum(stats[stage]["mean"] for stage in (
        "queue_wait_ms", "compute_ms")) <= stats["request_ms"]["mean"]


def test_overload_is_said_as_a_proxy_wants_it(start):
    s = start(max_queue_tokens=3000)
    body, headers = rerank(40, 60), {"X-Overload-Status": "503"}
    got = in_threads(24, lambda _: s.ask("POST", "/rerank", body, headers))
    assert {g.status for g in got} == {200, 503}
    refused = [g for g in got if g.status == 503]
    assert all(int(g.headers["retry-after"]) >= 1 for g in refused)
    assert all(g.json["error_type"] == "Overloaded" for g in refused)
    assert s.stats()["refused_overload"] == len(refused)


def test_shortest_texts_fill_a_group(start):
    """A text of nothing alone is two tokens, where a pair is three."""
    s = start(max_length=16)
    got = s.post("/predict", {"inputs": [[" "]] * 600})
    assert got.status == 200 and len(got.json) == 600
    assert len({json.dumps(one) for one in got.json}) == 1


def test_one_request_over_the_queue_limit_is_taken_alone(start):
    s = start(max_queue_tokens=10)
    assert s.post("/rerank", rerank(20)).status == 200


def test_pending_bytes_are_bounded(start):
    s = start(max_body_bytes=1 << 20, max_pending_bytes=1 << 20)
    with s.socket() as first:
        # What is only announced keeps nobody out.
        first.sendall(b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
                      b"Content-Length: 1000001\r\n\r\nabc")
        large = rerank(1) | {"x": "x" * 900000}
        assert s.post("/rerank", large).status == 200
        first.sendall(b" " * 999997)
        wait_until(lambda: s.stats()["pending_body_bytes"] >= 1000000)
        got = s.raw(b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
                    b"Content-Length: 900000\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 429 "), got
    wait_until(lambda: s.stats()["pending_body_bytes"] == 0)
    assert s.post("/rerank", rerank(1)).status == 200


def test_work_that_is_late_is_not_computed(start):
    s = start(threads=1)
    bulk = threading.Thread(target=s.post, args=("/rerank", rerank(60, 50)))
    bulk.start()
    wait_until(lambda: s.stats()["queue_pairs"] > 30)
    got = s.post("/rerank", rerank(300, 50), X_Request_Timeout_Ms="100")
    assert got.status == 504
    assert got.json["error_type"] == "Timeout"
    bulk.join()
    stats = s.stats()
    assert stats["cancelled_deadline"] == 1
    assert stats["pairs"] < 300
    for value in ("0", "-1", "x", "1.5", ""):
        assert s.post("/rerank", rerank(1),
                      X_Request_Timeout_Ms=value).status == 400, value


def test_a_client_that_went_is_not_computed(start):
    s = start(threads=1)
    bulk = threading.Thread(target=s.post, args=("/rerank", rerank(60, 80)))
    bulk.start()
    wait_until(lambda: s.stats()["queue_pairs"] > 20)
    body = json.dumps(rerank(200, 80)).encode()
    request = (b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
               b"Content-Length: %d\r\n\r\n" % len(body)) + body
    for how in ("close", "reset", "half"):
        with s.socket() as gone:
            if how == "reset":
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
            gone.sendall(request)
            wait_until(lambda: s.stats()["requests_in_flight"] >= 3)
            if how == "half":
                gone.shutdown(socket.SHUT_WR)
                time.sleep(0.1)
        wait_until(lambda: s.stats()["requests_in_flight"] <= 2)
    bulk.join()
    stats = s.stats()
    assert stats["cancelled_client_gone"] == 3
    assert stats["pairs"] < 60 + 200
    assert s.post("/rerank", rerank(1)).status == 200


def test_a_small_request_passes_a_large_one(start, slower):
    """The order of the answers proves it, whatever the machine's speed."""
    s = start(threads=1)
    large = 60 if slower > 1 else 200
    bulk = threading.Thread(target=s.post, args=("/rerank", rerank(large, 40)))
    bulk.start()
    wait_until(lambda: s.stats()["queue_pairs"] > large // 2)
    assert s.post("/rerank", rerank(5)).status == 200
    assert s.stats()["queue_pairs"] > 0 and bulk.is_alive()
    bulk.join()


# ---- Batching ---------------------------------------------------------------


def test_a_window_merges_requests(start):
    s = start(batching_timeout_ms=100, batching_max_batch=96)
    for body, status in ((rerank(3), 200), (rerank(100), 200)):
        assert s.post("/rerank", body).status == status
    s.post("/stats/reset", {})
    in_threads(16, lambda _: s.post("/rerank", rerank(2)))
    stats = s.stats()
    assert stats["batch_pairs"]["mean"] > 4
    assert stats["pairs"] == 32
    begin = time.monotonic()
    s.post("/rerank", rerank(1))
    assert time.monotonic() - begin >= 0.09


def test_a_full_batch_waits_for_no_window(start):
    s = start(batching_timeout_ms=60000, batching_max_batch=96)
    begin = time.monotonic()
    got = in_threads(12, lambda _: s.post("/rerank", rerank(8)))
    assert [one.status for one in got] == [200] * 12
    assert time.monotonic() - begin < 30


def test_batching_off_keeps_requests_apart(start):
    s = start(batching_enabled=False)
    in_threads(16, lambda _: s.post("/rerank", rerank(2)))
    stats = s.stats()
    assert stats["batch_pairs"]["count"] == 16
    assert stats["group_pairs"]["count"] >= 16


def test_without_a_window_nothing_waits(start):
    s = start()
    for _ in range(20):
        s.post("/rerank", rerank(1))
    assert s.stats()["queue_wait_ms"]["p50"] < 5 * s.slower


# ---- Life -------------------------------------------------------------------


def test_sigterm_drains(start, slower):
    # Time enough for all of it: that the limit holds is the next test's.
    s = start(drain_timeout_ms=int(50000 * slower))
    results = []
    threads = [threading.Thread(
        target=lambda: results.append(s.post("/rerank", rerank(20, 40))))
        for _ in range(6)]
    for t in threads:
        t.start()
    # Until all are accepted (one that comes after the signal is refused);
    # asking for /stats is a request in flight too.
    wait_until(lambda:
               s.stats()["requests_in_flight"] - 1 + len(results) == 6)
    assert s.stop() == 0, s.log
    for t in threads:
        t.join()
    assert [got.status for got in results] == [200] * 6
    assert all(len(got.json) == 20 for got in results)


def test_kept_connections_may_ask_to_the_very_end(start, tiny_model):
    """What comes when nothing is left to wait for, and before all is closed, is
    refused and not begun: half of such stops once ended with an abort."""
    body = json.dumps(rerank(60, 60)).encode()
    request = (b"POST /rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
               b"Content-Length: %d\r\n\r\n" % len(body)) + body
    for _ in range(6):
        s = start(threads=1, model=tiny_model)
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(s.socket()) for _ in range(40)]
            for one in kept:
                one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                assert one.recv(4096).startswith(b"HTTP/1.1 200")
            s.process.send_signal(signal.SIGTERM)
            for i, one in enumerate(kept):
                with contextlib.suppress(OSError):
                    one.sendall(request)
                time.sleep((0, 0.0003, 0.001, 0.003)[i % 4])
            for one in kept:
                with contextlib.suppress(OSError):
                    assert one.recv(12) in (b"HTTP/1.1 200", b"HTTP/1.1 503",
                                            b"")
        assert s.stop() == 0, s.log


def test_the_drain_has_a_limit(start):
    s = start(threads=1, drain_timeout_ms=100)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(s.post("/rerank", rerank(900, 100))))
    thread.start()
    wait_until(lambda: s.stats()["queue_pairs"] > 100)
    assert s.stop() == 1
    thread.join()
    assert [got.status for got in results] == [503]


def ask_and_not_read(connection, n_bytes):
    """Asks for an answer of some more bytes."""
    body = json.dumps({"query": "q", "documents": ["x" * n_bytes]}).encode()
    connection.sendall(b"POST /v1/rerank HTTP/1.1\r\nHost: x\r\n" + JSON +
                       b"Content-Length: %d\r\n\r\n" % len(body) + body)


def test_who_does_not_read_does_not_hold_up_the_end(start, slower):
    s = start(drain_timeout_ms=500)
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((s.host, s.port))
        ask_and_not_read(reader, 24 << 20)
        # The answer counts as pending until it is read.
        wait_until(lambda: s.stats()["pairs"] == 1
                   and s.stats()["pending_body_bytes"] > 24 << 20)
        begin = time.monotonic()
        assert s.stop() == 1, s.log
        assert time.monotonic() - begin < 20 * slower


def test_who_reads_too_slowly_is_cut_off(start, tmp_path):
    s = start(unix_socket=tmp_path / "s", receive_timeout_ms=2000)
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(str(tmp_path / "s"))
        ask_and_not_read(reader, 512 << 10)  # more than the socket holds
        reader.settimeout(60 * s.slower)
        time.sleep(11 * s.slower)  # 8 s at 64 KiB a second, and 2
        read = sum(map(len, iter(lambda: reader.recv(65536), b"")))
        assert 0 < read < 512 << 10
    assert s.stop() == 0, s.log


def test_sigint_stops_too(start):
    assert start().stop(signal.SIGINT) == 0


def test_a_port_in_use_is_an_error(start, crossrank):
    s = start()
    done = crossrank("serve", "--port", s.port)
    assert done.returncode == 3
    assert b"cannot listen" in done.stderr and b"--port 0" in done.stderr


def test_a_unix_socket(start, tmp_path):
    path = tmp_path / "socket"
    for _ in range(2):
        s = start(unix_socket=path)
        assert s.address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(str(path))
            c.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n"
                      b"Connection: close\r\n\r\n")
            assert c.recv(4096).startswith(b"HTTP/1.1 200 OK")
        assert s.stop() == 0
        assert not path.exists()
    with socket.socket(socket.AF_UNIX) as left:  # by a crash
        left.bind(str(path))
    assert start(unix_socket=path).stop() == 0


def test_idle_costs_nothing(start):
    s = start()
    s.post("/rerank", rerank(3))
    time.sleep(0.3)  # a backend's threads may wait awake for more work
    before = s.stats()["cpu_s"]
    time.sleep(1.5)
    assert s.stats()["cpu_s"] - before < 0.015 * s.slower


def test_reload_under_load(start, root, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(root / "models/crossrank-minilm-l6", model)
    s = start(model=model)
    body = rerank(8)
    want = s.post("/rerank", body).json
    stop = threading.Event()
    answers = []

    def load():
        # A test that failed must not wait for it: see daemon below.
        connection = s.connect()
        while not stop.is_set():
            answers.append(s.ask("POST", "/rerank", body,
                                 connection=connection))
        connection.close()

    threads = [threading.Thread(target=load, daemon=True) for _ in range(3)]
    for t in threads:
        t.start()
    for generation in (2, 3):
        got = s.post("/admin/reload", {})
        assert got.status == 200 and got.json["generation"] == generation
    os.kill(s.process.pid, signal.SIGUSR1)
    wait_until(lambda: s.stats()["generation"] == 4, 20 * s.slower)
    with open(model / "model.safetensors", "r+b") as f:
        f.truncate(1000000)
    assert s.post("/admin/reload", {}).status == 500
    assert s.post("/admin/reload", {"model": "/nowhere"}).status == 500
    assert s.ask("POST", "/admin/reload", b"{}").status == 415
    stop.set()
    for t in threads:
        t.join()
    assert len(answers) > 3
    assert all(a.status == 200 and alike(a.json, want) for a in answers)
    stats = s.stats()
    assert stats["generation"] == 4 and stats["reloads"] == 3
    metrics = s.get("/metrics").data.decode()
    assert 'crossrank_reloads_total{result="failed"} 2' in metrics


def test_known_scores_must_be_right(start, root, tmp_path, crossrank, build):
    model = tmp_path / "model"
    shutil.copytree(root / "models/crossrank-minilm-l6", model)
    weights = (model / "model.safetensors").read_bytes()
    known = {"sha256": hashlib.sha256(weights).hexdigest(), "pairs": [
        {"query": "capital of italy", "passage": "Rome is the capital",
         "logit": 2.951843}]}
    (model / "known_scores.json").write_text(json.dumps(known))
    s = start(model=model)
    assert s.stop() == 0
    assert "known scores right" in s.log
    known["pairs"][0]["logit"] = -2.0
    (model / "known_scores.json").write_text(json.dumps(known))
    done = crossrank("serve", "--port", "0", "--model", model)
    assert done.returncode == 3 and b"self-check" in done.stderr
    # Nobody was listening before it was known to be right.
    port = free_port()
    program = subprocess.Popen(
        [build / "crossrank", "serve", "--port", str(port), "--grpc-port",
         str(free_port()), "--model", model], stderr=subprocess.PIPE)
    while program.poll() is None:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        time.sleep(0.02)
    assert b"self-check" in program.stderr.read()
    program.stderr.close()


def test_the_shipped_model_has_known_scores(start):
    low = {"dtype": "int8" if BACKEND == "cpu" else "bf16"}
    for options in ({}, {"max_length": 8}, low):
        s = start(**options)
        assert s.stop() == 0
        assert "known scores right" in s.log


def test_a_window_does_not_hold_up_the_self_check(start, slower):
    begin = time.monotonic()
    s = start(batching_timeout_ms=60000)
    assert s.post("/admin/reload", {}).status == 200
    assert time.monotonic() - begin < 30 * slower


def test_the_service_manager_is_told(build, slower, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20 * slower)
        s = Server(build / "crossrank", slower, {
            **os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        assert s.post("/admin/reload", {}).status == 200
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+",
                            manager.recv(100))
        assert manager.recv(100) == b"READY=1"
        os.kill(s.process.pid, signal.SIGHUP)
        assert manager.recv(100).startswith(b"RELOADING=1\n")
        assert manager.recv(100) == b"READY=1"
        assert s.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


# ---- Keys and origins -------------------------------------------------------


def key_line(name, key):
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


def test_api_keys(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# who may ask\n" + key_line("ann", "s3cret"))
    s = start(api_keys_file=keys, cors_origin="https://app.example")
    for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score",
                 "/predict", "/tokenize", "/decode", "/reranking", "/",
                 "/v1/reranking", "/invocations", "/stats/reset",
                 "/admin/reload"):
        for headers in ({}, {"Authorization": "Bearer wrong"},
                        {"Authorization": "s3cret"}):
            got = s.ask("POST", path, rerank(1), headers)
            assert got.status == 401, path
            assert got.headers["www-authenticate"] == "Bearer"
    for path in ("/info", "/models", "/v1/models", "/stats"):
        assert s.get(path).status == 401
    for path in ("/health", "/livez", "/readyz", "/metrics", "/ping", "/"):
        assert s.get(path).status == 200
    for headers in ({"Authorization": "Bearer s3cret"},
                    {"authorization": "bearer s3cret"},
                    {"X-Api-Key": "s3cret"}):
        assert s.ask("POST", "/rerank", rerank(1), headers).status == 200
    keys.write_text(key_line("bob", "n3w"))
    os.kill(s.process.pid, signal.SIGHUP)
    new = {"Authorization": "Bearer n3w"}
    wait_until(lambda: s.ask("POST", "/rerank", rerank(1), new).status == 200)
    assert s.ask("POST", "/rerank", rerank(1),
                 {"Authorization": "Bearer s3cret"}).status == 401
    keys.write_text("broken\n")
    os.kill(s.process.pid, signal.SIGHUP)
    wait_until(lambda: "the old keys stay" in s.log)
    assert s.ask("POST", "/rerank", rerank(1), new).status == 200


def test_origins(start):
    s = start(cors_origin="https://app.example")
    asked = {"Origin": "https://app.example",
             "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization"}
    got = s.ask("OPTIONS", "/v1/rerank", headers=asked)
    assert got.status == 204
    assert got.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in got.headers["access-control-allow-headers"]
    assert "x-overload-status" in got.headers["access-control-allow-headers"]
    assert "retry-after" in got.headers["access-control-expose-headers"]
    got = s.ask("POST", "/rerank", rerank(1), asked)
    assert got.headers["access-control-allow-origin"] == "https://app.example"
    other = {"Origin": "https://evil.example"}
    got = s.ask("POST", "/rerank", rerank(1), other)
    assert "access-control-allow-origin" not in got.headers


# ---- What it tells ----------------------------------------------------------


def series(text):
    return dict(line.rsplit(" ", 1) for line in text.splitlines()
                if not line.startswith("#"))


def test_metrics_are_there_from_the_start_and_true(start):
    s = start()
    before = series(s.get("/metrics").data.decode())
    assert 100 < len(before) < 150
    assert before["crossrank_pairs_total"] == "0"
    assert before["crossrank_ready"] == "1"
    s.post("/rerank", rerank(3))
    s.post("/v1/rerank", {"query": "a", "documents": [words(600), "b"]})
    s.post("/rerank", {"query": 1})
    after = series(s.get("/metrics").data.decode())
    assert after.keys() == before.keys()
    assert after["crossrank_pairs_total"] == "5"
    assert after['crossrank_requests_total{dialect="tei"}'] == "1"
    assert after["crossrank_truncated_pairs_total"] == "1"
    assert after['crossrank_refused_total{reason="invalid"}'] == "1"
    padded = int(after['crossrank_tokens_total{kind="padded"}'])
    assert (padded == 0) == (BACKEND == "cpu")
    assert after["crossrank_request_pairs_sum"] == "5"
    assert float(after["crossrank_lane_busy_seconds_total"]) > 0
    assert float(after["crossrank_resident_memory_bytes"]) > 1e7


def test_stats_and_their_reset(start):
    s = start()
    s.post("/rerank", rerank(3))
    wait_until(lambda: len(s.stats()["history"]["rows"]) >= 2)
    stats = s.stats()
    assert stats["pairs"] == 3
    assert stats["request_ms"]["count"] == 1
    assert stats["request_ms"]["p50"] <= stats["request_ms"]["p99"]
    rows, columns = stats["history"]["rows"], stats["history"]["columns"]
    assert all(len(row) == len(columns) for row in rows)
    steps = [b[0] - a[0] for a, b in zip(rows, rows[1:])]
    assert all(0.3 < step < 1.5 * s.slower for step in steps)
    assert s.post("/stats/reset", {}).status == 200
    stats = s.stats()
    assert stats["pairs"] == 0 and stats["request_ms"]["count"] == 0


def test_ids_and_the_access_log(start):
    s = start(access_log=True)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    got = s.ask("POST", "/rerank", rerank(2), {
        "X-Request-Id": "mine-1",
        "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert got.headers["x-request-id"] == "mine-1"
    assert re.fullmatch(f"00-{trace}-[0-9a-f]{{16}}-01",
                        got.headers["traceparent"])
    odd = s.ask("GET", "/a%22%0ab", headers={"X-Request-Id": "bad id\t",
                                              "traceparent": "00-zz-1-1"})
    assert re.fullmatch(r"[0-9a-f-]{36}", odd.headers["x-request-id"])
    assert "traceparent" not in odd.headers
    assert s.stop() == 0
    line = next(x for x in s.log.splitlines() if "mine-1" in x)
    assert f"trace_id={trace}" in line and 'path="/rerank"' in line
    assert "status=200" in line and "pairs=2" in line
    assert sum("access" in x for x in s.log.splitlines()) == 2


# ---- Settings ---------------------------------------------------------------


def test_settings_from_everywhere(crossrank, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("port: 1000\nmax_documents: 7\nthreads: 3\n"
                      "batching:\n  timeout_ms: 20\n  enabled: false\n")
    done = crossrank("serve", "--config", config, "--threads", "5",
                     "--print-config", "--model", 'a "b"\\c\n', env=dict(
                         os.environ, CROSSRANK_MAX_DOCUMENTS="8",
                         CROSSRANK_BATCHING_MAX_BATCH="96",
                         CROSSRANK_PORT="tcp://10.0.0.1:80"))
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for line in ("port: 1000", "max_documents: 8", "threads: 5",
                 "  timeout_ms: 20", "  enabled: false", "  max_batch: 96"):
        assert f"\n{line}\n" in text, text
    config.write_text(text)  # what it prints is such a file
    again = crossrank("serve", "--config", config, "--print-config")
    assert again.stdout == done.stdout


@pytest.mark.parametrize("text, words_of_it", [
    ("port: 70000", ["c.yaml:1:7", "port", "0 to 65535"]),
    ("a: 1", ["c.yaml:1:1", "unknown setting a"]),
    ("batching: {max_batch: x}", ["batching.max_batch", "whole number"]),
    ("batching: {nope: 1}", ["unknown setting batching.nope"]),
    ("port: [1]", ["one value is expected"]),
    ("port: 1\nport: 2", ["there twice"]),
    ("auto_truncate: maybe", ["true or false"]),
    ("dtype: fp99", ["auto, fp32, fp16, bf16, int8"]),
    ("- 1", ["mapping"]),
    ("a: {b", ["not YAML"]),
])
def test_wrong_settings_name_themselves(crossrank, tmp_path, text,
                                        words_of_it):
    config = tmp_path / "c.yaml"
    config.write_text(text)
    done = crossrank("serve", "--config", config, "--print-config")
    assert done.returncode == 2, done
    for word in words_of_it:
        assert word in done.stderr.decode(), done.stderr


def test_settings_that_contradict(crossrank):
    done = crossrank("serve", "--port", "0", "--batching-max-tokens", "100")
    assert done.returncode == 2
    assert b"batching.max_tokens is 100" in done.stderr
    done = crossrank("serve", "--port", "x")
    assert done.returncode == 2 and b"--port: port is" in done.stderr
    done = crossrank("serve", "--port", "0", env=dict(
        os.environ, CROSSRANK_HTTP_THREADS="0"))
    assert done.returncode == 2 and b"CROSSRANK_HTTP_THREADS" in done.stderr
