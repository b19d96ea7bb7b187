"""What the monitor demands of a publication beside the vehicle as odometry measured it, and beside the plan that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.safety.contract import STANDSTILL_MPS
from alpamayo_ros.safety.invariants import STEP_S, Breach, Published, above, headings, wrapped
from alpamayo_ros.safety.monitor_inputs import Odometer

POSE_TOLERANCE_M, POSE_TOLERANCE_SHARE_S, POSE_TOLERANCE_RAD = 0.05, 0.005, 0.03
"""Between two poses 0.2 s apart the monitor goes straight: 0.05 m off at 9.8 m/s^2, 0.02 rad at 4 rad/s^2. The rest, per m/s
of speed, is a pose that the planner extrapolated for 50 ms by a twist that is wrong by 10 %."""

ROUNDING = 1.01
"""The planner judges in float32 what is judged here in float64."""


@dataclass(frozen=True)
class Ceilings:
    """What no published plan of a model may exceed, whatever the planner's limits are set to: the reject values of V3 to V7, of
    curvature and of yaw rate (`limits.LIMITS`; a test holds them equal)."""

    speed_mps: float = 130 / 3.6
    accel_mps2: float = 5.0
    decel_mps2: float = 6.0
    lateral_mps2: float = 4.9
    curvature_1pm: float = 0.24
    yaw_rate_rps: float = 1.4
    first_point_m: float = 2.0
    reverse_m: float = 2.0
    speed_step_mps: float = 3.0  # from the measured speed, and a share of it
    speed_step_share: float = 0.2


def is_rest_of(hold: Published, plans: tuple[Published, ...]) -> bool:
    """Whether a hold is the last points of one of these plans, bit for bit, with its stamp, number and pose."""
    n = len(hold.t_ns)
    return any(
        (hold.stamp_ns, hold.plan_id, hold.epoch) == (plan.stamp_ns, plan.plan_id, plan.epoch)
        and np.array_equal(hold.position, plan.position)
        and np.array_equal(hold.orientation, plan.orientation)
        and all(
            np.array_equal(getattr(hold, name), getattr(plan, name)[-n:])
            for name in ("t_ns", "xyz", "quaternion", "speed_mps", "accel_mps2", "curvature_1pm", "heading_rate_rps")
        )
        for plan in plans
    )


def wrong_place(published: Published, measured: Odometer) -> Iterator[Breach]:
    """I10: the pose that comes along is where odometry says the vehicle was at the stamp."""
    speed = float(np.linalg.norm(measured.velocity_mps))
    off_m = np.linalg.norm([published.position - measured.position], axis=1)
    off_rad = np.abs(wrapped(headings(published.orientation[None]) - measured.yaw_rad))
    yield from above("pose off by", off_m, POSE_TOLERANCE_M + POSE_TOLERANCE_SHARE_S * speed, "m", "I10")
    yield from above("pose turned by", off_rad, POSE_TOLERANCE_RAD, "rad", "I10")


def beyond_ceilings(published: Published, measured: Odometer, ceilings: Ceilings) -> Iterator[Breach]:
    """I6: a plan's own numbers against the ceilings, and its start against the measured speed. A stop ends standing."""
    c, p = ceilings, published
    speed, first_mps = measured.velocity_mps[0], p.speed_mps[0] - STEP_S * p.accel_mps2[0]
    if p.source != "hold":
        step = c.speed_step_mps + c.speed_step_share * abs(speed)
        yield from above("first speed off the measured by", np.abs([first_mps - speed]), step * ROUNDING, "m/s")
        off_m = np.linalg.norm(p.xyz[:1, :2] - [speed * STEP_S, 0.0], axis=1)
        yield from above("first point off by", off_m, c.first_point_m * ROUNDING, "m")
    if p.source == "stop":
        yield from above("last speed of a stop", np.abs(p.speed_mps[-1:]), STANDSTILL_MPS, "m/s")
    else:
        yield from _beyond(p, c)


def _beyond(p: Published, c: Ceilings) -> Iterator[Breach]:
    """I6 of a plan. An action holds for one step, and bends the way at the mean speed of it."""
    mean = p.speed_mps - p.accel_mps2 * (STEP_S / 2)
    bend = np.abs(p.curvature_1pm)
    yield from above("speed", np.abs(p.speed_mps), c.speed_mps * ROUNDING, "m/s")
    yield from above("acceleration", p.accel_mps2, c.accel_mps2 * ROUNDING, "m/s^2")
    yield from above("deceleration", -p.accel_mps2, c.decel_mps2 * ROUNDING, "m/s^2")
    yield from above("lateral acceleration", mean**2 * bend, c.lateral_mps2 * ROUNDING, "m/s^2")
    yield from above("curvature", np.where(np.abs(mean) > STANDSTILL_MPS, bend, 0.0), c.curvature_1pm * ROUNDING, "1/m")
    yield from above("yaw rate", np.abs(mean) * bend, c.yaw_rate_rps * ROUNDING, "rad/s")
    yield from above("way in reverse", np.cumsum(np.maximum(-mean * STEP_S, 0.0)), c.reverse_m * ROUNDING, "m")
