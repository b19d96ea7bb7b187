"""The monitor: what it finds in a made-up drive of which one thing was changed, and when."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safety.watched_drive import (
    CAMERA_NS,
    MS,
    ROLES,
    START_NS,
    Drive,
    Event,
    S,
    odometer,
    published,
    replayed,
    rest_of,
    status_of,
    tell,
    watching,
)

import alpamayo_ros.safety.monitor as monitor_module
from alpamayo_ros.safety.contract import timing
from alpamayo_ros.safety.invariants import Breach, Published
from alpamayo_ros.safety.monitor import Monitor, Status
from alpamayo_ros.safety.monitor_inputs import At

FOLDER = Path(monitor_module.__file__).parent


def test_it_shares_nothing_with_what_it_watches() -> None:
    found = set()
    for name in ("monitor", "monitor_inputs", "monitor_rules", "invariants"):
        for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("alpamayo_ros"):
                found.add(str(node.module))
            assert not (isinstance(node, ast.Import) and "alpamayo" in ast.unparse(node))
    own = {f"alpamayo_ros.safety.{name}" for name in ("monitor_inputs", "monitor_rules", "invariants", "contract")}
    assert found == own | {"alpamayo_ros.types"}


# Whole drives


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize(
    "drive",
    [
        Drive(),
        Drive(outage=(1.0, 2.2), seconds=4.0),
        Drive(deaf=(1.0, 2.0), seconds=4.0),
        Drive(clock_jump=(1.5, -20.0)),
        Drive(clock_jump=(1.5, 20.0)),
        Drive(teleport_s=1.5),
        Drive(end_s=1.5, seconds=12.0),
    ],
)
def test_a_good_planner_is_found_good(drive: Drive, simulated: bool) -> None:
    assert replayed(replace(drive, simulated=simulated)) == []


def kinds(found: list[Breach]) -> set[str]:
    return {breach.invariant for breach in found}


def changing(change: Callable[[Published], Published], after_s: float) -> Callable[[Event], Iterator[Event]]:
    """Every trajectory changed from then on."""

    def through(event: Event) -> Iterator[Event]:
        is_changed = event.kind == "trajectory" and event.now.ros_ns >= START_NS + after_s * S
        yield event._replace(value=change(event.value)) if is_changed else event

    return through


def test_the_same_points_again_are_no_breach_while_the_speed_is_the_same() -> None:
    """A vehicle at a constant speed may get the same plan twice; one whose speed changed cannot."""
    for speeds, want in (((8.0, 8.09), set()), ((8.0, 8.11), {"I2"}), ((8.11, 8.0), {"I2"})):
        monitor, found = watching(), []
        plan = published("model", odometer(START_NS, 0.0), np.zeros(64))
        for i, speed in enumerate(speeds):
            now = At(START_NS + i * CAMERA_NS, i * CAMERA_NS)
            pose = replace(odometer(now.ros_ns, 0.1 * i), velocity_mps=np.array([speed, 0.0, 0.0]))
            again = replace(plan, stamp_ns=now.ros_ns, pose_stamp_ns=now.ros_ns, position=pose.position)
            again = replace(again, orientation=pose.orientation)
            for kind, value in (
                ("frame", (ROLES[0], now.ros_ns)),
                ("odometry", pose),
                ("status", status_of(again)),
                ("trajectory", again),
            ):
                tell(monitor, Event(now, kind, value))
        found = list(monitor.finish())
        assert kinds(found) == want, (speeds, [str(breach) for breach in found])


def test_plans_at_one_speed_after_a_restamped_one_are_compared_with_where_the_points_came_from() -> None:
    stale = published("model", odometer(START_NS, 0.0), np.zeros(64))

    def restamped(p: Published) -> Published:
        return replace(p, **{name: getattr(stale, name) for name in ("xyz", "quaternion", "speed_mps", "accel_mps2")})

    found = replayed(Drive(), changing(restamped, 1.0))
    assert sum("under a new stamp" in breach.text for breach in found) > 10


# One publication


def one_plan(accel: float = 0.0, source: Any = "model", after_s: float = 0.5) -> tuple[Monitor, Published, At]:
    """A monitor that has heard half a second of a drive, and a plan that would be right now."""
    monitor = watching()
    for event in Drive(seconds=after_s + 0.05).events():
        if event.kind not in ("status", "trajectory"):
            assert tell(monitor, event) == ()
    exposed_ns = round(after_s * S)
    plan = published(source, odometer(START_NS + exposed_ns, after_s), np.full(64, accel))
    return monitor, plan, At(START_NS + exposed_ns + 70 * MS, 50 * S + exposed_ns + 70 * MS)


def said(monitor: Monitor, plan: Published, now: At, status: Status | None = None, engaged: bool = True) -> set[str]:
    monitor.status(status or status_of(plan), now)
    monitor.trajectory(plan, engaged, now)
    return kinds(list(monitor.finish()))


def test_a_right_plan_is_right() -> None:
    assert said(*one_plan()) == set()


@pytest.mark.parametrize(
    "change", [{"valid": False}, {"epoch": 1}, {"plan_id": 2}, {"source": "hold"}, {"engaged": False}, {"stamp_ns": START_NS}]
)
def test_the_status_before_it_is_of_that_trajectory_in_everything(change: dict[str, Any]) -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now, replace(status_of(plan), **change)) == {"I7"}


def test_a_status_is_good_for_one_trajectory() -> None:
    monitor, plan, now = one_plan()
    monitor.status(status_of(plan), now)
    monitor.trajectory(plan, engaged=True, now=now)
    monitor.trajectory(plan, engaged=True, now=now)
    assert [breach.invariant for breach in monitor.finish()] == ["I4", "I7"]


def test_a_shadow_trajectory_has_a_status_that_says_so() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now, replace(status_of(plan), engaged=False), engaged=False) == set()


def test_a_breach_of_the_words_says_what_was_announced() -> None:
    monitor, plan, now = one_plan()
    monitor.trajectory(plan, engaged=True, now=now)
    (breach,) = monitor.finish()
    assert breach.text.endswith("open: None")
    assert f"{plan.stamp_ns}, plan 1, epoch 0" in breach.text


@pytest.mark.parametrize(
    ("source", "age_ms", "breaches"),
    [("model", 1100, 0), ("model", 1101, 1), ("model", -200, 0), ("model", -201, 1), ("stop", 300, 0), ("stop", 301, 1)],
)
def test_a_plan_is_no_older_than_its_limit_and_a_stop_than_odometry_may_be(source: Any, age_ms: int, breaches: int) -> None:
    monitor, plan, now = one_plan(source=source)
    then = At(plan.stamp_ns + age_ms * MS, now.steady_ns + (plan.stamp_ns + age_ms * MS - now.ros_ns))
    monitor.status(status_of(plan), then)
    monitor.trajectory(plan, engaged=True, now=then)
    aged = [breach for breach in monitor.finish() if breach.invariant == "I3"]
    limit = "1000 + 100" if source == "model" else "200 + 100"
    assert [breach.text for breach in aged] == [f"a {source} {age_ms} ms old, limit {limit}"] * breaches


@pytest.mark.parametrize(("late_ms", "breaches"), [(200, 0), (201, 1)])
def test_the_points_of_a_hold_are_ahead(late_ms: int, breaches: int) -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    first_ns, late_ns = 300 * MS, 300 * MS + late_ms * MS
    then = At(plan.stamp_ns + late_ns, now.steady_ns + plan.stamp_ns + late_ns - now.ros_ns)
    monitor.status(status_of(rest_of(plan, first_ns - 1)), then)
    monitor.trajectory(rest_of(plan, first_ns - 1), engaged=True, now=then)
    assert [breach.text for breach in monitor.finish()] == [f"a hold whose first point was {late_ms} ms ago"] * breaches


def test_a_message_of_no_points_ends_nothing() -> None:
    monitor, plan, now = one_plan()
    empty = {name: getattr(plan, name)[:0] for name in ("t_ns", "xyz", "quaternion", "speed_mps", "accel_mps2")}
    empty |= {name: getattr(plan, name)[:0] for name in ("curvature_1pm", "heading_rate_rps")}
    assert said(monitor, replace(plan, **empty), now) == {"I5"}
    assert said(monitor, replace(plan, **empty, source="hold", stamp_ns=plan.stamp_ns), now) >= {"I5"}


# Time


def test_a_planner_that_says_nothing_is_found_after_the_limit_of_a_stop_and_the_way_of_its_message() -> None:
    monitor, plan, now = one_plan()
    said(monitor, plan, now)
    for after_ms, want in ((600, set()), (601, {"L1"}), (700, set())):  # once
        then = At(now.ros_ns + after_ms * MS, now.steady_ns + after_ms * MS)
        monitor.odometry(odometer(then.ros_ns, after_ms / 1e3 + 0.57), then)
        assert kinds(list(monitor.tick(then))) == want, after_ms


def test_what_goes_on_is_said_once_and_again_when_it_comes_again() -> None:
    def gone(event: Event) -> Iterator[Event]:
        after_s = (event.now.ros_ns - START_NS) / S
        silent = 1.0 < after_s < 2.0 or 3.0 < after_s < 4.0
        if not (silent and event.kind in ("status", "trajectory")):
            yield event

    found = replayed(Drive(seconds=5.0), gone)
    assert [breach.invariant for breach in found] == ["L1", "L1"]
    assert found[0].text.startswith("no trajectory for 6")
    assert found[0].text.endswith("limit 600")


def test_without_odometry_nothing_has_to_come() -> None:
    assert replayed(Drive(seconds=8.0, deaf=(1.0, 8.0))) == []


def test_a_planner_may_be_as_slow_as_its_own_limit_says() -> None:
    monitor = watching(stop_after_ns=900 * MS)
    found = [breach for event in Drive(outage=(1.0, 1.5)).events() for breach in tell(monitor, event)]
    assert found == []
    assert timing(CAMERA_NS, 1, 10.0, 900 * MS).stop_after_ns == 900 * MS


# The planner's life


def test_after_the_end_of_the_process_nothing_may_come_and_another_one_begins_anew() -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    monitor.life("gone", now)
    for after_ms, want in ((250, []), (251, ["I8", "I8"])):
        then = At(now.ros_ns + after_ms * MS, now.steady_ns + after_ms * MS)
        again = replace(plan, stamp_ns=plan.stamp_ns + after_ms, pose_stamp_ns=plan.stamp_ns + after_ms)
        monitor.status(status_of(again), then)
        monitor.trajectory(again, engaged=True, now=then)
        assert [breach.invariant for breach in monitor.tick(then) if breach.invariant == "I8"] == want
    monitor.life("starts", then)
    older = replace(plan, stamp_ns=plan.stamp_ns - 100 * MS, pose_stamp_ns=plan.stamp_ns - 100 * MS)
    monitor.status(status_of(older), then)
    monitor.trajectory(older, engaged=True, now=then)
    assert {"I4", "I8"}.isdisjoint(kinds(list(monitor.finish())))


def test_a_deactivated_planner_that_is_activated_again_speaks_again() -> None:
    monitor, plan, now = one_plan()
    monitor.life("inactive", now)
    monitor.life("active", At(now.ros_ns + 500 * MS, now.steady_ns + 500 * MS))
    assert said(monitor, plan, At(now.ros_ns + 600 * MS, now.steady_ns + 600 * MS)) == set()


def test_a_status_without_a_trajectory_may_come_after_the_end() -> None:
    monitor, plan, now = one_plan()
    monitor.life("inactive", now)
    then = At(now.ros_ns + S, now.steady_ns + S)
    monitor.status(replace(status_of(plan), valid=False, source=None), then)
    assert monitor.finish() == ()


@pytest.mark.parametrize(("after_ms", "want"), [(250, set()), (251, {"I9"})])
@pytest.mark.parametrize("source", ["model", "hold", "stop"])
def test_what_was_under_way_when_the_clock_jumped_is_of_the_time_before(source: Any, after_ms: int, want: set[str]) -> None:
    monitor, plan, now = one_plan()
    assert said(monitor, plan, now) == set()
    if source == "hold":
        old = rest_of(plan, 0)
    elif source == "stop":
        monitor.odometry(odometer(plan.stamp_ns + 100 * MS, 0.6), At(now.ros_ns + 30 * MS, now.steady_ns + 30 * MS))
        pose = odometer(plan.stamp_ns + 100 * MS, 0.6)
        old = published("stop", pose, np.full(100, -pose.velocity_mps[0] / 10))
    else:
        monitor.frame(ROLES[0], plan.stamp_ns + 100 * MS, now)
        old = published("model", odometer(plan.stamp_ns + 100 * MS, 0.6), np.zeros(64), 2)
    jumped = At(now.ros_ns + 2 * S, now.steady_ns + 100 * MS)
    monitor.clock(jumped)
    then = At(jumped.ros_ns + after_ms * MS, jumped.steady_ns + after_ms * MS)
    monitor.status(status_of(old), then)
    monitor.trajectory(old, engaged=True, now=then)
    found = monitor.finish()
    assert kinds(list(found)) == want, list(map(str, found))
    assert ("since the clock jumped by +1.900 s" in " ".join(map(str, found))) == bool(want)


def test_a_stamp_of_no_input_at_all_is_no_matter_of_an_epoch() -> None:
    monitor, plan, now = one_plan()
    other = replace(plan, stamp_ns=plan.stamp_ns + 1, pose_stamp_ns=plan.stamp_ns + 1)
    monitor.status(status_of(other), now)
    monitor.trajectory(other, engaged=True, now=now)
    (breach,) = monitor.finish()
    text = f"a model's stamp that no frame of the anchor camera has: {plan.stamp_ns + 1}, the nearest are -0.000 ms away"
    assert str(breach) == f"I2: {text}"


def test_what_no_odometry_tells_is_counted_as_not_judged() -> None:
    monitor, plan, now = watching(), published("model", odometer(START_NS, 0.0), np.zeros(64)), At(START_NS, 0)
    monitor.frame(ROLES[0], START_NS, now)
    assert said(monitor, plan, now) == set()
    assert (monitor.unjudged, monitor.publications["model"]) == (1, 1)


def test_a_frame_that_its_plan_overtook_counts() -> None:
    monitor, plan, now = one_plan()
    other = replace(plan, stamp_ns=plan.stamp_ns + 1, pose_stamp_ns=plan.stamp_ns + 1)
    monitor.status(status_of(other), now)
    monitor.trajectory(other, engaged=True, now=now)
    then = At(now.ros_ns + 250 * MS, now.steady_ns + 250 * MS)
    assert monitor.tick(then) == ()
    monitor.frame(ROLES[0], other.stamp_ns, then)
    assert monitor.tick(At(then.ros_ns + 1, then.steady_ns + 1)) == ()


@pytest.mark.parametrize(("waits_ms", "want"), [(650, []), (651, ["I2"])])
def test_a_plan_that_came_late_waits_longer_for_its_frame(waits_ms: int, want: list[str]) -> None:
    """What kept a busy machine's monitor from the plan for 400 ms may have kept it from the frame."""
    monitor, plan, now = one_plan()
    other = replace(plan, stamp_ns=plan.stamp_ns + 1, pose_stamp_ns=plan.stamp_ns + 1)
    monitor.status(status_of(other), now)
    monitor.trajectory(other, engaged=True, now=now, late_ns=400 * MS)
    found = [str(breach.invariant) for breach in monitor.tick(At(now.ros_ns + waits_ms * MS, now.steady_ns + waits_ms * MS))]
    monitor.frame(ROLES[0], other.stamp_ns, At(now.ros_ns + waits_ms * MS, now.steady_ns + waits_ms * MS))
    assert found + [str(breach.invariant) for breach in monitor.finish()] == want


