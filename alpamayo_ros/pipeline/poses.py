"""Ego poses over time, ego signals over time, and where frames sit on the vehicle."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from alpamayo_ros import geometry
from alpamayo_ros.pipeline.frames import measured_rate_hz
from alpamayo_ros.types import F64, EgoPose, InvalidInput, SignalSample, StaleInput

Offered = Literal["kept", "late", "duplicate", "jump"]
"""kept: the newest now. late: out of order, in its place. duplicate: its stamp was there, dropped. jump: not taken."""

BACKWARD_JUMP_NS = 100_000_000
FORWARD_JUMP_NS = 1_000_000_000
"""A stamp further behind or ahead of the newest one than this is another time, not another pose."""

TELEPORT_M, TELEPORT_RAD = 0.5, 0.3
"""Beyond what speed and yaw rate explain, a motion between two poses larger than this is another place."""

MAX_GAP_NS = 200_000_000
"""Between two poses further apart than this nothing is interpolated."""

MAX_EXTRAPOLATION_NS = 50_000_000
"""Past the newest pose, its twist is believed for this long."""

MAX_SIGNALS_GAP_NS = 500_000_000
"""Between two ego signals further apart than this nothing is interpolated, and the newest one holds for as long."""

_KEPT_PAST_HISTORY_NS = 2_000_000_000
_MAX_RATE_HZ = 1000  # as in profile.Odometry: bounds the memory, whatever comes

_Stamped = TypeVar("_Stamped", EgoPose, SignalSample)


class Skew(NamedTuple):
    """How a camera's frame that is not of t0 sees what lies on the ground as the ego of t0 knows it."""

    ego_from_ego_t0: F64  # (4, 4) at the frame's exposure; the identity where odometry lacks that instant
    after: str  # words for the frame's label: how far it is from t0; empty at t0
    path: str  # words for the label of a frame with a path in it: that it is drawn as at t0; else empty


class PoseBuffer:
    """Ego poses in stamp order, enough for an ego history and 2 s. Any thread may call any method."""

    def __init__(self, history_steps: int, changed: threading.Event | None = None) -> None:
        self._span_ns = _kept_ns(history_steps)
        self._changed = changed or threading.Event()
        self._lock = threading.Lock()
        self._poses: list[EgoPose] = []

    def offer(self, pose: EgoPose) -> Offered:
        """Take a pose into its place. After "jump" the caller starts a new epoch, and may offer the pose again."""
        with self._lock:
            outcome = self._place(pose)
        self._changed.set()
        return outcome

    def poses(self) -> tuple[EgoPose, ...]:
        """All poses, oldest first."""
        with self._lock:
            return tuple(self._poses)

    def newest(self) -> EgoPose | None:
        """The newest pose."""
        with self._lock:
            return self._poses[-1] if self._poses else None

    def at(self, stamp_ns: int) -> tuple[EgoPose, float]:
        """Pose and twist at an instant, and by how many ms they are extrapolated. Raises StaleInput (see `pose_at`)."""
        return pose_at(self.poses(), stamp_ns)

    def rate_hz(self) -> float:
        """Measured rate over what is kept; 0 with fewer than two poses."""
        return measured_rate_hz([pose.stamp_ns for pose in self.poses()])

    def clear(self) -> None:
        """Forget every pose."""
        with self._lock:
            self._poses.clear()

    def _place(self, pose: EgoPose) -> Offered:
        if not self._poses:
            self._poses.append(pose)
            return "kept"
        ahead_ns = pose.stamp_ns - self._poses[-1].stamp_ns
        if not -BACKWARD_JUMP_NS <= ahead_ns <= FORWARD_JUMP_NS:
            return "jump"
        at = bisect_left(self._poses, pose.stamp_ns, key=_stamp)
        if at < len(self._poses) and self._poses[at].stamp_ns == pose.stamp_ns:
            return "duplicate"
        if at and _teleports(self._poses[at - 1], pose):
            return "jump"
        self._poses.insert(at, pose)
        _trim(self._poses, self._span_ns)
        return "kept" if ahead_ns > 0 else "late"


def _stamp(value: EgoPose | SignalSample) -> int:
    return value.stamp_ns


def _kept_ns(history_steps: int) -> int:
    return (history_steps - 1) * 100_000_000 + _KEPT_PAST_HISTORY_NS


