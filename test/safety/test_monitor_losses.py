"""What DDS lost on its way to the monitor: the planner may know what the monitor does not."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from safety.test_monitor import one_plan, rest_of, status_of
from safety.watched_drive import MS, S, odometer, published

from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.safety.monitor import Monitor
from alpamayo_ros.safety.monitor_inputs import At


def unknown(plan: Published, source: Literal["model", "stop", "hold"]) -> Published:
    """A publication whose input the monitor has not seen."""
    if source == "hold":
        return replace(rest_of(plan, 0), stamp_ns=plan.stamp_ns + 1)
    other = plan if source == "model" else published("stop", odometer(plan.stamp_ns, 0.5), np.full(100, -0.9))
    return replace(other, stamp_ns=plan.stamp_ns + 1, pose_stamp_ns=plan.stamp_ns + 1)


def told(source: Literal["model", "stop", "hold"], lost_after_ms: int | None) -> tuple[Monitor, set[str]]:
    """A publication of an input that did not come, and a loss so long after it."""
    monitor, plan, now = one_plan()
    before = At(now.ros_ns - 1, now.steady_ns - 1)
    other = unknown(plan, source)
    if lost_after_ms is not None and lost_after_ms < 0:
        monitor.lost(At(before.ros_ns + lost_after_ms * MS, before.steady_ns + lost_after_ms * MS))
    monitor.status(status_of(other), now)
    monitor.trajectory(other, engaged=True, now=now)
    if lost_after_ms is not None and lost_after_ms >= 0:
        monitor.lost(At(now.ros_ns + lost_after_ms * MS, now.steady_ns + lost_after_ms * MS))
    return monitor, {breach.invariant for breach in monitor.finish()}


@pytest.mark.parametrize("source", ["model", "stop"])
@pytest.mark.parametrize("lost_after_ms", [-900, 20, 100])
def test_a_stamp_of_an_input_that_may_have_been_lost_is_not_judged(
    source: Literal["model", "stop"], lost_after_ms: int
) -> None:
    monitor, found = told(source, lost_after_ms)
    assert found == set()
    assert (monitor.unjudged, monitor.losses) == (1, 1)


@pytest.mark.parametrize("source", ["model", "stop"])
def test_without_a_loss_it_is_a_breach(source: Literal["model", "stop"]) -> None:
    monitor, found = told(source, None)
    assert found >= {"I2"}
    assert (monitor.unjudged, monitor.losses) == (0, 0)


@pytest.mark.parametrize("source", ["model", "stop"])
def test_a_loss_long_before_it_excuses_nothing(source: Literal["model", "stop"]) -> None:
    monitor, plan, now = one_plan()
    monitor.lost(now)
    later = At(now.ros_ns + S + 1, now.steady_ns + S + 1)
    other = unknown(plan, source)
    monitor.status(status_of(other), later)
    monitor.trajectory(other, engaged=True, now=later)
    assert "I2" in {breach.invariant for breach in monitor.finish()}


def test_a_hold_of_no_plan_is_a_breach_whatever_was_lost() -> None:
    _, found = told("hold", 20)
    assert "I2" in found


def test_what_does_not_need_the_inputs_is_judged_whatever_was_lost() -> None:
    monitor, plan, now = one_plan()
    monitor.lost(now)
    broken = replace(unknown(plan, "model"), speed_mps=np.full(64, np.nan))
    monitor.status(status_of(broken), now)
    monitor.trajectory(broken, engaged=True, now=now)
    assert {breach.invariant for breach in monitor.finish()} == {"I1"}


def test_a_stop_that_overtook_the_jump_it_answers_is_right() -> None:
    """The planner had the pose first, and stopped from it before it came here."""
    monitor, _, now = one_plan()
    turned = replace(odometer(now.ros_ns, 0.57), position=np.array([50.0, 50.0, 0.0]))
    stop = published("stop", turned, np.full(100, -turned.velocity_mps[0] / 10))
    monitor.status(status_of(stop), now)
    monitor.trajectory(stop, engaged=True, now=now)
    later = At(now.ros_ns + 5 * MS, now.steady_ns + 5 * MS)
    monitor.odometry(turned, later)
    assert monitor.inputs.jumps == 1
    assert monitor.finish() == ()


def test_a_stop_from_a_place_where_nobody_was_is_wrong_beside_a_jump_too() -> None:
    monitor, _, now = one_plan()
    turned = replace(odometer(now.ros_ns, 0.57), position=np.array([50.0, 50.0, 0.0]))
    elsewhere = replace(turned, position=np.array([60.0, 50.0, 0.0]))
    stop = published("stop", elsewhere, np.full(100, -turned.velocity_mps[0] / 10))
    monitor.status(status_of(stop), now)
    monitor.trajectory(stop, engaged=True, now=now)
    monitor.odometry(turned, At(now.ros_ns + 5 * MS, now.steady_ns + 5 * MS))
    assert {breach.invariant for breach in monitor.finish()} == {"I10"}
