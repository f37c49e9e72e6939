"""The wire formats, held by fixtures: each file of tests/fixtures/server is a
request and the answer that it must get. In an answer "<any>" matches any text
and "<number>" any number; numbers match within 1e-4, and an object has exactly
the keys that are named, in that order."""

import json
import pathlib

import pytest

from helpers import BACKEND
from serve import Server

FOLDER = pathlib.Path(__file__).parent.parent / "fixtures" / "server"
FIXTURES = sorted(FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def server(build, slower):
    s = Server(build / "crossrank", slower, max_documents=1000,
               dtype="fp32")
    yield s
    assert s.stop() == 0, s.log


def differences(want, got, where="$"):
    if where.endswith(".backend") and want == "cpu":
        want = BACKEND
    if where.endswith(".isa") and BACKEND != "cpu":
        want = ""
    if want == "<any>" and isinstance(got, str) and got:
        return []
    if want == "<number>" and isinstance(got, (int, float)):
        return []
    if isinstance(want, float) and isinstance(got, (int, float)):
        return [] if abs(want - got) < 1e-4 else [f"{where}: {got}"]
    if type(want) is not type(got):
        return [f"{where}: {got!r} instead of {want!r}"]
    if isinstance(want, dict):
        if list(want) != list(got):
            return [f"{where}: keys {list(got)} instead of {list(want)}"]
        return [d for k in want
                for d in differences(want[k], got[k], f"{where}.{k}")]
    if isinstance(want, list):
        if len(want) != len(got):
            return [f"{where}: {len(got)} items instead of {len(want)}"]
        return [d for i, (w, g) in enumerate(zip(want, got))
                for d in differences(w, g, f"{where}[{i}]")]
    return [] if want == got else [f"{where}: {got!r} instead of {want!r}"]


def without_ties(answer, texts):
    """The answer with the first index of each text in place of its own: equal
    texts have equal scores, and so an order, on cpu alone."""
    if BACKEND == "cpu" or not texts:
        return answer
    if isinstance(answer, list):
        return [without_ties(item, texts) for item in answer]
    if isinstance(answer, dict):
        return {key: texts.index(texts[value]) if key == "index"
                else without_ties(value, texts)
                for key, value in answer.items()}
    return answer


@pytest.mark.parametrize("path", FIXTURES, ids=lambda p: p.stem)
def test_fixture(server, path):
    fixture = json.loads(path.read_text())
    request, want = fixture["request"], fixture["response"]
    body = request.get("body")
    if "text" in request:
        body = request["text"].encode()
    got = server.ask(request["method"], request["path"], body,
                     request.get("headers"))
    assert got.status == want["status"], got.data
    for name, value in want.get("headers", {}).items():
        assert name in got.headers, name
        assert value == "<any>" or got.headers[name] == value, name
    if "text" in want:
        assert want["text"] in ("<any>", got.data.decode())
    else:
        asked = body if isinstance(body, dict) else {}
        texts = asked.get("documents") or asked.get("texts")
        assert not differences(without_ties(want["body"], texts),
                               without_ties(got.json, texts)), got.data


def test_there_are_fixtures():
    assert len(FIXTURES) > 20


def test_a_difference_is_seen():
    want = {"a": [1.0, "<any>"], "b": "<number>"}
    assert not differences(want, {"a": [1.00001, "x"], "b": 3})
    for got in ({"a": [1.1, "x"], "b": 3}, {"a": [1.0, ""], "b": 3},
                {"b": 3, "a": [1.0, "x"]}, {"a": [1.0], "b": 3},
                {"a": [1.0, "x"], "b": None}):
        assert differences(want, got)
