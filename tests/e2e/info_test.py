"""crossrank info: what it says is what runs."""

import hashlib
import json

import pytest


def info(crossrank, *arguments):
    done = crossrank("info", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_facts(crossrank, root):
    told = info(crossrank)
    for key in ("version", "isa", "isa_available", "threads", "dtype",
                "backends", "model"):
        assert key in told
    assert told["isa"] == told["isa_available"][0]
    assert "cpu" in told["backends"] and told["backend"] == "cpu"
    assert told["threads"] >= 1
    assert told["dtype"] in ("fp32", "bf16", "int8")
    model = told["model"]
    folder = root / "models" / "crossrank-minilm-l6"
    assert model["name"] == "crossrank-minilm-l6"
    assert model["sha256"] == hashlib.sha256(
        (folder / "model.safetensors").read_bytes()).hexdigest()
    config = json.loads((folder / "config.json").read_text())
    assert model["layers"] == config["num_hidden_layers"]
    assert model["hidden"] == config["hidden_size"]
    assert model["heads"] == config["num_attention_heads"]
    assert model["max_length"] == 512
    assert told["limits"]["line_bytes"] == 32 << 20
    assert told["memory_bytes"]["weights"] > 1e6
    assert "peak_gflops" not in told


def test_options_are_told(crossrank):
    told = info(crossrank, "--threads", "3", "--dtype", "fp32",
                "--max-length", "128", "--truncation", "only_second")
    assert told["threads"] == 3 and told["threads_from"] == "--threads"
    assert told["dtype"] == "fp32" and told["dtype_from"] == "--dtype"
    assert told["dtype_reason"] == "asked for"
    assert told["model"]["max_length"] == 128
    assert told["model"]["truncation"] == "only_second"


def test_auto_dtype_is_explained(crossrank):
    for isa, dtype, reason in (
            ("ref", "fp32", "no instructions for bf16"),
            ("amx", "bf16", "has instructions for bf16"),
            ("avx512bf16", "bf16", "has instructions for bf16"),
            ("avx512vnni", "fp32", ("no instructions for bf16",
                                    "instructions for bf16 are slower")),
            ("neonbf16", "bf16", "has instructions for bf16")):
        if isa not in info(crossrank)["isa_available"]:
            continue
        told = info(crossrank, "--isa", isa)
        assert told["dtype"] == dtype and told["dtype_from"] == "auto"
        reasons = (reason,) if isinstance(reason, str) else reason
        assert any(reason in told["dtype_reason"] for reason in reasons)
    told = info(crossrank)  # what it takes by itself
    assert told["isa"] == told["isa_available"][0]
    slow = "instructions for bf16 are slower" in told["dtype_reason"]
    assert slow == ("avx512bf16" in told["isa_available"]
                    and told["isa"] == "avx512vnni")


def test_text(crossrank):
    text = crossrank("info").stdout.decode()
    assert "crossrank-minilm-l6" in text and "threads" in text


def test_peak(crossrank, slower):
    if slower > 1:
        pytest.skip("a speed under a sanitizer says nothing")
    told = info(crossrank, "--peak", "--threads", "2")
    assert set(told["peak_gflops"]) == {"fp32", "bf16", "int8"}
    for kind, peak in told["peak_gflops"].items():
        if peak is None:
            continue
        assert 0.05 < peak["one_thread"] < 1e6
        assert 0.05 < peak["all_threads"] < 1e6
    if set(told["isa_available"]) & {"avx2", "neon"}:
        assert told["peak_gflops"]["fp32"] is not None
