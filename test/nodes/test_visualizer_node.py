"""The visualizer: a plan is shown where the vehicle was at its t0, in the picture of its t0, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import yaml
from nodes.ros_harness import listen, refused, started
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros import msg, types
from alpamayo_ros.cameras import base_from_optical, nominal_camera
from alpamayo_ros.drawing import VEHICLE_WIDTH_M, overlay, speed_colour
from alpamayo_ros.geometry import inverse, quaternion_from_rotation, rotation_from_rpy
from alpamayo_ros.nodes import markers
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.messages import (
    CycleStatus,
    odom_from_ego,
    reasoning_message,
    status_message,
    time_message,
    trajectory_message,
)
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import Consistency, Decision, EgoPose, Plan, Trajectory

T0 = 1_700_000_000_000_000_000
STEP = 100_000_000
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def straight() -> Trajectory:
    """10 m/s straight ahead, so that left and right edges are easy to name."""
    t, zeros = np.arange(1, 65) * 0.1, np.zeros(64)
    return Trajectory(t, np.stack([10 * t, zeros, zeros], axis=1), zeros, np.full(64, 10.0), zeros, zeros)


def ego(stamp_ns: int = T0) -> EgoPose:
    return EgoPose(
        stamp_ns, np.array([100.0, -50.0, 3.0]), rotation_from_rpy(0, 0, np.pi / 2), np.array([10.0, 0, 0]), np.zeros(3)
    )


def plan(stamp_ns: int = T0) -> Plan:
    trace = types.ReasoningTrace(
        "Keep the lane: nothing is in the way.", Decision("set_speed_tracking", "lane_keeping"), (), 9, complete=True
    )
    provisional = False
    return Plan(stamp_ns, 0, "model", provisional, straight(), (straight(),), 0, (1.0,), trace, (), Consistency(agrees=True))


def plan_message(stamp_ns: int = T0, plan_id: int = 1) -> msg.UnicycleTrajectory:
    return trajectory_message(plan(stamp_ns), plan_id, ego(stamp_ns), read_rig("seven_camera"))


def xyz(points: list[Any]) -> np.ndarray:
    return np.array([[p.x, p.y, p.z] for p in points])


def test_the_ribbon_lies_in_the_odometry_frame_through_the_pose_of_the_message() -> None:
    ribbon, line = markers.trajectory_markers(plan_message())
    assert (ribbon.header.frame_id, ribbon.header.stamp) == ("odom", time_message(T0))
    # The vehicle faces +y of odom: its left is -x.
    expected = np.stack([np.full(65, 100.0), -50 + np.arange(65), np.full(65, 3.0)], axis=1)
    np.testing.assert_allclose(xyz(line.points), expected, rtol=0, atol=1e-12)
    corners = xyz(ribbon.points).reshape(64, 6, 3)
    half = VEHICLE_WIDTH_M / 2
    np.testing.assert_allclose(
        corners[0, :3], [[100 - half, -50, 3], [100 + half, -50, 3], [100 - half, -49, 3]], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        corners[-1, 3:], [[100 - half, 14, 3], [100 + half, 13, 3], [100 + half, 14, 3]], rtol=0, atol=1e-12
    )


def test_the_ribbon_has_one_colour_of_its_speed_per_corner() -> None:
    ribbon, _ = markers.trajectory_markers(plan_message())
    assert len(ribbon.colors) == len(ribbon.points) == 64 * 6
    assert {(round(255 * c.r), round(255 * c.g), round(255 * c.b)) for c in ribbon.colors} == {speed_colour(10.0)}


def test_the_text_stands_above_the_ego_of_t0() -> None:
    marker = markers.plan_text_marker(plan_message(), "words")
    assert (marker.text, marker.header.frame_id) == ("words", "odom")
    np.testing.assert_allclose(xyz([marker.pose.position]), [[100, -50, 3 + markers.TEXT_ABOVE_EGO_M]], rtol=0, atol=1e-12)


def test_the_ego_of_t0_is_a_frame() -> None:
    transform = markers.ego_t0_transform(plan_message())
    assert (transform.header.frame_id, transform.child_frame_id) == ("odom", "alpamayo_ego_t0")
    np.testing.assert_array_equal(xyz([transform.transform.translation]), odom_from_ego(ego())[None, :3, 3])


def test_a_status_says_its_state_its_weights_and_every_reason() -> None:
    status = CycleStatus(T0, 0, "silent", "kinematic", "none", reasons=("front_tele: newest frame 180 ms before t0", "second"))
    text = markers.status_text(status_message(status, read_rig("seven_camera")))
    assert text.splitlines() == ["SILENT  (kinematic, weights: none)", "front_tele: newest frame 180 ms before t0", "second"]


def test_a_trace_says_its_decision_its_words_and_that_it_does_not_fit() -> None:
    message = reasoning_message(plan(), 1, read_rig("seven_camera"), 0)
    assert markers.trace_text(message).splitlines() == [
        "set_speed_tracking / lane_keeping",
        "Keep the lane: nothing is in the way.",
    ]
    message.consistent, message.why_not = msg.ReasoningTrace.CONSISTENT_NO, "it turns right"
    assert markers.trace_text(message).splitlines()[-1] == "does not fit the trajectory: it turns right"


def test_a_long_trace_is_wrapped() -> None:
    message = msg.ReasoningTrace(text="word " * 100)
    assert max(len(line) for line in markers.trace_text(message).splitlines()) <= markers.TEXT_COLUMNS


@dataclass
class Shown:
    """A visualizer on a small rig, and what it published."""

    node: Node
    rig: Rig
    markers: list[MarkerArray]
    overlays: list[CompressedImage]
    publish: dict[str, Any]

    def frame(self, stamp_ns: int, grey: int) -> None:
        image = np.full((96, 160, 3), grey, np.uint8)
        message = CompressedImage(format="jpeg", data=simplejpeg.encode_jpeg(image))
        message.header.stamp = time_message(stamp_ns)
        self.publish["image"].publish(message)

    def plan(self, stamp_ns: int, plan_id: int) -> None:
        self.publish["trajectory"].publish(trajectory_message(plan(stamp_ns), plan_id, ego(stamp_ns), self.rig))

    def spin(self, done: Any, timeout_s: float = 5.0) -> bool:
        return spin_until(self.node, done, timeout_s)

    def texts(self) -> list[str]:
        return [m.text for array in self.markers for m in array.markers if m.type == Marker.TEXT_VIEW_FACING]


def small_rig(folder: Path) -> Path:
    described = read_rig("seven_camera").model_dump(mode="json")
    for camera in described["cameras"].values():
        camera |= {"width": 160, "height": 96}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def camera_info(rig: Rig) -> CameraInfo:
    camera = nominal_camera(rig.cameras["front_wide"])
    info = CameraInfo(width=160, height=96, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = np.array([camera.fx, 0, camera.cx, 0, camera.fy, camera.cy, 0, 0, 1])
    return info


def mounts(rig: Rig) -> TFMessage:
    message = TFMessage()
    mounted = base_from_optical(rig.cameras["front_wide"].mount)
    transform = markers.TransformStamped(child_frame_id="front_wide_optical_frame")
    transform.header.frame_id = "base_link"
    q, t = transform.transform.rotation, transform.transform.translation
    q.x, q.y, q.z, q.w = quaternion_from_rotation(mounted[:3, :3]).tolist()
    t.x, t.y, t.z = mounted[:3, 3].tolist()
    message.transforms = [transform]
    return message


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("visualizer")
    rig_file = small_rig(folder)
    rig = read_rig(str(rig_file))
    camera = rig.cameras["front_wide"]
    with client_node("tester") as node:
        publish = {
            "status": node.create_publisher(msg.PlanStatus, "/alpamayo_planner/status", 10),
            "trajectory": node.create_publisher(msg.UnicycleTrajectory, "/alpamayo_planner/trajectory", 10),
            "reasoning": node.create_publisher(msg.ReasoningTrace, "/alpamayo_planner/reasoning", 10),
            "image": node.create_publisher(CompressedImage, camera.topic, qos_profile_sensor_data),
            "info": node.create_publisher(CameraInfo, camera.info_topic, LATCHED),
            "static": node.create_publisher(TFMessage, "/tf_static", LATCHED),
        }
        arrays = listen(node, MarkerArray, "/alpamayo_visualizer/markers")
        overlays = listen(node, CompressedImage, "/alpamayo_visualizer/overlay/compressed")
        publish["static"].publish(mounts(rig))
        with started("visualizer_node", folder / "log", "-p", f"rig:={rig_file}") as process:
            assert spin_until(node, lambda: all(p.get_subscription_count() for p in publish.values()), 10)
            time.sleep(0.3)
            publish["info"].publish(camera_info(rig))
            yield Shown(node, rig, arrays, overlays, publish)
            assert process.poll() is None, (folder / "log").read_text()
        assert process.returncode == 0


@pytest.mark.ros
def test_the_overlay_is_the_picture_of_t0_with_the_trajectory_and_no_other(shown: Shown) -> None:
    stamps = [T0 + i * STEP for i in range(3)]
    for i, stamp in enumerate(stamps):
        shown.frame(stamp, 50 * (i + 1))
    shown.spin(lambda: False, 0.2)
    shown.overlays.clear()
    shown.plan(stamps[1], 1)
    assert shown.spin(lambda: bool(shown.overlays))
    [message] = shown.overlays
    assert (message.header.stamp, message.header.frame_id) == (time_message(stamps[1]), "front_wide_optical_frame")
    drawn = simplejpeg.decode_jpeg(bytes(message.data)).astype(int)
    camera = shown.rig.cameras["front_wide"]
    grey = np.full((96, 160, 3), 100, np.uint8)
    expected = overlay(grey, nominal_camera(camera), inverse(base_from_optical(camera.mount)), straight())
    assert np.abs(drawn[:20] - 100).max() <= 3, "above the horizon is the picture of the second frame, through JPEG twice"
    assert np.abs(drawn - expected).mean() < 3, "JPEG changes a ribbon's edge, nothing else"
    assert np.abs(drawn - grey).max() > 50, "there is a ribbon"


@pytest.mark.ros
def test_a_plan_that_comes_before_its_picture_is_drawn_when_the_picture_comes(shown: Shown) -> None:
    shown.overlays.clear()
    shown.plan(T0 + 10 * STEP, 2)
    assert not shown.spin(lambda: bool(shown.overlays), 0.3)
    shown.frame(T0 + 10 * STEP + 1, 10)
    assert not shown.spin(lambda: bool(shown.overlays), 0.3), "a nanosecond beside t0 is another picture"
    shown.frame(T0 + 10 * STEP, 10)
    assert shown.spin(lambda: bool(shown.overlays))


@pytest.mark.ros
def test_the_text_shows_the_trace_of_the_same_plan_only(shown: Shown) -> None:
    shown.plan(T0 + 20 * STEP, 3)
    late = reasoning_message(plan(T0 + 10 * STEP), 2, shown.rig, 0)
    late.text = "an old thought"
    shown.publish["reasoning"].publish(late)
    shown.publish["reasoning"].publish(reasoning_message(plan(T0 + 20 * STEP), 3, shown.rig, 0))
    assert shown.spin(lambda: any("Keep the lane" in text for text in shown.texts()))
    assert not any("an old thought" in text for text in shown.texts())


@pytest.mark.ros
def test_a_cycle_without_a_plan_takes_the_trajectory_away_and_says_why(shown: Shown) -> None:
    shown.plan(T0 + 30 * STEP, 4)
    shown.spin(lambda: False, 0.2)
    shown.markers.clear()
    refusal = CycleStatus(T0 + 31 * STEP, 0, "silent", "kinematic", "none", reasons=("odometry: nothing for 400 ms",))
    shown.publish["status"].publish(status_message(refusal, shown.rig))
    assert shown.spin(lambda: bool(shown.markers))
    actions = {(m.ns, m.id): m.action for m in shown.markers[-1].markers}
    assert actions == {("trajectory", 0): Marker.DELETE, ("trajectory", 1): Marker.DELETE, ("text", 0): Marker.ADD}
    assert "odometry: nothing for 400 ms" in shown.texts()[-1]


@pytest.mark.ros
def test_a_picture_that_cannot_be_one_is_refused_and_the_next_is_shown(shown: Shown) -> None:
    message = CompressedImage(format="jpeg", data=b"\xff\xd8\xff no picture")
    message.header.stamp = time_message(T0 + 40 * STEP)
    shown.publish["image"].publish(message)
    shown.overlays.clear()
    shown.frame(T0 + 41 * STEP, 90)
    shown.plan(T0 + 41 * STEP, 5)
    assert shown.spin(lambda: bool(shown.overlays))


@pytest.mark.ros
def test_a_role_the_rig_lacks_is_refused() -> None:
    status, line = refused("visualizer_node", "-p", "overlay_role:=roof")
    assert status == 1
    assert "overlay_role: want one of front_left, front_wide" in line
