"""Engine local: this process scores the parts, one after another, with all
the lanes of one model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .._encoder import CrossEncoder
from ._job import Job, Part, Result
from ._score import Worker, score_part


def score(job: Job, parts: Sequence[Part],
          encoder: CrossEncoder) -> Iterator[Result]:
    worker = Worker(job, encoder.info.threads, encoder)
    for part in parts:
        yield score_part(job, part, worker.threads, worker)
