"""Labels of the expert's windows: what was driven, why, and nothing that could not be known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from simulation.made import scenario

from alpamayo_ros import dynamics
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.episode import Episode, Planned
from alpamayo_ros.simulation.expert.intention import Cause, CauseKind, Intention
from alpamayo_ros.simulation.expert.label import (
    KEPT_SHARES,
    SURPRISE_LIMIT_M,
    Label,
    any_label,
    driven,
    figures,
    is_kept,
    label,
)
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.expert.wording import words
from alpamayo_ros.simulation.families import FAMILIES, make_scenario
from alpamayo_ros.simulation.navigation import command_at, navigation_at
from alpamayo_ros.simulation.scenario import Trigger
from alpamayo_ros.simulation.state import WHEELBASE_M, BodyKind, Ego, Snapshot
from alpamayo_ros.types import HORIZON, Decision, InvalidInput, Trajectory

KEEPS = Decision("set_speed_tracking", "lane_keeping")
CLEAR = (Cause("clear_road", ("road",), 0.0),)


def egos(
    seconds: float, accel_mps2: float, curvature_1pm: float, at: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> list[Ego]:
    """A unicycle's motion at 100 Hz, from 8 m/s, from a place and heading in the world."""
    n = round(seconds * 100)
    motion = dynamics.integrate(np.full(n, accel_mps2), np.full(n, curvature_1pm), 8.0, dt_s=0.01)
    cos, sin = np.cos(at[2]), np.sin(at[2])
    xy = motion.xy @ np.array([[cos, sin], [-sin, cos]]) + at[:2]
    steering = float(np.arctan(WHEELBASE_M * curvature_1pm))
    rows = zip(xy, motion.yaw_rad + at[2], motion.speed_mps, strict=True)
    return [Ego(place, float(yaw), float(speed), accel_mps2, steering) for place, yaw, speed in rows]


def episode(motion: Sequence[Ego], *planned: Planned) -> Episode:
    snapshots = tuple(Snapshot(0.1 * k, ego, (), ()) for k, ego in enumerate(motion[::10]))
    return Episode(scenario(), "expert", snapshots, tuple(motion), planned)


def planned(motion: Sequence[Ego], t0_s: float, trajectory: Trajectory | None = None, decision: Decision = KEEPS) -> Planned:
    """A plan of what is driven, unless another trajectory is given."""
    tick = round(t0_s * 100)
    if trajectory is None:
        trajectory = driven(motion[tick : tick + 641 : 10])
    return Planned(t0_s, motion[tick], trajectory, intention=Intention(trajectory, decision, CLEAR, "off"))


def labelled(motion: Sequence[Ego], plan: Planned) -> Label | None:
    return label(episode(motion, plan), plan, np.random.default_rng(0))


@pytest.mark.parametrize(("accel_mps2", "curvature_1pm"), [(0.0, 0.0), (0.9, 0.0), (-0.7, 0.02), (0.0, -0.06)])
def test_what_was_driven_is_the_unicycle_that_drove_it(accel_mps2: float, curvature_1pm: float) -> None:
    made = driven(egos(6.4, accel_mps2, curvature_1pm, at=(300.0, -40.0, 2.5))[::10])
    want = dynamics.trajectory(np.full(HORIZON, accel_mps2), np.full(HORIZON, curvature_1pm), 8.0)
    for name in ("t_s", "yaw_rad", "speed_mps", "accel_mps2", "curvature_1pm"):
        np.testing.assert_allclose(getattr(made, name), getattr(want, name), atol=1e-9, err_msg=name)
    np.testing.assert_allclose(made.xyz, want.xyz, atol=0.05)  # trapezoids of 0.1 s and of 0.01 s


def test_whoever_stands_has_the_curvature_of_their_wheels() -> None:
    steering = 0.3
    stands = [Ego(np.zeros(2), 1.0, 0.0, 0.0, steering)] * 65
    made = driven(stands)
    np.testing.assert_allclose(made.curvature_1pm, np.tan(steering) / WHEELBASE_M)
    assert not made.xyz.any()
    assert not made.accel_mps2.any()


def test_a_label_tells_what_was_intended_and_what_was_driven() -> None:
    motion = egos(12.0, 0.0, 0.0, at=(5.0, 6.0, -1.0))
    found = labelled(motion, planned(motion, 3.0))
    assert found is not None
    assert (found.t0_s, found.decision, found.causes) == (3.0, KEEPS, CLEAR)
    assert parse_trace(found.text, 0, complete=True).decision == KEEPS
    assert [action.action for action in found.meta_actions] == ["maintain_speed", "go_straight"]
    assert found.consistent.agrees is True
    assert found.surprise_m == 0.0
    assert found.components == parse_trace(found.text, 0, complete=True).components


