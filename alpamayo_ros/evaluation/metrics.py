"""How good a plan is: one definition per quantity, for reports, training rewards and the closed loop alike.

Points are xyz (n, 3) m, ego at t0 unless said otherwise, distances in x and y unless said otherwise; "driven" is what the
vehicle then did at the same times. Sources by short name: *released*, NVIDIA's public Alpamayo code (`distance_metrics.py`,
`comfort_reward.py`); *paper*, Alpamayo-R1, arXiv 2511.00088; *AlpaSim*, its scorer `plan_deviation`; *nuPlan*, the devkit's
`ego_is_comfortable`; *Argoverse 2*, av2-api's `motion_forecasting/eval/metrics.py`. InvalidInput is raised for shapes that
do not fit, for no points and for distances that are not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alpamayo_ros.dynamics import RELEASED, Floats
from alpamayo_ros.reasoning import shuffled_consistency
from alpamayo_ros.types import F64, STEP_S, EgoPose, InvalidInput, Plan, checked

HORIZONS_S = (0.5, 1.0, 2.5, 3.0, 5.0, 6.4)  # AlpaSim's, the released code's, and the end of a model's trajectory
ByHorizon = tuple[float | None, ...]  # one per HORIZONS_S; None where the plan or the driven future ends before
MISS_M = 2.0  # minFDE above it is a miss (Argoverse 2, at its horizon of 6 s)
CORNERS_M = np.array([2.0 + 1.5j, 2.0 - 1.5j, -2.0 + 1.5j, -2.0 - 1.5j])  # ahead + i left, of a box of 4 x 3 x 2 m (released)
DEVIATION_DECAY = 0.1  # per point of the later plan (AlpaSim)
_TIME_TOLERANCE_S = 1e-6


class Bound(NamedTuple):
    """Where a quantity stays at every point, in the unit of its name; a value on a bound is outside (released)."""

    quantity: str
    low: float
    high: float


COMFORT_BOUNDS = {
    "lon_accel": Bound("lon_accel_mps2", -4.05, 2.40),
    "lat_accel": Bound("lat_accel_mps2", -4.89, 4.89),
    "jerk": Bound("jerk_mps3", -8.37, 8.37),
    "lon_jerk": Bound("lon_jerk_mps3", -4.13, 4.13),
    "yaw_accel": Bound("yaw_accel_rps2", -1.93, 1.93),
    "yaw_rate": Bound("yaw_rate_rps", -0.95, 0.95),
}
"""nuPlan's limits, which the released reward uses; all six kept is nuPlan's comfortable, their mean C of w_c (C - 1)."""

# Both kept is Comfort(Accel). The paper publishes no range, nuPlan's stand in: the paper's shares do not compare to ours.
COMFORT_ACCEL = ("lon_accel", "lat_accel")

FEASIBLE_BOUNDS = {
    "accel": Bound("lon_accel_mps2", *RELEASED.accel_bounds_mps2),
    "curvature": Bound("curvature_1pm", *RELEASED.curvature_bounds_1pm),
    "lat_accel": Bound("lat_accel_mps2", -9.8, 9.8),  # Autoware's planning_validator
}
"""What a road vehicle can do at all: the released action bounds and a tyre's grip."""


def by_horizon(stem: str, horizon_s: float) -> str:
    """Name of a number at a horizon: ade_6_4s."""
    return f"{stem}_{horizon_s:g}s".replace(".", "_")


def points_to(t_s: F64, horizon_s: float) -> int | None:
    """How many of the times (n,) s lie at or before a horizon; None when they end before it."""
    upto = t_s <= horizon_s + _TIME_TOLERANCE_S
    return int(upto.sum()) if len(t_s) and t_s[-1] >= horizon_s - _TIME_TOLERANCE_S else None


