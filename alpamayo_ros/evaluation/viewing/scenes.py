"""What is shown of a bag, one instant after the other: camera frames, ego motion, the plan. Bags are streamed: in memory are
the frames of half a second and the poses of nine seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from alpamayo_ros.bags import Record, bag_topics, deserialize, read_bag
from alpamayo_ros.cameras import Camera, resized
from alpamayo_ros.drawing import plan_lines, wrapped
from alpamayo_ros.evaluation.calibration import View, calibration
from alpamayo_ros.evaluation.metrics import Driven
from alpamayo_ros.evaluation.openloop.truth import NOTHING, driven
from alpamayo_ros.evaluation.replay import Replay
from alpamayo_ros.geometry import apply, inverse, odom_from_ego
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.images import pixels_of_width
from alpamayo_ros.pipeline.poses import Skew, pose_at, skew
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import (
    F64,
    HORIZON,
    STEP_S,
    U8,
    EgoHistory,
    EgoPose,
    EncodedFrame,
    InvalidInput,
    Plan,
    StaleInput,
)

T = TypeVar("T")

STEP_NS = round(STEP_S * 1e9)
HISTORY_STEPS = 21
JUMP_NS = 1_000_000_000
"""A stamp that falls by more than this belongs to another round of a clock that was set back."""

FRAMES_AROUND_NS = 250_000_000
"""How far a frame may be from the instant it is shown at, and how late cameras may be compared to each other."""


class Status(NamedTuple):
    """What the planner says about itself."""

    state: str  # as in PlanStatus.msg; "offline" for plans made from the bag
    bundle: str
    weights: str
    latency_ms: float | None
    is_shadow: bool = False  # nobody drives by the plan
    problems: tuple[str, ...] = ()  # of the plan: what warns, and why it must not be driven by


@dataclass(frozen=True)
class Scene:
    """One instant. Frames are as recorded, undecoded."""

    t0_ns: int
    frames: Mapping[str, EncodedFrame]  # by role: the one nearest to t0
    views: Mapping[str, View]  # by role of the rig
    skews: Mapping[str, Skew]  # by role: where its frame sees the plan from
    ego: EgoPose | None  # at t0; None where no odometry covers it
    history: EgoHistory | None  # the last 2 s as far as odometry goes
    driven: Driven  # 6.4 s, as far as odometry goes
    plan: Plan | None
    refused: str  # why there is no plan; empty exactly when there is one
    status: Status

    def pixels(self, role: str, width: int) -> tuple[U8, Camera]:
        """A frame decoded `width` px wide, and the camera of that size. Raises InvalidInput for bytes that are no picture."""
        image = pixels_of_width(self.frames[role], width)
        return image, resized(self.views[role].camera, width, image.shape[0])

    def optical_from_ego_t0(self, role: str) -> F64:
        """Where the camera of a frame is (4, 4), seen from the ego of t0, at the frame's own exposure."""
        return self.views[role].optical_from_ego @ self.skews[role].ego_from_ego_t0


class Stamped(Generic[T]):
    """A stream of values with stamps, asked for those around instants that move forward as it does.

    A clock that was set back is followed when the instants are. Only what may be asked for again is held.
    """

    def __init__(self, source: Iterator[tuple[int, T]], behind_ns: int, ahead_ns: int) -> None:
        self._source = source
        self._behind_ns, self._ahead_ns = behind_ns, ahead_ns
        self._next = next(source, None)
        self._kept: list[tuple[int, T]] = []
        self._asked_ns = self._newest_ns = -(2**63)

    def around(self, t0_ns: int) -> list[T]:
        """Values in stamp order, from `behind_ns` before t0 to `ahead_ns` after it."""
        if t0_ns < self._asked_ns:
            self._newest_ns = -(2**63)
            while self._next is not None and self._next[0] > t0_ns + self._ahead_ns + JUMP_NS:
                self._next = next(self._source, None)
        self._asked_ns = t0_ns
        while self._next is not None and self._newest_ns < t0_ns + self._ahead_ns:
            stamp_ns = self._next[0]
            if stamp_ns < self._newest_ns - JUMP_NS:
                break  # the clock was set back: that is not for now
            self._newest_ns = stamp_ns
            if stamp_ns >= t0_ns - self._behind_ns:
                self._kept.append(self._next)
            self._next = next(self._source, None)
        latest_ns = t0_ns + self._ahead_ns + JUMP_NS
        self._kept = [item for item in self._kept if t0_ns - self._behind_ns <= item[0] <= latest_ns]
        near = [item for item in self._kept if item[0] <= t0_ns + self._ahead_ns]
        return [value for _, value in sorted(near, key=lambda item: item[0])]


