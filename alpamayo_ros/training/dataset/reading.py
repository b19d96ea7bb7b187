"""Examples of a data set for training: in an order that is shuffled, the same every time, and can be entered anywhere.

A data set is a folder of `alpamayo make-dataset` (scenes of the driving world) or of `dataset.adding` (recorded drives).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.simulation.data import dataset as scenes
from alpamayo_ros.simulation.data.shards import read_scenes, read_shard
from alpamayo_ros.simulation.suites import SPLITS, Split
from alpamayo_ros.training.dataset import adding as drives
from alpamayo_ros.training.dataset.shards import read_part
from alpamayo_ros.training.dataset.world import clip_of, scene_examples, t0_ns_of
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

TOGETHER = 4
"""Shards whose examples are mixed, and the most that are in memory at a time."""

Id = tuple[str, int]
"""Clip and t0 in ns: what an example is called."""

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """A tar file of a data set."""

    path: Path
    sha256: str
    split: Split
    examples: int
    ids: tuple[Id, ...] | None  # of the examples of a drive; None: scenes of the driving world, whose ids stand in the file


@dataclass(frozen=True)
class DataSet:
    """What one or more folders have."""

    profile: InputProfile  # that the examples were made for
    shards: tuple[Shard, ...]

    def of(self, split: Split) -> tuple[Shard, ...]:
        """Shards of a split. Raises InvalidInput when they have no example."""
        found = tuple(shard for shard in self.shards if shard.split == split)
        if not any(shard.examples for shard in found):
            counts = [f"{sum(shard.examples for shard in self.shards if shard.split == name)} of {name}" for name in SPLITS]
            raise InvalidInput(f"no example of split {split}; there are {', '.join(counts)}")
        return found


def open_dataset(*folders: Path) -> DataSet:
    """What the indices of folders say, as one data set: the splits of the driving world are a folder each.

    Raises InvalidInput for one that is not whole or of another version, and for two of different profiles.
    """
    if not folders:
        raise InvalidInput("data set: want one folder or more, got none")
    first, *others = opened = [_opened(folder) for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        if other.profile != first.profile:
            raise InvalidInput(f"{folders[0]} was made for profile {first.profile}, {folder} for {other.profile}")
    return DataSet(first.profile, tuple(shard for data in opened for shard in data.shards))


def described(folders: Sequence[Path]) -> str:
    """Which data sets a run learns from: of each the examples and the index. Raises InvalidInput as `open_dataset` does."""
    said = (
        f"{sum(shard.examples for shard in _opened(folder).shards)} examples, index {file_sha256(folder / drives.INDEX)}"
        for folder in folders
    )
    return "; ".join(said) or "made on the spot"


def _opened(folder: Path) -> DataSet:
    index = read_json(folder / drives.INDEX)
    is_world = index.get("kind") != drives.KIND
    want = scenes.VERSION if is_world else drives.VERSION
    if index.get("version") != want:
        raise InvalidInput(f"{folder / drives.INDEX}: want version {want}, got {index.get('version')}: make the data set anew")
    if "figures" not in index:
        raise InvalidInput(f"{folder}: a data set that was not finished: run what makes it once more")
    try:
        profile = InputProfile.model_validate(index["recipe"]["profile"])
    except ValidationError as error:
        raise InvalidInput(f"{folder / drives.INDEX}: not a profile: {' '.join(str(error).split())}") from error
    shards = _of_world(folder, index) if is_world else _of_drives(folder, index)
    return DataSet(profile, tuple(shards))


def _of_world(folder: Path, index: dict[str, Any]) -> Iterator[Shard]:
    split = index["recipe"]["split"]
    return (Shard(folder / said["file"], said["sha256"], split, said["samples"], None) for said in index["shards"])


def _of_drives(folder: Path, index: dict[str, Any]) -> Iterator[Shard]:
    for clip in drives.clips_of(index, folder / drives.INDEX):
        for shard in clip.shards:
            ids = tuple((clip.clip, t0_ns) for t0_ns in shard.t0_ns)
            yield Shard(folder / shard.file, shard.sha256, clip.split, len(ids), ids)


def read_examples(shard: Shard, data: DataSet) -> Iterator[Example]:
    """The examples of a shard in their order. Raises InvalidInput that names the file for one that is damaged."""
    if shard.ids is not None:
        yield from read_part(shard.path, data.profile)
        return
    for taken in read_shard(shard.path):
        yield from scene_examples(taken, data.profile)


def ids(data: DataSet) -> Iterator[Id]:
    """What the examples are called, without reading their pictures. Raises InvalidInput."""
    for shard in data.shards:
        if shard.ids is not None:
            yield from shard.ids
            continue
        for scene in read_scenes(shard.path):
            yield from ((clip_of(scene.id), t0_ns_of(scene, window)) for window in scene.windows)


def verify(data: DataSet) -> None:
    """Compare every shard with its checksum. Raises InvalidInput that names those that differ or are missing."""
    wrong = [f"{shard.path}: {problem}" for shard in data.shards if (problem := _problem(shard))]
    if wrong:
        raise InvalidInput("; ".join(wrong))


def _problem(shard: Shard) -> str:
    if not shard.path.is_file():
        return "no such file"
    found = file_sha256(shard.path)
    return "" if found == shard.sha256 else f"sha256 is {found}, the index says {shard.sha256}"


def examples(
    data: DataSet, split: Split, *, seed: int, epoch: int, rank: int = 0, world_size: int = 1, start: int = 0
) -> Iterator[Example]:
    """One epoch of a split: every example once, in the order of `order`, those of this rank from its `start`th on.

    Raises InvalidInput for a split without examples, for a shard that is damaged and for one that the index does not describe.
    """
    shards = data.of(split)
    for group in order([shard.examples for shard in shards], seed, epoch, rank, world_size):
        if start < len(group):
            yield from _mixed(group[start:], shards, data)
        start = max(0, start - len(group))


def _mixed(group: Places, shards: Sequence[Shard], data: DataSet) -> Iterator[Example]:
    held = {number: _whole(shards[number], data) for number in np.unique(group[:, 0]).tolist()}
    for number, place in group.tolist():
        yield held[number][place]


def _whole(shard: Shard, data: DataSet) -> list[Example]:
    found = list(read_examples(shard, data))
    if len(found) != shard.examples:
        raise InvalidInput(f"{shard.path}: {len(found)} examples, the index says {shard.examples}")
    return found


def order(counts: Sequence[int], seed: int, epoch: int, rank: int = 0, world_size: int = 1) -> list[Places]:
    """The order of an epoch: groups of places (n, 2) of shard and example in it; `counts` are examples per shard.

    Shards are shuffled and laid end to end, each rank has an equal stretch of that, one example more or less, and its
    examples are shuffled among TOGETHER shards at a time. Raises InvalidInput for a rank that there is not.
    """
    if not 0 <= rank < world_size:
        raise InvalidInput(f"want 0 <= rank < world size, got {rank} of {world_size}")
    per_shard = np.asarray(counts, np.int64)
    shuffled = np.random.default_rng([seed, epoch]).permutation(np.flatnonzero(per_shard))
    total = int(per_shard.sum())
    firsts = np.cumsum(per_shard[shuffled]) - per_shard[shuffled]
    mine = slice(total * rank // world_size, total * (rank + 1) // world_size)
    nth = np.repeat(np.arange(len(shuffled)), per_shard[shuffled])[mine]
    places = np.column_stack([shuffled[nth], np.arange(total)[mine] - firsts[nth]])
    cuts = np.flatnonzero(np.diff((nth - nth[:1]) // TOGETHER)) + 1
    rng = np.random.default_rng([seed, epoch, rank])
    return [rng.permutation(group) for group in np.split(places, cuts) if len(group)]