def _trim(values: list[_Stamped], span_ns: int) -> None:
    """Drop what is older than the span before the newest, and the oldest of more than any declared rate explains."""
    first = bisect_left(values, values[-1].stamp_ns - span_ns, key=_stamp)
    del values[: max(first, len(values) - span_ns * _MAX_RATE_HZ // 1_000_000_000)]


def _teleports(before: EgoPose, after: EgoPose) -> bool:
    dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
    speed = max(np.linalg.norm(before.velocity_mps), np.linalg.norm(after.velocity_mps))
    yaw_rate = max(abs(before.angular_rps[2]), abs(after.angular_rps[2]))
    moved_m = np.linalg.norm(after.position - before.position)
    turned_rad = abs(geometry.yaw_of(before.odom_from_ego.T @ after.odom_from_ego))
    return bool(moved_m > speed * dt_s + TELEPORT_M or turned_rad > yaw_rate * dt_s + TELEPORT_RAD)


def pose_at(poses: Sequence[EgoPose], stamp_ns: int) -> tuple[EgoPose, float]:
    """Pose and twist at an instant between poses in stamp order, and by how many ms they are extrapolated (else 0).

    Position: cubic Hermite with the measured velocities; rotation: slerp; twist: linear. Past the newest pose at most
    50 ms at its constant twist. Raises StaleInput: no poses, before the oldest, too far past the newest, a gap over 0.2 s.
    """
    before, after = _around("odometry", "pose", poses, stamp_ns, MAX_EXTRAPOLATION_NS, MAX_GAP_NS)
    if before.stamp_ns == stamp_ns:
        return before, 0.0
    if after is None:
        return _extrapolate(before, stamp_ns), (stamp_ns - before.stamp_ns) / 1e6
    return _between(before, after, stamp_ns), 0.0


def skew(poses: Sequence[EgoPose], odom_from_ego_t0: F64, t0_ns: int, stamp_ns: int) -> Skew:
    """Where the ego of t0 (4, 4) is seen from at a frame's exposure, by interpolated poses in stamp order (see `pose_at`)."""
    if stamp_ns == t0_ns:
        return Skew(np.eye(4), "", "")
    after = f" {(stamp_ns - t0_ns) / 1e6:+.0f} ms"
    try:
        pose, _ = pose_at(poses, stamp_ns)
    except StaleInput:
        return Skew(np.eye(4), after, ", path as at t0")
    return Skew(geometry.inverse(geometry.odom_from_ego(pose)) @ odom_from_ego_t0, after, "")


def _around(
    source: str, name: str, values: Sequence[_Stamped], stamp_ns: int, max_past_ns: int, max_gap_ns: int
) -> tuple[_Stamped, _Stamped | None]:
    """The newest of values in stamp order not after an instant, and the next one. Raises StaleInput where they are too far."""
    if not values:
        raise StaleInput(f"{source}: no {name} yet")
    at = bisect_right(values, stamp_ns, key=_stamp)
    if at == 0:
        ahead_ms = (values[0].stamp_ns - stamp_ns) / 1e6
        raise StaleInput(f"{source}: oldest {name} {ahead_ms:.0f} ms after the instant asked for")
    before, after = values[at - 1], values[at] if at < len(values) else None
    past_ns = stamp_ns - before.stamp_ns
    if after is None and past_ns > max_past_ns:
        past_ms, limit_ms = past_ns / 1e6, max_past_ns / 1e6
        raise StaleInput(f"{source}: newest {name} {past_ms:.0f} ms before the instant asked for, limit {limit_ms:.0f}")
    if after is not None and past_ns and after.stamp_ns - before.stamp_ns > max_gap_ns:
        gap_ms = (after.stamp_ns - before.stamp_ns) / 1e6
        raise StaleInput(f"{source}: a gap of {gap_ms:.0f} ms, limit {max_gap_ns / 1e6:.0f}")
    return before, after


def _between(before: EgoPose, after: EgoPose, stamp_ns: int) -> EgoPose:
    dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
    u = (stamp_ns - before.stamp_ns) / 1e9 / dt_s
    step = after.position - before.position
    slope0 = before.odom_from_ego @ before.velocity_mps * dt_s
    slope1 = after.odom_from_ego @ after.velocity_mps * dt_s
    # Cubic Hermite as the straight line plus what the slopes differ from it.
    bend = u * (1 - u) * ((1 - u) * (slope0 - step) - u * (slope1 - step))
    return EgoPose(
        stamp_ns,
        before.position + u * step + bend,
        geometry.slerp(before.odom_from_ego, after.odom_from_ego, u),
        (1 - u) * before.velocity_mps + u * after.velocity_mps,
        (1 - u) * before.angular_rps + u * after.angular_rps,
    )


def _extrapolate(pose: EgoPose, stamp_ns: int) -> EgoPose:
    """Constant speed and yaw rate: along the mean heading of the step, an arc's chord to second order."""
    dt_s = (stamp_ns - pose.stamp_ns) / 1e9
    turned_rad = float(pose.angular_rps[2]) * dt_s
    moved = geometry.rotation_z(turned_rad / 2) @ pose.velocity_mps * dt_s
    return EgoPose(
        stamp_ns,
        pose.position + pose.odom_from_ego @ moved,
        pose.odom_from_ego @ geometry.rotation_z(turned_rad),
        pose.velocity_mps,
        pose.angular_rps,
    )


class SignalBuffer:
    """Ego signals in stamp order, enough for an ego history and 2 s. Any thread may call any method."""

    def __init__(self, history_steps: int) -> None:
        self._span_ns = _kept_ns(history_steps)
        self._lock = threading.Lock()
        self._samples: list[SignalSample] = []

    def offer(self, sample: SignalSample) -> None:
        """Take a measurement into its place; the first one of a stamp is kept."""
        with self._lock:
            at = bisect_left(self._samples, sample.stamp_ns, key=_stamp)
            if at == len(self._samples) or self._samples[at].stamp_ns != sample.stamp_ns:
                self._samples.insert(at, sample)
            _trim(self._samples, self._span_ns)

    def samples(self) -> tuple[SignalSample, ...]:
        """All measurements, oldest first."""
        with self._lock:
            return tuple(self._samples)

    def at(self, stamp_ns: int) -> SignalSample:
        """The signals at an instant. Raises StaleInput (see `signals_at`)."""
        return signals_at(self.samples(), stamp_ns)

    def clear(self) -> None:
        """Forget every measurement."""
        with self._lock:
            self._samples.clear()


def signals_at(samples: Sequence[SignalSample], stamp_ns: int) -> SignalSample:
    """The signals at an instant between measurements in stamp order.

    Steering and acceleration: linear; turn indicator: as last measured. Past the newest measurement it holds for 0.5 s.
    Raises StaleInput: no measurement, before the oldest, too far past the newest, a gap over 0.5 s.
    """
    before, after = _around("ego signals", "measurement", samples, stamp_ns, MAX_SIGNALS_GAP_NS, MAX_SIGNALS_GAP_NS)
    if after is None or before.stamp_ns == stamp_ns:
        return replace(before, stamp_ns=stamp_ns)
    u = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
    return SignalSample(
        stamp_ns,
        (1 - u) * before.steering_angle_rad + u * after.steering_angle_rad,
        before.turn_indicator,
        (1 - u) * before.acceleration_mps2 + u * after.acceleration_mps2,
    )


class Transforms:
    """Rigid frames of /tf_static. Any thread may call any method."""

    MAX_FRAMES = 1000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: dict[str, tuple[str, F64]] = {}  # child -> (parent, parent_from_child)

    def offer(self, parent: str, child: str, parent_from_child: F64) -> None:
        """Take a transform (4, 4); a child has one parent, the last one said. Raises InvalidInput for too many frames."""
        with self._lock:
            if child not in self._parents and len(self._parents) >= self.MAX_FRAMES:
                raise InvalidInput(f"tf_static: {child!r} is one more than {self.MAX_FRAMES} frames")
            self._parents[child] = (parent, parent_from_child)

    def lookup(self, target: str, source: str) -> F64 | None:
        """`target_from_source` (4, 4), or None when no chain of transforms connects the two."""
        with self._lock:
            up_from_target, up_from_source = self._ancestors(target), self._ancestors(source)
        for frame, frame_from_source in up_from_source.items():
            if frame in up_from_target:
                return geometry.inverse(up_from_target[frame]) @ frame_from_source
        return None

    def _ancestors(self, frame: str) -> dict[str, F64]:
        """`ancestor_from_frame` of the frame and its ancestors, nearest first; a cycle is walked once."""
        found = {frame: np.eye(4)}
        ancestor_from_frame = found[frame]
        while frame in self._parents:
            frame, parent_from_child = self._parents[frame]
            if frame in found:
                break
            ancestor_from_frame = parent_from_child @ ancestor_from_frame
            found[frame] = ancestor_from_frame
        return found
