"""The supervisor through the real node: shadow and engaged, holds and stops, and what is never published."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nodes.planner_harness import HEADING_RAD, MS, SPEED_MPS, Vehicle, command, driving, left_planning
from nodes.ros_harness import refused

from alpamayo_ros import msg
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.nodes.client import client_node, engage
from alpamayo_ros.nodes.messages import stamp_ns
from alpamayo_ros.simulation.faults.station import engines_of
from alpamayo_ros.types import EgoPose

pytestmark = [pytest.mark.ros, pytest.mark.patient]

MODEL, HOLD, STOP = (getattr(msg.UnicycleTrajectory, f"SOURCE_{source}") for source in ("MODEL", "HOLD", "STOP"))
STOP_AFTER_NS = 500 * MS  # 5 periods at 10 Hz
PERIOD_NS = 100 * MS


def said_since(vehicle: Vehicle, before: int) -> list[tuple[str, Any]]:
    """(topic, message) of everything that came after so many messages."""
    return [(topic, message) for _, topic, message in vehicle.plans.order[before:]]


def trajectories_since(vehicle: Vehicle, before: int) -> list[tuple[str, msg.UnicycleTrajectory]]:
    return [(topic, message) for topic, message in said_since(vehicle, before) if topic.endswith("trajectory")]


def drive_until(
    vehicle: Vehicle, source: int, ticks: int = 20, kills: Iterable[int] = ()
) -> list[tuple[str, msg.UnicycleTrajectory]]:
    """Drive until a trajectory of this source comes: all that came meanwhile. `kills`: processes, one before each tick."""
    before, doomed = len(vehicle.plans.order), iter(kills)
    for _ in range(ticks):
        if (pid := next(doomed, 0)) != 0:
            os.kill(pid, signal.SIGKILL)
        vehicle.tick()
        found = trajectories_since(vehicle, before)
        if any(trajectory.source == source for _, trajectory in found):
            return found
    raise AssertionError(f"no source {source} in {ticks} ticks: {[t.source for _, t in found]}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """One active node for all tests here: each of them leaves it planning, and not engaged."""
    folder = tmp_path_factory.mktemp("active")
    engine = {"bundle": "engine.own_engines:Driver", "deadline_ms": 300.0, "profile": {"navigation": "text"}}
    with driving(folder, mode="active", **engine) as (vehicle, process):
        yield vehicle, process


@pytest.fixture
def vehicle(running: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    with left_planning(running) as vehicle:
        yield vehicle
        vehicle.override(acts=False)
        assert vehicle.ask("disengage") == ""


@pytest.fixture
def engaged(vehicle: Vehicle) -> Vehicle:
    assert vehicle.ask("engage") == ""
    vehicle.drive_until_plan()
    return vehicle


def test_by_default_nothing_is_published_that_one_could_drive_by(tmp_path_factory: pytest.TempPathFactory) -> None:
    with driving(tmp_path_factory.mktemp("shadow")) as (vehicle, _):
        assert "mode is shadow" in vehicle.ask("engage")
        for _ in range(3):
            vehicle.drive_until_plan()
        topics = {topic for topic, _ in said_since(vehicle, 0)}
        assert topics == {"status", "shadow/trajectory", "shadow/reasoning", "shadow/candidates"}
        for name in ("trajectory", "reasoning", "candidates", "path"):
            assert vehicle.node.count_publishers(f"/alpamayo_planner/{name}") == 0, "not even a publisher"
        status = vehicle.status_at(vehicle.t0_ns)
        assert (status.mode, status.engaged, status.valid) == (msg.PlanStatus.MODE_SHADOW, False, True)
        before = len(vehicle.plans.difference)
        for _ in range(75):  # until a plan's horizon has been driven
            vehicle.tick()
        assert vehicle.wait(lambda: len(vehicle.plans.difference) > before)
        difference = vehicle.plans.difference[-1]
        assert difference.ade_m < 0.2, "straight ahead at a constant speed, planned and driven"
        assert list(difference.after_s) == [0.5, 1.0, 2.5, 5.0, 6.4]


def test_engaging_moves_everything_to_the_topics_one_drives_by_and_back(vehicle: Vehicle) -> None:
    assert trajectories_since(vehicle, 0)[-1][0] == "shadow/trajectory"
    with client_node("somebody") as somebody:
        assert engage(somebody) == ""
    before = len(vehicle.plans.order)
    vehicle.drive_until_plan()
    assert {topic for topic, _ in trajectories_since(vehicle, before)} == {"trajectory"}
    assert vehicle.status_at(vehicle.t0_ns).engaged
    assert "engaged=true" in vehicle.diagnostic("supervisor", "engaged=true")
    assert vehicle.ask("disengage") == ""
    before = len(vehicle.plans.order)
    vehicle.drive_until_plan()
    assert {topic for topic, _ in trajectories_since(vehicle, before)} == {"shadow/trajectory"}


def test_the_driver_has_the_last_word(engaged: Vehicle) -> None:
    engaged.override(acts=True)
    before = len(engaged.plans.order)
    engaged.drive_until_plan()
    assert {topic for topic, _ in trajectories_since(engaged, before)} == {"shadow/trajectory"}
    assert "the driver acts" in engaged.ask("engage")
    engaged.override(acts=False)
    engaged.drive_until_plan()
    assert {topic for topic, _ in trajectories_since(engaged, before)} == {"shadow/trajectory"}, "nothing engages by itself"
    assert engaged.ask("engage") == ""


def test_a_refusal_to_engage_names_every_reason(vehicle: Vehicle) -> None:
    vehicle.override(acts=True)
    vehicle.skip = set(vehicle.rig.cameras) - {vehicle.rig.anchor}
    drive_until(vehicle, STOP)
    with client_node("rival") as rival:
        rival.create_publisher(msg.UnicycleTrajectory, "/alpamayo_planner/trajectory", 1)
        assert vehicle.wait(lambda: vehicle.node.count_publishers("/alpamayo_planner/trajectory") == 2)
        assert vehicle.wait(lambda: "is published by /rival, too" in vehicle.ask("engage"))
        why = vehicle.ask("engage")
    assert "the driver acts" in why
    assert "state is stopping" in why


def test_a_second_planner_is_not_activated(running: tuple[Vehicle, Any], tmp_path: Any) -> None:
    vehicle, process = running
    folder = vehicle.log.parent
    files = ("-p", f"rig:={folder}/rig.yaml", "-p", f"profile:={folder}/profile.yaml")
    status, last_words = refused("planner_node", "-p", "mode:=active", *files)
    assert status == 1
    assert "not activated: /alpamayo_planner/trajectory is published by /alpamayo_planner, too" in last_words
    assert vehicle.wait(lambda: vehicle.node.count_publishers("/alpamayo_planner/status") == 1)
    assert process.poll() is None


def check_hold(hold: msg.UnicycleTrajectory, plan: msg.UnicycleTrajectory) -> None:
    """A hold is its plan without the points that have passed."""
    assert hold.header == plan.header
    assert (hold.plan_id, hold.epoch, hold.odom_from_ego_t0) == (plan.plan_id, plan.epoch, plan.odom_from_ego_t0)
    assert 10 <= len(hold.points) < 64
    assert hold.points == plan.points[-len(hold.points) :]


def check_stop(vehicle: Vehicle, stop: msg.UnicycleTrajectory, plan: msg.UnicycleTrajectory) -> None:
    """A stop begins at the measured pose and speed, follows the plan's path and ends standing."""
    at = vehicle.pose(stamp_ns(stop.header.stamp))
    assert stop.odom_from_ego_t0.pose.position.x == pytest.approx(at.position[0], abs=1e-6)
    assert 64 <= len(stop.points) <= 512
    assert stop.points[0].speed_mps == pytest.approx(SPEED_MPS, abs=0.3)
    assert stop.points[-1].speed_mps == 0.0
    assert max(abs(point.pose.position.y) for point in stop.points) < 0.2, "ahead, as the plan"
    assert stop.plan_id == plan.plan_id


