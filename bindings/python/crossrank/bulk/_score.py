"""A worker: one open model, and what it does with a part.

Texts are not copied: the C library is given where Arrow has them. Rows go to
it longest first, so that its lanes come to an end together; a score depends on
its pair alone, so that does not show in the output, which keeps the order and
the other columns of the input.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from .._encoder import CrossEncoder
from .._errors import (CrossrankError, FileError, InputError, ModelError,
                       OutOfMemoryError, UnavailableError,
                       UnsupportedModelError)
from ._files import Files
from ._job import Columns, Job, Part, Result, exit_code_of
from ._need import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

pa = need("pyarrow", "bulk")
pq = need("pyarrow.parquet", "bulk")

# A batch is what is sorted and given to the C library at once: so many rows
# that the lanes' coming to an end is nothing beside it, in so many bytes at
# most that long documents fit in memory.
MAX_BATCH_ROWS = 16384
MAX_BATCH_BYTES = 64 << 20

# A part that ended so many workers, by memory or a fault, ends no more.
MAX_DEATHS = 3

RUN_KEY = b"crossrank.run"
NULLS_KEY = b"crossrank.null_scores"


# ---- Models -----------------------------------------------------------------


def identity_of(encoder: CrossEncoder) -> dict[str, Any]:
    """What a score depends on but the pair: equal for two models, their scores
    are equal to the bit."""
    info = encoder.info
    identity = {
        "version": __version__,
        "model_sha256": _hash_model(info.model_path), "backend": info.backend,
        "device": info.device, "dtype": info.dtype,
        "max_length": info.max_length, "truncation": info.truncation,
        "activation": encoder.activation_fn}
    # fp32 and int8 are the same on every instruction set that has a fused
    # multiply-add; "base" may have none.
    if info.dtype == "bf16" or info.isa == "base":
        identity["isa"] = info.isa
    return identity


def _hash_model(folder: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        if name.endswith((".json", ".txt", ".safetensors")):
            digest.update(name.encode())
            with open(os.path.join(folder, name), "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def open_model(arguments: Mapping[str, Any], threads: int) -> CrossEncoder:
    encoder = CrossEncoder(**arguments, threads=threads)
    if encoder.num_labels != 1:
        n_labels = encoder.num_labels
        encoder.close()
        raise UnsupportedModelError(
            f"the model has {n_labels} labels: bulk scoring writes one score "
            "a row, so it needs a model of one")
    return encoder


def check_identity(expected: Mapping[str, Any],
                   found: Mapping[str, Any]) -> None:
    """That a worker's scores are those of the machine that began the run."""
    for name in sorted({*expected, *found}):
        wanted, got = expected.get(name), found.get(name)
        if wanted == got:
            continue
        kind = UnavailableError if name in ("backend", "device", "isa") \
            else ModelError
        raise kind(
            f"on {socket.gethostname()} {name} is {got}, where the run began "
            f"it was {wanted}: scores would differ; make them alike, or "
            "choose --dtype and --isa that every machine has")


# ---- Texts ------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """Where the bytes of each row of a column are; ``array`` keeps them."""

    array: Any
    addresses: NDArray[np.uintp]
    lengths: NDArray[np.uintp]

    @classmethod
    def of(cls, column: Any) -> _Texts:
        array = column.cast(pa.large_string())
        n = len(array)
        if n == 0:
            return cls(array, np.empty(0, np.uintp), np.empty(0, np.uintp))
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, np.int64, n + 1, 8 * array.offset)
        start = data.address if data is not None else 0
        return cls(array, (ends[:-1] + start).astype(np.uintp),
                   np.diff(ends).astype(np.uintp))

    def faults(self) -> dict[int, str]:
        """What is wrong with a row that is not text, by row."""
        nulls = self.array.is_null().to_numpy(zero_copy_only=False)
        faults = {row: "is null" for row in np.flatnonzero(nulls).tolist()}
        try:
            self.array.validate(full=True)
        except pa.ArrowInvalid:
            for row, data in enumerate(self.array.cast(pa.large_binary())):
                try:
                    if data.is_valid:
                        data.as_py().decode()
                except UnicodeDecodeError as error:
                    faults[row] = f"is not UTF-8 at byte {error.start}"
        return faults


def score_batch(encoder: CrossEncoder, queries: Any, passages: Any
                ) -> tuple[NDArray[np.float32], dict[int, str]]:
    """Scores of two Arrow arrays of text, and the reason of each row that has
    none, by row; the score of such a row means nothing."""
    columns = {"query": _Texts.of(queries), "passage": _Texts.of(passages)}
    reasons: dict[int, str] = {}
    for name, texts in columns.items():
        for row, fault in texts.faults().items():
            reasons.setdefault(row, f"the {name} {fault}")
    table = np.stack([part for texts in columns.values()
                      for part in (texts.addresses, texts.lengths)], axis=1)
    rows = np.delete(np.arange(len(table)), list(reasons))
    lengths = (table[rows, 1] + table[rows, 3]).astype(np.int64)
    rows = rows[np.argsort(-lengths, kind="stable")]
    scores = np.zeros(len(table), np.float32)
    scores[rows] = encoder._predict_at(np.ascontiguousarray(table[rows]))
    return scores, reasons


# ---- Parts ------------------------------------------------------------------


