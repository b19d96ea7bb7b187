"""What must hold of every published trajectory, judged from its numbers and from the publication before it.

The planner's own gate asserts these before it publishes, the monitor judges them again from what came over the wire. They
are the invariants I1 to I10 of docs/safety.md; those that need the inputs (I2, I3, I7 to I10) are in monitor.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.safety.contract import Source
from alpamayo_ros.types import F64, HORIZON

Invariant = Literal["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "L1", "L2", "L3", "L4"]
"""I: something wrong was published. L: what should have been published was not (liveness)."""

STEP_NS = 100_000_000
STEP_S = 0.1
MAX_STOP_POINTS = 512

MAX_ACCEL_MPS2 = 9.8
"""Along and across: more than a tyre on a dry road gives, whatever the limits of the checks are set to."""

UNIT_TOLERANCE = 1e-3
"""How far a published quaternion's norm may be from 1."""

STEP_TOLERANCE_M, STEP_TOLERANCE_MPS, STEP_TOLERANCE_RAD = 0.05, 0.05, 0.02
"""How far one point may be from where the unicycle model takes the point before it: what B3 calls worth a warning (V13),
in one step. A path that is followed with another rule of integration stays far below it; a displaced point does not."""


@dataclass(frozen=True)
class Breach:
    """One broken invariant, with the numbers that show it."""

    invariant: Invariant
    text: str

    @property
    def unsafe(self) -> bool:
        """Whether something wrong was published; False: something right was not."""
        return self.invariant.startswith("I")

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


@dataclass(frozen=True, eq=False)
class Published:
    """A trajectory as it is on the wire. Nothing is checked: any number may be NaN, any count wrong."""

    stamp_ns: int
    epoch: int
    source: Source
    plan_id: int
    t_ns: NDArray[np.int64]  # (n,) after the stamp
    xyz: F64  # (n, 3) m, ego frame at the stamp
    quaternion: F64  # (n, 4) x y z w, ego frame at the stamp
    speed_mps: F64  # (n,)
    accel_mps2: F64  # (n,)
    curvature_1pm: F64  # (n,)
    heading_rate_rps: F64  # (n,)
    position: F64  # (3,) m, of the ego in the odometry frame
    orientation: F64  # (4,) x y z w, odometry frame from ego
    pose_stamp_ns: int  # of that pose
    provisional: bool = False  # a refined plan of the same stamp may follow


def gate_breaches(published: Published, last: Published | None) -> tuple[str, ...]:
    """What forbids publishing this after `last`, the last publication of the same node run: a text each; empty is allowed."""
    return tuple(map(str, (*wrong_numbers(published), *wrong_order(published, last))))


def wrong_numbers(published: Published) -> tuple[Breach, ...]:
    """I1, I5, I6 and the pose's stamp (I10) of one publication by itself. After I1 nothing else can be judged."""
    if breaches := not_finite(published):
        return breaches
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is not below a limit, and so it is said
        physics = (*beyond_physics(published), *not_unit(published), *off_model(published))
    return (*wrong_points(published), *physics, *wrong_pose(published))


def not_finite(published: Published) -> tuple[Breach, ...]:
    """I1: every number is finite."""
    arrays = {name: value for name, value in vars(published).items() if isinstance(value, np.ndarray)}
    bad = {name: np.count_nonzero(~np.isfinite(value)) for name, value in arrays.items()}
    text = ", ".join(f"{count} of {arrays[name].size} {name}" for name, count in bad.items() if count)
    return (Breach("I1", f"not finite: {text}"),) if text else ()


def wrong_points(published: Published) -> tuple[Breach, ...]:
    """I5: a model says 64 points, a hold the last ones of them, a stop at most 512; 0.1 s apart, counted from the stamp."""
    n, t_ns = len(published.t_ns), published.t_ns
    most = MAX_STOP_POINTS if published.source == "stop" else HORIZON
    fewest = HORIZON if published.source == "model" else 1
    if not fewest <= n <= most:
        return (Breach("I5", f"{published.source} of {n} points, want {fewest} to {most}"),)
    first = HORIZON - n + 1 if published.source == "hold" else 1
    wanted_ns = np.arange(first, first + n) * STEP_NS
    wrong = np.flatnonzero(t_ns != wanted_ns)
    if not len(wrong):
        return ()
    i = wrong[0]
    return (Breach("I5", f"point {i} of a {published.source} is at {t_ns[i] / 1e9:.3f} s, want {wanted_ns[i] / 1e9:.1f} s"),)