def displacement_m(xyz: Floats, true_xyz: Floats) -> Floats:
    """|p_i - g_i| in x and y, (..., n) m, of points (..., n, 2 or 3) from the driven ones (n, 2 or 3)."""
    if true_xyz.ndim != 2 or 0 in xyz.shape or xyz.shape[-2:] != true_xyz.shape:
        raise InvalidInput(f"displacement: want points (..., n, 3) and driven (n, 3), got {xyz.shape} and {true_xyz.shape}")
    apart = np.asarray(np.linalg.norm(xyz[..., :2] - true_xyz[:, :2], axis=-1))
    if not np.isfinite(apart).all():
        raise InvalidInput(f"displacement: {np.count_nonzero(~np.isfinite(apart))} of {apart.size} distances are not finite")
    return apart


def ade_m(xyz: Floats, true_xyz: Floats) -> float:
    """Average displacement error of one trajectory (n, 3): mean_i |p_i - g_i| (released, paper)."""
    return float(displacement_m(xyz, true_xyz).mean())


def fde_m(xyz: Floats, true_xyz: Floats) -> float:
    """Final displacement error |p_n - g_n|; of samples (K, n, 3) the least, minFDE_K (Argoverse 2)."""
    return float(displacement_m(xyz, true_xyz)[..., -1].min())


def min_ade_m(samples_xyz: Floats, true_xyz: Floats, points: int | None = None) -> float:
    """minADE_K of samples (K, n, 3): over the first `points`, or all n, the ADE of the sample with the least ADE over all n.

    Released convention for minADE by time: the sample is chosen by the full horizon, though another may be nearer at a
    shorter one; so by time minADE_6 can exceed minADE_1, over all n it cannot.
    """
    apart = displacement_m(samples_xyz, true_xyz)
    return float(apart[np.argmin(apart.mean(axis=-1)), :points].mean())


def longitudinal_lateral_m(xyz: Floats, true_xyz: Floats, true_yaw_rad: Floats) -> tuple[Floats, Floats]:
    """d_i = p_i - g_i in the frame of the driven pose i, each (n,) m: d·(cos, sin) ahead of it, d·(-sin, cos) left of it."""
    displacement_m(xyz, true_xyz)
    off, cos, sin = xyz - true_xyz, np.cos(true_yaw_rad), np.sin(true_yaw_rad)
    return off[:, 0] * cos + off[:, 1] * sin, off[:, 1] * cos - off[:, 0] * sin


def heading_error_rad(yaw_rad: Floats, true_yaw_rad: Floats) -> Floats:
    """Heading minus driven heading, (n,) rad in [-pi, pi]: atan2(sin, cos) of the difference; positive is left of driven."""
    return np.asarray(np.arctan2(np.sin(yaw_rad - true_yaw_rad), np.cos(yaw_rad - true_yaw_rad)))


def corners_apart_m(xyz: Floats, yaw_rad: Floats, true_xyz: Floats, true_yaw_rad: Floats) -> Floats:
    """Distance in x, y, z of CORNERS_M at xyz (..., n, 3), yaw (..., n) from the driven ones, (..., n, 4) m.

    The box is centred at the pose: no vehicle's outline, it weighs heading. It is turned by yaw alone, the released one in
    3D, so its 4 upper corners are as far apart as the 4 lower ones.
    """
    displacement_m(xyz, true_xyz)
    off, turned = xyz - true_xyz, np.exp(1j * yaw_rad) - np.exp(1j * true_yaw_rad)
    flat = (off[..., 0] + 1j * off[..., 1])[..., None] + turned[..., None] * CORNERS_M
    return np.asarray(np.hypot(np.abs(flat), off[..., 2:]))


def corner_distance_m(xyz: Floats, yaw_rad: Floats, true_xyz: Floats, true_yaw_rad: Floats) -> float:
    """Mean of `corners_apart_m` over corners and points of one trajectory; of samples (K, n, 3) the least of their means."""
    return float(corners_apart_m(xyz, yaw_rad, true_xyz, true_yaw_rad).mean(axis=(-2, -1)).min())


