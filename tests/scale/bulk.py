"""What tests of bulk scoring share: input of every kind, runs, and how to find
and kill a worker at work."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINDING = ROOT / "bindings/python"

# As an engine is chosen, with two workers of one lane each where it has any.
ENGINES = {
    "local": ["--engine", "local", "--threads", "2"],
    "spark": ["--engine", "spark", "--master", "local-cluster[2,1,1024]"],
    "ray": ["--engine", "ray", "--threads", "1"],
}


class Bulk:
    """Runs of python -m crossrank.bulk, with folders of their own for what
    Spark and Ray leave behind."""

    def __init__(self, build, home, slower):
        self.seconds = 200 * slower
        library = "libcrossrank.dylib" if sys.platform == "darwin" \
            else "libcrossrank.so"
        self.environment = dict(
            os.environ, PYTHONPATH=str(BINDING), HOME=str(home),
            CROSSRANK_LIBRARY=str(build / library),
            PYTHONDONTWRITEBYTECODE="1",
            # All on loopback, and nothing is told to anybody.
            SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_DIRS=str(home),
            SPARK_WORKER_DIR=str(home), RAY_TMPDIR=str(home),
            RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
        self.environment.pop("CROSSRANK_MODEL", None)

    @contextlib.contextmanager
    def running(self, engine, *arguments):
        """A running one; what is left of it at the end is killed, with all
        the processes that it started."""
        with subprocess.Popen(
                [sys.executable, "-m", "crossrank.bulk", *ENGINES[engine],
                 *map(str, arguments)], env=self.environment, text=True,
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                start_new_session=True) as process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                # Ray's workers are in sessions of their own, and may finish a
                # part before they notice.
                home = b"HOME=" + os.fsencode(self.environment["HOME"])
                wait_for(lambda: not kill_all(home))

    def end(self, process):
        """Its exit status and the lines of its standard error."""
        _, printed = process.communicate(timeout=self.seconds)
        return process.returncode, printed.splitlines()

    def __call__(self, engine, *arguments):
        with self.running(engine, *arguments) as process:
            return self.end(process)


# ---- Output -----------------------------------------------------------------


def parts_in(out):
    """The files that readers of OUT see, in their order; a run may go on
    meanwhile, and its temporary folder vanish."""
    found = []
    for folder, folders, names in os.walk(out):
        folders[:] = [name for name in folders if name != "_temporary"]
        found += [pathlib.Path(folder, name) for name in names
                  if name.endswith(".parquet")]
    return sorted(found)


def read(out):
    return pa.concat_tables(pq.read_table(path) for path in parts_in(out))


def check(out, table, scores, reasons):
    """OUT is complete: rows and order of the table, scores to the bit."""
    found = read(out)
    assert found.column_names == [*table.column_names, "score", "reason"]
    assert found.select(table.column_names).equals(table)
    assert found["reason"].to_pylist() == reasons
    has_score = np.array([reason is None for reason in reasons])
    assert found["score"].is_valid().to_numpy().tolist() == has_score.tolist()
    got = found["score"].to_numpy()[has_score].astype(np.float32)
    assert got.tobytes() == np.asarray(scores, np.float32)[has_score].tobytes()
    counts = json.loads((out / "_SUCCESS").read_text())
    assert (counts["rows"], counts["null_scores"]) \
        == (len(table), int((~has_score).sum()))
    assert not (out / "_temporary").exists()


# ---- Workers ----------------------------------------------------------------


def wait_for(what, seconds=400):
    """The first true value of what()."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"{what} did not come true"
        time.sleep(0.005)
    return value


def at_work(out):
    """(part, process) of the workers that have begun a part."""
    try:
        names = os.listdir(out / "_temporary")
    except FileNotFoundError:
        return []
    return [(name.split(".parquet.")[0] + ".parquet",
             int(name.rsplit(".", 2)[1])) for name in names]


def parent(process):
    text = pathlib.Path(f"/proc/{process}/stat").read_text()
    return int(text.rsplit(")", 1)[1].split()[1])


def command(process):
    data = pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
    return data.replace(b"\0", b" ").decode()


def kill_all(variable):
    """kill -9 to all processes with this variable in their environment, which
    a zombie has no more. How many there were."""
    found = 0
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if variable in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
                found += 1
    return found


def is_done(out, part):
    return part in {path.name for path in parts_in(out)}


def kill_one(out, engine):
    """kill -9 to a worker in the midst of a part, after another part was
    done: of Spark with its executor, of Ray its actor. The part's name."""
    def kill():
        for part, worker in at_work(out) if parts_in(out) else []:
            try:
                os.kill(worker, signal.SIGSTOP)
            except ProcessLookupError:
                continue
            time.sleep(0.05)  # a rename that has begun ends
            if is_done(out, part):
                os.kill(worker, signal.SIGCONT)
                continue
            process = worker
            while engine == "spark" and \
                    "CoarseGrainedExecutorBackend" not in command(process):
                process = parent(process)
            for one in {process, worker}:
                os.kill(one, signal.SIGKILL)
            return part
        return None
    return wait_for(kill)
