"""The supervisor as a specification: one test per transition and per rule. Times are those of `supervised.TIMING`."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from safety.supervised import BAD, HARSH, LAG_MS, MS, SHADOWED, TIMING, Drive, driving, engaged, stopped

from alpamayo_ros.safety.contract import State
from alpamayo_ros.safety.stop import StopSettings, odom_path, stop
from alpamayo_ros.safety.supervisor import TRANSITIONS
from alpamayo_ros.types import HORIZON

SHIFTED_1PM = 0.03
"""A plan that is 1 m beside a straight one after 1 s at 8 m/s: V14 rejects it, and nothing else does."""


def has(reasons: tuple[str, ...], *words: str) -> bool:
    return all(any(word in reason for reason in reasons) for word in words)


# --- init and warmup ----------------------------------------------------------------------------------------------------


def test_it_begins_in_init_and_says_nothing() -> None:
    drive = Drive(odometry=False)
    assert drive.go(5000) == []
    assert drive.state == "init"


def test_the_first_pose_ends_init() -> None:
    drive = Drive()
    (said,) = drive.go(1000)
    assert (said.state, said.source, said.reasons) == ("warmup", None, ("no plan was accepted yet",))
    assert said.stamp_ns == drive.ros_ns - 990 * MS


def test_so_does_the_first_cycle() -> None:
    drive = Drive(odometry=False)
    said = drive.refuse("front_wide: no frames", "rear_tele: no frames")
    assert (said.state, said.valid) == ("warmup", False)
    assert said.reasons == ("front_wide: no frames", "rear_tele: no frames")
    assert said.stamp_ns == drive.ros_ns - LAG_MS * MS


def test_the_first_accepted_plan_ends_warmup_and_is_published() -> None:
    drive = Drive()
    drive.go(100)
    said = drive.plan()
    assert (said.state, said.source, said.reasons, said.findings) == ("nominal", "model", (), ())
    assert said.trajectory is not None
    assert said.plan is not None
    assert said.trajectory is said.plan.trajectory
    assert said.ego is not None
    assert said.stamp_ns == said.plan.t0_ns == said.ego.stamp_ns
    assert said.epoch == drive.epoch
    assert not said.engaged


def test_a_rejected_plan_does_not_end_warmup() -> None:
    drive = Drive()
    drive.go(100)
    said = drive.plan(BAD)
    assert (said.state, said.valid, said.plan) == ("warmup", False, None)
    assert drive.go(3000) == []


# --- plans: accepted and rejected ---------------------------------------------------------------------------------------


def test_a_finding_that_warns_degrades_and_says_so() -> None:
    drive = driving()
    drive.go(100)
    said = drive.plan(HARSH)
    assert (said.state, said.source, said.findings) == ("degraded", "model", (HARSH,))
    assert said.reasons == ("V6 acceleration: 2.5 m/s^2 at 0.4 s, warn limit 2",)


def test_what_the_caller_warns_of_degrades_too() -> None:
    drive = driving()
    drive.go(100)
    said = drive.plan(warnings=("rear_tele: left out",))
    assert (said.state, said.source, said.reasons) == ("degraded", "model", ("rear_tele: left out",))


def test_a_good_plan_ends_a_degradation() -> None:
    drive = driving()
    drive.go(100)
    drive.plan(HARSH)
    (said,) = drive.plans(1)
    assert (said.state, said.reasons) == ("nominal", ())


def test_findings_in_shadow_are_told_and_decide_nothing() -> None:
    drive = driving()
    drive.go(100)
    said = drive.plan(SHADOWED, replace(SHADOWED, level="warn"))
    assert (said.state, said.source, said.reasons) == ("nominal", "model", ())
    assert len(said.findings) == 2


def test_every_reason_against_a_plan_is_listed() -> None:
    drive = driving()
    drive.go(1250)
    said = drive.plan(BAD, replace(BAD, check="V8", name="lateral jerk"), HARSH, lag_ms=1400)
    assert not said.valid
    assert has(said.reasons, "V7 lat", "V8 lat", "V2 ", "I4: t0 100 ms before", "V6 acc")
    assert {finding.check for finding in said.findings} == {"V7", "V8", "V6", "V2"}


def test_a_rejected_plan_is_not_published_and_the_last_one_is_held_at_once() -> None:
    drive = driving()
    drive.go(100)
    said = drive.plan(BAD)
    assert (said.state, said.valid, said.reasons) == ("degraded", False, (str(BAD),))
    held = drive.tick()
    assert held is not None
    assert (held.state, held.source) == ("degraded", "hold")
    assert held.reasons == ("held: no plan accepted for 100 ms", str(BAD))


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_plan_of_another_epoch_is_refused(epoch: int) -> None:
    drive = driving()
    drive.go(100)
    said = drive.plan(epoch=epoch)
    assert not said.valid
    assert has(said.reasons, "V2 epochs apart")


@pytest.mark.parametrize("older_ms", [0, 10])
def test_a_plan_must_be_newer_than_the_last_one_that_was_accepted(older_ms: int) -> None:
    drive = driving()
    said = drive.plan(lag_ms=LAG_MS + older_ms)
    assert not said.valid
    assert said.reasons == (f"I4: t0 {older_ms} ms before that of the last plan that passed, want a newer one",)


def test_a_plan_refines_a_provisional_one_of_its_t0_once() -> None:
    drive = driving()
    drive.go(100)
    assert [drive.plan(provisional=True).valid for _ in range(2)] == [True, False], "nothing refines itself"
    drive.go(30)
    refined = drive.plan(lag_ms=LAG_MS + 30, accel_mps2=0.5)
    assert refined.valid
    assert refined.trajectory is not None
    assert refined.trajectory.accel_mps2[0] == pytest.approx(0.5)
    assert not drive.plan(lag_ms=LAG_MS + 30).valid
    assert not drive.plan(lag_ms=LAG_MS + 30, provisional=True).valid


def test_a_refined_plan_that_is_rejected_leaves_the_provisional_one_to_be_held() -> None:
    drive = driving()
    drive.go(100)
    provisional = drive.plan(provisional=True)
    assert not drive.plan(BAD).valid
    held = drive.tick()
    assert held is not None
    assert (held.source, held.plan) == ("hold", provisional.plan)


def test_a_refined_plan_is_no_second_one_in_a_row() -> None:
    drive = driving()
    drive.go(TIMING.stop_after_ns // MS + 100)
    for number in range(1, TIMING.recover_plans + 1):
        drive.go(100)
        said = [drive.plan(provisional=True), drive.plan()]
        assert [each.valid for each in said] == [number == TIMING.recover_plans] * 2, number


def test_a_plan_may_be_a_little_ahead_of_the_clock_and_not_more() -> None:
    assert driving().plan(lag_ms=-100).valid
    said = driving().plan(lag_ms=-101)
    assert not said.valid
    assert has(said.reasons, "V2 t0 in the future")


def test_an_old_plan_is_a_warning_and_then_refused() -> None:
    for lag_ms, state, valid in ((500, "nominal", True), (501, "degraded", True), (1001, "warmup", False)):
        drive = Drive()
        drive.go(100)
        said = drive.plan(lag_ms=lag_ms)
        assert (said.state, said.valid) == (state, valid), lag_ms


def test_a_plan_far_beside_the_one_before_is_rejected_and_the_next_like_it_begins_a_stop() -> None:
    drive = driving()
    first, second = drive.plans(2, curvature_1pm=SHIFTED_1PM)
    assert (first.state, first.valid) == ("degraded", False)
    assert has(first.reasons, "V14 shift to the side")
    assert (second.state, second.valid) == ("stopping", False)
    assert has(second.reasons, "V14 shift to the side")
    said = drive.tick()
    assert said is not None
    assert said.source == "stop"
    assert said.reasons[0] == "2 plans in a row rejected by V14"


def test_plans_that_agree_with_one_another_get_out_of_that_stop() -> None:
    drive = driving()
    drive.plans(2, curvature_1pm=SHIFTED_1PM)
    assert [said.state for said in drive.plans(3, curvature_1pm=SHIFTED_1PM)] == ["stopping", "stopping", "nominal"]


def test_plans_that_always_refine_theirs_too_far_begin_a_stop_though_provisional_ones_pass() -> None:
    drive = driving()
    states = []
    for _ in range(2):
        drive.go(100)
        assert drive.plan(provisional=True).valid
        states.append(drive.plan(curvature_1pm=SHIFTED_1PM).state)
    assert states == ["degraded", "stopping"]


def test_two_shifted_plans_of_one_t0_are_one_shift() -> None:
    drive = driving()
    drive.go(100)
    both = [drive.plan(curvature_1pm=SHIFTED_1PM, provisional=is_provisional) for is_provisional in (True, False)]
    assert [said.state for said in both] == ["degraded", "degraded"]
    assert drive.plans(1, curvature_1pm=SHIFTED_1PM)[0].state == "stopping"


def test_a_t0_of_which_a_plan_was_rejected_does_not_help_out_of_a_stop() -> None:
    drive = driving()
    drive.go(TIMING.stop_after_ns // MS + 100)
    for _ in range(2 * TIMING.recover_plans):
        drive.go(100)
        assert not drive.plan(provisional=True).valid
        assert drive.plan(BAD).state == "stopping"


def test_a_plan_rejected_for_something_else_comes_between_two_shifts() -> None:
    drive = driving()
    drive.plans(1, curvature_1pm=SHIFTED_1PM)
    drive.go(100)
    drive.plan(BAD)
    (said,) = drive.plans(1, curvature_1pm=SHIFTED_1PM)
    assert said.state == "degraded"


def test_a_shift_in_shadow_does_not_count() -> None:
    drive = driving()
    for _ in range(3):
        drive.go(100)
        said = drive.plan(replace(BAD, check="V14", shadow=True))
    assert said.state == "nominal"


# --- holds --------------------------------------------------------------------------------------------------------------


def test_a_missing_plan_is_held_after_a_while_every_100_ms() -> None:
    drive = driving()
    assert drive.go(200) == []
    said = drive.go(300)
    assert [(one.state, one.source) for one in said] == [("degraded", "hold")] * 3
    assert said[0].reasons == ("held: no plan accepted for 210 ms",)
    assert [one.reasons[0][-6:] for one in said] == ["210 ms", "310 ms", "410 ms"]


def test_a_hold_is_the_rest_of_its_plan_with_its_stamp() -> None:
    drive = driving()
    drive.go(100)
    published = drive.plan()
    held = drive.go(300)[-1]
    assert published.trajectory is not None
    assert held.trajectory is not None
    assert (held.stamp_ns, held.plan, held.ego) == (published.stamp_ns, published.plan, published.ego)
    age_s = LAG_MS / 1e3 + 0.21
    ahead = published.trajectory.t_s > age_s
    assert np.array_equal(held.trajectory.xyz, published.trajectory.xyz[ahead])
    assert np.array_equal(held.trajectory.t_s, published.trajectory.t_s[ahead])


def test_a_refused_cycle_degrades_and_is_a_reason_of_the_hold() -> None:
    drive = driving()
    drive.go(100)
    assert drive.refuse().state == "degraded"
    assert drive.tick() is None, "the next plan may still come in time"
    held = drive.go(110)[-1]
    assert held.reasons == ("held: no plan accepted for 210 ms", "front_wide: no frames")


def test_an_accepted_plan_ends_a_hold() -> None:
    drive = driving()
    drive.go(300)
    assert drive.plan().state == "nominal"
    assert drive.go(200) == []


# --- stops --------------------------------------------------------------------------------------------------------------


def test_no_plan_for_500_ms_begins_a_stop() -> None:
    drive = driving()
    drive.go(500)
    assert drive.state == "degraded"
    (said,) = drive.go(10)
    assert (said.state, said.source) == ("stopping", "stop")
    assert said.reasons == ("no plan accepted for 510 ms, limit 500 ms",)


def test_a_stop_starts_at_the_newest_pose_and_follows_the_path_of_the_last_plan() -> None:
    drive = driving()
    drive.go(100)
    published = drive.plan(curvature_1pm=0.001, accel_mps2=-0.5)
    said = drive.go(510)[-1]
    assert published.trajectory is not None
    assert published.ego is not None
    assert (said.stamp_ns, said.ego, said.plan) == (drive.ros_ns, drive.pose, published.plan)
    path = odom_path(published.trajectory, published.ego)
    assert drive.pose is not None
    assert said.trajectory is not None
    expected = stop(drive.pose, path, -0.5, StopSettings())
    assert np.array_equal(said.trajectory.xyz, expected.xyz)
    assert not np.array_equal(expected.xyz, stop(drive.pose, None, -0.5, StopSettings()).xyz), "or it could not fail"


def test_a_stop_is_made_again_every_100_ms_from_where_the_vehicle_is() -> None:
    drive = driving()
    first = drive.go(510)[-1]
    drive.speed_mps = 7.0
    second, third = drive.go(200)
    assert [one.stamp_ns - first.stamp_ns for one in (second, third)] == [100 * MS, 200 * MS]
    assert second.trajectory is not None
    assert float(second.trajectory.speed_mps[0]) == pytest.approx(7.0 + 0.1 * second.trajectory.accel_mps2[0])
    assert second.plan is first.plan
    assert second.reasons == first.reasons


def test_a_stop_made_again_brakes_as_the_one_before_would_have() -> None:
    drive = driving()
    first = drive.go(510)[-1].trajectory
    assert first is not None
    for step in range(1, 26):
        drive.speed_mps = float(first.speed_mps[step - 1])
        again = drive.go(100)[-1].trajectory
        assert again is not None
        assert again.accel_mps2[:5] == pytest.approx(first.accel_mps2[step : step + 5], abs=0.08)
        if drive.speed_mps < 4.7:
            assert again.accel_mps2[0] == pytest.approx(-2.5), "not comfort: it began as an emergency's"
    assert drive.speed_mps < 4.7


def test_without_a_newer_pose_there_is_no_other_stop() -> None:
    drive = driving()
    drive.go(510)
    drive.odometry = False
    assert [one.source for one in drive.go(200)] == []
    assert [(one.state, one.source) for one in drive.go(10)] == [("silent", None)]


def test_nor_is_there_one_when_it_stopped_recovered_and_stops_again_meanwhile() -> None:
    drive = driving()
    drive.go(510)
    drive.odometry = False
    for _ in range(3):
        drive.go(10)
        drive.plan(lag_ms=0)
    assert drive.state == "nominal"
    for _ in range(2):
        drive.go(10)
        drive.plan(lag_ms=0, curvature_1pm=SHIFTED_1PM)
    assert drive.state == "stopping"
    assert drive.go(50) == []
    drive.odometry = True
    assert drive.go(10)[0].source == "stop"


def test_a_hold_that_is_too_old_ends_in_a_stop_at_the_measured_curvature() -> None:
    drive = driving(timing=replace(TIMING, stop_after_ns=5_000 * MS), yaw_rps=0.08)
    drive.go(100)
    assert drive.plan(curvature_1pm=0.005).valid
    *_, held, said = drive.go(960)
    assert (held.source, said.source) == ("hold", "stop")
    assert said.reasons == ("the last accepted plan is 1010 ms old, limit 1000 ms",)
    assert said.plan is None
    assert said.trajectory is not None
    assert said.trajectory.curvature_1pm == pytest.approx(np.full(len(said.trajectory.t_s), 0.01))


def test_a_hold_that_is_too_short_ends_in_a_stop_along_its_path() -> None:
    slow = replace(TIMING, stop_after_ns=20_000 * MS, max_age_ns=20_000 * MS)
    drive = driving(timing=slow)
    said = drive.go(6000)
    stops = [one for one in said if one.source == "stop"]
    assert len(said[0].trajectory.t_s if said[0].trajectory else ()) == HORIZON - 2
    assert stops[0].reasons == ("of the last accepted plan, 5560 ms old, too few points are ahead to be held",)
    assert stops[0].plan is not None


def test_three_plans_in_a_row_lead_out_of_a_stop() -> None:
    drive = driving()
    drive.go(510)
    first, second, third = drive.plans(3)
    assert [(one.state, one.source) for one in (first, second, third)] == [
        ("stopping", None),
        ("stopping", None),
        ("nominal", "model"),
    ]
    assert first.reasons == ("1 of 3 plans accepted in a row", "no plan accepted for 510 ms, limit 500 ms")
    drive.said.clear()
    assert drive.go(100) == []


def test_the_last_of_them_may_have_a_warning() -> None:
    drive = driving()
    drive.go(510)
    drive.plans(2)
    drive.go(100)
    assert drive.plan(HARSH).state == "degraded"


def test_a_rejected_plan_counts_them_anew_and_a_cycle_without_one_does_not() -> None:
    drive = driving()
    drive.go(510)
    drive.plans(2)
    drive.refuse()
    drive.go(50)
    drive.plan(BAD)
    assert [one.state for one in drive.plans(3)] == ["stopping", "stopping", "nominal"]
    drive.go(510)
    drive.plans(2)
    assert drive.refuse().state == "stopping"
    assert drive.plans(1)[0].state == "nominal"


def test_plans_far_apart_are_not_in_a_row() -> None:
    drive = driving()
    drive.go(510)
    drive.plans(2)
    drive.go(410)
    assert drive.plans(1)[0].reasons[0] == "1 of 3 plans accepted in a row"


def test_plans_of_a_stop_are_compared_with_one_another() -> None:
    drive = driving()
    drive.go(510)
    drive.plans(1)
    (said,) = drive.plans(1, curvature_1pm=SHIFTED_1PM)
    assert has(said.reasons, "V14")
    assert [one.state for one in drive.plans(4, curvature_1pm=SHIFTED_1PM)] == [
        "stopping",
        "stopping",
        "stopping",
        "nominal",
    ], "one more"


def test_in_shadow_a_stop_does_not_latch() -> None:
    drive = driving()
    drive.go(510)
    drive.speed_mps = 0.0
    drive.go(1000)
    assert drive.state == "stopping"
    assert drive.plans(3)[-1].state == "nominal"


# --- engaged ------------------------------------------------------------------------------------------------------------


def test_a_nominal_vehicle_in_active_can_be_engaged() -> None:
    drive = driving("active")
    assert drive.supervisor.engage(drive.now()) == ""
    said = drive.tick()
    assert said is not None
    assert (said.state, said.engaged, said.source, said.reasons) == ("nominal", True, None, ())
    assert drive.plans(1)[0].engaged
    assert drive.supervisor.engage(drive.now()) == "", "twice is once"


def test_engaging_says_everything_that_forbids_it() -> None:
    drive = driving()
    drive.go(100)
    drive.plan(HARSH)
    why_not = drive.supervisor.engage(drive.now(), ("the driver acts",))
    assert why_not == f"the driver acts; mode is shadow, want active; state is degraded, want nominal; {HARSH}"
    assert not drive.supervisor.engaged


@pytest.mark.parametrize("obstacle", ["the driver acts", ""])
def test_an_obstacle_alone_forbids_it(obstacle: str) -> None:
    drive = driving("active")
    obstacles = (obstacle,) if obstacle else ()
    assert drive.supervisor.engage(drive.now(), obstacles) == obstacle
    assert drive.supervisor.engaged == (not obstacle)


def test_a_silent_or_stopping_vehicle_cannot_be_engaged() -> None:
    drive = driving("active")
    drive.go(510)
    assert drive.supervisor.engage(drive.now()) == "state is stopping, want nominal; no plan accepted for 510 ms, limit 500 ms"
    drive.odometry = False
    drive.go(210)
    assert drive.supervisor.engage(drive.now()) == "state is silent, want nominal; odometry: silent for 210 ms, limit 200 ms"


def test_an_engaged_vehicle_at_rest_after_a_stop_is_stopped_and_told_so_again_and_again() -> None:
    drive = stopped()
    said = drive.go(200)
    assert [(one.state, one.source, one.engaged) for one in said] == [("stopped", "stop", True)] * 2
    assert said[0].trajectory is not None
    assert not said[0].trajectory.speed_mps.any()
    assert said[0].reasons[0] == "at rest after a stop: waits for engage"


def test_good_plans_do_not_end_that() -> None:
    drive = stopped()
    said = drive.plans(5)
    assert {(one.state, one.source) for one in said} == {("stopped", None)}
    assert said[-1].reasons[0] == "5 of 3 plans accepted in a row"


def test_nor_does_rolling() -> None:
    drive = stopped()
    drive.speed_mps = 0.5
    assert {one.state for one in drive.go(1000)} == {"stopped"}


def test_engaging_again_needs_three_plans_in_a_row_and_nothing_in_the_way() -> None:
    drive = stopped()
    drive.plans(2)
    assert drive.supervisor.engage(drive.now()) == "stopped: 2 of 3 plans accepted in a row"
    drive.plans(1)
    assert drive.supervisor.engage(drive.now(), ("two publishers",)) == "two publishers"
    assert drive.state == "stopped"
    assert drive.supervisor.engage(drive.now()) == ""
    assert drive.state == "nominal"
    assert drive.plans(1)[0].source == "model"


def test_after_that_it_stops_again_unless_a_plan_comes() -> None:
    drive = stopped()
    drive.plans(3)
    assert drive.supervisor.engage(drive.now()) == ""
    assert drive.refuse().state == "degraded"
    assert [one.source for one in drive.go(500)] == [], "there is nothing to hold"
    assert [(one.state, one.source) for one in drive.go(10)] == [("stopped", "stop")]


def test_disengaging_is_at_once_and_from_any_state() -> None:
    for drive in (Drive("active"), driving("active"), engaged(), stopped()):
        drive.supervisor.disengage("driver override", drive.now())
        assert not drive.supervisor.engaged
        said = drive.tick()
        assert said is not None
        assert said.reasons[0] == "disengaged: driver override"
        assert (said.engaged, said.source) == (False, None)


def test_disengaging_unlatches() -> None:
    drive = stopped()
    drive.supervisor.disengage("driver override", drive.now())
    assert drive.state == "stopping"
    assert drive.plans(3)[-1].state == "nominal"


def test_an_engaged_vehicle_that_times_out_at_rest_is_stopped_without_having_moved() -> None:
    drive = engaged(speed_mps=0.0)
    assert drive.go(520)[-1].state == "stopped"


# --- silence ------------------------------------------------------------------------------------------------------------


def test_silent_odometry_silences_everything() -> None:
    drive = driving()
    drive.odometry = False
    drive.plans(2)
    (said,) = drive.go(10)
    assert (said.state, said.source, said.reasons) == ("silent", None, ("odometry: silent for 210 ms, limit 200 ms",))
    refused = drive.plan(lag_ms=20)
    assert (refused.state, refused.valid) == ("silent", False)
    assert refused.reasons == ("odometry: silent for 210 ms, limit 200 ms",)
    cycle = drive.refuse()
    assert (cycle.state, cycle.reasons) == ("silent", ("odometry: silent for 210 ms, limit 200 ms", "front_wide: no frames"))
    assert drive.go(3000) == []


def test_poses_that_come_with_old_or_future_stamps_are_silence_too() -> None:
    for ahead_ms, words in (
        (-210, "odometry: the newest pose is 210 ms old"),
        (101, "101 ms ahead of the clock, limit 100 ms"),
    ):
        drive = driving()
        drive.go(10)
        pose = drive.ego(drive.ros_ns + ahead_ms * MS)
        said = drive.supervisor.tick(replace(drive.now(), pose=pose))
        assert said is not None
        assert said.state == "silent"
        assert has(said.reasons, words)


def test_a_pose_may_be_a_little_ahead_of_the_clock() -> None:
    drive = driving()
    drive.supervisor.tick(replace(drive.now(), pose=drive.ego(drive.ros_ns + 100 * MS)))
    assert drive.state == "nominal"


def test_after_silence_a_stop_follows_if_it_was_driving() -> None:
    drive = driving()
    drive.odometry = False
    drive.go(210)
    drive.odometry = True
    (said,) = drive.go(10)
    assert (said.state, said.source) == ("stopping", "stop")
    assert said.reasons == ("odometry: silent for 210 ms, limit 200 ms",)
    assert said.plan is not None, "its path is still fresh"
    assert drive.plans(3)[-1].state == "nominal"


def test_after_a_long_silence_its_path_is_old() -> None:
    drive = driving()
    drive.odometry = False
    drive.go(1000)
    drive.odometry = True
    assert drive.go(10)[0].plan is None


def test_before_the_first_plan_it_is_warmup_again() -> None:
    drive = Drive()
    drive.go(100)
    drive.odometry = False
    assert drive.go(300)[-1].state == "silent"
    drive.odometry = True
    assert [(one.state, one.source) for one in drive.go(100)] == [("warmup", None)]


def test_a_latched_stop_survives_silence() -> None:
    drive = stopped()
    drive.odometry = False
    assert drive.go(300)[-1].state == "silent"
    drive.odometry = True
    assert drive.go(10)[0].state == "stopped"


def test_odometry_that_never_comes_is_silence_once_there_are_cycles() -> None:
    drive = Drive(odometry=False)
    drive.refuse()
    assert drive.go(200) == []
    (said,) = drive.go(10)
    assert (said.state, said.reasons) == ("silent", ("odometry: no pose for 210 ms, limit 200 ms",))


def test_from_an_absurd_speed_there_is_no_stop_but_silence_until_it_is_sane() -> None:
    drive = driving()
    drive.go(500)
    drive.speed_mps = 1e6
    (said,) = drive.go(10)
    assert (said.state, said.source) == ("silent", None)
    assert has(said.reasons, "stop from 1000000.0 m/s")
    refused = drive.plan()
    assert (refused.state, refused.valid) == ("silent", False)
    assert has(refused.reasons, "stop from 1000000.0 m/s")
    drive.speed_mps = 8.0
    assert [(one.state, one.source) for one in drive.go(10)] == [("stopping", "stop")]


def test_a_stopped_clock_is_silence_and_then_the_state_goes_on() -> None:
    drive = driving()
    drive.go(100)
    drive.clock_stopped = True
    (said,) = drive.go(5000)
    assert (said.state, said.reasons) == ("silent", ("simulated time stands still",))
    assert not drive.plan().valid
    drive.clock_stopped = False
    (said,) = drive.go(10)
    assert (said.state, said.source, said.reasons) == ("nominal", None, ())
    assert drive.plan().state == "nominal"


# --- epochs -------------------------------------------------------------------------------------------------------------


def test_after_a_jump_of_time_nothing_is_published_until_a_plan_is_accepted() -> None:
    drive = driving()
    drive.jump("clock", ros_ms=-60_000)
    assert [(one.state, one.source) for one in drive.go(3000)] == [("warmup", None)]
    assert drive.plan(BAD).state == "warmup"
    said = drive.plan()
    assert (said.state, said.source) == ("nominal", "model")


def test_that_also_ends_a_stop() -> None:
    drive = driving()
    drive.go(510)
    drive.jump("clock")
    assert {(one.state, one.source) for one in drive.go(1000)} == {("warmup", None)}


def test_an_engaged_vehicle_stays_engaged_and_is_silent_when_that_takes_too_long() -> None:
    drive = engaged()
    drive.go(50)
    drive.jump("clock", ros_ms=5000)
    assert [one.state for one in drive.go(510)] == ["warmup"]
    (said,) = drive.go(10)
    assert (said.state, said.engaged) == ("silent", True)
    assert said.reasons == ("no plan accepted for 510 ms since time jumped, limit 500 ms",)
    accepted = drive.plan()
    assert (accepted.state, accepted.source, accepted.engaged) == ("nominal", "model", True)


def test_disengaging_ends_that_silence() -> None:
    drive = engaged()
    drive.jump("clock")
    drive.go(600)
    drive.supervisor.disengage("driver override", drive.now())
    assert drive.state == "warmup"


def test_a_latched_stop_survives_a_jump_of_time_and_waits_for_a_plan_to_say_so() -> None:
    drive = stopped()
    drive.jump("clock", ros_ms=5000)
    assert drive.go(500) == []
    assert [one.state for one in drive.go(20)] == ["silent"]
    assert drive.plan().state == "stopped"
    assert drive.go(10)[0].source == "stop"


def test_after_a_jump_of_the_pose_it_stops_at_the_measured_curvature() -> None:
    drive = driving()
    drive.plans(1, accel_mps2=1.0)
    drive.yaw_rps = 0.08
    drive.jump("odometry")
    drive.x_m += 100.0
    (said,) = drive.go(10)
    assert (said.state, said.source, said.plan, said.epoch) == ("stopping", "stop", None, drive.epoch)
    assert said.reasons == (f"odometry jumped, epoch {drive.epoch}",)
    assert said.trajectory is not None
    assert said.trajectory.curvature_1pm[0] == pytest.approx(0.01)
    assert drive.plans(3)[-1].state == "nominal"


def test_a_jump_of_the_pose_in_warmup_changes_nothing() -> None:
    drive = Drive()
    drive.go(100)
    drive.jump("odometry")
    assert drive.go(100) == []
    assert drive.state == "warmup"


def test_a_jump_of_the_pose_after_one_of_time_still_waits_for_a_plan() -> None:
    drive = engaged()
    drive.jump("clock")
    drive.go(300)
    drive.jump("odometry")
    assert drive.go(200) == []
    assert [one.state for one in drive.go(20)] == ["silent"]


@pytest.mark.parametrize("make", [Drive, driving, engaged, stopped])
def test_after_a_pause_nothing_is_left(make: type[Drive]) -> None:
    drive = make()
    drive.go(10)
    drive.jump("pause")
    drive.odometry = False
    drive.tick()
    assert (drive.state, drive.supervisor.engaged) == ("init", False)
    assert drive.go(1000) == []
    drive.odometry = True
    assert drive.go(10)[0].state == "warmup"


def test_nothing_of_the_old_epoch_is_compared_with() -> None:
    drive = driving()
    drive.jump("clock")
    drive.go(10)
    assert drive.plan(curvature_1pm=SHIFTED_1PM).valid, "V14 has no plan before it"
    assert drive.plans(1, curvature_1pm=SHIFTED_1PM)[0].valid


# --- the table ----------------------------------------------------------------------------------------------------------


def test_the_table_knows_every_state_and_tells_no_loops() -> None:
    assert {state for pair in TRANSITIONS for state in pair} == set(get_args(State))
    assert all(before != after and why for (before, after), why in TRANSITIONS.items())
