"""Engine ray: an actor of Ray Data a model, one part at a time on each.

An actor asks for as many CPUs as its model has lanes. Rows do not pass through
Ray: an actor is given a part and gives back what became of it; the files are
read and written where it runs. A dead actor is started again by Ray, which
gives its part to it or to another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from .._encoder import CrossEncoder
from .._errors import ArgumentError, CrossrankError, UnavailableError
from ._job import Job, Part, Result
from ._need import need
from ._score import score_part

ray = need("ray", "ray")
ray_data = need("ray.data", "ray")


class RayError(CrossrankError):
    """Ray gave up: an actor failed too often, or there is no cluster."""


def engine(address: str | None, workers: int,
           threads: int) -> Callable[..., Iterator[Result]]:
    def score(job: Job, parts: Sequence[Part],
              encoder: CrossEncoder) -> Iterator[Result]:
        encoder.close()
        try:
            ray.init(address=address)
        except (ConnectionError, ValueError) as error:
            raise UnavailableError(f"Ray does not start: {error}") from error
        try:
            yield from _score(job, parts, workers, threads)
        except ray.exceptions.RayError as error:
            raise RayError(f"Ray gave up: {error}") from error
        finally:
            ray.shutdown()
    return score


def _score(job: Job, parts: Sequence[Part], workers: int,
           threads: int) -> Iterator[Result]:
    cpus = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes()
            if node["Alive"]]
    lanes = threads or min(filter(None, cpus), default=1)
    fitting = sum(n // lanes for n in cpus)
    if fitting == 0 and not workers:
        raise ArgumentError(
            f"--threads is {lanes}, but no node of Ray has so many CPUs (the "
            f"largest has {max(cpus, default=0)}): ask for fewer")
    ray_data.DataContext.get_current().enable_progress_bars = \
        sys.stderr.isatty()
    results = ray_data.from_items(
        [asdict(part) for part in parts], override_num_blocks=len(parts)
    ).map_batches(
        Actor, fn_constructor_args=(job,), batch_size=1, num_cpus=lanes,
        compute=ray_data.ActorPoolStrategy(
            size=min(workers or fitting, len(parts)),
            max_tasks_in_flight_per_actor=1))
    for row in results.iter_rows():
        yield Result(**row)


class Actor:
    """Ray Data makes one in each of its actors' processes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        granted = ray.get_runtime_context().get_assigned_resources()
        self.threads = int(granted["CPU"])

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        part = Part(**{name: column[0].item() if hasattr(column[0], "item")
                       else column[0] for name, column in batch.items()})
        result = score_part(self.job, part, self.threads)
        return {name: [value] for name, value in asdict(result).items()}
