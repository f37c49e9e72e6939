"""An engine that fails on a real text. The model is generated and sound but for
one word, or the weights of one layer, which are finite and overflow float32
when they are summed: what the cpu backend makes of it is an error, never a
score.

A request with that word fails, over HTTP and gRPC; those that share a batch
with it are scored as ever. (tests/unit/sched/fault_test.c has the rest.)
"""

import concurrent.futures
import json
import os
import struct
import sys
from pathlib import Path

import pytest

from helpers import message_of, only_cpu
from serve import Server

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
from make_tiny_model import Shape, make  # noqa: E402

pytestmark = only_cpu("instruction sets, number formats and the error are cpu's")
QUERY = "what is the population"
WORD = "blue"  # of the generated vocabulary
BAD = f"a {WORD} river"
TEXTS = ["red river", "the city of berlin", "cats and dogs"]


def overwrite(folder, tensor, row, values):
    """Numbers of a tensor's row, from its first column on."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack_from("<Q", data)[0]
    entry = json.loads(data[8:start])[tensor]
    at = start + entry["data_offsets"][0] + row * entry["shape"][1] * 4
    struct.pack_into(f"<{len(values)}f", data, at, *values)
    path.write_bytes(data)


def spoil(folder, word):
    """The word's embedding becomes 3e38 throughout."""
    row = (folder / "vocab.txt").read_text().split("\n").index(word)
    overwrite(folder, "bert.embeddings.word_embeddings.weight", row,
              [3e38] * Shape.hidden)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("overflows")
    make(folder, Shape())
    spoil(folder, WORD)
    return folder


@pytest.fixture
def score(crossrank, model):
    def score(*passages, dtype="fp32", **environment):
        lines = "".join(f"{QUERY}\t{p}\n" for p in passages)
        return crossrank("score", "--model", model, "--dtype", dtype,
                         "--activation", "sigmoid", "-",
                         stdin=lines.encode(),
                         env={**os.environ, **environment})
    return score


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_overflow_is_an_error_on_every_isa(dtype, score, crossrank):
    for isa in json.loads(crossrank("info", "--json").stdout)["isa_available"]:
        assert score(*TEXTS, dtype=dtype, CROSSRANK_ISA=isa).returncode == 0
        done = score(*TEXTS, BAD, dtype=dtype, CROSSRANK_ISA=isa)
        assert done.returncode == 3, isa
        assert "overflow float32" in message_of(done)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("spoilt, weight", [(["query", "key"], 1e25),
                                            (["value"], 3e38)])
@pytest.mark.parametrize("heads, hidden", [(2, 32), (1, 32)])
def test_overflow_inside_attention_is_one(dtype, spoilt, weight, heads, hidden,
                                          tmp_path, crossrank):
    """Where no hidden state shows it by itself: scores of queries and keys are
    infinite and softmax makes weights of them, or integers are made of infinite
    values. (A head of 32 is multiplied as bfloat16 in int8.)"""
    make(tmp_path, Shape(heads=heads, hidden=hidden))
    for name in spoilt:
        for row in range(hidden):
            overwrite(tmp_path, "bert.encoder.layer.0.attention.self."
                      f"{name}.weight", row, [weight] * 4)
    for isa in json.loads(crossrank("info", "--json").stdout)["isa_available"]:
        done = crossrank("score", "--model", tmp_path, "--dtype", dtype,
                         "--activation", "sigmoid", "-",
                         stdin=f"{QUERY}\t{TEXTS[0]}\n".encode(),
                         env={**os.environ, "CROSSRANK_ISA": isa})
        assert done.returncode == 3, (isa, done.stdout)
        assert "overflow float32" in message_of(done)


@pytest.fixture
def server(build, slower, model):
    """One lane, and a batch that leaves when its 16th pair is there or the
    first waited 400 ms: what is sent at once is scored at once."""
    s = Server(build / "crossrank", slower, model=model, dtype="fp32",
               threads=1, batching_max_batch=16,
               batching_timeout_ms=400)
    yield s
    assert s.stop() == 0, s.log
    assert "Sanitizer" not in s.log


def post(server, path, body):
    """(scores by text, None) or (None, the error's words)"""
    got = server.post(path, body)
    if got.status != 200:
        # text-embeddings-inference's own status for it, and everybody's.
        assert got.status == (424 if path == "/rerank" else 500)
        return None, got.data.decode()
    rows = got.json if isinstance(got.json, list) else got.json["results"]
    texts = body.get("texts") or body["documents"]
    return {texts[r["index"]]: r.get("score", r.get("relevance_score"))
            for r in rows}, None


def tei(server, texts):
    return post(server, "/rerank", {"query": QUERY, "texts": texts})


def v1(server, texts):
    return post(server, "/v1/rerank", {"query": QUERY, "documents": texts})


@pytest.fixture
def infer(server, tmp_path):
    grpc_test = pytest.importorskip("grpc_test", reason="no grpcio")
    client = grpc_test.Client(server, grpc_test.Protos(tmp_path))

    def infer(_, texts):
        try:
            got = client.call("inference.InferenceService/Infer", pairs=[
                {"query": QUERY, "document": t} for t in texts])
        except grpc_test.grpc.RpcError as fault:
            assert fault.code() == grpc_test.Code.INTERNAL
            return None, fault.details()
        return dict(zip(texts, got.scores)), None
    yield infer
    client.channel.close()


def send_at_once(server, ways, requests):
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        waiting = [pool.submit(ways[i % len(ways)], server, texts)
                   for i, texts in enumerate(requests)]
        return [one.result(timeout=120 * server.slower) for one in waiting]


def right(scores, texts, want):
    return scores == pytest.approx({t: want[t] for t in texts}, abs=1e-5)


def n_batches(server):
    return server.stats()["batch_pairs"]["count"]


def test_only_the_request_with_that_word_fails(server, infer, score):
    want = dict(zip(TEXTS, map(float, score(*TEXTS).stdout.split())))
    ways = [tei, v1, infer]
    good = [TEXTS, TEXTS[:2], TEXTS[1:], TEXTS, TEXTS]
    together = 0
    for way in range(30):  # a busy machine may part them: 16 pairs are a batch
        bad = [TEXTS[0], BAD, TEXTS[1]]
        requests = [*good[:way % 3], bad, *good[way % 3:]]
        before = n_batches(server)
        answers = send_at_once(server, ways, requests)
        for (scores, fault), texts in zip(answers, requests):
            if texts is bad:
                assert "overflow float32" in fault
            else:
                assert not fault and right(scores, texts, want)
        together += n_batches(server) == before + 1
        if together == 6:
            break
    assert together == 6
    assert server.stats()["queue_pairs"] == 0
