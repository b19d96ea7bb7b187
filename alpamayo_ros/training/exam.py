"""What a trained model knows: held-out windows of the driving world, with its eyes open, shut, and led elsewhere.

Every figure is a mean over windows with a bootstrap interval over scenes. The kinematic baseline needs no eyes; the expert's
own intention at t0 is what can be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.contract import Engine
from alpamayo_ros.evaluation.metrics import Driven, WindowMetrics, consistency_share, window_metrics
from alpamayo_ros.evaluation.statistics import Estimate, estimate
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import CameraFrame, EngineFailure, Maneuver, Observation, Plan, Request

TURNED_RAD = np.pi / 6
"""A heading that ended further to a side has turned to it."""

MIRRORED: Mapping[Maneuver, Maneuver] = {
    "turn_left": "turn_right",
    "turn_right": "turn_left",
    "keep_left": "keep_right",
    "keep_right": "keep_left",
}


class Sitting(NamedTuple):
    """A window, and what is known of it."""

    family: str
    example: Example
    surprise_m: float  # mean distance between what was driven and what the expert intended at t0


class Answer(NamedTuple):
    """What somebody planned for a window; None where no plan came."""

    sitting: Sitting
    plan: Plan | None
    metrics: WindowMetrics | None


def sittings(scenes: Iterable[SceneSamples], profile: InputProfile) -> Iterator[Sitting]:
    """All windows of scenes."""
    for taken in scenes:
        for sample, example in zip(taken.samples, scene_examples(taken, profile), strict=True):
            yield Sitting(taken.scene.id.family, example, sample.label.surprise_m)


def answers(engine: Engine, asked: Iterable[Sitting], request: Request, space: ActionSpace) -> Iterator[Answer]:
    """Let an engine plan every window. A window without a plan is an answer, too."""
    for sitting in asked:
        try:
            made = plan(sitting.example.observation, engine, request, space)
        except EngineFailure:
            yield Answer(sitting, None, None)  # counted in the figures as a window without a plan
            continue
        way = sitting.example.future
        yield Answer(sitting, made, window_metrics(made, Driven(way.xyz, way.yaw_rad, way.speed_mps)))


def with_eyes_shut(sitting: Sitting) -> Sitting:
    """The same window, all pictures of one grey."""
    return _with(sitting, frames=_frames(sitting.example.observation, lambda image: np.full_like(image, 127)))


def led_elsewhere(sitting: Sitting) -> Sitting | None:
    """The same window with the navigation command to the other side; None where there is no such command."""
    said = sitting.example.observation.navigation
    if said is None or said.maneuver not in MIRRORED:
        return None
    return _with(sitting, navigation=replace(said, maneuver=MIRRORED[said.maneuver]))


def _frames(seen: Observation, change: Callable[[Any], Any]) -> dict[str, tuple[CameraFrame, ...]]:
    return {role: tuple(replace(frame, image=change(frame.image)) for frame in frames) for role, frames in seen.frames.items()}


def _with(sitting: Sitting, **changes: Any) -> Sitting:
    return sitting._replace(example=replace(sitting.example, observation=replace(sitting.example.observation, **changes)))


@dataclass(frozen=True)
class Marks:
    """Of one paper: everything by name, with its interval over scenes."""

    windows: int
    without_plan: int
    means: Mapping[str, Estimate]
    shuffled_consistency: float | None

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "means": {name: each._asdict() for name, each in self.means.items()}}


def marks(given: Sequence[Answer]) -> Marks:
    """What answers are worth; a window without a plan counts against decision and consistency, and has no distance."""
    clips = [answer.sitting.example.clip for answer in given]
    values: dict[str, list[float | None]] = {
        "ade_1_m": [_at_horizon(answer, "min_ade_1") for answer in given],
        "min_ade_6_m": [_at_horizon(answer, "min_ade_6") for answer in given],
        "expert_ade_m": [answer.sitting.surprise_m for answer in given],
        "decision": [float(_decides_right(answer)) for answer in given],
        "consistency": [_consistent(answer) for answer in given],
    }
    known = {name: each for name, each in values.items() if any(value is not None for value in each)}
    plans = [answer.plan for answer in given if answer.plan is not None]
    return Marks(
        windows=len(given),
        without_plan=len(given) - len(plans),
        means={name: estimate(each, clips) for name, each in known.items()},
        shuffled_consistency=consistency_share(plans)[1],
    )


def gap_closed(model: Marks, kinematic: Marks) -> float | None:
    """Of the way from the kinematic baseline's ADE_1 to the expert's, the part that a model has gone; 1 is the expert.

    None for a model without a plan.
    """
    if "ade_1_m" not in model.means:
        return None
    far, near = kinematic.means["ade_1_m"].mean, model.means["expert_ade_m"].mean
    return (far - model.means["ade_1_m"].mean) / (far - near)


def by_family(given: Sequence[Answer]) -> dict[str, Marks]:
    """The same for each family of scenes."""
    families = dict.fromkeys(answer.sitting.family for answer in given)
    return {family: marks([answer for answer in given if answer.sitting.family == family]) for family in families}


def obeys(answer: Answer) -> bool | None:
    """Whether a plan turns to the side that a junction command says; None where none does, or nobody turned within the horizon.

    A plan has turned where its heading ends more than TURNED_RAD to a side.
    """
    said = answer.sitting.example.observation.navigation
    turned = abs(answer.sitting.example.future.yaw_rad[-1]) >= TURNED_RAD
    if said is None or said.maneuver not in ("turn_left", "turn_right") or not turned:
        return None
    if answer.plan is None:
        return False
    ended = float(answer.plan.trajectory.yaw_rad[-1])
    return ended > TURNED_RAD if said.maneuver == "turn_left" else ended < -TURNED_RAD


def _at_horizon(answer: Answer, stem: str) -> float | None:
    return None if answer.metrics is None else answer.metrics.values().get(f"{stem}_6_4s")


def _decides_right(answer: Answer) -> bool:
    truth = answer.sitting.example.reasoning
    return answer.plan is not None and truth is not None and answer.plan.reasoning.decision == truth.decision


def _consistent(answer: Answer) -> float:
    return float(answer.plan is not None and answer.plan.consistent.agrees is True)


def report(
    model: Sequence[Answer], shut: Sequence[Answer], led: Sequence[Answer], kinematic: Sequence[Answer]
) -> dict[str, Any]:
    """Everything that is asked of a small model: with eyes open, with eyes shut, and with commands to the other side."""
    own, baseline = marks(model), marks(kinematic)
    return {
        "windows": own.windows,
        "gap_closed": gap_closed(own, baseline),
        "model": own.told(),
        "eyes_shut": marks(shut).told(),
        "kinematic": baseline.told(),
        "obeys": _share([obeys(answer) for answer in model]),
        "flips": _share([obeys(answer) for answer in led]),
        "families": {family: each.told() for family, each in by_family(model).items()},
        "families_kinematic": {family: each.told() for family, each in by_family(kinematic).items()},
    }


def _share(verdicts: Sequence[bool | None]) -> dict[str, float | int | None]:
    known = [verdict for verdict in verdicts if verdict is not None]
    return {"share": sum(known) / len(known) if known else None, "of": len(known)}