class Surroundings:
    """Makes scenes of instants and plans: adds what a bag recorded around them."""

    def __init__(self, bag: Path, rig: Rig) -> None:
        self.refused: Counter[str] = Counter()  # messages that cannot be shown, by reason
        self._bag, self._rig = bag, rig
        self._recorded = bag_topics(bag)
        self.views, self._transforms = calibration(bag, rig, self._recorded)
        self._frames = Stamped(self._camera_frames(), FRAMES_AROUND_NS, FRAMES_AROUND_NS)
        self._poses = Stamped(self._ego_poses(), HISTORY_STEPS * STEP_NS, (HORIZON + 1) * STEP_NS)

    def scene(self, t0_ns: int, ego: EgoPose | None, plan: Plan | None, refused: str, status: Status) -> Scene:
        """`ego` is the pose that the planner used at t0, where it is known."""
        frames: dict[str, EncodedFrame] = {}
        for frame in self._frames.around(t0_ns):
            best = frames.get(frame.role)
            if best is None or abs(frame.stamp_ns - t0_ns) < abs(best.stamp_ns - t0_ns):
                frames[frame.role] = frame
        poses = self._poses.around(t0_ns)
        ego = ego or _pose_at(poses, t0_ns)
        # Without odometry nothing knows where the vehicle is, and each skew says so.
        placed = np.eye(4) if ego is None else odom_from_ego(ego)
        skews = {role: skew(poses, placed, t0_ns, frame.stamp_ns) for role, frame in frames.items()}
        if ego is None:
            return Scene(t0_ns, frames, self.views, skews, None, None, NOTHING, plan, refused, status)
        history = _history(poses, ego)
        return Scene(t0_ns, frames, self.views, skews, ego, history, driven(poses, ego), plan, refused, status)

    def _camera_frames(self) -> Iterator[tuple[int, EncodedFrame]]:
        roles = {camera.topic: role for role, camera in self._rig.cameras.items() if camera.topic in self._recorded}
        for record in read_bag(self._bag, list(roles)) if roles else ():
            role = roles[record.topic]
            camera = self._rig.cameras[role]
            frame = self._read(record, partial(decode.camera_frame, role=role, camera=camera, epoch=0))
            if frame is not None:
                yield frame.stamp_ns, frame

    def _ego_poses(self) -> Iterator[tuple[int, EgoPose]]:
        rig, topic, base = self._rig, self._rig.odometry.topic, self._rig.base_frame
        for record in read_bag(self._bag, [topic]) if topic in self._recorded else ():
            pose = self._read(
                record, lambda said: decode.ego_pose(said, rig, self._transforms.lookup(base, said.child_frame_id))
            )
            if pose is not None:
                yield pose.stamp_ns, pose

    def _read(self, record: Record, read: Callable[[Any], T]) -> T | None:
        """What `read` makes of a message; one that it refuses is counted."""
        try:
            return read(deserialize(record.cdr, record.type_name))
        except InvalidInput as error:
            self.refused[f"{record.topic}: {error}"] += 1
            return None


def planned_scenes(around: Surroundings, replay: Replay, bundle: str, from_t0_ns: int = 0) -> Iterator[Scene]:
    """Every anchor frame of a bag at or after an instant with the plan that a bundle makes for it."""
    for cycle in replay.cycles(from_t0_ns):
        problems = tuple(f"{'REJECTED' if one.rejects else 'warning'}: {one}" for one in cycle.findings if not one.shadow)
        status = Status("offline", bundle, replay.engine.weights, cycle.stage_ms.get("total"), problems=problems)
        yield _planned(around, cycle, status)


def _planned(around: Surroundings, cycle: Cycle, status: Status) -> Scene:
    ego = cycle.observation.ego_t0 if cycle.observation else None
    return around.scene(cycle.t0_ns, ego, cycle.plan, cycle.refused, status)


def said(scene: Scene, width_px: int = 10_000) -> list[str]:
    """What the planner says at an instant, in lines of ASCII no wider than `width_px`."""
    status = scene.status
    took = [] if status.latency_ms is None else [f"{status.latency_ms:.0f} ms"]
    shadow = ["SHADOW"] if status.is_shadow else []
    first = " | ".join([PurePath(status.bundle).name, *shadow, status.state, *took])
    if scene.plan is not None:
        problems = (line for problem in status.problems for line in wrapped(problem, width_px))
        return [*wrapped(first, width_px), *problems, *plan_lines(scene.plan, status.weights, width_px)]
    return wrapped(f"{first}\nweights: {status.weights.upper()}\nno plan: {scene.refused}", width_px)


def _pose_at(poses: list[EgoPose], t0_ns: int) -> EgoPose | None:
    try:
        return pose_at(poses, t0_ns)[0]
    except StaleInput:
        return None


def _history(poses: list[EgoPose], ego: EgoPose) -> EgoHistory:
    """As many exact steps back from t0 as odometry covers; where it says nothing, the vehicle stood where it is."""
    known = [ego]
    while len(known) < HISTORY_STEPS and (pose := _pose_at(poses, ego.stamp_ns - len(known) * STEP_NS)) is not None:
        known.append(pose)
    known = known[::-1] if len(known) > 1 else [ego, ego]
    ego_from_odom = inverse(odom_from_ego(ego))
    xyz = apply(ego_from_odom, np.array([pose.position for pose in known]))
    rot = ego_from_odom[:3, :3] @ np.array([pose.odom_from_ego for pose in known])
    return EgoHistory(ego.stamp_ns, xyz.astype(np.float32), rot.astype(np.float32))
