"""How fast the ego goes along its path: 64 steps forward, each as fast as what limits it most.

Every limit says which acceleration it allows at a step; the least of them is approached with limited jerk. Following is the
Intelligent Driver Model (Treiber, Hennecke, Helbing 2000); a stop is a constant braking that ends with constant jerk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.simulation.expert.intention import Cause
from alpamayo_ros.simulation.expert.path import Path
from alpamayo_ros.simulation.expert.route import GRID_M
from alpamayo_ros.simulation.state import FRONT_M
from alpamayo_ros.types import F64, HORIZON, STEP_S, Longitudinal

COMFORTABLE_BRAKING_MPS2 = 1.5
HARD_BRAKING_MPS2, HARDEST_BRAKING_MPS2 = 3.6, 7.0  # the harder one only where the other is not enough
EASING_MPS3 = 1.0  # at the end of a comfortable stop; harder ones ease off in the same time
GAP_M, HEADWAY_S = 3.0, 1.3
HELD_M = 1.5  # who stands so close behind where to stop does not creep up to it
FALLING_BACK_MPS = 2.5  # against the traffic of another lane, to fall in there
UNNOTICED = 0.9  # of what the driver would do at most: less of a limit is none
NO_LIMIT_MPS2 = 100.0

_FALLING_IN_M, _FALLING_IN_S = 3.2, 0.25  # a little more than a change of lane asks for
_FALLING_BACK_1PS, _FALLING_BACK_MPS2 = 0.2, 1.1
_SHORT_HEADWAY_S = 0.4
_BRAKING_STEPS = 10  # over which somebody's braking is taken
_FOLLOWING_MPS2, _FOLLOWING_BRAKING_MPS2 = 1.4, 1.8
_BRAKE_RELEASE_MPS3, _SPEEDING_UP_MPS3, _BRAKING_MPS3, _URGENT_MPS3 = 3.0, 1.8, 2.5, 3.2
_URGENT_MPS2 = -2.3
_LOOK_AHEAD_S = 0.4  # what the jerk takes
_EAGERNESS_1PS = 0.7  # of coming up to the speed wished
_STANDS_MPS = 0.03
_SOON_S, _CREEPS_MPS = 6.5, 3.0  # nobody speeds up to where they stop so soon, unless they creep


@dataclass(frozen=True, eq=False)
class Why:
    """A decision on the longitudinal axis and its causes, the deciding one first; equal only to itself."""

    decision: Longitudinal
    causes: tuple[Cause, ...]


class Limit(Protocol):
    """Something that limits the acceleration."""

    why: Why

    def allows(self, step: int, along_m: float, speed_mps: float, /) -> float:
        """The acceleration that is allowed at a step, with the rear axle at this place."""
        ...


class Pace:
    """A speed that is not exceeded, by place."""

    def __init__(self, why: Why, path: Path, speed_mps: F64, braking_mps2: float) -> None:
        """Speeds (n,) on the path's grid; who comes to a lower one slows down in time, with `braking_mps2`."""
        ramp = 2 * braking_mps2 * GRID_M * np.arange(len(speed_mps))
        in_time = np.minimum.accumulate((speed_mps**2 + ramp)[::-1])[::-1] - ramp
        self.why = why
        self._start_m = float(path.along_m[0])
        self._squared: list[float] = np.maximum(in_time, 0.25).tolist()

    def allows(self, _step: int, along_m: float, speed_mps: float, /) -> float:
        """See Limit."""
        at = (along_m + _LOOK_AHEAD_S * speed_mps - self._start_m) / GRID_M
        k = min(int(at), len(self._squared) - 2)
        change = self._squared[k + 1] - self._squared[k]
        wished = math.sqrt(max(self._squared[k] + (at - k) * change, 0.01))
        return min(change / (2 * GRID_M), 0.0) * speed_mps / wished + _EAGERNESS_1PS * (wished - speed_mps)


class Stop:
    """A place that the front bumper does not pass until a time; infinite: not in sight."""

    def __init__(
        self,
        why: Why,
        at_m: float,
        along_m: float,
        speed_mps: float,
        until_s: float = math.inf,
        braking_mps2: float = COMFORTABLE_BRAKING_MPS2,
    ) -> None:
        """It brakes for it with `braking_mps2`, harder where that is too late."""
        self.why = why
        self._at_m = at_m
        self._until_s = until_s
        needed = braking_needed_mps2(at_m - along_m - FRONT_M, speed_mps)
        self._braking = min(max(needed, braking_mps2), HARDEST_BRAKING_MPS2)
        self._hardest = -min(1.1 * self._braking, HARD_BRAKING_MPS2 if needed < HARD_BRAKING_MPS2 else HARDEST_BRAKING_MPS2)
        self._soon_s = _SOON_S * COMFORTABLE_BRAKING_MPS2 / braking_mps2
        self._easing = EASING_MPS3 * self._braking / COMFORTABLE_BRAKING_MPS2
        self._easing_m = self._braking**3 / (6 * self._easing**2)

    def allows(self, step: int, along_m: float, speed_mps: float, /) -> float:
        """See Limit."""
        left_m = self._at_m - along_m - FRONT_M
        if step * STEP_S >= self._until_s:
            return NO_LIMIT_MPS2
        if left_m < HELD_M and speed_mps < 0.1:
            return -0.3
        if left_m > self._easing_m:
            wished = math.sqrt(2 * self._braking * (left_m - self._easing_m / 4))
            soon = speed_mps > _CREEPS_MPS and left_m < self._soon_s * speed_mps
            return max(
                min(wished - speed_mps - self._braking * speed_mps / wished, 0.0 if soon else NO_LIMIT_MPS2), self._hardest
            )
        wished = math.pow(3 * max(left_m, 0.0) * math.sqrt(self._easing / 2), 2 / 3)
        return wished - speed_mps - math.sqrt(2 * self._easing * wished)


