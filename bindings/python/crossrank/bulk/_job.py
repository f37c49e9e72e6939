"""What a bulk run is: values that travel to the workers, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import UnavailableError


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read and of those that are added."""

    query: str
    passage: str
    score: str
    reason: str


@dataclass(frozen=True)
class Part:
    """Rows of one file of the input, and the file of the output for them."""

    index: int
    source: str
    first_row: int
    n_rows: int
    target: str


@dataclass(frozen=True)
class Job:
    """What every worker is told.

    ``source`` and ``target`` are folders, as Files takes them; ``model`` the
    arguments of CrossEncoder but threads; ``identity`` what identity_of() of
    the model was where the run began. ``run`` tells this run's files from
    those of others.
    """

    source: str
    target: str
    columns: Columns
    model: Mapping[str, Any]
    identity: Mapping[str, Any]
    run: str


@dataclass(frozen=True)
class Result:
    """What became of a part.

    ``worker`` is host and process, ``threads`` its lanes. Times are seconds
    since 1970 by its clock, the model being open. ``error`` is empty unless
    no worker can score the part; then ``exit_code`` is what that means.
    """

    index: int
    worker: str
    threads: int = 0
    n_rows: int = 0
    n_null: int = 0
    began: float = 0.0
    ended: float = 0.0
    error: str = ""
    exit_code: int = 0


def exit_code_of(error: Exception) -> int:
    """As the program's: 3 for bad input or a bad model, 4 for what this
    machine does not have."""
    return 4 if isinstance(error, UnavailableError) else 3
