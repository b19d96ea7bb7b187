"""A trajectory -> its meta-actions: which kind of motion, from when to when, on each axis.

Kinds: Alpamayo-R1 paper (arXiv 2511.00088), table 5. Thresholds: NVIDIA's public Chain-of-Causation autolabeler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import F64, STEP_S, InvalidInput, LateralAction, LongitudinalAction, MetaAction, Trajectory

_SMOOTHING_TICKS = 5
_UNCUT_TICKS = 3  # no second cut within so many ticks of a cut, none so close to the end
_HYSTERESIS = 0.15  # of an acceleration threshold
_SPEED_CUTS_MPS = (-0.3, 0.3)
_ACCEL_CUTS_MPS2 = (-1.25, -0.1, 0.1, 1.25)
_REVERSE_CUT_MPS = -0.1
_TURN_CUTS_RADPM = (-0.05, -0.001, 0.001, 0.05)
_FAST_MPS = 15.0  # above it the turn rate counts by the lateral acceleration it makes
_LONGITUDINAL_MIN_TICKS = 8
_MAINTAIN_MIN_TICKS = 12
_LATERAL_MIN_TICKS = 10


@dataclass(frozen=True)
class _Segment:
    action: LongitudinalAction | LateralAction
    start: int  # tick
    end: int  # tick, exclusive

    @property
    def is_short(self) -> bool:
        limits = {"longitudinal": _LONGITUDINAL_MIN_TICKS, "lateral": _LATERAL_MIN_TICKS}
        least = _MAINTAIN_MIN_TICKS if self.action == "maintain_speed" else limits[_axis(self.action)]
        return self.end - self.start < least


def meta_actions(trajectory: Trajectory, v0_mps: float) -> tuple[MetaAction, ...]:
    """Kinds of motion along a trajectory that starts at speed v0 m/s: longitudinal first, each axis a gapless cover in time.

    An axis covers [first time - 0.1 s, last time), which is [0, 6.4) for a model's trajectory. It is cut where speed,
    smoothed acceleration or turn rate (rad/m) crosses a threshold, each piece is classified by its means and totals, and
    pieces that are too short give their halves to their neighbours.

    Where the source leaves room: acceleration and curvature are those of the actions, not differences of positions, so
    nothing is lost to noise or at 2 pi; turn rate is smoothed heading change over smoothed distance, so that braking alone
    never looks like steering; distance is unsigned, so reversing left means that the heading turns left; a piece keeps
    its class when it absorbs a short one. One deviation: above 15 m/s the turn rate counts (v / 15)^2 times, as lateral
    acceleration does, because the source's 0.0015 rad/m misses an ordinary lane change from 20 m/s on.
    Raises InvalidInput for points that are not 0.1 s apart or a speed that is not finite.
    """
    if not np.isfinite(v0_mps) or not np.allclose(np.diff(trajectory.t_s), STEP_S, rtol=0, atol=1e-6):
        raise InvalidInput(
            f"meta-actions: want points {STEP_S} s apart and a finite v0, got {trajectory.t_s} s and {v0_mps} m/s"
        )
    edges_s = np.append(max(0.0, trajectory.t_s[0] - STEP_S), trajectory.t_s)
    speed = np.append(v0_mps, trajectory.speed_mps)
    segments = _longitudinal(speed, trajectory.accel_mps2) + _lateral(speed, trajectory)
    return tuple(MetaAction(_axis(s.action), s.action, float(edges_s[s.start]), float(edges_s[s.end])) for s in segments)


def _axis(action: LongitudinalAction | LateralAction) -> Literal["longitudinal", "lateral"]:
    return "longitudinal" if action in get_args(LongitudinalAction) else "lateral"


def _longitudinal(speed: F64, accel: F64) -> list[_Segment]:
    states = [speed[:-1] >= cut for cut in _SPEED_CUTS_MPS]
    states += [_above(_smooth(accel), cut) for cut in _ACCEL_CUTS_MPS2]
    pieces = _pieces(np.array(states))
    return _absorb_short([_Segment(_longitudinal_action(speed[a : b + 1]), a, b) for a, b in pieces])


def _lateral(speed: F64, trajectory: Trajectory) -> list[_Segment]:
    travelled = STEP_S * (speed[:-1] + 0.5 * STEP_S * trajectory.accel_mps2)
    turned, distance = _smooth(trajectory.curvature_1pm * travelled), _smooth(np.abs(travelled))
    rate = np.divide(turned, distance, out=np.zeros_like(turned), where=distance > 1e-6) * _weight(speed[:-1])
    pieces = _pieces(np.array([speed[:-1] >= _REVERSE_CUT_MPS] + [rate >= cut for cut in _TURN_CUTS_RADPM]))
    actions = [_lateral_action(speed[a:b], float(turned[a:b].sum()), float(distance[a:b].sum())) for a, b in pieces]
    return _absorb_short([_Segment(action, a, b) for action, (a, b) in zip(actions, pieces, strict=True)])


def _weight(speed: F64 | float) -> F64:
    """How much a turn rate counts at a speed, m/s."""
    return np.maximum(1.0, np.square(np.divide(speed, _FAST_MPS)))


def _smooth(series: F64) -> F64:
    """Centred mean over 5 ticks, over fewer at the ends."""
    kernel, inside = np.ones(_SMOOTHING_TICKS), slice(_SMOOTHING_TICKS // 2, _SMOOTHING_TICKS // 2 + len(series))
    count = np.convolve(np.ones_like(series), kernel)[inside]
    return np.asarray(np.convolve(series, kernel)[inside] / count)


def _above(series: F64, threshold: float) -> NDArray[np.bool_]:
    """Whether each tick is above the threshold, changing only once the series left a band of ± 15 % around it."""
    band = abs(threshold) * _HYSTERESIS
    state, states = bool(series[0] >= threshold), []
    for value in series:
        state = bool(value >= (threshold - band if state else threshold + band))
        states.append(state)
    return np.array(states)


def _pieces(states: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Cut ticks (thresholds, n) where any state changes: [start, end) pairs that cover [0, n)."""
    n = states.shape[1]
    cuts = [0]
    for tick in range(1, n - _UNCUT_TICKS):
        if (cuts[-1] == 0 or tick >= cuts[-1] + _UNCUT_TICKS) and (states[:, tick] != states[:, cuts[-1]]).any():
            cuts.append(tick)
    return list(zip(cuts, [*cuts[1:], n], strict=True))


