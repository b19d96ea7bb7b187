"""The planner node over real DDS: what it publishes, when it is silent, and that nothing old ever comes out of it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path as PathMessage
from nodes import planner_harness
from nodes.planner_harness import (
    CAMERA_LAG_NS,
    HEADING_RAD,
    MS,
    SPEED_MPS,
    TEST_FOLDER,
    Vehicle,
    driving,
    jpeg,
    left_planning,
    lost,
)
from nodes.ros_harness import listen

from alpamayo_ros import msg
from alpamayo_ros.geometry import apply
from alpamayo_ros.nodes.messages import pose_matrix, stamp_ns
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.types import ROLES, EgoPose

pytestmark = [pytest.mark.ros, pytest.mark.patient]

OTHER_DIAGNOSTICS = ("odometry", "inputs", "engine", "planner", "supervisor", "resources")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """One node for all tests here: each of them leaves it planning."""
    with driving(tmp_path_factory.mktemp("planner"), deadline_ms=300.0) as (vehicle, process):
        yield vehicle, process


@pytest.fixture
def vehicle(running: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    with left_planning(running) as vehicle:
        yield vehicle


def test_simulated_time_that_begins_is_no_jump(vehicle: Vehicle) -> None:
    assert vehicle.plans.trajectory[0].epoch == 0
    assert "jumped" not in vehicle.log.read_text()


def test_a_plan_has_64_points_from_its_anchor_frame(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    assert len(plan.points) == 64
    assert [point.time_from_start_ns for point in plan.points] == [100 * MS * (i + 1) for i in range(64)]
    assert stamp_ns(plan.header.stamp) == vehicle.t0_ns, "the stamp is the anchor frame's"
    assert plan.source == plan.SOURCE_MODEL
    assert plan.header.frame_id == "base_link"
    # Straight ahead at the driven speed; 2 cm for v0, which is estimated from positions.
    assert plan.points[0].pose.position.x == pytest.approx(SPEED_MPS * 0.1, abs=0.02)
    assert plan.points[-1].pose.position.y == pytest.approx(0.0, abs=0.02)
    driven = vehicle.pose(vehicle.t0_ns).position
    assert plan.odom_from_ego_t0.pose.position.x == pytest.approx(driven[0], abs=1e-6), "the pose at t0, not the newest one"
    assert plan.odom_from_ego_t0.pose.position.y == pytest.approx(driven[1], abs=1e-6)


def test_the_status_comes_before_its_trajectory_and_says_what_it_is(vehicle: Vehicle) -> None:
    sent_ns: dict[tuple[str, int], int] = {}  # by the publisher; two topics may be taken in any order
    for kind, name in ((msg.PlanStatus, "status"), (msg.UnicycleTrajectory, "shadow/trajectory")):

        def keep(message: Any, info: Mapping[str, int], name: str = name) -> None:
            sent_ns[name, message.plan_id] = info["source_timestamp"]

        vehicle.node.create_subscription(kind, f"/alpamayo_planner/{name}", keep, 10)
    plan = vehicle.drive_until_plan()
    while ("shadow/trajectory", plan.plan_id) not in sent_ns or ("status", plan.plan_id) not in sent_ns:
        plan = vehicle.drive_until_plan()
    assert sent_ns["status", plan.plan_id] < sent_ns["shadow/trajectory", plan.plan_id]
    status = vehicle.status_at(vehicle.t0_ns)
    assert status.valid
    assert status.header == plan.header
    assert status.state == status.STATE_NOMINAL
    assert status.weights == msg.PlanStatus.WEIGHTS_NONE, "the kinematic baseline has no network and says so"
    assert tuple(status.camera_roles) == ROLES
    assert max(abs(error) for error in status.sync_error_ms) == 0.0, "the vehicle's cameras are in step"
    assert {"observe", "infer", "total", "ready"} <= set(status.stages)
    assert 0.0 <= status.age_ms - CAMERA_LAG_NS / MS < 1.0, "the clock is the vehicle's"


def test_every_plan_has_its_trace_and_its_candidates(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()

    def of_plan(received: list[Any]) -> list[Any]:
        return [m for m in received if m.plan_id == plan.plan_id]

    assert vehicle.wait(lambda: bool(of_plan(vehicle.plans.reasoning)) and bool(of_plan(vehicle.plans.candidates)))
    (trace,), (candidates,) = of_plan(vehicle.plans.reasoning), of_plan(vehicle.plans.candidates)
    assert "inematic" in trace.text
    assert trace.complete
    assert trace.header == candidates.header == plan.header
    assert candidates.candidates[candidates.chosen_index].points == plan.points


def test_the_path_is_the_plan_through_the_pose_at_t0(vehicle: Vehicle) -> None:
    paths = listen(vehicle.node, PathMessage, "/alpamayo_planner/shadow/path")
    assert vehicle.wait(lambda: vehicle.node.count_subscribers("/alpamayo_planner/shadow/path") > 0)
    vehicle.drive_until_plan()
    plan = vehicle.drive_until_plan()
    assert vehicle.wait(lambda: bool(paths) and paths[-1].header.stamp == plan.header.stamp)
    path = paths[-1]
    assert path.header.frame_id == "odom"
    xyz = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in path.poses])
    expected = apply(pose_matrix(plan.odom_from_ego_t0.pose), trajectory_values(plan).xyz)
    np.testing.assert_allclose(xyz, expected, atol=1e-9)
    # The plan keeps speed and heading, as the vehicle does; 64 steps of 2 cm/s wrong speed at most.
    driven = [vehicle.pose(stamp_ns(p.header.stamp)).position for p in path.poses]
    np.testing.assert_allclose(xyz, driven, atol=0.13)
    assert 2 * np.arctan2(path.poses[0].pose.orientation.z, path.poses[0].pose.orientation.w) == pytest.approx(HEADING_RAD)


def test_diagnostics_of_a_healthy_vehicle_are_all_ok_and_hold_the_figures(vehicle: Vehicle) -> None:
    vehicle.drive_until_plan()
    assert "all accepted" in vehicle.diagnostic("inputs")
    assert {status.level for status in vehicle.plans.diagnostics.values()} == {b"\0"}, vehicle.plans.diagnostics
    assert vehicle.plans.diagnostics.keys() == {
        f"alpamayo_planner: {name}" for name in (*(f"camera {role}" for role in ROLES), *OTHER_DIAGNOSTICS)
    }
    camera, odometry, planner = (vehicle.plans.values(name) for name in ("camera front_wide", "odometry", "planner"))
    assert camera["rate_hz"] == "10.00"
    assert float(camera["sync_error_ms"]) == 0.0
    assert (camera["missing"], camera["refused"], camera["dropped"]) == ("0", "0", "0")
    assert float(camera["age_ms"]) <= CAMERA_LAG_NS / MS + 100.0, "said before or after the newest frame"
    assert float(odometry["rate_hz"]) == pytest.approx(50.0)
    assert {"observe_ms_p50", "infer_ms_p99", "ready_ms_p95", "total_ms_max"} <= planner.keys()
    described = (TEST_FOLDER.parent / "docs/nodes.md").read_text()
    keys = {pair.key for status in vehicle.plans.diagnostics.values() for pair in status.values}
    assert [key for key in keys if f"`{key.partition('_ms_p')[0].partition('_ms_max')[0]}`" not in described] == []


@pytest.mark.parametrize("role", ["front_tele", "front_wide"])
def test_without_a_required_camera_there_is_a_hold_then_a_stop_and_the_reason(vehicle: Vehicle, role: str) -> None:
    """front_tele: each t0 of the anchor is refused. front_wide is the anchor itself: there is no t0."""
    vehicle.skip = {role}
    before = len(vehicle.plans.trajectory)
    for _ in range(8):
        vehicle.tick()
    assert vehicle.wait(lambda: vehicle.plans.trajectory[-1].source == msg.UnicycleTrajectory.SOURCE_STOP)
    sources = [trajectory.source for trajectory in vehicle.plans.trajectory[before:]]
    assert sources == sorted(sources), "holds, then stops"
    assert set(sources) == {msg.UnicycleTrajectory.SOURCE_HOLD, msg.UnicycleTrajectory.SOURCE_STOP}
    if role != vehicle.rig.anchor:
        status = vehicle.status_at(vehicle.t0_ns)
        assert any(role in reason and "ms before t0, limit 55" in reason for reason in status.reasons), status.reasons
        assert status.source == msg.PlanStatus.SOURCE_NONE
        assert status.state == status.STATE_STOPPING
    else:
        assert "last refusal: " in vehicle.diagnostic("planner", "no plan for 2 s or more")
    assert "period 100" in vehicle.diagnostic(f"camera {role}", "no good frame for")
    vehicle.skip.clear()
    plan = vehicle.drive_until_plan()
    assert plan.epoch == vehicle.plans.trajectory[before - 1].epoch, "a camera that comes back is no jump of time"


def test_frames_lost_on_the_way_are_counted_and_the_remedy_is_named(vehicle: Vehicle) -> None:
    before = lost(vehicle, "rear_left")
    for skipped in ({"rear_left"}, set(), {"rear_left"}, set()):
        vehicle.skip = skipped
        vehicle.tick()
    said = vehicle.diagnostic("camera rear_left", "fastdds_shm.xml")
    assert "2 frames in the last 10 s were lost before they came here: start the publisher" in said
    assert "FASTDDS_DEFAULT_PROFILES_FILE=" in said
    assert lost(vehicle, "rear_left") == before + 2


def test_a_camera_that_was_away_and_is_back_has_lost_nothing_on_the_way(vehicle: Vehicle) -> None:
    vehicle.skip = {"rear_right"}
    for _ in range(12):
        vehicle.tick()
    vehicle.diagnostic("camera rear_right", "no good frame for")
    vehicle.skip.clear()
    vehicle.drive_until_plan()
    said = vehicle.diagnostic("camera rear_right", "10.0 Hz")
    assert "fastdds_shm" not in said
    assert "missing=12" in said, "the number stays"


def test_a_frame_that_comes_late_but_in_time_is_used(vehicle: Vehicle) -> None:
    vehicle.skip = {"rear_tele"}
    missing_at_ns = vehicle.now_ns + vehicle.camera_period_ns - CAMERA_LAG_NS
    vehicle.tick()
    vehicle.skip.clear()
    vehicle.frame("rear_tele", missing_at_ns)
    vehicle.tick()
    assert vehicle.planned_at(vehicle.t0_ns), "its window is whole: the late frame is in it"


def test_duplicates_and_old_frames_change_nothing(vehicle: Vehicle) -> None:
    vehicle.drive_until_plan()
    before, plans = vehicle.values("camera front_wide"), len(vehicle.plans.status)
    newest = jpeg(vehicle.t0_ns // (100 * MS) % 250)
    for stamp, data in (
        (vehicle.t0_ns, newest),
        (vehicle.t0_ns, jpeg(9)),
        (vehicle.t0_ns - 60_000 * MS, jpeg(9)),
    ):
        vehicle.frame("front_wide", stamp, data)
    after = vehicle.values("camera front_wide")
    assert len(vehicle.plans.status) == plans, "one cycle per anchor frame, none from the past"
    counted = {name: int(after[name]) - int(before[name]) for name in ("duplicate", "conflicting", "late", "decoded")}
    assert counted == {"duplicate": 1, "conflicting": 1, "late": 1, "decoded": 0}


@pytest.mark.parametrize("seconds", [-0.5, 5.0])
def test_a_clock_that_jumps_starts_a_new_epoch(vehicle: Vehicle, seconds: float) -> None:
    """A bag that starts again; a recording with a hole."""
    plan = vehicle.drive_until_plan()
    vehicle.jump(seconds)
    jumped_to_ns = vehicle.now_ns
    again = vehicle.drive_until_plan()
    assert again.epoch > plan.epoch
    assert all(t.epoch > plan.epoch for t in vehicle.plans.trajectory), "nothing of the old epoch after the jump"
    assert stamp_ns(again.header.stamp) - jumped_to_ns >= 300 * MS, "its window is of the new epoch alone"
    assert f"epoch={again.epoch}" in vehicle.diagnostic("odometry", "jumped by")


def test_a_position_that_jumps_starts_a_new_epoch(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    teleported = vehicle.next_odometry()
    teleported.pose.pose.position.x += 100.0
    vehicle.publisher.odometry_message(teleported)
    again = vehicle.drive_until_plan()
    assert again.epoch == plan.epoch + 2, "there, and back again"
    # 8 m/s for 19 ms, in the direction of the heading, less than the 100 m
    assert "the last one of 99.9 m and 0.00 rad in 19 ms" in vehicle.diagnostic("odometry", "jumps in the last 10 s")


def test_odometry_that_jumps_at_every_message_is_the_reason_that_everybody_is_told(
    vehicle: Vehicle, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady, places = Vehicle.pose, count()

    def jumping(vehicle: Vehicle, stamp: int) -> EgoPose:
        return replace(steady(vehicle, stamp), position=np.array([50.0 * next(places), 0.0, 0.0]))

    said = r"(\d+) jumps in the last 10 s, the last one of 50 m and 0.00 rad in 20 ms"
    with monkeypatch.context() as patch:
        patch.setattr(Vehicle, "pose", jumping)
        patch.setattr(planner_harness, "ANSWER_S", 0.3)  # many ticks have no answer, and all are to be within 10 s
        jumps: list[int] = []
        for _ in range(80):  # 5 poses in each camera period; a jump may empty the buffers before the node looks at them
            vehicle.tick()
            reasons = [reason for status in vehicle.plans.status for reason in status.reasons]
            jumps = [int(found[1]) for reason in reasons if (found := re.fullmatch(f"odometry: {said}", reason))]
            if max(jumps, default=0) >= 20:
                break
        assert max(jumps, default=0) >= 20, reasons
        assert re.match(said, vehicle.diagnostic("odometry", "the last one of 50 m"))
        assert re.search(f"no plan for 2 s or more.*odometry: {said}", vehicle.diagnostic("planner", "no plan for 2 s"))


def test_a_killed_engine_comes_back_and_nothing_old_is_published(vehicle: Vehicle) -> None:
    before = vehicle.values("engine")
    os.kill(int(before["engine_pid"]), signal.SIGKILL)
    killed_after = vehicle.t0_ns
    plan = vehicle.drive_until_plan()
    assert stamp_ns(plan.header.stamp) > killed_after
    after = vehicle.values("engine")
    assert int(after["restarts"]) == int(before["restarts"]) + 1
    assert after["engine_pid"] != before["engine_pid"]
    assert "signal 9" in after["last_failure"]
    of_epoch = [t for t in vehicle.plans.trajectory if t.epoch == plan.epoch]
    in_order = [stamp_ns(t.header.stamp) for t in of_epoch if t.source == t.SOURCE_MODEL]
    assert in_order == sorted(set(in_order)), "every t0 once, in order"


def test_a_stopped_engine_is_replaced_at_the_deadline_and_the_t0_it_slept_over_is_refused(vehicle: Vehicle) -> None:
    before = vehicle.values("engine")
    os.kill(int(before["engine_pid"]), signal.SIGSTOP)
    vehicle.tick()
    refused_t0_ns = vehicle.t0_ns
    assert any("deadline" in reason or "silent" in reason for reason in vehicle.status_at(refused_t0_ns).reasons)
    vehicle.drive_until_plan()
    assert int(vehicle.values("engine")["restarts"]) == int(before["restarts"]) + 1
    assert vehicle.planned_at(refused_t0_ns) is None


def test_a_pause_starts_a_new_epoch(vehicle: Vehicle) -> None:
    before = vehicle.drive_until_plan()
    assert vehicle.transition(Transition.TRANSITION_DEACTIVATE)
    vehicle.diagnostic("inputs", "the node is not active")
    assert vehicle.transition(Transition.TRANSITION_ACTIVATE)
    assert vehicle.wait(vehicle.is_heard)
    vehicle.tick()
    assert vehicle.planned_at(vehicle.t0_ns) is None, "what was seen before the pause is no history"
    assert vehicle.drive_until_plan().epoch > before.epoch
