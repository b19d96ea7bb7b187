"""The regression gate: `--against baseline.json --fail-on 'ade_6_4s>+2%'`.

A condition says when to fail: a metric of the evaluated contender, > or <, and a limit.

`ade_6_4s>+2%`      more than 2 % above the baseline's mean
`comfort<-0.01`     with a sign and without %: lower by more than 0.01
`ade_6_4s>1.5`      without a sign: the value itself; needs no baseline

Metrics are those of summary.METRICS, `planned` (share of windows that have a plan), and of timing.json `<stage>_p50_ms`,
`_p95_ms`, `_p99_ms`, `_max_ms` (latency_p95_ms) and `deadline_misses` (share of plans).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple, cast

from alpamayo_ros.evaluation.openloop.results import Setup
from alpamayo_ros.evaluation.openloop.storage import EvaluationFile, TimingFile, read_file
from alpamayo_ros.evaluation.openloop.summary import METRICS
from alpamayo_ros.evaluation.statistics import paired_difference
from alpamayo_ros.types import InvalidInput

TIMING_FILE = "timing.json"
PLANNED = "planned"
DEADLINE_MISSES = "deadline_misses"

_CONDITION = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?)((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%?)\s*")
_OF_TIMING = re.compile(r"(\w+)_(p50_ms|p95_ms|p99_ms|max_ms)")
_WINDOW = tuple[str, int]  # hash of the bag, t0


class Condition(NamedTuple):
    """When to fail."""

    metric: str
    side: Literal[">", "<"]
    limit: float
    of: Literal["value", "difference", "percent"]

    @property
    def limit_text(self) -> str:
        """As it was asked for."""
        return f"{self.limit:g}" if self.of == "value" else f"{self.limit:+g}{' %' if self.of == 'percent' else ''}"


class Verdict(NamedTuple):
    """What a condition came to, in one line."""

    text: str
    failed: bool


@dataclass(frozen=True)
class Measured:
    """An evaluation as the gate sees it."""

    figures: EvaluationFile
    timing: TimingFile | None  # None where no condition wants it

    @property
    def name(self) -> str:
        """Of the contender that is judged."""
        return self.figures.contenders[0].name

    def value(self, metric: str) -> float:
        """Of the contender that is judged. Raises InvalidInput for a metric without a value: a gate never passes unmeasured."""
        found = self._timed(metric) if is_timing(metric) else self._mean(metric)
        if found is None:
            raise InvalidInput(f"{metric} of {self.name} has no value in any of {self.figures.windows} windows")
        return found

    def _mean(self, metric: str) -> float | None:
        if metric == PLANNED:
            return self.figures.contenders[0].plans / self.figures.windows if self.figures.windows else None
        return self.figures.contenders[0].mean(metric)

    def _timed(self, metric: str) -> float | None:
        timing = self.timing.contenders.get(self.name) if self.timing else None
        if timing is None:
            return None
        if metric == DEADLINE_MISSES:
            return timing.missed
        stage, percentile = metric.removesuffix("_ms").rsplit("_", 1)
        if stage not in timing.stages:
            raise InvalidInput(f"{metric}: {self.name} has no stage {stage}, it has {', '.join(timing.stages)}")
        return cast(float, getattr(timing.stages[stage], f"{percentile}_ms"))

    def column(self, metric: str) -> dict[_WINDOW, float | None]:
        """Value by window, in order."""
        return {
            (bag.sha256, t0_ns): value
            for bag in self.figures.bags
            for t0_ns, value in zip(bag.t0_ns, bag.metrics[self.name][metric], strict=True)
        }

    @property
    def clips(self) -> list[tuple[str, str]]:
        """Of every window, in order."""
        return [(bag.sha256, clip) for bag in self.figures.bags for clip in bag.clip]


def read_baseline(path: Path, conditions: Sequence[Condition]) -> Measured:
    """An evaluation.json, and the timing.json beside it where a condition compares times. Raises InvalidInput."""
    timed = any(is_timing(condition.metric) and condition.of != "value" for condition in conditions)
    figures = read_file(EvaluationFile, path)
    return Measured(figures, read_file(TimingFile, path.with_name(TIMING_FILE)) if timed else None)


def is_timing(metric: str) -> bool:
    """Whether a metric is one of timing.json."""
    return metric == DEADLINE_MISSES or (metric not in METRICS and _OF_TIMING.fullmatch(metric) is not None)


def parse(text: str) -> Condition:
    """A condition such as "ade_6_4s>+2%". Raises InvalidInput that says what was expected."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise InvalidInput(
            f"condition {text!r}: want METRIC>LIMIT or METRIC<LIMIT, such as ade_6_4s>+2%, comfort<-0.01, missed>0.1"
        )
    metric, side, sign, number, percent = found.groups()
    if metric not in (*METRICS, PLANNED) and not is_timing(metric):
        known = [*METRICS, PLANNED, DEADLINE_MISSES, "latency_p95_ms", "infer_p95_ms"]
        close = get_close_matches(metric, known, 4, 0.4) or ["ade_6_4s", "comfort", "latency_p95_ms"]
        raise InvalidInput(f"condition {text!r}: no metric {metric}; did you mean {', '.join(close)}?")
    if percent and not sign:
        raise InvalidInput(f"condition {text!r}: want a sign before a percentage, as in +{number}%")
    of: Literal["value", "difference", "percent"] = "percent" if percent else "difference" if sign else "value"
    return Condition(metric, cast('Literal[">", "<"]', side), float(sign + number), of)