def without(*kinds_: str, after_s: float = 1.0, source: str = "") -> Callable[[Event], Iterator[Event]]:
    """Events of these kinds are missing from then on, trajectories of one source or all."""

    def through(event: Event) -> Iterator[Event]:
        gone = event.kind in kinds_ and event.now.ros_ns > START_NS + after_s * S
        if not gone or (source and getattr(event.value, "source", source) != source):
            yield event

    return through


def test_silence_for_ever_is_found_after_fifty_periods_and_five_seconds() -> None:
    text = "no trajectory for 5.0 s, all inputs healthy for 6.0 s"
    found = replayed(Drive(seconds=7.0), without("trajectory"))
    assert text in [breach.text for breach in found if breach.invariant == "L2"]
    assert "L2" not in kinds(replayed(Drive(seconds=5.9), without("trajectory")))


def test_silence_is_no_breach_while_an_input_is_missing() -> None:
    found = replayed(Drive(seconds=8.0, outage=(3.0, 3.8)), without("trajectory"))
    assert "L2" not in kinds(found)
    found = replayed(Drive(seconds=9.5, outage=(3.0, 3.8)), without("trajectory"))
    assert "L2" in kinds(found)


def test_no_word_while_frames_come_is_found_after_two_seconds() -> None:
    found = [b for b in replayed(Drive(seconds=4.0), without("trajectory", "status")) if b.invariant == "L4"]
    assert [breach.text for breach in found] == ["no status for 2.0 s, limit 2.0"]
    assert "L4" not in kinds(replayed(Drive(seconds=2.9), without("trajectory", "status")))
    assert "L4" not in kinds(replayed(Drive(seconds=6.0, outage=(1.0, 6.0)), without("trajectory", "status")))


