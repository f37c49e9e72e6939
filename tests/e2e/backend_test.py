"""Backends that are modules: what is found, refused and told, and the server
over the mlx backend where this build has it."""

import json
import os
import shutil
import subprocess

import pytest

from helpers import message_of
from serve import Server, words
from shapes_of_requests import distinct_shapes

OTHER_BUILD = """
const struct { const char *build_id; const void *ops; }
crossrank_backend_module = {"0.0.0-of-somebody-else", 0};
"""
PAIR = b"what is gelato\tgelato is frozen\n"


@pytest.fixture(scope="module")
def tiny(crossrank, tiny_model):
    """The program on the small model, with nothing chosen by the environment;
    folder: where alone modules are."""
    def run(*arguments, folder=None, **options):
        env = {**os.environ, "CROSSRANK_MODEL": str(tiny_model),
               "CROSSRANK_BACKEND": "", "CROSSRANK_DEVICE": ""}
        if folder:
            env["CROSSRANK_BACKEND_PATH"] = str(folder)
        return crossrank(*arguments, env=env, **options)

    return run


@pytest.fixture(scope="module")
def mlx(build):
    if not (build / "libcrossrank-mlx.so").is_file():
        pytest.skip("this build has no mlx backend: ./run deps-mlx, then "
                    "build with -Dmlx=enabled")


def test_missing_module_says_how_to_get_it(tiny, tmp_path):
    done = tiny("score", "--backend", "mlx", "-", stdin=PAIR, folder=tmp_path)
    assert done.returncode == 4
    assert done.stdout == b""
    assert "./run deps-mlx" in message_of(done)
    assert str(tmp_path) in message_of(done)


def test_info_tells_what_is_missing(tiny, tmp_path):
    info = json.loads(tiny("info", "--json", folder=tmp_path).stdout)
    assert info["backends"] == ["cpu"]
    assert info["devices"] == {"cpu": ["cpu"]}
    assert "./run deps-mlx" in info["missing_backends"]["mlx"]
    text = tiny("info", folder=tmp_path).stdout.decode()
    assert "missing    backend 'mlx' is not there" in text


def test_unknown_backend(tiny):
    done = tiny("score", "--backend", "abacus", "-", stdin=PAIR)
    assert done.returncode == 4
    assert "cpu or mlx" in message_of(done)


def test_module_of_another_build_is_refused(tiny, tmp_path):
    compiler = next(filter(shutil.which, ("clang", "gcc", "cc")), None)
    if not compiler:
        pytest.skip("no C compiler: install clang or gcc")
    (tmp_path / "other.c").write_text(OTHER_BUILD)
    subprocess.run([compiler, "-shared", "-fPIC", tmp_path / "other.c", "-o",
                    tmp_path / "libcrossrank-mlx.so"], check=True)
    done = tiny("score", "--backend", "mlx", "-", stdin=PAIR, folder=tmp_path)
    assert done.returncode == 4
    assert "another build (0.0.0-of-somebody-else)" in message_of(done)
    info = json.loads(tiny("info", "--json", folder=tmp_path).stdout)
    assert info["backends"] == ["cpu"]


def test_file_that_is_no_module(tiny, tmp_path):
    (tmp_path / "libcrossrank-mlx.so").write_bytes(b"no library")
    done = tiny("score", "--backend", "mlx", "-", stdin=PAIR,
                folder=tmp_path)
    assert done.returncode == 4
    assert "does not load" in message_of(done)


def test_backend_from_the_environment(tiny, crossrank):
    env = {**os.environ, "CROSSRANK_BACKEND": "abacus"}
    done = crossrank("score", "-", stdin=PAIR, env=env)
    assert done.returncode == 4 and "abacus" in message_of(done)
    env = {**os.environ, "CROSSRANK_DEVICE": "loom"}
    done = crossrank("score", "--backend", "cpu", "-", stdin=PAIR, env=env)
    assert done.returncode == 4 and "loom" in message_of(done)
    env["CROSSRANK_BACKEND"] = "abacus"
    options = ("--backend", "cpu", "--device", "cpu")
    done = crossrank("score", *options, "-", stdin=PAIR, env=env)
    assert done.returncode == 0, message_of(done)
    assert tiny("score", "-", stdin=PAIR).returncode == 0  # both are empty


# ---- With MLX ---------------------------------------------------------------

def test_info_says_what_runs(mlx, tiny):
    info = json.loads(tiny("info", "--json", "--backend", "mlx", "--device",
                           "cpu").stdout)
    assert "mlx" in info["backends"] and info["missing_backends"] == {}
    assert (info["backend"], info["device"], info["dtype"], info["isa"]) == \
        ("mlx", "cpu", "fp32", "")
    assert "cpu" in info["devices"]["mlx"]


