"""Drawings: what is drawn is what was measured, driven motion is the vehicle's, names never get into a drawing."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, made_evaluation, trajectory

from alpamayo_ros.evaluation.metrics import COMFORT_BOUNDS, FEASIBLE_BOUNDS, Driven
from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.evaluation.openloop.summary import summarise
from alpamayo_ros.evaluation.report.drives import DRIVEN_POINTS, driven_motion, drives
from alpamayo_ros.evaluation.report.figures import ALARM, Plot, thinned
from alpamayo_ros.evaluation.report.plots import plots
from alpamayo_ros.evaluation.report.tables import NOTHING


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return made_evaluation(bags=1, windows=20)


@pytest.fixture(scope="module")
def drawn(made: Evaluation) -> tuple[Plot, ...]:
    return plots(made, summarise(made))


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_every_bound_has_the_share_of_plans_that_leave_it(made: Evaluation, drawn: tuple[Plot, ...]) -> None:
    summary = summarise(made)
    (bounds_left,) = (plot for plot in drawn if "Bounds" in plot.title)
    means = [
        judged.mean(f"{stem}_{name}")
        for stem, bounds in (("comfort", COMFORT_BOUNDS), ("feasible", FEASIBLE_BOUNDS))
        for judged in summary.contenders
        for name in bounds
    ]
    left = [100 * (1 - mean) for mean in means if mean is not None]
    assert any(share > 10 for share in left)
    for share in left:
        assert (f"{share:.1f}" if share else "0") in words(bounds_left.svg)


def test_a_contender_without_a_plan_is_not_perfect(made: Evaluation) -> None:
    (bag,) = made.bags
    windows = tuple(
        replace(w, plans={name: plan for name, plan in w.plans.items() if name == BUNDLE}, refused={}) for w in bag.windows
    )
    mute = replace(made, bags=(replace(bag, windows=windows),))
    (bounds_left,) = (plot for plot in plots(mute, summarise(mute)) if "Bounds" in plot.title)
    assert words(bounds_left.svg).count(NOTHING) == 2 * (len(COMFORT_BOUNDS) + len(FEASIBLE_BOUNDS)), "of the other two"


def test_a_deadline_is_in_the_drawing(made: Evaluation, drawn: tuple[Plot, ...]) -> None:
    with_deadline = plots(made, summarise(made, {BUNDLE: 50.0}))[-1]
    assert any("deadline, 50 ms" in text for text in words(with_deadline.svg))
    assert not any("deadline" in text for text in words(drawn[-1].svg))
    far = plots(made, summarise(made, {BUNDLE: 5000.0}))[-1]
    assert any("far to the right: its deadline, 5000 ms" in text for text in words(far.svg))
    assert ALARM in with_deadline.svg
    assert ALARM not in far.svg, "the axis is that of the answers"


def test_a_drawing_of_nothing_says_so(drawn: tuple[Plot, ...]) -> None:
    short = made_evaluation(bags=1, windows=6)  # no future is known to 6.4 s
    nothing = "no window reaches this horizon"
    said = [words(plot.svg).count(nothing) for plot in plots(short, summarise(short))]
    assert said == [1, 1, 2, 0, 0], "minADE_6, where plans end, both distributions"
    assert not any(nothing in words(plot.svg) for plot in drawn)


def test_no_name_is_in_a_drawing(made: Evaluation, drawn: tuple[Plot, ...]) -> None:
    (bag,) = made.bags
    every = (*drawn, *drives([replace(bag, bag="secret")], BUNDLE))
    assert not any("made" in plot.svg or "secret" in plot.svg for plot in every)


def test_driven_motion_is_that_of_the_vehicle(made: Evaluation) -> None:
    (bag,) = made.bags
    true = trajectory(8.0, 0.05, 1.5)
    first = replace(bag.windows[0], driven=Driven(true.xyz, true.yaw_rad, true.speed_mps))
    ego = replace(first.ego_t0, velocity_mps=np.array([8.0, 0.0, 0.0]))
    motion = driven_motion(bag, replace(first, ego_t0=ego), 0.5)
    speed, accel, curvature = motion.curves
    np.testing.assert_allclose(motion.t_s, [2.1, 2.2, 2.3, 2.4, 2.5], atol=1e-9)
    np.testing.assert_allclose(speed, true.speed_mps[:5])
    np.testing.assert_allclose(accel, 1.5, atol=1e-9)
    np.testing.assert_allclose(curvature, 0.05, rtol=1e-3)  # a chord is a little shorter than its arc


def test_a_vehicle_that_stands_has_no_curvature_and_one_without_a_future_no_motion(made: Evaluation) -> None:
    (bag,) = made.bags
    stands, nothing = Driven(np.zeros((9, 3)), np.zeros(9), np.zeros(9)), Driven(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    assert np.isnan(driven_motion(bag, replace(bag.windows[0], driven=stands), np.inf).curves[2]).all()
    assert len(driven_motion(bag, replace(bag.windows[0], driven=nothing), np.inf).t_s) == 0


@pytest.mark.parametrize("length", [0, 1, DRIVEN_POINTS, DRIVEN_POINTS + 1, 10 * DRIVEN_POINTS + 7])
def test_thinned_leaves_at_most_so_many_evenly(length: int) -> None:
    some = thinned(np.arange(length, dtype=np.float64), DRIVEN_POINTS)
    assert len(some) <= DRIVEN_POINTS
    assert len(some) >= min(length, DRIVEN_POINTS // 2)
    assert len(set(np.diff(some).tolist())) <= 1
