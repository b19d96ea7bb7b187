"""What the expert does and why, on small scenes written by hand."""

from dataclasses import replace

import numpy as np
import pytest
from simulation.expert.on_plan import Step, driven, onward
from simulation.made import LIMIT_MPS, scenario, snapshot, street

from alpamayo_ros.simulation.expert import Expert
from alpamayo_ros.simulation.expert.sight import visible
from alpamayo_ros.simulation.road import Lane, Piece, Road, Strip
from alpamayo_ros.simulation.scenario import (
    Command,
    Crosswalk,
    Scenario,
    Sign,
    Standing,
    Start,
    TrafficLight,
    Trigger,
    Vehicle,
    Walker,
)
from alpamayo_ros.simulation.state import FRONT_M, WIDTH_M, Body
from alpamayo_ros.types import InvalidInput

LINE_M = 120.0
LIGHT = TrafficLight(0, LINE_M, ("ego", "left"), (("red", 60.0), ("green", 60.0)), 0.0, (132.0, -4.5))


def kinds(step: Step) -> list[str]:
    return [cause.kind for cause in step.intention.causes]


def decisions(steps: list[Step], axis: str) -> list[str]:
    return list(dict.fromkeys(getattr(step.intention.decision, axis) for step in steps))


def two_way() -> Road:
    """One lane in each direction and a line between that may be crossed."""
    lanes = (
        Lane("ego", 0.0, 0.0, 300.0, LIMIT_MPS, left_paint="dashed"),
        Lane("oncoming", 3.5, 0.0, 300.0, LIMIT_MPS, oncoming=True, right_paint="dashed"),
    )
    return Road("street", (Piece(300.0, 0.0),), lanes, (Strip("parking", 0.0, 300.0, -3.95, -1.75),))


def test_an_empty_road_is_driven_at_the_limit_in_the_lane() -> None:
    steps = driven(scenario(start=Start(40.0, 8.0, 0.3)), 12.0)
    assert {(s.intention.decision.longitudinal, s.intention.decision.lateral) for s in steps} == {
        ("set_speed_tracking", "lane_keeping")
    }
    assert kinds(steps[0]) == ["clear_road"]
    assert steps[-1].now.ego.speed_mps == pytest.approx(LIMIT_MPS, abs=0.2)
    assert abs(steps[-1].left_m) < 0.02
    assert max(s.now.ego.speed_mps for s in steps) <= LIMIT_MPS


def test_it_stops_before_a_red_light_and_goes_when_it_is_green() -> None:
    steps = driven(scenario(lights=(LIGHT,)), 22.0, colours=lambda t_s: "red" if t_s < 15.0 else "green")
    standing = [s for s in steps if s.now.t_s < 15.0][-1]
    assert standing.now.ego.speed_mps == 0.0
    assert 0.2 < LINE_M - standing.along_m - FRONT_M < 2.0
    assert standing.intention.decision.longitudinal == "stop_for_static_constraints"
    assert kinds(standing) == ["red_light"]
    assert np.ptp(standing.intention.trajectory.xyz) == 0.0, "the plan stands"
    assert (steps[30].intention.decision.longitudinal, kinds(steps[30])) == ("set_speed_tracking", ["green_light"])
    assert steps[-1].along_m > LINE_M


@pytest.mark.parametrize(("away_m", "stops"), [(40.0, True), (10.0, False)])
def test_a_yellow_light_stops_who_can_stop(away_m: float, stops: bool) -> None:
    of = scenario(lights=(LIGHT,), start=Start(LINE_M - FRONT_M - away_m, 10.0))
    step = driven(of, 0.1, colours=lambda _: "yellow")[0]
    assert ("yellow_light" in kinds(step)) == stops
    assert (step.intention.trajectory.speed_mps[-1] < 3.0) == stops


def test_it_stands_at_a_stop_sign_before_it_goes_on() -> None:
    steps = driven(scenario(signs=(Sign("stop", 0, LINE_M, -3.0, stop_line_m=LINE_M),)), 20.0)
    stands = [s for s in steps if s.now.ego.speed_mps < 0.01]
    assert len(stands) >= 2
    assert all(0.0 < LINE_M - s.along_m - FRONT_M < 2.0 for s in stands)
    assert kinds(stands[0]) == ["stop_sign"]
    assert steps[-1].along_m > LINE_M


def test_a_stop_sign_that_was_never_seen_is_not_obeyed() -> None:
    """It stands behind a lorry at the kerb, until the ego is past its line."""
    sign = Sign("stop", 0, LINE_M, -4.5, stop_line_m=LINE_M - 14.0)
    lorry = Standing("lorry", "truck", 0, LINE_M - 5.0, -3.4)
    hidden, alone = scenario(signs=(sign,), standing=(lorry,)), scenario(standing=(lorry,))
    assert not any("sign 0" in visible(hidden, snapshot(hidden, along_m=along)) for along in (40.0, 70.0, 95.0))
    plans = [driven(of, 0.1)[0].intention for of in (hidden, alone)]
    assert plans[0].trajectory.xyz.tobytes() == plans[1].trajectory.xyz.tobytes()
    seen = driven(scenario(signs=(sign,)), 14.0)
    assert any(step.now.ego.speed_mps < 0.01 for step in seen)


