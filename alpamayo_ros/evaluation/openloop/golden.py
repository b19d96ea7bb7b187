"""Golden plans: what a bundle planned for three windows of a bag, kept in a file, and how plans of other code differ.

Words, tokens, decisions and meta-actions must be the same; numbers may differ by TOLERANCES.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from alpamayo_ros.evaluation.openloop.results import Evaluation, Window
from alpamayo_ros.evaluation.openloop.storage import VERSION, read_file, to_json, write_file
from alpamayo_ros.types import Consistency, InvalidInput, MetaAction, ReasoningTrace, Request, Trajectory

PLANS = 3

TOLERANCES = {
    "t_s": 1e-9,
    "xyz": 0.05,  # m
    "yaw_rad": 2e-3,
    "speed_mps": 0.01,
    "accel_mps2": 0.05,
    "curvature_1pm": 2e-3,
    "scores": 5e-3,
}
"""By field; numbers of other fields must be equal. About four times what another order of sums does to `ar1_nano`: with two
threads instead of one, 12 mm, 0.5 mrad, 1.7 mm/s, 0.012 m/s^2, 6e-4 1/m and 1.2e-3 at most, over four windows."""


@dataclass(frozen=True)
class GoldenPlan:
    """What a plan decided, with the trajectory that was chosen; the other candidates show in the scores."""

    at_s: float  # t0 after the bag's start
    t0_ns: int
    trajectory: Trajectory
    chosen: int
    scores: tuple[float, ...]
    reasoning: ReasoningTrace
    meta_actions: tuple[MetaAction, ...]
    consistent: Consistency


@dataclass(frozen=True)
class Golden:
    """Plans of one contender, and what they were asked with."""

    version: int
    contender: str
    weights: str
    bag_sha256: str
    request: Request
    plans: tuple[GoldenPlan, ...]


class _Unequal(NamedTuple):
    """A leaf that differs."""

    where: str  # "trajectory.xyz[12][0]"
    golden: object
    here: object
    tolerance: float

    @property
    def field(self) -> str:
        """Without places in arrays."""
        return re.sub(r"\[\d+\]", "", self.where)


def golden_plans(evaluation: Evaluation, name: str, only_t0_ns: Sequence[int] = ()) -> Golden:
    """Plans of a contender: at the t0s asked for, or the first, middle and last one of the first bag.

    Raises InvalidInput where there are too few.
    """
    planned = [[window for window in bag.windows if name in window.plans] for bag in evaluation.bags]
    wanted = set(only_t0_ns)
    place = max(range(len(planned)), key=lambda i: len(wanted & {window.t0_ns for window in planned[i]}))  # the first of equals
    bag, windows = evaluation.bags[place], planned[place]
    if len(windows) < PLANS:
        raise InvalidInput(f"golden plans: want {PLANS} plans of {name} or more, {bag.bag} has {len(windows)}")
    chosen = [w for w in windows if w.t0_ns in wanted] if wanted else [windows[0], windows[len(windows) // 2], windows[-1]]
    plans = tuple(_golden_plan(window, name, bag.start_ns) for window in chosen)
    return Golden(VERSION, name, bag.weights[name], bag.sha256, evaluation.setup.request, plans)


def write_golden(golden: Golden, path: Path) -> None:
    """Write a file of golden plans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(golden, path)


def read_golden(path: Path) -> Golden:
    """Read a file of golden plans. Raises InvalidInput that names the file and the field."""
    return read_file(Golden, path)


def compare(golden: Golden, here: Golden) -> list[str]:
    """How plans differ from golden ones, a line per field with the first number of it; empty when they do not."""
    of_question = list(_unequal("", *(_shown(g.contender, g.weights, g.request) for g in (golden, here))))
    lines = [_line("", [one]) for one in of_question]
    found = {plan.t0_ns: plan for plan in here.plans}
    for plan in golden.plans:
        if plan.t0_ns not in found:
            lines.append(f"t0 {plan.at_s:g} s: no plan here")
            continue
        unequal = _unequal("", _json(plan), _json(found[plan.t0_ns]))
        lines += [_line(f"t0 {plan.at_s:g} s: ", list(same)) for _, same in groupby(unequal, key=lambda one: one.field)]
    if lines and golden.bag_sha256 != here.bag_sha256:
        lines.append(f"the bag is another one: golden sha256 {golden.bag_sha256[:12]}, here {here.bag_sha256[:12]}")
    return lines


def _golden_plan(window: Window, contender: str, start_ns: int) -> GoldenPlan:
    plan, at_s = window.plans[contender], round((window.t0_ns - start_ns) / 1e9, 3)
    decided = plan.reasoning, plan.meta_actions, plan.consistent
    return GoldenPlan(at_s, plan.t0_ns, plan.trajectory, plan.chosen, plan.scores, *decided)


def _json(value: object) -> Any:
    return to_json(value, lambda array: array.tolist())


def _shown(contender: str, weights: str, request: Request) -> Any:
    return {"contender": contender, "weights": weights, "request": _json(request)}


def _unequal(where: str, golden: Any, here: Any) -> Iterator[_Unequal]:
    """Leaves that differ, in order. A list of another length is a leaf."""
    if isinstance(golden, dict) and isinstance(here, dict):
        for name, part in golden.items():
            yield from _unequal(f"{where}.{name}".lstrip("."), part, here[name])
    elif isinstance(golden, list) and isinstance(here, list) and len(golden) == len(here):
        for i, pair in enumerate(zip(golden, here, strict=True)):
            yield from _unequal(f"{where}[{i}]", *pair)
    else:
        tolerance = TOLERANCES.get(re.sub(r"\[\d+\]", "", where).rpartition(".")[2], 0.0)
        near = isinstance(golden, float) and isinstance(here, float) and abs(golden - here) <= tolerance
        if not near and golden != here:
            yield _Unequal(where, golden, here, tolerance)


def _line(start: str, unequal: Sequence[_Unequal]) -> str:
    where, golden, here, tolerance = unequal[0]
    numbers = isinstance(golden, float) and isinstance(here, float)
    values = f"golden {golden:.6g}, here {here:.6g}" if numbers else f"golden {golden!r:.120}, here {here!r:.120}"
    allowed = f", tolerance {tolerance:g}" if tolerance else ""
    more = f" ({len(unequal) - 1} more)" if len(unequal) > 1 else ""
    return f"{start}{where}: {values}{allowed}{more}"
