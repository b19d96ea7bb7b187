"""A report's drawings of one bag each: what was driven over time, and what was planned from some of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Window
from alpamayo_ros.evaluation.report.figures import INK, LOOK, Plot, colour, svg, thinned, tracks
from alpamayo_ros.types import F64, STEP_S

DRIVEN_POINTS = 800  # of a bag's curve
PLANS_DRAWN = 14  # of a bag
EVERY = 2  # steps of a plan from one drawn point to the next
SMOOTHED = 5  # steps that a driven acceleration or curvature is the mean of
STANDS_M = 0.05  # a step that is shorter has no curvature: 0.5 m/s
TITLES = ("speed, m/s", "acceleration, m/s²", "curvature, 1/m")


class Motion(NamedTuple):
    """Over time: speed m/s, acceleration m/s^2 and curvature 1/m, which is NaN where the vehicle stands."""

    t_s: F64  # (n,) since the bag's start
    curves: tuple[F64, F64, F64]  # each (n,)


def drives(bags: Sequence[BagEvaluation], contender: str) -> Iterator[Plot]:
    """One drawing per bag with windows, of one contender's plans."""
    with mpl.rc_context(LOOK):
        for number, bag in enumerate(bags):
            if bag.windows:
                yield _drive(bag, contender, number)


def _drive(bag: BagEvaluation, contender: str, number: int) -> Plot:
    stamps = [window.t0_ns for window in bag.windows]
    upto_s = np.append(np.diff(stamps) / 1e9, np.inf)
    driven = [driven_motion(bag, window, float(s)) for window, s in zip(bag.windows, upto_s, strict=True)]
    planned = [_planned(bag, window, contender) for window in bag.windows if contender in window.plans]
    t_s = thinned(np.concatenate([motion.t_s for motion in driven]), DRIVEN_POINTS)
    figure, rows = tracks(len(TITLES), 4.2)
    for row, (axes, title) in enumerate(zip(rows, TITLES, strict=True)):
        curve = thinned(np.concatenate([motion.curves[row] for motion in driven]), DRIVEN_POINTS)
        axes.plot(t_s, np.where(_after_a_gap(t_s), np.nan, curve), color=INK, linewidth=1.5)
        lines = [np.column_stack([plan.t_s, plan.curves[row]]) for plan in thinned(planned, PLANS_DRAWN)]
        axes.add_collection(LineCollection(lines, colors=colour(0), linewidths=0.9, alpha=0.75))
        axes.autoscale_view()
        axes.set_title(title)
        axes.locator_params(axis="y", nbins=5)
    rows[-1].set(xlabel="since the bag's start, s")
    return Plot(bag.bag, "", svg(figure, f"drive {number}"), by_contender=False)


def _planned(bag: BagEvaluation, window: Window, contender: str) -> Motion:
    path, some = window.plans[contender].trajectory, slice(None, None, EVERY)
    t_s = (window.t0_ns - bag.start_ns) / 1e9 + path.t_s
    return Motion(t_s[some], (path.speed_mps[some], path.accel_mps2[some], path.curvature_1pm[some]))


def driven_motion(bag: BagEvaluation, window: Window, upto_s: float) -> Motion:
    """What was driven after a window's t0, as far as it knows and at most so long."""
    known = window.driven
    steps = round(min(upto_s / STEP_S, len(known.xyz)))
    if not steps:
        return Motion(np.zeros(0), (np.zeros(0), np.zeros(0), np.zeros(0)))
    moved = np.diff(known.xyz[:, :2], axis=0, prepend=0.0)
    moved_m, turned = _smooth(np.hypot(*moved.T)), _smooth(np.diff(np.unwrap(known.yaw_rad), prepend=0.0))
    accel = _smooth(np.diff(known.speed_mps, prepend=window.ego_t0.speed_mps) / STEP_S)
    bend: F64 = np.where(moved_m < STANDS_M, np.nan, turned / np.maximum(moved_m, STANDS_M))
    t_s = (window.t0_ns - bag.start_ns) / 1e9 + STEP_S * np.arange(1, steps + 1, dtype=np.float64)
    return Motion(t_s, (known.speed_mps[:steps], accel[:steps], bend[:steps]))


def _smooth(series: F64) -> F64:
    """Means over SMOOTHED neighbours, (n,)."""
    padded = np.pad(series, SMOOTHED // 2, mode="edge")
    return np.asarray(np.convolve(padded, np.full(SMOOTHED, 1.0 / SMOOTHED), mode="valid"), np.float64)


def _after_a_gap(t_s: F64) -> NDArray[np.bool_]:
    """Whether much more time has passed since the point before than between others."""
    passed = np.diff(t_s, prepend=t_s[:1])
    return passed > 3.0 * max(float(np.median(passed)), STEP_S) if len(t_s) else np.zeros(0, bool)