class Leader:
    """Somebody ahead who goes the same way, while `present`."""

    def __init__(self, why: Why, rear_m: F64, speed_mps: F64, present: NDArray[np.bool_]) -> None:
        self.why = why
        self._rear_m: list[float] = rear_m.tolist()
        self._speed_mps: list[float] = speed_mps.tolist()
        slower = speed_mps - np.append(speed_mps[_BRAKING_STEPS:], np.full(_BRAKING_STEPS, speed_mps[-1]))
        self._braking: list[float] = (np.maximum(slower, 0.0) / (_BRAKING_STEPS * STEP_S)).tolist()
        self._present: list[bool] = present.tolist()

    def allows(self, step: int, along_m: float, speed_mps: float, /) -> float:
        """See Limit."""
        if not self._present[step]:
            return NO_LIMIT_MPS2
        gap, his = self._rear_m[step] - along_m - FRONT_M, self._speed_mps[step]
        if speed_mps < 0.3 and his < 0.3 and gap < GAP_M + HELD_M:
            return -0.5
        closing = speed_mps - his
        dynamic = speed_mps * closing / (2 * math.sqrt(_FOLLOWING_MPS2 * _FOLLOWING_BRAKING_MPS2))
        wanted = GAP_M + max(0.0, speed_mps * HEADWAY_S + dynamic)
        model = _FOLLOWING_MPS2 * (1.0 - (wanted / max(gap, 0.5)) ** 2)
        needed = max(closing, 0.0) ** 2 / (2 * max(gap - 1.5, 0.3))
        patience = 0.5 if gap > GAP_M + _SHORT_HEADWAY_S * speed_mps else 1.0
        enough = 0.6 * max(-closing, 0.0) - patience - 1.3 * needed - 0.8 * self._braking[step]
        return max(model, enough)  # nobody brakes hard only because the gap is small


class Gap:
    """Somebody in another lane behind whom the ego falls in, without haste."""

    def __init__(self, why: Why, rear_m: F64, speed_mps: F64) -> None:
        self.why = why
        self._rear_m: list[float] = rear_m.tolist()
        self._speed_mps: list[float] = speed_mps.tolist()

    def allows(self, step: int, along_m: float, speed_mps: float, /) -> float:
        """See Limit."""
        short = self._rear_m[step] - along_m - FRONT_M - _FALLING_IN_M - _FALLING_IN_S * speed_mps
        slower = min(max(short * _FALLING_BACK_1PS, -FALLING_BACK_MPS), 3.0)
        return max(_EAGERNESS_1PS * (self._speed_mps[step] + slower - speed_mps), -_FALLING_BACK_MPS2)


@dataclass(frozen=True)
class Drive:
    """A way along the path over time."""

    along_m: F64  # (65,) of the rear axle, from now
    speed_mps: F64  # (65,)
    accel_mps2: F64  # (64,)
    limiting: tuple[Why, ...]  # (64,)

    def reaches_s(self, along_m: float) -> float:
        """When the rear axle is at a place; infinite: after the end."""
        if along_m > self.along_m[-1]:
            return math.inf
        return float(np.searchsorted(self.along_m, along_m)) * STEP_S


def braking_needed_mps2(distance_m: float, speed_mps: float) -> float:
    """To stop within a distance."""
    return speed_mps**2 / (2 * max(distance_m - 0.1, 0.05))


def drive(path: Path, speed_mps: float, accel_mps2: float, limits: Sequence[Limit]) -> Drive:
    """The way of a vehicle with this speed and acceleration, within all limits; the first one is the speed that it wishes."""
    progress: list[float] = path.progress.tolist()
    start, s, v, a = float(path.along_m[0]), float(path.along_m[0]), speed_mps, accel_mps2
    along, speed, accel, limiting = [s], [v], [], []
    for step in range(HORIZON):
        allowed = [limit.allows(step, s, v) for limit in limits]
        least, most = min(range(len(limits)), key=allowed.__getitem__), _strongest_mps2(v)
        a = _approached(a, min(allowed[least], most), v)
        after = v + a * STEP_S
        if after < _STANDS_MPS and a <= 0.0:
            a, after = -v / STEP_S, 0.0
        s += (v + after) / 2 * STEP_S * progress[min(int((s - start) / GRID_M + 0.5), len(progress) - 1)]
        v = after
        along.append(s)
        speed.append(v)
        accel.append(a)
        limiting.append(limits[least if allowed[least] < UNNOTICED * most else 0].why)
    return Drive(np.array(along), np.array(speed), np.array(accel), tuple(limiting))


def _strongest_mps2(speed_mps: float) -> float:
    """The acceleration of an unhurried driver."""
    return max(1.4 - 0.03 * max(speed_mps - 10.0, 0.0), 0.8)


def _approached(accel: float, wished: float, speed_mps: float) -> float:
    """The acceleration one step later: jerk is limited, and braking eases off before the vehicle stands."""
    wished = max(wished, -HARDEST_BRAKING_MPS2)
    up = _BRAKE_RELEASE_MPS3 if accel < 0.0 else _SPEEDING_UP_MPS3
    down = _URGENT_MPS3 if wished < _URGENT_MPS2 else _BRAKING_MPS3
    wished = min(max(wished, accel - down * STEP_S), accel + up * STEP_S)
    return max(wished, -1.6 * math.pow(speed_mps, 0.6) - 0.02)
