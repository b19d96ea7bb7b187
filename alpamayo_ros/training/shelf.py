"""A whole data set in memory: what a frozen vision tower makes of every picture, and everything else as ids.

Pictures are looked at once, not once per epoch and window: most of the time of training a small network goes into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.model.vision import Images, Vision
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.encoding import Codec, Encoded, encoded
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput, role_index

LOOKED_AT = 256
"""Pictures that the tower sees at a time."""


@dataclass(frozen=True)
class Lesson:
    """An example without its pictures."""

    example: Example
    encoded: Encoded  # its images are names without patches
    rows: NDArray[np.int64]  # (images,) of the shelf's features, in the order of its images
    is_balanced: bool


@dataclass(frozen=True)
class Shelf:
    """Lessons, and the features that they share."""

    features: Tensor  # (pictures, T, D) float16
    lessons: tuple[Lesson, ...]
    future_start: int  # id of <|traj_future_start|>

    def batch(self, which: Sequence[int]) -> Batch:
        """Some lessons as a batch."""
        return batch_of([self.lessons[index].encoded for index in which], self.future_start, self.features_of(which))

    def features_of(self, which: Sequence[int]) -> Tensor:
        """(n, T, D) float32 of the images of some lessons, one after another."""
        rows = np.concatenate([self.lessons[index].rows for index in which])
        return self.features[torch.from_numpy(rows)].float()

    def balanced(self) -> Shelf:
        """Its balanced part (`label.KEPT_SHARES`)."""
        return replace(self, lessons=tuple(lesson for lesson in self.lessons if lesson.is_balanced))

    def shuffled(self, size: int, seed: int, begin: int) -> Iterator[Batch]:
        """Batches without end from a number on: every epoch has every lesson once, in an order of its own."""
        per_epoch = len(self.lessons) // size
        if per_epoch < 1:
            raise InvalidInput(f"{len(self.lessons)} lessons, a batch wants {size}")
        for number in count(begin):
            epoch, place = divmod(number, per_epoch)
            order = np.random.default_rng([seed, epoch]).permutation(len(self.lessons))
            yield self.batch(order[place * size : (place + 1) * size].tolist())


def shelve(scenes: Iterable[SceneSamples], vision: Vision, codec: Codec, *, asks_reasons: bool = True) -> Shelf:
    """Look at every picture of scenes and encode their windows, with reasons or for a trajectory at once.

    Raises InvalidInput for a tower with deepstack features.
    """
    if codec.config.vision.deepstack_visual_indexes:
        raise InvalidInput("a tower with deepstack features cannot be looked at beforehand")
    features: list[Tensor] = []
    lessons: list[Lesson] = []
    first = 0
    for taken in scenes:
        looked = _look(taken, vision, codec.config)
        lessons += _lessons(taken, codec, first, asks_reasons=asks_reasons)
        features.append(looked)
        first += len(looked)
    return Shelf(torch.cat(features), tuple(lessons), codec.config.token_ids["future_start"])


@torch.no_grad()
def _look(taken: SceneSamples, vision: Vision, config: Config) -> Tensor:
    """Features (instants * roles, T, D) float16 of a scene's pictures."""
    grid = (taken.scene.height // config.vision.patch_size, taken.scene.width // config.vision.patch_size)
    pictures = list(taken.pictures.reshape(-1, *taken.pictures.shape[2:]))
    parts = [pictures[at : at + LOOKED_AT] for at in range(0, len(pictures), LOOKED_AT)]
    return torch.cat([vision(patches(part, config), grid)[0].half() for part in parts])


def _lessons(taken: SceneSamples, codec: Codec, first: int, *, asks_reasons: bool) -> Iterator[Lesson]:
    """A scene's windows; its features begin at row `first`."""
    scene, profile = taken.scene, codec.profile
    place = {role: index for index, role in enumerate(scene.roles)}
    roles = [role for role in profile.cameras if role in place]
    images = named_images(roles, profile, codec.config)
    for window, example in zip(scene.windows, scene_examples(taken, profile), strict=True):
        rows = [first + instant * len(place) + place[role] for role in roles for instant in window.frames]
        seen = encoded(example, codec, asks_reasons=asks_reasons, seen=images)
        unseen = replace(example, observation=replace(example.observation, frames={}, sync_error_ms={}))
        yield Lesson(unseen, seen, np.array(rows), window.is_balanced)


def named_images(roles: Sequence[str], profile: InputProfile, config: Config) -> Images:
    """The images of an observation by name, without their pixels."""
    times = len(profile.frame_offsets_ms)
    grid = (profile.image_height // config.vision.patch_size, profile.image_width // config.vision.patch_size)
    cameras = tuple(role_index(role) for role in roles for _ in range(times))
    return Images(torch.empty(len(cameras), 0), grid, cameras, tuple(range(times)) * len(roles))