def beyond_physics(published: Published) -> tuple[Breach, ...]:
    """I6: no acceleration along or across is above 9.8 m/s^2."""
    along = np.abs(published.accel_mps2)
    across = published.speed_mps**2 * np.abs(published.curvature_1pm)
    return (
        *above("acceleration", along, MAX_ACCEL_MPS2, "m/s^2"),
        *above("lateral acceleration", across, MAX_ACCEL_MPS2, "m/s^2"),
    )


def above(name: str, values: NDArray[Any], limit: float, unit: str, invariant: Invariant = "I6") -> tuple[Breach, ...]:
    """A breach when the largest of the values (n,) is above a limit."""
    if not len(values) or values.max() <= limit:
        return ()
    return (Breach(invariant, f"{name} {values.max():.3g} {unit} at point {values.argmax()}, limit {limit:.3g}"),)


def not_unit(published: Published) -> tuple[Breach, ...]:
    """I6: every orientation is a unit quaternion."""
    norms = np.linalg.norm(np.vstack([published.quaternion, published.orientation]), axis=1)
    return above("quaternion norm off by", np.abs(norms - 1.0), UNIT_TOLERANCE, "")


def off_model(published: Published) -> tuple[Breach, ...]:
    """I6: each point is where the unicycle model takes the one before it; the first one starts at the ego, but in a hold."""
    if not len(published.t_ns):
        return ()
    speed, accel, curvature = published.speed_mps, published.accel_mps2, published.curvature_1pm
    xy, yaw = published.xyz[:, :2], headings(published.quaternion)
    before = np.append(speed[0] - accel[0] * STEP_S, speed[:-1])
    yaw_before = np.append(0.0, yaw[:-1])
    turned = curvature * (before * STEP_S + accel * (STEP_S**2 / 2))
    moved = STEP_S / 2 * (before[:, None] * _unit(yaw_before) + speed[:, None] * _unit(yaw))
    off_m = np.linalg.norm(np.diff(xy, axis=0, prepend=[[0.0, 0.0]]) - moved, axis=1)
    off_rad = np.abs(wrapped(yaw - yaw_before - turned))
    off_mps = np.abs(speed - before - accel * STEP_S)
    if published.source == "hold":
        off_m[0] = off_rad[0] = 0.0
    return (
        *above("off the unicycle model by", off_m, STEP_TOLERANCE_M, "m"),
        *above("heading off the unicycle model by", off_rad, STEP_TOLERANCE_RAD, "rad"),
        *above("speed off the acceleration by", off_mps, STEP_TOLERANCE_MPS, "m/s"),
        *above("heading rate off by", np.abs(published.heading_rate_rps - speed * curvature), STEP_TOLERANCE_RAD, "rad/s"),
    )


def wrong_pose(published: Published) -> tuple[Breach, ...]:
    """I10: the pose that comes along is of the trajectory's stamp."""
    ahead_ms = (published.pose_stamp_ns - published.stamp_ns) / 1e6
    return (Breach("I10", f"the pose's stamp is {ahead_ms:+.3f} ms from the trajectory's"),) if ahead_ms else ()


def wrong_order(published: Published, last: Published | None) -> tuple[Breach, ...]:
    """I4 and I9 of two publications in a row: stamps rise inside an epoch, epochs never fall. A hold keeps the stamp that it
    has, and so does the plan that refines a provisional one.

    The stamp of a stop is of odometry, newer than any camera's: a model's stamp is not compared with a stop's.
    """
    if last is None or published.epoch > last.epoch:
        return ()
    if published.epoch < last.epoch:
        return (Breach("I9", f"epoch {published.epoch} after epoch {last.epoch}"),)
    if (published.source == "stop") != (last.source == "stop"):
        return ()
    ahead_ns = published.stamp_ns - last.stamp_ns
    refines = last.provisional and not published.provisional
    if ahead_ns > 0 or (ahead_ns == 0 and (published.source == "hold" or refines)):
        return ()
    return (Breach("I4", f"stamp of a {published.source} {ahead_ns / 1e6:+.3f} ms from the {last.source} before it"),)


def headings(quaternion: F64) -> F64:
    """Heading (n,) rad of quaternions (n, 4), x y z w: the angle of their x axis in the x-y plane."""
    x, y, z, w = quaternion.T
    yaw: F64 = np.arctan2(2 * (w * z + x * y), w * w + x * x - y * y - z * z)
    return yaw


def wrapped(angle_rad: F64) -> F64:
    """The same angles in [-pi, pi)."""
    turned: F64 = (angle_rad + np.pi) % (2 * np.pi) - np.pi
    return turned


def _unit(yaw_rad: F64) -> F64:
    """Directions (n, 2) of headings (n,)."""
    return np.stack([np.cos(yaw_rad), np.sin(yaw_rad)], axis=-1)
