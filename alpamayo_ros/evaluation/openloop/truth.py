"""What was driven after t0, from odometry: the ground truth of an open-loop evaluation."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alpamayo_ros import geometry
from alpamayo_ros.evaluation.metrics import Driven
from alpamayo_ros.evaluation.openloop.results import Window
from alpamayo_ros.pipeline.poses import BACKWARD_JUMP_NS, PoseBuffer, pose_at
from alpamayo_ros.types import F64, HORIZON, STEP_S, EgoPose, StaleInput

TIMES_S: F64 = STEP_S * np.arange(1.0, HORIZON + 1.0, dtype=np.float64)
"""Of the points of a model's trajectory after t0."""

NOTHING = Driven(np.empty((0, 3)), np.empty(0), np.empty(0))

_KNOWN_NS = round(STEP_S * HORIZON * 1e9) + BACKWARD_JUMP_NS  # a pose that comes later than this is another time
_KEPT_STEPS = 81  # a PoseBuffer keeps 2 s more: 10 s


def driven(poses: Sequence[EgoPose], ego_t0: EgoPose, t_s: F64 = TIMES_S) -> Driven:
    """Where the vehicle was t_s (n,) s after t0, by the poses of one epoch in stamp order.

    Interpolated as an ego history is (`pose_at`), never extrapolated, and known up to the first of t_s that lies behind the
    last pose or in a gap of more than MAX_GAP_NS. Yaw does not wrap.
    """
    found: list[EgoPose] = []
    for stamp_ns in (ego_t0.stamp_ns + np.rint(t_s * 1e9).astype(np.int64)).tolist():
        try:
            pose, extrapolated_ms = pose_at(poses, stamp_ns)
        except StaleInput:
            break
        if extrapolated_ms:
            break
        found.append(pose)
    if not found:
        return NOTHING
    xyz = (np.stack([pose.position for pose in found]) - ego_t0.position) @ ego_t0.odom_from_ego
    yaw = [0.0, *(geometry.yaw_of(ego_t0.odom_from_ego.T @ pose.odom_from_ego) for pose in found)]
    return Driven(xyz, np.unwrap(yaw)[1:], np.array([pose.speed_mps for pose in found]))


class Waiting:
    """Windows until their driven future is known, and the last 10 s of odometry."""

    def __init__(self) -> None:
        self._poses = PoseBuffer(_KEPT_STEPS)
        self._epoch = 0
        self._windows: deque[Window] = deque()

    def add(self, window: Window) -> None:
        """A window of the epoch of the last pose; it comes back with its future."""
        self._windows.append(window)

    def take(self, pose: EgoPose, epoch: int) -> list[Window]:
        """A pose that the planner's buffers kept; the windows that nothing more will be known about."""
        known = self.end() if epoch != self._epoch else []
        self._epoch = epoch
        self._poses.offer(pose)
        newest = self._poses.newest() or pose
        while self._windows and self._windows[0].t0_ns + _KNOWN_NS <= newest.stamp_ns:
            known.append(self._known(self._windows.popleft()))
        return known

    def end(self) -> list[Window]:
        """The epoch or the bag is over: all windows, with what is known of their future."""
        known = [self._known(window) for window in self._windows]
        self._windows.clear()
        self._poses.clear()
        return known

    def _known(self, window: Window) -> Window:
        return replace(window, driven=driven(self._poses.poses(), window.ego_t0))
