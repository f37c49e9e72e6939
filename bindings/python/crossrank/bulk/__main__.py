"""The command line: python -m crossrank.bulk."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossrank._errors import ArgumentError, CrossrankError
from crossrank.bulk._job import Columns, exit_code_of

if TYPE_CHECKING:
    from crossrank.bulk._run import Engine, Outcome

ABOUT = """\
Scores the (query, passage) pairs of Parquet files. OUT gets the rows of IN, in
their order, with a score and, where that is null, a reason; it is complete if
and only if it has a file named _SUCCESS. A run that was stopped goes on when it
is started again, with any engine; it refuses another input or other settings.

Exit status: 0 done; 1 done, some scores are null; 2 usage; 3 bad input or
model; 4 engine, backend, device, dtype or ISA not available; 130 interrupted.
The last line on standard error is pairs_per_second=N, without start-up; 0 where
nothing was left to score."""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m crossrank.bulk", description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("source", metavar="IN", help="a Parquet file, or a folder of them; "
        "or a URI that Arrow opens, such as s3://bucket/folder")
    add("target", metavar="OUT", help="a folder, new or of the same run")
    add("--engine", choices=("local", "spark", "ray"), default="local",
        help="who scores (default: this process)")
    add("--part-rows", type=_positive, default=50000, metavar="N",
        help="rows of one file of OUT, at most (default %(default)s): what is "
        "lost at most where a worker is killed")

    columns = parser.add_argument_group("columns")
    for name in ("query", "passage", "score", "reason"):
        columns.add_argument(f"--{name}-column", default=name, metavar="NAME")

    model = parser.add_argument_group("model, as crossrank.CrossEncoder's")
    for name in ("model", "revision", "backend", "device", "dtype", "isa",
                 "truncation", "activation"):
        model.add_argument(f"--{name}", metavar="NAME")
    model.add_argument("--max-length", type=_positive, metavar="N")
    model.add_argument(
        "--threads", type=_positive, default=0, metavar="N",
        help="lanes of a worker's model: cores that it asks the engine for "
        "(default: all of an executor or a node)")

    spark = parser.add_argument_group("engine spark")
    spark.add_argument("--master", metavar="URL")
    spark.add_argument("--conf", action="append", default=[], type=_setting,
                       metavar="NAME=VALUE", help="may be given again")
    ray = parser.add_argument_group("engine ray")
    ray.add_argument("--address", help="of the cluster (default: "
                     "$RAY_ADDRESS, else one of this machine alone)")
    ray.add_argument("--workers", type=_positive, default=0, metavar="N",
                     help="actors (default: as many as there are CPUs for)")
    given = parser.parse_args(arguments)
    for engine, names in (("spark", ("master", "conf")),
                          ("ray", ("address", "workers"))):
        for name in names:
            if given.engine != engine and getattr(given, name):
                parser.error(f"--{name} is of --engine {engine}")
    return given


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 or more")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


def _model(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of CrossEncoder, but threads."""
    named = {name: getattr(given, name)
             for name in ("model", "revision", "backend", "device", "dtype",
                          "isa", "truncation", "max_length")}
    named["activation_fn"] = given.activation
    if named["model"] and os.path.isdir(named["model"]):
        named["model"] = os.path.abspath(named["model"])
    return {name: value for name, value in named.items() if value is not None}


def _engine(given: argparse.Namespace) -> Engine:
    if given.engine == "spark":
        from crossrank.bulk import _spark
        return _spark.engine(given.master, dict(given.conf), given.threads)
    if given.engine == "ray":
        from crossrank.bulk import _ray
        return _ray.engine(given.address, given.workers, given.threads)
    from crossrank.bulk import _local
    return _local.score


# ---- What is printed --------------------------------------------------------


def _say(text: str) -> None:
    print(f"crossrank: {text}", file=sys.stderr)


def _report(outcome: Outcome) -> None:
    if sys.stderr.isatty():
        done = outcome.n_done_before + len(outcome.results)
        sys.stderr.write(f"\rcrossrank: {done} of {outcome.n_parts} parts")
        sys.stderr.flush()


def _conclude(outcome: Outcome) -> int:
    """The closing lines, and the exit status."""
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    for failure in outcome.failures[:10]:
        _say(failure.error)
    if outcome.failures:
        _say(f"{len(outcome.failures)} of {outcome.n_parts} parts cannot be "
             "scored, so OUT is not complete: mend the cause and start again; a "
             "changed input needs another OUT")
        return max(failure.exit_code for failure in outcome.failures)
    before = f", {outcome.n_done_before} of them before" \
        if outcome.n_done_before else ""
    _say(f"{outcome.n_rows} rows in {outcome.n_parts} parts{before}; "
         f"workers: {len(outcome.workers)}, "
         f"lanes: {sum(outcome.workers.values())}")
    if outcome.n_null:
        _say(f"{outcome.n_null} rows have no score; the reason is beside it")
    print(f"pairs_per_second={outcome.pairs_per_second:.6g}", file=sys.stderr)
    return 1 if outcome.n_null else 0


def main(arguments: Sequence[str]) -> int:
    given = parse(arguments)
    columns = Columns(given.query_column, given.passage_column,
                      given.score_column, given.reason_column)
    try:
        from crossrank.bulk._files import absolute
        from crossrank.bulk._run import run
        threads = given.threads if given.engine == "local" else 1
        return _conclude(run(
            absolute(given.source), absolute(given.target), columns,
            _model(given), threads, given.part_rows, _engine(given), _report))
    except KeyboardInterrupt:
        _say("interrupted; start again to go on with what is not done")
        return 130
    except (CrossrankError, OSError) as error:
        _say(str(error))
        if isinstance(error, ArgumentError):
            return 2
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