def every_engine(pid: int, lives: int = 3) -> Iterator[int]:
    """Engines of a node as they come, 0 while there is none: one alone is back before a stop is due."""
    killed: set[int] = set()
    while len(killed) < lives:
        alive = set(engines_of(pid)) - killed
        killed |= alive
        yield next(iter(alive), 0)


def test_a_killed_engine_means_a_hold_then_a_stop_in_time_then_recovery(engaged: Vehicle, running: tuple[Vehicle, Any]) -> None:
    plan = engaged.drive_until_plan()
    planned_at_ns, before = engaged.now_ns, len(engaged.plans.order)
    found = drive_until(engaged, STOP, kills=every_engine(running[1].pid))
    sources = [trajectory.source for _, trajectory in found]
    assert sources == sorted(sources)
    assert HOLD in sources
    assert {topic for topic, _ in found} == {"trajectory"}
    check_hold(next(t for _, t in found if t.source == HOLD), plan)
    stop = found[-1][1]
    check_stop(engaged, stop, plan)
    # The clock of this test goes by periods, and does not wait for the watchdog: how fast it is, faults tell (docs/faults.md).
    assert STOP_AFTER_NS <= stamp_ns(stop.header.stamp) - planned_at_ns + PERIOD_NS <= STOP_AFTER_NS + 10 * PERIOD_NS
    assert "ERROR" not in engaged.log.read_text()
    assert "state=stopping" in engaged.diagnostic("supervisor", "stopping")
    again = engaged.drive_until_plan(ticks=100)
    assert engaged.status_at(engaged.t0_ns).state == msg.PlanStatus.STATE_NOMINAL
    assert stamp_ns(again.header.stamp) > stamp_ns(plan.header.stamp)
    for topic, message in said_since(engaged, before):
        assert topic in ("status", "trajectory", "reasoning", "candidates")
        assert topic in ("status", "trajectory") or message.plan_id not in (0, plan.plan_id), "neither hold nor stop has words"


