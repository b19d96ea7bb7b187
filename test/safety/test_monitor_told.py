"""The words of the monitor, each said whole, and its limits of time to the nanosecond."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safety.test_monitor import one_plan, said
from safety.watched_drive import CAMERA_NS, MS, ROLES, START_NS, TIMING, S, odometer, published, rest_of, status_of, watching

from alpamayo_ros.safety.contract import Timing, timing
from alpamayo_ros.safety.invariants import Breach, Published
from alpamayo_ros.safety.monitor import Monitor, Status
from alpamayo_ros.safety.monitor_inputs import At

SILENT = Status(START_NS, 0, 0, "silent", None, valid=False, engaged=True)


def at(after_ns: int) -> At:
    """Both clocks go, the steady one from 0."""
    return At(START_NS + after_ns, after_ns)


def later(now: At, by_ns: int, jump_ns: int = 0) -> At:
    return At(now.ros_ns + by_ns + jump_ns, now.steady_ns + by_ns)


def rig(period_ns: int = CAMERA_NS, limits: Timing | None = None) -> Monitor:
    """A monitor that was told nothing yet, of a rig with this period."""
    limits = limits or timing(period_ns, 20 * MS, 10.0)
    return Monitor(limits, ROLES[0], dict.fromkeys(ROLES, period_ns))


def feed(monitor: Monitor, from_ns: int, to_ns: int) -> None:
    """Every input at least ten times a second, the last time at the end."""
    for after_ns in [*range(from_ns, to_ns, 100 * MS), to_ns]:
        now = at(after_ns)
        monitor.odometry(odometer(now.ros_ns, after_ns / 1e9), now)
        for role in ROLES:
            monitor.frame(role, now.ros_ns, now)


def say(monitor: Monitor, trajectory: Published, now: At) -> None:
    monitor.status(status_of(trajectory), now)
    monitor.trajectory(trajectory, engaged=True, now=now)


def plan_at(after_ns: int, plan_id: int = 1) -> Published:
    return published("model", odometer(START_NS + after_ns, after_ns / 1e9), np.zeros(64), plan_id)


def stop_at(after_ns: int, epoch: int = 0) -> Published:
    pose = odometer(START_NS + after_ns, after_ns / 1e9)
    return published("stop", pose, np.full(100, -pose.velocity_mps[0] / 10), epoch=epoch)


def of(invariant: str, found: tuple[Breach, ...]) -> list[Breach]:
    return [breach for breach in found if breach.invariant == invariant]


# What should have come


def test_the_first_thing_that_a_monitor_says_may_be_that_nothing_comes() -> None:
    monitor = rig(limits=timing(CAMERA_NS, 20 * MS, 10.0, stop_after_ns=500_500_001))
    feed(monitor, 0, 0)
    say(monitor, plan_at(0), at(0))
    feed(monitor, 100 * MS, 700_500_001)
    want = Breach("L1", "no trajectory for 701 ms with odometry, limit 601")
    assert monitor.tick(at(700_500_001)) == (want,)


@pytest.mark.parametrize("period_ms", [100, 200])
@pytest.mark.parametrize(("over_ns", "breaches"), [(0, 0), (1, 1)])
def test_a_rig_is_silent_for_ever_after_fifty_of_its_periods(period_ms: int, over_ns: int, breaches: int) -> None:
    monitor, end_ns = rig(period_ms * MS), 50 * period_ms * MS + over_ns
    feed(monitor, 0, 0)
    monitor.status(SILENT, at(0))
    assert monitor.tick(at(0)) == ()
    feed(monitor, 100 * MS, end_ns)
    assert len(of("L2", monitor.tick(at(end_ns)))) == breaches


@pytest.mark.parametrize("period_ms", [100, 200])
@pytest.mark.parametrize(("over_ns", "breaches"), [(0, 0), (1, 1)])
def test_a_rig_stops_for_ever_after_a_hundred_of_its_periods(period_ms: int, over_ns: int, breaches: int) -> None:
    monitor, end_ns = rig(period_ms * MS), 100 * period_ms * MS
    feed(monitor, 0, 0)
    monitor.tick(at(0))
    feed(monitor, 100 * MS, end_ns - 100 * MS)
    say(monitor, stop_at(end_ns - 100 * MS), at(end_ns - 100 * MS))
    feed(monitor, end_ns, end_ns + over_ns)
    assert len(of("L3", monitor.tick(at(end_ns + over_ns)))) == breaches


@pytest.mark.parametrize(("silent_ns", "breaches"), [(600 * MS - 1, 1), (600 * MS, 0)])
def test_who_says_nothing_any_more_does_not_stop_for_ever(silent_ns: int, breaches: int) -> None:
    monitor, stop_ns = rig(), 10 * S
    feed(monitor, 0, 0)
    monitor.tick(at(0))
    feed(monitor, 100 * MS, stop_ns)
    say(monitor, stop_at(stop_ns), at(stop_ns))
    feed(monitor, stop_ns + 100 * MS, stop_ns + silent_ns)
    assert len(of("L3", monitor.tick(at(stop_ns + silent_ns)))) == breaches


@pytest.mark.parametrize("period_ms", [100, 200])
@pytest.mark.parametrize(("over_ns", "breaches"), [(0, 0), (1, 1)])
def test_a_rig_says_a_word_every_twenty_of_its_periods(period_ms: int, over_ns: int, breaches: int) -> None:
    monitor, end_ns = rig(period_ms * MS), 20 * period_ms * MS + over_ns
    feed(monitor, 0, 0)
    monitor.status(SILENT, at(0))
    feed(monitor, 100 * MS, end_ns)
    assert len(of("L4", monitor.tick(at(end_ns)))) == breaches


def test_what_did_not_come_is_told_in_seconds_and_tenths() -> None:
    monitor = rig(117_500_000)
    feed(monitor, 0, 0)
    monitor.status(SILENT, at(0))
    assert monitor.tick(at(0)) == ()
    feed(monitor, 100 * MS, 2_450_000_001)
    assert monitor.tick(at(2_450_000_001)) == (Breach("L4", "no status for 2.5 s, limit 2.4"),)
    feed(monitor, 2500 * MS, 6_050_000_001)
    silent = Breach("L2", "no trajectory for 6.1 s, all inputs healthy for 6.1 s")
    assert monitor.tick(at(6_050_000_001)) == (silent,)
    feed(monitor, 6100 * MS, 13 * S)
    say(monitor, stop_at(13 * S), at(13 * S))
    feed(monitor, 13_100 * MS, 13_150_000_001)
    stopping = Breach("L3", "no plan for 13.2 s, all inputs healthy for 13.2 s")
    assert of("L3", monitor.tick(at(13_150_000_001))) == [stopping]


def test_an_activated_planner_has_to_say_a_word_but_no_trajectory_yet() -> None:
    monitor = rig()
    monitor.life("active", at(0))
    feed(monitor, 0, 2 * S + 1)
    assert monitor.tick(at(2 * S + 1)) == (Breach("L4", "no status for 2.0 s, limit 2.0"),)


def test_after_a_jump_of_the_clock_a_planner_that_drove_may_take_its_time() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    monitor.clock(later(now, 0, 20 * S))
    for after_ms in range(0, 1001, 100):
        then = later(now, after_ms * MS, 20 * S)
        monitor.odometry(odometer(then.ros_ns, 0.57 + after_ms / 1e3), then)
    assert monitor.tick(then) == ()


# The planner's life


def test_what_comes_after_the_end_is_told_by_what_it_is_and_how_late() -> None:
    monitor, plan, now = one_plan()
    monitor.life("inactive", now)
    say(monitor, plan, later(now, 300_500_001))
    assert monitor.finish() == (
        Breach("I8", "a valid status 301 ms after the planner was deactivated or gone"),
        Breach("I8", "a model 301 ms after the planner was deactivated or gone"),
    )


def test_who_is_activated_again_may_speak_for_ever() -> None:
    monitor, plan, now = one_plan()
    monitor.life("inactive", now)
    monitor.life("active", now)
    assert said(monitor, plan, later(now, 400 * MS)) == set()


@pytest.mark.parametrize(("after_ms", "breaches"), [(250, 0), (251, 1)])
def test_a_jump_of_the_clock_does_not_bring_a_planner_back(after_ms: int, breaches: int) -> None:
    monitor, plan, now = one_plan()
    monitor.life("inactive", now)
    jumped = later(now, 100 * MS, 20 * S)
    monitor.clock(jumped)
    monitor.status(status_of(plan), later(jumped, after_ms * MS))
    assert len(of("I8", monitor.finish())) == breaches


def test_a_process_that_is_gone_says_nothing_of_the_next_one() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    monitor.life("gone", now)
    monitor.life("active", later(now, 10 * MS))
    assert said(monitor, plan_at(400 * MS), later(now, 20 * MS)) == set(), "an earlier stamp than the one before"


def test_a_jump_of_the_clock_before_any_word_leaves_the_first_epoch_be() -> None:
    monitor = watching()
    feed(monitor, 0, S)
    monitor.clock(later(at(S), 0, 20 * S))
    now = later(at(S), 100 * MS, 20 * S)
    pose = odometer(now.ros_ns, 1.1)
    monitor.odometry(pose, now)
    monitor.frame(ROLES[0], now.ros_ns, now)
    plan = published("model", pose, np.zeros(64))
    assert said(monitor, plan, later(now, 300 * MS)) == set()


def test_time_is_that_of_the_system_unless_it_is_simulated() -> None:
    monitor = rig()
    monitor.clock(at(0))
    monitor.clock(at(5 * S))
    assert monitor.inputs.jumps == 0


# One publication after another


@pytest.mark.parametrize(("plan_id", "breaches"), [(1, 1), (2, 0)])
def test_sixteen_statuses_wait_for_their_trajectories(plan_id: int, breaches: int) -> None:
    monitor, plan, now = one_plan()
    for i in range(1, 18):
        monitor.status(replace(status_of(plan), plan_id=i), now)
    monitor.trajectory(replace(plan, plan_id=plan_id), engaged=True, now=now)
    assert len(of("I7", monitor.finish())) == breaches


def test_a_trajectory_without_its_status_is_told_with_the_one_that_is_open() -> None:
    monitor, plan, now = one_plan()
    other = status_of(replace(plan, plan_id=2))
    monitor.status(other, now)
    monitor.trajectory(plan, engaged=True, now=now)
    text = f"no valid status before a model of {plan.stamp_ns}, plan 1, epoch 0; open: {other}"
    assert monitor.finish() == (Breach("I7", text),)


def test_publications_are_counted_by_source_and_so_is_what_cannot_be_judged() -> None:
    monitor = watching()
    for i, trajectory in enumerate((plan_at(0), plan_at(100 * MS, 2), stop_at(150 * MS))):
        say(monitor, trajectory, at((i + 2) * 100 * MS))
    monitor.finish()
    assert monitor.publications == {"model": 2, "stop": 1}
    assert monitor.unjudged == 3


def test_a_stop_between_two_plans_does_not_hide_which_is_newer() -> None:
    monitor, plan, now = one_plan()
    for trajectory in (plan, stop_at(540 * MS), plan_at(400 * MS, 2)):
        say(monitor, trajectory, now)
    assert of("I4", monitor.finish()) == [Breach("I4", "stamp of a model -100.000 ms from the model before it")]


def test_a_stop_between_two_plans_has_an_epoch_too() -> None:
    monitor, plan, now = one_plan()
    for trajectory in (plan_at(400 * MS), stop_at(540 * MS, epoch=1), plan):
        say(monitor, trajectory, now)
    assert of("I9", monitor.finish()) == [Breach("I9", "epoch 0 after epoch 1")]


def test_an_epoch_that_did_not_change_is_told_with_the_jump() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    jumped = later(now, 100 * MS, 1_900_500_001)
    monitor.clock(jumped)
    say(monitor, plan_at(600 * MS, 2), later(jumped, 251 * MS))
    assert of("I9", monitor.finish())[0] == Breach("I9", "epoch 0 as before the clock jumped by +1.901 s")


def test_an_old_plan_is_told_by_its_age_and_a_hold_by_its_first_point() -> None:
    monitor = rig(limits=replace(TIMING, max_age_ns=1_000_500_001))
    feed(monitor, 0, 0)
    plan = plan_at(0)
    say(monitor, plan, at(1_200_500_001))
    assert of("I3", monitor.finish()) == [Breach("I3", "a model 1201 ms old, limit 1001 + 100")]
    hold = rest_of(plan, 1200 * MS)
    say(monitor, hold, at(1300 * MS + 201_500_001))
    assert of("I5", monitor.finish()) == [Breach("I5", "a hold whose first point was 202 ms ago")]


# What needs the inputs


@pytest.mark.parametrize(("lost_ns", "excused"), [(-S - 1, False), (-S, True), (S, True), (S + 1, False)])
def test_a_loss_excuses_unknown_stamps_of_a_second_before_and_after_it(lost_ns: int, excused: bool) -> None:
    monitor, _, now = one_plan()
    for event_ns, is_loss in sorted([(0, False), (lost_ns, True), (lost_ns, True)]):
        then = later(now, event_ns + 2 * S)
        if is_loss:
            monitor.lost(then)
        else:
            for i in (1, 2):
                pose = odometer(then.ros_ns + i, 2.57)
                say(monitor, published("model", pose, np.zeros(64), i), then)
    assert len(of("I2", monitor.finish())) == (0 if excused else 2)
    assert (monitor.unjudged, monitor.losses) == (2, 2)  # no odometry is near either


def test_a_hold_of_no_plan_is_told_though_odometry_has_its_stamp() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    hold = rest_of(plan, 250 * MS)
    say(monitor, replace(hold, xyz=hold.xyz + 1e-6), later(now, 200 * MS))
    text = f"a hold whose stamp, points and pose are those of no plan that was published: {plan.stamp_ns}"
    text = f"{text}, the nearest are +0.000 ms away"
    assert monitor.finish() == (Breach("I2", text),)


def test_a_stop_of_no_pose_is_told() -> None:
    monitor, _, now = one_plan()
    say(monitor, stop_at(510 * MS), now)
    text = f"a stop's stamp that no odometry has: {START_NS + 510 * MS}, the nearest are -10.000 ms and +10.000 ms away"
    assert monitor.finish() == (Breach("I2", text),)


@pytest.mark.parametrize(("plan_id", "breaches"), [(1, 1), (2, 0)])
def test_the_last_64_plans_can_be_held(plan_id: int, breaches: int) -> None:
    monitor, _, now = one_plan()
    plans = [plan_at(400 * MS + i, i) for i in range(1, 66)]
    for trajectory in (*plans, rest_of(plans[plan_id - 1], 250 * MS)):
        say(monitor, trajectory, now)
    assert sum(breach.text.startswith("a hold whose stamp") for breach in monitor.finish()) == breaches


@pytest.mark.parametrize(("between", "breaches"), [(63, 0), (64, 1)])
def test_the_last_64_plans_before_a_jump_can_be_held_for_a_moment(between: int, breaches: int) -> None:
    monitor, plan, now = one_plan()
    say(monitor, plan, now)
    monitor.clock(later(now, 10 * MS, 2 * S))
    for i in range(between):
        say(monitor, replace(plan_at(2500 * MS + i, i), epoch=1), later(now, 20 * MS, 2 * S))
    jumped = later(now, 30 * MS, 4 * S)
    monitor.clock(jumped)
    say(monitor, rest_of(plan, 250 * MS), jumped)
    assert sum(breach.text.startswith("a hold whose stamp") for breach in monitor.finish()) == breaches


@pytest.mark.parametrize(
    ("speeds", "text"),
    [
        ((0.0, 0.1), ""),  # to the last bit the limit
        ((0.0, np.nextafter(0.1, 1.0)), "the points of 101 ms before under a new stamp, at a speed 0.10 m/s away"),
        ((8.0, 8.11), "the points of 101 ms before under a new stamp, at a speed 0.11 m/s away"),
    ],
)
def test_points_under_a_new_stamp_are_told_with_the_change_of_speed(speeds: tuple[float, float], text: str) -> None:
    monitor, plan = watching(), plan_at(0)
    for i, speed in enumerate(speeds):
        now = at(i * 100_500_001)
        pose = replace(odometer(now.ros_ns, 0.0), velocity_mps=np.array([speed, 0.0, 0.0]))
        monitor.frame(ROLES[0], now.ros_ns, now)
        monitor.odometry(pose, now)
        say(monitor, replace(plan, stamp_ns=now.ros_ns, pose_stamp_ns=now.ros_ns), now)
    assert of("I2", monitor.finish()) == ([Breach("I2", text)] if text else [])
