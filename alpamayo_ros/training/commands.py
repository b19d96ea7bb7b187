"""What `alpamayo train`, `label` and `examine` do: they choose data and stages, and say what came of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.engine.loading import bundle_action_space, bundle_profile, open_engine
from alpamayo_ros.profile import read_profile, read_rig
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.data.shards import read_shard
from alpamayo_ros.training.chain import debug_scenes, train_all
from alpamayo_ros.training.coc.client import Client
from alpamayo_ros.training.coc.endpoint import Endpoint
from alpamayo_ros.training.coc.label import at_keyframes, label_moments
from alpamayo_ros.training.coc.review import write_review
from alpamayo_ros.training.coc.schema import Moment, read_records
from alpamayo_ros.training.coc.teacher import labelled, source
from alpamayo_ros.training.dataset.reading import open_dataset, verify
from alpamayo_ros.training.dataset.recordings import bag_examples
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.exam import Sitting, answers, led_elsewhere, report, sittings, with_eyes_shut
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.sizes import SIZES, begin_bundle, open_codec
from alpamayo_ros.training.stages import STAGES, StageName, train_stage
from alpamayo_ros.types import InvalidInput, Request


def train_command(
    stage: StageName | Literal["debug"], size: str, data: Sequence[Path], begin: Path | None, base: Path, out: Path
) -> dict[str, Any]:
    """One stage of a size, or with "debug" all of them. Raises InvalidInput."""
    torch.set_num_threads(1)  # two cores gain nothing on networks this small
    if stage == "debug":
        return train_all("debug", list(_scenes(data)) if data else None, base, out, ALONE)
    if stage not in STAGES.get(size, {}):
        raise InvalidInput(f"size {size} has no stage {stage} yet; there are {', '.join(STAGES)}")
    if begin is None:
        begin = out / "begin"
        if not begin.exists():
            begin_bundle(begin, base, SIZES[size])
    scenes = list(_scenes(data)) if data else debug_scenes(open_codec(begin).profile)
    fitted = train_stage(stage, STAGES[size][stage], scenes, begin, out, ALONE)
    return {**asdict(fitted), "files": [str(out / "bundle")]}


def _scenes(data: Sequence[Path]) -> Iterator[SceneSamples]:
    """Of data sets of the driving world. Raises InvalidInput for damaged ones."""
    opened = open_dataset(*data)
    verify(opened)
    for shard in opened.shards:
        if shard.ids is not None:
            raise InvalidInput(f"{shard.path}: of recorded drives; these stages learn from the driving world's scenes")
        yield from read_shard(shard.path)


@dataclass(frozen=True)
class Drives:
    """Recorded drives to be labelled."""

    bags: tuple[Path, ...]
    rig: str
    profile: str
    period_s: float = 0.5  # between the moments that are looked at


def label_drives(drives: Drives, endpoint: Endpoint, cache: Path, out: Path, review: Path | None) -> dict[str, Any]:
    """By a vision-language model behind an endpoint, at keyframes; with a page for human review where one is wanted."""
    client, skipped = Client(endpoint, cache), Skipped()
    moments = list(at_keyframes(_examples(drives, skipped), drives.period_s))
    figures = label_moments(moments, partial(labelled, client), source(client), out, client.each)
    if review is not None:
        files = write_review(review, _pairs(moments, out), f"{endpoint.model}: {len(moments)} moments")
        figures["files"] = [*figures.get("files", []), *map(str, files)]
    return {**figures, "windows_skipped": dict(skipped.counts), "spent": asdict(client.spent)}


def _examples(drives: Drives, skipped: Skipped) -> Iterator[Example]:
    rig, profile = read_rig(drives.rig), read_profile(drives.profile)
    for bag in drives.bags:
        yield from bag_examples(bag.name, bag, rig, profile, 1.0 / drives.period_s, skipped)


def _pairs(moments: Sequence[Moment], out: Path) -> list[tuple[Moment, Any]]:
    """Moments with their newest record."""
    known = {(record.clip, record.t0_ns): record for record in read_records(out).records}
    named = [((moment.example.clip, moment.example.observation.stamp_ns), moment) for moment in moments]
    return [(moment, known[name]) for name, moment in named if name in known]


def examine_command(bundle: str, data: Sequence[Path], windows: int, out: Path) -> dict[str, Any]:
    """Examine a bundle on windows of data sets of the driving world, evenly over their scenes. Raises InvalidInput."""
    profile, space = bundle_profile(bundle), bundle_action_space(bundle)
    asked = evenly(list(sittings(_scenes(data), profile)), windows)
    led = [other for sitting in asked if (other := led_elsewhere(sitting)) is not None]
    request = Request(samples=6, greedy=False, seed=0)
    with closing(open_engine(bundle)) as engine, closing(KinematicEngine()) as kinematic:
        found = report(
            list(answers(engine, asked, request, space)),
            list(answers(engine, map(with_eyes_shut, asked), request, space)),
            list(answers(engine, led, request, space)),
            list(answers(kinematic, asked, Request(), RELEASED)),
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "exam.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "exam.md").write_text(table(found))
    print(table(found), file=sys.stderr)
    brief = {name: found[name] for name in ("windows", "gap_closed", "obeys", "flips")}
    return brief | {"model": found["model"]["means"], "files": [str(out / "exam.json"), str(out / "exam.md")]}


def evenly(asked: Sequence[Sitting], most: int) -> list[Sitting]:
    """At most so many, from the whole of them."""
    places = np.unique(np.linspace(0, len(asked) - 1, min(most, len(asked))).round().astype(int))
    return [asked[place] for place in places]


def table(found: Mapping[str, Any]) -> str:
    """What a reader wants first, as Markdown."""
    columns = ("model", "eyes_shut", "kinematic")
    names = list(dict.fromkeys(name for column in columns for name in found[column]["means"]))
    lines = [f"| {found['windows']} windows | {' | '.join(columns)} |", "| --- " * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(_told(found[column]['means'].get(name)) for column in columns)} |" for name in names]
    for name in ("obeys", "flips"):
        lines.append(f"| {name} (of {found[name]['of']}) | {_number(found[name]['share'])} | – | – |")
    return "\n".join([*lines, f"| gap closed | {_number(found['gap_closed'])} | – | 0 |", ""])


def _told(estimate: Mapping[str, float | None] | None) -> str:
    if estimate is None:
        return "–"
    return f"{_number(estimate['mean'])} ({_number(estimate['low'])} to {_number(estimate['high'])})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
