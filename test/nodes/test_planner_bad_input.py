"""Bad input at the planner node, over real DDS: it is refused, said in diagnostics, planned from by nobody; the node lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import Transform, TransformStamped
from nav_msgs.msg import Odometry
from nodes.planner_harness import HEIGHT, MS, RAW_ROLE, WIDTH, Vehicle, driving, jpeg, left_planning, picture, raw_image
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from tf2_msgs.msg import TFMessage

from alpamayo_ros import msg
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.nodes.client import client_node
from alpamayo_ros.nodes.messages import time_message
from alpamayo_ros.types import EgoPose

pytestmark = [pytest.mark.ros, pytest.mark.patient]


class Fault(NamedTuple):
    """One bad message."""

    where: str  # camera role or topic
    publish: Callable[[Vehicle], None]
    reason: str  # words of the diagnostic


def compressed(role: str, data: bytes, reason: str) -> Fault:
    return Fault(role, lambda vehicle: vehicle.publisher.camera(role, vehicle.next_t0_ns, data), reason)


def raw(changes: dict[str, Any], reason: str) -> Fault:
    return Fault(
        RAW_ROLE, lambda vehicle: vehicle.raw[RAW_ROLE].publish(raw_image(vehicle.next_t0_ns, picture(7), **changes)), reason
    )


def odometry(spoil: Callable[[Odometry], object], reason: str) -> Fault:
    def publish(vehicle: Vehicle) -> None:
        message = vehicle.next_odometry()
        spoil(message)
        vehicle.publisher.odometry_message(message)

    return Fault("/localization/kinematic_state", publish, reason)


def frame_at(role: str, ahead_ms: int | None, reason: str) -> Fault:
    def publish(vehicle: Vehicle) -> None:
        vehicle.publisher.camera(role, 0 if ahead_ms is None else vehicle.now_ns + ahead_ms * MS, GOOD)

    return Fault(role, publish, reason)


def other(topic: str, message: Callable[[Vehicle], Any], reason: str, latched: bool = False) -> Fault:
    def publish(vehicle: Vehicle) -> None:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        publisher = vehicle.node.create_publisher(type(message(vehicle)), topic, QoSProfile(depth=1, durability=durability))
        assert vehicle.wait(lambda: publisher.get_subscription_count() > 0)
        vehicle.pause(0.3)  # a publisher knows its subscriber before that one knows it
        publisher.publish(message(vehicle))

    return Fault(topic, publish, reason)


def turn(message: Odometry, value: float) -> None:
    q = message.pose.pose.orientation
    q.x = q.y = q.z = q.w = value


def ahead(message: Odometry, seconds: int) -> None:
    message.header.stamp.sec += seconds


def turn_left(vehicle: Vehicle) -> msg.NavigationCommand:
    command = msg.NavigationCommand(maneuver=msg.NavigationCommand.MANEUVER_TURN_LEFT, distance_m=30.0)
    command.header.stamp, command.expires = time_message(vehicle.now_ns), time_message(vehicle.now_ns + 10_000 * MS)
    return command


def no_rotation(_: Vehicle) -> TFMessage:
    transform = TransformStamped(child_frame_id="imu_link", transform=Transform())
    transform.header.frame_id = "base_link"
    transform.transform.rotation.w = 0.0
    return TFMessage(transforms=[transform])


def signals_ahead(vehicle: Vehicle) -> msg.EgoSignals:
    message = msg.EgoSignals()
    message.header.stamp = time_message(vehicle.now_ns + 5000 * MS)
    return message


NAN = float("nan")
GOOD = jpeg(7)
SIZE_AT = GOOD.index(b"\xff\xc0") + 5  # height and width in the start-of-frame segment, two bytes each
SCAN = GOOD[GOOD.index(b"\xff\xda") : -2]
BOMB = GOOD[:SIZE_AT] + b"\x7d\x00\x7d\x00" + GOOD[SIZE_AT + 4 :]
SMALL = (WIDTH // 2, HEIGHT // 2)
PNG = cv2.imencode(".png", picture(7))[1].tobytes()

FAULTS = {
    "JPEG cut short": compressed("rear_left", GOOD[:-40], "cannot be decoded"),
    "JPEG with a hole": compressed("rear_tele", GOOD[:300] + bytes(40) + GOOD[340:], "cannot be decoded"),
    "JPEG that claims gigabytes": compressed("front_left", BOMB, "got 32000x32000"),
    "JPEG over the limit": compressed("front_right", GOOD + bytes(8_000_001), "limit 8000000"),
    "JPEG of another size": compressed(
        "front_tele", jpeg(7, *SMALL), f"declares {WIDTH}x{HEIGHT} pixels, got {SMALL[0]}x{SMALL[1]}"
    ),
    "JPEG of endless scans": compressed("rear_left", GOOD[:-2] + 20 * SCAN + GOOD[-2:], "scans, limit 16"),
    "PNG where JPEG is declared": compressed("rear_tele", PNG, "another kind of file than the png that came"),
    "no bytes": compressed("front_left", b"", "0 bytes that start with nothing"),
    "no image": compressed("front_right", b"hello" * 100, "500 bytes that start with 68 65 6c 6c 6f"),
    "raw of an unknown encoding": raw({"encoding": "8UC3"}, "encoding '8UC3': want one of rgb8"),
    "raw of another encoding": raw({"encoding": "rgba8"}, f"step {3 * WIDTH} is below the {4 * WIDTH} bytes of a row"),
    "raw cut short": raw({"step": 3 * WIDTH + 16}, f"want {(3 * WIDTH + 16) * HEIGHT} bytes, got {3 * WIDTH * HEIGHT}"),
    "raw of another size": raw({"width": HEIGHT, "height": WIDTH, "step": 3 * HEIGHT}, f"got {HEIGHT}x{WIDTH}"),
    "frame of the future": frame_at("front_wide", 5000, "ms ahead of the clock, limit 100"),
    "frame without a stamp": frame_at("front_wide", None, "want a time after 0"),
    "NaN position": odometry(lambda m: setattr(m.pose.pose.position, "x", NAN), "position: want finite numbers, got [nan"),
    "NaN speed": odometry(lambda m: setattr(m.twist.twist.linear, "x", NAN), "linear twist: want finite numbers"),
    "zero quaternion": odometry(lambda m: turn(m, 0.0), "got [0. 0. 0. 0.] of norm 0"),
    "odometry in another frame": odometry(
        lambda m: setattr(m.header, "frame_id", "map"), "frame 'map', the rig declares 'odom'"
    ),
    "odometry of an unknown child": odometry(
        lambda m: setattr(m, "child_frame_id", "imu"), "no transform from it to the rig's base frame"
    ),
    "odometry of the future": odometry(lambda m: ahead(m, 5), "ms ahead of the clock, limit 100"),
    "navigation nobody takes": other("/alpamayo_planner/navigation", turn_left, "takes no navigation: the command was dropped"),
    "NaN ego signal": other(
        "/alpamayo_planner/ego_signals", lambda _: msg.EgoSignals(steering_angle_rad=NAN), "nan: want -pi/2..pi/2"
    ),
    "ego signals of the future": other("/alpamayo_planner/ego_signals", signals_ahead, "ms ahead of the clock, limit 100"),
    "transform without rotation": other("/tf_static", no_rotation, "transform from 'imu_link' to 'base_link'", latched=True),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Any]]:
    """One node for all tests here: each of them leaves it planning."""
    with driving(tmp_path_factory.mktemp("planner")) as (vehicle, process):
        yield vehicle, process


@pytest.fixture
def vehicle(running: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    with left_planning(running) as vehicle:
        yield vehicle


class Seen(NamedTuple):
    """What the node made of a fault."""

    camera_said: str
    inputs_said: str
    refused: tuple[str, ...]  # reasons of the cycle; empty when there was a plan
    epochs: int  # that began


@pytest.fixture(scope="module")
def seen(running: tuple[Vehicle, Any]) -> dict[str, Seen]:
    """All faults, as many at once as there are places for them: diagnostics come once a second."""
    vehicle, process = running
    found: dict[str, Seen] = {}
    while len(found) < len(FAULTS):
        places: dict[str, str] = {}
        for name in FAULTS.keys() - found.keys():
            places.setdefault(FAULTS[name].where, name)
        found |= _inject(vehicle, list(places.values()))
        assert process.poll() is None, f"{places} ended the node: {vehicle.log.read_text()[-2000:]}"
    return found


def _inject(vehicle: Vehicle, names: list[str]) -> dict[str, Seen]:
    epoch = vehicle.drive_until_plan().epoch
    for name in names:
        FAULTS[name].publish(vehicle)
    vehicle.skip = {FAULTS[name].where for name in names} - {vehicle.rig.anchor}
    vehicle.tick()
    vehicle.skip.clear()
    reasons = tuple(vehicle.status_at(vehicle.t0_ns).reasons)
    began = vehicle.drive_until_plan().epoch - epoch
    vehicle.diagnostic("inputs")
    return {name: Seen(vehicle.said(f"camera {FAULTS[name].where}"), vehicle.said("inputs"), reasons, began) for name in names}


CAMERA_FAULTS = [name for name, fault in FAULTS.items() if not fault.where.startswith("/")]


@pytest.mark.parametrize("name", CAMERA_FAULTS)
def test_a_bad_frame_is_refused_and_its_camera_says_why(seen: dict[str, Seen], name: str) -> None:
    message, _, values = seen[name].camera_said.partition("; topic=")
    assert FAULTS[name].reason in values, "last_reason"
    assert "frames refused or dropped in the last 10 s" in message
    assert "fastdds_shm" not in message, "it was not lost on the way"


@pytest.mark.parametrize("name", [name for name in CAMERA_FAULTS if FAULTS[name].where != "front_wide"])
def test_nobody_plans_from_a_bad_frame(seen: dict[str, Seen], name: str) -> None:
    assert any(f"{FAULTS[name].where}: newest frame" in reason for reason in seen[name].refused), seen[name].refused


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in CAMERA_FAULTS])
def test_a_bad_message_is_refused_and_its_topic_says_why(seen: dict[str, Seen], name: str) -> None:
    said = seen[name].inputs_said
    _, _, of_topic = said.partition(f"{FAULTS[name].where} refused: ")
    assert FAULTS[name].reason in of_topic, said
    assert seen[name].epochs == 0, "it left no trace in the buffers"


@pytest.mark.parametrize("speed_mps", [1e60, 1e200, 1e300])
def test_odometry_of_absurd_numbers_makes_no_plan_and_no_harm(
    vehicle: Vehicle, speed_mps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite, and in accord with themselves; as float32, or squared, they overflow."""

    def flying(_: Vehicle, stamp: int) -> EgoPose:
        position = np.array([speed_mps * ((stamp - start_ns) / 1e9), 0.0, 0.0])
        return EgoPose(stamp, position, rotation_z(0.0), np.array([1.05 * speed_mps, 0.0, 0.0]), np.zeros(3))

    start_ns = vehicle.now_ns
    with monkeypatch.context() as patch:
        patch.setattr(Vehicle, "pose", flying)
        vehicle.tick()
        before = len(vehicle.plans.trajectory)
        for _ in range(7):
            vehicle.tick()
    assert len(vehicle.plans.trajectory) == before
    assert vehicle.status_at(vehicle.t0_ns).reasons


