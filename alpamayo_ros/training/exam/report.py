"""What is told: every figure with its interval, the goal that it has, and whether it met it; tables for readers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from alpamayo_ros.evaluation.statistics import Estimate, estimate
from alpamayo_ros.simulation.data.pairs import PairKind
from alpamayo_ros.training.exam import marks
from alpamayo_ros.training.exam.answered import Answer
from alpamayo_ros.training.exam.asked import KINDS


@dataclass(frozen=True)
class Answered:
    """All papers of an exam. Where there is no control, or no pair, there is nothing."""

    model: Sequence[Answer]  # one trajectory, the likeliest words: as on the vehicle
    six: Sequence[Answer]  # six trajectories, each with words of its own, of the same windows
    eyes_shut: Sequence[Answer]
    led: Sequence[Answer]  # windows that turn, commanded to the other side
    kinematic: Sequence[Answer]
    blind: Sequence[Answer] = ()  # of a control that was trained on grey pictures, and sees grey ones
    pairs: Mapping[PairKind, Sequence[tuple[Answer, Answer]]] | None = None


class Goal(NamedTuple):
    """What issue 7 asks of a figure."""

    at: Literal["at least", "at most", "above"]
    value: float

    def met(self, got: Estimate) -> bool:
        """By the mean; what is to be above something, is so by the lower end."""
        if self.at == "above":
            return got.low is not None and got.low > self.value
        return got.mean >= self.value if self.at == "at least" else got.mean <= self.value


class Figure(NamedTuple):
    """One number of the exam; None where no window had it."""

    name: str
    got: Estimate | None
    goal: Goal | None = None

    def told(self) -> dict[str, Any]:
        """As JSON."""
        about: dict[str, Any] = {"name": self.name, **(self.got._asdict() if self.got else {"mean": None})}
        if self.goal is None:
            return about
        return about | {"goal": f"{self.goal.at} {self.goal.value:g}", "met": self.got is not None and self.goal.met(self.got)}


def figures(given: Answered) -> list[Figure]:
    """Everything that the issue asks, in its order, and what is needed to read it."""
    return [*_distances(given), *_words(given), *_commands(given), *_sight(given), *_pairs(given)]


def _distances(given: Answered) -> Iterator[Figure]:
    own, baseline, clips = marks.ade_1_m(given.model), marks.ade_1_m(given.kinematic), marks.clips_of(given.model)
    yield Figure("ADE_1, m", marks.mean(marks.ade_1_m, given.model))
    yield Figure("ADE_1 of kinematic, m", marks.mean(marks.ade_1_m, given.kinematic))
    yield Figure("ADE_1 of the expert's intention, m", marks.mean(marks.expert_ade_m, given.model))
    closed = marks.gap_closed(own, baseline, marks.expert_ade_m(given.model), clips)
    yield Figure("gap from kinematic to expert closed", closed, Goal("at least", 0.6))
    yield Figure("minADE_6, m", marks.mean(marks.min_ade_6_m, given.six))
    below = marks.less_by(marks.min_ade_6_m(given.six), baseline, clips)
    yield Figure("minADE_6 below kinematic's ADE by", below, Goal("at least", 0.5))
    yield Figure("windows without a plan", _share([answer.plan is None for answer in given.model], clips))


def _words(given: Answered) -> Iterator[Figure]:
    parts = {"all windows": given.model, "balanced windows": [a for a in given.model if a.sitting.label.is_balanced]}
    for name, part in parts.items():
        if not part:
            continue
        whole = part is given.model
        right = Goal("at least", 0.85) if whole else None
        yield Figure(f"decision right, {name}", marks.mean(marks.decides_right, part), right)
        yield Figure(f"the usual decision is right, {name}", marks.mean(marks.says_the_usual, part))
        yield Figure(f"consistency, {name}", marks.mean(marks.is_consistent, part), right)
        shuffled = Goal("at most", 0.4)  # only where decisions are balanced: words for keeping the lane agree with most motion
        yield Figure(f"shuffled consistency, {name}", marks.shuffled_consistency(part), None if whole else shuffled)


def _commands(given: Answered) -> Iterator[Figure]:
    yield Figure("junction commands obeyed", marks.mean(marks.obeys, given.model), Goal("at least", 0.9))
    yield Figure("flipped commands that flip the branch", marks.mean(marks.obeys, given.led), Goal("at least", 0.8))


def _sight(given: Answered) -> Iterator[Figure]:
    blanked = marks.less_by(marks.ade_1_m(given.model), marks.ade_1_m(given.eyes_shut), marks.clips_of(given.model))
    yield Figure("ADE_1 below that with blanked cameras by", blanked, Goal("above", 0.0))
    yield Figure("decision right with blanked cameras", marks.mean(marks.decides_right, given.eyes_shut))
    if not given.blind:
        return
    yield Figure("decision right, control trained blind", marks.mean(marks.decides_right, given.blind))
    yield Figure("ADE_1 below the control trained blind by", _below(given.model, given.blind), Goal("at least", 0.2))
    for kind in KINDS:
        model, blind = ([answer for answer in each if answer.sitting.is_of(kind)] for each in (given.model, given.blind))
        yield Figure(f"ADE_1 below the control trained blind by, {kind}", _below(model, blind), Goal("at least", 0.2))


def _below(model: Sequence[Answer], other: Sequence[Answer]) -> Estimate | None:
    return marks.less_by(marks.ade_1_m(model), marks.ade_1_m(other), marks.clips_of(model))


def _pairs(given: Answered) -> Iterator[Figure]:
    for kind, pairs in (given.pairs or {}).items():
        members = [answer for both in pairs for answer in both]
        yield Figure(f"{kind} pairs: decision right", marks.mean(marks.decides_right, members), Goal("at least", 0.8))
        right = [all(marks.decides_right(both)) for both in pairs]
        yield Figure(f"{kind} pairs: right in both windows", _share(right, marks.clips_of([one for one, _ in pairs])))


def _share(verdicts: Sequence[bool], clips: Sequence[str]) -> Estimate | None:
    return estimate([float(verdict) for verdict in verdicts], clips) if verdicts else None


def parts(given: Answered) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Where it is good and where it is not: by family, and by what the expert decided."""
    families = [answer.sitting.family for answer in given.model]
    decisions = [answer.sitting.label.decision for answer in given.model]
    named = [f"{decision.longitudinal}, {decision.lateral}" for decision in decisions]
    return {"family": _by(families, given), "decision": _by(named, given)}