def pointwise_corner_distance_m(xyz: Floats, yaw_rad: Floats, true_xyz: Floats, true_yaw_rad: Floats) -> float:
    """The released `corner_distance` of samples (K, n, 3): the mean of each corner's least of K, so of no one sample."""
    return float(corners_apart_m(xyz, yaw_rad, true_xyz, true_yaw_rad).min(axis=0).mean())


def difference(series: Floats, dt_s: float) -> Floats:
    """Forward difference (s_(i+1) - s_i) / dt of (n,), the last one twice so that n stays (released)."""
    if series.ndim != 1 or len(series) < 2:
        raise InvalidInput(f"derivative: want (n,) with n >= 2, got {series.shape}")
    steps = np.diff(series) / dt_s
    return np.append(steps, steps[-1:])


def quantities_by_actions(speed_mps: Floats, accel_mps2: Floats, curvature_1pm: Floats, dt_s: float) -> dict[str, Floats]:
    """What is bounded, by the unicycle's own actions (n,), each held for dt; speeds (n,) are those after them.

    With the mean speed u = v - a dt / 2 of a step: longitudinal acceleration a, yaw rate κ u, lateral acceleration κ u^2;
    jerks and yaw acceleration are `difference`s of those, `jerk` that of |acceleration| (nuPlan).
    """
    mean_speed = speed_mps - 0.5 * dt_s * accel_mps2
    lat_accel = curvature_1pm * mean_speed**2
    own = _quantities(accel_mps2, lat_accel, np.hypot(accel_mps2, lat_accel), curvature_1pm * mean_speed, dt_s)
    return own | {"curvature_1pm": curvature_1pm}


def quantities_by_positions(xyz: Floats, yaw_rad: Floats, dt_s: float) -> dict[str, Floats]:
    """The same but curvature, by `difference`s of points (n, 3) and yaw (n,): the released reward's, for public numbers.

    `jerk` is the second difference of |v|. Velocity is differenced in the vehicle's frame, as if that did not turn: on a
    steady arc lateral acceleration is 0 but near the end, where a repeated velocity meets another heading.
    """
    dx, dy = difference(xyz[:, 0], dt_s), difference(xyz[:, 1], dt_s)
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    lon_accel, lat_accel = difference(dx * cos + dy * sin, dt_s), difference(dy * cos - dx * sin, dt_s)
    return _quantities(lon_accel, lat_accel, difference(np.hypot(dx, dy), dt_s), difference(np.unwrap(yaw_rad), dt_s), dt_s)


def _quantities(lon_accel: Floats, lat_accel: Floats, accel: Floats, yaw_rate: Floats, dt_s: float) -> dict[str, Floats]:
    return {
        "lon_accel_mps2": lon_accel,
        "lat_accel_mps2": lat_accel,
        "jerk_mps3": difference(accel, dt_s),
        "lon_jerk_mps3": difference(lon_accel, dt_s),
        "yaw_accel_rps2": difference(yaw_rate, dt_s),
        "yaw_rate_rps": yaw_rate,
    }


def kept(quantities: Mapping[str, Floats], bounds: Mapping[str, Bound]) -> dict[str, bool]:
    """Per name of COMFORT_BOUNDS or FEASIBLE_BOUNDS, whether low < q_i < high at every point."""
    return {name: bool(((low < quantities[q]) & (quantities[q] < high)).all()) for name, (q, low, high) in bounds.items()}


def deviation_m(earlier_t_s: F64, earlier_xyz: Floats, later_t_s: F64, later_xyz: Floats) -> float | None:
    """AlpaSim's plan deviation of two plans in one standing frame, times on one clock; None where none is common.

    sum_i w_i |later_i - earlier(t_i)| / sum_i w_i over the later plan's times that the earlier one spans, interpolating the
    earlier one; w_i = exp(-0.1 i), so what comes first counts most.
    """
    common = (later_t_s > earlier_t_s[0] - _TIME_TOLERANCE_S) & (later_t_s < earlier_t_s[-1] + _TIME_TOLERANCE_S)
    if not common.any():
        return None
    there = np.stack([np.interp(later_t_s[common], earlier_t_s, earlier_xyz[:, axis]) for axis in (0, 1)], axis=-1)
    apart = displacement_m(later_xyz[common, :2], there)
    return float(np.average(apart, weights=np.exp(-DEVIATION_DECAY * np.arange(len(apart)))))