def judge(conditions: Sequence[Condition], here: Measured, baseline: Measured | None) -> list[Verdict]:
    """A line per condition. Raises InvalidInput for a missing baseline, one of another setup, or what cannot be compared."""
    check_comparable(conditions, baseline, here.figures.setup, here.figures.provenance)
    return [_absolute(c, here) if baseline is None or c.of == "value" else _compared(c, here, baseline) for c in conditions]


def check_comparable(
    conditions: Sequence[Condition], baseline: Measured | None, setup: Setup, provenance: Mapping[str, str]
) -> None:
    """Raise InvalidInput where a condition wants a baseline and there is none, or one of another setup.

    Rate, request, rig and profile must be the same, bags, code and weights may differ. Of the provenance, rig and profiles
    are looked at.
    """
    relative = [condition for condition in conditions if condition.of != "value"]
    if not relative:
        return
    if baseline is None:
        raise InvalidInput(f"{relative[0].metric}{relative[0].side}{relative[0].limit_text} wants a baseline: pass --against")
    before, made_with = baseline.figures.setup, baseline.figures.provenance
    pairs: dict[str, tuple[object, object]] = {
        "rate_hz": (before.rate_hz, setup.rate_hz),
        **{f"request.{name}": (getattr(before.request, name), value) for name, value in vars(setup.request).items()},
        "rig": (_hashed(made_with, f"rig {before.rig}"), _hashed(provenance, f"rig {setup.rig}")),
        "profile": (
            _hashed(made_with, f"profile of {before.bundles[0]}"),
            _hashed(provenance, f"profile of {setup.bundles[0]}"),
        ),
    }
    if other := [f"{name}: baseline {old}, here {new}" for name, (old, new) in pairs.items() if old != new]:
        raise InvalidInput(f"the baseline was evaluated in another way: {'; '.join(other)}")


def _hashed(provenance: Mapping[str, str], name: str) -> str:
    return provenance.get(name, "unknown")[:12]


def _absolute(condition: Condition, here: Measured) -> Verdict:
    value = here.value(condition.metric)
    failed = _beyond(value, condition)
    return Verdict(
        f"{_word(failed)} {condition.metric} of {here.name}: here {value:.4g}, fails {condition.side} {condition.limit_text}",
        failed,
    )


def _compared(condition: Condition, here: Measured, baseline: Measured) -> Verdict:
    before, now = baseline.value(condition.metric), here.value(condition.metric)
    change, unit = now - before, ""
    if condition.of == "percent":
        if before == 0.0:
            raise InvalidInput(
                f"{condition.metric} is 0 in the baseline, which has no percentage: give a difference, as in +0.01"
            )
        change, unit = 100.0 * change / abs(before), " %"
    failed = _beyond(change, condition)
    whose = "" if baseline.name == here.name else f" ({baseline.name})"
    values = (
        f"baseline {before:.4g}{whose}, here {now:.4g} ({change:+.3g}{unit}, fails {condition.side} {condition.limit_text})"
    )
    said = _significance(condition.metric, here, baseline)
    return Verdict(f"{_word(failed)} {condition.metric} of {here.name}: {values}, {said}", failed)


def _beyond(value: float, condition: Condition) -> bool:
    return value > condition.limit if condition.side == ">" else value < condition.limit


def _word(failed: bool) -> str:
    return "FAILED" if failed else "passed"


def _significance(metric: str, here: Measured, baseline: Measured) -> str:
    """How surprising the difference is, where the windows are the same ones; why that cannot be said, where they are not."""
    if is_timing(metric):
        before, now = baseline.timing, here.timing
        assert before is not None, "it has a value"
        assert now is not None, "it has a value"
        same = (before.host, before.gpu) == (now.host, now.gpu)
        return (
            "same host"
            if same
            else f"NOT THE SAME HOST: baseline {before.host}, GPU {before.gpu}; here {now.host}, GPU {now.gpu}"
        )
    if metric == PLANNED:
        return "not paired: a share of all windows"
    first, second = baseline.column(metric), here.column(metric)
    if first.keys() != second.keys():
        return f"NOT PAIRED: {_unlike(first, second)}"
    then = [second[window] for window in first]
    if not any(a is not None and b is not None for a, b in zip(first.values(), then, strict=True)):
        return "NOT PAIRED: no window has a value in both"
    found = paired_difference(list(first.values()), then, baseline.clips)
    return f"p = {found.p_value:.2g} over {found.clips} clips, {found.windows} windows"


def _unlike(first: dict[_WINDOW, float | None], second: dict[_WINDOW, float | None]) -> str:
    bags, others = {sha256 for sha256, _ in first}, {sha256 for sha256, _ in second}
    if bags != others:
        gone, new = len(bags - others), len(others - bags)
        return f"{gone} of {len(bags)} bags of the baseline are not here, {new} of {len(others)} bags here are not there"
    gone, new = len(first.keys() - second.keys()), len(second.keys() - first.keys())
    return f"{gone} of {len(first)} windows of the baseline are not here, {new} of {len(second)} windows here are not there"
