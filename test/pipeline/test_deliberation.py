"""When a cycle reasons, and what is handed over meanwhile: the rule, case by case, on an engine that notes what it is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pipeline.test_planner import steady
from pipeline.vehicle import buffers, drive

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.deliberation import Deliberating, Deliberation
from alpamayo_ros.types import EngineFailure, InvalidInput, ModelOutput, Navigation, Observation, Request

ON_DEMAND = Deliberation(on_demand=True, every=3, samples=2)
WIDE, NARROW = 0.05, 0.0001  # curvature of the second sample, the first goes straight; normalised


class Thinker:
    """Answers with words or without, and notes which; its quick samples lie as far apart as it is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.apart = NARROW
        self.fails = ""  # "none" or "full"
        self.is_dead = False  # without words it answers zeros, which no check lets pass

    def add_frame(self, frame: object) -> None:
        pass

    def reset(self, epoch: int) -> None:
        pass

    def close(self) -> None:
        pass

    def infer(self, observation: Observation, request: Request) -> ModelOutput:
        self.asked.append((request.reasoning, request.samples))
        if self.fails == request.reasoning:
            raise EngineFailure(f"no answer to {request.reasoning}")
        said = request.reasoning == "full"
        actions = np.stack([steady(self.apart * (sample % 2)) for sample in range(request.samples)]).astype(np.float32)
        if self.is_dead and not said:
            actions = np.zeros_like(actions)
        return ModelOutput(actions, ("Keep lane.",) if said else ("",), (3 if said else 0,), (True,))

    @property
    def words(self) -> list[str]:
        return [reasoning for reasoning, _ in self.asked]


@pytest.fixture
def filled() -> Buffers:
    return buffers()


@pytest.fixture
def t0_ns(filled: Buffers) -> int:
    return drive(filled)


@pytest.fixture
def thinker() -> Thinker:
    return Thinker()


def cycles(
    deliberating: Deliberating, filled: Buffers, t0_ns: int, engine: Thinker, doubt: str = "", request: Request | None = None
) -> list[Cycle]:
    found = deliberating.cycles(filled, t0_ns, engine, request or Request(), RELEASED, doubt=doubt)
    return list(found)


def test_as_set_every_cycle_is_what_a_cycle_was(filled: Buffers, t0_ns: int) -> None:
    plain = run_cycle(filled, t0_ns, KinematicEngine(), Request(), RELEASED)
    (found,) = Deliberating().cycles(filled, t0_ns, KinematicEngine(), Request(), RELEASED)
    assert found.plan is not None
    assert plain.plan is not None
    assert np.array_equal(found.plan.trajectory.xyz, plain.plan.trajectory.xyz)
    assert (found.plan.reasoning, found.findings, found.plan.provisional) == (plain.plan.reasoning, plain.findings, False)
    assert found.stage_ms.keys() == plain.stage_ms.keys()


