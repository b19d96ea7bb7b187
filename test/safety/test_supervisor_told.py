"""The words of the supervisor, each said whole, and its limits exactly at their values. Times are of `supervised.TIMING`."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from safety.supervised import BAD, HARSH, MS, TIMING, Drive, driving, engaged, stopped

from alpamayo_ros.safety.contract import EpochCause, Output
from alpamayo_ros.safety.epoch import Published
from alpamayo_ros.safety.stop import StopSettings, stop
from alpamayo_ros.safety.supervisor import Supervisor

SHIFTED_1PM = 0.03
SETTINGS = StopSettings()
HARD = replace(SETTINGS, comfort_below_mps=0.0)
LATE = "no plan accepted for 510 ms, limit 500 ms"


def braking(said: Output) -> np.ndarray:
    assert said.source == "stop"
    assert said.trajectory is not None
    return said.trajectory.accel_mps2


def with_pose_after(drive: Drive, stamp_ns: int) -> Drive:
    """The newest pose is of this stamp and comes now."""
    drive.pose, drive.pose_steady_ns = drive.ego(stamp_ns), drive.steady_ns
    return drive


# The beginning


def test_before_it_is_told_anything_it_is_in_init_and_not_engaged() -> None:
    supervisor = Supervisor("active", TIMING)
    assert (supervisor.state, supervisor.engaged) == ("init", False)


@pytest.mark.parametrize("cause", get_args(EpochCause))
@pytest.mark.parametrize("epoch", [0, 1])
def test_the_first_epoch_begins_with_the_first_call_whatever_its_number_and_cause(epoch: int, cause: EpochCause) -> None:
    drive = Drive("active", epoch=epoch, cause=cause, odometry=False)
    assert drive.refuse().state == "warmup"
    assert drive.go(200) == [], "odometry is waited for from then on"


def test_a_first_plan_is_a_cycle_too() -> None:
    assert Drive(odometry=False).plan(BAD).state == "warmup"


@pytest.mark.parametrize("cause", ["start", "pause"])
def test_a_node_that_begins_again_has_seen_nothing(cause: EpochCause) -> None:
    drive = engaged()
    drive.jump(cause)
    said = drive.tick()
    assert said is not None
    assert (said.state, said.engaged, said.reasons) == ("init", False, ("nothing was seen yet",))


def test_a_jump_of_time_after_the_very_first_epoch_leaves_the_vehicle_engaged() -> None:
    drive = Drive("active", epoch=0)
    drive.plans(2)
    assert drive.supervisor.engage(drive.now()) == ""
    drive.jump("clock")
    (said,) = drive.go(10)
    assert (said.state, said.engaged) == ("warmup", True)
    assert said.reasons == ("time jumped, epoch 1: no plan of it was accepted yet",)


def test_a_jump_of_time_before_anything_was_seen_changes_nothing() -> None:
    drive = Drive(odometry=False)
    drive.go(100)
    drive.jump("clock")
    assert drive.go(100) == []
    assert drive.state == "init"


# Reasons


def test_a_stop_tells_what_went_wrong_before() -> None:
    drive = driving()
    drive.refuse()
    assert drive.go(510)[-1].reasons == (LATE, "front_wide: no frames")


def test_a_stop_after_a_hold_tells_what_the_hold_was_for() -> None:
    drive = driving(timing=replace(TIMING, stop_after_ns=20_000 * MS, max_age_ns=20_000 * MS))
    drive.refuse()
    stops = [said for said in drive.go(6000) if said.source == "stop"]
    assert stops[0].reasons == (
        "of the last accepted plan, 5560 ms old, too few points are ahead to be held",
        "front_wide: no frames",
    )


def test_a_stop_for_plans_that_shift_tells_the_shift() -> None:
    drive = driving()
    _, second = drive.plans(2, curvature_1pm=SHIFTED_1PM)
    said = drive.tick()
    assert said is not None
    assert said.reasons == ("2 plans in a row rejected by V14", *second.reasons)
    assert len(second.reasons) > 0


def test_a_vehicle_at_rest_after_a_stop_tells_why_it_stopped() -> None:
    assert stopped().go(200)[-1].reasons == ("at rest after a stop: waits for engage", LATE)


def test_a_plan_that_is_only_counted_is_told_with_its_findings() -> None:
    drive = driving()
    drive.go(610)
    said = drive.plan(HARSH)
    assert (said.state, said.source, said.findings) == ("stopping", None, (HARSH,))
    assert said.reasons == ("1 of 3 plans accepted in a row", LATE, str(HARSH))


def test_limits_are_told_in_milliseconds() -> None:
    drive = driving(timing=replace(TIMING, stop_after_ns=500_500_001))
    assert drive.go(510)[-1].reasons == ("no plan accepted for 510 ms, limit 501 ms",)


# Exactly at a limit


def test_plans_exactly_half_a_second_apart_are_in_a_row() -> None:
    drive = driving()
    drive.go(510)
    drive.plans(2)
    drive.go(500)
    assert drive.plan().state == "nominal"


def test_a_point_of_right_now_is_not_held() -> None:
    drive = driving()
    drive.go(200)
    assert drive.plan(lag_ms=190).valid
    held = drive.go(210)[-1]
    assert (held.source, drive.ros_ns - held.stamp_ns) == ("hold", 400 * MS)
    assert held.trajectory is not None
    assert held.trajectory.t_s[0] == 0.5


@pytest.mark.parametrize(("lag_ms", "followed"), [(490, True), (491, False)])
def test_a_stop_follows_a_plan_of_a_second_ago_and_keeps_to_it(lag_ms: int, followed: bool) -> None:
    drive = driving()
    drive.go(500)
    plan = drive.plan(lag_ms=lag_ms).plan
    first = drive.go(510)[-1]
    second = drive.go(100)[-1]
    assert plan is not None
    assert first.source == second.source == "stop"
    assert first.plan is second.plan is (plan if followed else None)


@pytest.mark.parametrize(("speed_mps", "state"), [(0.1, "stopping"), (0.0999, "stopped"), (-0.1, "stopping")])
def test_slower_than_a_tenth_of_a_metre_per_second_is_at_rest(speed_mps: float, state: str) -> None:
    drive = engaged()
    drive.go(600)
    drive.speed_mps = speed_mps
    drive.go(10)
    assert drive.state == state


def test_a_pose_newer_by_a_nanosecond_is_enough_for_another_stop() -> None:
    drive = driving()
    stamp_ns = drive.go(510)[-1].stamp_ns
    drive.odometry = False
    for curvature in (0.0, 0.0, 0.0, SHIFTED_1PM, SHIFTED_1PM):
        drive.go(10)
        drive.plan(lag_ms=0, curvature_1pm=curvature)
    assert (drive.state, drive.tick()) == ("stopping", None)
    said = with_pose_after(drive, stamp_ns + 1).tick()
    assert said is not None
    assert (said.source, said.stamp_ns) == ("stop", stamp_ns + 1)


def test_a_sane_pose_newer_by_a_nanosecond_is_enough_after_an_absurd_one() -> None:
    drive = driving()
    drive.go(500)
    drive.speed_mps = 1e6
    assert drive.go(10)[-1].state == "silent"
    stamp_ns, drive.speed_mps = drive.ros_ns, 8.0
    assert with_pose_after(drive, stamp_ns).tick() is None
    said = with_pose_after(drive, stamp_ns + 1).tick()
    assert said is not None
    assert (said.source, said.stamp_ns) == ("stop", stamp_ns + 1)


# How it brakes


def test_a_slow_vehicle_stops_in_comfort_and_goes_on_so() -> None:
    drive = driving(speed_mps=3.0)
    first, second = drive.go(510)[-1], drive.go(100)[-1]
    assert first.ego is not None
    assert np.array_equal(braking(first), stop(first.ego, None, 0.0, SETTINGS).accel_mps2)
    assert max(-braking(first).min(), -braking(second).min()) <= SETTINGS.comfort.decel_mps2


def test_a_stop_from_the_limit_of_comfort_brakes_hard_to_its_end() -> None:
    drive = driving(speed_mps=SETTINGS.comfort_below_mps)
    before = drive.go(510)[-1]
    for speed_mps in (4.6, 2.0, 0.9, 0.3):
        drive.speed_mps = speed_mps
        again = drive.go(100)[-1]
        assert again.ego is not None
        assert before.trajectory is not None
        accel = Published(before.stamp_ns, before.trajectory).accel_mps2(again.stamp_ns)
        hard, soft = (stop(again.ego, None, accel, settings).accel_mps2 for settings in (HARD, SETTINGS))
        assert np.array_equal(braking(again), hard), speed_mps
        assert not np.array_equal(hard, soft), "or it could not fail"
        before = again


@pytest.mark.parametrize("speed_mps", [8.0, -2.0])
def test_a_stop_before_which_nothing_was_published_begins_without_braking(speed_mps: float) -> None:
    drive = driving(speed_mps=speed_mps)
    drive.plans(1, accel_mps2=-np.sign(speed_mps))
    drive.jump("odometry")
    (said,) = drive.go(10)
    assert said.ego is not None
    assert np.array_equal(braking(said), stop(said.ego, None, 0.0, SETTINGS).accel_mps2)
