"""A report's drawings of all windows together: errors, bounds, latency."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from alpamayo_ros.evaluation.metrics import (
    COMFORT_BOUNDS,
    FEASIBLE_BOUNDS,
    HORIZONS_S,
    MISS_M,
    by_horizon,
    longitudinal_lateral_m,
)
from alpamayo_ros.evaluation.openloop.results import Evaluation, Window
from alpamayo_ros.evaluation.openloop.summary import Judged, StageTiming, Summary
from alpamayo_ros.evaluation.report.figures import (
    ALARM,
    INK,
    LOOK,
    Plot,
    colour,
    dashes,
    logarithmic,
    panels,
    say_nothing_is_drawn,
    svg,
    thinned,
    width,
)
from alpamayo_ros.evaluation.report.tables import NOTHING
from alpamayo_ros.types import F64, HORIZON

SHARES = np.linspace(0.0, 1.0, 201)
LEAST_M = 0.01  # errors below are drawn there
SCATTERED = 400  # points of a contender
DEADLINE_SHOWN = 1.5  # times the longest answer: a deadline beyond would leave the answers no room
UNITS = {"mps2": "m/s²", "mps3": "m/s³", "rps": "rad/s", "rps2": "rad/s²", "1pm": "1/m"}
"""By the end of a bounded quantity's name."""


def plots(evaluation: Evaluation, summary: Summary) -> tuple[Plot, ...]:
    """What a report draws of all windows; nothing when there is no contender, every bag being broken."""
    windows = evaluation.windows
    if not summary.contenders:
        return ()
    with mpl.rc_context(LOOK):
        return (
            _errors_by_horizon(summary),
            _directions(summary, windows),
            _distribution(summary, windows),
            _violations(summary),
            _latency(summary, windows),
        )


def _errors_by_horizon(summary: Summary) -> Plot:
    figure, axes = panels(3, 2.7)
    for one, stem, title in zip(axes, ("ade", "fde", "min_ade_6"), ("ADE, m", "FDE, m", "minADE_6, m"), strict=True):
        _by_horizon(one, summary, stem, title)
    caption = (
        "Mean over windows; the band is the 95 % interval over clips, none for a single clip. A horizon has the windows whose "
        "driven future is known that far; minADE_6 wants all 6.4 s of it."
    )
    return Plot("Error by horizon", caption, svg(figure, "errors"), by_contender=True)


def _by_horizon(axes: Axes, summary: Summary, stem: str, title: str) -> None:
    for place, judged in _first_last(summary):
        known = [(h, e) for h in HORIZONS_S if (e := judged.estimates[by_horizon(stem, h)]) is not None]
        means = [e.mean for _, e in known]
        hs = [h for h, _ in known]
        axes.plot(hs, means, marker="o", linestyle=dashes(place), linewidth=width(place), color=colour(place))
        sure = [(h, e.low, e.high) for h, e in known if e.low is not None and e.high is not None]
        axes.fill_between(*(np.array(sure).reshape(-1, 3).T), color=colour(place), alpha=0.15, linewidth=0)
    if all(judged.estimates[by_horizon(stem, h)] is None for judged in summary.contenders for h in HORIZONS_S):
        say_nothing_is_drawn(axes, reached=summary.whole > 0)
    axes.set(title=title, xlabel="horizon, s", xlim=(0, 6.6), ylim=(0, None))
    axes.set_xticks(HORIZONS_S, [f"{h:g}" for h in HORIZONS_S])


def _first_last(summary: Summary) -> list[tuple[int, Judged]]:
    """Contenders with their places, in the order in which they are drawn over each other."""
    return list(enumerate(summary.contenders))[::-1]


def _directions(summary: Summary, windows: Sequence[Window]) -> Plot:
    figure, (along, across, ends) = panels(3, 2.7)
    _by_horizon(along, summary, "longitudinal", "longitudinal error, m")
    _by_horizon(across, summary, "lateral", "lateral error, m")
    for place, judged in _first_last(summary):
        ahead_m, left_m = _end_errors_m(windows, judged.name).T
        ends.plot(left_m, ahead_m, ".", color=colour(place), alpha=0.5, markeredgewidth=0)
    if all(len(w.driven.xyz) < HORIZON for w in windows):
        say_nothing_is_drawn(ends, reached=False)
    ends.axhline(0.0, color=INK, linewidth=0.6)
    ends.axvline(0.0, color=INK, linewidth=0.6)
    ends.invert_xaxis()
    ends.set_aspect("equal", adjustable="datalim")
    ends.set(title="where plans end, at 6.4 s", xlabel="left of the vehicle, m", ylabel="ahead of it, m")
    caption = (
        "Mean magnitudes along and across the driven heading. Right, from above: each plan's end, seen from where the vehicle "
        f"then was, so up is too far and left too far left; at most {SCATTERED} windows of a contender."
    )
    return Plot("Along and across the driven path", caption, svg(figure, "directions"), by_contender=True)


def _end_errors_m(windows: Sequence[Window], contender: str) -> F64:
    """Ahead and left of the vehicle, (n, 2) m, where the whole driven future is known."""
    whole = [w for w in windows if contender in w.plans and len(w.driven.xyz) == HORIZON]
    pairs = [(w.plans[contender].trajectory, w.driven) for w in thinned(whole, SCATTERED)]
    errors = [longitudinal_lateral_m(plan.xyz[-1:], true.xyz[-1:], true.yaw_rad[-1:]) for plan, true in pairs]
    return np.array(errors, np.float64).reshape(-1, 2)


