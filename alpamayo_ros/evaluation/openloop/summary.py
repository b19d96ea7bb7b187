"""From windows to figures: every metric of every contender with its confidence interval, and how it differs from the first.

METRICS says what each number of `metrics.WindowMetrics.values` is; formulas are in `evaluation/metrics.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from alpamayo_ros.evaluation.metrics import (
    COMFORT_BOUNDS,
    FEASIBLE_BOUNDS,
    HORIZONS_S,
    MISS_M,
    Bound,
    by_horizon,
    consistency_share,
)
from alpamayo_ros.evaluation.openloop.results import Evaluation, Window
from alpamayo_ros.evaluation.statistics import Difference, Estimate, estimate, paired_difference
from alpamayo_ros.types import HORIZON, Plan

Better = Literal["lower", "higher", "neither"]
Column = tuple[float | None, ...]  # one value per window, None where it has none

LATENCY = "latency"
"""A stage of `Timing`: infer, rollout and reasoning of one plan together, from the observation to the plan."""

_OF_LATENCY = ("infer", "rollout", "reasoning")
STAGES = ("observe", *_OF_LATENCY, "total", LATENCY)
"""All that a `Timing` can have."""

_NUMBERS = re.compile(r"(?:[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)+")
NOWHERE: Mapping[str, float] = MappingProxyType({})


class Metric(NamedTuple):
    """What a number means."""

    title: str
    unit: str  # "share" is of windows, 0 to 1
    better: Better
    meaning: str
    source: str


class Agreement(NamedTuple):
    """How often words and trajectory agree, of the plans whose trace names a decision."""

    share: float | None  # None when there are none
    shuffled: float | None  # the same with trajectories of other windows: what chance gives; None below 2 plans
    judged: int


class StageTiming(NamedTuple):
    """How long a stage took, over plans, ms."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Timing:
    """How long one contender took. It varies from run to run, unlike everything else."""

    plans: int
    stages: Mapping[str, StageTiming]  # by stage of Plan.stage_ms, and LATENCY
    deadline_ms: float | None  # after which an engine counts as hung; None where nobody said
    missed: float | None  # share of plans whose "infer" took longer than that


@dataclass(frozen=True)
class Judged:
    """One contender over all windows."""

    name: str
    weights: str  # none, untrained, trained, released
    plans: int  # windows that it has a plan for
    refused: Mapping[str, int]  # why it has none ("#" for numbers) -> windows
    rejected: Mapping[str, int]  # check -> windows whose plan it rejects; they are scored all the same
    estimates: Mapping[str, Estimate | None]  # by name of METRICS; None where no window has a value
    differences: Mapping[str, Difference | None]  # this one minus the first, on the windows both have; empty for the first
    consistency: Agreement

    def mean(self, metric: str) -> float | None:
        """Of the estimate, if there is one."""
        found = self.estimates[metric]
        return None if found is None else found.mean


@dataclass(frozen=True)
class Summary:
    """All contenders, the evaluated one first."""

    contenders: tuple[Judged, ...]
    windows: int
    clips: int
    whole: int  # windows whose driven future is known at every horizon
    timings: Mapping[str, Timing]  # by contender that has plans

    @property
    def first(self) -> Judged:
        """The evaluated one."""
        return self.contenders[0]


def _at_horizons(stem: str, metric: Metric) -> dict[str, Metric]:
    return {by_horizon(stem, h): metric._replace(title=f"{metric.title}, {h:g} s") for h in HORIZONS_S}


def _kept(stem: str, title: str, bounds: Mapping[str, Bound], what: str, source: str) -> dict[str, Metric]:
    """A metric for all bounds, and one for each."""
    every = Metric(title, "share", "higher", f"plans that keep every bound of {what} at every point", source)
    texts = {name: f"{low:g} to {high:g} of {quantity}" for name, (quantity, low, high) in bounds.items()}
    return {stem: every} | {
        f"{stem}_{name}": Metric(f"{title}: {name}", "share", "higher", f"plans inside {text} at every point", source)
        for name, text in texts.items()
    }


