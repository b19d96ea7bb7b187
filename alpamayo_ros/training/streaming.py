"""A data set of any size as the passes of each process: pictures are read when they are learned from, and never kept.

Every place of an update has a stretch of the data of its own (`reading.order`, as if each place were a process). So an update
has the same examples at the same places however many processes and passes share it, a process reads its own places' shards
alone, and neighbours of a drive, which look alike, do not meet in an update.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import numpy as np
import torch

from alpamayo_ros.simulation.suites import Split
from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.dataset.labels import Labels, labelled
from alpamayo_ros.training.dataset.reading import TOGETHER, DataSet, Places, order, read_examples, verify
from alpamayo_ros.training.dataset.sequences import drawn_question, drop_navigation
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.encoding import Codec, Encoded, encoded, encoded_answer, with_answer
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.fit import Feed
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import UNTOLD
from alpamayo_ros.types import InvalidInput

SPLIT: Split = "train"

ASKED = 0.1
"""How many of the examples with questions are asked one of them, instead of what to do."""


@dataclass(frozen=True)
class Material:
    """What is learned from."""

    data: DataSet
    labels: Labels
    codec: Codec
    asks: bool = False  # questions of examples that have some: for the backbone, which writes; the expert cannot drive answers


def feed_of(material: Material, settings: Optimisation, processes: Processes, broken: Path) -> Feed:
    """The passes of a process; what it cannot learn from is written down in the folder `broken`.

    Raises InvalidInput for a batch that does not divide into passes of all processes, and for less examples than a batch.
    """
    own, rest = divmod(settings.batch, settings.accumulate * processes.count)
    if rest or not own:
        shared = f"{settings.accumulate} passes of {processes.count} processes"
        raise InvalidInput(f"a batch of {settings.batch} examples does not divide into {shared}")
    lessons = Lessons(material, settings, Broken(broken / f"{processes.rank}.jsonl"), own * settings.accumulate)
    future_start = material.codec.config.token_ids["future_start"]

    def passes(begin: int) -> Iterator[Batch]:
        for number in count(begin):
            update, part = divmod(number, settings.accumulate)
            first = (part * processes.count + processes.rank) * own
            yield side_by_side([lessons.at(update, first + place) for place in range(own)], future_start)

    return lambda begin: _read_ahead(passes(begin))


def side_by_side(lessons: Sequence[Encoded], future_start: int) -> Batch:
    """Lessons as a batch, answers to questions among them.

    A batch knows where each row's trajectory begins: that of an answer would behind its end, in padding that is never read.
    """
    made = batch_of([_begun(lesson, future_start) for lesson in lessons], future_start)
    return made._replace(lengths=torch.tensor([len(lesson.token_ids) for lesson in lessons]))


def _begun(lesson: Encoded, future_start: int) -> Encoded:
    """The lesson; an answer with a trajectory that begins behind it."""
    if future_start in lesson.token_ids:
        return lesson
    return with_answer(lesson, [*lesson.token_ids[lesson.prompt_length :].tolist(), future_start])


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same; the next one is read while this one is learned from."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches)
        while True:
            batch = coming.result()
            coming = thread.submit(next, batches)
            yield batch


class Lessons:
    """Examples by their update and place in it."""

    def __init__(self, material: Material, settings: Optimisation, broken: Broken, places: int) -> None:
        """`places` of an update are asked for. Raises InvalidInput for less examples than a batch."""
        self._material = material
        self._batch, self._seed = settings.batch, settings.seed
        self._broken = broken
        self._shards = material.data.of(SPLIT)
        self._counts = [shard.examples for shard in self._shards]
        if sum(self._counts) < settings.batch:
            raise InvalidInput(f"{sum(self._counts)} examples of split {SPLIT}, a batch wants {settings.batch}")
        self._lane = lru_cache(places)(self._ordered)
        self._held = lru_cache(places * TOGETHER)(self._read)

    def at(self, update: int, place: int) -> Encoded:
        """The example of a place; instead of a broken one the next of its lane. Raises InvalidInput where all are broken."""
        epoch, nth = divmod(update, sum(self._counts) // self._batch)
        lane = self._lane(epoch, place)
        for following in range(len(lane)):
            shard, index = lane[(nth + following) % len(lane)].tolist()
            try:
                return self._encoded(shard, index, epoch)
            except InvalidInput as error:
                self._broken.add(self._shards[shard].path, index, str(error))
                problem = error
        raise InvalidInput(f"not one of {len(lane)} examples can be learned from; the last one: {problem}")

    def _ordered(self, epoch: int, place: int) -> Places:
        return np.concatenate(order(self._counts, self._seed, epoch, place, self._batch))

    def _encoded(self, shard: int, index: int, epoch: int) -> Encoded:
        given, seed = self._material, self._seed
        example = drop_navigation(labelled(self._held(shard)[index], given.labels), UNTOLD, seed, epoch)
        asked = drawn_question(example, ASKED if given.asks else 0.0, seed, epoch)
        return encoded(example, given.codec) if asked is None else encoded_answer(example, *asked, given.codec)

    def _read(self, number: int) -> Sequence[Example]:
        data, shard = self._material.data, self._shards[number]
        verify(replace(data, shards=(shard,)))
        found = tuple(read_examples(shard, data))
        if len(found) != shard.examples:
            raise InvalidInput(f"{shard.path}: {len(found)} examples, the index says {shard.examples}")
        return found


class Broken:
    """What one process could not learn from, each example once: a line of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = set(_lines(path))

    def add(self, shard: Path, index: int, reason: str) -> None:
        """One more, or one that is known."""
        line = json.dumps({"shard": str(shard), "example": index, "reason": reason})
        if line not in self._known:
            self._known.add(line)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(line + "\n")


def broken_in(folder: Path) -> dict[str, int]:
    """How many examples all processes could not learn from, by reason."""
    skipped = Skipped()
    for line in sorted({line for path in folder.glob("*.jsonl") for line in _lines(path)}):
        skipped.add("example", json.loads(line)["reason"])
    return dict(skipped.counts)


def _lines(path: Path) -> list[str]:
    """Whole ones."""
    return [line for line in path.read_text().splitlines() if line.endswith("}")] if path.is_file() else []
