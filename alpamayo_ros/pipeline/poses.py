"""Ego poses by time: kept as measured, interpolated at exact instants, extrapolated by 50 ms at most."""

from __future__ import annotations

import threading
from bisect import bisect_left
from typing import Literal

import numpy as np

from alpamayo_ros.geometry import rotation_z, slerp
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.types import STEP_S, EgoPose, StaleInput

MAX_GAP_NS = 200_000_000
"""Poses further apart are not interpolated between."""

MAX_EXTRAPOLATION_NS = 50_000_000
"""How far past the newest pose its measured twist is trusted."""

BACK_NS, FORWARD_NS = 100_000_000, 1_000_000_000
"""A stamp this far behind or ahead of the newest one means that the clock jumped."""

TELEPORT_M, TELEPORT_RAD = 0.5, 0.3
"""More than this from one pose to the next, beyond what the speed explains, is another place, not motion."""

SLACK_NS = 2_000_000_000

Offered = Literal["kept", "late", "duplicate", "jump"]


class PoseBuffer:
    """Poses of one epoch in stamp order, as many as the profile's history needs and two seconds more."""

    def __init__(self, profile: InputProfile) -> None:
        self._span_ns = round((profile.history_steps - 1) * STEP_S * 1e9) + MAX_GAP_NS + SLACK_NS
        self._lock = threading.Lock()
        self._stamps: list[int] = []
        self._poses: list[EgoPose] = []

    def offer(self, pose: EgoPose) -> Offered:
        """Take one pose. "jump": the clock or the vehicle jumped; nothing was kept, the caller starts a new epoch."""
        with self._lock:
            if not self._poses:
                self._insert(0, pose)
                return "kept"
            ahead_ns = pose.stamp_ns - self._stamps[-1]
            if ahead_ns < -BACK_NS or ahead_ns > FORWARD_NS or (ahead_ns > 0 and _teleported(self._poses[-1], pose)):
                return "jump"
            place = bisect_left(self._stamps, pose.stamp_ns)
            if place < len(self._stamps) and self._stamps[place] == pose.stamp_ns:
                return "duplicate"
            self._insert(place, pose)
            return "kept" if ahead_ns > 0 else "late"

    def at(self, stamp_ns: int) -> tuple[EgoPose, float]:
        """The pose at an instant and by how many ms it was extrapolated. Raises StaleInput."""
        return pose_at(self.snapshot(), stamp_ns)

    def snapshot(self) -> tuple[EgoPose, ...]:
        """All poses, in stamp order."""
        with self._lock:
            return tuple(self._poses)

    def newest(self) -> EgoPose | None:
        """The pose with the newest stamp."""
        with self._lock:
            return self._poses[-1] if self._poses else None

    def rate_hz(self) -> float:
        """Poses per second of stamps; 0 with fewer than two."""
        with self._lock:
            if len(self._stamps) < 2:
                return 0.0
            return (len(self._stamps) - 1) * 1e9 / (self._stamps[-1] - self._stamps[0])

    def clear(self) -> None:
        """Forget all poses."""
        with self._lock:
            self._stamps.clear()
            self._poses.clear()

    def _insert(self, place: int, pose: EgoPose) -> None:
        self._stamps.insert(place, pose.stamp_ns)
        self._poses.insert(place, pose)
        gone = bisect_left(self._stamps, self._stamps[-1] - self._span_ns)
        del self._stamps[:gone], self._poses[:gone]


def pose_at(poses: tuple[EgoPose, ...], stamp_ns: int) -> tuple[EgoPose, float]:
    """The pose at an instant, between its neighbours of `poses` (in stamp order), and the ms it was extrapolated.

    Raises StaleInput: no poses, before the first, in a gap, or too far past the last.
    """
    if not poses:
        raise StaleInput("odometry: no pose yet")
    place = bisect_left(poses, stamp_ns, key=lambda pose: pose.stamp_ns)
    if place == len(poses):
        return _extrapolated(poses[-1], stamp_ns)
    after = poses[place]
    if after.stamp_ns == stamp_ns:
        return after, 0.0
    if place == 0:
        early_ms = (after.stamp_ns - stamp_ns) / 1e6
        raise StaleInput(f"odometry: the oldest pose is {early_ms:.0f} ms after the instant asked for")
    before = poses[place - 1]
    if after.stamp_ns - before.stamp_ns > MAX_GAP_NS:
        gap_ms = (after.stamp_ns - before.stamp_ns) / 1e6
        raise StaleInput(f"odometry: gap of {gap_ms:.0f} ms, limit {MAX_GAP_NS / 1e6:.0f}")
    return _between(before, after, stamp_ns), 0.0


def _between(before: EgoPose, after: EgoPose, stamp_ns: int) -> EgoPose:
    """Cubic Hermite through both poses with their measured velocities; rotation by slerp, twist linear."""
    seconds = (after.stamp_ns - before.stamp_ns) / 1e9
    f = (stamp_ns - before.stamp_ns) / 1e9 / seconds
    v0, v1 = before.odom_from_ego @ before.velocity_mps, after.odom_from_ego @ after.velocity_mps
    position = (
        (2 * f**3 - 3 * f**2 + 1) * before.position
        + (f**3 - 2 * f**2 + f) * seconds * v0
        + (3 * f**2 - 2 * f**3) * after.position
        + (f**3 - f**2) * seconds * v1
    )
    return EgoPose(
        stamp_ns,
        position,
        slerp(before.odom_from_ego, after.odom_from_ego, f),
        (1 - f) * before.velocity_mps + f * after.velocity_mps,
        (1 - f) * before.angular_rps + f * after.angular_rps,
    )


def _extrapolated(newest: EgoPose, stamp_ns: int) -> tuple[EgoPose, float]:
    ahead_ns = stamp_ns - newest.stamp_ns
    if ahead_ns > MAX_EXTRAPOLATION_NS:
        raise StaleInput(f"odometry: newest pose {ahead_ns / 1e6:.0f} ms before t0, limit {MAX_EXTRAPOLATION_NS / 1e6:.0f}")
    seconds = ahead_ns / 1e9
    yaw_rad = float(newest.angular_rps[2]) * seconds
    halfway = newest.odom_from_ego @ rotation_z(yaw_rad / 2)
    position = newest.position + halfway @ newest.velocity_mps * seconds
    turned = newest.odom_from_ego @ rotation_z(yaw_rad)
    return EgoPose(stamp_ns, position, turned, newest.velocity_mps, newest.angular_rps), ahead_ns / 1e6


def _teleported(before: EgoPose, after: EgoPose) -> bool:
    seconds = (after.stamp_ns - before.stamp_ns) / 1e9
    speed_mps = max(float(np.linalg.norm(before.velocity_mps)), float(np.linalg.norm(after.velocity_mps)))
    moved_m = float(np.linalg.norm(after.position - before.position))
    # Angle of the rotation between the two poses, from its trace.
    cosine = (np.trace(before.odom_from_ego.T @ after.odom_from_ego) - 1) / 2
    turned_rad = float(np.arccos(np.clip(cosine, -1.0, 1.0)))
    turn_rate_rps = max(float(np.linalg.norm(before.angular_rps)), float(np.linalg.norm(after.angular_rps)))
    return moved_m > speed_mps * seconds + TELEPORT_M or turned_rad > turn_rate_rps * seconds + TELEPORT_RAD
