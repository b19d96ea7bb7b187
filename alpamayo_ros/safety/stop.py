"""The minimal-risk stop: brake along the last valid path, within a jerk, until the vehicle stands.

Source: Autoware's comfortable and emergency stop (-1.0 m/s², 0.3 m/s³; -2.5, 1.5), UN R157 5.5.1 (at most 4.0 m/s²). Keeping
to the path keeps to nothing else: there is no map and no obstacle here.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alpamayo_ros import dynamics, geometry
from alpamayo_ros.types import F64, HORIZON, STEP_S, EgoPose, InvalidInput, Trajectory

LONGEST = 512
"""Points of a stop, at most."""

CURVATURE_1PM = 0.199
"""No stop turns more sharply: just below the warning of V10."""

LATERAL_MPS2 = 4.8
"""Nor with more lateral acceleration: just below the reject limit of V7."""

CURVATURE_RATE_1PMS = 0.2
LATERAL_JERK_MPS3 = 3.0
"""Nor steers faster than these two: 0.57 rad/s at a wheelbase of 2.85 m (V10 rejects 0.8), and a third of what V8 rejects."""

REST_JERK_MPS3 = 8.0
"""Braking ends in the last tenths of a second before standstill, just below the reject limit of V9: no step to zero at rest."""

_SLOW_MPS = 0.5  # below it, yaw rate / speed measures noise
_LEAST_STEP_M = 1e-3  # points of a path closer than this have no direction


@dataclass(frozen=True)
class Profile:
    """A way to brake: how hard, and how quickly that is reached."""

    decel_mps2: float
    jerk_mps3: float

    def __post_init__(self) -> None:
        if not (0 < self.decel_mps2 < math.inf and 0 < self.jerk_mps3 < math.inf):
            raise InvalidInput(f"stop profile: want a deceleration and a jerk above 0, got {self}")


@dataclass(frozen=True)
class StopSettings:
    """Which profile when, and the deceleration that none exceeds. Raises InvalidInput for a cap that is not above 0."""

    comfort: Profile = Profile(1.0, 0.3)
    emergency: Profile = Profile(2.5, 1.5)
    comfort_below_mps: float = 4.7  # a comfortable stop from here ends within 6.4 s
    cap_mps2: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.cap_mps2 < math.inf:
            raise InvalidInput(f"stop: want a cap of deceleration above 0, got {self.cap_mps2} m/s^2")


@dataclass(frozen=True)
class OdomPath:
    """Where a trajectory leads, whatever its speeds: points ahead of one another, in the odometry frame."""

    arc_m: F64  # (n,) way from the first point, increasing
    xyz: F64  # (n, 3) m
    yaw_rad: F64  # (n,)
    curvature_1pm: F64  # (n,) of the way that leads to the point


def odom_path(trajectory: Trajectory, ego_at_stamp: EgoPose) -> OdomPath:
    """The path of a trajectory in ego at its stamp. It begins at that ego; points that do not lead ahead are left out."""
    xyz = np.vstack([np.zeros(3), trajectory.xyz])
    yaw = np.append(0.0, trajectory.yaw_rad)
    half = (yaw[:-1] + yaw[1:]) / 2
    way = (np.diff(xyz[:, :2], axis=0) * np.column_stack([np.cos(half), np.sin(half)])).sum(axis=1)  # below 0: backwards
    arc = np.append(0.0, np.cumsum(way))
    ahead = np.append(True, arc[1:] > np.maximum.accumulate(arc)[:-1] + _LEAST_STEP_M)
    return OdomPath(
        arc_m=arc[ahead],
        xyz=geometry.apply(geometry.odom_from_ego(ego_at_stamp), xyz[ahead]),
        yaw_rad=yaw[ahead] + geometry.yaw_of(ego_at_stamp.odom_from_ego),
        curvature_1pm=np.append(0.0, trajectory.curvature_1pm)[ahead],
    )


def stop(ego: EgoPose, path: OdomPath | None, accel_mps2: float, settings: StopSettings) -> Trajectory:
    """Trajectory of 64 to 512 points from `ego` at its measured speed, in its frame, that ends standing.

    `accel_mps2` is the acceleration along ego x at its beginning; of it counts what brakes, up to the cap. Without a path, and
    in reverse, where no valid path leads, the curvature stays as measured. A stop that goes on after an earlier one shall
    not fall back to comfort: pass settings with comfort_below_mps=0 then.
    Raises InvalidInput for a speed from which 512 points do not lead to standstill, or a number that is not finite.
    """
    speed = ego.speed_mps
    if not math.isfinite(accel_mps2):
        raise InvalidInput(f"stop: initial acceleration {accel_mps2} m/s^2")
    forward = math.copysign(1.0, speed)
    initial = min(0.0, max(-settings.cap_mps2, forward * accel_mps2))
    line = _line(path, ego) if path is not None and speed > 0 else None
    accel = forward * _braking(abs(speed), initial, settings, line.left_m if line else math.inf)
    curvature = _measured_curvature(ego)
    if line is None:
        return dynamics.trajectory(accel, np.full(len(accel), curvature), speed)
    return dynamics.trajectory(accel, _following(line, accel, speed, curvature), speed)


def _braking(speed_mps: float, initial_mps2: float, settings: StopSettings, left_m: float) -> F64:
    """Actions of the profile for a speed: the emergency's too where a comfortable stop would end past the path's end."""
    if speed_mps < settings.comfort_below_mps:
        accel = braking(speed_mps, initial_mps2, settings.comfort, settings.cap_mps2)
        if dynamics.trajectory(accel, np.zeros(len(accel)), speed_mps).xyz[-1, 0] <= left_m:
            return accel
    return braking(speed_mps, initial_mps2, settings.emergency, settings.cap_mps2)


def braking(speed_mps: float, initial_mps2: float, profile: Profile, cap_mps2: float) -> F64:
    """Actions (n,) m/s^2, each for 0.1 s, from a speed >= 0 and an acceleration <= 0 to standstill, and zeros up to 64.

    The acceleration goes to the profile's, at most the cap, at its jerk, stays there, and ends with the last of the speed.
    Integrated by `dynamics`, the speed ends at exactly 0 and is never negative. Raises InvalidInput where 512 do not do.
    """
    decel = min(profile.decel_mps2, cap_mps2)
    gap = initial_mps2 + decel
    actions: list[float] = []
    change = 0.0  # of the speed, summed as `dynamics.integrate` sums it: the same to the last bit
    while (left_mps := speed_mps + change) > 0:
        if len(actions) == LONGEST:
            raise InvalidInput(f"stop from {speed_mps:.1f} m/s at {decel:.2f} m/s^2: {left_mps:.1f} m/s after {LONGEST} points")
        # A linear ramp's mean over a step is its value in the middle of the step.
        ramp = max(0.0, abs(gap) - profile.jerk_mps3 * STEP_S * (len(actions) + 0.5))
        action = max(math.copysign(ramp, gap) - decel, -_most(left_mps))
        if speed_mps + (change + action * STEP_S) < 0:
            action = math.nextafter(action, 0.0)  # rounded too far, by one bit
        actions.append(action)
        change += action * STEP_S
    return np.array(actions + [0.0] * (HORIZON - len(actions)))


def _most(left_mps: float) -> float:
    """Hardest deceleration of a step that n - 1 smaller ones can end, d less each, with the last of the speed.

    Of n steps, a + (a - d) + ... + (a - (n - 1) d) = left / dt; n is the least for which the last one is at most d.
    """
    d = REST_JERK_MPS3 * STEP_S
    total = left_mps / STEP_S
    n = max(1, math.ceil(math.sqrt(2 * total / d + 0.25) - 0.5))
    return total / n + d * (n - 1) / 2


def _measured_curvature(ego: EgoPose) -> float:
    """Of the twist, within the limits of a stop."""
    if abs(ego.speed_mps) < _SLOW_MPS:
        return 0.0
    return _clipped(float(ego.angular_rps[2]) / ego.speed_mps, _sharpest(ego.speed_mps))


def _sharpest(speed_mps: float) -> float:
    """Curvature that a stop may have at a speed."""
    return min(CURVATURE_1PM, LATERAL_MPS2 / max(speed_mps**2, 1.0))


def _clipped(value: float, limit: float) -> float:
    return min(limit, max(-limit, value))


class _Place(NamedTuple):
    """A point of a line."""

    x: float
    y: float
    yaw_rad: float

    def along_m(self, x: float, y: float) -> float:
        """How far a point is ahead of this one."""
        return math.cos(self.yaw_rad) * (x - self.x) + math.sin(self.yaw_rad) * (y - self.y)

    def left_m(self, x: float, y: float) -> float:
        """How far a point is to the left of this one."""
        return math.cos(self.yaw_rad) * (y - self.y) - math.sin(self.yaw_rad) * (x - self.x)


@dataclass(frozen=True)
class _Line:
    """A path as seen from an ego pose; straight on before its beginning and past its end."""

    arc_m: list[float]
    points: list[_Place]
    curvatures_1pm: list[float]  # of the way that leads to each point
    start_m: float  # way along it to the ego

    @property
    def left_m(self) -> float:
        """Way from the ego to its end."""
        return self.arc_m[-1] - self.start_m

    def at(self, along_m: float) -> _Place:
        """The point after a way."""
        after = bisect_right(self.arc_m, along_m)
        if after in (0, len(self.arc_m)):
            x, y, yaw = self.points[max(0, after - 1)]
            beyond = along_m - self.arc_m[max(0, after - 1)]
            return _Place(x + beyond * math.cos(yaw), y + beyond * math.sin(yaw), yaw)
        first, second = self.points[after - 1], self.points[after]
        u = (along_m - self.arc_m[after - 1]) / (self.arc_m[after] - self.arc_m[after - 1])
        return _Place(*(a + u * (b - a) for a, b in zip(first, second, strict=True)))

    def curvature_1pm(self, along_m: float) -> float:
        """Its bend after a way. Past the end nothing is known, and straight on never circles."""
        after = bisect_right(self.arc_m, along_m)
        return 0.0 if after in (0, len(self.arc_m)) else self.curvatures_1pm[after]


def _line(path: OdomPath, ego: EgoPose) -> _Line:
    xy = geometry.apply(geometry.inverse(geometry.odom_from_ego(ego)), path.xyz)[:, :2]
    yaw = path.yaw_rad - geometry.yaw_of(ego.odom_from_ego)
    points = [_Place(*row) for row in np.column_stack([xy, yaw]).tolist()]
    nearest = int(np.argmin(np.linalg.norm(xy, axis=1)))
    start_m = float(path.arc_m[nearest]) + points[nearest].along_m(0.0, 0.0)
    return _Line(path.arc_m.tolist(), points, path.curvature_1pm.tolist(), start_m)


def _following(line: _Line, accel_mps2: F64, speed_mps: float, curvature_1pm: float) -> F64:
    """Curvatures (n,) that lead from the ego onto the line: the distance e dies out as e'' = -2 e'/L - e/L² over the way."""
    x = y = yaw = 0.0
    along, curvatures = line.start_m, []
    speeds = dynamics.integrate(accel_mps2, np.zeros(len(accel_mps2)), speed_mps).speed_mps.tolist()
    for speed, after, accel in zip(speeds[:-1], speeds[1:], accel_mps2.tolist(), strict=True):
        place = line.at(along)
        reach_m = max(5.0, 1.5 * speed)
        turned = math.remainder(yaw - place.yaw_rad, math.tau)
        bend = line.curvature_1pm(along + speed * STEP_S / 2)  # in the middle of the step
        wanted = bend - 2 / reach_m * turned - place.left_m(x, y) / reach_m**2
        change = STEP_S * min(CURVATURE_RATE_1PMS, LATERAL_JERK_MPS3 / max(speed**2, 1.0))
        curvature_1pm = _clipped(curvature_1pm + _clipped(wanted - curvature_1pm, change), _sharpest(speed))
        curvatures.append(curvature_1pm)
        before, yaw = yaw, yaw + curvature_1pm * (speed * STEP_S + accel * STEP_S**2 / 2)
        x += STEP_S / 2 * (speed * math.cos(before) + after * math.cos(yaw))
        y += STEP_S / 2 * (speed * math.sin(before) + after * math.sin(yaw))
        along += place.along_m(x, y)
    return np.array(curvatures)
