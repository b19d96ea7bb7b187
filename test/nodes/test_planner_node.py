"""The planner node over real DDS: what comes in decides what comes out, and nothing that comes in stops it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nodes.planner_harness import HEIGHT, SPEED_MPS, WIDTH, Vehicle, jpeg, planner, small_profile, small_rig, wait_for
from nodes.ros_harness import refused
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image

from alpamayo_ros import msg
from alpamayo_ros.nodes.client import spin_until
from alpamayo_ros.nodes.messages import stamp_ns, time_message
from alpamayo_ros.types import ROLES

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def driving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """One node for all tests that do it no harm: after each of them it must still plan."""
    with planner(tmp_path_factory.mktemp("planner")) as (vehicle, process):
        vehicle.drive_until_plan()
        yield vehicle, process


@pytest.fixture
def vehicle(driving: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    vehicle, process = driving
    yield vehicle
    vehicle.skip.clear()
    assert process.poll() is None, "the node died"
    vehicle.drive_until_plan()


def test_a_plan_has_64_points_from_its_anchor_frame(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    assert len(plan.points) == 64
    assert [point.time_from_start_ns for point in plan.points] == [100_000_000 * (i + 1) for i in range(64)]
    assert stamp_ns(plan.header.stamp) == vehicle.now_ns, "the stamp is the anchor frame's"
    assert plan.source == plan.SOURCE_MODEL
    assert plan.header.frame_id == "base_link"
    assert plan.points[0].pose.position.x == pytest.approx(SPEED_MPS * 0.1, abs=0.02), "straight ahead at the driven speed"
    assert plan.odom_from_ego_t0.pose.position.x == pytest.approx(vehicle.pose(vehicle.now_ns).position[0], abs=1e-6)


def test_the_status_comes_before_its_trajectory_and_says_what_it_is(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    wait_for(vehicle, lambda: any(name == "trajectory" and m.plan_id == plan.plan_id for _, name, m in vehicle.plans.order))
    statuses = [s for s in vehicle.plans.status if s.plan_id == plan.plan_id]
    assert len(statuses) == 1
    (status,) = statuses
    assert status.valid
    assert status.header.stamp == plan.header.stamp
    assert status.weights == msg.PlanStatus.WEIGHTS_NONE, "the kinematic baseline has no network and says so"
    assert tuple(status.camera_roles) == ROLES
    assert max(abs(error) for error in status.sync_error_ms) < 1.0
    assert {"observe", "infer", "total"} <= set(status.stages)


def test_every_plan_has_its_trace(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    assert wait_for(vehicle, lambda: vehicle.plans.reasoning and vehicle.plans.reasoning[-1].plan_id >= plan.plan_id)
    trace = next(t for t in vehicle.plans.reasoning if t.plan_id == plan.plan_id)
    assert "inematic" in trace.text
    assert trace.complete
    assert trace.header.stamp == plan.header.stamp


BAD_IMAGES = {
    "truncated": jpeg(7)[:-40],
    "corrupt": jpeg(7)[:300] + bytes(40) + jpeg(7)[340:],
    "empty": b"",
    "not an image": b"hello" * 100,
    "bomb": jpeg(7)[: jpeg(7).index(b"\xff\xc0") + 5] + b"\x7d\x00\x7d\x00" + jpeg(7)[jpeg(7).index(b"\xff\xc0") + 9 :],
    "oversized": jpeg(7) + bytes(8_000_001),
}


@pytest.mark.parametrize("fault", BAD_IMAGES)
def test_a_bad_image_is_refused_and_said(vehicle: Vehicle, fault: str) -> None:
    vehicle.skip = {"rear_left"}
    vehicle.tick()
    before = len(vehicle.plans.trajectory)
    vehicle.publisher.camera("rear_left", vehicle.now_ns, BAD_IMAGES[fault])
    wait_for(vehicle, lambda: False, 0.3)
    assert len(vehicle.plans.trajectory) == before, "no plan comes from a bad image"
    said = (
        vehicle.diagnostic("inputs", "rear_left") if fault != "corrupt" else vehicle.diagnostic("camera rear_left", "refused")
    )
    assert "rear_left" in said


def test_an_image_of_another_size_is_refused_with_both_sizes(vehicle: Vehicle) -> None:
    import simplejpeg

    small = bytes(simplejpeg.encode_jpeg(np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8)))
    vehicle.publisher.camera("front_wide", vehicle.now_ns + 1, small)
    assert f"{WIDTH}x{HEIGHT}" in vehicle.diagnostic("inputs", f"got {WIDTH // 2}x{HEIGHT // 2}")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_odometry_that_is_no_number_is_refused(vehicle: Vehicle, value: float) -> None:
    bad = vehicle.bad_odometry()
    bad.pose.pose.position.x = value
    vehicle.publisher.odometry_message(bad)
    assert "kinematic_state" in vehicle.diagnostic("inputs", "finite")


def test_a_zero_quaternion_is_refused(vehicle: Vehicle) -> None:
    bad = vehicle.bad_odometry()
    bad.pose.pose.orientation.w = 0.0
    vehicle.publisher.odometry_message(bad)
    assert "kinematic_state" in vehicle.diagnostic("inputs", "quaternion")


def test_odometry_of_a_frame_nobody_knows_is_refused(vehicle: Vehicle) -> None:
    bad = vehicle.bad_odometry()
    bad.child_frame_id = "imu_link"
    vehicle.publisher.odometry_message(bad)
    vehicle.diagnostic("inputs", "imu_link")


def test_duplicates_and_old_frames_change_nothing(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    for stamp_ns_ in (vehicle.now_ns, vehicle.now_ns - 100_000_000, vehicle.now_ns - 60_000_000_000):
        vehicle.publisher.camera("front_wide", stamp_ns_, jpeg(9))
    wait_for(vehicle, lambda: False, 0.3)
    assert vehicle.plans.trajectory[-1].plan_id == plan.plan_id, "one plan per anchor frame, none from the past"
    vehicle.diagnostic("camera front_wide", "duplicate=")


@pytest.mark.parametrize("stamp", [0, "future"])
def test_impossible_stamps_are_refused(vehicle: Vehicle, stamp: Any) -> None:
    before = len(vehicle.plans.trajectory)
    vehicle.publisher.camera("front_wide", 0 if stamp == 0 else vehicle.now_ns + 5_000_000_000, jpeg(3))
    wait_for(vehicle, lambda: False, 0.3)
    assert len(vehicle.plans.trajectory) == before
    vehicle.diagnostic("inputs", "stamp" if stamp == 0 else "future")


def test_without_a_required_camera_there_is_silence_and_the_reason(vehicle: Vehicle) -> None:
    vehicle.tick(2)
    vehicle.skip = {"front_tele"}
    before = len(vehicle.plans.trajectory)
    vehicle.tick(6)
    assert len(vehicle.plans.trajectory) <= before + 1, "at most the plan that was under way"
    reasons = [reason for status in vehicle.plans.status[-3:] for reason in status.reasons]
    assert any("front_tele" in reason and "ms" in reason for reason in reasons), reasons
    assert vehicle.plans.status[-1].source == msg.PlanStatus.SOURCE_NONE


def test_another_type_on_a_camera_topic_is_named(vehicle: Vehicle) -> None:
    topic = vehicle.rig.cameras["front_wide"].topic
    intruder = vehicle.node.create_publisher(Image, topic, qos_profile_sensor_data)
    said = vehicle.diagnostic("inputs", "sensor_msgs/msg/Image")
    vehicle.node.destroy_publisher(intruder)
    assert "sensor_msgs/msg/CompressedImage" in said


def test_navigation_is_refused_by_a_profile_that_takes_none(vehicle: Vehicle) -> None:
    commands = vehicle.node.create_publisher(msg.NavigationCommand, "/alpamayo_planner/navigation", QoSProfile(depth=1))
    spin_until(vehicle.node, lambda: commands.get_subscription_count() > 0, 5)
    command = msg.NavigationCommand(maneuver=msg.NavigationCommand.MANEUVER_TURN_LEFT, distance_m=30.0)
    command.header.stamp, command.expires = time_message(vehicle.now_ns), time_message(vehicle.now_ns + 10**10)
    commands.publish(command)
    vehicle.diagnostic("inputs", "takes no navigation")
    vehicle.node.destroy_publisher(commands)


def test_a_bag_that_starts_again_starts_a_new_epoch(vehicle: Vehicle) -> None:
    plan = vehicle.drive_until_plan()
    after_jump = len(vehicle.plans.trajectory)
    vehicle.now_ns -= 3_000_000_000
    again = vehicle.drive_until_plan()
    assert again.epoch > plan.epoch
    assert all(t.epoch > plan.epoch for t in vehicle.plans.trajectory[after_jump:]), "nothing of the old epoch after the jump"


def test_a_killed_engine_comes_back_and_nothing_old_is_published(vehicle: Vehicle) -> None:
    vehicle.diagnostic("engine", "state=ready")
    pid = int(vehicle.plans.values("engine")["engine_pid"])
    plan = vehicle.drive_until_plan()
    os.kill(pid, signal.SIGKILL)
    again = vehicle.drive_until_plan()
    assert stamp_ns(again.header.stamp) > stamp_ns(plan.header.stamp)
    restarted = vehicle.diagnostic("engine", "restarts=1")
    assert f"engine_pid={pid}" not in restarted


def test_a_stopped_engine_is_replaced_at_the_deadline(vehicle: Vehicle) -> None:
    vehicle.diagnostic("engine", "state=ready")
    before = vehicle.plans.values("engine")
    os.kill(int(before["engine_pid"]), signal.SIGSTOP)
    plan = vehicle.drive_until_plan()
    vehicle.diagnostic("engine", f"restarts={int(before['restarts']) + 1}")
    assert stamp_ns(plan.header.stamp) >= vehicle.now_ns - 100_000_000


def test_a_deactivated_node_says_nothing(driving: tuple[Vehicle, Any]) -> None:
    vehicle, _ = driving
    change = vehicle.node.create_client(ChangeState, "/alpamayo_planner/change_state")
    assert spin_until(vehicle.node, change.service_is_ready, 5)

    def ask(transition: int) -> bool:
        future = change.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert spin_until(vehicle.node, future.done, 10)
        return bool(future.result().success)

    assert ask(Transition.TRANSITION_DEACTIVATE)
    before = len(vehicle.plans.order)
    vehicle.tick(5)
    assert len(vehicle.plans.order) == before
    assert ask(Transition.TRANSITION_ACTIVATE)
    vehicle.drive_until_plan()
    vehicle.node.destroy_client(change)


def test_a_2_hz_rig_with_10_hz_odometry_is_healthy_at_its_own_rate(tmp_path: Path) -> None:
    with planner(tmp_path, camera_hz=2.0, odometry_hz=10.0) as (vehicle, _):
        for _ in range(12):
            vehicle.tick(1, camera_every_ms=500, odometry_every_ms=100)
        assert len(vehicle.plans.trajectory) >= 2
        assert all(len(t.points) == 64 for t in vehicle.plans.trajectory)
        said = vehicle.diagnostic("camera front_wide", "rate_hz=2.0")
        assert "missing=0" in said


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("rigg:=seven_camera", "did you mean 'rig'"),
        ("bundle:=models/nowhere", "kinematic"),
        ("rig:=nowhere.yaml", "no such file"),
        ("max_plan_hz:=-1.0", "0.1..100"),
        ("decode_threads:=two", "whole number"),
    ],
)
def test_a_wrong_parameter_refuses_to_start_and_says_what_was_expected(argument: str, said: str) -> None:
    status, text = refused("planner_node", "-p", argument)
    assert status != 0
    assert said in text


def test_an_unknown_role_in_the_rig_refuses_to_start(tmp_path: Path) -> None:
    small_rig(tmp_path)
    rig = tmp_path / "rig.yaml"
    rig.write_text(rig.read_text().replace("front_tele:", "front_telephoto:"))
    status, text = refused("planner_node", "-p", f"rig:={rig}", "-p", f"profile:={small_profile(tmp_path)}")
    assert status != 0
    assert "front_telephoto" in text
