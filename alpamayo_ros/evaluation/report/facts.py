"""What a report says, in words and tables: one account that the page and the Markdown show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from alpamayo_ros.drawing import shown_text
from alpamayo_ros.evaluation.metrics import HORIZONS_S, by_horizon
from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, BagEvaluation, Evaluation
from alpamayo_ros.evaluation.openloop.summary import METRICS, OF_SIX, Judged, Summary, counted
from alpamayo_ros.evaluation.report.pictures import Bad
from alpamayo_ros.evaluation.report.tables import KEY, NOTHING, Latency, Row, latencies, latency_rows, number, p_words, rows
from alpamayo_ros.types import Plan

UNTRAINED = "untrained"
WARNINGS = {
    UNTRAINED: "UNTRAINED: these numbers say nothing about a trained model.",
    "none": "NO MODEL: what is evaluated has no weights.",
    "trained": "",
    "released": "",
}
"""By kind of weights; in large letters."""

ERRORS = (("ADE", "ade"), ("FDE", "fde"), ("along", "longitudinal"), ("across", "lateral"), ("minADE_6", "min_ade_6"))
"""Of a bad window, at its horizon: what it is called, and its stem in METRICS."""


class Leads(NamedTuple):
    """What a comparison by ADE comes to, in words."""

    better: str
    worse: str
    open: str
    other: str


LEADS = {
    BLANKED: Leads("It uses its cameras", "It drives better blind", "Not shown to use its cameras", "with black pictures it"),
    KINEMATIC: Leads(
        "It is better than kinematic", "It is worse than kinematic", "Not shown to be better than kinematic", "kinematic"
    ),
}

FEWEST_CLIPS = 6  # with fewer, p cannot fall below 0.05 (statistics.Difference)


@dataclass(frozen=True)
class Facts:
    """All of it."""

    subject: str  # what was evaluated
    weights: str
    warning: str  # about the weights; empty where there is nothing to warn of
    verdict: str  # how much was evaluated
    shortcut: tuple[str, ...]  # whether the cameras matter, a sentence each
    notes: tuple[str, ...]  # how to read the figures
    windows: int
    contenders: tuple[Judged, ...]
    key: tuple[Row, ...]
    every: tuple[Row, ...]
    latencies: tuple[Latency, ...]
    bags: tuple[Covered, ...]
    broken: Mapping[str, str]
    parameters: tuple[tuple[str, str], ...]
    provenance: Mapping[str, str]


class Lost(NamedTuple):
    """What was not used, for one reason."""

    what: str
    reason: str
    times: int
    example: str  # with its numbers; empty where it would say nothing more


class Covered(NamedTuple):
    """What of a bag was used."""

    bag: BagEvaluation
    share: str  # of the instants that a plan was asked for
    lost: tuple[Lost, ...]


class Told(NamedTuple):
    """A bad window, as lines of a name and a text."""

    title: str
    trace: str  # words of the model, unverified
    lines: tuple[tuple[str, str], ...]


def facts(evaluation: Evaluation, summary: Summary) -> Facts:
    """The account of an evaluation."""
    first = summary.first if summary.contenders else None
    return Facts(
        subject=first.name if first else ", ".join(evaluation.setup.bundles),
        weights=first.weights if first else "unknown",
        warning=WARNINGS[first.weights] if first else "NOTHING WAS EVALUATED.",
        verdict=_verdict(evaluation, summary),
        shortcut=tuple(_shortcut(summary)),
        notes=tuple(_notes(summary)),
        windows=summary.windows,
        contenders=summary.contenders,
        key=(*rows(summary, KEY), *latency_rows(summary)),
        every=rows(summary, METRICS),
        latencies=latencies(summary.timings),
        bags=tuple(_covered(bag) for bag in evaluation.bags),
        broken=evaluation.broken,
        parameters=tuple(_parameters(evaluation)),
        provenance=evaluation.provenance,
    )


def _verdict(evaluation: Evaluation, summary: Summary) -> str:
    length_s = sum(bag.duration_s for bag in evaluation.bags)
    broken = f"; {counted(len(evaluation.broken), 'bag')} could not be evaluated" if evaluation.broken else ""
    return (
        f"{counted(summary.windows, 'window')} ({summary.whole} with all 6.4 s of future) in {counted(summary.clips, 'clip')} "
        f"of {counted(len(evaluation.bags), 'bag')}, {duration(length_s)}{broken}"
    )


def duration(seconds: float) -> str:
    """In the largest unit that leaves a digit before the point."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _shortcut(summary: Summary) -> Iterator[str]:
    """The ego-shortcut test: does the evaluated bundle beat its blanked self, and the baseline that sees nothing?"""
    blanked = summary.first.name + BLANKED if summary.contenders else ""
    if summary.contenders and summary.first.weights == UNTRAINED:
        yield "No verdict: untrained weights."
        return
    for other in summary.contenders[1:]:
        if other.name in (blanked, KINEMATIC):
            yield _against(other, LEADS[KINEMATIC if other.name == KINEMATIC else BLANKED])


