"""Golden plans: what differs is named with both values, what is the same passes, and the shipped files are what is planned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, made_evaluation

from alpamayo_ros.evaluation.openloop.golden import (
    TOLERANCES,
    Golden,
    GoldenPlan,
    compare,
    golden_plans,
    read_golden,
    write_golden,
)
from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, Evaluation, Setup
from alpamayo_ros.evaluation.openloop.windows import evaluate_bag
from alpamayo_ros.profile import read_rig, shared_files
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import Decision, InvalidInput, Request, Trajectory

NANO = shared_files() / "models" / "ar1_nano"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made_evaluation(bags=2, windows=9)


@pytest.fixture(scope="module")
def golden(evaluation: Evaluation) -> Golden:
    return golden_plans(evaluation, BUNDLE)


def with_first(golden: Golden, changed: Callable[[GoldenPlan], GoldenPlan]) -> Golden:
    return replace(golden, plans=(changed(golden.plans[0]), *golden.plans[1:]))


def nudged(plan: GoldenPlan, field: str, by: float) -> GoldenPlan:
    values = getattr(plan.trajectory, field).copy()
    values[12] += by
    return replace(plan, trajectory=replace(plan.trajectory, **{field: values}))


def test_first_middle_and_last_window_are_kept_and_come_back_from_a_file(
    evaluation: Evaluation, golden: Golden, tmp_path: Path
) -> None:
    first = evaluation.bags[0]
    assert [plan.t0_ns for plan in golden.plans] == [first.windows[i].t0_ns for i in (0, 4, 8)]
    write_golden(golden, tmp_path / "sub" / "golden.json")
    back = read_golden(tmp_path / "sub" / "golden.json")
    assert compare(golden, back) == []
    for kept, read in zip(golden.plans, back.plans, strict=True):
        for name, values in vars(kept.trajectory).items():
            assert np.array_equal(values, getattr(read.trajectory, name)), name
    write_golden(back, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "sub" / "golden.json").read_bytes()


def test_the_plans_of_the_same_windows_are_compared_in_whichever_bag_they_are(evaluation: Evaluation, golden: Golden) -> None:
    t0s = [plan.t0_ns for plan in golden.plans]
    shifted = replace(evaluation.bags[1], windows=evaluation.bags[1].windows[:3])
    assert compare(golden, golden_plans(replace(evaluation, bags=(shifted, evaluation.bags[0])), BUNDLE, t0s)) == []


@pytest.mark.parametrize("field", sorted(set(TOLERANCES) - {"scores"}))
def test_numbers_may_differ_by_their_tolerance_and_no_more(golden: Golden, field: str) -> None:
    within = with_first(golden, lambda plan: nudged(plan, field, 0.9 * TOLERANCES[field]))
    beyond = with_first(golden, lambda plan: nudged(plan, field, 1.5 * TOLERANCES[field]))
    assert compare(golden, within) == []
    (line,) = compare(golden, beyond)
    assert line.startswith(f"t0 2 s: trajectory.{field}[12]")


def test_a_difference_names_field_both_values_and_tolerance(golden: Golden) -> None:
    (line,) = compare(golden, with_first(golden, lambda plan: nudged(plan, "xyz", 0.5)))
    x = golden.plans[0].trajectory.xyz[12, 0]
    assert line == f"t0 2 s: trajectory.xyz[12][0]: golden {x:.6g}, here {x + 0.5:.6g}, tolerance 0.05 (2 more)"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda p: replace(p, reasoning=replace(p.reasoning, text="Stop.")), "t0 2 s: reasoning.text: golden 'Keep the lane"),
        (lambda p: replace(p, reasoning=replace(p.reasoning, tokens=3)), "reasoning.tokens: golden 9, here 3"),
        (
            lambda p: replace(p, reasoning=replace(p.reasoning, decision=Decision("yield"))),
            "reasoning.decision.longitudinal: golden None, here 'yield'",
        ),
        (lambda p: replace(p, meta_actions=p.meta_actions[:1]), "meta_actions: golden [{"),
        (lambda p: replace(p, chosen=(p.chosen + 1) % 6), "chosen: golden "),
        (lambda p: replace(p, scores=tuple(s + 0.1 for s in p.scores)), "scores[0]: golden "),
        (lambda p: replace(p, consistent=replace(p.consistent, agrees=None)), "consistent.agrees: golden "),
    ],
)
def test_words_and_decisions_must_be_the_same(golden: Golden, changed: Callable[[GoldenPlan], GoldenPlan], says: str) -> None:
    lines = compare(golden, with_first(golden, changed))
    assert any(says in line for line in lines), lines


def test_another_question_bundle_or_bag_is_named(golden: Golden) -> None:
    other = replace(golden, request=replace(golden.request, samples=1), weights="trained", bag_sha256="f" * 64, plans=())
    assert compare(golden, other) == [
        "weights: golden 'untrained', here 'trained'",
        "request.samples: golden 6, here 1",
        *(f"t0 {plan.at_s:g} s: no plan here" for plan in golden.plans),
        f"the bag is another one: golden sha256 000000000000, here {'f' * 12}",
    ]
    assert compare(golden, replace(golden, bag_sha256="f" * 64)) == [], "the same plans are the same"


def test_a_shorter_trajectory_differs(golden: Golden) -> None:
    def cut(plan: GoldenPlan) -> GoldenPlan:
        return replace(plan, trajectory=Trajectory(**{name: values[:5] for name, values in vars(plan.trajectory).items()}))

    assert len(compare(golden, with_first(golden, cut))) == 6, "every field of it"


def test_too_few_plans_are_refused(evaluation: Evaluation) -> None:
    (bag, *_) = evaluation.bags
    with pytest.raises(InvalidInput, match=f"want 3 plans of {BUNDLE} or more, bag_0 has 2"):
        golden_plans(replace(evaluation, bags=(replace(bag, windows=bag.windows[:2]),)), BUNDLE)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """The bag that the shipped files are of, planned for by the shipped bundle, the same without pictures, and the baseline."""
    bag = tmp_path_factory.mktemp("golden") / "bag"
    make_bag(bag, read_rig("seven_camera"), duration_s=4.0, seed=0)
    setup = Setup("seven_camera", (str(NANO),), "seven_camera", Request(samples=6), 2.0)
    return Evaluation(setup, (evaluate_bag(bag, setup),), {}, {})


def test_the_shipped_golden_plans_are_what_is_planned(planned: Evaluation) -> None:
    for path, name in {NANO / "golden.json": NANO.name, shared_files() / "config/golden/kinematic.json": KINEMATIC}.items():
        shipped = read_golden(path)
        t0s = [plan.t0_ns for plan in shipped.plans]
        assert compare(shipped, golden_plans(planned, name, t0s)) == []


def test_the_shipped_golden_plans_are_not_what_a_blindfolded_bundle_plans(planned: Evaluation) -> None:
    shipped = read_golden(NANO / "golden.json")
    lines = compare(shipped, golden_plans(planned, NANO.name + BLANKED, [plan.t0_ns for plan in shipped.plans]))
    assert any("trajectory.xyz" in line for line in lines)
    assert any("reasoning.text" in line for line in lines)