def test_odometry_out_of_order_finds_its_place(vehicle: Vehicle) -> None:
    before = vehicle.values("odometry")
    late = vehicle.pose(vehicle.now_ns - 30 * MS)
    for _ in range(2):
        vehicle.publisher.odometry(late)
    after = vehicle.values("odometry")
    counted = {name: int(after[name]) - int(before.get(name, 0)) for name in ("late", "duplicate")}
    assert counted == {"late": 1, "duplicate": 1}
    assert after["epoch"] == before["epoch"]


@pytest.mark.parametrize("payload", [b"", b"\x00\x01\x00\x00", b"\x00\x01\x00\x00" + b"\xff" * 64], ids=["no", "few", "wrong"])
def test_bytes_that_are_no_message_do_no_harm(vehicle: Vehicle, payload: bytes) -> None:
    odometry = vehicle.node.create_publisher(Odometry, vehicle.rig.odometry.topic, 10)
    assert vehicle.wait(lambda: odometry.get_subscription_count() > 0)
    for publisher in (vehicle.raw[RAW_ROLE], odometry):
        publisher.publish(payload)
    vehicle.pause(0.2)


def test_text_that_is_no_utf_8_does_no_harm(vehicle: Vehicle) -> None:
    message = raw_image(vehicle.next_t0_ns, picture(7), encoding="rgb8~")
    vehicle.raw[RAW_ROLE].publish(serialize_message(message).replace(b"rgb8~", b"rgb8\xff"))
    vehicle.diagnostic(f"camera {RAW_ROLE}", "encoding 'rgb8")


