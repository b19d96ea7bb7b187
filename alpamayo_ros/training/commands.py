"""What `alpamayo train`, `label` and `examine` do: they choose data and stages, and say what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median_low
from typing import Any

import torch

from alpamayo_ros.profile import InputProfile, read_profile, read_rig
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.data.shards import read_shard
from alpamayo_ros.training.chain import debug_scenes, train_all
from alpamayo_ros.training.coc.client import Client
from alpamayo_ros.training.coc.drives import at_keyframes, bag_keyframes
from alpamayo_ros.training.coc.endpoint import Endpoint
from alpamayo_ros.training.coc.keyframes import Keyframe, balanced
from alpamayo_ros.training.coc.label import label_moments
from alpamayo_ros.training.coc.review import write_review
from alpamayo_ros.training.coc.schema import Moment, read_records
from alpamayo_ros.training.coc.teacher import labelled, source
from alpamayo_ros.training.dataset.adding import BagDrive
from alpamayo_ros.training.dataset.reading import open_dataset, verify
from alpamayo_ros.training.dataset.recordings import bag_examples
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.exam.sit import Exam, sit
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.sizes import SIZES, SizeName, begin_bundle, open_codec
from alpamayo_ros.training.stages import STAGES, Scenes, StageName, train_stage
from alpamayo_ros.types import InvalidInput


def train_command(
    stage: StageName | SizeName, size: SizeName, data: Sequence[Path], begin: Path | None, base: Path, out: Path, *, blind: bool
) -> dict[str, Any]:
    """One stage of a size, or all stages of the size that is named. Raises InvalidInput."""
    torch.set_num_threads(1)  # two cores gain nothing on networks this small
    match stage:
        case "debug" | "micro" | "nano":
            if blind and begin:
                raise InvalidInput(f"a control is trained blind from the beginning: train {stage} --blind without --begin")
            scenes = _scenes_of(stage, data, read_profile(str((begin or base) / "profile.yaml")))
            return train_all(stage, scenes, begin or base, out, ALONE, data, blind=blind, again=begin is not None)
        case _ if blind:
            raise InvalidInput(f"a control is trained blind from the beginning: train {size} --blind")
        case _:
            return _train_one(stage, size, data, begin or _begun(size, base, out), out)


def _begun(size: SizeName, base: Path, out: Path) -> Path:
    """The bundle without weights that the first stage begins with."""
    begin = out / "begin"
    if not begin.exists():
        begin_bundle(begin, base, SIZES[size])
    return begin


def _train_one(stage: StageName, size: SizeName, data: Sequence[Path], begin: Path, out: Path) -> dict[str, Any]:
    scenes = _scenes_of(size, data, open_codec(begin).profile)
    fitted = train_stage(stage, STAGES[size][stage], scenes, begin, out, ALONE, data=data)
    return {**asdict(fitted), "files": [str(out / "bundle")]}


def _scenes_of(size: SizeName, data: Sequence[Path], profile: InputProfile) -> Scenes:
    """Raises InvalidInput where nothing is named to learn from; two short drives are enough for "debug" alone."""
    if not data and size != "debug":
        raise InvalidInput(f"size {size} learns from data sets of alpamayo make-dataset: name one or more with --data")
    return partial(scenes_in, data) if data else partial(debug_scenes, profile)


def scenes_in(data: Sequence[Path]) -> Iterator[SceneSamples]:
    """Of data sets of the driving world, those that have samples: a drive that ended early has none. Raises InvalidInput."""
    opened = open_dataset(*data)
    verify(opened)
    for shard in opened.shards:
        if shard.ids is not None:
            raise InvalidInput(f"{shard.path}: of recorded drives; these stages learn from the driving world's scenes")
        yield from (taken for taken in read_shard(shard.path) if taken.scene.windows)


@dataclass(frozen=True)
class Drives:
    """Recorded drives to be labelled."""

    bags: tuple[Path, ...]
    rig: str
    profile: str
    period_s: float = 0.5  # between the moments that are looked at


def label_drives(drives: Drives, endpoint: Endpoint, cache: Path, out: Path, review: Path | None) -> dict[str, Any]:
    """By a vision-language model behind an endpoint, at balanced keyframes; with a page for human review where one is wanted.

    Raises InvalidInput for a bag that does not fit the rig, and as `label_moments` does.
    """
    client, skipped = Client(endpoint, cache), Skipped()
    found = _keyframes(drives)
    chosen = evened(found)
    moments = [moment for bag in drives.bags for moment in _moments(drives, bag, chosen, skipped)]
    figures = label_moments(moments, partial(labelled, client), source(client), out, client.each)
    if review is not None:
        files = write_review(review, _pairs(moments, out), f"{endpoint.model}: {len(moments)} moments")
        figures["files"] = [*figures.get("files", []), *map(str, files)]
    counts = {"keyframes_found": kinds(found), "keyframes_chosen": kinds(chosen), "windows_skipped": dict(skipped.counts)}
    return {**figures, **counts, "spent": asdict(client.spent)}


def evened(found: Sequence[tuple[str, Keyframe]]) -> tuple[tuple[str, Keyframe], ...]:
    """Of each kind of keyframes at most as many as there are of the kind in the middle: usual ones are worth no more."""
    return balanced(found, median_low(kinds(found).values())) if found else ()


def kinds(found: Sequence[tuple[str, Keyframe]]) -> dict[str, int]:
    """How many keyframes there are of each kind."""
    return dict(sorted(Counter(frame.kind for _, frame in found).items()))


def _keyframes(drives: Drives) -> list[tuple[str, Keyframe]]:
    rig, profile = read_rig(drives.rig), read_profile(drives.profile)
    return [(BagDrive(bag, rig).clip, frame) for bag in drives.bags for frame in bag_keyframes(bag, rig, profile)]


def _moments(drives: Drives, bag: Path, chosen: Sequence[tuple[str, Keyframe]], skipped: Skipped) -> Iterator[Moment]:
    rig, profile = read_rig(drives.rig), read_profile(drives.profile)
    clip = BagDrive(bag, rig).clip
    frames = [frame for name, frame in chosen if name == clip]
    examples = bag_examples(clip, bag, rig, profile, 1.0 / drives.period_s, skipped)
    return at_keyframes(examples, frames, drives.period_s)


def _pairs(moments: Sequence[Moment], out: Path) -> list[tuple[Moment, Any]]:
    """Moments with their newest record."""
    known = {(record.clip, record.t0_ns): record for record in read_records(out).records}
    named = [((moment.example.clip, moment.example.observation.stamp_ns), moment) for moment in moments]
    return [(moment, known[name]) for name, moment in named if name in known]


def examine_command(exam: Exam, data: Sequence[Path], out: Path) -> dict[str, Any]:
    """Examine a bundle on windows of data sets of one split of the driving world. Raises InvalidInput."""
    opened = open_dataset(*data)
    splits = {shard.split for shard in opened.shards}
    if len(splits) != 1:
        raise InvalidInput(f"want data sets of one split, got {', '.join(sorted(splits))}")
    return sit(exam, scenes_in(data), splits.pop(), out)
