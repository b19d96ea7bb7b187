"""A report's figures as words: every metric a row, every contender a cell, with interval and difference to the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from alpamayo_ros.evaluation.metrics import by_horizon
from alpamayo_ros.evaluation.openloop.results import KINEMATIC
from alpamayo_ros.evaluation.openloop.summary import (
    LATENCY,
    METRICS,
    OF_SIX,
    Judged,
    Metric,
    StageTiming,
    Summary,
    Timing,
)
from alpamayo_ros.evaluation.statistics import Difference, Estimate

KEY_HORIZON_S = 6.4
KEY = (
    *(by_horizon(stem, KEY_HORIZON_S) for stem in ("ade", "fde", "min_ade_6")),
    "missed",
    "comfort",
    "feasible",
    "rejected_share",
    "consistent",
    "plan_deviation_m",
    "trace_complete",
)
"""What the first table shows, of METRICS."""

NOTHING = "–"
PERCENT = "share"  # the unit that is shown as %

Reading = Literal["", "better", "worse", "alike"]


class Cell(NamedTuple):
    """One contender's figure."""

    value: str
    interval: str  # "[1.90, 2.21]"; empty where there is none
    difference: str  # to the first: "+0.61 [0.40, 0.80]"; empty for the first itself
    p_value: str  # of that difference: "p = 0.012"
    reading: Reading  # of that difference; alike: not significant
    aside: str = ""  # what else must be read with it


class Row(NamedTuple):
    """One metric of all contenders."""

    name: str
    title: str
    unit: str
    better: str  # "lower", "higher", "neither"
    meaning: str
    source: str
    windows: int  # that the first contender has a value in
    cells: tuple[Cell, ...]


def rows(summary: Summary, names: Iterable[str]) -> tuple[Row, ...]:
    """Of the metrics named."""
    return tuple(_row(summary, name, METRICS[name]) for name in names)


def _row(summary: Summary, name: str, metric: Metric) -> Row:
    places = _places(metric, [judged.mean(name) for judged in summary.contenders])
    cells = tuple(_cell(judged, name, metric, places) for judged in summary.contenders)
    unit = "%" if metric.unit == PERCENT else metric.unit
    first = summary.first.estimates[name] if summary.contenders else None
    return Row(name, metric.title, unit, metric.better, metric.meaning, metric.source, first.windows if first else 0, cells)


def _places(metric: Metric, means: Sequence[float | None]) -> int:
    """Decimals that tell the contenders apart: of percentages 1, otherwise 2, and more where a mean is small."""
    known = [abs(mean) for mean in means if mean]
    if metric.unit == PERCENT or metric.unit == "tokens":
        return 1
    return 2 if not known or min(known) >= 1.0 else 3 if min(known) >= 0.1 else 4


def _cell(judged: Judged, name: str, metric: Metric, places: int) -> Cell:
    found, apart = judged.estimates[name], judged.differences.get(name)
    if found is None:
        return Cell(NOTHING, "", "", "", "")
    scale = 100.0 if metric.unit == PERCENT else 1.0
    value, interval = number(scale * found.mean, places), _interval(found, scale, places)
    aside = _by_chance(judged) if name == "consistent" else "one path" if judged.name == KINEMATIC and name in OF_SIX else ""
    if apart is None:
        return Cell(value, interval, "", "", "", aside)
    difference = f"{number(scale * apart.mean, places, sign=True)} {_interval(apart, scale, places)}".strip()
    return Cell(value, interval, difference, p_words(apart.p_value), _reading(apart, metric), aside)


def _reading(apart: Difference, metric: Metric) -> Reading:
    if metric.better == "neither":
        return ""
    if not apart.significant():
        return "alike"
    return "better" if (apart.mean < 0) == (metric.better == "lower") else "worse"


def _by_chance(judged: Judged) -> str:
    shuffled = judged.consistency.shuffled
    return "" if shuffled is None else f"by chance {number(100 * shuffled, 1)}; {judged.consistency.judged} traces decide"


def number(value: float, places: int, *, sign: bool = False) -> str:
    """With a real minus, and without one before a zero."""
    text = f"{value:{'+' if sign else ''}.{places}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "")


def _interval(found: Estimate | Difference, scale: float, places: int) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"[{number(scale * found.low, places)}, {number(scale * found.high, places)}]"


def p_words(p_value: float) -> str:
    """Of a significance test."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def latency_rows(summary: Summary) -> Iterator[Row]:
    """How long a plan takes, for the first table; nothing where nobody measured it."""
    if any(LATENCY in timing.stages for timing in summary.timings.values()):
        cells = tuple(_latency_cell(summary.timings.get(judged.name)) for judged in summary.contenders)
        meaning, plans = "infer, rollout and reasoning of one plan", summary.first.plans
        yield Row("latency_p95_ms", "Latency, p95", "ms", "lower", meaning, "own", plans, cells)


def _latency_cell(timing: Timing | None) -> Cell:
    if timing is None or LATENCY not in timing.stages:
        return Cell(NOTHING, "", "", "", "")
    times, late = timing.stages[LATENCY], _deadline(timing)
    return Cell(number(times.p95_ms, 1), "", "", "", "", f"p50 {number(times.p50_ms, 1)}{'; ' if late else ''}{late}")


class Stage(NamedTuple):
    """How long a stage took, as words."""

    name: str
    times_ms: tuple[str, ...]  # p50, p95, p99, most


class Latency(NamedTuple):
    """How long one contender took."""

    contender: str
    plans: int
    stages: tuple[Stage, ...]
    deadline: str  # what became of it; empty where there is none


def latencies(timings: Mapping[str, Timing]) -> tuple[Latency, ...]:
    """Of every contender that has plans."""
    return tuple(
        Latency(name, timing.plans, tuple(_stage(*stage) for stage in timing.stages.items()), _deadline(timing))
        for name, timing in timings.items()
    )


def _stage(name: str, timing: StageTiming) -> Stage:
    return Stage(name, tuple(number(ms, 1) for ms in timing))


def _deadline(timing: Timing) -> str:
    if timing.deadline_ms is None or timing.missed is None:
        return ""
    return f"{number(100 * timing.missed, 1)} % past infer's deadline of {timing.deadline_ms:g} ms"