def plan_deviation_m(earlier: Plan, earlier_ego: EgoPose, later: Plan, later_ego: EgoPose) -> float | None:
    """`deviation_m` of two plans in the odom frame, by the ego poses at their t0; None across epochs."""
    if earlier.epoch != later.epoch:
        return None
    if not earlier.t0_ns == earlier_ego.stamp_ns < later.t0_ns == later_ego.stamp_ns:
        raise InvalidInput(f"plans at {earlier.t0_ns}, {later.t0_ns} ns, poses at {earlier_ego.stamp_ns}, {later_ego.stamp_ns}")
    first, then = (p.trajectory.xyz @ e.odom_from_ego.T + e.position for p, e in ((earlier, earlier_ego), (later, later_ego)))
    later_t_s = later.trajectory.t_s + (later.t0_ns - earlier.t0_ns) / 1e9
    return deviation_m(earlier.trajectory.t_s, first, later_t_s, then)


def consistency_share(plans: Sequence[Plan]) -> tuple[float | None, float | None]:
    """Share of traces naming a decision that agree with their trajectory, and with others' by chance; None of 0, below 2."""
    judged = [plan for plan in plans if plan.consistent.agrees is not None]
    share = sum(plan.consistent.agrees is True for plan in judged) / len(judged) if judged else None
    pairs = [plan.reasoning.decision for plan in judged], [plan.meta_actions for plan in judged]
    return share, shuffled_consistency(*pairs, seed=0) if len(judged) > 1 else None


@dataclass(frozen=True)
class Driven:
    """Where the vehicle really was at the first m times of a plan; m = 0 where nothing is known."""

    xyz: F64  # (m, 3) m, ego at the plan's t0
    yaw_rad: F64  # (m,) rad, ego at the plan's t0
    speed_mps: F64  # (m,) m/s, along x forward

    def __post_init__(self) -> None:
        for name, *width in (("xyz", 3), ("yaw_rad",), ("speed_mps",)):
            object.__setattr__(self, name, checked(name, getattr(self, name), np.float64, len(self.xyz), *width))


@dataclass(frozen=True)
class WindowMetrics:
    """What one plan was worth. "6" is of the first six candidates, None of fewer; "1" of the first, whichever was chosen."""

    t0_ns: int
    ade_m: ByHorizon  # of the chosen trajectory, as is all that is not named 1 or 6
    fde_m: ByHorizon  # at the horizon
    longitudinal_m: ByHorizon  # mean magnitudes up to the horizon, as the next three
    lateral_m: ByHorizon
    heading_rad: ByHorizon
    speed_mps: ByHorizon
    min_ade_1_m: ByHorizon
    min_ade_6_m: ByHorizon  # None, too, where the driven future is not known to the plan's end, by which one is chosen
    missed: bool | None  # these five want the driven future to the plan's end
    missed_6: bool | None
    corner_distance_m: float | None
    corner_distance_6_m: float | None
    pointwise_corner_distance_6_m: float | None
    comfort: Mapping[str, bool]  # COMFORT_BOUNDS by actions
    comfort_by_positions: Mapping[str, bool]
    feasible: Mapping[str, bool]
    plan_deviation_m: float | None  # from the plan before
    consistent: bool | None
    trace_tokens: int
    trace_complete: bool

    def values(self) -> dict[str, float | None]:
        """Every number by name: ade_6_4s, heading_2_5s, comfort (all bounds), comfort_jerk, missed ...; truths are 0 or 1."""
        flat: dict[str, float | None] = {}
        for name, value in vars(self).items():
            if isinstance(value, tuple):
                stem = name.rpartition("_")[0]  # without its unit
                flat |= {by_horizon(stem, h): error for h, error in zip(HORIZONS_S, value, strict=True)}
            elif isinstance(value, Mapping):
                flat |= {name: float(all(value.values()))} | {f"{name}_{bound}": float(ok) for bound, ok in value.items()}
            elif name != "t0_ns":
                flat[name] = None if value is None else float(value)
        return flat | {"comfort_accel": float(all(self.comfort[name] for name in COMFORT_ACCEL))}


