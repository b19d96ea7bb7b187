"""Plans against what was then driven: what a shadow is for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros import geometry
from alpamayo_ros.pipeline.poses import PoseBuffer, pose_at
from alpamayo_ros.types import F64, HORIZON, STEP_S, EgoPose, Plan, StaleInput, Trajectory

AFTER_S = (0.5, 1.0, 2.5, 5.0, 6.4)
"""Where along the horizon a difference is told."""

APART_NS = 1_000_000_000
"""Plans closer together than this are not all compared: the work is bounded."""

_HORIZON_NS = round(HORIZON * STEP_S * 1e9)
_WAITING = 10  # plans a second apart wait for 6.4 s; more wait only where odometry stands still


@dataclass(frozen=True)
class Difference:
    """Planned minus driven. Along and across (to the left): of the heading driven at that instant."""

    t0_ns: int
    epoch: int
    plan_id: int
    after_s: tuple[float, ...]
    along_m: tuple[float, ...]
    across_m: tuple[float, ...]
    speed_mps: tuple[float, ...]
    ade_m: float  # mean x-y distance over all points


class ShadowComparison:
    """Plans wait here until their horizon has been driven. Any thread may call any method; a new epoch forgets all."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epoch = -1
        self._poses = PoseBuffer(HORIZON + 1)  # poses over the horizon, and 2 s for the time a plan takes
        self._waiting: deque[tuple[int, Plan, EgoPose]] = deque(maxlen=_WAITING)
        self._newest_t0_ns = -APART_NS

    def take_pose(self, pose: EgoPose, epoch: int) -> None:
        """A pose of odometry. Of an earlier epoch: none of ours."""
        with self._lock:
            if self._is_in(epoch):
                self._poses.offer(pose)

    def take_plan(self, plan_id: int, plan: Plan, ego_t0: EgoPose) -> None:
        """A plan to be compared once its horizon has passed, unless it comes within a second of the one before.

        One that refines the last of them takes its place.
        """
        with self._lock:
            if not self._is_in(plan.epoch):
                return
            if self._waiting and self._waiting[-1][1].t0_ns == plan.t0_ns:
                self._waiting.pop()
            elif plan.t0_ns < self._newest_t0_ns + APART_NS:
                return
            self._newest_t0_ns = plan.t0_ns
            self._waiting.append((plan_id, plan, ego_t0))

    def due(self) -> tuple[Difference, ...]:
        """Differences of the plans whose horizon has passed since the last call; none where odometry has a gap."""
        with self._lock:
            poses = self._poses.poses()
            plans = []
            while self._waiting and poses and poses[-1].stamp_ns >= self._waiting[0][1].t0_ns + _HORIZON_NS:
                plans.append(self._waiting.popleft())
        return tuple(d for plan_id, plan, ego in plans if (d := _difference(plan_id, plan, ego, poses)))

    def _is_in(self, epoch: int) -> bool:
        if epoch > self._epoch:
            self._epoch, self._newest_t0_ns = epoch, -APART_NS
            self._poses.clear()
            self._waiting.clear()
        return epoch == self._epoch


def _difference(plan_id: int, plan: Plan, ego_t0: EgoPose, poses: Sequence[EgoPose]) -> Difference | None:
    try:
        rows = planned_minus_driven(plan.trajectory, ego_t0, poses)
    except StaleInput:
        return None
    told = rows[[round(after_s / STEP_S) - 1 for after_s in AFTER_S]].T
    along, across, speed = (tuple(row) for row in told.tolist())
    ade_m = float(np.hypot(rows[:, 0], rows[:, 1]).mean())
    return Difference(plan.t0_ns, plan.epoch, plan_id, AFTER_S, along, across, speed, ade_m)


def planned_minus_driven(trajectory: Trajectory, ego_at_stamp: EgoPose, poses: Sequence[EgoPose]) -> F64:
    """(n, 3): m along and m across the heading driven at each point's time, and m/s. Raises StaleInput (see `pose_at`)."""
    from_odom = geometry.inverse(geometry.odom_from_ego(ego_at_stamp))
    rows = []
    for after_s, xyz, speed in zip(trajectory.t_s, trajectory.xyz, trajectory.speed_mps, strict=True):
        driven, _ = pose_at(poses, ego_at_stamp.stamp_ns + round(after_s * 1e9))
        driven_in_ego = from_odom @ geometry.odom_from_ego(driven)
        apart = geometry.rotation_z(-geometry.yaw_of(driven_in_ego)) @ (xyz - driven_in_ego[:3, 3])
        rows.append((apart[0], apart[1], speed - driven.speed_mps))
    return np.array(rows)
