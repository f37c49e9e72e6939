"""A run from its beginning, or from where it was stopped, to its end.

The manifest says what the run is: its input, its settings, its parts. It is
written first and never again; a start that would write another is refused. A
part is done when its file is there, whole and marked as this run's. When all
are, ``_SUCCESS`` is written, with the counts: only then is OUT complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from .._encoder import CrossEncoder
from .._errors import ArgumentError, InputError
from ._files import TEMPORARY, Files, Found, is_hidden
from ._job import Columns, Job, Part, Result
from ._need import need
from ._score import NULLS_KEY, RUN_KEY, check_schema, identity_of, open_model

pa = need("pyarrow", "bulk")
pq = need("pyarrow.parquet", "bulk")

MANIFEST = "_manifest.json"
SUCCESS = "_SUCCESS"
FORMAT = 1
SUFFIXES = (".parquet", ".parq", ".pq")
# Footers are read so many at once: they are small, and may be far away.
READERS = 16

# Yields the results as they come. The open model is the engine's: it scores
# with it or closes it.
Engine = Callable[[Job, Sequence[Part], CrossEncoder], Iterable[Result]]


@dataclass
class Outcome:
    """What this start has done, and once OUT is complete, what is in it."""

    n_parts: int
    n_done_before: int
    results: list[Result] = field(default_factory=list)
    failures: list[Result] = field(default_factory=list)
    n_rows: int = 0
    n_null: int = 0

    def add(self, result: Result) -> None:
        (self.failures if result.error else self.results).append(result)

    @property
    def workers(self) -> dict[str, int]:
        """Lanes of each worker that has scored a part."""
        return {result.worker: result.threads for result in self.results}

    @property
    def pairs_per_second(self) -> float:
        """From the first worker's open model on; 0 if nothing was scored."""
        n_scored = sum(r.n_rows - r.n_null for r in self.results)
        if n_scored == 0:
            return 0.0
        began = min(result.began for result in self.results)
        ended = max(result.ended for result in self.results)
        return n_scored / max(ended - began, 1e-9)


# ---- Input ------------------------------------------------------------------


def _find_input(place: str) -> tuple[str, list[Found]]:
    """The folder of the input and its files, in order."""
    files = Files(place)
    if files.is_file():
        folder, name = posixpath.split(place)
        return folder, [Files(folder).find(name)]
    found = [one for one in files.list() if one.name.endswith(SUFFIXES)
             and not is_hidden(one.name)]
    if not found:
        raise InputError(f"{place}: no file named *.parquet is here or below: "
                         "IN is a Parquet file or a folder of them")
    return place, found


def _describe_input(folder: str, found: Sequence[Found],
                    columns: Columns) -> list[dict[str, Any]]:
    """What the manifest says of each file."""
    files = Files(folder)

    def describe(one: Found) -> dict[str, Any]:
        try:
            with contextlib.closing(files.open(one.name)) as file:
                opened = pq.ParquetFile(file)
                schema, n_rows = opened.schema_arrow, opened.metadata.num_rows
        except pa.ArrowInvalid as error:
            raise InputError(f"{one.name}: is not Parquet: {error}") from None
        check_schema(schema, columns, one.name)
        return {"name": one.name, "bytes": one.n_bytes,
                "modified": one.modified, "rows": n_rows}
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(describe, found))


def parts_of(described: Iterable[Mapping[str, Any]],
             part_rows: int) -> list[Part]:
    """Each file in parts of at most that many rows; a file of no rows is one
    part, for its columns. Sorted by name, the files of the output have the
    order of the input."""
    spans = [(file["name"], first, min(part_rows, file["rows"] - first))
             for file in described
             for first in range(0, max(file["rows"], 1), part_rows)]
    digits = max(6, len(str(len(spans))))
    return [Part(index, name, first, n, posixpath.join(
                posixpath.dirname(name), f"part-{index:0{digits}}.parquet"))
            for index, (name, first, n) in enumerate(spans)]


# ---- Manifest ---------------------------------------------------------------


def _begin(out: Files, manifest: Mapping[str, Any]) -> bool:
    """Writes the manifest or, where there is one, compares. Whether the run
    is complete already."""
    if not out.exists(MANIFEST):
        others = [found.name for found in out.list()
                  if not found.name.startswith(f"{TEMPORARY}/")]
        if others:
            raise ArgumentError(
                f"{out.place}: has {others[0]} and no {MANIFEST}, so it was "
                "not begun by this program: choose another OUT")
        out.publish_bytes(MANIFEST, _dump(manifest))
        return False
    try:
        difference = _difference(json.loads(out.read(MANIFEST)), manifest)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{out.path(MANIFEST)}: is not a manifest: choose "
                         "another OUT") from None
    if difference:
        raise ArgumentError(
            f"{out.place}: was begun with another {difference}: start with "
            "what it was begun with, or choose another OUT")
    return out.exists(SUCCESS)