@pytest.mark.parametrize("radius_m", [150.0, -120.0])
def test_the_egos_own_change_of_lanes_is_no_curve(radius_m: float) -> None:
    """A quick change is steered much more than the road bends, which may be driven faster than the limit."""
    hasty = Command("keep_left", 0.0, 84.0, 3.5)
    bend = street(Piece(10.0, 1.0 / radius_m), Piece(290.0, 1.0 / radius_m))
    steps = driven(scenario(roads=(bend,), start=Start(40.0, LIMIT_MPS), commands=(hasty,)), 3.0)
    assert steps[-1].left_m > 2.0
    assert "curve" not in {kind for step in steps for kind in kinds(step)}


@pytest.mark.parametrize("speed_mps", [0.0, 4.0])
def test_it_keeps_its_distance_to_who_is_ahead(speed_mps: float) -> None:
    steps = driven(scenario(roads=(two_way(),), vehicles=(Vehicle("lead", "car", 0, "ego", 100.0, speed_mps),)), 15.0, onward)
    gaps = [100.0 + speed_mps * s.now.t_s - 2.4 - s.along_m - FRONT_M for s in steps]
    assert min(gaps) >= 2.0
    assert gaps[-1] < 20.0
    assert "lead_obstacle_following" in decisions(steps, "longitudinal")


def test_bends_are_taken_slowly_enough() -> None:
    of = scenario(roads=(street(Piece(100.0, 0.0), Piece(12.0, 0.04), Piece(30.0, 0.04), Piece(12.0, 0.0), Piece(150.0, 0.0)),))
    steps = driven(of, 20.0)
    for step in steps:
        plan = step.intention.trajectory
        assert np.abs(plan.speed_mps**2 * plan.curvature_1pm).max() < 2.2
    assert "speed_adaptation" in decisions(steps, "longitudinal")
    assert ("curve", "left") in {(cause.kind, cause.side) for step in steps for cause in step.intention.causes}


def walking(left_m: float, speed_mps: float) -> Scenario:
    """Somebody beside a crosswalk, facing the road; how fast they walk is up to the snapshots."""
    walker = Walker("walker", "pedestrian", 0, 100.0, left_m, -left_m, speed_mps, Trigger(at_s=0.0))
    return scenario(crosswalks=(Crosswalk(0, 98.0, 102.0),), walkers=(walker,))


def walks(body: Body, t_s: float) -> Body:
    return onward(replace(body, speed_mps=1.4), t_s)


def test_it_lets_walkers_cross() -> None:
    steps = driven(walking(-5.0, 1.4), 16.0, walks)
    while_crossing = [s for s in steps if -5.0 + 1.4 * s.now.t_s < 1.5]
    assert all(s.along_m + FRONT_M < 98.0 for s in while_crossing)
    assert steps[2].intention.decision.longitudinal == "yield"
    assert kinds(steps[2]) == ["pedestrian"]
    assert steps[-1].along_m > 102.0


def test_whoever_waits_at_a_crosswalk_is_about_to_cross_but_not_for_ever() -> None:
    steps = driven(walking(-3.5, 1.4), 25.0)
    assert any(s.now.ego.speed_mps == 0.0 and s.along_m + FRONT_M < 98.0 for s in steps)
    assert steps[-1].along_m > 102.0


def test_it_passes_a_badly_parked_car_within_its_lane() -> None:
    edge = -1.2
    of = scenario(standing=(Standing("parked", "parked_car", 0, 110.0, edge - WIDTH_M / 2),))
    steps = driven(of, 15.0)
    beside = [s.left_m for s in steps if abs(s.along_m + 1.4 - 110.0) < 4.8]
    assert min(beside) - WIDTH_M / 2 - edge >= 0.6
    assert max(beside) + WIDTH_M / 2 < 1.75
    nudging = next(s for s in steps if s.intention.decision.lateral == "in_lane_nudge")
    assert (nudging.intention.decision.direction, kinds(nudging)) == ("left", ["parked_car"])
    assert abs(steps[-1].left_m) < 0.05


