"""The monitor and the planner hear of things at different moments: of jumps, of poses, and of what was before they listened."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from safety.watched_drive import (
    CAMERA_NS,
    MS,
    ROLES,
    START_NS,
    TIMING,
    Drive,
    Event,
    S,
    odometer,
    published,
    status_of,
    tell,
    watching,
)

from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.safety.monitor import Monitor
from alpamayo_ros.safety.monitor_inputs import At, Inputs, Memory, Odometer


def loop() -> Drive:
    """Simulated time goes back once, as where a bag begins again."""
    return Drive(clock_jump=(1.5, -20.0), simulated=True)


def odometry_first() -> Iterator[Event]:
    """The same, and odometry of the new time is sent before the /clock that says so, as a vehicle does that is late."""
    drive = loop()
    for event, then in pairwise(drive.events()):
        yield event
        if then.now.ros_ns < event.now.ros_ns:
            pose = replace(drive.pose(event.now.ros_ns - START_NS), stamp_ns=then.now.ros_ns)
            yield Event(event.now, "odometry", pose)


def found_in(events: Iterator[Event], monitor: Monitor) -> list[str]:
    found = [str(breach) for event in events for breach in tell(monitor, event)]
    return [*found, *map(str, monitor.finish())]


def test_one_jump_that_is_seen_twice_is_no_fault_of_what_was_said_just_before_it() -> None:
    monitor = watching(simulated=True)
    assert found_in(odometry_first(), monitor) == []
    assert monitor.inputs.jumps == 2


def test_a_plan_of_no_frame_is_found_beside_a_jump_that_is_seen_twice() -> None:
    def restamped(events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            told = event.kind == "trajectory" and 1.3 * S < event.now.ros_ns - START_NS < 1.5 * S
            wrong = replace(event.value, stamp_ns=event.value.stamp_ns + 1) if told else event.value
            yield event._replace(value=wrong)

    found = found_in(restamped(odometry_first()), watching(simulated=True))
    assert [text for text in found if text.startswith("I2: a model's stamp that no frame")]


def test_a_plan_of_before_the_jump_is_found_once_nothing_can_be_on_its_way_any_more() -> None:
    plans = [event for event in loop().events() if event.kind == "trajectory"]
    old = [plan.value for plan in plans if plan.value.epoch == 0][-1]
    new = next(plan for plan in plans if plan.value.epoch == 1)
    assert new.now.ros_ns - (START_NS - 20 * S + 1.5 * S) > 250 * MS

    def again(events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            wrong = replace(old, epoch=1) if event.kind == "trajectory" and event.value.epoch == 1 else event.value
            yield event._replace(value=wrong)

    found = found_in(again(odometry_first()), watching(simulated=True))
    assert [text for text in found if text.startswith("I9: a model's stamp that no frame of the anchor camera has since")]


def stopped_from(ahead_ms: int, clock_ms: int) -> set[str]:
    """A stop from a pose that came so far ahead of /clock, which then moved on by `clock_ms`."""
    monitor = watching(simulated=True)
    now = At(START_NS, START_NS)
    for ms in range(-200, 1, 20):
        monitor.odometry(odometer(START_NS + ms * MS, ms / 1e3), At(START_NS + ms * MS, START_NS + ms * MS))
    pose = odometer(START_NS + ahead_ms * MS, ahead_ms / 1e3)
    monitor.odometry(pose, now)
    then = At(START_NS + clock_ms * MS, START_NS + clock_ms * MS)
    stop = published("stop", pose, np.full(100, -pose.velocity_mps[0] / 10))
    monitor.status(status_of(stop), then)
    monitor.trajectory(stop, engaged=True, now=then)
    return {breach.invariant for breach in monitor.finish()}


def test_a_pose_that_came_before_its_clock_is_one() -> None:
    """A late vehicle sends what it has and says then what time it is; the planner heard the clock first."""
    assert stopped_from(ahead_ms=180, clock_ms=200) == set()
    assert stopped_from(ahead_ms=180, clock_ms=80) == set()


def test_a_pose_of_a_time_to_come_is_none_though_the_clock_gets_there() -> None:
    assert "I2" in stopped_from(ahead_ms=180, clock_ms=79)


def inputs(simulated: bool = True) -> Inputs:
    return Inputs(ROLES[0], dict.fromkeys(ROLES, CAMERA_NS), TIMING.odometry_silence_ns, simulated)


def test_a_pose_of_a_time_to_come_waits_while_the_clock_says_the_same_and_no_longer() -> None:
    seen = inputs()
    pose = odometer(START_NS + 150 * MS, 0.15)
    assert not seen.odometry(pose, At(START_NS, START_NS))
    assert seen.caught_up(At(START_NS, START_NS)) == ()
    assert seen.caught_up(At(START_NS + 10 * MS, START_NS + 10 * MS)) == ()
    assert seen.caught_up(At(START_NS + 200 * MS, START_NS + 200 * MS)) == ()
    assert not seen.odometry(pose, At(START_NS, START_NS))
    assert seen.caught_up(At(START_NS + 50 * MS, START_NS + 50 * MS)) == (pose,)
    assert seen.caught_up(At(START_NS + 60 * MS, START_NS + 60 * MS)) == ()


@pytest.mark.parametrize("simulated", [False, True])
def test_what_is_sent_after_a_jump_may_be_of_the_time_before_for_as_long_as_messages_overtake(simulated: bool) -> None:
    seen = inputs(simulated)
    first = seen.now

    def after(ms: int, stepped_s: int = 0) -> At:
        ros_ns = START_NS + ms * MS + stepped_s * S
        return At(ros_ns, ros_ns if simulated else ms * MS + S)

    def known(ms: int) -> tuple[Memory, ...]:
        return seen.since(seen.number_before(after(ms, -20)))

    assert not seen.clock(after(0))
    assert not seen.odometry(odometer(after(0).ros_ns, 0.0), after(0))
    assert seen.odometry(odometer(after(0, -20).ros_ns, 0.0), after(100))
    second = seen.now
    assert not seen.clock(after(200))
    assert seen.clock(after(200, -20))
    assert known(340) == (seen.now, second, first)
    assert known(351) == (seen.now, second)  # the second began at 100
    assert known(450) == (seen.now, second)
    assert known(451) == (seen.now,)


def judged(monitor: Monitor, plan: Published, now: At) -> set[str]:
    monitor.status(status_of(plan), now)
    monitor.trajectory(plan, engaged=True, now=now)
    return {breach.invariant for breach in monitor.finish()}


@pytest.mark.parametrize(("age_ms", "found", "unjudged"), [(100, set(), 1), (-1, {"I2"}, 0)])
def test_who_begins_to_listen_does_not_judge_what_is_older_than_all_that_came(
    age_ms: int, found: set[str], unjudged: int
) -> None:
    """A monitor that is started beside a planner that drives: the first plans are of frames before its time."""
    monitor, now = watching(), At(START_NS + 40 * MS, S)
    for ms in range(-120, 41, 20):
        monitor.odometry(odometer(START_NS + ms * MS, ms / 1e3), now)
    monitor.frame(ROLES[0], START_NS, now)
    stamp_ns = START_NS - age_ms * MS
    plan = published("model", odometer(stamp_ns, -age_ms / 1e3), np.zeros(64))
    assert judged(monitor, plan, now) == found
    assert monitor.unjudged == unjudged


@pytest.mark.parametrize(("speed_known_ms", "found"), [(20, set()), (50, set()), (60, {"I6"})])
def test_a_plan_may_begin_at_a_speed_that_odometry_said_until_then(speed_known_ms: int, found: set[str]) -> None:
    """Odometry says another speed from one message to the next, and the planner had that one after it looked."""
    monitor, now = watching(), At(START_NS + 100 * MS, S)
    straight = Odometer(START_NS, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([8.0, 0.0, 0.0]), 0.0)
    for ms in range(-200, 21, 10):
        speed = np.array([8.0 if ms <= -speed_known_ms else 0.0, 0.0, 0.0])
        place = np.array([8.0 * ms / 1e3, 0.0, 0.0])
        monitor.odometry(replace(straight, stamp_ns=START_NS + ms * MS, position=place, velocity_mps=speed), now)
    monitor.frame(ROLES[0], START_NS, now)
    assert judged(monitor, published("model", straight, np.zeros(64), curvature_1pm=0.0), now) == found
