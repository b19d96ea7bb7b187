"""A whole data set in memory: what a frozen vision tower makes of every picture, and everything else as ids.

Pictures are looked at once, not once per epoch and window: most of the time of training a small network goes into them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.model.prompt import named_images
from alpamayo_ros.model.vision import Vision
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.batch import THIRDS, Batch, Shown, batch_of
from alpamayo_ros.training.dataset.sequences import drop_navigation
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.encoding import Codec, Encoded, encoded
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import F32, U8, InvalidInput

LOOKED_AT = 256
"""Pictures that the tower sees at a time."""

GREY = 127
"""What closed eyes see."""

USUAL = 1 / 3
"""How many of the lessons that say what most lessons say an epoch has: more of them teach little."""

UNTOLD = 0.05
"""How many lessons do not know the route: guidance needs to know what would be driven without."""

POOL = 16
"""Batches whose lessons are put in the order of their lengths."""


@dataclass(frozen=True)
class Lesson:
    """An example without its pictures."""

    example: Example
    encoded: Encoded  # its images are names without patches
    rows: NDArray[np.int64]  # (images,) of the shelf's features, in the order of its images
    is_balanced: bool  # in a part of the data in which no decision is much more frequent than others


class Summary(NamedTuple):
    """What is in the thirds of pictures, and where the road goes."""

    kinds: U8  # (pictures, THIRDS, KINDS)
    nearest_m: F32  # (pictures, THIRDS)
    course_rad: F32  # (pictures, COURSE_M) where the road goes then


@dataclass(frozen=True)
class Shelf:
    """Lessons, and the features that they share."""

    features: Tensor  # (pictures, T, D) float16
    summary: Summary  # of the same pictures
    lessons: tuple[Lesson, ...]
    future_start: int  # id of <|traj_future_start|>

    def batch(self, which: Sequence[int]) -> Batch:
        """Some lessons as a batch."""
        lessons = [self.lessons[index] for index in which]
        newest = [lesson.rows[np.equal(steps, max(steps))] for lesson in lessons for steps in [lesson.encoded.images.steps]]
        made = batch_of([lesson.encoded for lesson in lessons], self.future_start, self.features_of(which))
        return made._replace(shown=self.shown(np.stack(newest)))

    def shown(self, rows: NDArray[np.int64]) -> Shown:
        """What is on pictures (B, any), of which the last one of each row is of the newest time."""
        summary = self.summary
        course_rad = torch.from_numpy(summary.course_rad[rows[:, -1]])
        return Shown(torch.from_numpy(summary.kinds[rows]), torch.from_numpy(summary.nearest_m[rows]), course_rad)

    def features_of(self, which: Sequence[int]) -> Tensor:
        """(n, T, D) float32 of the images of some lessons, one after another."""
        rows = np.concatenate([self.lessons[index].rows for index in which])
        return self.features[torch.from_numpy(rows)].float()

    def without_reasons(self, codec: Codec) -> Shelf:
        """The same lessons for a trajectory at once."""
        return replace(self, lessons=tuple(_without_reasons(lesson, codec) for lesson in self.lessons))

    def shuffled(self, size: int, seed: int, begin: int) -> Iterator[Batch]:
        """Batches without end from a number on, those of an epoch in an order of its own.

        An epoch has every balanced lesson, and of the usual ones as many as USUAL allows, other ones each time.

        Raises InvalidInput for less lessons than a batch.
        """
        usual = np.array([index for index, lesson in enumerate(self.lessons) if not lesson.is_balanced], np.int64)
        balanced = np.setdiff1d(np.arange(len(self.lessons)), usual)
        asked = math.ceil(USUAL * len(usual))
        per_epoch = (len(balanced) + asked) // size
        if per_epoch < 1:
            raise InvalidInput(f"{len(balanced)} lessons and {asked} of {len(usual)} usual ones, a batch wants {size}")
        epoch, place = divmod(begin, per_epoch)
        for number in count(epoch):
            rng = np.random.default_rng([seed, number])
            taken = np.concatenate([balanced, rng.choice(usual, asked, replace=False)])
            for which in self._epoch(rng.permutation(taken)[: per_epoch * size], size, rng)[place:]:
                yield self.batch(which.tolist())
            place = 0

    def _epoch(self, order: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Lessons (batches, size) in another order; those of a batch are of about a length, for what is padded is paid for."""
        lengths = np.array([len(lesson.encoded.token_ids) for lesson in self.lessons])
        pools = np.split(order, range(size * POOL, len(order), size * POOL))
        alike = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        return rng.permutation(alike.reshape(-1, size))


