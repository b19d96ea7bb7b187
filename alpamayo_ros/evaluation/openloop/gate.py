"""The regression gate: `--against baseline.json --fail-on 'ade_6_4s>+2%'`.

A condition says when to fail: a metric of the evaluated contender, > or <, and a limit.

`ade_6_4s>+2%`      more than 2 % above the baseline's mean
`comfort<-0.01`     with a sign and without %: lower by more than 0.01
`ade_6_4s>1.5`      without a sign: the value itself; needs no baseline

Metrics are those of summary.METRICS, `planned` (share of windows that have a plan), and of timing.json `<stage>_p50_ms`,
`_p95_ms`, `_p99_ms`, `_max_ms` (latency_p95_ms) and `deadline_misses` (share of plans).

A difference is taken over the windows that both have. So that none gets lost that way, a gate fails by itself for a bag that
could not be evaluated, and for a window of the baseline that has no plan here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, NamedTuple, cast

from alpamayo_ros.evaluation.openloop.results import Setup
from alpamayo_ros.evaluation.openloop.storage import EvaluationFile, TimingFile, read_file
from alpamayo_ros.evaluation.openloop.summary import METRICS, STAGES, counted
from alpamayo_ros.evaluation.statistics import paired_difference
from alpamayo_ros.types import InvalidInput

TIMING_FILE = "timing.json"
PLANNED = "planned"
DEADLINE_MISSES = "deadline_misses"

_CONDITION = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?)((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%?)\s*")
_OF_TIMING = re.compile(rf"({'|'.join(STAGES)})_(p50_ms|p95_ms|p99_ms|max_ms)")
_WINDOW = tuple[str, int]  # hash of the bag, t0
_OF_EVERY_PLAN = "comfort"  # a metric that no plan lacks


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


class _Change(NamedTuple):
    """Between two evaluations."""

    before: float
    now: float
    difference: float
    said: str  # how far it can be trusted


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
            raise InvalidInput(f"no value in any of {self.figures.windows} windows")
        return found

    def _mean(self, metric: str) -> float | None:
        if metric == PLANNED:
            return self.figures.contenders[0].plans / self.figures.windows if self.figures.windows else None
        return self.figures.contenders[0].mean(metric)

    def column(self, metric: str) -> dict[_WINDOW, float]:
        """Value by window that has one, in order; `planned` is 0 or 1."""
        values = {
            (bag.sha256, t0_ns): value
            for bag in self.figures.bags
            for t0_ns, value in zip(
                bag.t0_ns, bag.metrics[self.name][_OF_EVERY_PLAN if metric == PLANNED else metric], strict=True
            )
        }
        if metric == PLANNED:
            return {window: float(value is not None) for window, value in values.items()}
        return {window: value for window, value in values.items() if value is not None}

    def _timed(self, metric: str) -> float | None:
        timing = self.timing.contenders.get(self.name) if self.timing else None
        if timing is None:
            return None
        if metric == DEADLINE_MISSES:
            return timing.missed
        stage, percentile = metric.removesuffix("_ms").rsplit("_", 1)
        if stage not in timing.stages:
            raise InvalidInput(f"no stage {stage} was measured, these were: {', '.join(timing.stages)}")
        return cast(float, getattr(timing.stages[stage], f"{percentile}_ms"))

    @property
    def clips(self) -> dict[_WINDOW, tuple[str, str]]:
        """Of every window: hash of the bag, name of the clip."""
        return {
            (bag.sha256, t0_ns): (bag.sha256, clip)
            for bag in self.figures.bags
            for t0_ns, clip in zip(bag.t0_ns, bag.clip, strict=True)
        }


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
    """A line per condition, and one for each reason to fail by itself; none without a condition.

    What has no value fails: a gate never passes unmeasured. Raises InvalidInput for a missing baseline or one of another setup.
    """
    check_comparable(conditions, baseline, here.figures.setup, here.figures.provenance)
    return [
        *(_judged(condition, here, baseline) for condition in conditions),
        *(_left_out(here, baseline) if conditions else ()),
    ]


def _judged(condition: Condition, here: Measured, baseline: Measured | None) -> Verdict:
    try:
        if baseline is None or condition.of == "value":
            return _absolute(condition, here)
        return _timed(condition, here, baseline) if is_timing(condition.metric) else _paired(condition, here, baseline)
    except InvalidInput as error:
        return Verdict(f"{_word(failed=True)} {condition.metric} of {here.name}: {error}", failed=True)


def _left_out(here: Measured, baseline: Measured | None) -> Iterator[Verdict]:
    """What a mean does not tell of, because it is not in it."""
    if broken := here.figures.broken:
        bags = len(broken) + len(here.figures.bags)
        named = ", ".join(broken)
        yield Verdict(f"{_word(failed=True)} bags: {len(broken)} of {bags} could not be evaluated: {named}", failed=True)
    if baseline is None:
        return
    then, now = baseline.column(_OF_EVERY_PLAN), here.column(_OF_EVERY_PLAN)
    if gone := len(then.keys() - now.keys()):
        said = f"{gone} of the baseline's {len(then)} windows have no plan here"
        yield Verdict(f"{_word(failed=True)} windows: {said}", failed=True)


def check_comparable(
    conditions: Sequence[Condition], baseline: Measured | None, setup: Setup, provenance: Mapping[str, str]
) -> None:
    """Raise InvalidInput for a condition without its baseline, a baseline without a condition, or one of another setup.

    Rate, request, rig and profile must be the same, bags, code and weights may differ. Of the provenance, rig and profiles
    are looked at.
    """
    relative = [condition for condition in conditions if condition.of != "value"]
    if relative and baseline is None:
        raise InvalidInput(f"{relative[0].metric}{relative[0].side}{relative[0].limit_text} wants a baseline: pass --against")
    if baseline is None:
        return
    if not conditions:
        raise InvalidInput("--against wants --fail-on: say what of the baseline counts, such as --fail-on 'ade_6_4s>+2%'")
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


def _paired(condition: Condition, here: Measured, baseline: Measured) -> Verdict:
    """Both means, and their difference, over the windows that both have. Raises InvalidInput where there is none."""
    first, second, clips = baseline.column(condition.metric), here.column(condition.metric), baseline.clips
    both = [window for window in first if window in second]
    if not both:
        raise InvalidInput(f"no window in common: {len(first)} with a value in the baseline, {len(second)} here")
    then, now = [first[window] for window in both], [second[window] for window in both]
    found = paired_difference(then, now, [clips[window] for window in both])
    said = f"p = {found.p_value:.2g} over {counted(found.clips, 'clip')}, {counted(found.windows, 'window')}"
    if others := [
        f"{len(all_of) - len(both)} of {len(all_of)} {whose}"
        for all_of, whose in ((first, "of the baseline"), (second, "here"))
        if len(all_of) > len(both)
    ]:
        said += f" that both have (left out: {', '.join(others)})"
    return _compared(condition, here, baseline, _Change(sum(then) / len(both), sum(now) / len(both), found.mean, said))


def _timed(condition: Condition, here: Measured, baseline: Measured) -> Verdict:
    """Of times, which each evaluation has of its own windows."""
    before, now = baseline.value(condition.metric), here.value(condition.metric)
    hosts = [_hosts(baseline), _hosts(here)]
    same = len(hosts[0]) == 1 and hosts[0] == hosts[1]
    said = "same host" if same else "NOT THE SAME HOST: baseline {}; here {}".format(*(_and(of_one) for of_one in hosts))
    return _compared(condition, here, baseline, _Change(before, now, now - before, said))


def _hosts(measured: Measured) -> list[tuple[str, str]]:
    """Host and GPU of every measurement."""
    found = measured.timing.measured.values() if measured.timing else ()
    return sorted({(measurement.host, measurement.gpu) for measurement in found})


def _and(hosts: Sequence[tuple[str, str]]) -> str:
    return " and ".join(f"{host}, GPU {gpu}" for host, gpu in hosts) or "unknown"


def _compared(condition: Condition, here: Measured, baseline: Measured, change: _Change) -> Verdict:
    """Raises InvalidInput for a percentage of nothing."""
    difference, unit = change.difference, ""
    if condition.of == "percent":
        if change.before == 0.0:
            raise InvalidInput("it is 0 in the baseline, which has no percentage: give a difference, as in +0.01")
        difference, unit = 100.0 * difference / abs(change.before), " %"
    failed = _beyond(difference, condition)
    whose = "" if baseline.name == here.name else f" ({baseline.name})"
    limit = f"fails {condition.side} {condition.limit_text}"
    values = f"baseline {change.before:.4g}{whose}, here {change.now:.4g} ({difference:+.3g}{unit}, {limit})"
    return Verdict(f"{_word(failed)} {condition.metric} of {here.name}: {values}, {change.said}", failed)


def _beyond(value: float, condition: Condition) -> bool:
    return value > condition.limit if condition.side == ">" else value < condition.limit


def _word(failed: bool) -> str:
    return "FAILED" if failed else "passed"
