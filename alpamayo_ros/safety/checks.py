"""What is wrong with a plan: 18 checks of its numbers against `Limits`, every failure reported, nothing decided here.

What moves is judged on the actions and on their rollout in float32, never on differences of positions: those turn a millimetre
of noise into 0.4 m/s^2 and more. An action holds for one step, so lateral and yaw quantities are those of the step's mean
speed. Jerks and rates are slopes over five steps: nuPlan's limits are of smoothed quantities too, and a single step between
two actions is what an actuator rounds off, not what a passenger feels.

No check knows a map or another road user: collisions, lanes and traffic rules are the stack's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.dynamics import RELEASED, ActionSpace, Motion, integrate
from alpamayo_ros.safety.contract import STANDSTILL_MPS, Finding, Now, Timing
from alpamayo_ros.safety.limits import Limit, Limits
from alpamayo_ros.types import HORIZON, STEP_S, EgoPose, Plan, Trajectory

_TIME_TOLERANCE_S = 1e-6
_FUTURE_S = 0.1  # how far ahead of the clock inputs, and so a t0, may be
_LEAST_WAY_M = 1.0  # below it a height is judged as if this way had been gone
_SLOPE = np.arange(-2, 3) / (10.0 * STEP_S)  # weights of a least-squares line through five values, 1/s

_Series = NDArray[Any]  # float32, in the steps of a trajectory


class _Measured(NamedTuple):
    """A quantity of a plan and its limit: the largest absolute value counts, and NaN is beyond any limit."""

    check: str
    name: str
    limit: Limit
    values: NDArray[Any]  # (m,)
    t_s: NDArray[Any] | None = None  # (m,) where the values are of points in time


def findings(plan: Plan, ego_t0: EgoPose, limits: Limits, space: ActionSpace = RELEASED) -> tuple[Finding, ...]:
    """Every check that needs nothing but a plan as it came from the engine and the ego pose at its t0: V1, V3-V13, V15-V18.

    In the order of the checks, one finding per quantity, with its worst point. A plan with other points than a model's, or
    with actions that no float32 rollout can hold, is judged no further. `space` is the engine's, whose mean a dead network
    puts out. The actions and the speed before the first one are the trajectory's own.
    """
    malformed = _malformed(plan)
    if malformed:
        return malformed
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not finite, and that is found
        rolled = _Rolled(plan.trajectory)
        lost = sum(np.count_nonzero(~np.isfinite(values)) for values in (rolled.motion.xy, rolled.motion.yaw_rad))
        if lost:
            return (_always("numbers of the rollout that are not finite", float(lost), 0.0, "numbers"),)
        measured = [
            _Measured("V1", "rotation of the ego pose", limits.rotation, _rotation_error(ego_t0.odom_from_ego)),
            *_start(plan.trajectory, rolled, ego_t0.speed_mps, limits),
            *_along(rolled, limits),
            *_across(rolled, limits),
            *_turning(rolled, limits),
            *_points(plan.trajectory, rolled, limits),
            *_extent(plan.trajectory, rolled, ego_t0.speed_mps, limits),
            *_words(plan, limits),
        ]
        return (*_dead(plan, space), *_failing(measured))


def age_findings(plan: Plan, now: Now, timing: Timing) -> tuple[Finding, ...]:
    """V2: whether a plan is of this epoch, and not too old to act on; ages in s of the clock of the stamps."""
    source = "ours, in periods of the rig"
    if plan.epoch != now.epoch:
        return (Finding("V2", "epochs apart", "reject", float(abs(now.epoch - plan.epoch)), 0.0, "epochs", source),)
    age_s = (now.ros_ns - plan.t0_ns) / 1e9
    if age_s < -_FUTURE_S:
        return (Finding("V2", "t0 in the future", "reject", -age_s, _FUTURE_S, "s", source),)
    limit = Limit(timing.warn_age_ns / 1e9, timing.max_age_ns / 1e9, "s", source)
    return _failing([_Measured("V2", "age", limit, np.array([max(age_s, 0.0)]))])


def shift_findings(plan: Plan, ego_t0: EgoPose, previous: Plan, previous_ego: EgoPose, limits: Limits) -> tuple[Finding, ...]:
    """V14: how far a plan leaves the one before, at the same instants in the odometry frame; times are of the newer plan.

    Sideways and ahead as the earlier plan is heading then. What falls behind it is no finding: braking harder must always
    be possible. Nothing is found across epochs, nor where the two have no time in common.
    """
    if plan.epoch != previous.epoch:
        return ()
    later_by_s = (plan.t0_ns - previous.t0_ns) / 1e9
    now_t_s, now_xy, _ = _in_odom(plan.trajectory, ego_t0)
    was_t_s, was_xy, was_yaw = _in_odom(previous.trajectory, previous_ego)
    was_t_s = was_t_s - later_by_s
    instants = np.append(now_t_s[now_t_s < 1.0], 3.0)
    instants = instants[(instants >= was_t_s[0]) & (instants <= min(was_t_s[-1], now_t_s[-1]))]
    apart = _at(instants, now_t_s, now_xy) - _at(instants, was_t_s, was_xy)
    cos, sin = _at(instants, was_t_s, np.stack([np.cos(was_yaw), np.sin(was_yaw)], axis=-1)).T
    ahead = np.maximum(apart[:, 0] * cos + apart[:, 1] * sin, 0.0)
    side = apart[:, 1] * cos - apart[:, 0] * sin
    near, far = instants < 1.0, instants >= 1.0
    return _failing(
        [
            _Measured("V14", "shift to the side within 1 s", limits.side_shift_near_m, side[near], instants[near]),
            _Measured("V14", "shift to the side at 3 s", limits.side_shift_far_m, side[far], instants[far]),
            _Measured("V14", "shift ahead within 1 s", limits.ahead_shift_near_m, ahead[near], instants[near]),
            _Measured("V14", "shift ahead at 3 s", limits.ahead_shift_far_m, ahead[far], instants[far]),
        ]
    )


def _in_odom(trajectory: Trajectory, ego: EgoPose) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Times (n + 1,) s, places (n + 1, 2) m and headings (n + 1,) rad in the odometry frame, the ego pose itself first."""
    t_s = np.append(0.0, trajectory.t_s)
    xyz = np.concatenate([np.zeros((1, 3)), trajectory.xyz]) @ ego.odom_from_ego.T + ego.position
    yaw = np.append(0.0, trajectory.yaw_rad)
    ahead = np.stack([np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)], axis=-1) @ ego.odom_from_ego.T
    return t_s, xyz[:, :2], np.arctan2(ahead[:, 1], ahead[:, 0])


