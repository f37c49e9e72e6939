"""Models whose tokenizer is byte-level BPE or Unigram: what is refused, and
how, where the component `tokenizers` is not there or the files disagree. What
it makes of texts is tests/parity/hf_parity_test.py's."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers import message_of

PAIR = b"what is gelato\tgelato is frozen\n"
OTHER_BUILD = """
const struct { const char *build_id; const void *ops; }
crossrank_hf_module = {"0.0.0-of-somebody-else", 0};
"""


@pytest.fixture(scope="module")
def model(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    subprocess.run([sys.executable, root / "tools/make_tiny_model.py", folder,
                    "--kind", "roberta", "--tokenizer", "bpe", "--types", "1"],
                   check=True)
    return folder


@pytest.fixture
def run(crossrank, model):
    """The program on the model, or a changed one; modules: where alone
    modules are."""
    def run(*arguments, folder=model, modules=None, stdin=PAIR):
        env = {**os.environ, "CROSSRANK_MODEL": str(folder)}
        if modules:
            env["CROSSRANK_BACKEND_PATH"] = str(modules)
        return crossrank(*arguments, env=env, stdin=stdin)
    return run


@pytest.mark.parametrize("command", [
    ["score", "-"], ["tokenize", "-"], ["rank", "--query", "q", "-"],
    ["info"], ["serve", "--port", "0"]], ids=lambda c: c[0])
def test_without_the_component_it_is_refused(command, run, tmp_path):
    done = run(*command, modules=tmp_path)
    assert done.returncode == 4
    assert done.stdout == b""
    message = message_of(done)
    for part in ("tokenizer.json", "tokenizers", str(tmp_path),
                 "./run deps-tokenizers"):
        assert part in message


def test_info_tells_that_it_is_missing(crossrank, tmp_path):
    env = {**os.environ, "CROSSRANK_BACKEND_PATH": str(tmp_path)}
    told = json.loads(crossrank("info", "--json", env=env).stdout)
    assert told["components"] == {}
    assert "./run deps-tokenizers" in told["missing_components"]["tokenizers"]
    assert b"missing    component 'tokenizers'" in crossrank(
        "info", env=env).stdout


def test_info_tells_that_it_is_there(crossrank, hf_tokenizers):
    told = json.loads(crossrank("info", "--json").stdout)
    assert told["components"]["tokenizers"][0].isdigit()
    assert told["missing_components"] == {}
    assert b"there is   tokenizers " in crossrank("info").stdout


def test_component_of_another_build_is_refused(run, tmp_path):
    compiler = next(filter(shutil.which, ("clang", "gcc", "cc")), None)
    if not compiler:
        pytest.skip("no C compiler: install clang or gcc")
    (tmp_path / "other.c").write_text(OTHER_BUILD)
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "other.c", "-o",
                    tmp_path / "libcrossrank-tokenizers.so"], check=True)
    done = run("score", "-", modules=tmp_path)
    assert done.returncode == 4
    assert "of another build (0.0.0-of-somebody-else)" in message_of(done)


# (file, path of a field, value, what the message says); those below the line
# need the component.
EARLY = [
    ("config.json", ["auto_map"],
     {"AutoModelForSequenceClassification": "m.M"}, "Python code"),
    ("tokenizer_config.json", ["tokenizer_class"], "JinaTokenizer",
     "tokenizer_class"),
    ("tokenizer_config.json", ["model_max_length"], 3, "model_max_length"),
    ("tokenizer_config.json", ["truncation_side"], "left", "truncation_side"),
    ("tokenizer_config.json", ["add_prefix_space"], True, "add_prefix_space"),
    ("tokenizer.json", ["model", "dropout"], 0.1, "model.dropout"),
    ("tokenizer.json", ["truncation"], {"direction": "Left"},
     "truncation.direction"),
]
LATE = [
    ("tokenizer.json", ["model", "merges"], ["no merge"], "refuses it"),
    ("tokenizer.json", ["post_processor"], None, "post_processor"),
    ("tokenizer_config.json", ["sep_token"], "<s>", "sep_token"),
    ("tokenizer_config.json", ["extra_special_tokens"], ["[Q]"], "[Q]"),
    ("tokenizer_config.json", ["added_tokens_decoder"],
     {"7": {"content": "<mask>"}}, "<mask>"),
    ("config.json", ["vocab_size"], 100, "vocab_size"),
]


def check_refusal(run, model, folder, row):
    name, path, value, expected = row
    shutil.copytree(model, folder, dirs_exist_ok=True)
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    if path == ["vocab_size"]:  # the weights with it
        shrink_embeddings(folder, value)
    done = run("score", "-", folder=folder)
    assert done.returncode == 3, done.stderr
    assert done.stdout == b""
    assert expected in message_of(done)


def shrink_embeddings(folder, rows):
    """Fewer rows of the vocabulary, as a file of another model has."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    name = "roberta.embeddings.word_embeddings.weight"
    begin, end = header[name]["data_offsets"]
    width = header[name]["shape"][1]
    gone = end - begin - rows * width * 4
    body = data[8 + size:]
    body = body[:end - gone] + body[end:]
    header[name]["shape"][0] = rows
    for tensor in header.values():
        offsets = tensor["data_offsets"]
        tensor["data_offsets"] = [o - gone if o >= end else o for o in offsets]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize("row", EARLY, ids=lambda r: r[1][-1])
def test_folders_are_refused(row, run, model, tmp_path):
    check_refusal(run, model, tmp_path, row)


@pytest.mark.parametrize("row", LATE, ids=lambda r: r[1][-1])
def test_folders_are_refused_after_reading(row, run, model, tmp_path,
                                           hf_tokenizers):
    check_refusal(run, model, tmp_path, row)


def test_other_vocabularies_are_told_how_to_convert(run, model, tmp_path):
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").unlink()
    done = run("score", "-", folder=tmp_path)
    assert done.returncode == 3
    assert "save_pretrained" in message_of(done)


def test_bert_has_wordpiece_alone(run, root, tmp_path):
    subprocess.run([sys.executable, root / "tools/make_tiny_model.py",
                    tmp_path, "--tokenizer", "bpe"], check=True)
    done = run("score", "-", folder=tmp_path)
    assert done.returncode == 3
    assert "BertTokenizer" in message_of(done)
