"""The numbers of a drive, by drives made by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from simulation.made import scenario

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.evaluation.metrics import COMFORT_BOUNDS, kept, quantities_by_actions
from alpamayo_ros.reasoning import consistent, meta_actions, parse_trace
from alpamayo_ros.simulation.episode import Episode, Incident, IncidentKind, Planned
from alpamayo_ros.simulation.judging.outcomes import Outcome, comfort_of, goal_share, outcome, plan_deviations_m, way_m
from alpamayo_ros.simulation.scenario import Scenario, Sign, Start
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, WIDTH_M, Body, Ego, Snapshot
from alpamayo_ros.simulation.vehicle.tracking import course_of, follow
from alpamayo_ros.types import HORIZON, STEP_S, Plan, Trajectory

OF = scenario()  # the street is the x axis; from 40 m to 180 m
WAY_M = OF.goal_m - 40.0
NONE = np.zeros(HORIZON)


def ego_at(x: float, y: float = 0.0, speed: float = 10.0, yaw: float = 0.0) -> Ego:
    return Ego(np.array([x, y]), yaw, speed)


def steady(metres: float, speed: float = 10.0, y: float = 0.0, yaw: float = 0.0) -> list[Ego]:
    """Every 0.01 s from the start of `OF`."""
    return [ego_at(40.0 + way, y, speed, yaw) for way in np.arange(0.0, metres + 1e-9, speed / 100)]


def episode(
    egos: list[Ego], *bodies: Body, of: Scenario = OF, incident: Incident | None = None, planned: tuple[Planned, ...] = ()
) -> Episode:
    snapshots = tuple(Snapshot(0.1 * k, ego, bodies, ()) for k, ego in enumerate(egos[::10]))
    return Episode(of, "made", snapshots, tuple(egos), planned, incident, warm_up_s=0.0)


def judged(drive: Episode) -> Outcome:
    """Where the expert came to the goal and no further."""
    return outcome(drive, WAY_M)


def plan_of(path: Trajectory, text: str) -> Plan:
    trace, actions = parse_trace(text, tokens=9, complete=True), meta_actions(path, float(path.speed_mps[0]))
    agreement = consistent(trace.decision, actions)
    return Plan(0, 0, "model", False, path, (path,), 0, (1.0,), trace, actions, agreement)  # noqa: FBT003


def planned(path: Trajectory | None, ego: Ego, t0_s: float, plan: Plan | None = None) -> Planned:
    return Planned(t0_s, ego, path, plan, refused="" if path else "late")


def test_a_clean_drive() -> None:
    clean = judged(episode(steady(70.0)))
    assert clean.driven_km == pytest.approx(0.070)
    assert clean.driven_s == pytest.approx(7.0)
    assert clean.progress == pytest.approx(70 / 140)
    assert clean.scene_score == pytest.approx(0.5 / 0.8)
    assert clean.min_distance_to_obstacle_m is None
    assert clean.incident_s is None
    assert clean.comfortable
    assert not any((clean.collision_any, clean.offroad, clean.close_encounter, clean.red_lights_run, clean.stop_signs_run))
    assert (clean.plan_deviation_m, clean.consistent, clean.consistent_by_chance) == (None, None, None)


@pytest.mark.parametrize(
    ("kind", "at_fault", "score"),
    [
        ("collision_front", True, 0.0),
        ("collision_lateral", True, 0.0),
        ("collision_rear", False, 0.625),
        ("offroad", False, 0.0),
    ],
)
def test_incidents_by_their_kind(kind: IncidentKind, at_fault: bool, score: float) -> None:
    ended = judged(episode(steady(70.0), incident=Incident(kind, 7.0, "car 1")))
    flags = {name: ended.values()[name] for name in ("collision_front", "collision_lateral", "collision_rear", "offroad")}
    assert flags == {name: name == kind for name in flags}
    assert ended.collision_any == (kind != "offroad")
    assert ended.collision_at_fault == at_fault
    assert ended.scene_score == pytest.approx(score)
    assert (ended.incident_s, ended.incident_with) == (7.0, "car 1")
    assert ended.close_encounter == ended.collision_any
    assert ended.min_distance_to_obstacle_m == (0.0 if ended.collision_any else None)


def test_a_failure_scores_nothing() -> None:
    failed = judged(replace(episode(steady(130.0)), failure="engine died"))
    assert (failed.scene_score, failed.failure) == (0.0, "engine died")
    assert judged(episode(steady(130.0))).scene_score == 1.0


def test_progress_is_of_the_route_and_stays_within_0_and_1() -> None:
    assert goal_share(episode(steady(200.0))) == 1.0
    assert goal_share(episode([ego_at(30.0)])) == 0.0
    assert goal_share(episode([ego_at(40.0)])) == pytest.approx(0.0)
    waits = replace(OF, start=Start(40.0, 0.0), goal_m=44.0)  # nearer than 5 m: nobody has to go there
    assert goal_share(episode([ego_at(40.0)], of=waits)) == 1.0


def test_who_leaves_the_route_makes_no_more_progress() -> None:
    straight, away = steady(20.0), steady(40.0, y=30.0)[2000:]
    assert goal_share(episode([*straight, *away])) == goal_share(episode(straight))


def test_the_warm_up_is_nobodys_merit_and_nobodys_fault() -> None:
    drive = replace(episode(steady(40.0), beside(0.3)), warm_up_s=2.0)  # past the parked car only later
    assert way_m(drive) == pytest.approx(20.0)
    assert judged(drive).progress == pytest.approx(20.0 / WAY_M)
    assert judged(drive).driven_km == pytest.approx(0.02)
    hit = replace(episode(steady(10.0), incident=Incident("collision_front", 1.0, "car 1")), warm_up_s=2.0)
    assert "a defect of the scene" in judged(hit).failure
    assert not judged(hit).collision_at_fault


def test_progress_is_measured_by_the_experts_way() -> None:
    half = episode(steady(70.0))
    assert outcome(half, 140.0).progress == pytest.approx(0.5)
    assert outcome(half, 70.0).progress == outcome(half, 35.0).progress == 1.0
    assert outcome(episode([ego_at(40.0)]), 4.0).progress == 1.0  # AlpaSim: who need not go anywhere has arrived


def beside(metres: float, x: float = 75.0) -> Body:
    """A car to the left of the ego's way, so far from its footprint."""
    return Body("parked", "parked_car", np.array([x, metres + 0.98 * WIDTH_M]), 0.0, 0.0)