def test_every_trajectory_comes_after_its_own_status(engaged: Vehicle) -> None:
    before = len(engaged.plans.order)
    engaged.skip = {"front_left"}
    drive_until(engaged, STOP)
    found = said_since(engaged, before)
    valid = [(stamp_ns(s.header.stamp), s.source, s.plan_id) for topic, s in found if topic == "status" and s.valid]
    followed = [(stamp_ns(t.header.stamp), t.source, t.plan_id) for topic, t in found if topic == "trajectory"]
    assert followed == valid[: len(followed)]
    assert {HOLD, STOP} <= {source for _, source, _ in followed}


def test_nonsense_is_rejected_held_stopped_and_never_published(engaged: Vehicle) -> None:
    command(engaged, "nonsense", for_ms=1500)
    before = len(engaged.plans.order)
    found = drive_until(engaged, STOP)
    assert MODEL not in {trajectory.source for _, trajectory in found}
    assert found[0][1].source == HOLD
    status = engaged.status_at(engaged.t0_ns)
    assert (status.valid, status.source, status.plan_id) == (False, msg.PlanStatus.SOURCE_NONE, 0)
    rejected = {result.check for result in status.findings if result.level == result.LEVEL_REJECT and not result.shadow}
    assert {"V6", "V7", "V10"} <= rejected, status.findings
    assert any(reason.startswith("V6 ") for reason in status.reasons)
    assert "V6 " in engaged.values("supervisor")["rejected"]
    assert max(abs(p.acceleration_mps2) for _, t in trajectories_since(engaged, before) for p in t.points) <= 4.0
    again = engaged.drive_until_plan(ticks=40)
    assert again.source == MODEL


def test_after_a_jump_of_the_clock_nothing_is_published_until_there_is_a_plan_of_the_new_time(engaged: Vehicle) -> None:
    plan = engaged.drive_until_plan()
    engaged.jump(5.0)
    jumped_at = len(engaged.plans.order)
    again = engaged.drive_until_plan()
    found = trajectories_since(engaged, jumped_at)
    assert [trajectory.source for _, trajectory in found] == [MODEL]
    assert again.epoch > plan.epoch
    assert engaged.status_at(engaged.t0_ns).engaged


def test_nothing_is_published_after_a_deactivation_not_even_a_stop(engaged: Vehicle) -> None:
    engaged.skip = set(engaged.rig.cameras)
    drive_until(engaged, STOP)
    assert engaged.transition(Transition.TRANSITION_DEACTIVATE)
    engaged.pause(0.1)  # for what is on its way
    before = len(engaged.plans.order)
    for _ in range(8):
        engaged.tick()
    assert said_since(engaged, before) == []
    assert engaged.transition(Transition.TRANSITION_ACTIVATE)
    assert engaged.wait(engaged.is_heard)
    engaged.skip.clear()
    engaged.drive_until_plan()
    assert not engaged.status_at(engaged.t0_ns).engaged, "nothing engages by itself"


def test_a_vehicle_that_was_stopped_waits_for_somebody(engaged: Vehicle, monkeypatch: pytest.MonkeyPatch) -> None:
    engaged.skip = set(engaged.rig.cameras)
    drive_until(engaged, STOP)
    stood_at = engaged.pose(engaged.now_ns).position

    def standing(_: Vehicle, stamp: int) -> EgoPose:
        return EgoPose(stamp, stood_at, rotation_z(HEADING_RAD), np.zeros(3), np.zeros(3))

    def going_on(_: Vehicle, stamp: int) -> EgoPose:
        along = np.array([np.cos(HEADING_RAD), np.sin(HEADING_RAD), 0.0])
        position = stood_at + SPEED_MPS * (stamp - went_on_ns) / 1e9 * along
        return EgoPose(stamp, position, rotation_z(HEADING_RAD), np.array([SPEED_MPS, 0.0, 0.0]), np.zeros(3))

    with monkeypatch.context() as patch:
        patch.setattr(Vehicle, "pose", standing)
        engaged.tick()
        engaged.skip.clear()
        for _ in range(12):
            engaged.tick()
        assert engaged.plans.status[-1].state == msg.PlanStatus.STATE_STOPPED, "plans alone do not set it in motion"
        assert engaged.plans.trajectory[-1].source == STOP
        assert engaged.ask("engage") == ""
        engaged.drive_until_plan()
        went_on_ns = engaged.now_ns
        patch.setattr(Vehicle, "pose", going_on)
        assert engaged.ask("disengage") == ""
        for _ in range(10):
            engaged.tick()
        offset = engaged.pose(engaged.now_ns).position
    # The other tests drive on from where the vehicle would be: a jump, and a new epoch.
    assert np.linalg.norm(offset - engaged.pose(engaged.now_ns).position) > 1.0
    engaged.drive_until_plan()


def test_simulated_time_that_stands_still_is_silence_and_goes_on_as_before(engaged: Vehicle) -> None:
    before = len(engaged.plans.order)
    assert engaged.wait(lambda: engaged.plans.status[-1].state == msg.PlanStatus.STATE_SILENT)
    assert "simulated time stands still" in engaged.plans.status[-1].reasons
    assert trajectories_since(engaged, before) == []
    engaged.tick()
    assert engaged.status_at(engaged.t0_ns).state == msg.PlanStatus.STATE_NOMINAL
    assert engaged.status_at(engaged.t0_ns).engaged