def check_schema(schema: Any, columns: Columns, name: str) -> None:
    """InputError unless the texts are there and the new names are free."""
    for column in (columns.query, columns.passage):
        if column not in schema.names:
            raise InputError(
                f"{name}: has no column {column!r}, it has "
                f"{', '.join(schema.names)}: name it with --query-column or "
                "--passage-column")
        kind = schema.field(column).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(value) or pa.types.is_large_string(value)
                or pa.types.is_string_view(value)):
            raise InputError(f"{name}: column {column!r} is {kind}, it must "
                             "be string: cast it first")
    for column, option in ((columns.score, "--score-column"),
                           (columns.reason, "--reason-column")):
        if column in schema.names:
            raise InputError(f"{name}: already has a column {column!r}: "
                             f"choose another name with {option}")


def with_scores(schema: Any, columns: Columns) -> Any:
    """The schema of the output. Marks of an earlier run are not passed on."""
    metadata = {key: value for key, value in (schema.metadata or {}).items()
                if key not in (RUN_KEY, NULLS_KEY)}
    return schema.append(pa.field(columns.score, pa.float32())) \
        .append(pa.field(columns.reason, pa.string())) \
        .with_metadata(metadata)


def _batch_rows(metadata: Any) -> int:
    """How many rows of that file make a batch."""
    n_bytes = sum(metadata.row_group(i).total_byte_size
                  for i in range(metadata.num_row_groups))
    fitting = MAX_BATCH_BYTES * metadata.num_rows // max(n_bytes, 1)
    return int(max(1, min(fitting, MAX_BATCH_ROWS)))


def read_batches(file: Any, part: Part) -> Iterator[Any]:
    """The part's rows as record batches, in order."""
    groups, skipped, first = [], 0, 0
    for group in range(file.metadata.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        if first + n <= part.first_row:
            skipped += n
        elif first < part.first_row + part.n_rows:
            groups.append(group)
        first += n
    skip, left = part.first_row - skipped, part.n_rows
    if left == 0:
        return
    for batch in file.iter_batches(_batch_rows(file.metadata),
                                   row_groups=groups, use_threads=False):
        first = min(skip, len(batch))
        skip -= first
        batch = batch.slice(first, left)
        left -= len(batch)
        if len(batch) > 0:
            yield batch
        if left == 0:
            return
    raise InputError(f"{part.source}: {left} rows from row {part.first_row} "
                     "on are missing: it was changed since the run began")


class Worker:
    """Scores parts of one run, one at a time; opens the model once."""

    def __init__(self, job: Job, threads: int,
                 encoder: CrossEncoder | None = None) -> None:
        self.job = job
        self.threads = threads
        self.encoder = encoder or open_model(job.model, threads)
        check_identity(job.identity, identity_of(self.encoder))
        self.source, self.target = Files(job.source), Files(job.target)

    def score(self, part: Part) -> Result:
        began = time.time()
        deaths = self.target.count_temporary(part.target)
        if deaths >= MAX_DEATHS:
            raise InputError(
                f"rows {part.first_row} to {part.first_row + part.n_rows - 1}: "
                f"{deaths} workers died scoring them: look for the reason in "
                "the engine's log (memory?), then start again")
        temporary = self.target.new_temporary(part.target)
        try:
            with contextlib.closing(self.source.open(part.source)) as file:
                n_null = self._write(pq.ParquetFile(file), part, temporary)
            self.target.publish(temporary, part.target)
        except BaseException:
            self.target.remove(temporary)
            raise
        return Result(part.index, _name(), self.encoder.info.threads,
                      part.n_rows, n_null, began, time.time())

    def _write(self, file: Any, part: Part, temporary: str) -> int:
        columns = self.job.columns
        schema = with_scores(file.schema_arrow, columns)
        n_null = 0
        with pq.ParquetWriter(self.target.path(temporary), schema,
                              filesystem=self.target.system,
                              compression="zstd") as writer:
            for batch in read_batches(file, part):
                scores, reasons = score_batch(
                    self.encoder, batch.column(columns.query),
                    batch.column(columns.passage))
                n_null += len(reasons)
                writer.write_batch(_extend(batch, scores, reasons, schema))
            writer.add_key_value_metadata({
                RUN_KEY: self.job.run, NULLS_KEY: str(n_null)})
        return n_null


def _extend(batch: Any, scores: NDArray[np.float32], reasons: dict[int, str],
            schema: Any) -> Any:
    mask = np.zeros(len(scores), bool)
    mask[list(reasons)] = True
    texts = np.full(len(scores), None, object)
    for row, reason in reasons.items():
        texts[row] = reason
    added = [pa.array(scores, pa.float32(), mask=mask),
             pa.array(texts, pa.string())]
    return pa.RecordBatch.from_arrays([*batch.columns, *added], schema=schema)


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


# ---- Where an engine calls --------------------------------------------------

# One worker a process, for as long as the engine keeps the process.
_worker: Worker | None = None
_opening = threading.Lock()


def _worker_of(job: Job, threads: int) -> Worker:
    global _worker
    with _opening:
        if _worker is None or (_worker.job, _worker.threads) != (job, threads):
            if _worker is not None:
                _worker.encoder.close()
                _worker = None
            _worker = Worker(job, threads)
        return _worker


def score_part(job: Job, part: Part, threads: int,
               worker: Worker | None = None) -> Result:
    """Scores a part with this process's worker, or the one that is given.

    What another try would not mend, such as a spoilt file, is a result with
    an error; what it may mend, errors of the operating system and want of
    memory, is raised, so that the engine tries again.
    """
    try:
        return (worker or _worker_of(job, threads)).score(part)
    except (FileError, OutOfMemoryError):
        raise
    except (CrossrankError, pa.ArrowException, OSError) as error:
        # Arrow raises OSError for what it cannot decompress, too.
        if getattr(error, "errno", None) is not None:
            raise
        return Result(part.index, _name(), error=f"{part.source}: {error}",
                      exit_code=exit_code_of(error))
