"""A data set of recorded drives: a folder of shards, to which clips can be added at any time.

Beside a clip's shards stands `<clip>.json`, written last: a clip is there whole or not at all, and a run that was cut off goes
on with the clips that are missing. `index.json` says what all of them are; readers read that alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags.whole import whole_file
from alpamayo_ros.bundle.folder import read_json
from alpamayo_ros.evaluation.conversion import physical_ai_av
from alpamayo_ros.evaluation.conversion.convert import convert
from alpamayo_ros.evaluation.openloop.provenance import bag_sha256, described_sha256, file_sha256
from alpamayo_ros.evaluation.openloop.results import CLIP_S
from alpamayo_ros.evaluation.openloop.storage import from_json, to_json
from alpamayo_ros.profile import InputProfile, Rig, read_rig
from alpamayo_ros.simulation.suites import SPLITS, Split
from alpamayo_ros.training.dataset.recordings import bag_examples
from alpamayo_ros.training.dataset.shards import write_part
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

KIND = "recorded drives"
VERSION = 1
"""Of shards and files beside them; raised whenever a field changes its name or meaning."""

INDEX = "index.json"
RATE_HZ = 2.0
"""Examples per second of a drive, as in the driving world: neighbours share most of their pictures."""

HELD_BACK: Mapping[Split, float] = {"validation": 0.05, "test": 0.05}
"""Shares of the clips that nothing is trained on."""

_MAX_NAME = 50  # a tar file's names have up to 100 characters, of which part, epoch, stamp and role may take the others


@dataclass(frozen=True)
class Recipe:
    """What decides the examples of a drive."""

    profile: InputProfile
    rate_hz: float = RATE_HZ

    def described(self) -> dict[str, Any]:
        """For the index."""
        return {"profile": self.profile.model_dump(mode="json"), "rate_hz": self.rate_hz, "held_back": dict(HELD_BACK)}


class Drive(Protocol):
    """A drive that can be had as a bag."""

    @property
    def clip(self) -> str:
        """Its name in the data set."""

    def identity(self) -> str:
        """What tells it from another drive of the same name. Raises InvalidInput when it is not there."""

    def opened(self) -> AbstractContextManager[tuple[Path, Rig]]:
        """The bag with its rig, while in the `with`. Raises InvalidInput."""


@dataclass(frozen=True)
class BagDrive:
    """A bag that lies on the disk."""

    bag: Path
    rig: Rig

    @property
    def clip(self) -> str:
        """Name of the bag, with a dash for whatever WebDataset has another use for."""
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.bag.resolve().stem if self.bag.is_file() else self.bag.resolve().name)

    def identity(self) -> str:
        """See Drive."""
        return f"bag {bag_sha256(self.bag)}, rig {described_sha256(self.rig)}"

    def opened(self) -> AbstractContextManager[tuple[Path, Rig]]:
        """See Drive."""
        return nullcontext((self.bag, self.rig))


@dataclass(frozen=True)
class AvDrive:
    """A clip of a folder in the layout of PhysicalAI-AV: converted as `alpamayo convert` does, and the bag is deleted again."""

    source: Path
    clip: str

    def identity(self) -> str:
        """See Drive: the data set's ids are unique."""
        return f"physical-ai-av {self.clip}"

    @contextmanager
    def opened(self) -> Iterator[tuple[Path, Rig]]:
        """See Drive."""
        with TemporaryDirectory(prefix="alpamayo-clip-") as folder:
            bag = Path(folder) / self.clip
            converted = convert("physical-ai-av", self.source, self.clip, bag)
            yield bag, read_rig(converted.rig)


def av_drives(source: Path, clips: Sequence[str] = ()) -> tuple[AvDrive, ...]:
    """Clips of a PhysicalAI-AV folder, all that it has where none are named. Raises InvalidInput."""
    return tuple(AvDrive(source, clip) for clip in clips or physical_ai_av.scenes(source))


@dataclass(frozen=True)
class Shard:
    """A tar file of a data set."""

    file: str
    sha256: str
    bytes: int
    t0_ns: tuple[int, ...]  # of its examples


@dataclass(frozen=True)
class ClipFile:
    """What a clip gave."""

    version: int
    clip: str
    identity: str
    split: Split
    shards: tuple[Shard, ...]
    skipped: Mapping[str, int]  # by reason
    first: Mapping[str, str]  # of every reason, with its numbers


def split_of_clip(clip: str) -> Split:
    """The split of a recorded drive: by a hash of its name, always the same."""
    place = int.from_bytes(hashlib.sha256(clip.encode()).digest()[:8], "big") / 2**64
    for split, share in HELD_BACK.items():
        if place < share:
            return split
        place -= share
    return "train"


def add_drives(out: Path, recipe: Recipe, drives: Sequence[Drive], workers: int = 1) -> dict[str, Any]:
    """Add drives to a data set, or begin one; drives that it has are not read again. Returns the index's figures.

    A drive that is broken is named in the index and left out, to be tried again the next time. Several machines may add
    different drives to one folder; whoever then adds none makes the index of all. Raises InvalidInput for a folder of
    another recipe or of something else, for two drives of one name, and when there is no example at all.
    """
    _check_names(drives)
    said = json.loads(json.dumps({"kind": KIND, "version": VERSION, "recipe": recipe.described()}))
    _prepare(out, said)
    broken: dict[str, str] = read_json(out / INDEX).get("figures", {}).get("broken", {})
    problems = _added(out, recipe, drives, workers)
    for drive in track(drives, "adding drives", console=Console(stderr=True)):
        broken.pop(drive.clip, None)
        if problem := next(problems):
            broken[drive.clip] = problem
    return _write_index(out, said, broken)


