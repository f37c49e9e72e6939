"""gRPC as Python's grpcio speaks it: the same scores as REST, status codes,
deadlines, cancelling, limits, keys, reloading and draining; and peers that
break or abuse HTTP/2, by hand."""

import contextlib
import ctypes
import hashlib
import math
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import pytest

from helpers import alike
from serve import Server, words

grpc = pytest.importorskip("grpc", reason="no grpcio: see requirements.txt")
descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
from google.protobuf import descriptor_pool, message_factory  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
QUERY = "how does air flow over a wing"
TEXTS = [words(8, i + 1) for i in range(12)]
Code = grpc.StatusCode


class Protos:
    """Message classes by their full names, from the .proto files."""

    def __init__(self, folder):
        out = folder / "protos"
        subprocess.run(
            ["protoc-c", f"--descriptor_set_out={out}", f"-I{ROOT}/proto",
             "inference.proto", "tei/v1/tei.proto",
             "grpc/health/v1/health.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)

    def __getitem__(self, name):
        return message_factory.GetMessageClass(
            self.pool.FindMessageTypeByName(name))

    def method(self, path):
        service, name = path.split("/")
        return self.pool.FindServiceByName(service).FindMethodByName(name)


@pytest.fixture(scope="module")
def protos(tmp_path_factory):
    return Protos(tmp_path_factory.mktemp("protos"))


class Client:
    def __init__(self, server, protos):
        self.protos = protos
        self.channel = grpc.insecure_channel(
            server.grpc_address,
            options=[("grpc.use_local_subchannel_pool", 1),
                     ("grpc.enable_retries", 0),
                     ("grpc.max_send_message_length", -1)])

    def method(self, path):
        kind = self.protos.method(path)
        ask = message_factory.GetMessageClass(kind.input_type)
        answer = message_factory.GetMessageClass(kind.output_type)
        return ask, self.channel.unary_unary(
            "/" + path, request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString)

    def call(self, path, timeout=60, metadata=None, **fields):
        ask, method = self.method(path)
        return method(ask(**fields), timeout=timeout, metadata=metadata)

    def begin(self, path, timeout=60, **fields):
        ask, method = self.method(path)
        return method.future(ask(**fields), timeout=timeout)

    def raw(self, path, data, timeout=60):
        return self.channel.unary_unary("/" + path)(data, timeout=timeout)


@pytest.fixture(scope="module")
def server(build, slower):
    s = Server(build / "crossrank", slower, receive_timeout_ms=700,
               max_body_bytes=4 << 20, max_documents=2000)
    yield s
    assert s.stop() == 0, s.log
    assert "Sanitizer" not in s.log


@pytest.fixture(scope="module")
def client(server, protos):
    c = Client(server, protos)
    yield c
    c.channel.close()


@contextlib.contextmanager
def serving(build, slower, protos, **options):
    s = Server(build / "crossrank", slower, **options)
    c = Client(s, protos)
    try:
        yield s, c
    finally:
        c.channel.close()
        if s.process.poll() is None:
            assert s.stop() == 0, s.log
        assert "Sanitizer" not in s.log


def refused(call, *arguments, **fields):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    return caught.value


def pairs(n, n_words=20):
    return [{"query": QUERY, "document": words(n_words, i + 1)}
            for i in range(n)]


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def near(a, b):
    """The same float, whatever text lay between."""
    return struct.pack("f", a) == struct.pack("f", b)


# ---- Scores -----------------------------------------------------------------


def test_infer_is_rest(server, client):
    got = client.call("inference.InferenceService/Infer",
                      pairs=[{"query": QUERY, "document": t} for t in TEXTS])
    rest = server.post("/v1/rerank", {"query": QUERY, "documents": TEXTS}).json
    want = {r["index"]: r["relevance_score"] for r in rest["results"]}
    assert got.num_pairs == len(TEXTS) and got.status_code == 200
    assert all(near(score, want[i]) for i, score in enumerate(got.scores))
    assert got.latency_ms > 0


@pytest.mark.parametrize("raw", [False, True])
def test_rerank_is_rest(server, client, raw):
    got = client.call("tei.v1.Rerank/Rerank", query=QUERY, texts=TEXTS,
                      raw_scores=raw, return_text=True)
    rest = server.post("/rerank", {"query": QUERY, "texts": TEXTS,
                                   "raw_scores": raw,
                                   "return_text": True}).json
    assert [(r.index, r.text) for r in got.ranks] \
        == [(r["index"], r["text"]) for r in rest]
    assert all(near(a.score, b["score"]) for a, b in zip(got.ranks, rest))
    assert got.metadata.compute_tokens > len(TEXTS)
    assert got.metadata.compute_chars == sum(
        len(QUERY) + len(t) for t in TEXTS)


def test_predict_is_rest(server, client):
    for inputs in ["alone", ["a pair", "of texts"]]:
        rest = server.post("/predict", {"inputs": inputs}).json[0]
        name = "Predict" if isinstance(inputs, str) else "PredictPair"
        got = client.call("tei.v1.Predict/" + name, inputs=inputs)
        assert near(got.predictions[0].score, rest["score"])
        assert got.predictions[0].label == rest["label"]


def test_model_of_several_labels(build, slower, protos, tmp_path):
    sys.path.insert(0, str(ROOT / "tools"))
    from make_tiny_model import Shape, make
    make(tmp_path, Shape(labels=3))
    with serving(build, slower, protos, model=tmp_path) as (server, client):
        for raw in [False, True]:
            rest = server.post("/predict", {"inputs": ["a pair", "of texts"],
                                            "raw_scores": raw}).json
            got = client.call("tei.v1.Predict/PredictPair", raw_scores=raw,
                              inputs=["a pair", "of texts"]).predictions
            assert [p.label for p in got] == [p["label"] for p in rest]
            assert len(got) == 3
            assert all(near(a.score, b["score"]) for a, b in zip(got, rest))
        assert client.call("tei.v1.Info/Info").model_type == 1
        for path, fields in [("inference.InferenceService/Infer",
                              {"pairs": pairs(1)}),
                             ("tei.v1.Rerank/Rerank",
                              {"query": "a", "texts": ["b"]})]:
            error = refused(client.call, path, **fields)
            assert error.code() == Code.FAILED_PRECONDITION
            assert "has 3 labels" in error.details()


def test_tokenize_is_rest(server, client):
    text = "Café über\0 naïveté 東京"
    for special in [True, False]:
        rest = server.post("/tokenize", {
            "inputs": text, "add_special_tokens": special}).json[0]
        got = client.call("tei.v1.Tokenize/Tokenize", inputs=text,
                          add_special_tokens=special)
        assert [(t.id, t.text, t.special,
                 t.start if t.HasField("start") else None,
                 t.stop if t.HasField("stop") else None)
                for t in got.tokens] \
            == [(t["id"], t["text"], t["special"], t["start"], t["stop"])
                for t in rest]


def test_info_is_rest(server, client):
    rest = server.get("/info").json
    got = client.call("tei.v1.Info/Info")
    for name in ["version", "model_id", "model_dtype", "max_input_length",
                 "max_batch_tokens", "max_client_batch_size"]:
        assert getattr(got, name) == rest[name]
    assert got.model_type == 2
    assert not got.HasField("max_batch_requests")


def test_a_text_may_hold_a_nul(server, client):
    document = "before\0after"
    got = client.call("inference.InferenceService/Infer",
                      pairs=[{"query": QUERY, "document": document}])
    rest = server.post("/rerank", {"query": QUERY, "texts": [document]}).json
    assert near(got.scores[0], rest[0]["score"])


def test_many_calls_on_one_connection(server, client):
    want = client.call("inference.InferenceService/Infer", pairs=pairs(10))
    calls = [client.begin("inference.InferenceService/Infer",
                          pairs=pairs(1 + i % 10)) for i in range(120)]
    for i, call in enumerate(calls):
        assert alike(list(call.result().scores),
                     list(want.scores[:1 + i % 10]))


def test_a_large_message_both_ways(server, client):
    texts = [words(250, i + 1) for i in range(20)]
    got = client.call("tei.v1.Rerank/Rerank", query="q", truncate=True,
                      texts=texts + ["x" * 900000],
                      return_text=True)
    assert {r.index for r in got.ranks} == set(range(21))
    assert max(len(r.text) for r in got.ranks) == 900000


def test_metrics(server, client):
    before = client.call("inference.InferenceService/GetMetrics")
    client.call("inference.InferenceService/Infer", pairs=pairs(3))
    # The answer is out before it is counted.
    wait_until(lambda: client.call(
        "inference.InferenceService/GetMetrics").count == before.count + 1)
    after = client.call("inference.InferenceService/GetMetrics")
    assert after.query_count == before.query_count + 3
    assert 0 < after.p50_ms <= after.p95_ms <= after.p99_ms
    assert after.avg_ms > 0 and after.throughput_qps > 0
    assert 'crossrank_requests_total{dialect="grpc"}' \
        in server.get("/metrics").data.decode()


def test_health(client):
    for name in ["", "tei.v1.Rerank", "inference.InferenceService"]:
        assert client.call("grpc.health.v1.Health/Check",
                           service=name).status == 1
    assert refused(client.call, "grpc.health.v1.Health/Check",
                   service="nobody").code() == Code.NOT_FOUND


# ---- What is refused --------------------------------------------------------


@pytest.mark.parametrize("path, fields, code, words_of", [
    ("inference.InferenceService/Infer", {}, Code.INVALID_ARGUMENT, "pairs"),
    ("tei.v1.Rerank/Rerank", {"query": "q"}, Code.INVALID_ARGUMENT, "texts"),
    ("tei.v1.Rerank/Rerank", {"query": "q", "texts": ["a"] * 2001},
     Code.INVALID_ARGUMENT, "2001 > maximum allowed batch size 2000"),
    ("tei.v1.Rerank/Rerank", {"query": "q", "texts": ["word " * 900]},
     Code.INVALID_ARGUMENT, "512"),
    ("tei.v1.Predict/PredictPair", {"inputs": ["a", "b", "c"]},
     Code.INVALID_ARGUMENT, "got 3"),
    ("tei.v1.Predict/Predict", {}, Code.INVALID_ARGUMENT, "empty"),
    ("tei.v1.Tokenize/Tokenize", {"inputs": "a", "prompt_name": "p"},
     Code.INVALID_ARGUMENT, "prompt"),
    ("tei.v1.Rerank/Rerank", {"query": "q", "texts": ["x" * (5 << 20)]},
     Code.RESOURCE_EXHAUSTED, "max_body_bytes"),
])
def test_refusals(client, path, fields, code, words_of):
    error = refused(client.call, path, **fields)
    assert error.code() == code and words_of in error.details()
    assert client.call("grpc.health.v1.Health/Check").status == 1


@pytest.mark.parametrize("data", [
    b"\xff", b"\x0a\xff", b"\x0a\x05ab", b"\x0a\x04\x0a\x02\xff\xfe",
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b\x0b",
])
def test_what_is_no_message(client, data):
    error = refused(client.raw, "inference.InferenceService/Infer", data)
    assert error.code() == Code.INVALID_ARGUMENT, error


def test_more_parts_than_texts(client):
    error = refused(client.raw, "inference.InferenceService/Infer",
                    b"\x0a\x00" * (1 << 20))
    assert error.code() in (Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT)


def test_unknown_methods(client):
    for path in ["inference.InferenceService/Nothing", "no.Service/Infer"]:
        error = refused(client.raw, path, b"")
        assert error.code() == Code.UNIMPLEMENTED and path in error.details()


def test_compressed_messages_are_refused(server, protos):
    channel = grpc.insecure_channel(
        server.grpc_address, compression=grpc.Compression.Gzip,
        options=[("grpc.use_local_subchannel_pool", 1)])
    call = channel.unary_unary("/inference.InferenceService/Infer")
    error = refused(call, b"\x0a\x00" * 5000, timeout=60)
    assert error.code() == Code.UNIMPLEMENTED
    assert "grpc-encoding" in error.details()
    channel.close()


def test_messages_are_percent_encoded(client):
    error = refused(client.raw, "no/ü%20x", b"")
    assert "%20x" in error.details()


def test_the_request_id_comes_back(client):
    ask, method = client.method("tei.v1.Info/Info")
    _, call = method.with_call(ask(), timeout=60,
                               metadata=[("x-request-id", "it-is-me")])
    assert ("x-request-id", "it-is-me") in call.initial_metadata()


# ---- Time and leaving -------------------------------------------------------


def test_deadlines(build, slower, protos):
    with serving(build, slower, protos, threads=1) as (server, client):
        first = client.begin("inference.InferenceService/Infer",
                             pairs=pairs(600, 100))
        wait_until(lambda: server.stats()["queue_pairs"] > 0)
        # As large as the first: small ones go before it, and may be in time.
        error = refused(client.call, "inference.InferenceService/Infer",
                        timeout=0.1, pairs=pairs(600, 100))
        assert error.code() == Code.DEADLINE_EXCEEDED
        first.cancel()
        wait_until(lambda: server.stats()["requests_in_flight"] == 1)
        stats = server.stats()
        assert stats["cancelled_deadline"] + stats["cancelled_client_gone"] \
            == 2
        assert stats["queue_tokens"] == 0


def test_cancelled_work_is_dropped(build, slower, protos):
    with serving(build, slower, protos, threads=1) as (server, client):
        calls = [client.begin("inference.InferenceService/Infer",
                              pairs=pairs(300, 100)) for _ in range(8)]
        wait_until(lambda: server.stats()["requests_in_flight"] > 8)
        for call in calls:
            call.cancel()
        wait_until(lambda: server.stats()["requests_in_flight"] == 1)
        stats = server.stats()
        assert stats["cancelled_client_gone"] == 8
        assert stats["pairs"] < 8 * 300 / 2
        assert stats["pending_body_bytes"] == 0


def test_a_full_queue(build, slower, protos):
    with serving(build, slower, protos, threads=1,
                 max_queue_tokens=20000) as (server, client):
        calls = [client.begin("inference.InferenceService/Infer",
                              pairs=pairs(100, 100)) for _ in range(12)]
        codes = [call.exception() for call in calls]
        full = [e for e in codes if e]
        assert full and len(full) < len(calls)
        assert all(e.code() == Code.RESOURCE_EXHAUSTED for e in full)
        assert "max_queue_tokens" in full[0].details()
        pushback = dict(full[0].trailing_metadata())["grpc-retry-pushback-ms"]
        assert int(pushback) >= 1000


def test_keys(build, slower, protos, tmp_path):
    file = tmp_path / "keys"
    file.write_text("me " + hashlib.sha256(b"secret").hexdigest() + "\n")
    with serving(build, slower, protos, api_keys_file=file) as (_, client):
        path = "tei.v1.Rerank/Rerank"
        fields = {"query": "q", "texts": ["t"]}
        assert refused(client.call, path, **fields).code() \
            == Code.UNAUTHENTICATED
        assert refused(client.call, path, **fields, metadata=[
            ("authorization", "Bearer wrong")]).code() == Code.UNAUTHENTICATED
        for key in [("authorization", "Bearer secret"),
                    ("x-api-key", "secret")]:
            got = client.call(path, **fields, metadata=[key])
            assert len(got.ranks) == 1
        assert client.call("grpc.health.v1.Health/Check").status == 1


def test_reload_loses_nothing(build, slower, protos):
    with serving(build, slower, protos) as (server, client):
        want = client.call("inference.InferenceService/Infer", pairs=pairs(9))
        calls = []
        for _ in range(3):
            calls += [client.begin("inference.InferenceService/Infer",
                                   pairs=pairs(9)) for _ in range(20)]
            assert server.post("/admin/reload", {}).status == 200
        assert all(alike(list(c.result().scores), list(want.scores))
                   for c in calls)


def test_drain_answers_what_was_accepted(build, slower, protos):
    with serving(build, slower, protos, threads=1) as (server, client):
        calls = [client.begin("inference.InferenceService/Infer",
                              pairs=pairs(20, 50)) for _ in range(25)]
        wait_until(lambda: server.stats()["requests_in_flight"] > 25)
        server.process.send_signal(signal.SIGTERM)
        assert all(len(c.result().scores) == 20 for c in calls)
        assert server.process.wait(60 * slower) == 0
        assert refused(client.call, "grpc.health.v1.Health/Check",
                       timeout=5).code() == Code.UNAVAILABLE


def test_settings(build, slower, protos):
    s = Server(build / "crossrank", slower, grpc_enabled=False)
    assert s.grpc_address is None
    assert s.stop() == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"port {port}.*--grpc-port 0"):
            Server(build / "crossrank", slower, grpc_port=port)


def test_a_unix_socket_opens_no_port(build, slower, tmp_path):
    s = Server(build / "crossrank", slower, unix_socket=tmp_path / "s")
    assert s.grpc_address is None
    assert s.stop() == 0


# ---- HTTP/2 by hand ---------------------------------------------------------

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) \
        + struct.pack(">I", stream) + payload


