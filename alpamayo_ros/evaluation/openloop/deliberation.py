"""What reasoning on demand and provisional plans cost and change, on a bag: every way beside the others, at every t0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_profile
from alpamayo_ros.evaluation.metrics import ade_m
from alpamayo_ros.evaluation.openloop.truth import driven
from alpamayo_ros.evaluation.replay import BagPass
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.deliberation import ALWAYS, Deliberating, Deliberation
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import HORIZON, EgoPose, InvalidInput, Request

FILE = "bench_deliberation.json"


@dataclass
class Way:
    """One way to think, and what became of every t0."""

    request: Request
    deliberating: Deliberating
    cycles: list[tuple[Cycle, ...]] = field(default_factory=list)


def ways() -> dict[str, Way]:
    """By name; the first is how it is done where nobody says otherwise."""
    full, none = Request(), Request(reasoning="none")
    return {
        "words always": Way(full, Deliberating(ALWAYS)),
        "no words": Way(none, Deliberating(ALWAYS)),
        "on demand": Way(full, Deliberating(Deliberation(on_demand=True))),
        "provisional": Way(full, Deliberating(Deliberation(provisional=True))),
        "both": Way(full, Deliberating(Deliberation(on_demand=True, provisional=True))),
    }


def bench_deliberation(bag: Path, rig: Rig, bundle: str, out: Path) -> dict[str, Any]:
    """Every anchor frame of a bag, thought about in every way, each with an engine of its own; writes figures and a table.

    Raises InvalidInput for a bag that does not fit the rig or gives no plan.
    """
    asked, poses = ways(), list[EgoPose]()
    one_pass = BagPass(
        bag, rig, bundle_profile(bundle), [bundle] * len(asked), lambda *_: None, lambda pose, _: poses.append(pose)
    )
    with closing(one_pass):
        records = track(one_pass.records(), "thinking", sum(one_pass.counts.values()), console=Console(stderr=True))
        for number, t0_ns in enumerate(one_pass.instants(records, max_plan_hz=1e3)):
            _think(list(zip(asked.values(), one_pass.engines, strict=True)), one_pass, t0_ns, number)
    first = next(iter(asked.values()))
    if not any(cycle.plan for cycles in first.cycles for cycle in cycles):
        raise InvalidInput(f"{bag}: {bundle} made no plan in {len(first.cycles)} cycles")
    figures = {name: told(way, first, poses) for name, way in asked.items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).write_text(json.dumps(figures, indent=1) + "\n")
    _print(figures)
    return {"ways": figures, "files": [str(out / FILE)]}


def _think(asked: Sequence[tuple[Way, EngineClient]], one_pass: BagPass, t0_ns: int, turn: int) -> None:
    """One t0 in every way; each comes first in its turn, for what is warm by then."""
    first = turn % len(asked)
    for way, engine in (*asked[first:], *asked[:first]):
        request = Request(way.request.samples, way.request.reasoning, seed=seed_of(t0_ns))
        cycles = way.deliberating.cycles(one_pass.buffers, t0_ns, engine, request, engine.space)
        way.cycles.append(tuple(map(_without_pictures, cycles)))


def _without_pictures(cycle: Cycle) -> Cycle:
    """They lie in a ring that has to take the next ones."""
    seen = cycle.observation
    return cycle if seen is None else replace(cycle, observation=replace(seen, frames={}))


def told(way: Way, usual: Way, poses: Sequence[EgoPose]) -> dict[str, float | int | None]:
    """What came of a way, beside the usual one: m and ms, over the t0 that have a plan."""
    final = [cycles[-1] for cycles in way.cycles if cycles[-1].plan is not None]
    firsts = [cycles[0] for cycles in way.cycles if cycles[0].plan is not None]
    spoke = [cycle for cycle in final if cycle.plan and cycle.plan.reasoning.text]
    spent_ms = [cycle.stage_ms["total"] - cycle.stage_ms["observe"] for cycle in final]
    waited_ms = [cycle.stage_ms["total"] - cycle.stage_ms["observe"] for cycle in firsts]
    pairs = [(cycles[0], cycles[-1]) for cycles in way.cycles if len(cycles) > 1]
    beside = [(cycles[-1], others[-1]) for cycles, others in zip(way.cycles, usual.cycles, strict=True)]
    return {
        "cycles": len(way.cycles),
        "plans": len(final),
        "rejected": sum(bool(cycle.rejected) for cycle in final),
        "reasoned": len(spoke),
        "think_p50_ms": _quantile(spent_ms, 0.5),
        "think_p95_ms": _quantile(spent_ms, 0.95),
        "first_plan_p50_ms": _quantile(waited_ms, 0.5),
        "ade_m": _mean(_ade(cycle, poses) for cycle in final),
        "refined_by_m": _mean(_apart(first, last) for first, last in pairs),
        "from_usual_m": _mean(_apart(one, other) for one, other in beside),
    }


def _ade(cycle: Cycle, poses: Sequence[EgoPose]) -> float | None:
    """To what was driven, over the whole horizon; None where that is not known."""
    if cycle.plan is None or cycle.observation is None:
        return None
    truth = driven(poses, cycle.observation.ego_t0)
    return ade_m(cycle.plan.trajectory.xyz, truth.xyz) if len(truth.xyz) == HORIZON else None


def _apart(one: Cycle, other: Cycle) -> float | None:
    return ade_m(one.plan.trajectory.xyz, other.plan.trajectory.xyz) if one.plan and other.plan else None


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def _print(figures: Mapping[str, Mapping[str, float | int | None]]) -> None:
    names = list(next(iter(figures.values())))
    table = Table("way", *names, title="alpamayo bench deliberation")
    for way, row in figures.items():
        table.add_row(way, *("-" if row[name] is None else f"{row[name]:.4g}" for name in names))
    Console(width=160).print(table)
