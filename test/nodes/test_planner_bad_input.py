"""Bad input at the planner node, over real DDS: it is refused, said in diagnostics, planned from by nobody; the node lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from nodes.planner_harness import HEIGHT, MS, RAW_ROLE, WIDTH, Vehicle, driving, jpeg, picture, raw_image
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from alpamayo_ros import msg
from alpamayo_ros.nodes.client import client_node
from alpamayo_ros.nodes.messages import time_message

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """One node for all tests here: each of them leaves it planning."""
    with driving(tmp_path_factory.mktemp("planner")) as (vehicle, process):
        yield vehicle, process


@pytest.fixture
def vehicle(running: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    vehicle, process = running
    vehicle.drive_until_plan()
    yield vehicle
    vehicle.skip.clear()
    assert process.poll() is None, f"the node died: {vehicle.log.read_text()[-2000:]}"
    vehicle.drive_until_plan()


@pytest.fixture
def stranger() -> Iterator[Node]:
    """A node of another process, as DDS sees it: one participant has one type per topic."""
    with client_node("stranger") as node:
        yield node


GOOD = jpeg(7)
SIZE_AT = GOOD.index(b"\xff\xc0") + 5  # height and width in the start-of-frame segment, two bytes each
SCAN = GOOD[GOOD.index(b"\xff\xda") : -2]
COMPRESSED_FAULTS = {
    "truncated": (GOOD[:-40], "cannot be decoded"),
    "corrupt": (GOOD[:300] + bytes(40) + GOOD[340:], "cannot be decoded"),
    "empty": (b"", "0 bytes that start with nothing"),
    "not an image": (b"hello" * 100, "500 bytes that start with 68 65 6c 6c 6f"),
    "bomb": (GOOD[:SIZE_AT] + b"\x7d\x00\x7d\x00" + GOOD[SIZE_AT + 4 :], "got 32000x32000"),
    "oversized": (GOOD + bytes(8_000_001), "limit 8000000"),
    "of another size": (
        jpeg(7, WIDTH // 2, HEIGHT // 2),
        f"the rig declares {WIDTH}x{HEIGHT} pixels, got {WIDTH // 2}x{HEIGHT // 2}",
    ),
    "of another kind": (cv2.imencode(".png", picture(7))[1].tobytes(), "names another kind of file than the png that came"),
    "of endless scans": (GOOD[:-2] + 20 * SCAN + GOOD[-2:], "scans, limit 16"),
}


@pytest.mark.parametrize("fault", COMPRESSED_FAULTS)
def test_a_bad_compressed_image_is_refused_and_said(vehicle: Vehicle, fault: str) -> None:
    data, reason = COMPRESSED_FAULTS[fault]
    lost_before = lost(vehicle, "rear_left")
    vehicle.tick({"rear_left": data})
    assert vehicle.planned_at(vehicle.t0_ns) is None
    assert any("rear_left" in said for said in vehicle.status_at(vehicle.t0_ns).reasons)
    vehicle.drive_until_plan()
    assert lost(vehicle, "rear_left") > lost_before
    said = vehicle.diagnostic("camera rear_left", reason)
    assert reason in said.partition("; topic=")[0], "in the message, not only among the values"
    assert "frames refused or dropped in the last 10 s" in said
    assert "fastdds_shm" not in said, "it was not lost on the way"


RAW_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "of an unknown encoding": ({"encoding": "8UC3"}, "encoding '8UC3': want one of rgb8"),
    "of another encoding": ({"encoding": "rgba8"}, f"step {3 * WIDTH} is below the {4 * WIDTH} bytes of a row"),
    "cut short": ({"step": 3 * WIDTH + 16}, f"want {(3 * WIDTH + 16) * HEIGHT} bytes, got {3 * WIDTH * HEIGHT}"),
    "of another size": ({"width": HEIGHT, "height": WIDTH, "step": 3 * HEIGHT}, f"got {HEIGHT}x{WIDTH}"),
}


@pytest.mark.parametrize("fault", RAW_FAULTS)
def test_a_bad_raw_image_is_refused_and_said(vehicle: Vehicle, fault: str) -> None:
    changes, reason = RAW_FAULTS[fault]
    vehicle.skip = {RAW_ROLE}
    vehicle.raw.publish(raw_image(vehicle.now_ns + 70 * MS, picture(7), **changes))
    vehicle.tick()
    assert vehicle.planned_at(vehicle.t0_ns) is None
    assert any(RAW_ROLE in said for said in vehicle.status_at(vehicle.t0_ns).reasons)
    assert reason in vehicle.diagnostic(f"camera {RAW_ROLE}", reason)


@pytest.mark.parametrize(("ahead_ms", "reason"), [(5000, "ms ahead of the clock, limit 100"), (None, "want a time after 0")])
def test_a_frame_of_an_impossible_time_is_refused(vehicle: Vehicle, ahead_ms: int | None, reason: str) -> None:
    before = len(vehicle.plans.status)
    vehicle.frame("front_wide", 0 if ahead_ms is None else vehicle.now_ns + ahead_ms * MS, GOOD)
    vehicle.diagnostic("camera front_wide", reason)
    assert len(vehicle.plans.status) == before, "no cycle begins with it"


def position(message: Odometry, value: float) -> None:
    message.pose.pose.position.x = value


def speed(message: Odometry, value: float) -> None:
    message.twist.twist.linear.x = value


def turning(message: Odometry, value: float) -> None:
    message.twist.twist.angular.z = value


def quaternion(message: Odometry, value: float) -> None:
    turn = message.pose.pose.orientation
    turn.x = turn.y = turn.z = turn.w = value


def frame(message: Odometry, value: str) -> None:
    message.header.frame_id = value


def child_frame(message: Odometry, value: str) -> None:
    message.child_frame_id = value


def stamp(message: Odometry, ahead_ms: int) -> None:
    seconds, nanoseconds = message.header.stamp.sec + ahead_ms // 1000, message.header.stamp.nanosec
    message.header.stamp.sec, message.header.stamp.nanosec = (seconds, nanoseconds) if ahead_ms else (0, 0)


@pytest.mark.parametrize(
    ("spoil", "value", "reason"),
    [
        (position, float("nan"), "position: want finite numbers, got [nan"),
        (position, float("inf"), "position: want finite numbers, got [inf"),
        (speed, float("nan"), "linear twist: want finite numbers, got [nan"),
        (turning, float("-inf"), "angular twist: want finite numbers"),
        (quaternion, 0.0, "quaternion"),
        (quaternion, float("nan"), "quaternion"),
        (frame, "map", "odometry in frame 'map', the rig declares 'odom'"),
        (child_frame, "imu_link", "no transform from it to the rig's base frame 'base_link' in /tf_static"),
        (stamp, 5000, "ms ahead of the clock, limit 100"),
        (stamp, 0, "want a time after 0"),
    ],
)
def test_bad_odometry_is_refused_and_said(
    vehicle: Vehicle, spoil: Callable[[Odometry, Any], None], value: Any, reason: str
) -> None:
    message = vehicle.next_odometry()
    spoil(message, value)
    vehicle.publisher.odometry_message(message)
    assert "/localization/kinematic_state" in vehicle.diagnostic("inputs", reason)
    epoch = vehicle.plans.trajectory[-1].epoch
    assert vehicle.drive_until_plan().epoch == epoch, "it left no trace in the buffers"


@pytest.mark.parametrize("spoil", [position, speed, turning])
def test_odometry_of_absurd_numbers_makes_no_plan_and_no_harm(vehicle: Vehicle, spoil: Callable[[Odometry, Any], None]) -> None:
    """Finite, and no more: 1e300 m overflows in every later step."""
    for _ in range(6):
        vehicle.skip = set(vehicle.rig.cameras)
        vehicle.tick()
        message = vehicle.next_odometry()
        spoil(message, 1e300)
        vehicle.publisher.odometry_message(message)
    before = len(vehicle.plans.trajectory)
    vehicle.skip.clear()
    vehicle.tick()
    assert len(vehicle.plans.trajectory) == before
    vehicle.jump(3.0)  # the next poses are believed again


def test_odometry_out_of_order_finds_its_place(vehicle: Vehicle) -> None:
    before = vehicle.values("odometry")
    message = vehicle.next_odometry()
    message.header.stamp = time_message(vehicle.now_ns - 30 * MS)
    message.pose.pose.position.x, message.pose.pose.position.y, _ = vehicle.pose(vehicle.now_ns - 30 * MS).position.tolist()
    vehicle.publisher.odometry_message(message)
    vehicle.publisher.odometry_message(message)
    after = vehicle.values("odometry")
    assert int(after.get("late", 0)) == int(before.get("late", 0)) + 1
    assert int(after.get("duplicate", 0)) == int(before.get("duplicate", 0)) + 1
    assert after["epoch"] == before["epoch"]


@pytest.mark.parametrize(
    "payload", [b"", b"\x00\x01\x00\x00", b"\x00\x01\x00\x00" + b"\xff" * 64], ids=["empty", "header", "junk"]
)
def test_bytes_that_are_no_message_do_no_harm(vehicle: Vehicle, payload: bytes) -> None:
    for publisher in (vehicle.publisher._cameras["rear_left"], vehicle.publisher._odometry):
        publisher.publish(payload)
    vehicle.pause(0.2)


def test_text_that_is_no_utf_8_does_no_harm(vehicle: Vehicle) -> None:
    from rclpy.serialization import serialize_message

    message = CompressedImage(format="jpeg~", data=GOOD)
    message.header.stamp = time_message(vehicle.t0_ns)
    vehicle.publisher._cameras["rear_left"].publish(serialize_message(message).replace(b"jpeg~", b"jpeg\xff"))
    vehicle.pause(0.2)


def test_another_type_on_a_camera_topic_is_named(vehicle: Vehicle, stranger: Node) -> None:
    topic = vehicle.rig.cameras["front_wide"].topic
    stranger.create_publisher(Image, topic, qos_profile_sensor_data)
    said = vehicle.diagnostic("inputs", "published as sensor_msgs/msg/Image")
    assert f"{topic} type" in said
    assert "the rig declares sensor_msgs/msg/CompressedImage" in said


def test_a_publisher_of_incompatible_qos_is_named(vehicle: Vehicle, stranger: Node) -> None:
    """Navigation is asked for reliably, transforms latched."""
    unreliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    stranger.create_publisher(msg.NavigationCommand, "/alpamayo_planner/navigation", unreliable)
    stranger.create_publisher(TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE))
    said = vehicle.diagnostic("inputs", "/tf_static QoS")
    assert "/tf_static QoS=a publisher is incompatible: DURABILITY" in said
    assert "/alpamayo_planner/navigation QoS=a publisher is incompatible: RELIABILITY" in said


def test_navigation_is_refused_by_a_profile_that_takes_none(vehicle: Vehicle) -> None:
    publisher = vehicle.node.create_publisher(msg.NavigationCommand, "/alpamayo_planner/navigation", 1)
    assert vehicle.wait(lambda: publisher.get_subscription_count() > 0)
    command = msg.NavigationCommand(maneuver=msg.NavigationCommand.MANEUVER_TURN_LEFT, distance_m=30.0)
    command.header.stamp, command.expires = time_message(vehicle.now_ns), time_message(vehicle.now_ns + 10_000 * MS)
    publisher.publish(command)
    vehicle.diagnostic("inputs", "profile seven_camera takes no navigation: the command was dropped")


def test_a_transform_that_is_no_rotation_is_refused(vehicle: Vehicle) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = vehicle.node.create_publisher(TFMessage, "/tf_static", latched)
    bad = TransformStamped(child_frame_id="imu_link")
    bad.header.frame_id = "base_link"
    bad.transform.rotation.w = 0.0
    publisher.publish(TFMessage(transforms=[bad]))
    assert "/tf_static refused=1" in vehicle.diagnostic("inputs", "transform from 'imu_link' to 'base_link'")


def test_ego_signals_out_of_range_are_refused(vehicle: Vehicle) -> None:
    publisher = vehicle.node.create_publisher(msg.EgoSignals, "/alpamayo_planner/ego_signals", qos_profile_sensor_data)
    assert vehicle.wait(lambda: publisher.get_subscription_count() > 0)
    publisher.publish(msg.EgoSignals(steering_angle_rad=float(np.nan)))
    vehicle.diagnostic("inputs", "steering_angle_rad nan: want -pi/2..pi/2")


def lost(vehicle: Vehicle, role: str) -> int:
    """Frames of a camera that were refused or lost, as the newest status says."""
    status = vehicle.status_at(vehicle.t0_ns)
    return dict(zip(status.camera_roles, status.camera_dropped, strict=True))[role]
