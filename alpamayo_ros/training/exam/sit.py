"""Sit an exam: scenes of a data set and pairs made from seeds are asked, a report is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from alpamayo_ros.engine.loading import bundle_name, bundle_profile
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.data.pairs import PAIR_FAMILIES, PAIR_KINDS, PairKind, ScenePair, Unpaired, scene_pair
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.suites import SceneId, Split, scenes
from alpamayo_ros.training.exam.answered import Answer, Paper, answered, led
from alpamayo_ros.training.exam.asked import Sitting, both_of, evenly, sittings
from alpamayo_ros.training.exam.pictures import draw_answers
from alpamayo_ros.training.exam.report import Answered, figures, markdown, parts
from alpamayo_ros.types import InvalidInput, Request

AS_ON_THE_VEHICLE = Request()
SIX = Request(samples=6, greedy=False)
PICTURED = 12
"""Windows that are drawn."""
SEEDS_PER_PAIR = 2
"""Scenes that are tried for a pair, at most."""


@dataclass(frozen=True)
class Exam:
    """What is asked of whom. Raises InvalidInput for numbers that make no exam."""

    bundle: str
    blind: str | None  # a control that was trained on grey pictures
    windows: int
    pairs: int  # of each kind
    rig: Rig  # that the pictures of pairs are taken with
    workers: int

    def __post_init__(self) -> None:
        if self.windows < 1 or self.pairs < 0 or self.workers < 1:
            raise InvalidInput(f"want 1 window, 0 pairs, 1 worker or more, got {self.windows}, {self.pairs} and {self.workers}")


def sit(exam: Exam, taken: Iterable[SceneSamples], split: Split, out: Path) -> dict[str, Any]:
    """Ask about windows of scenes, and about pairs of the same split; write exam.json, exam.md and exam.png into a folder.

    Returns what a script wants to know. Raises InvalidInput.
    """
    profile = bundle_profile(exam.bundle)
    asked = evenly(list(sittings(taken, profile)), exam.windows)
    if not asked:
        raise InvalidInput("the data sets have no window")
    made = {kind: list(_pairs(exam, kind, split, profile)) for kind in PAIR_KINDS} if exam.pairs else {}
    given = _answered(exam, asked, {kind: _sittings(pairs, profile) for kind, pairs in made.items()})
    scored = figures(given)
    about = {
        "windows": f"{len(asked)} of {len({sitting.example.clip for sitting in asked})} scenes, split {split}",
        "control trained blind": "none" if exam.blind is None else bundle_name(exam.blind),
        **{f"{kind} pairs": _counted(pairs) for kind, pairs in made.items()},
    }
    found = {
        "bundle": bundle_name(exam.bundle),
        "about": about,
        "figures": [figure.told() for figure in scored],
        "parts": parts(given),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "exam.json").write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    (out / "exam.md").write_text(markdown(found))
    pictured = evenly(range(len(asked)), PICTURED)
    draw_answers([(given.model[place], given.kinematic[place]) for place in pictured], out / "exam.png")
    goals = [figure for figure in scored if figure.goal is not None]
    return {
        "windows": len(asked),
        "goals": len(goals),
        "goals_met": sum(figure.told()["met"] for figure in goals),
        "figures": {figure.name: None if figure.got is None else figure.got.mean for figure in scored},
        "files": [str(out / name) for name in ("exam.json", "exam.md", "exam.png")],
    }


def _answered(exam: Exam, asked: Sequence[Sitting], pairs: dict[PairKind, list[tuple[Sitting, Sitting]]]) -> Answered:
    """One paper after the other."""

    def by_model(title: str, those: Sequence[Sitting], request: Request = AS_ON_THE_VEHICLE) -> Paper:
        return Paper(title, exam.bundle, those, request)

    hand_in = partial(answered, workers=exam.workers)
    shut = by_model("blanked cameras", asked)._replace(eyes_shut=True)
    return Answered(
        model=hand_in(by_model("the model", asked)),
        six=hand_in(by_model("six trajectories", asked, SIX)),
        eyes_shut=hand_in(shut),
        led=hand_in(by_model("led elsewhere", led(asked))),
        kinematic=hand_in(Paper("kinematic", "kinematic", asked, AS_ON_THE_VEHICLE)),
        blind=[] if exam.blind is None else hand_in(shut._replace(title="trained blind", bundle=exam.blind)),
        pairs={
            kind: _in_twos(hand_in(by_model(f"{kind} pairs", [one for both in those for one in both])))
            for kind, those in pairs.items()
        },
    )


def _in_twos(members: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    return list(zip(members[::2], members[1::2], strict=True))


def _pairs(exam: Exam, kind: PairKind, split: Split, profile: InputProfile) -> Iterator[ScenePair | Unpaired]:
    """As many pairs of a kind as are wanted, and why the scenes between them gave none."""
    tried = SEEDS_PER_PAIR * exam.pairs
    ids = scenes(PAIR_FAMILIES[kind], split, tried)[:tried]
    wanted = exam.pairs
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"making {kind} pairs", total=wanted)
        for made in _made(exam, partial(scene_pair, kind, rig=exam.rig, profile=profile), ids):
            yield made
            wanted -= isinstance(made, ScenePair)
            progress.update(task, completed=exam.pairs - wanted)
            if not wanted:
                return


def _made(
    exam: Exam, make: Callable[[SceneId], ScenePair | Unpaired], ids: Sequence[SceneId]
) -> Iterator[ScenePair | Unpaired]:
    """In the order of the scenes, a few of them at a time."""
    if exam.workers == 1:
        yield from map(make, ids)
        return
    together = 2 * exam.workers
    with ProcessPoolExecutor(exam.workers, get_context("spawn")) as pool:
        for at in range(0, len(ids), together):
            yield from pool.map(make, ids[at : at + together])


def _sittings(made: Sequence[ScenePair | Unpaired], profile: InputProfile) -> list[tuple[Sitting, Sitting]]:
    return [both_of(pair, profile) for pair in made if isinstance(pair, ScenePair)]


def _counted(made: Sequence[ScenePair | Unpaired]) -> str:
    counts = Counter("kept" if isinstance(each, ScenePair) else each for each in made)
    return ", ".join(f"{count} {what}" for what, count in counts.most_common()) + f", of {len(made)} scenes"