def window_metrics(plan: Plan, driven: Driven, deviation_from_last_m: float | None = None) -> WindowMetrics:
    """Everything about one plan of steps of 0.1 s, given what was driven at its times and its `plan_deviation_m`."""
    path, known = plan.trajectory, len(driven.xyz)
    if known > len(path.t_s) or not plan.candidates or not np.allclose(np.diff(path.t_s), STEP_S):
        got = f"{known} driven, {len(plan.candidates)} candidates, times {path.t_s}"
        raise InvalidInput(f"window: want at most {len(path.t_s)} driven points, a candidate, steps of {STEP_S} s, got {got}")
    whole = known == len(path.t_s)
    six = plan.candidates[:6] if whole and len(plan.candidates) >= 6 else ()
    truth, six_poses = (driven.xyz, driven.yaw_rad), (np.array([c.xyz for c in six]), np.array([c.yaw_rad for c in six]))
    ends = [points_to(path.t_s[:known], horizon_s) for horizon_s in HORIZONS_S]

    def to(error: Callable[[int], Floats | float]) -> ByHorizon:
        return tuple(None if n is None else float(np.abs(error(n)).mean()) for n in ends)

    own = quantities_by_actions(path.speed_mps, path.accel_mps2, path.curvature_1pm, STEP_S)
    return WindowMetrics(
        t0_ns=plan.t0_ns,
        ade_m=to(lambda n: ade_m(path.xyz[:n], driven.xyz[:n])),
        fde_m=to(lambda n: fde_m(path.xyz[:n], driven.xyz[:n])),
        longitudinal_m=to(lambda n: longitudinal_lateral_m(path.xyz[:n], driven.xyz[:n], driven.yaw_rad[:n])[0]),
        lateral_m=to(lambda n: longitudinal_lateral_m(path.xyz[:n], driven.xyz[:n], driven.yaw_rad[:n])[1]),
        heading_rad=to(lambda n: heading_error_rad(path.yaw_rad[:n], driven.yaw_rad[:n])),
        speed_mps=to(lambda n: path.speed_mps[:n] - driven.speed_mps[:n]),
        min_ade_1_m=to(lambda n: ade_m(plan.candidates[0].xyz[:n], driven.xyz[:n])),
        min_ade_6_m=to(lambda n: min_ade_m(six_poses[0], driven.xyz, n)) if six else (None,) * len(HORIZONS_S),
        missed=fde_m(path.xyz, driven.xyz) > MISS_M if whole else None,
        missed_6=fde_m(six_poses[0], driven.xyz) > MISS_M if six else None,
        corner_distance_m=corner_distance_m(path.xyz, path.yaw_rad, *truth) if whole else None,
        corner_distance_6_m=corner_distance_m(*six_poses, *truth) if six else None,
        pointwise_corner_distance_6_m=pointwise_corner_distance_m(*six_poses, *truth) if six else None,
        comfort=kept(own, COMFORT_BOUNDS),
        comfort_by_positions=kept(quantities_by_positions(path.xyz, path.yaw_rad, STEP_S), COMFORT_BOUNDS),
        feasible=kept(own, FEASIBLE_BOUNDS),
        plan_deviation_m=deviation_from_last_m,
        consistent=plan.consistent.agrees,
        trace_tokens=plan.reasoning.tokens,
        trace_complete=plan.reasoning.complete,
    )