@pytest.mark.parametrize("options, says", [
    (("--device", "tpu"), "use cpu or gpu"),
    (("--device", "cpu", "--dtype", "int8"), "fp32, fp16 or bf16"),
    (("--device", "cpu", "--isa", "ref"), "means nothing to backend mlx"),
])
def test_what_mlx_has_not(mlx, tiny, options, says):
    done = tiny("score", "--backend", "mlx", *options, "-", stdin=PAIR)
    assert done.returncode == 4
    assert done.stdout == b""
    assert says in message_of(done)


@pytest.mark.parametrize("device", ["gpu", "mps", "metal", "cuda"])
def test_gpu_that_is_not_there(mlx, tiny, device):
    info = json.loads(tiny("info", "--json").stdout)
    if "gpu" in info["devices"]["mlx"]:
        pytest.skip("this MLX has a GPU")
    done = tiny("score", "--backend", "mlx", "--device", device, "-",
                stdin=PAIR)
    assert done.returncode == 4
    assert "has no GPU" in message_of(done) and "brew" in message_of(done)


def test_model_path_with_percent_signs(mlx, crossrank, tiny_model, tmp_path):
    folder = tmp_path / "%d%s%n %x"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    options = ("--model", folder, "--backend", "mlx", "--device", "cpu", "-")
    done = crossrank("score", *options, stdin=PAIR)
    assert done.returncode == 3
    assert "%d%s%n %x" in message_of(done)
    shutil.copy(tiny_model / "model.safetensors", folder)
    assert crossrank("score", *options, stdin=PAIR).returncode == 0


@pytest.fixture(scope="module")
def server(mlx, build, slower, tiny_model):
    s = Server(build / "crossrank", slower, model=tiny_model, backend="mlx",
               device="cpu", max_documents=2000, threads=2)
    yield s
    assert s.stop() == 0


def ask(server, lengths, seed=1):
    body = {"query": "water river", "documents":
            [words(n, seed + i) for i, n in enumerate(lengths)]}
    answer = server.post("/v1/rerank", body)
    assert answer.status == 200, answer.data
    return [r["index"] for r in answer.json["results"]]


def test_server_says_what_runs(server):
    facts = server.get("/info").json["crossrank"]
    assert (facts["backend"], facts["device"], facts["dtype"]) == \
        ("mlx", "cpu", "fp32")
    assert facts["lanes"] == 1
    assert server.stats()["lanes"] == 1
    assert server.stats()["gpu_memory"] is None


def test_server_ranks_and_counts_padding(server, tiny):
    before = server.stats()
    lengths = [3, 30, 7, 1]
    order = ask(server, lengths)
    after = server.stats()
    pairs = "".join(f"water river\t{words(n, 1 + i)}\n"
                    for i, n in enumerate(lengths))
    done = tiny("tokenize", "-", stdin=pairs.encode())
    tokens = [len(json.loads(line)["ids"]) for line in
              done.stdout.splitlines()]
    steps = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    all_tokens = sum(min(s for s in steps if s >= n) for n in tokens)
    assert all_tokens > sum(tokens)
    assert after["tokens_real"] - before["tokens_real"] == sum(tokens)
    assert after["tokens_padded"] - before["tokens_padded"] == \
        all_tokens - sum(tokens)
    done = tiny("score", "--backend", "cpu", "-", stdin=pairs.encode())
    scores = [float(line) for line in done.stdout.splitlines()]
    assert order == sorted(range(4), key=lambda i: (-scores[i], i))


def test_server_reloads(server):
    answer = server.post("/admin/reload", {})
    assert answer.status == 200, answer.data
    assert sorted(ask(server, [3, 4])) == [0, 1]


def test_memory_is_bounded_over_many_shapes(server):
    """Requests no two of which are alike in shape: after the first, which is
    the largest, and the first few hundred they add nothing. Many more, on the
    shipped model, with figures: bench/mlx_memory.py."""
    begin, first, last = {}, {}, {}
    for i, shape in enumerate(distinct_shapes(600, 12, 60), 1):
        ask(server, shape)
        memory = server.stats()["backend_memory"]
        assert memory["cache_bytes"] <= memory["cache_limit_bytes"]
        if i == 1:
            begin = memory
        if i == 300:
            first = memory
        last = memory
    assert last["active_bytes"] == begin["active_bytes"]
    assert last["peak_bytes"] <= first["peak_bytes"] * 1.1