def test_distances_to_what_is_passed() -> None:
    for metres, close in ((0.45, True), (0.55, False)):
        passed = judged(episode(steady(70.0), beside(metres)))
        assert passed.min_distance_to_obstacle_m == pytest.approx(metres)
        assert passed.close_encounter == close
        assert not passed.collision_any


def test_who_stands_has_no_encounters() -> None:
    stands = judged(episode([ego_at(75.0, speed=0.0)] * 21, beside(0.2)))
    assert stands.min_distance_to_obstacle_m == pytest.approx(0.2)
    assert not stands.close_encounter


def test_comfort_is_that_of_the_actions_driven() -> None:
    """The states of a unicycle at 10 Hz have its plan's comfort, bound by bound."""
    t = np.arange(HORIZON) * STEP_S
    seen = set()
    sharp, hard, bend = np.sin(t), np.where(t > 2, -3.0, 1.0), np.where(t > 1, 0.06, 0.0)
    for accel, curvature in ((sharp, 0.02 * sharp), (hard, NONE), (NONE, bend)):
        path = trajectory(accel, curvature, 12.0)
        states = [ego_at(0.0, speed=12.0)]
        states += [ego_at(0.0, speed=v, yaw=yaw) for v, yaw in zip(path.speed_mps, path.yaw_rad, strict=True)]
        expected = kept(quantities_by_actions(path.speed_mps, path.accel_mps2, path.curvature_1pm, STEP_S), COMFORT_BOUNDS)
        assert comfort_of([state for state in states for _ in range(10)]) == expected
        seen.add(tuple(expected.values()))
    assert len(seen) == 3


def test_turning_is_counted_by_what_was_turned_whatever_the_speed_did() -> None:
    """0.9 rad/s while braking to a stand: below nuPlan's 0.95 in every step."""
    t = np.arange(0.0, 3.01, STEP_S)
    states = [ego_at(0.0, speed=3.0 - s, yaw=0.9 * s) for s in t]
    assert comfort_of([state for state in states for _ in range(10)])["yaw_rate"]


def test_what_is_too_short_or_stands_is_comfortable() -> None:
    assert all(comfort_of([ego_at(0.0)]).values())
    assert all(comfort_of([ego_at(0.0, speed=0.0)] * 50).values())


