"""What the ways to think are said to cost: figures from cycles made by hand, and a bag through an engine without words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from evaluation.openloop.made import SECONDS, plan, trajectory

from alpamayo_ros.evaluation.openloop.deliberation import FILE, Way, bench_deliberation, told
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.deliberation import Deliberating
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import Request

T0_NS = 10**12


def cycle(text: str, speed_mps: float, total_ms: float, *, provisional: bool = False) -> Cycle:
    made = replace(plan(T0_NS, (trajectory(speed_mps, 0.0),), text, np.random.default_rng(0)), provisional=provisional)
    return Cycle(T0_NS, 0, None, made, "", stage_ms=MappingProxyType({"observe": 5.0, "total": total_ms + 5.0}))


def way(*cycles: tuple[Cycle, ...]) -> Way:
    return Way(Request(), Deliberating(), list(cycles))


def test_figures_are_those_of_the_last_plan_of_a_t0_and_of_the_first() -> None:
    usual = way((cycle("Keep lane.", 10.0, 100.0),), (cycle("Keep lane.", 10.0, 100.0),))
    other = way(
        (cycle("", 11.0, 20.0, provisional=True), cycle("Keep lane.", 10.0, 120.0)),
        (cycle("", 11.0, 20.0),),
    )
    found = told(other, usual, ())
    assert (found["cycles"], found["plans"], found["reasoned"], found["rejected"]) == (2, 2, 1, 0)
    assert (found["think_p50_ms"], found["first_plan_p50_ms"]) == (70.0, 20.0)
    apart_m = 3.25  # 1 m/s faster, over points at 0.1 to 6.4 s
    assert found["refined_by_m"] == pytest.approx(apart_m)
    assert found["from_usual_m"] == pytest.approx(apart_m / 2)
    assert found["ade_m"] is None, "nothing is known of what was driven"


def test_cycles_without_a_plan_are_counted_and_cost_nothing() -> None:
    refused = Cycle(T0_NS, 0, None, None, "no frames", stage_ms=MappingProxyType({"observe": 5.0}))
    found = told(way((refused,)), way((refused,)), ())
    assert (found["cycles"], found["plans"], found["think_p50_ms"], found["from_usual_m"]) == (1, 0, None, None)


def test_a_bag_is_thought_about_in_every_way(bag: Path, small_rig: tuple[Rig, Path], tmp_path: Path) -> None:
    """The baseline says a sentence where it is asked to, and drives the same without."""
    found = bench_deliberation(bag, small_rig[0], "kinematic", tmp_path)["ways"]
    assert json.loads((tmp_path / FILE).read_text()) == found
    plans, cycles = found["words always"]["plans"], found["words always"]["cycles"]
    assert (cycles, plans) == (10 * SECONDS, 10 * (SECONDS - 2.0)), "every anchor frame, and those that have a history"
    reasoned = {name: figures["reasoned"] for name, figures in found.items()}
    on_demand = 1 + (plans - 1) // 5
    assert reasoned == {"words always": plans, "no words": 0, "on demand": on_demand, "provisional": plans, "both": on_demand}
    assert {figures["from_usual_m"] for figures in found.values()} == {0.0}
