"""crossrank tokenize: its output, beside what score does with the same."""

import json

import pytest

from helpers import message_of

KEYS = ["ids", "type_ids", "tokens", "offsets", "truncated"]


def lines_of(done):
    assert done.returncode == 0, message_of(done)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_output(crossrank):
    told, = lines_of(crossrank("tokenize", "-",
                               stdin="Na\u00efve Query\tPassages!\n".encode()))
    assert list(told) == KEYS
    assert told["tokens"] == ["[CLS]", "naive", "query", "[SEP]", "passages",
                              "!", "[SEP]"]
    assert told["ids"][0] == 101 and told["ids"][-1] == 102
    assert told["type_ids"] == [0, 0, 0, 0, 1, 1, 1]
    assert told["offsets"] == [[0, 0], [0, 5], [6, 11], [0, 0], [0, 8],
                               [8, 9], [0, 0]]
    assert told["truncated"] == 0


def test_truncation(crossrank):
    line = b"a b c d e f\tg h i j k l m n\n"
    cut, = lines_of(crossrank("tokenize", "--max-length", "10", "-",
                              stdin=line))
    assert len(cut["ids"]) == 10 and cut["truncated"] == 7
    assert cut["tokens"].count("[SEP]") == 2
    # Both sides are longer than half: the passage keeps the odd token.
    assert cut["type_ids"].count(0) == 2 + 3
    only, = lines_of(crossrank("tokenize", "--max-length", "10",
                               "--truncation", "only_second", "-",
                               stdin=line))
    assert only["tokens"][1:7] == list("abcdef") and only["truncated"] == 7
    assert only["tokens"][8:9] == ["g"]


def test_one_line_each(crossrank):
    told = lines_of(crossrank("tokenize", "-", stdin=b"a\tb\n\t\nc\t\n"))
    assert [t["tokens"] for t in told] == [
        ["[CLS]", "a", "[SEP]", "b", "[SEP]"], ["[CLS]", "[SEP]", "[SEP]"],
        ["[CLS]", "c", "[SEP]", "[SEP]"]]
    assert crossrank("tokenize", "-").stdout == b""


def test_bad_lines(tiny):
    done = tiny("tokenize", "-", stdin=b"a\tb\nc\nd\te\n")
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) == 1
    assert message_of(done).startswith("<stdin>:2: ")
    done = tiny("tokenize", "--skip-errors", "-",
                     stdin=b"a\tb\nc\nd\te\n")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1] == b"null"


def test_agrees_with_tokenizers(crossrank, root, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    folder = root / "models" / "crossrank-minilm-l6"
    reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    data = root / "data" / "novel"
    queries = [json.loads(line)["text"]
               for line in (data / "queries.jsonl").open()]
    passages = [json.loads(line)["text"]
                for line in (data / "corpus.jsonl").open()]
    pairs = [(queries[i % len(queries)], p) for i, p in enumerate(passages)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"query": q, "passage": p}) + "\n"
                            for q, p in pairs))
    told = lines_of(crossrank("tokenize", path))
    whole = [len(reference.encode(*pair)) for pair in pairs]
    reference.enable_truncation(512)
    for line, pair, n_whole in zip(told, pairs, whole, strict=True):
        wanted = reference.encode(*pair)
        assert line["ids"] == wanted.ids
        assert line["type_ids"] == wanted.type_ids
        assert line["tokens"] == wanted.tokens
        assert line["offsets"] == [list(o) for o in wanted.offsets]
        assert line["truncated"] == max(0, n_whole - 512)