def _longitudinal_action(speed: F64) -> LongitudinalAction:
    """Class of a piece from the speeds at its n + 1 edges."""
    mean_speed, change = float(speed[:-1].mean()), float(speed[-1] - speed[0])
    accel = change / (STEP_S * (len(speed) - 1))
    if mean_speed <= -0.12:
        return "reverse"
    if abs(mean_speed) <= 0.12:
        return "stop"
    if abs(change) < 0.8 or abs(accel) < 0.15:
        return "maintain_speed"
    if change > 0:
        return "strong_accelerate" if accel >= 1.4 else "gentle_accelerate"
    return "strong_decelerate" if accel <= -1.4 else "gentle_decelerate"


def _lateral_action(speed: F64, turned: float, distance: float) -> LateralAction:
    """Class of a piece from its speeds m/s, heading change rad and distance m."""
    mean_speed = float(speed.mean())
    rate = abs(turned) / distance * float(_weight(mean_speed)) if distance > 1e-6 else 0.0
    left = turned > 0
    if mean_speed <= -0.1 and rate >= 0.002 and abs(turned) >= 0.2:
        return "reverse_left" if left else "reverse_right"
    if rate >= 0.05 and abs(turned) >= 0.2:
        return "sharp_steer_left" if left else "sharp_steer_right"
    if rate >= 0.0015 and abs(turned) >= 0.015:
        return "steer_left" if left else "steer_right"
    return "go_straight"


def _absorb_short(segments: list[_Segment]) -> list[_Segment]:
    """Merge equal neighbours, then let the first short segment give its halves to its neighbours, until none is left."""
    segments = _merge(segments)
    short = next((i for i, s in enumerate(segments) if s.is_short), None)
    if short is None or len(segments) == 1:
        return segments
    start, end = segments[short].start, segments[short].end
    before, after = segments[:short], segments[short + 1 :]
    middle = start if not before else end if not after else (start + end) // 2
    if before:
        before[-1] = _Segment(before[-1].action, before[-1].start, middle)
    if after:
        after[0] = _Segment(after[0].action, middle, after[0].end)
    return _absorb_short(before + after)


def _merge(segments: list[_Segment]) -> list[_Segment]:
    merged = segments[:1]
    for segment in segments[1:]:
        if segment.action == merged[-1].action:
            merged[-1] = _Segment(segment.action, merged[-1].start, segment.end)
        else:
            merged.append(segment)
    return merged