def test_a_decision_that_was_not_driven_does_not_agree() -> None:
    motion = egos(12.0, -1.5, 0.0)
    found = labelled(motion, planned(motion, 3.0))
    assert found is not None
    assert found.consistent.agrees is False
    assert "strong_decelerate" in found.consistent.why_not


@pytest.mark.parametrize(("t0_s", "is_labelled"), [(1.9, False), (2.0, True), (3.6, True), (3.7, False)])
def test_a_label_wants_two_seconds_before_and_a_horizon_after(t0_s: float, is_labelled: bool) -> None:
    motion = egos(10.0, 0.0, 0.0)
    cut = [*motion, *egos(7.0, 0.0, 0.0)]  # a plan needs a future, the episode does not have it
    plan = planned(cut, t0_s)
    assert (labelled(motion, plan) is not None) is is_labelled


def test_no_label_where_the_expert_did_not_plan() -> None:
    motion = egos(12.0, 0.0, 0.0)
    assert labelled(motion, replace(planned(motion, 3.0), intention=None)) is None


def test_what_nobody_could_know_is_not_labelled() -> None:
    motion = egos(12.0, 0.0, 0.0)
    for off_m, is_labelled in ((SURPRISE_LIMIT_M - 0.01, True), (SURPRISE_LIMIT_M + 0.01, False)):
        other = driven(motion[300:941:10])
        plan = planned(motion, 3.0, replace(other, xyz=other.xyz + np.array([0.0, off_m, 0.0])))
        found = any_label(episode(motion, plan), plan, np.random.default_rng(0))
        assert found is not None
        assert found.surprise_m == pytest.approx(off_m)
        assert (labelled(motion, plan) is not None) is is_labelled


def test_figures_of_labels() -> None:
    keeps, brakes = egos(12.0, 0.0, 0.0), egos(12.0, -0.9, 0.0)
    found = [labelled(motion, planned(motion, 2.0 + 0.5 * k)) for motion in (keeps, brakes) for k in range(3)]
    counted = figures([label for label in found if label is not None])
    assert counted.labels == 6
    assert counted.longitudinal == {"set_speed_tracking": 1.0}
    assert counted.lateral == {"lane_keeping": 1.0}
    assert counted.consistency == sum(label.consistent.agrees is True for label in found if label) / 6
    with pytest.raises(InvalidInput):
        figures([])


def test_usual_decisions_are_thinned_out_and_rare_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    assert all(is_kept(Decision("yield", "maneuver_abort", "left"), rng) for _ in range(100))
    for (longitudinal, lateral), share in KEPT_SHARES.items():
        kept = np.mean([is_kept(Decision(longitudinal, lateral), rng) for _ in range(2000)])
        assert kept == pytest.approx(share, abs=0.05)


# -------------------------------------------------------------------------------------- what is cited was there to be seen


def drive(family: str, seed: int, duration_s: float) -> Episode:
    return run_episode(make_scenario(family, seed, duration_s), ExpertPolicy())


def in_sight(of: Episode) -> list[frozenset[str]]:
    return [visible(of.scenario, snapshot) for snapshot in of.snapshots]


def cited(of: Episode) -> Iterator[tuple[int, Intention]]:
    for plan in of.planned:
        assert plan.intention is not None
        yield round(plan.t0_s * 10), plan.intention


VEHICLES: set[BodyKind] = {"car", "truck", "motorcycle", "parked_car", "broken_down_car"}
CALLED: dict[CauseKind, set[BodyKind]] = {
    **dict.fromkeys(("lead", "slow_lead", "stopped_lead", "braking_lead", "crossing_vehicle", "oncoming_vehicle"), VEHICLES),
    **dict.fromkeys(("vehicle_alongside", "cut_in"), VEHICLES),
    **{kind: {kind} for kind in ("pedestrian", "child", "cyclist", "parked_car", "broken_down_car", "truck", "barrier")},
    "cones": {"cone"},
}


def is_so(cause: Cause, of: Episode, step: int) -> bool:
    """Whether a thing is what it is called at that step."""
    scenario, now, thing = of.scenario, of.snapshots[step], cause.things[0]
    bodies = {body.name: body for body in now.bodies}
    if thing.startswith("light"):
        return cause.kind == f"{now.lights[int(thing.split()[1])]}_light"
    if thing.startswith("sign"):
        kind = scenario.signs[int(thing.split()[1])].kind
        return cause.kind == {"stop": "stop_sign", "yield": "yield_sign", "advisory_speed": "advisory_sign"}.get(kind)
    if cause.kind == "curve":
        along, _ = scenario.route.locate(now.ego.xy_m)
        return bool(np.abs(scenario.route.curvature_1pm(along + np.arange(-10.0, 120.0))).max() > 0.0039)
    if cause.kind == "cut_in":
        return moves_over(thing, of, step)
    return cause.kind not in CALLED or bodies[thing].kind in CALLED[cause.kind]