def _by(names: Sequence[str], given: Answered) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for name in sorted(set(names)):
        places = [place for place, other in enumerate(names) if other == name]
        model, kinematic = ([paper[place] for place in places] for paper in (given.model, given.kinematic))
        blind = [given.blind[place] for place in places] if given.blind else []
        found[name] = [
            Figure("ADE_1, m", marks.mean(marks.ade_1_m, model)).told(),
            Figure("kinematic, m", marks.mean(marks.ade_1_m, kinematic)).told(),
            Figure("trained blind, m", marks.mean(marks.ade_1_m, blind)).told(),
            Figure("decision right", marks.mean(marks.decides_right, model)).told(),
        ]
    return found


_CAUSES = "; ".join(f"{kind}: {', '.join(sorted(causes))}" for kind, causes in KINDS.items())

NOTES = f"""
Mean with 95 % interval over scenes. Words and ADE_1 are those of the vehicle's request: one trajectory, the likeliest words;
minADE_6 is of six with words of their own. The expert's ADE is that of its own intention at t0: the world surprises it, too.
Kinds of windows go by what the expert decided for at t0: {_CAUSES}.
Balanced windows are those that a balanced data set keeps (`KEPT_SHARES`). Both windows of a pair have the same ego history:
who cannot see says the same in both, and is right in half of them at most. A goal is met by the mean; that blanked cameras
hurt, by the interval's lower end.
"""


def markdown(found: Mapping[str, Any]) -> str:
    """What a reader wants: figures with their goals, then parts."""
    rows = [
        [each["name"], _told(each), str(each.get("windows", 0)), str(each.get("clips", 0)), *_goal(each)]
        for each in found["figures"]
    ]
    lines = [f"# Exam: {found['bundle']}", "", *(f"- {name}: {value}" for name, value in found["about"].items()), ""]
    lines += _table(["figure", "value", "windows", "scenes", "goal", ""], rows)
    lines += [NOTES]
    for title, by in found["parts"].items():
        heads = [each["name"] for each in next(iter(by.values()), [])]
        lines += _table(
            [title, "windows", *heads], [[name, str(row[1].get("windows", 0)), *map(_told, row)] for name, row in by.items()]
        )
        lines.append("")
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _goal(figure: Mapping[str, Any]) -> list[str]:
    return [figure["goal"], "met" if figure["met"] else "**missed**"] if "goal" in figure else ["", ""]


def _told(figure: Mapping[str, Any]) -> str:
    if figure["mean"] is None:
        return "–"
    ends = "" if figure["low"] is None else f" ({figure['low']:.3g} to {figure['high']:.3g})"
    return f"{figure['mean']:.3g}{ends}"