def _at(instants: NDArray[Any], t_s: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Columns (n, 2) known at t (n,), interpolated at instants (m,): (m, 2)."""
    return np.stack([np.interp(instants, t_s, column) for column in columns.T], axis=-1)


@dataclass(frozen=True)
class _Rolled:
    """The actions of a trajectory, rolled out again in float32 from the speed before the first one."""

    trajectory: Trajectory

    @cached_property
    def motion(self) -> Motion:
        """n actions, n + 1 states."""
        accel, curvature = (getattr(self.trajectory, name).astype(np.float32) for name in ("accel_mps2", "curvature_1pm"))
        return integrate(accel, curvature, float(self.trajectory.speed_mps[0] - STEP_S * self.trajectory.accel_mps2[0]))

    @cached_property
    def mean_speed_mps(self) -> _Series:
        """(n,) of each step."""
        return (self.motion.speed_mps[:-1] + self.motion.speed_mps[1:]) / 2

    @cached_property
    def step_m(self) -> _Series:
        """(n,) way of each step, negative in reverse."""
        return self.mean_speed_mps * np.float32(STEP_S)

    @cached_property
    def moves(self) -> NDArray[np.bool_]:
        """(n,) whether the step goes far enough for its curvature to mean something."""
        return np.abs(self.mean_speed_mps) > STANDSTILL_MPS

    @property
    def after_s(self) -> NDArray[np.float64]:
        """(n,) when each step ends."""
        return self.trajectory.t_s

    @property
    def slope_s(self) -> NDArray[np.float64]:
        """(n - 4,) when the middle ones of five steps end."""
        return self.trajectory.t_s[2:-2]


def _fives(series: _Series) -> _Series:
    """Every five neighbours (n - 4, 5) of a series (n,), n >= 5."""
    return np.lib.stride_tricks.sliding_window_view(series, len(_SLOPE))


def _slope(series: _Series) -> _Series:
    """Change per second (n - 4,) of a series (n,): the least-squares slopes of every five neighbours."""
    return _fives(series) @ _SLOPE


def _start(trajectory: Trajectory, rolled: _Rolled, measured_mps: float, limits: Limits) -> Iterable[_Measured]:
    """V3, V4 and V5: that the plan begins where and as fast as the vehicle is, and goes ahead."""
    first = np.hypot(trajectory.xyz[:1, 0] - measured_mps * STEP_S, trajectory.xyz[:1, 1])
    yield _Measured("V3", "first point away from where it must be", limits.first_point_m, first, trajectory.t_s[:1])
    back = np.cumsum(np.maximum(-rolled.step_m, 0.0))
    yield _Measured("V4", "way in reverse", limits.reverse_m, back, rolled.after_s)
    speed = rolled.motion.speed_mps
    yield _Measured("V5", "speed", limits.speed_mps, speed[1:], rolled.after_s)
    step_limit = _at_speed(limits.speed_step_mps, limits.speed_step_share, abs(measured_mps))
    yield _Measured("V5", "step from the measured speed", step_limit, speed[:1] - measured_mps)


def _at_speed(base: Limit, share: Limit, speed_mps: float) -> Limit:
    """A limit that grows with speed; a level that either leaves out is none."""
    warn = None if base.warn is None or share.warn is None else base.warn + share.warn * speed_mps
    reject = None if base.reject is None or share.reject is None else base.reject + share.reject * speed_mps
    return replace(base, warn=warn, reject=reject)


def _along(rolled: _Rolled, limits: Limits) -> Iterable[_Measured]:
    """V6 and V9."""
    accel = rolled.motion.accel_mps2
    yield _Measured("V6", "acceleration", limits.accel_mps2, np.maximum(accel, 0.0), rolled.after_s)
    yield _Measured("V6", "deceleration", limits.decel_mps2, np.maximum(-accel, 0.0), rolled.after_s)
    yield _Measured("V9", "longitudinal jerk", limits.lon_jerk_mps3, _slope(accel), rolled.slope_s)


def _across(rolled: _Rolled, limits: Limits) -> Iterable[_Measured]:
    """V7 and V8. The lateral part of the jerk of a turning vehicle is v^2 dκ/dt + 3 v a κ, dκ/dt = v dκ/ds."""
    accel, curvature, speed = rolled.motion.accel_mps2, rolled.motion.curvature_1pm, rolled.mean_speed_mps
    yield _Measured("V7", "lateral acceleration", limits.lat_accel_mps2, curvature * speed**2, rolled.after_s)
    jerk = speed[2:-2] ** 2 * _slope(curvature) + 3.0 * (speed * accel * curvature)[2:-2]
    yield _Measured("V8", "lateral jerk", limits.lat_jerk_mps3, jerk, rolled.slope_s)


def _turning(rolled: _Rolled, limits: Limits) -> Iterable[_Measured]:
    """V10 and V11. Standing, a curvature bends nothing and wheels may turn as they like: V10 is of steps that move."""
    curvature = np.where(rolled.moves, rolled.motion.curvature_1pm, np.float32(0.0))
    yield _Measured("V10", "curvature", limits.curvature_1pm, curvature, rolled.after_s)
    steering = np.arctan(curvature * np.float32(limits.wheelbase_m))
    yield _Measured("V10", "steering", limits.steering_rad, steering, rolled.after_s)
    rate = np.where(_fives(rolled.moves).all(axis=-1), _slope(steering), 0.0)
    yield _Measured("V10", "steering rate", limits.steering_rate_rps, rate, rolled.slope_s)
    yaw_rate = rolled.motion.curvature_1pm * rolled.mean_speed_mps
    yield _Measured("V11", "yaw rate", limits.yaw_rate_rps, yaw_rate, rolled.after_s)
    yield _Measured("V11", "yaw acceleration", limits.yaw_accel_rps2, _slope(yaw_rate), rolled.slope_s)


def _points(trajectory: Trajectory, rolled: _Rolled, limits: Limits) -> Iterable[_Measured]:
    """V12 and V13: that the published points are those of the actions.

    The direction in which the actions move the vehicle needs no least step: it does not come from two positions.
    """
    turned = trajectory.yaw_rad - rolled.motion.yaw_rad[1:]
    off = np.arctan2(np.sin(turned), np.cos(turned))
    yield _Measured("V12", "heading away from the motion", limits.heading_rad, off, rolled.after_s)
    apart = np.linalg.norm(trajectory.xyz[:, :2] - rolled.motion.xy[1:], axis=-1)
    yield _Measured("V13", "points away from the actions", limits.position_m, apart, rolled.after_s)


def _extent(trajectory: Trajectory, rolled: _Rolled, measured_mps: float, limits: Limits) -> Iterable[_Measured]:
    """V15 and V16. A plan that ends standing is never too short."""
    stands = abs(float(rolled.motion.speed_mps[-1])) < STANDSTILL_MPS
    needed_m = measured_mps**2 / (2.0 * limits.stop_decel_mps2) + limits.stop_margin_m
    short = 0.0 if stands else max(needed_m - float(np.abs(rolled.step_m).sum()), 0.0)
    yield _Measured("V15", "too short to stop in", limits.too_short_m, np.array([short]))
    way = np.cumsum(np.abs(rolled.step_m))
    yield _Measured("V16", "slope", limits.slope, trajectory.xyz[:, 2] / np.maximum(way, _LEAST_WAY_M), rolled.after_s)


def _words(plan: Plan, limits: Limits) -> Iterable[_Measured]:
    """V17 and V18: how sure the model is of itself, and whether it does what it says."""
    ends = np.stack([candidate.xyz[-1, :2] for candidate in plan.candidates])
    spread = np.sqrt(np.square(ends - ends.mean(axis=0)).sum(axis=-1).mean())
    yield _Measured("V17", "spread of the samples' ends", limits.spread_m, np.array([spread]))
    yield _Measured("V17", "text without an end", limits.unfinished, np.array([float(not plan.reasoning.complete)]))
    contradicts = np.array([float(plan.consistent.agrees is False)])
    yield _Measured("V18", "text contradicts the trajectory", limits.contradiction, contradicts)


def _malformed(plan: Plan) -> tuple[Finding, ...]:
    """V1: a model's trajectory has 64 points, 0.1 s apart; any other has five or more, or nothing could be said of it."""
    t_s = plan.trajectory.t_s
    is_models = plan.source == "model"
    if len(t_s) != HORIZON if is_models else len(t_s) < len(_SLOPE):
        return (_always("points", float(len(t_s)), float(HORIZON if is_models else len(_SLOPE)), "points"),)
    if not is_models:
        return ()
    late = np.abs(t_s - STEP_S * np.arange(1, HORIZON + 1))
    worst = int(late.argmax())
    if late[worst] > _TIME_TOLERANCE_S:
        return (_always("time off the grid", float(late[worst]), _TIME_TOLERANCE_S, "s", float(t_s[worst])),)
    return ()


def _dead(plan: Plan, space: ActionSpace) -> tuple[Finding, ...]:
    """V1: a network that puts out nothing but zeros asks for the mean of the action space at every point."""
    accel, curvature = plan.trajectory.accel_mps2, plan.trajectory.curvature_1pm
    means = (accel == space.accel_mean_mps2) & (curvature == space.curvature_mean_1pm)
    return (_always("actions all zero", float(len(means)), 0.0, "points"),) if means.all() else ()


def _always(name: str, value: float, limit: float, unit: str, at_s: float | None = None) -> Finding:
    """V1's findings are of what a plan is, so nothing configures them."""
    return Finding("V1", name, "reject", value, limit, unit, "ours", at_s)


def _rotation_error(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a matrix (3, 3) is from a rotation; a mirrored one is 2 away."""
    return np.append(np.abs(rotation @ rotation.T - np.eye(3)).ravel(), np.linalg.det(rotation) - 1.0)


def _failing(measured: Iterable[_Measured]) -> tuple[Finding, ...]:
    return tuple(found for each in measured if (found := _finding(each)) is not None)


def _finding(measured: _Measured) -> Finding | None:
    """The worst value, if it is beyond a limit."""
    check, name, limit, values, t_s = measured
    if not len(values):
        return None
    sizes = np.where(np.isnan(values), np.inf, np.abs(values))
    worst = int(sizes.argmax())
    value, at_s = float(sizes[worst]), None if t_s is None else float(t_s[worst])
    if limit.reject is not None and value > limit.reject:
        return Finding(check, name, "reject", value, limit.reject, limit.unit, limit.source, at_s, limit.shadow)
    if limit.warn is not None and value > limit.warn:
        return Finding(check, name, "warn", value, limit.warn, limit.unit, limit.source, at_s, limit.shadow)
    return None