def literal(name, value):
    """A header without Huffman coding and without a table entry."""
    def text(t):
        return bytes([len(t)]) + t if len(t) < 127 \
            else b"\x7f" + varint(len(t) - 127) + t
    return b"\0" + text(name.encode()) + text(value.encode())


class Pair(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("value", ctypes.c_void_p),
                ("name_len", ctypes.c_size_t), ("len", ctypes.c_size_t),
                ("flags", ctypes.c_uint8)]


def headers_of(block):
    """The first block of a connection, read by the library that wrote it."""
    lib = ctypes.CDLL("libnghttp2.so.14")
    lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
    inflater, pair, flags = ctypes.c_void_p(), Pair(), ctypes.c_int()
    assert lib.nghttp2_hd_inflate_new(ctypes.byref(inflater)) == 0
    found = {}
    while True:
        n = lib.nghttp2_hd_inflate_hd2(
            inflater, ctypes.byref(pair), ctypes.byref(flags), block,
            ctypes.c_size_t(len(block)), 1)
        assert n >= 0
        block = block[n:]
        if flags.value & 2:
            found[ctypes.string_at(pair.name, pair.name_len).decode()] = \
                ctypes.string_at(pair.value, pair.len).decode()
        if flags.value & 1 or (n == 0 and not flags.value & 2):
            break
    lib.nghttp2_hd_inflate_del(inflater)
    return found


