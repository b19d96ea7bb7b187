"""One function over many items, in this process or on the workers of a Ray: labels and rollouts.

Outcomes are handed over one by one, as soon as they are there, with the places of their items: whoever writes each down, and
after an interruption asks for the others alone, computes nothing twice.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Generic, NamedTuple, TypeVar

from alpamayo_ros.evaluation.openloop.cluster import cluster
from alpamayo_ros.types import InvalidInput

Item = TypeVar("Item")
Result = TypeVar("Result")
Begin = Callable[[], Callable[[Item], Result]]
"""Makes a worker ready (it opens a network, an endpoint): called once in each; what it returns is called for every item."""

TRIES = 3
"""Of an item whose worker dies; an item that takes its worker with it (memory) must not go on without end."""


@dataclass(frozen=True)
class Workers:
    """Where the work is done: in this process, or by some workers of a Ray, "local" or at an address."""

    ray: str | None = None
    count: int = 1
    cpus: float = 1.0  # of each
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count < 1 or self.cpus < 0 or self.gpus < 0 or (self.ray is None and self.count > 1):
            raise InvalidInput(
                f"want one worker in this process, or one or more of a Ray with 0 or more CPUs and GPUs, got {self}"
            )


HERE = Workers()
"""In this process."""


class Failure(NamedTuple):
    """Why an item has no result."""

    item: str  # shortened
    reason: str


Crew = Callable[[Sequence[Item]], Iterator[tuple[int, Result | Failure]]]
"""Workers that were made ready: place and outcome of every item, in the order in which they come.

What the function refuses (InvalidInput, OSError) is the item's failure; what `begin` raises, and any other error, ends all."""


def outcomes(begin: Begin[Item, Result], items: Sequence[Item], workers: Workers) -> Iterator[tuple[int, Result | Failure]]:
    """Place and outcome of every item, by workers that are let go then. Raises InvalidInput as `hired` does."""
    with hired(begin, workers) as crew:
        yield from crew(items)


@contextmanager
def hired(begin: Begin[Item, Result], workers: Workers) -> Iterator[Crew[Item, Result]]:
    """Workers for as many calls as the block makes, each of which begins once.

    Over Ray `begin` must be a function that workers can import. Raises InvalidInput for no cluster or one that is too small.
    """
    if workers.ray is None:
        yield _here(begin)
        return
    with cluster(workers.ray):
        yield _over_ray(begin, workers)


def in_order(handed_over: Iterable[tuple[int, Result | Failure]]) -> Iterator[Result | Failure]:
    """Outcomes in the order of their items: one that comes early waits for those before it."""
    early: dict[int, Result | Failure] = {}
    following = 0
    for place, outcome in handed_over:
        early[place] = outcome
        while following in early:
            yield early.pop(following)
            following += 1


def _here(begin: Begin[Item, Result]) -> Crew[Item, Result]:
    begun = cache(begin)  # when the first item comes, as elsewhere

    def crew(items: Sequence[Item]) -> Iterator[tuple[int, Result | Failure]]:
        for place, item in enumerate(items):
            yield place, _outcome(begun(), item)

    return crew


def _outcome(work: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return work(item)
    except (InvalidInput, OSError) as error:
        return Failure(shortened(item), str(error))


class _Worker(Generic[Item, Result]):
    """A process of Ray's. What `begin` raises comes with the first item: Ray tells a constructor's errors as a death."""

    def __init__(self, begin: Begin[Item, Result], working_directory: Path) -> None:
        self._begin, self._working_directory = begin, working_directory
        self._work: Callable[[Item], Result] | None = None

    def outcome(self, item: Item) -> Result | Failure:
        if self._work is None:
            os.chdir(self._working_directory)  # names mean there what they mean here
            self._work = self._begin()
        return _outcome(self._work, item)


def _over_ray(begin: Begin[Item, Result], workers: Workers) -> Crew[Item, Result]:
    import ray
    from ray.exceptions import OutOfMemoryError, RayActorError

    machines: list[Mapping[str, float]] = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    _check_room(workers, machines)
    worker: Any = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_restarts=0)(_Worker)
    told = begin, Path.cwd()
    idle: list[Any] = []

    def crew(items: Sequence[Item]) -> Iterator[tuple[int, Result | Failure]]:
        waiting, deaths = deque(range(len(items))), Counter[int]()
        running: dict[Any, tuple[int, Any]] = {}
        while waiting or running:
            while waiting and len(running) < workers.count:
                place, free = waiting.popleft(), idle.pop() if idle else worker.remote(*told)
                running[free.outcome.remote(items[place])] = place, free
            (ready, *_), _ = ray.wait(list(running))
            place, free = running.pop(ready)
            try:
                outcome = ray.get(ready)
            except (RayActorError, OutOfMemoryError) as error:
                deaths[place] += 1
                if deaths[place] < TRIES:
                    waiting.appendleft(place)
                    continue
                outcome = Failure(shortened(items[place]), f"its worker died {TRIES} times: {_first_line(error)}")
            else:
                idle.append(free)
            yield place, outcome

    return crew


def _check_room(workers: Workers, machines: Sequence[Mapping[str, float]]) -> None:
    """Raise InvalidInput where not all workers fit: Ray would wait for more machines without end."""
    wanted = {name: each for name, each in (("CPU", workers.cpus), ("GPU", workers.gpus)) if each}
    room = sum(
        min((int(machine.get(name, 0.0) // each) for name, each in wanted.items()), default=workers.count)
        for machine in machines
    )
    if room < workers.count:
        raise InvalidInput(
            f"{workers.count} workers of {workers.cpus:g} CPUs and {workers.gpus:g} GPUs: the cluster has room for {room}"
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