def stops_only(state: str, speed_mps: float | None = None) -> Callable[[Event], Iterator[Event]]:
    """From one second on every trajectory is a stop, its status in this state; the vehicle's speed, if given, is set."""

    def through(event: Event) -> Iterator[Event]:
        value = event.value
        if event.kind == "odometry" and speed_mps is not None:
            value = replace(value, velocity_mps=np.array([speed_mps, 0.0, 0.0]))
        if event.kind == "status" and event.now.ros_ns > START_NS + S:
            value = replace(value, state=state, source="stop")
        if event.kind == "trajectory" and event.now.ros_ns > START_NS + S:
            value = replace(value, source="stop")
        yield event._replace(value=value)

    return through


def test_stops_for_ever_are_found_after_a_hundred_periods_and_ten_seconds() -> None:
    found = [b for b in replayed(Drive(seconds=11.5), stops_only("stopping")) if b.invariant == "L3"]
    assert [breach.text for breach in found] == ["no plan for 10.0 s, all inputs healthy for 11.0 s"]
    assert "L3" not in kinds(replayed(Drive(seconds=10.9), stops_only("stopping")))


@pytest.mark.parametrize(
    ("state", "speed_mps", "found"), [("stopped", 0.1, False), ("stopped", 0.11, True), ("stopping", 0.1, True)]
)
def test_a_vehicle_that_stands_and_waits_to_be_engaged_may_stand_for_ever(state: str, speed_mps: float, found: bool) -> None:
    teleports = Drive(seconds=11.5)  # places move on at 8 m/s, within what is called a jump
    assert ("L3" in kinds(replayed(teleports, stops_only(state, speed_mps)))) == found


def test_before_a_planner_spoke_nothing_has_to_come() -> None:
    assert replayed(Drive(seconds=12.0), without("status", "trajectory", after_s=-1.0)) == []


def test_an_engine_that_starts_slowly_is_no_silence() -> None:
    monitor = watching()
    for event in Drive(seconds=8.0).events():
        if event.kind not in ("status", "trajectory"):
            if event.now.ros_ns == START_NS + S and event.kind == "tick":
                monitor.life("starts", event.now)
            assert tell(monitor, event) == ()
