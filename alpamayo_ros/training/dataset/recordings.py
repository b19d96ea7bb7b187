"""Examples of a recorded drive: each t0 as the planner node would have seen it, with the future that odometry then recorded.

Messages go through the node's own decode, buffers and observe (`evaluation.replay.BagPass`), futures through the truth of
`alpamayo evaluate` (`openloop.truth`): a model is trained on exactly what it will see and be judged by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from alpamayo_ros.dynamics import motion_from_trajectory
from alpamayo_ros.evaluation.metrics import Driven
from alpamayo_ros.evaluation.openloop.results import Window
from alpamayo_ros.evaluation.openloop.truth import NOTHING, Waiting
from alpamayo_ros.evaluation.replay import BagPass
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import HORIZON, STEP_S, CameraFrame, InvalidInput, Observation, StaleInput, Trajectory


def check_example(example: Example, profile: InputProfile) -> None:
    """Raise InvalidInput that says what of an example a model of this profile cannot be trained with."""
    seen, steps, points = example.observation.frames, len(example.observation.history.xyz), len(example.future.t_s)
    if missing := [role for role in profile.required_roles if role not in seen]:
        raise InvalidInput(f"no frames of {', '.join(missing)}, which profile {profile.name} requires")
    for role, frames in seen.items():
        if len(frames) != len(profile.frame_offsets_ms):
            raise InvalidInput(f"{role}: want {len(profile.frame_offsets_ms)} frames, got {len(frames)}")
        if odd := next((frame for frame in frames if frame.image.shape != profile.image_shape), None):
            raise InvalidInput(f"{role}: want a picture {profile.image_shape}, got {odd.image.shape}")
    if steps != profile.history_steps:
        raise InvalidInput(f"ego history: want {profile.history_steps} poses, got {steps}")
    if points != HORIZON:
        raise InvalidInput(f"future: want {HORIZON} points, {points} are known")


def bag_examples(clip: str, bag: Path, rig: Rig, profile: InputProfile, rate_hz: float, skipped: Skipped) -> Iterator[Example]:
    """Examples of a bag, `rate_hz` per second at most, in the order of their t0; all else is counted in `skipped`.

    Windows that see the same frame share its object. Raises InvalidInput for a bag that is damaged or does not fit the rig.
    """
    rig.check_covers(profile)
    waiting, shown = Waiting(), _Shown()
    known: list[Window] = []
    seen: dict[int, Observation] = {}
    one_pass = BagPass(bag, rig, profile, (), skipped.add, lambda pose, epoch: known.extend(waiting.take(pose, epoch)))
    t0s: set[int] = set()
    with closing(one_pass):
        for t0_ns in one_pass.instants(one_pass.records(), rate_hz):
            yield from _whole(clip, known, seen, profile, skipped)
            if t0_ns in t0s:
                skipped.add("t0", "the recording repeats itself: this t0 has been seen")
                continue
            try:
                observation = observe(one_pass.buffers, t0_ns)
            except (StaleInput, InvalidInput) as error:
                skipped.add("t0", str(error))
                continue
            t0s.add(t0_ns)
            seen[t0_ns] = shown.kept(observation)
            waiting.add(Window(t0_ns, clip, observation.history, observation.ego_t0, NOTHING, 0.0, {}, {}, {}))
        known += waiting.end()
        yield from _whole(clip, known, seen, profile, skipped)


class _Shown:
    """Frames in memory of their own: those of an observation are views of the ring, whose slots are needed again."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int, int], CameraFrame] = {}

    def kept(self, observation: Observation) -> Observation:
        before, self._frames = self._frames, {}
        for frame in (frame for frames in observation.frames.values() for frame in frames):
            key = frame.role, frame.epoch, frame.stamp_ns
            self._frames[key] = before.get(key) or replace(frame, image=frame.image.copy(), slot=None)
        kept = {
            role: tuple(self._frames[frame.role, frame.epoch, frame.stamp_ns] for frame in frames)
            for role, frames in observation.frames.items()
        }
        return replace(observation, frames=kept)


def _whole(
    clip: str, known: list[Window], seen: dict[int, Observation], profile: InputProfile, skipped: Skipped
) -> Iterator[Example]:
    """Take windows whose future is known as far as it ever will be; those with all of it are examples."""
    while known:
        window = known.pop(0)
        observation = seen.pop(window.t0_ns)
        if len(window.driven.xyz) < HORIZON:
            skipped.add("future", f"known for {len(window.driven.xyz)} of 64 points")
            continue
        future = trajectory_of(window.driven, observation.speed_mps)
        example = Example(clip, observation, future, meta_actions(future, observation.speed_mps))
        try:
            check_example(example, profile)
        except InvalidInput as error:
            skipped.add("example", str(error))
            continue
        yield example


def trajectory_of(driven: Driven, v0_mps: float) -> Trajectory:
    """A driven future of n points, 0.1 s apart from 0.1 s on, with the actions that explain it from speed v0 m/s on.

    Places, headings and speeds are as they were recorded. Acceleration and curvature are the smoothed ones of the paper's
    section 3.2.2 (`dynamics.motion_from_trajectory`): differences of recorded speeds would be noise.
    """
    here = np.zeros((1, 3)), np.eye(3)[None]
    rotations = np.stack([rotation_z(yaw) for yaw in driven.yaw_rad.tolist()])
    motion = motion_from_trajectory(*here, driven.xyz, rotations, v0_mps)
    t_s = STEP_S * np.arange(1.0, len(driven.xyz) + 1.0)
    return Trajectory(t_s, driven.xyz, driven.yaw_rad, driven.speed_mps, motion.accel_mps2, motion.curvature_1pm)
