#!/usr/bin/env python3
"""Memory of the mlx backend over many distinct shapes of requests.

    .venv-tests/bin/python3 bench/mlx_memory.py [--build build-mlx]

A server on the mlx backend (device cpu) is asked to rank for 10,000 requests of
which no two have the same numbers of words. The model is one layer of the
default model's width with random weights, unless --model says another: arrays
have the shapes that they have in six layers, which follow one another. MLX's own figures (active, peak,
cache, and the limit that we set for it) and the server's resident memory are
read every hundred requests. All is kept in bench/results/mlx-memory.json; the
summary compares the first tenth with the rest."""

import argparse
import json
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

from serve import Server, words  # noqa: E402
from shapes_of_requests import distinct_shapes  # noqa: E402

EVERY, DOCUMENTS, LONGEST = 100, 4, 120
SHAPE = ("--layers", "1", "--heads", "12", "--hidden", "384", "--positions",
         "512")
MEMORY = ("active_bytes", "peak_bytes", "cache_bytes")


def resident(pid):
    for line in open(f"/proc/{pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS: is this Linux?")


def sample(server, n):
    memory = server.stats()["backend_memory"]
    return {"requests": n, **memory,
            "resident_bytes": resident(server.process.pid)}


def measure(server, n):
    connection = server.connect()
    rows, pairs = [], 0
    for i, shape in enumerate(distinct_shapes(n, DOCUMENTS, LONGEST), 1):
        answer = server.ask("POST", "/v1/rerank", {
            "query": "water river",
            "documents": [words(w, i + j) for j, w in enumerate(shape)],
        }, connection=connection)
        assert answer.status == 200, answer.data
        pairs += len(shape)
        if i % EVERY == 0 or i == n:
            rows.append(sample(server, i))
            print(json.dumps(rows[-1]), file=sys.stderr)
    connection.close()
    return rows, pairs


def summary(rows):
    """What was the most in the first tenth, and in the rest."""
    cut = max(1, len(rows) // 10)
    lines = []
    for name in (*MEMORY, "resident_bytes"):
        first = max(r[name] for r in rows[:cut])
        rest = max(r[name] for r in rows[cut:])
        lines.append(f"{name:15} first tenth {first / 2**20:8.2f} MiB   "
                     f"rest {rest / 2**20:8.2f} MiB   {rest / first:.4f}")
    limit = rows[0]["cache_limit_bytes"] / 2**20
    return lines + [f"limit of the cache {limit:.0f} MiB"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default="build-mlx")
    parser.add_argument("--shapes", type=int, default=10000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path,
                        default=ROOT / "bench/results/mlx-memory.json")
    parser.add_argument("--model", type=pathlib.Path)
    a = parser.parse_args()
    folder = tempfile.TemporaryDirectory()
    if not a.model:
        a.model = pathlib.Path(folder.name)
        subprocess.run([sys.executable, ROOT / "tools/make_tiny_model.py",
                        a.model, *SHAPE], check=True,
                       stdout=subprocess.DEVNULL)
    config = json.loads((a.model / "config.json").read_text())
    server = Server(a.build / "crossrank", 10, backend="mlx", device="cpu",
                    threads=a.threads, model=a.model)
    try:
        info, start = server.get("/info").json, time.monotonic()
        before = sample(server, 0)
        rows, pairs = measure(server, a.shapes)
        seconds, after = time.monotonic() - start, server.stats()
    finally:
        server.stop()
        folder.cleanup()
    a.out.write_text(json.dumps({
        "machine": platform.processor() or platform.machine(),
        "version": info["version"],
        **{k: info["crossrank"][k] for k in ("backend", "device", "dtype")},
        "model": {k: config[k] for k in ("num_hidden_layers", "hidden_size",
                                         "max_position_embeddings")},
        "shapes": a.shapes, "pairs": pairs, "seconds": round(seconds, 1),
        "tokens": after["tokens_real"], "padding": after["tokens_padded"],
        "before": before, "samples": rows}, indent=1) + "\n")
    print("\n".join(summary(rows)))
    print(f"{pairs} pairs in {a.shapes} shapes, {seconds:.0f} s")


if __name__ == "__main__":
    main()