def _against(other: Judged, leads: Leads) -> str:
    known = (h for h in reversed(HORIZONS_S) if other.differences[by_horizon("ade", h)] is not None)
    horizon_s = next(known, HORIZONS_S[-1])
    apart = other.differences[by_horizon("ade", horizon_s)]
    if apart is None:
        return f"{leads.open}: no window has both plans and a known future."
    few = f" (fewer than {FEWEST_CLIPS} clips cannot)" if apart.clips < FEWEST_CLIPS else ""
    lead = leads.open + few if not apart.significant() else leads.better if apart.mean > 0 else leads.worse
    sure = (
        ""
        if apart.low is None or apart.high is None
        else f", 95 % interval {number(apart.low, 2)} to {number(apart.high, 2)} m"
    )
    return (
        f"{lead}: {leads.other} has {abs(apart.mean):.2f} m {'more' if apart.mean > 0 else 'less'} ADE at {horizon_s:g} s"
        f"{sure}, {p_words(apart.p_value)}, {counted(apart.windows, 'window')} of {counted(apart.clips, 'clip')}."
    )


def _notes(summary: Summary) -> Iterator[str]:
    if summary.contenders:
        yield "n: windows in which the first column has a value; of the latency, plans."
    if summary.contenders and summary.first.weights == UNTRAINED:
        yield "The first column's weights are untrained: stars tell that two planners differ, not that one of them is good."
    if any(judged.name == KINEMATIC and judged.estimates[name] for judged in summary.contenders for name in OF_SIX):
        yield (
            f"one path: {KINEMATIC} draws nothing, its six candidates are equal. Whoever draws six different ones has the "
            "better best of six for that alone: compare ADE."
        )
    if summary.clips > 1:
        yield (
            "In brackets: 95 % interval, bootstrap over clips of 20 s. Differences are to the first column, on windows that "
            "both have; * is p < 0.05 by sign flips of clips, each figure by itself: of 20 alike, chance marks one."
        )
    if summary.clips < FEWEST_CLIPS:
        yield (
            f"{counted(summary.clips, 'clip')}: with fewer than {FEWEST_CLIPS} no difference can be significant"
            f"{'; a single one has no intervals' if summary.clips == 1 else ''}."
        )


def _parameters(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    setup = evaluation.setup
    yield from (("rig", setup.rig), ("bundles", ", ".join(setup.bundles)), ("profile", setup.profile))
    yield "windows a second, at most", f"{setup.rate_hz:g}"
    words = {"seed": "by t0"} | ({} if setup.request.steps else {"steps": "the checkpoint's own"})
    for field in fields(setup.request):
        if not (setup.request.greedy and field.name in ("temperature", "top_p")):  # the likeliest word is not drawn
            yield f"request: {field.name}", words.get(field.name, str(getattr(setup.request, field.name)))


def _covered(bag: BagEvaluation) -> Covered:
    coverage = bag.coverage
    kinds = (
        ("instant without observation", coverage.not_observed),
        ("camera message refused", coverage.frames_refused),
        ("message refused", coverage.messages_refused),
    )
    lost = tuple(
        Lost(what, reason, count, coverage.examples[reason] if coverage.examples.get(reason, reason) != reason else "")
        for what, reasons in kinds
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])
    )
    used = 100.0 * len(bag.windows) / coverage.anchors if coverage.anchors else 0.0
    return Covered(bag, f"{used:.1f}", lost)


def told(bad: Bad, contenders: Sequence[str]) -> Told:
    """What there is to say about a window, the first contender being the one that is off."""
    window, plan = bad.window, bad.window.plans[contenders[0]]
    at_s = (window.t0_ns - bad.bag.start_ns) / 1e9
    values = window.metrics[contenders[0]].values()
    at = [
        f"{words} {number(value, 2)} m"
        for words, stem in ERRORS
        if (value := values[by_horizon(stem, bad.horizon_s)]) is not None
    ]
    others = [
        f"{name} {number(ade_m, 2)} m"
        for name in contenders[1:]
        if name in window.plans and (ade_m := window.metrics[name].values()[by_horizon("ade", bad.horizon_s)]) is not None
    ]
    outside = [
        f"{stem} {name}"
        for stem in ("comfort", "feasible")
        for name, ok in getattr(window.metrics[contenders[0]], stem).items()
        if not ok
    ]
    lines = (
        ("error", ", ".join(at)),
        ("ADE of others", ", ".join(others)),
        (
            "speed at t0",
            f"{number(window.ego_t0.speed_mps, 1)} m/s; at the plan's end {number(plan.trajectory.speed_mps[-1], 1)} m/s",
        ),
        ("decision", decision(plan)),
        ("meta-actions", ", ".join(f"{m.action} {m.start_s:.1f}–{m.end_s:.1f} s" for m in plan.meta_actions)),
        ("consistent", consistency(plan)),
        ("bounds left", ", ".join(outside).replace("_", " ")),
        ("stage times", ", ".join(f"{stage} {number(ms, 1)} ms" for stage, ms in plan.stage_ms.items())),
    )
    title = f"{bad.bag.bag} at {at_s:.1f} s: ADE {number(bad.ade_m, 2)} m at {bad.horizon_s:g} s"
    return Told(title, _trace(plan), tuple((name, text or NOTHING) for name, text in lines))


def decision(plan: Plan) -> str:
    """What the trace decides, in words."""
    found = plan.reasoning.decision
    return ", ".join(filter(None, (found.longitudinal, found.lateral, found.direction)))


def consistency(plan: Plan) -> str:
    """Whether words and motion agree."""
    return {True: "yes", False: f"no: {plan.consistent.why_not}", None: "the trace names no decision"}[plan.consistent.agrees]


def _trace(plan: Plan) -> str:
    trace = plan.reasoning
    return f"{shown_text(trace.text)}{'' if trace.complete else ' (cut off)'}" if trace.text else ""