def test_it_waits_for_who_comes_the_other_way_before_it_goes_round_an_obstacle() -> None:
    broken = Standing("breakdown", "broken_down_car", 0, 110.0, -0.3)
    free = driven(scenario(roads=(two_way(),), standing=(broken,)), 15.0)
    met = driven(
        scenario(roads=(two_way(),), standing=(broken,), vehicles=(Vehicle("other", "car", 0, "oncoming", 180.0, 9.0),)),
        22.0,
        onward,
    )
    assert all(s.intention.decision.longitudinal != "yield" for s in free)
    assert "out_of_lane_nudge" in decisions(free, "lateral")
    waiting = [s for s in met if s.intention.decision.longitudinal == "yield"]
    assert kinds(waiting[0])[0] == "oncoming_vehicle"
    for step in met:
        other_m = 180.0 - 9.0 * step.now.t_s
        assert step.left_m < 0.6 or abs(other_m - step.along_m) > 6.0
    assert met[-1].along_m > 125.0


WANTED = Command("keep_left", 0.0, 200.0, 3.5)


@pytest.mark.parametrize("beside", [True, False])
def test_it_changes_lane_only_into_a_gap(beside: bool) -> None:
    others = (Vehicle("other", "car", 0, "left", 41.0, 8.0),) if beside else ()
    steps = driven(scenario(commands=(WANTED,), vehicles=others), 2.0, onward)
    assert steps[0].intention.indicator == "left"
    if beside:
        assert {s.intention.decision.lateral for s in steps} == {"lane_keeping"}
        assert (steps[0].intention.decision.longitudinal, kinds(steps[0])) == (
            "gap_searching",
            ["vehicle_alongside", "lane_wanted"],
        )
    else:
        assert (steps[0].intention.decision.lateral, steps[0].intention.decision.direction) == ("lane_change", "left")
        assert steps[0].intention.trajectory.xyz[-1, 1] == pytest.approx(3.5, abs=0.1)


def test_it_gives_up_a_change_whose_place_is_taken() -> None:
    third = Lane("left 2", 7.0, 0.0, 300.0, LIMIT_MPS, right_paint="dashed")
    road = street()
    road = replace(road, lanes=(road.lanes[0], replace(road.lanes[1], left_paint="dashed"), third))
    of = scenario(roads=(road,), commands=(WANTED,), vehicles=(Vehicle("taker", "car", 0, "left 2", 40.0, 10.0),))

    def takes(body: Body, t_s: float) -> Body:
        across = np.clip((t_s - 1.0) / 2.0, 0.0, 1.0)
        slope = -3.5 / 2.0 / 10.0 if 0.0 < across < 1.0 else 0.0
        return replace(body, xy_m=body.xy_m + np.array([9.0 * t_s, -3.5 * across]), yaw_rad=slope)

    steps = driven(of, 6.0, takes)
    aborting = [s for s in steps if s.intention.decision.lateral == "maneuver_abort"]
    assert aborting
    assert aborting[0].intention.decision.direction == "left"
    assert kinds(aborting[0])[0] == "vehicle_alongside"
    assert max(s.left_m for s in steps) < 2.0
    assert abs(steps[-1].left_m) < 0.3


def test_it_passes_somebody_slow() -> None:
    steps = driven(scenario(vehicles=(Vehicle("truck", "truck", 0, "ego", 80.0, 4.0),)), 12.0, onward)
    assert "acceleration_for_passing" in decisions(steps, "longitudinal")
    assert ("lane_change", "left") in {(s.intention.decision.lateral, s.intention.decision.direction) for s in steps}
    assert steps[-1].along_m > 80.0 + 4.0 * 12.0


def test_it_pulls_over_to_the_kerb_and_stays_there() -> None:
    of = scenario(commands=(Command("pull_over", 60.0, 120.0, -2.85),))
    steps = driven(of, 22.0)
    assert steps[-1].now.ego.speed_mps == 0.0
    assert steps[-1].left_m == pytest.approx(-2.85, abs=0.05)
    assert steps[-1].along_m == pytest.approx(120.0, abs=2.0)
    assert ("pull_over", "right") in {(s.intention.decision.lateral, s.intention.decision.direction) for s in steps}
    assert kinds(steps[-1]) == ["kerb"]


def test_what_cannot_be_seen_is_not_known() -> None:
    """A pedestrian behind a lorry at the kerb is no reason for anything."""
    walker = Walker("walker", "pedestrian", 0, 70.0, -4.2, 9.0, 1.4, Trigger(at_s=0.0))
    lorry = Standing("lorry", "truck", 0, 62.0, -3.2)
    hidden, alone = scenario(walkers=(walker,), standing=(lorry,)), scenario(standing=(lorry,))
    plans = [driven(of, 0.1)[0].intention for of in (hidden, alone)]
    assert plans[0].causes == plans[1].causes
    assert plans[0].trajectory.xyz.tobytes() == plans[1].trajectory.xyz.tobytes()


def test_it_refuses_to_plan_blind_or_to_see_the_past() -> None:
    of = scenario()
    expert = Expert(of)
    with pytest.raises(InvalidInput, match="nothing seen"):
        expert.plan()
    expert.see(snapshot(of, 1.0))
    with pytest.raises(InvalidInput, match=r"0\.9 s after one of 1\.0 s"):
        expert.see(snapshot(of, 0.9))