def test_it_reasons_first_and_then_every_third_time(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(ON_DEMAND)
    for _ in range(7):
        (cycle,) = cycles(deliberating, filled, t0_ns, thinker)
        assert cycle.plan is not None
        assert not cycle.plan.provisional
    assert thinker.words == ["full", "none", "none", "full", "none", "none", "full"]
    assert {samples for reasoning, samples in thinker.asked if reasoning == "none"} == {2}


def test_samples_that_disagree_are_a_reason(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(ON_DEMAND)
    cycles(deliberating, filled, t0_ns, thinker)
    thinker.apart = WIDE
    (cycle,) = cycles(deliberating, filled, t0_ns, thinker)
    assert thinker.words == ["full", "none", "full"]
    assert cycle.plan is not None
    assert cycle.plan.reasoning.text == "Keep lane."
    assert cycle.stage_ms["total"] >= cycle.stage_ms["provisional"] + cycle.stage_ms["infer"]


def test_another_route_and_a_doubt_of_somebody_else_are_reasons(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(replace(ON_DEMAND, every=100))
    cycles(deliberating, filled, t0_ns, thinker)
    filled.navigation = Navigation("turn_left", 80.0, "", 2**62)
    cycles(deliberating, filled, t0_ns, thinker)
    filled.navigation = Navigation("turn_left", 60.0, "", 2**62)
    cycles(deliberating, filled, t0_ns, thinker)
    cycles(deliberating, filled, t0_ns, thinker, doubt="the supervisor's state is degraded")
    assert thinker.words == ["full", "full", "none", "full"]


def test_a_new_epoch_is_a_reason(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(replace(ON_DEMAND, every=100))
    cycles(deliberating, filled, t0_ns, thinker)
    filled.new_epoch("for a test", "clock")
    cycles(deliberating, filled, drive(filled), thinker)
    assert thinker.words == ["full", "full"]


def test_a_quick_plan_that_fails_is_a_reason_and_a_reasoned_one_that_fails_is_told(
    filled: Buffers, t0_ns: int, thinker: Thinker
) -> None:
    deliberating = Deliberating(replace(ON_DEMAND, every=100))
    cycles(deliberating, filled, t0_ns, thinker)
    thinker.fails = "none"
    (cycle,) = cycles(deliberating, filled, t0_ns, thinker)
    assert cycle.plan is not None
    assert thinker.words == ["full", "none", "full"]
    thinker.fails = "full"
    (cycle,) = cycles(deliberating, filled, t0_ns, thinker, doubt="asked")
    assert (cycle.plan, cycle.refused) == (None, "no answer to full")
    thinker.fails = ""
    cycles(deliberating, filled, t0_ns, thinker)
    assert thinker.words[-1] == "none", "a cycle that failed to reason is asked again by the supervisor, not by the rule"


def test_a_provisional_plan_comes_first_and_is_refined(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    provisional, refined = cycles(Deliberating(Deliberation(provisional=True)), filled, t0_ns, thinker)
    assert provisional.plan is not None
    assert refined.plan is not None
    assert (provisional.plan.provisional, refined.plan.provisional) == (True, False)
    assert provisional.plan.t0_ns == refined.plan.t0_ns
    assert (provisional.plan.reasoning.text, refined.plan.reasoning.text) == ("", "Keep lane.")
    assert refined.stage_ms["total"] > provisional.stage_ms["total"]


def test_on_demand_a_provisional_plan_that_is_enough_is_final(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(replace(ON_DEMAND, provisional=True, every=100))
    assert [cycle.plan and cycle.plan.provisional for cycle in cycles(deliberating, filled, t0_ns, thinker)] == [True, False]
    assert [cycle.plan and cycle.plan.provisional for cycle in cycles(deliberating, filled, t0_ns, thinker)] == [False]
    thinker.apart = WIDE
    assert [cycle.plan and cycle.plan.provisional for cycle in cycles(deliberating, filled, t0_ns, thinker)] == [True, False]


def test_a_provisional_plan_that_is_rejected_is_not_handed_over(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    thinker.is_dead = True
    for cycle in cycles(Deliberating(Deliberation(provisional=True)), filled, t0_ns, thinker, request=Request(samples=2)):
        assert cycle.plan is not None
        assert not cycle.plan.provisional
    assert thinker.words == ["none", "full"]


def test_who_does_not_reason_has_nothing_to_refine(filled: Buffers, t0_ns: int, thinker: Thinker) -> None:
    deliberating = Deliberating(Deliberation(on_demand=True, provisional=True))
    for _ in range(2):
        assert len(cycles(deliberating, filled, t0_ns, thinker, request=Request(reasoning="none", samples=3))) == 1
    assert thinker.asked == [("none", 3), ("none", 3)]


def test_without_an_observation_nobody_is_asked(thinker: Thinker) -> None:
    filled = buffers()
    (cycle,) = cycles(Deliberating(ON_DEMAND), filled, drive(filled, seconds=0.5), thinker)
    assert (cycle.plan, thinker.asked) == (None, [])
    assert "front_wide" in cycle.refused


@pytest.mark.parametrize(
    "wrong", [{"every": 0}, {"samples": 0}, {"samples": 65}, {"spread_m": 0.0}, {"spread_m": float("nan")}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="want every >= 1"):
        Deliberation(**wrong)  # type: ignore[arg-type]


def test_one_sample_cannot_disagree() -> None:
    with pytest.raises(InvalidInput, match="samples >= 2 on demand, got 1"):
        Deliberation(on_demand=True, samples=1)
    assert Deliberation(provisional=True, samples=1)