@pytest.fixture
def stranger() -> Iterator[Node]:
    """A node of another process, as DDS sees it: one participant has one type per topic."""
    with client_node("stranger") as node:
        yield node


def test_publishers_that_cannot_be_heard_are_named_as_long_as_they_are_there(vehicle: Vehicle, stranger: Node) -> None:
    """Another type; less than reliable where navigation is asked for reliably; not latched where transforms are."""
    topic = vehicle.rig.cameras["front_left"].topic
    stranger.create_publisher(Image, topic, qos_profile_sensor_data)
    unreliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    stranger.create_publisher(msg.NavigationCommand, "/alpamayo_planner/navigation", unreliable)
    fleeting = stranger.create_publisher(TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE))
    for text in (  # a publisher may be known before its node's name is
        f"{topic} unheard: stranger publishes sensor_msgs/msg/Image, wanted is sensor_msgs/msg/CompressedImage",
        "navigation unheard: stranger publishes with incompatible QoS: ERROR: Best effort publisher and reliable",
        "/tf_static unheard: stranger publishes with incompatible QoS: ERROR: Volatile publisher",
    ):
        vehicle.diagnostic("inputs", text)
    stranger.destroy_publisher(fleeting)
    assert vehicle.wait(lambda: "/tf_static unheard" not in vehicle.diagnostic("inputs"))


def test_a_camera_with_two_publishers_is_named(vehicle: Vehicle, stranger: Node) -> None:
    topic = vehicle.rig.cameras["rear_left"].topic
    stranger.create_publisher(CompressedImage, topic, qos_profile_sensor_data)
    said = vehicle.diagnostic("inputs", "stranger")  # a publisher may be known before its node's name is
    assert f"{topic} publishers: " in said
    assert vehicle.plans.diagnostics["alpamayo_planner: inputs"].level == b"\1"


def test_a_compressed_camera_that_stopped_is_told_from_one_that_is_refused(vehicle: Vehicle) -> None:
    vehicle.skip = {"rear_left"}
    for _ in range(7):
        vehicle.publisher.camera("rear_left", vehicle.next_t0_ns, b"hello")
        vehicle.tick()
    said = vehicle.diagnostic("camera rear_left", "no good frame for")
    assert "frames refused or dropped in the last 10 s, last: rear_left: format 'jpeg': 5 bytes" in said
