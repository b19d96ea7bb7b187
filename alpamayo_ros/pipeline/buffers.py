"""Everything a vehicle said lately, by kind; what an observation is made from."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from alpamayo_ros import geometry
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.frames import FrameBuffer, Ring, check_future
from alpamayo_ros.pipeline.poses import MAX_GAP_NS, Offered, PoseBuffer, SignalBuffer, Transforms
from alpamayo_ros.pipeline.window import Counts, ring_slots
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.safety.contract import EpochCause
from alpamayo_ros.types import CameraFrame, EgoPose, InvalidInput, Navigation, SignalSample

__all__ = ["Buffers", "Counts", "FrameBuffer", "PoseBuffer", "SignalBuffer", "Snapshot", "Transforms", "ring_slots"]

JUMPS_WITHIN_NS = 10_000_000_000
"""How long a jump of odometry is told as a reason."""

SAME_CAUSE_NS = 500_000_000
"""A jump of odometry so soon after one of the clock is that one, seen again."""

NAVIGATION_TEXT_NS = 60_000_000_000
"""Free words say no place and no time at which they are done: they are forgotten after a minute."""

_RATE_SLACK = 1.05  # a period may be this much longer than the profile's frame spacing


class Jump(NamedTuple):
    """One jump of odometry."""

    at_ns: int  # on the buffers' clock
    text: str


class Newest(NamedTuple):
    """The newest pose, and what epoch it is of."""

    epoch: int
    cause: EpochCause
    pose: EgoPose | None  # None: none of this epoch yet
    ros_ns: int  # when it came, on the clock of the stamps
    steady_ns: int  # when it came, on the buffers' clock


@dataclass(frozen=True)
class Snapshot:
    """What the buffers held for one t0, all of one epoch."""

    epoch: int
    frames: Mapping[str, tuple[CameraFrame, ...]]  # by role, the nearest to each frame offset of the profile, oldest first
    poses: tuple[EgoPose, ...]
    navigation: Navigation | None
    signals: tuple[SignalSample, ...]


class Buffers:
    """One place per kind of input. Callbacks fill it, a planning thread reads it; any thread may call any method.

    `take_*` are the whole way of a message from a callback, a bag or a simulator into the buffers. Raises InvalidInput
    when the rig lacks what the profile needs.
    """

    def __init__(
        self,
        profile: InputProfile,
        rig: Rig,
        ring: Ring,
        threads: int = 2,
        on_frame: Callable[[CameraFrame], object] | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        rig.check_covers(profile)
        check_rates(profile, rig)
        self.profile = profile
        self.rig = rig
        self.frames = FrameBuffer(profile, rig, ring, threads, on_frame, clock_ns)
        self.poses = PoseBuffer(profile.history_steps, self.frames.changed)
        self.signals = SignalBuffer(profile.history_steps)
        self.transforms = Transforms()
        self.navigation: Navigation | None = None  # latched until it expires
        self.epoch_reason = ""  # why the current epoch began
        self.epoch_cause: EpochCause = "start"
        self._epoch_began_ns = clock_ns()
        self._epoch_lock = threading.Lock()
        self._clock_ns = clock_ns
        self._jumps: deque[Jump] = deque(maxlen=10_000)  # 10 s at the highest rate a rig can declare
        self._pose_came_ns = (0, 0)  # ROS time and own clock, of the newest pose

    @property
    def epoch(self) -> int:
        """Rises by one at every jump of the clock or of the pose; nothing of an earlier epoch is used."""
        return self.frames.epoch

    @property
    def roles(self) -> tuple[str, ...]:
        """Cameras that both the profile and the rig have, in index order."""
        return tuple(role for role in self.profile.cameras if role in self.rig.cameras)

    def take_image(self, msg: Any, role: str, now_ns: int) -> None:
        """A camera message (see `decode.camera_frame`). Raises InvalidInput, after counting it."""
        camera, exposed_ns = self.rig.cameras[role], None
        try:
            exposed_ns = decode.exposure_ns(msg, role, camera)
            frame = decode.camera_frame(msg, role, camera, self.epoch)
        except InvalidInput as error:
            self.frames.refuse(role, str(error), exposed_ns, now_ns)
            raise
        self.frames.offer(frame, now_ns)

    def take_odometry(self, msg: Any, now_ns: int) -> Offered:
        """An odometry message (see `decode.ego_pose`). After a "jump" it is the first pose of a new epoch.

        Raises InvalidInput.
        """
        base_from_child = None
        if msg.child_frame_id != self.rig.base_frame:
            base_from_child = self.transforms.lookup(self.rig.base_frame, msg.child_frame_id)
        pose = decode.ego_pose(msg, self.rig, base_from_child)
        check_future("odometry", pose.stamp_ns, now_ns)
        newest = self.poses.newest()
        outcome = self.poses.offer(pose)
        if outcome == "jump" and newest is not None:
            with self._epoch_lock:
                self._jumps.append(Jump(self._clock_ns(), _jump_text(newest, pose)))
            ahead_s = (pose.stamp_ns - newest.stamp_ns) / 1e9
            moved = f"from {newest.position.round(2)} to {pose.position.round(2)} m"
            self.new_epoch(f"odometry jumped by {ahead_s:.3f} s {moved}", "odometry")
            self.poses.offer(pose)
        if outcome in ("kept", "jump"):
            self._pose_came_ns = now_ns, self._clock_ns()
        return outcome

    def take_transforms(self, msg: Any) -> None:
        """A /tf_static message. Raises InvalidInput."""
        for parent, child, parent_from_child in decode.static_transforms(msg):
            self.transforms.offer(parent, child, parent_from_child)

    def take_navigation(self, msg: Any) -> None:
        """A navigation command, kept until it expires or another comes. Raises InvalidInput."""
        if self.profile.navigation == "none":
            raise InvalidInput(f"profile {self.profile.name} takes no navigation: the command was dropped")
        self.navigation = decode.navigation(msg)

    def take_navigation_text(self, msg: Any, special_tokens: Collection[str], now_ns: int) -> None:
        """A route in free words, kept as a command that expires after NAVIGATION_TEXT_NS. Raises InvalidInput."""
        words = decode.navigation_text(msg.data, special_tokens)
        self.navigation = Navigation("continue", 0.0, "", now_ns + NAVIGATION_TEXT_NS, words)

    def take_signals(self, msg: Any, now_ns: int) -> None:
        """Ego signals. Raises InvalidInput."""
        sample = decode.ego_signals(msg)
        check_future("ego signals", sample.stamp_ns, now_ns)
        self.signals.offer(sample)

    def new_epoch(self, reason: str = "", cause: EpochCause = "clock") -> int:
        """Time or place jumped: forget everything but /tf_static, which holds at all times. Returns the new epoch.

        Where the clock jumped a moment ago, odometry jumps because of it: that is the cause of both.
        """
        with self._epoch_lock:
            began_ns, self._epoch_began_ns = self._epoch_began_ns, self._clock_ns()
            if cause == "odometry" and self.epoch_cause == "clock" and self._epoch_began_ns - began_ns < SAME_CAUSE_NS:
                cause = "clock"
            self.epoch_reason, self.epoch_cause = reason, cause
            self.navigation = None
            self.poses.clear()
            self.signals.clear()
            self.frames.clear(self.epoch + 1)
            return self.epoch

    def newest(self) -> Newest:
        """The newest pose with its epoch, all of one moment."""
        with self._epoch_lock:
            return Newest(self.epoch, self.epoch_cause, self.poses.newest(), *self._pose_came_ns)

    def jumped(self) -> str:
        """How often odometry jumped in the last 10 s, and by how much the last time; empty when it did not.

        Each jump empties the buffers: where it jumps more often than a window is long, nothing can ever be observed.
        """
        since_ns = self._clock_ns() - JUMPS_WITHIN_NS
        with self._epoch_lock:
            recent = [jump for jump in self._jumps if jump.at_ns > since_ns]
        if not recent:
            return ""
        count = "1 jump" if len(recent) == 1 else f"{len(recent)} jumps"
        return f"{count} in the last {JUMPS_WITHIN_NS / 1e9:.0f} s, the last one of {recent[-1].text}"

    def snapshot(self, t0_ns: int) -> Snapshot:
        """What is here now for an observation at t0, all of one epoch."""
        instants_ns = [t0_ns + offset_ns for offset_ns in self.profile.offsets_ns]
        with self._epoch_lock:
            command = self.navigation
            return Snapshot(
                epoch=self.epoch,
                frames={role: self.frames.nearest(role, instants_ns) for role in self.roles},
                poses=self.poses.poses(),
                navigation=command if command is not None and command.expires_ns > t0_ns else None,
                signals=self.signals.samples(),
            )

    def close(self) -> None:
        """End the decode threads. Closing twice is allowed."""
        self.frames.close()


def _jump_text(before: EgoPose, after: EgoPose) -> str:
    moved_m = math.dist(before.position, after.position)
    turned_rad = abs(geometry.yaw_of(before.odom_from_ego.T @ after.odom_from_ego))
    return f"{moved_m:.3g} m and {turned_rad:.2f} rad in {(after.stamp_ns - before.stamp_ns) / 1e6:.0f} ms"


def check_rates(profile: InputProfile, rig: Rig) -> None:
    """Raise InvalidInput when a rig can never be healthy: one frame would stand for two instants, or odometry is all gaps."""
    if rig.odometry.rate_hz * MAX_GAP_NS < 1e9:
        limit_hz = 1e9 / MAX_GAP_NS
        raise InvalidInput(f"rig {rig.name}: odometry at {rig.odometry.rate_hz:g} Hz is too slow, want {limit_hz:g} Hz or more")
    spacing_ms = min((b - a for a, b in pairwise(profile.frame_offsets_ms)), default=None)
    for role, camera in rig.cameras.items():
        if role in profile.cameras and spacing_ms and camera.period_ns > spacing_ms * 1e6 * _RATE_SLACK:
            raise InvalidInput(
                f"rig {rig.name}: {role} at {camera.rate_hz:g} Hz is too slow for frames {spacing_ms} ms apart ({profile.name})"
            )