def _check_names(drives: Sequence[Drive]) -> None:
    names = Counter(drive.clip for drive in drives)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InvalidInput(f"drives: {', '.join(twice)} given twice: a name is a drive, whose examples are in one split")
    if long := [name for name in names if len(name) > _MAX_NAME]:
        raise InvalidInput(f"drives: {long[0]} has {len(long[0])} characters, limit {_MAX_NAME}")
    if "index" in names:
        raise InvalidInput("drives: none can be called index, as that is what the data set's own file is called")


def _prepare(out: Path, said: Mapping[str, Any]) -> None:
    """A folder with an index of this recipe."""
    index = out / INDEX
    if not index.exists():
        if out.exists() and any(out.iterdir()):
            raise InvalidInput(f"{out} is not empty and has no {INDEX}: choose another place")
        out.mkdir(parents=True, exist_ok=True)
        _write(index, said)
    there = read_json(index)
    if (there.get("kind"), there.get("version")) != (said["kind"], said["version"]):
        got = f"{there.get('kind', 'another kind')}, version {there.get('version')}"
        raise InvalidInput(f"{index}: want {said['kind']}, version {said['version']}, got {got}")
    if other := [name for name, value in said["recipe"].items() if there["recipe"].get(name) != value]:
        raise InvalidInput(f"{out} is of another recipe, {', '.join(other)} differ: choose another place")


def _added(out: Path, recipe: Recipe, drives: Sequence[Drive], workers: int) -> Iterator[str]:
    """What `_add_drive` says of each drive, in order."""
    add = partial(_add_drive, out, recipe)
    if workers == 1:
        yield from map(add, drives)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"))
    try:
        yield from pool.map(add, drives)
    finally:
        pool.shutdown(cancel_futures=True)


def _add_drive(out: Path, recipe: Recipe, drive: Drive) -> str:
    """Add a drive; why that cannot be, or nothing."""
    try:
        _write_drive(out, recipe, drive)
    except InvalidInput as error:
        return str(error)
    return ""


def _write_drive(out: Path, recipe: Recipe, drive: Drive) -> None:
    """Write a drive's shards and then its file, unless that is there. Raises InvalidInput."""
    path, identity = out / f"{drive.clip}.json", drive.identity()
    if path.exists():
        there = read_clip(path)
        if there.identity != identity:
            raise InvalidInput(f"{drive.clip}: the data set has another drive of this name ({there.identity}): rename one")
        return
    skipped = Skipped()
    with drive.opened() as (bag, rig):
        found = bag_examples(drive.clip, bag, rig, recipe.profile, recipe.rate_hz, skipped)
        shards = tuple(_written(out, drive.clip, found))
    counts = dict(sorted(skipped.counts.items()))
    clip = ClipFile(VERSION, drive.clip, identity, split_of_clip(drive.clip), shards, counts, skipped.first)
    _write(path, to_json(clip, np.ndarray.tolist))


def _written(out: Path, clip: str, found: Iterable[Example]) -> Iterator[Shard]:
    """A shard for every 20 s: as much as is kept in memory."""
    parts = groupby(found, key=lambda example: int(example.observation.stamp_ns // (CLIP_S * 1e9)))
    for number, (_, part) in enumerate(parts):
        examples, path = list(part), out / f"{clip}-{number:03d}.tar"
        write_part(path, examples)
        t0_ns = tuple(example.observation.stamp_ns for example in examples)
        yield Shard(path.name, file_sha256(path), path.stat().st_size, t0_ns)


def read_clip(path: Path) -> ClipFile:
    """What a clip gave. Raises InvalidInput."""
    data = read_json(path)
    if data.get("version") != VERSION:
        raise InvalidInput(f"{path}: want version {VERSION}, got {data.get('version')}")
    return from_json(ClipFile, data, np.array, str(path))


def clips_of(index: Mapping[str, Any], path: Path) -> Iterator[ClipFile]:
    """The clips that an index lists. Raises InvalidInput."""
    return (from_json(ClipFile, clip, np.array, str(path)) for clip in index["clips"])


def _write_index(out: Path, said: Mapping[str, Any], broken: Mapping[str, str]) -> dict[str, Any]:
    """The index of all clips in the folder. Raises InvalidInput when they have no example, with all reasons."""
    clips = [read_clip(path) for path in sorted(out.glob("*.json")) if path.name != INDEX]
    skipped = dict(sorted(sum((Counter(clip.skipped) for clip in clips), Counter[str]()).items()))
    shards = [shard for clip in clips for shard in clip.shards]
    by_split = {split: sum(len(s.t0_ns) for c in clips if c.split == split for s in c.shards) for split in SPLITS}
    figures = {
        "examples": sum(by_split.values()),
        "by_split": by_split,
        "clips": len(clips),
        "bytes": sum(shard.bytes for shard in shards),
        "skipped": skipped,
        "broken": dict(broken),
    }
    _write(out / INDEX, {**said, "figures": figures, "clips": [to_json(clip, np.ndarray.tolist) for clip in clips]})
    if not shards:
        reasons = [*(f"{clip}: {reason}" for clip, reason in broken.items()), *(f"{n} x {why}" for why, n in skipped.items())]
        raise InvalidInput(f"{out}: not one example; {'; '.join(reasons) or 'no drives were given'}")
    return {**figures, "files": [str(out / INDEX)]}


def _write(path: Path, value: Mapping[str, Any]) -> None:
    with whole_file(path) as file:
        file.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())