def _dump(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1).encode() + b"\n"


def _difference(before: Mapping[str, Any],
                now: Mapping[str, Any]) -> str | None:
    """What the two are first unlike in, in words."""
    for name in ("format", "columns", "model", "part_rows"):
        was, is_now = before[name], now[name]
        if was == is_now:
            continue
        if not isinstance(was, dict):
            return f"{name}: {was}, now {is_now}"
        for key in sorted({*was, *is_now}):
            if was.get(key) != is_now.get(key):
                return f"{key}: {was.get(key)}, now {is_now.get(key)}"
    old = {file["name"]: file for file in before["input"]}
    new = {file["name"]: file for file in now["input"]}
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            what = "is new" if name not in old else \
                "is missing" if name not in new else "was changed"
            return f"input: {name} {what}"
    return None


def _read_parts(out: Files, parts: Sequence[Part],
                run: str) -> list[int | None]:
    """How many null scores each part has; None where it is not done."""
    names = {found.name for found in out.list()}

    def read(part: Part) -> int | None:
        return _read_part(out, part, run) if part.target in names else None
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, parts))


def _read_part(out: Files, part: Part, run: str) -> int:
    with contextlib.suppress(pa.ArrowInvalid, KeyError, ValueError), \
            contextlib.closing(out.open(part.target)) as file:
        footer = pq.read_metadata(file)
        marks = footer.metadata or {}
        if marks.get(RUN_KEY) == run.encode() \
                and footer.num_rows == part.n_rows:
            return int(marks[NULLS_KEY])
    raise InputError(f"{out.path(part.target)}: is not a part of this run: "
                     "remove it and start again")


# ---- The run ----------------------------------------------------------------


def run(source: str, target: str, columns: Columns, model: Mapping[str, Any],
        threads: int, part_rows: int, engine: Engine,
        report: Callable[[Outcome], None]) -> Outcome:
    """Scores what OUT does not have yet.

    ``source`` and ``target`` are absolute; ``threads`` of the model that is
    opened here; ``report`` is called when a part is done. Parts that no worker
    can score are in the outcome's ``failures``, after all others are scored.
    Whatever is raised, what is done stays.
    """
    folder, found = _find_input(source)
    if folder == source and f"{target}/".startswith(f"{source}/"):
        raise ArgumentError(f"{target}: is inside IN: choose another OUT")
    described = _describe_input(folder, found, columns)
    parts = parts_of(described, part_rows)
    out = Files(target)
    with open_model(model, threads) as encoder:
        identity = identity_of(encoder)
        manifest = {"format": FORMAT, "columns": asdict(columns),
                    "model": identity, "part_rows": part_rows,
                    "input": described}
        job = Job(folder, target, columns, _settle_model(model, identity),
                  identity, hashlib.sha256(_dump(manifest)).hexdigest())
        is_complete = _begin(out, manifest)
        pending = [part for part, nulls
                   in zip(parts, _read_parts(out, parts, job.run))
                   if nulls is None]
        if is_complete and pending:
            raise InputError(
                f"{out.path(pending[0].target)}: is missing though {SUCCESS} "
                f"is there: remove {SUCCESS} and start again")
        outcome = Outcome(len(parts), len(parts) - len(pending))
        if pending:
            # What the workers of a start that was stopped have left; one that
            # lives still cannot publish any more.
            out.remove_temporary()
            for result in engine(job, pending, encoder):
                outcome.add(result)
                report(outcome)
    if outcome.failures:
        return outcome
    if _find_input(source) != (folder, found):
        raise InputError(f"{source}: was changed since the run began: "
                         "choose another OUT and start again")
    _count(out, parts, job.run, outcome)
    if not is_complete:
        out.publish_bytes(SUCCESS, _dump({
            "rows": outcome.n_rows, "null_scores": outcome.n_null,
            "parts": len(parts)}))
    out.remove_temporary()
    return outcome


def _settle_model(model: Mapping[str, Any],
                  identity: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without choices that another machine would make in
    another way."""
    return {**model, **{name: identity[name]
                        for name in ("dtype", "backend", "isa")
                        if name in identity}}


def _count(out: Files, parts: Sequence[Part], run: str,
           outcome: Outcome) -> None:
    """Of what is in OUT, rather than of what workers said."""
    for part, nulls in zip(parts, _read_parts(out, parts, run)):
        if nulls is None:
            raise InputError(f"{out.path(part.target)}: was scored and is not "
                             "there: is OUT a folder that all workers share?")
        outcome.n_rows += part.n_rows
        outcome.n_null += nulls