def test_a_hard_stop_of_the_real_vehicle_is_uncomfortable() -> None:
    egos = [ego_at(40.0, speed=12.0)]
    course = course_of(trajectory(np.full(HORIZON, -6.0), NONE, 12.0), egos[0], 0.0)
    for tick in range(30):
        egos += follow(egos[-1], course, tick * STEP_S)
    hard = judged(episode(egos))
    assert not hard.comfortable
    assert not hard.comfort["lon_accel"]
    assert hard.comfort["yaw_rate"]
    assert hard.values()["comfort"] is False
    assert hard.values()["comfort_yaw_rate"] is True


def test_plans_deviate_from_the_ones_before_them_in_the_world() -> None:
    """The rest of a plan deviates by nothing, wherever it is drawn from; a metre to the left is a metre."""
    yaw, path = 0.8, trajectory(NONE, NONE, 10.0)
    forward, left = np.array([math.cos(yaw), math.sin(yaw)]), np.array([-math.sin(yaw), math.cos(yaw)])
    starts = [Ego(10.0 * t * forward + off * left, yaw, 10.0) for t, off in ((0.0, 0.0), (0.5, 0.0), (1.5, 1.0))]
    plans = [planned(path, ego, t) for ego, t in zip(starts, (0.0, 0.5, 1.5), strict=True)]
    assert plan_deviations_m(plans) == pytest.approx([0.0, 1.0])
    refused = planned(None, starts[1], 0.7)
    told = judged(episode(steady(70.0), planned=(*plans[:2], refused, plans[2])))
    assert told.plan_deviation_m == pytest.approx(0.5)
    assert (told.plans, told.refused) == (3, 1)


def test_plans_that_share_no_time_deviate_by_nothing_known() -> None:
    path = trajectory(NONE, NONE, 10.0)
    assert plan_deviations_m([planned(path, ego_at(0.0), 0.0), planned(path, ego_at(100.0), 10.0)]) == []


def test_traces_that_agree_with_their_plans_are_counted() -> None:
    path = trajectory(NONE, NONE, 10.0)
    texts = ("Keep lane since the road is clear.", "Stop for the red light ahead.")
    cycles = tuple(planned(path, ego_at(40.0), 0.5 * k, plan_of(path, text)) for k, text in enumerate(texts))
    assert judged(episode(steady(70.0), planned=cycles)).consistent == 0.5
    assert judged(episode(steady(70.0), planned=cycles[:1])).consistent == 1.0


def test_time_in_a_lane_that_leads_the_other_way() -> None:
    assert judged(episode(steady(20.0, y=3.5))).wrong_lane_s == 0.0
    assert judged(episode(steady(20.0, y=7.0))).wrong_lane_s == pytest.approx(2.1)  # 21 snapshots
    assert judged(episode(steady(20.0, y=7.0, yaw=math.pi))).wrong_lane_s == 0.0  # turned round, it is the right one
    assert judged(episode(steady(20.0, yaw=math.pi))).wrong_lane_s == pytest.approx(2.1)


def test_violations_are_counted() -> None:
    of = replace(OF, signs=(Sign("stop", 0, 60.0, -3.0, 60.0), Sign("stop", 0, 80.0, -3.0, 80.0)))
    ran = judged(episode(steady(70.0), of=of))
    assert (ran.stop_signs_run, ran.red_lights_run) == (2, 0)
    assert ran.scene_score > 0


def test_everything_is_flat_and_fit_for_json() -> None:
    told = judged(episode(steady(70.0), beside(0.3), incident=Incident("offroad", 7.0, "")))
    values = told.values()
    assert json.loads(json.dumps(values)) == values
    assert {"comfort", *(f"comfort_{bound}" for bound in COMFORT_BOUNDS)} <= values.keys()
    assert all(value is None or isinstance(value, str | int | float | bool) for value in values.values())


def test_the_footprint_is_ahead_of_the_rear_axle() -> None:
    """The distance to what stands ahead counts from the bumper."""
    wall = Body("wall", "barrier", np.array([40.0 + FRONT_M + 5.25, 0.0]), 0.0, 0.0)  # 2 m long, 2 % shorter
    near = judged(episode([ego_at(40.0, speed=0.0)], wall)).min_distance_to_obstacle_m
    assert near == pytest.approx(4.25 + 0.01 * (REAR_M + FRONT_M) + 0.01 * 2.0)