def _distribution(summary: Summary, windows: Sequence[Window]) -> Plot:
    figure, axes = panels(2, 2.7)
    for one, error_m, title in zip(axes, (attrgetter("ade_m"), attrgetter("fde_m")), ("ADE", "FDE"), strict=True):
        for place, judged in _first_last(summary):
            errors = [error_m(w.metrics[judged.name])[-1] for w in windows if judged.name in w.plans]
            if known := [error for error in errors if error is not None]:
                error_m_of = np.maximum(np.quantile(known, SHARES), LEAST_M)
                look = {"linestyle": dashes(place), "linewidth": width(place), "color": colour(place)}
                one.plot(error_m_of, 100 * SHARES, **look)
        if not one.lines:
            say_nothing_is_drawn(one, reached=summary.whole > 0)
        one.set(ylim=(0, 101), title=f"{title} at {HORIZONS_S[-1]:g} s", xlabel="error, m", ylabel="windows at or below, %")
        logarithmic(one)
    axes[1].axvline(MISS_M, color=ALARM, linewidth=1.0)
    axes[1].set_title(f"{axes[1].get_title(loc='left')}; red: {MISS_M:g} m, above it is a miss")
    caption = "Share of windows whose error is at or below that on the axis (logarithmic); a curve crosses 50 % at its median."
    return Plot("Distribution of the error", caption, svg(figure, "distribution"), by_contender=True)


def _violations(summary: Summary) -> Plot:
    figure, axes = panels(2, 0.8 + 0.1 * 6 * (1 + len(summary.contenders)), widths=(1, 1))
    for one, stem, bounds in zip(axes, ("comfort", "feasible"), (COMFORT_BOUNDS, FEASIBLE_BOUNDS), strict=True):
        height = 0.8 / len(summary.contenders)
        for place, judged in enumerate(summary.contenders):
            left = [_left_percent(judged.mean(f"{stem}_{name}")) for name in bounds]
            rows = np.arange(len(bounds)) - 0.4 + (place + 0.5) * height
            bars = one.barh(rows, np.nan_to_num(left), height * 0.9, color=colour(place))
            one.bar_label(bars, [_percent(share) for share in left], padding=3, fontsize=7.5)
        one.set_yticks(np.arange(len(bounds)), [f"{name.replace('_', ' ')}  {_range(*b)}" for name, b in bounds.items()])
        one.grid(visible=False, axis="y")
        one.set(title=f"{stem}: plans that leave the bound, %", xlim=(0, 108))
        one.invert_yaxis()
    caption = (
        "At any of a plan's points, by its own actions. Comfort bounds are nuPlan's, feasible is what a road vehicle can do."
    )
    return Plot("Bounds that plans leave", caption, svg(figure, "violations"), by_contender=True)


def _left_percent(kept: float | None) -> float:
    """NaN where there is no plan."""
    return np.nan if kept is None else 100.0 * (1.0 - kept)


def _percent(share: float) -> str:
    return NOTHING if np.isnan(share) else f"{share:.1f}" if share else "0"


def _range(quantity: str, low: float, high: float) -> str:
    return f"{low:g} … {high:g} {UNITS[quantity.rpartition('_')[2]]}".replace("-", "−")


def _latency(summary: Summary, windows: Sequence[Window]) -> Plot:
    figure, (by_stage, histogram) = panels(2, 2.9, widths=(5, 4))
    stages = list(dict.fromkeys(stage for timing in summary.timings.values() for stage in timing.stages))
    step = 0.7 / len(summary.contenders)
    for place, judged in enumerate(summary.contenders):
        timed = summary.timings[judged.name].stages if judged.name in summary.timings else {}
        for stage, timing in timed.items():
            _percentiles(by_stage, stages.index(stage) - 0.35 + (place + 0.5) * step, timing, colour(place))
    by_stage.set_yticks(np.arange(len(stages)), stages)
    by_stage.set(title="by stage: p50 to p95, dot at p99", xlabel="ms")
    by_stage.invert_yaxis()
    _histogram(histogram, summary, windows)
    for axes in (by_stage, histogram):
        logarithmic(axes)
    caption = (
        "On the machine that evaluated, which need not be the vehicle's. latency: infer, rollout and reasoning of one plan "
        "together; total has reading and decoding in it, too. The deadline is that of infer."
    )
    return Plot("Latency", caption, svg(figure, "latency"), by_contender=True)


def _percentiles(axes: Axes, row: float, timing: StageTiming, of: str) -> None:
    axes.plot([timing.p50_ms, timing.p95_ms], [row, row], color=of)
    axes.plot([timing.p50_ms, timing.p95_ms], [row, row], "|", color=of, markersize=6, markeredgewidth=1.6)
    axes.plot(timing.p99_ms, row, "o", color=of, markersize=3.5, markeredgewidth=0)


def _histogram(axes: Axes, summary: Summary, windows: Sequence[Window]) -> None:
    first = summary.first.name
    stages = [window.plans[first].stage_ms for window in windows if first in window.plans]
    times_ms = np.array([stage["infer"] for stage in stages if "infer" in stage])
    timing = summary.timings.get(first)
    deadline_ms = timing.deadline_ms if timing is not None else None
    if len(times_ms) and times_ms.min() > 0:
        axes.hist(times_ms, np.geomspace(times_ms.min() / 1.02, times_ms.max() * 1.02, 41).tolist(), color=colour(0))
    title = "infer"
    if deadline_ms is not None:
        near = len(times_ms) > 0 and deadline_ms <= DEADLINE_SHOWN * times_ms.max()
        title += f"; {'red' if near else 'far to the right'}: its deadline, {deadline_ms:g} ms"
        if near:
            axes.axvline(deadline_ms, color=ALARM, linewidth=1.2)
    axes.set(title=title, xlabel="ms", ylabel="plans")
    axes.set_xmargin(0.05)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