def statuses(answer):
    """Those of HTTP and gRPC, of an answer without a message."""
    assert answer[1] & END_STREAM, "there is a message"
    found = headers_of(answer[3])
    return found[":status"], int(found["grpc-status"])


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n % 128 + 128])
        n //= 128
    return out + bytes([n])


def head(stream, flags=0, path="/inference.InferenceService/Infer", **more):
    block = b"".join(literal(*h) for h in [
        (":method", more.pop("method", "POST")), (":scheme", "http"),
        (":path", path), (":authority", "x"),
        ("content-type", more.pop("kind", "application/grpc")),
        ("te", "trailers"), *more.items()])
    return frame(HEADERS, flags | END_HEADERS, stream, block)


class Peer:
    def __init__(self, server, window=65535):
        host, port = server.grpc_address.split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.send(PREFACE + frame(SETTINGS, 0, 0,
                                  struct.pack(">HI", 4, window)))
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data)

    def read(self, n):
        while len(self.rest) < n:
            part = self.socket.recv(1 << 16)
            if not part:
                return None
            self.rest += part
        got, self.rest = self.rest[:n], self.rest[n:]
        return got

    def frames(self):
        """(kind, flags, stream, payload) until the other side closes."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            while top := self.read(9):
                n = int.from_bytes(top[:3], "big")
                yield (top[3], top[4], int.from_bytes(top[5:], "big"),
                       self.read(n))

    def wait_for(self, kind):
        return next((f for f in self.frames() if f[0] == kind), None)


def is_well(client):
    return client.call("grpc.health.v1.Health/Check").status == 1


def test_garbage_and_other_protocols(server, client):
    for data in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 4000,
                 PREFACE + b"\xff" * 4000]:
        host, port = server.grpc_address.split(":")
        with socket.create_connection((host, int(port)), timeout=60) as s:
            with contextlib.suppress(OSError):
                s.sendall(data)
                while s.recv(65536):
                    pass
    assert is_well(client)


@pytest.mark.parametrize("options, status", [
    ({"method": "GET"}, ("405", 12)), ({"kind": "text/plain"}, ("415", 3)),
    ({"long": "x" * 40000}, ("431", 8))])
def test_what_is_no_grpc(server, client, options, status):
    peer = Peer(server)
    if "long" in options:
        block = head(1, END_STREAM, **options)[9:]
        peer.send(frame(HEADERS, END_STREAM, 1, block[:16000])
                  + frame(9, 0, 1, block[16000:32000])
                  + frame(9, END_HEADERS, 1, block[32000:]))
    else:
        peer.send(head(1, END_STREAM, **options))
    answer = peer.wait_for(HEADERS)
    assert statuses(answer) == status
    assert is_well(client)


@pytest.mark.parametrize("body", [
    b"", b"\0\0", b"\0\0\0\0\x09ab", b"\0\0\0\0\x02\x0a\x00extra",
    b"\x07\0\0\0\0"])
def test_broken_framing(server, client, body):
    peer = Peer(server)
    peer.send(head(1) + frame(DATA, END_STREAM, 1, body))
    answer = peer.wait_for(HEADERS)
    assert statuses(answer) == ("200", 3)
    assert is_well(client)


def test_a_slow_sender_is_refused(server, client):
    before = server.stats()["connections_swept"]
    peer = Peer(server)
    peer.send(head(1) + frame(DATA, 0, 1, b"\0\0\0\0\x09"))
    assert statuses(peer.wait_for(HEADERS)) == ("200", 4)
    assert server.stats()["connections_swept"] == before + 1
    assert is_well(client)


def test_idle_connections_make_room(build, slower, protos):
    """One without calls is told to go where somebody was turned away, and no
    more than that."""
    with serving(build, slower, protos, max_connections=4) as (server, client):
        assert is_well(client)
        peers = [Peer(server) for _ in range(3)]
        for peer in peers:
            peer.wait_for(SETTINGS)
        time.sleep(1.5)  # all are taken, but nobody waits
        assert server.stats()["connections_evicted"] == 0

        def is_taken():
            with contextlib.suppress(OSError):
                return Peer(server).wait_for(SETTINGS) is not None
            return False
        wait_until(is_taken)
        time.sleep(1)
        assert server.stats()["connections_evicted"] == 1
        assert is_well(client)


def test_bytes_are_pending_as_they_come(build, slower, protos):
    with serving(build, slower, protos, max_body_bytes=1 << 20,
                 max_pending_bytes=1 << 20) as (server, client):
        peer = Peer(server)
        peer.wait_for(SETTINGS)
        peer.send(frame(SETTINGS, ACK, 0))  # its windows hold from here on
        announced = b"\0" + struct.pack(">I", 1 << 20)
        for stream in range(1, 17, 2):
            peer.send(head(stream) + frame(DATA, 0, stream, announced))
        peer.send(frame(PING, 0, 0, b"is there"))
        peer.wait_for(PING)
        got = client.call("inference.InferenceService/Infer",
                          pairs=pairs(10, 1000))
        assert len(got.scores) == 10
        for stream in range(1, 17, 2):  # 8 times 240 KB
            for _ in range(15):
                peer.send(frame(DATA, 0, stream, b"x" * 16000))
        assert statuses(peer.wait_for(HEADERS)) == ("200", 8)
        assert is_well(client)


def test_rapid_resets(server, client):
    peer = Peer(server)
    with contextlib.suppress(OSError):
        for i in range(40):
            peer.send(b"".join(
                head(s) + frame(RST_STREAM, 0, s, struct.pack(">I", 8))
                for s in range(1 + 1000 * i, 1001 + 1000 * i, 2)))
    goaway = peer.wait_for(GOAWAY)
    assert goaway is None or goaway[3][4:8] in (b"\0\0\0\x0b", b"\0\0\0\x02")
    assert is_well(client)
    wait_until(lambda: server.stats()["requests_in_flight"] == 1)


def test_ping_flood(server, client):
    peer = Peer(server)
    stop = threading.Event()
    stop.goaway = None

    def drain():
        for f in peer.frames():
            if f[0] == GOAWAY:
                stop.goaway = f[3]
        stop.set()

    reader = threading.Thread(target=drain)
    reader.start()
    with contextlib.suppress(OSError):
        for _ in range(200):
            peer.send(frame(PING, 0, 0, b"12345678") * 1000)
    assert stop.wait(60), "the flood was not ended"
    reader.join()
    # Where it is not lost with what the peer was still sending.
    assert stop.goaway is None or stop.goaway[4:8] == b"\0\0\0\x0b"
    assert is_well(client)


def test_pings_that_nobody_reads(server, client):
    peer = Peer(server)
    peer.socket.settimeout(30)
    with pytest.raises(OSError):
        for _ in range(5000):
            peer.send(frame(PING, 0, 0, b"12345678") * 1000)
    assert is_well(client)


def test_a_slow_reader_holds_only_its_own(server, client, protos):
    message = protos["tei.v1.RerankRequest"](
        query="q", texts=["t" * 300000], truncate=True,
        return_text=True).SerializeToString()
    peer = Peer(server, window=1000)
    assert peer.wait_for(SETTINGS)
    peer.send(frame(SETTINGS, 1, 0))  # from here on its windows hold
    body = b"\0" + struct.pack(">I", len(message)) + message
    peer.send(head(1, path="/tei.v1.Rerank/Rerank"))
    for i in range(0, len(body), 16000):  # within the window that is given
        last = END_STREAM if i + 16000 >= len(body) else 0
        peer.send(frame(DATA, last, 1, body[i:i + 16000]))
    assert len(peer.wait_for(DATA)[3]) == 1000
    assert is_well(client)  # others go on
    peer.send(frame(WINDOW, 0, 1, struct.pack(">I", 1 << 20))
              + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 20)))
    got = 1000
    for kind, flags, _, payload in peer.frames():
        got += len(payload) if kind == DATA else 0
        if kind == HEADERS and flags & END_STREAM:
            break
    assert got > 300000


def test_too_many_streams(server, client):
    peer = Peer(server)
    limit = None
    for kind, flags, _, payload in peer.frames():
        if kind == SETTINGS and not flags & 1:
            limit = dict(struct.iter_unpack(">HI", payload))[3]
            break
    peer.send(frame(SETTINGS, 1, 0) + b"".join(
        head(1 + 2 * i) for i in range(limit + 1)))
    for kind, _, stream, payload in peer.frames():
        if kind == GOAWAY or (kind == RST_STREAM and stream > 2 * limit):
            break
    else:
        raise AssertionError("one stream too many was taken")
    peer.socket.close()
    assert is_well(client)
    wait_until(lambda: server.stats()["requests_in_flight"] == 1)


def test_scores_are_finite(client):
    got = client.call("inference.InferenceService/Infer",
                      pairs=[{"query": "", "document": ""}])
    assert all(math.isfinite(s) for s in got.scores)
