"""Keyframes of recorded drives, of which nobody knows more than how they were driven: 10 Hz meta-actions of the odometry.

Half a second before a meta-action gives way to another one, and ranges of curves; all other scenarios need events. A drive is
looked at in stretches of 20 s, as long as the clips of the paper (section 4).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from alpamayo_ros.bags import read_bag
from alpamayo_ros.evaluation.openloop.results import CLIP_S
from alpamayo_ros.evaluation.openloop.truth import driven
from alpamayo_ros.evaluation.replay import BagPass
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.training.coc.keyframes import FUTURE_S, HISTORY_S, Event, Keyframe, keyframes, moments_s, transitions
from alpamayo_ros.training.coc.schema import Moment
from alpamayo_ros.training.dataset.recordings import trajectory_of
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import STEP_S, EgoPose, MetaAction, Trajectory

RANGE_STEP_S = HISTORY_S
"""Between the moments of a range: no picture is shown twice."""

CURVE_RAD = math.radians(25)
"""What is steered in one go and turns by more was a curve: of ten such in 64 drives of the driving world nine were."""

_APART_NS = 50_000_000  # poses that are kept: enough for 10 Hz, whatever the odometry's rate
_FRESH_NS = round((CLIP_S - HISTORY_S - FUTURE_S + STEP_S) * 1e9)  # of a stretch: what has a history and a future in it
_TIMES_S = STEP_S * np.arange(1.0, round(CLIP_S / STEP_S) + 1.0)


def bag_keyframes(bag: Path, rig: Rig, profile: InputProfile) -> tuple[Keyframe, ...]:
    """Keyframes of a bag, whose times are stamps in s; one drive ends where the odometry jumps. No picture is decoded.

    Raises InvalidInput as BagPass does.
    """
    return tuple(frame for poses in _odometry(bag, rig, profile) for frame in drive_keyframes(poses))


def drive_keyframes(poses: Sequence[EgoPose]) -> Iterator[Keyframe]:
    """Keyframes of poses in stamp order, whose times are stamps in s; one drive ends and another begins at a gap over 0.2 s."""
    for begin_s, way, v0_mps in _stretches(poses):
        for frame in way_keyframes(way, v0_mps):
            yield replace(frame, t_s=begin_s + frame.t_s, until_s=begin_s + frame.until_s)


def way_keyframes(way: Trajectory, v0_mps: float) -> tuple[Keyframe, ...]:
    """Keyframes of a way that begins at speed v0 m/s; points 0.1 s apart, times since its beginning."""
    actions, duration_s = meta_actions(way, v0_mps), float(way.t_s[-1])
    return (*keyframes(actions, _curves(way, actions), duration_s), *transitions(actions, duration_s))


def at_keyframes(examples: Iterable[Example], frames: Sequence[Keyframe], period_s: float) -> Iterator[Moment]:
    """Of a drive's examples, about `period_s` apart, the first one near each moment of keyframes whose times are stamps in s.

    Where several meet in one example, one whose scenario is known names it.
    """
    left = [(t_s, frame.scenario) for frame in frames for t_s in moments_s(frame, RANGE_STEP_S)]
    for example in examples:
        t0_s = example.observation.stamp_ns / 1e9
        near = [one for one in left if abs(one[0] - t0_s) <= 0.55 * period_s]  # half, and what cameras' clocks are off
        if near:
            left = [one for one in left if one not in near]
            yield Moment(example, next((scenario for _, scenario in near if scenario is not None), None))


def _odometry(bag: Path, rig: Rig, profile: InputProfile) -> Iterator[Sequence[EgoPose]]:
    """Of every epoch, poses in stamp order."""
    epochs = defaultdict[int, list[EgoPose]](list)

    def keep(pose: EgoPose, epoch: int) -> None:
        known = epochs[epoch]
        if not known or pose.stamp_ns - known[-1].stamp_ns >= _APART_NS:
            known.append(pose)

    with closing(BagPass(bag, rig, profile, (), lambda _topic, _reason: None, keep)) as one_pass:
        for record in read_bag(bag, [name for name in (rig.odometry.topic, "/tf_static") if one_pass.counts[name]]):
            one_pass.take(record)
    yield from epochs.values()


def _stretches(poses: Sequence[EgoPose]) -> Iterator[tuple[float, Trajectory, float]]:
    """When each begins, s, its way and its first speed, m/s: every keyframe has its history and future in one of them."""
    stamps_ns = [pose.stamp_ns for pose in poses]
    begin = 0
    while begin < len(poses):
        first, found = poses[begin], driven(poses[begin:], poses[begin], _TIMES_S)
        known_s = STEP_S * len(found.xyz)
        if known_s >= HISTORY_S + FUTURE_S:
            yield first.stamp_ns / 1e9, trajectory_of(found, first.speed_mps), first.speed_mps
        after_ns = _FRESH_NS if len(found.xyz) == len(_TIMES_S) else round(known_s * 1e9) + 1
        begin = int(np.searchsorted(stamps_ns, first.stamp_ns + after_ns))


def _curves(way: Trajectory, actions: Sequence[MetaAction]) -> Iterator[Event]:
    """Entered and left; a turn at a junction is sharper than what is called steering."""
    yaw_rad = np.append(0.0, way.yaw_rad)
    for action in actions:
        first, last = round(action.start_s / STEP_S), round(action.end_s / STEP_S)
        if action.action in ("steer_left", "steer_right") and abs(yaw_rad[last] - yaw_rad[first]) > CURVE_RAD:
            yield from (Event("enters_curve", action.start_s), Event("exits_curve", action.end_s))
