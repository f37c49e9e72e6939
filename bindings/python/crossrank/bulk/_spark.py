"""Engine spark: one task a part, one task at a time on an executor.

A task asks for all the cores of its executor, so that Spark keeps one Python
process on each, which opens the model once and scores with as many lanes. Rows
do not pass through Spark: a task is given the number of its part and gives
back what became of it; the files are read and written where it runs.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .._encoder import CrossEncoder
from .._errors import ArgumentError, CrossrankError, UnavailableError
from ._job import Job, Part, Result
from ._need import need
from ._score import score_part

pa = need("pyarrow", "bulk")
pyspark = need("pyspark", "spark")
sql = need("pyspark.sql", "spark")

SCHEMA = ("index long, worker string, threads long, n_rows long, n_null long, "
          "began double, ended double, error string, exit_code long")
CORES, TASK_CPUS = "spark.executor.cores", "spark.task.cpus"
FAILURES = (pyspark.errors.PySparkException,
            need("py4j.protocol", "spark").Py4JError)


class SparkError(CrossrankError):
    """Spark gave up: a task failed too often, or there are no executors."""


def engine(master: str | None, settings: Mapping[str, str],
           threads: int) -> Callable[..., Iterator[Result]]:
    def score(job: Job, parts: Sequence[Part],
              encoder: CrossEncoder) -> Iterator[Result]:
        encoder.close()
        try:
            session = _open(master, settings, threads)
        except FAILURES as error:
            raise UnavailableError(f"Spark does not start: {error}") from error
        try:
            yield from _score(session, job, parts)
        finally:
            session.stop()
    return score


def _score(session: Any, job: Job, parts: Sequence[Part]) -> list[Result]:
    shared = session.sparkContext.broadcast(list(parts))

    def score_rows(batches: Iterator[Any]) -> Iterator[Any]:
        threads = pyspark.TaskContext.get().cpus()
        for batch in batches:
            for index in batch.column(0).to_pylist():
                result = score_part(job, shared.value[index], threads)
                yield pa.RecordBatch.from_pylist([asdict(result)])

    frame = session.range(0, len(parts), 1, len(parts)) \
        .mapInArrow(score_rows, SCHEMA)
    try:
        return [Result(**row.asDict()) for row in frame.collect()]
    except FAILURES as error:
        raise SparkError(f"Spark gave up: {error}") from error


# ---- The session ------------------------------------------------------------


def _open(master: str | None, settings: Mapping[str, str],
          threads: int) -> Any:
    """A session whose tasks take an executor each. What spark-submit or
    spark-defaults.conf set is kept."""
    given = pyspark.SparkConf(loadDefaults=False)
    if master:
        given.setMaster(master)
    for name, value in settings.items():
        given.set(name, value)
    # Starts the JVM, which knows what else is set.
    pyspark.SparkContext._ensure_initialized(conf=given)
    conf = pyspark.SparkConf()
    # The JVM's own default is to print it into files, too.
    conf.set("spark.ui.showConsoleProgress", str(sys.stderr.isatty()).lower())
    conf.setAll(given.getAll())
    conf.setIfMissing("spark.app.name", "crossrank.bulk")
    conf.setIfMissing("spark.master", "local[*]")
    master = conf.get("spark.master")
    cores = _executor_cores(master, conf.get(CORES, None), threads)
    conf.set(CORES, str(cores))
    conf.set(TASK_CPUS, str(cores))
    if master.startswith("local"):
        # Workers on this machine are of this Python.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    return sql.SparkSession.builder.config(conf=conf).getOrCreate()


def _executor_cores(master: str, configured: str | None, threads: int) -> int:
    """Cores of an executor, all of which a task will ask for."""
    if inside := re.match(r"local-cluster\[\s*\d+\s*,\s*(\d+)", master):
        fixed: int | None = int(inside[1])
    elif inside := re.match(r"local(?:\[(\d+|\*))?", master):
        named = inside[1] or "1"
        fixed = len(os.sched_getaffinity(0)) if named == "*" else int(named)
    else:
        fixed = int(configured) if configured else None
    if fixed is None:
        if threads:
            return threads
        raise ArgumentError(
            "how many cores an executor has is not set: give --threads N or "
            f"--conf {CORES}=N")
    if threads not in (0, fixed):
        raise ArgumentError(
            f"--threads is {threads}, but an executor has {fixed} cores, all "
            "of which one model uses: leave --threads out")
    return fixed
