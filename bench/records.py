"""What the benchmarks in Python share: where things are, what machine it is,
and how results are kept."""

import datetime
import json
import os
import pathlib
import platform
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "models/crossrank-minilm-l6"
SHARED = pathlib.Path(os.environ.get("CROSSRANK_SHARED",
                                     ROOT.parent / "shared"))
PAIRS = "data/msmarco-bench/pairs.dl22.bm25top100.tsv"  # of SHARED


def cpuinfo(pattern):
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
        return re.search(pattern, text)[1].strip()
    except (OSError, TypeError):
        return None


def cpu_name():
    return (cpuinfo(r"model name\s*: (.*)") or platform.processor()
            or platform.machine())


def machine():
    return {"cpu": cpu_name(), "cpu_family": cpuinfo(r"cpu family\s*: (.*)"),
            "cpu_model": cpuinfo(r"model\s*: (\d+)"), "cpus": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "load": os.getloadavg()}


def commit(folder):
    """The commit that last changed what is measured."""
    got = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h", "--",
                          folder], capture_output=True, text=True)
    return got.stdout.strip() or None


def measure_peak():
    """GFLOPS of all threads, by precision; None where there is nothing."""
    info = json.loads(subprocess.run(
        [ROOT / "build/crossrank", "info", "--peak", "--json"],
        check=True, capture_output=True).stdout)
    return {dtype: of and of["all_threads"]
            for dtype, of in info["peak_gflops"].items()}


def read_pairs(shared, limit=None):
    """[(query, passage)] of MS MARCO, the first `limit`."""
    with open(shared / PAIRS, encoding="utf-8") as lines:
        rows = [tuple(line.rstrip("\n").split("\t")[-2:])
                for line, _ in zip(lines, range(limit or 10**9))]
    return rows


def keep(kind, what, folder, **record):
    """Writes results/KIND-CPU-FAMILY-MODEL.json, as virtual CPUs of many
    kinds have one name; `folder` is what was measured."""
    described = machine()
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(
        described[key] or "" for key in ("cpu", "cpu_family", "cpu_model"))
        .lower()).strip("-")
    out = ROOT / f"bench/results/{kind}-{slug}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({
        "what": what, "when": datetime.date.today().isoformat(),
        "commit": commit(folder), "machine": machine(), **record},
        indent=1) + "\n")
    print(f"kept in {out.relative_to(ROOT)}")