def shelve(scenes: Iterable[SceneSamples], vision: Vision, codec: Codec, untold: float = UNTOLD) -> Shelf:
    """Look at every picture of scenes and encode their windows with reasons, a part of them without the route.

    Raises InvalidInput for a tower with deepstack features, and for no scenes.
    """
    if codec.config.vision.deepstack_visual_indexes:
        raise InvalidInput("a tower with deepstack features cannot be looked at beforehand")
    features: list[Tensor] = []
    summaries: list[Summary] = []
    lessons: list[Lesson] = []
    first = 0
    for taken in scenes:
        features.append(_look(taken, vision, codec.config))
        summaries.append(summarised(taken))
        lessons += _lessons(taken, codec, first, untold)
        first += len(features[-1])
    if not features:
        raise InvalidInput("no scenes to learn from")
    summary = Summary(*(np.concatenate(each) for each in zip(*summaries, strict=True)))
    return Shelf(torch.cat(features), summary, tuple(lessons), codec.config.token_ids["future_start"])


def blinded(taken: SceneSamples) -> SceneSamples:
    """The scene on pictures of one grey."""
    return replace(taken, pictures=np.full_like(taken.pictures, GREY))


def summarised(taken: SceneSamples) -> Summary:
    """Of the pictures of a scene, in the order of its instants and roles."""
    rows, columns = taken.nearest_m.shape[2:]
    thirds = (-1, rows, THIRDS, columns // THIRDS)
    nearest_m = taken.nearest_m.reshape(thirds).min(axis=(1, 3))
    kinds = taken.kinds.reshape(*thirds, len(KINDS)).max(axis=(1, 3))
    return Summary(kinds, nearest_m, np.repeat(taken.course_rad, len(taken.scene.roles), axis=0))


@torch.no_grad()
def _look(taken: SceneSamples, vision: Vision, config: Config) -> Tensor:
    """Features (instants * roles, T, D) float16 of a scene's pictures."""
    grid = (taken.scene.height // config.vision.patch_size, taken.scene.width // config.vision.patch_size)
    pictures = list(taken.pictures.reshape(-1, *taken.pictures.shape[2:]))
    parts = [pictures[at : at + LOOKED_AT] for at in range(0, len(pictures), LOOKED_AT)]
    return torch.cat([vision(patches(part, config), grid)[0].half() for part in parts])


def _lessons(taken: SceneSamples, codec: Codec, first: int, untold: float) -> Iterator[Lesson]:
    """A scene's windows; its features begin at row `first`."""
    scene, profile = taken.scene, codec.profile
    place = {role: index for index, role in enumerate(scene.roles)}
    roles = [role for role in profile.cameras if role in place]
    images = named_images(roles, profile, codec.config)
    for window, told in zip(scene.windows, scene_examples(taken, profile), strict=True):
        rows = [first + instant * len(place) + place[role] for role in roles for instant in window.frames]
        example = drop_navigation(told, untold, seed=0, epoch=0)
        seen = encoded(example, codec, seen=images)
        unseen = replace(example, observation=replace(example.observation, frames={}, sync_error_ms={}))
        yield Lesson(unseen, seen, np.array(rows), window.is_balanced)


def _without_reasons(lesson: Lesson, codec: Codec) -> Lesson:
    """Its pictures are known by name."""
    return replace(lesson, encoded=encoded(lesson.example, codec, asks_reasons=False, seen=lesson.encoded.images))
