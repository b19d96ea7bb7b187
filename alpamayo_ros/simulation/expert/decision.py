"""What a plan decides, on each axis, and for which causes: read off the plan itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from alpamayo_ros.reasoning import consistent, meta_actions
from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.simulation.expert.manoeuvres import Manoeuvre, Phase
from alpamayo_ros.simulation.expert.scene import Scene
from alpamayo_ros.simulation.expert.speed import Drive, Why
from alpamayo_ros.types import STEP_S, Decision, MetaAction, Trajectory

LOOK_S = 3.5  # where nothing happens at first, what holds the ego during this time is what it decides for
STANDING = ("parked_car", "broken_down_car", "truck", "cones", "barrier")
_NEUTRAL = ("maintain_speed", "go_straight")


def decide(
    scene: Scene, manoeuvre: Manoeuvre, drive: Drive, trajectory: Trajectory, resumes: Cause | None
) -> tuple[Decision, tuple[Cause, ...]]:
    """The first decision on each axis and its causes, the deciding one first.

    The longitudinal decision is made by what limits the speed during the plan's first action, the lateral one by the move
    that its first steering belongs to; where the plan does not do what such a decision means, the next likely one is taken.
    """
    actions = meta_actions(trajectory, scene.speed_mps)
    whys = list(_longitudinal(scene, manoeuvre, drive, [a for a in actions if a.axis == "longitudinal"], resumes))
    phases = list(_lateral(scene, manoeuvre, drive, [a for a in actions if a.axis == "lateral"]))
    whys = [why for why in whys if _is_in_sight(scene, why)]
    pairs = [(why, phase) for why in whys for phase in phases]
    why, phase = next((p for p in pairs if consistent(_decision(*p), actions).agrees), pairs[0])
    return _decision(why, phase), _causes(scene, why, phase)


def _is_in_sight(scene: Scene, why: Why) -> bool:
    """Whether any of its causes is; what has gone out of sight is obeyed, but is no reason to give."""
    return any(scene.in_sight.issuperset(cause.things) for cause in why.causes)


def _decision(why: Why, phase: Phase | None) -> Decision:
    if phase is None:
        return Decision(why.decision, "lane_keeping")
    return Decision(why.decision, phase.decision, phase.direction)


def _causes(scene: Scene, why: Why, phase: Phase | None) -> tuple[Cause, ...]:
    """Of both decisions, each once, as far as they are in sight; nothing in the way is a cause only where there is no other."""
    lateral = () if phase is None else phase.causes
    first = why.decision == "set_speed_tracking" or (phase is not None and phase.decision == "maneuver_abort")
    both = (*lateral, *why.causes) if first else (*why.causes, *lateral)
    once = {(cause.kind, cause.things): cause for cause in reversed(both)}
    seen = [once[key] for key in dict.fromkeys((cause.kind, cause.things) for cause in both)]
    seen = [cause for cause in seen if cause.kind != "clear_road" and scene.in_sight.issuperset(cause.things)]
    return tuple(replace(cause, distance_m=max(cause.distance_m, 0.0)) for cause in seen) or (clear_road(),)


def clear_road() -> Cause:
    """Nothing is in the way."""
    return Cause("clear_road", ("road",), 0.0)


def _longitudinal(
    scene: Scene, manoeuvre: Manoeuvre, drive: Drive, actions: Sequence[MetaAction], resumes: Cause | None
) -> Iterator[Why]:
    """Decisions in the order of likelihood."""
    first = next((a for a in actions if a.action not in _NEUTRAL), None)
    starts = first is not None and first.action == "stop" and len(actions) > 1 and scene.speed_mps < 0.3
    window = (0.0, LOOK_S) if first is None else (first.start_s, min(first.end_s, first.start_s + LOOK_S))
    slice_ = slice(round(window[0] / STEP_S), max(round(window[1] / STEP_S), round(window[0] / STEP_S) + 1))
    counted = Counter(drive.limiting[slice_])
    speeds_up = first is not None and first.action.endswith("accelerate")
    if speeds_up and manoeuvre.passing:
        yield Why("acceleration_for_passing", manoeuvre.passing)
    for why, _ in counted.most_common():
        if manoeuvre.searching is not None and why.decision == "set_speed_tracking":
            yield manoeuvre.searching
        yield _resuming(why, resumes if speeds_up or starts else None)
        yield from _instead_of_searching(why)
    yield from (why for why in dict.fromkeys(drive.limiting) if why not in counted)
    yield _resuming(Why("set_speed_tracking", (clear_road(),)), resumes)


def _instead_of_searching(why: Why) -> Iterator[Why]:
    """Who brakes hard or halts for want of a gap gives way, or stops where the lane ends."""
    if why.decision == "gap_searching":
        if why.causes[0].kind == "vehicle_alongside":
            yield Why("yield", why.causes)
        yield Why("stop_for_static_constraints", tuple(cause for cause in why.causes if cause.kind in ("lane_ends", *STANDING)))


def _resuming(why: Why, resumes: Cause | None) -> Why:
    return Why(why.decision, (resumes,)) if why.decision == "set_speed_tracking" and resumes is not None else why


def _lateral(scene: Scene, manoeuvre: Manoeuvre, drive: Drive, actions: Sequence[MetaAction]) -> Iterator[Phase | None]:
    """Moves in the order of likelihood; None is keeping the lane."""
    first = next((a for a in actions if a.action not in _NEUTRAL), None)
    if first is not None:
        start, end = np.interp((first.start_s, first.end_s), np.arange(len(drive.along_m)) * STEP_S, drive.along_m)
        there = [p for p in manoeuvre.phases if p.from_m - 2.0 < end and start < p.to_m]
        yield from (_from_here(p, scene) for p in sorted(there, key=lambda p: p.from_m))
    yield None
    yield from (_from_here(p, scene) for p in manoeuvre.phases if scene.stance.along_m < p.to_m < drive.along_m[-1] + 20.0)


def _from_here(phase: Phase, scene: Scene) -> Phase:
    """With the route's distances counted from the ego."""
    causes = tuple(
        replace(cause, distance_m=phase.from_m - scene.front_m) if cause.kind in ("turn", "exit") else cause
        for cause in phase.causes
    )
    return replace(phase, causes=causes)