def moves_over(name: str, of: Episode, step: int) -> bool:
    """Whether somebody, not the ego, has changed their place across the road, or says that they do, during the last 2 s."""
    past = [body for now in of.snapshots[max(step - 20, 0) : step + 1] for body in now.bodies if body.name == name]
    _, left = of.scenario.route.locate(np.array([body.xy_m for body in past]))
    return bool(np.ptp(left) > 0.3) or any(body.indicator != "off" for body in past)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_every_cause_was_in_sight_during_the_last_two_seconds_and_is_what_it_is_called(family: str) -> None:
    made = drive(family, seed=2, duration_s=6.5)
    sights = in_sight(made)
    plans = list(cited(made))
    assert len(plans) >= 8
    for step, intention in plans:
        known = frozenset().union(*sights[max(step - 20, 0) : step + 1])
        for cause in intention.causes:
            assert cause.things, cause
            assert known.issuperset(cause.things), (step, cause)
            assert is_so(cause, made, step), (step, cause)
            assert "route" not in cause.things or command_at(made.scenario, made.snapshots[step].ego), (step, cause)


def stops_after(of: Episode, t0_s: float) -> Episode:
    """The same scenario, but all others brake to a stand from t0 on."""
    others = tuple(replace(car, wishes=(*car.wishes, (Trigger(at_s=t0_s + 0.01), 0.0))) for car in of.scenario.vehicles)
    return run_episode(replace(of.scenario, vehicles=others), ExpertPolicy())


def texts(of: Episode, until_s: float) -> list[str]:
    told = ((0.1 * step, words(intention, np.random.default_rng(step))) for step, intention in cited(of))
    return [text for t_s, text in told if t_s <= until_s + 1e-6]


@pytest.mark.parametrize("family", ["follow_lead", "cut_in"])
def test_what_others_do_after_t0_changes_no_word(family: str) -> None:
    made, t0_s = drive(family, seed=5, duration_s=8.0), 4.0
    other = stops_after(made, t0_s)
    assert len(texts(made, t0_s)) == 5  # every 0.5 s from 2 s on
    assert texts(made, t0_s) == texts(other, t0_s)
    assert texts(made, 8.0) != texts(other, 8.0)  # it did matter


def nothing_starts(of: Episode) -> Episode:
    """The same scenario, but lights never turn and walkers never step out."""
    lights = tuple(replace(light, trigger=Trigger()) for light in of.scenario.lights)
    walkers = tuple(replace(walker, trigger=Trigger()) for walker in of.scenario.walkers)
    return run_episode(replace(of.scenario, lights=lights, walkers=walkers), ExpertPolicy())


def starts_s(of: Episode) -> float:
    """When a light turns or a walker sets off for the first time."""
    walkers = {walker.name for walker in of.scenario.walkers}
    first = of.snapshots[0].lights
    return next(
        now.t_s
        for now in of.snapshots
        if now.lights != first or any(body.speed_mps > 0 for body in now.bodies if body.name in walkers)
    )


@pytest.mark.parametrize("family", ["light_turns", "turn_across_walkers"])
def test_what_lights_and_walkers_do_after_t0_changes_no_word(family: str) -> None:
    made = drive(family, seed=1, duration_s=8.0)
    other, t0_s = nothing_starts(made), starts_s(made) - 0.1
    assert len(texts(made, t0_s)) >= 1
    assert texts(made, t0_s) == texts(other, t0_s)
    assert texts(made, 8.0) != texts(other, 8.0)  # it did matter


@pytest.mark.parametrize("family", ["turn_left", "turn_right", "leave_by_exit"])
def test_who_turns_off_for_the_route_is_told_so_by_navigation(family: str) -> None:
    """Also inside the turn, where words still name it."""
    made = drive(family, seed=2, duration_s=12.0)
    inside = [
        (step, along)
        for step, intention in cited(made)
        if any(cause.things == ("route",) for cause in intention.causes)
        if (along := float(made.scenario.route.locate(made.snapshots[step].ego.xy_m)[0])) > made.scenario.commands[0].at_m
    ]
    assert inside
    for step, along in inside:
        said = navigation_at(made.scenario, made.snapshots[step].ego, 0)
        assert said is not None, along
        assert said.distance_m == 0.0


@pytest.mark.parametrize("family", ["overtake", "roadworks"])
def test_who_returns_without_a_command_names_the_free_lane(family: str) -> None:
    made = drive(family, seed=1, duration_s=16.0)
    assert not made.scenario.commands
    told = [(intention, words(intention, np.random.default_rng(0))) for _, intention in cited(made)]
    assert not any("route" in text for _, text in told)
    assert any(cause.kind == "free_lane" and "lane is" in text for intention, text in told for cause in intention.causes)