_ADE = Metric("ADE", "m", "lower", "mean distance to where the vehicle was driven, up to the horizon", "released, paper")
_MIN_ADE_1 = Metric("minADE_1", "m", "lower", "ADE of the first candidate, whichever was chosen", "released")
_MIN_ADE_6 = Metric("minADE_6", "m", "lower", "ADE of the best of the first six candidates, by the whole horizon", "released")
_OF_BEST = "least of six candidates' mean distance of corners"
_POINTWISE = "each corner's least distance of six candidates, so of no one of them"

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        **_at_horizons("ade", _ADE),
        **_at_horizons(
            "fde", Metric("FDE", "m", "lower", "distance to where the vehicle was driven, at the horizon", "released")
        ),
        **_at_horizons(
            "longitudinal", Metric("Longitudinal error", "m", "lower", "part of ADE along the driven heading", "own")
        ),
        **_at_horizons("lateral", Metric("Lateral error", "m", "lower", "part of ADE across the driven heading", "own")),
        **_at_horizons("heading", Metric("Heading error", "rad", "lower", "mean |heading - driven heading|", "own")),
        **_at_horizons("speed", Metric("Speed error", "m/s", "lower", "mean |speed - driven speed|", "own")),
        **_at_horizons("min_ade_1", _MIN_ADE_1),
        **_at_horizons("min_ade_6", _MIN_ADE_6),
        "missed": Metric("Miss rate", "share", "lower", f"FDE at 6.4 s above {MISS_M:g} m", "Argoverse 2"),
        "missed_6": Metric(
            "Miss rate of 6", "share", "lower", f"least FDE of six candidates above {MISS_M:g} m", "Argoverse 2"
        ),
        "corner_distance_m": Metric(
            "Corner distance", "m", "lower", "mean distance of a box's corners from driven", "released"
        ),
        "corner_distance_6_m": Metric("Corner distance of 6", "m", "lower", _OF_BEST, "released"),
        "pointwise_corner_distance_6_m": Metric("Corner distance of 6, pointwise", "m", "lower", _POINTWISE, "released"),
        **_kept("comfort", "Comfort", COMFORT_BOUNDS, "COMFORT_BOUNDS, by the plan's own actions", "nuPlan"),
        "comfort_accel": Metric("Comfort(Accel)", "share", "higher", "plans that keep lon_accel and lat_accel", "paper"),
        **_kept("comfort_by_positions", "Comfort by positions", COMFORT_BOUNDS, "COMFORT_BOUNDS, by its points", "released"),
        **_kept("feasible", "Feasible", FEASIBLE_BOUNDS, "FEASIBLE_BOUNDS: what a road vehicle can do", "released, Autoware"),
        "rejected_share": Metric(
            "Rejected", "share", "lower", "plans that the planner's own checks would not let be published", "own"
        ),
        "plan_deviation_m": Metric(
            "Plan deviation", "m", "lower", "weighted distance from the plan of the window before", "AlpaSim"
        ),
        "consistent": Metric("Consistency", "share", "higher", "traces whose decision the trajectory carries out", "paper"),
        "trace_tokens": Metric("Trace length", "tokens", "neither", "tokens of the chosen plan's reasoning", "own"),
        "trace_complete": Metric("Trace complete", "share", "higher", "traces that ended before max_tokens", "own"),
    }
)
"""By name of `WindowMetrics.values`. Sources by short name as in `evaluation/metrics.py`; "own" has no published one."""

OF_SIX = {"missed_6", "corner_distance_6_m", "pointwise_corner_distance_6_m", *(by_horizon("min_ade_6", h) for h in HORIZONS_S)}
"""Metrics of the best of six candidates. Six that are equal, as those of a baseline that draws nothing, have no best."""


def summarise(evaluation: Evaluation, deadlines_ms: Mapping[str, float] = NOWHERE) -> Summary:
    """Every figure of an evaluation. Deadlines are by contender; those of contenders that are not named are not known."""
    windows = evaluation.windows
    weights = {name: word for bag in evaluation.bags for name, word in bag.weights.items()}
    tables = {name: columns(windows, name) for name in evaluation.contenders}
    # Bags of two drives may have one name.
    clips = [(place, window.clip) for place, bag in enumerate(evaluation.bags) for window in bag.windows]
    first = next(iter(tables), "")
    plans = {name: [window.plans[name] for window in windows if name in window.plans] for name in tables}
    judged = tuple(
        Judged(
            name=name,
            weights=weights[name],
            plans=len(plans[name]),
            refused=Counter(grouped(window.refused[name]) for window in windows if name in window.refused),
            rejected=Counter(check for window in windows for check in window.rejected.get(name, ())),
            estimates={metric: _estimate(column, clips) for metric, column in table.items()},
            differences={m: _difference(tables[first][m], table[m], clips) for m in METRICS} if name != first else {},
            consistency=Agreement(*consistency_share(plans[name]), sum(p.consistent.agrees is not None for p in plans[name])),
        )
        for name, table in tables.items()
    )
    whole = sum(len(window.driven.xyz) >= HORIZON for window in windows)
    timings = {name: timing(made, deadlines_ms.get(name)) for name, made in plans.items() if made}
    return Summary(judged, len(windows), len(set(clips)), whole, timings)


def columns(windows: Sequence[Window], contender: str) -> dict[str, Column]:
    """Every metric of one contender, a value per window; None in windows that it has no plan for."""
    rows = [_values(window, contender) if contender in window.plans else None for window in windows]
    return {metric: tuple(row[metric] if row else None for row in rows) for metric in METRICS}


def _values(window: Window, contender: str) -> dict[str, float | None]:
    return window.metrics[contender].values() | {"rejected_share": float(contender in window.rejected)}


def timing(plans: Sequence[Plan], deadline_ms: float | None) -> Timing:
    """Percentiles (linear between plans) by stage, over the plans that measured it."""
    measured = [dict(plan.stage_ms) for plan in plans]
    for stages in measured:
        if all(stage in stages for stage in _OF_LATENCY):
            stages[LATENCY] = sum(stages[stage] for stage in _OF_LATENCY)
    by_stage = {stage: [stages[stage] for stages in measured if stage in stages] for stage in dict.fromkeys(chain(*measured))}
    percentiles = {
        stage: StageTiming(*(float(p) for p in np.percentile(times, [50, 95, 99, 100]))) for stage, times in by_stage.items()
    }
    answered = by_stage.get("infer", [])
    late = [ms > deadline_ms for ms in answered] if deadline_ms is not None else []
    return Timing(len(plans), percentiles, deadline_ms, sum(late) / len(late) if late else None)


def counted(number_of: int, thing: str) -> str:
    """1 clip, 2 clips."""
    return f"{number_of:,} {thing}{'' if number_of == 1 else 's'}"


def grouped(reason: str) -> str:
    """A reason without its numbers, so that the same reason with other numbers is the same."""
    return _NUMBERS.sub("#", reason)


def _estimate(column: Column, clips: Sequence[Hashable]) -> Estimate | None:
    return None if all(value is None for value in column) else estimate(column, clips)


def _difference(first: Column, second: Column, clips: Sequence[Hashable]) -> Difference | None:
    both = any(a is not None and b is not None for a, b in zip(first, second, strict=True))
    return paired_difference(first, second, clips) if both else None
