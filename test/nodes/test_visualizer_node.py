"""The visualizer: a plan is shown where the vehicle was at its t0, in the pictures of its t0, and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import simplejpeg
import yaml
from nodes.made_plans import STEP, T0, ego, plan, plan_message, straight, trace_message
from nodes.ros_harness import listen, refused, started
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros import msg
from alpamayo_ros.cameras import base_from_optical, info_from_camera, nominal_camera
from alpamayo_ros.drawing import overlay
from alpamayo_ros.geometry import inverse, quaternion_from_rotation
from alpamayo_ros.nodes import markers, overlays
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.messages import CycleStatus, candidates_message, status_message, time_message, trajectory_message
from alpamayo_ros.nodes.visualizer_node import STRIP, VisualizerNode
from alpamayo_ros.nodes.visualizer_node import Shown as VisualizerShown
from alpamayo_ros.profile import Rig, read_rig

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass
class Shown:
    """A visualizer on a small rig, and what it published."""

    node: Node
    rig: Rig
    markers: list[MarkerArray]
    overlays: list[CompressedImage]
    strips: list[CompressedImage]
    publish: dict[str, Any]

    def frame(self, stamp_ns: int, grey: int) -> None:
        image = np.full((96, 160, 3), grey, np.uint8)
        message = CompressedImage(format="jpeg", data=simplejpeg.encode_jpeg(image))
        message.header.stamp = time_message(stamp_ns)
        self.publish["image"].publish(message)

    def plan(self, stamp_ns: int, plan_id: int, source: str = "model", topic: str = "trajectory") -> None:
        message = trajectory_message(plan(stamp_ns, source), plan_id, ego(stamp_ns), self.rig)
        self.publish[topic].publish(message)

    def spin(self, done: Any, timeout_s: float = 5.0) -> bool:
        return spin_until(self.node, done, timeout_s)

    def texts(self) -> list[str]:
        return [m.text for array in self.markers for m in array.markers if m.type == Marker.TEXT_VIEW_FACING]

    def namespaces(self) -> list[list[str]]:
        """Of each array since the last clearing of the list; "" where everything is deleted."""
        return [[m.ns for m in array.markers] for array in self.markers]


def small_rig(folder: Path) -> Path:
    described = read_rig("seven_camera").model_dump(mode="json")
    for camera in described["cameras"].values():
        camera |= {"width": 160, "height": 96}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def camera_info(rig: Rig) -> CameraInfo:
    return CameraInfo(**info_from_camera(nominal_camera(rig.cameras["front_wide"]))._asdict())


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
            "candidates": node.create_publisher(msg.TrajectoryCandidates, "/alpamayo_planner/candidates", 10),
            "shadow": node.create_publisher(msg.UnicycleTrajectory, "/alpamayo_planner/shadow/trajectory", 10),
            "shadow_reasoning": node.create_publisher(msg.ReasoningTrace, "/alpamayo_planner/shadow/reasoning", 10),
            "image": node.create_publisher(CompressedImage, camera.topic, qos_profile_sensor_data),
            "info": node.create_publisher(CameraInfo, camera.info_topic, LATCHED),
            "static": node.create_publisher(TFMessage, "/tf_static", LATCHED),
        }
        arrays = listen(node, MarkerArray, "/alpamayo_visualizer/markers")
        publish["static"].publish(mounts(rig))
        parameters = ("-p", f"rig:={rig_file}", "-p", "overlay_hz:=100.0", "-p", "overlay_roles:=[front_wide]")
        with started("visualizer_node", folder / "log", *parameters) as process:
            unwatched = [publisher for name, publisher in publish.items() if name != "image"]
            assert spin_until(node, lambda: all(p.get_subscription_count() for p in unwatched), 10)
            time.sleep(1.0)
            assert publish["image"].get_subscription_count() == 0, "nobody looks at a picture yet"
            drawn = listen(node, CompressedImage, "/alpamayo_visualizer/overlay/front_wide/compressed")
            strips = listen(node, CompressedImage, "/alpamayo_visualizer/overlay/strip/compressed")
            assert spin_until(node, lambda: publish["image"].get_subscription_count() > 0, 10)
            publish["info"].publish(camera_info(rig))
            time.sleep(0.3)
            yield Shown(node, rig, arrays, drawn, strips, publish)
            assert process.poll() is None, (folder / "log").read_text()
        assert process.returncode == 0


@pytest.fixture
def made_node() -> Iterator[VisualizerNode]:
    """A visualizer of the shipped rig in this process, which nobody spins and whose topics nobody else knows."""
    rclpy.init(args=["--ros-args", "-r", "__ns:=/alone"])
    node = VisualizerNode()
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.mark.ros
@pytest.mark.patient
def test_the_overlay_is_the_picture_of_t0_with_the_trajectory_and_no_other(shown: Shown) -> None:
    stamps = [T0 + i * STEP for i in range(3)]
    for i, stamp in enumerate(stamps):
        shown.frame(stamp, 50 * (i + 1))
    shown.spin(lambda: False, 0.2)
    shown.overlays.clear()
    shown.plan(stamps[1], 1)
    assert shown.spin(lambda: bool(shown.overlays))
    [message] = [overlay for overlay in shown.overlays if overlay.header.stamp == time_message(stamps[1])]
    assert (message.header.stamp, message.header.frame_id) == (time_message(stamps[1]), "front_wide_optical_frame")
    drawn = simplejpeg.decode_jpeg(bytes(message.data)).astype(int)
    camera = shown.rig.cameras["front_wide"]
    grey = np.full((96, 160, 3), 100, np.uint8)
    expected = overlay(grey, nominal_camera(camera), inverse(base_from_optical(camera.mount)), straight())
    assert np.abs(drawn[:20] - 100).max() <= 3, "above the horizon is the picture of the second frame, through JPEG twice"
    assert np.abs(drawn - expected).mean() < 3, "JPEG changes a ribbon's edge, nothing else"
    assert np.abs(drawn - grey).max() > 50, "there is a ribbon"


@pytest.mark.ros
@pytest.mark.patient
def test_a_plan_that_comes_before_its_picture_is_drawn_when_the_picture_comes(shown: Shown) -> None:
    shown.overlays.clear()
    shown.plan(T0 + 10 * STEP, 2)
    assert not shown.spin(lambda: bool(shown.overlays), 0.3)
    shown.frame(T0 + 11 * STEP, 10)
    assert not shown.spin(lambda: bool(shown.overlays), 0.3), "100 ms beside t0 is another picture, 55 are allowed"
    shown.frame(T0 + 10 * STEP, 10)
    assert shown.spin(lambda: bool(shown.overlays))


@pytest.mark.ros
@pytest.mark.patient
def test_the_picture_nearest_to_t0_is_taken_with_its_own_stamp(shown: Shown) -> None:
    t0 = T0 + 15 * STEP
    for after_ms in (-45, 30):
        shown.frame(t0 + after_ms * 1_000_000, 60)
    shown.overlays.clear()
    shown.plan(t0, 3)
    assert shown.spin(lambda: bool(shown.overlays))
    assert shown.overlays[0].header.stamp == time_message(t0 + 30_000_000)


@pytest.mark.ros
@pytest.mark.patient
def test_the_strip_shows_the_cameras_and_the_trace_once_per_plan(shown: Shown) -> None:
    t0 = T0 + 20 * STEP
    shown.strips.clear()
    shown.frame(t0, 200)
    shown.plan(t0, 4)
    shown.publish["reasoning"].publish(trace_message(t0, 4, shown.rig))
    assert shown.spin(lambda: any(strip.header.stamp == time_message(t0) for strip in shown.strips))
    shown.spin(lambda: False, 0.4)
    [message] = [strip for strip in shown.strips if strip.header.stamp == time_message(t0)]
    assert message.header.frame_id == "base_link"
    strip = simplejpeg.decode_jpeg(bytes(message.data)).astype(int)
    assert strip.shape[1] == overlays.STRIP_PX
    middle, left = overlays.STRIP_PX // 2, overlays.STRIP_PX // 6
    assert np.abs(strip[100, middle] - 200).max() < 6, "the front camera stands in the middle of the upper row"
    assert strip[100, left].max() < 60, "no picture of the front left camera is dark"
    assert (strip[-100:, : overlays.STRIP_PX // 2] > 200).any(axis=2).sum() > 500, "words stand below"


@pytest.mark.ros
@pytest.mark.patient
def test_the_text_shows_the_trace_of_the_same_plan_only(shown: Shown) -> None:
    shown.markers.clear()
    shown.plan(T0 + 25 * STEP, 5)
    late = trace_message(T0 + 10 * STEP, 2, shown.rig)
    late.text = "an old thought"
    shown.publish["reasoning"].publish(late)
    shown.publish["reasoning"].publish(trace_message(T0 + 25 * STEP, 5, shown.rig))
    assert shown.spin(lambda: any("Keep the lane" in text for text in shown.texts()))
    assert any("traffic light: a red light" in text.splitlines() for text in shown.texts())
    assert not any("an old thought" in text for text in shown.texts())


@pytest.mark.ros
@pytest.mark.patient
def test_candidates_are_shown_with_their_own_plan_whichever_comes_first(shown: Shown) -> None:
    early, t0 = T0 + 26 * STEP, T0 + 27 * STEP
    shown.plan(early, 6)
    shown.spin(lambda: False, 0.3)
    shown.markers.clear()
    shown.publish["candidates"].publish(candidates_message(plan(t0, candidates=3), 7, ego(t0), shown.rig))
    assert not shown.spin(lambda: bool(shown.markers), 0.3), "they belong to a plan that has not come yet"
    shown.plan(t0, 7)
    assert shown.spin(lambda: bool(shown.markers))
    assert shown.namespaces()[0] == ["", "trajectory", "trajectory", "candidates", "candidates", "ego", "text"]
    shown.markers.clear()
    for samples in (1, 2):
        shown.publish["candidates"].publish(candidates_message(plan(t0, candidates=samples), 7, ego(t0), shown.rig))
    assert shown.spin(lambda: bool(shown.markers))
    assert shown.namespaces() == [["candidates"]], "no array without markers of the one without other samples"


@pytest.mark.ros
@pytest.mark.patient
def test_another_plan_takes_everything_of_the_last_one_away_and_all_of_it_fades(shown: Shown) -> None:
    shown.markers.clear()
    shown.plan(T0 + 28 * STEP, 8, source="stop")
    assert shown.spin(lambda: bool(shown.markers))
    first, *rest = shown.markers[0].markers
    assert first.action == Marker.DELETEALL
    assert {(m.lifetime.sec, m.lifetime.nanosec) for m in rest} == {(2, 0)}
    assert shown.texts()[-1].startswith("STOP")


@pytest.mark.ros
@pytest.mark.patient
def test_a_cycle_without_a_plan_takes_the_trajectory_away_and_says_why(shown: Shown) -> None:
    shown.plan(T0 + 30 * STEP, 9)
    shown.spin(lambda: False, 0.2)
    shown.markers.clear()
    refusal = CycleStatus(T0 + 31 * STEP, 0, "silent", "kinematic", "none", reasons=("odometry: nothing for 400 ms",))
    shown.publish["status"].publish(status_message(refusal, shown.rig))
    assert shown.spin(lambda: bool(shown.markers))
    actions = [(m.ns, m.action) for m in shown.markers[-1].markers]
    assert actions == [("", Marker.DELETEALL), ("text", Marker.ADD)]
    assert "odometry: nothing for 400 ms" in shown.texts()[-1]
    assert shown.markers[-1].markers[-1].header.frame_id == "base_link", "it goes with the vehicle"


def alphas(shown: Shown) -> set[float]:
    """Of the ribbon that came last."""
    ribbons = [m for array in shown.markers for m in array.markers if (m.ns, m.id) == ("trajectory", 0)]
    return {round(colour.a, 4) for colour in ribbons[-1].colors}


@pytest.mark.ros
@pytest.mark.patient
def test_a_shadow_plan_says_shadow_in_its_text_and_is_paler_everywhere(shown: Shown) -> None:
    driven, t0 = T0 + 42 * STEP, T0 + 44 * STEP
    differences = []
    for stamp, topic in ((driven, "trajectory"), (t0, "shadow")):
        shown.frame(stamp, 100)
        shown.spin(lambda: False, 0.2)
        shown.markers.clear()
        shown.plan(stamp, stamp // STEP, topic=topic)
        assert shown.spin(lambda stamp=stamp: bool(shown.texts() and of(stamp, shown.overlays)))
        words = shown.texts()[-1].splitlines()
        assert ("SHADOW" in words) == (topic == "shadow")
        differences.append(np.abs(of(stamp, shown.overlays)[0] - 100).max())
    assert alphas(shown) == {round(markers.SHADOW_STRENGTH * markers.RIBBON_ALPHA, 4)}
    assert differences[1] < 0.6 * differences[0], "paler in the picture too"
    shown.publish["shadow_reasoning"].publish(trace_message(t0, t0 // STEP, shown.rig))
    assert shown.spin(lambda: any("Keep the lane" in text and "SHADOW" in text for text in shown.texts()))


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize("state", ["degraded", "stopping"])
def test_a_rejected_plan_leaves_the_hold_of_the_one_before_and_says_check_value_and_limit(shown: Shown, state: str) -> None:
    t0 = T0 + 50 * STEP
    shown.plan(t0, 70, source="hold")
    shown.spin(lambda: False, 0.2)
    shown.markers.clear()
    rejected = status_message(CycleStatus(t0 + STEP, 0, state, "kinematic", "none"), shown.rig)  # type: ignore[arg-type]
    rejected.findings = [
        msg.CheckResult(check="V7", name="lateral acceleration", level=1, value=5.25, limit=4.9, unit="m/s^2", at_s=3.1)
    ]
    shown.publish["status"].publish(rejected)
    assert shown.spin(lambda: bool(shown.markers))
    assert shown.namespaces() == [["text"]], "the held trajectory stays"
    assert "V7 lateral acceleration: 5.25 m/s^2 at 3.1 s, reject limit 4.9" in shown.texts()[-1].replace("\n", " ")
    shown.plan(t0 + 2 * STEP, 71)
    assert shown.spin(lambda: len(shown.markers) > 1)
    assert "V7" not in shown.texts()[-1], "a plan of the model ends it"


def silent(shown: Shown, stamp_ns: int) -> None:
    refusal = CycleStatus(stamp_ns, 0, "silent", "kinematic", "none", reasons=("odometry: nothing for 400 ms",))
    shown.publish["status"].publish(status_message(refusal, shown.rig))


def of(stamp_ns: int, messages: list[CompressedImage]) -> list[np.ndarray]:
    """Pictures of a stamp."""
    stamp = time_message(stamp_ns)
    return [simplejpeg.decode_jpeg(bytes(m.data)).astype(int) for m in messages if m.header.stamp == stamp]


@pytest.mark.ros
@pytest.mark.patient
def test_a_cycle_without_a_plan_shows_what_the_cameras_see_without_a_path(shown: Shown) -> None:
    planned, t0 = T0 + 33 * STEP, T0 + 34 * STEP
    for stamp in (planned, t0, t0 + STEP):
        shown.frame(stamp, 120)
    shown.spin(lambda: False, 0.2)
    shown.plan(planned, 11)
    assert shown.spin(lambda: bool(of(planned, shown.strips) and of(planned, shown.overlays)))
    silent(shown, t0)
    assert shown.spin(lambda: bool(of(t0, shown.strips) and of(t0, shown.overlays)))
    assert np.abs(of(planned, shown.overlays)[0] - 120).max() > 50, "with a plan there is a ribbon"
    assert np.abs(of(t0, shown.overlays)[0] - 120).max() <= 3, "without one there is none"


@pytest.mark.ros
@pytest.mark.patient
def test_pictures_go_on_when_the_planner_is_heard_no_more(shown: Shown) -> None:
    shown.plan(T0 + 36 * STEP, 12)
    newest = T0 + 38 * STEP
    shown.frame(newest, 130)
    assert not shown.spin(lambda: bool(of(newest, shown.overlays)), 1.0), "markers live 2 s"
    assert shown.spin(lambda: bool(of(newest, shown.strips) and of(newest, shown.overlays)))
    assert np.abs(of(newest, shown.overlays)[0] - 130).max() <= 3
    assert (of(newest, shown.strips)[0][-100:, : overlays.STRIP_PX // 2] > 200).any(axis=2).sum() > 100, "words say why"


@pytest.mark.ros
@pytest.mark.patient
def test_a_strip_none_of_whose_pictures_can_be_decoded_is_not_tried_again(made_node: VisualizerNode) -> None:
    """Every tick of 50 ms would decode all of them again."""
    camera = made_node._rig.cameras["front_wide"]
    whole = simplejpeg.encode_jpeg(np.zeros((camera.height, camera.width, 3), np.uint8))
    message = CompressedImage(format="jpeg", data=whole[:700])
    message.header.stamp = time_message(T0)
    made_node._views["front_wide"].take_frame(message)
    todo = VisualizerShown(plan_message(), (), T0, 0.0, {STRIP})
    made_node._draw_strip(todo)
    assert todo.undrawn == set()


@pytest.mark.ros
@pytest.mark.patient
def test_a_picture_that_cannot_be_one_is_refused_and_the_next_is_shown(shown: Shown) -> None:
    message = CompressedImage(format="jpeg", data=b"\xff\xd8\xff no picture")
    message.header.stamp = time_message(T0 + 40 * STEP)
    shown.publish["image"].publish(message)
    shown.overlays.clear()
    shown.frame(T0 + 41 * STEP, 90)
    shown.plan(T0 + 41 * STEP, 10)
    assert shown.spin(lambda: bool(shown.overlays))


@pytest.mark.ros
@pytest.mark.patient
def test_a_plan_at_whose_pictures_nobody_looks_is_drawn_already(made_node: VisualizerNode) -> None:
    """Otherwise every frame and every tick would look for what is still to be drawn."""
    made_node._take_plan(plan_message(), is_shadow=False)
    assert made_node._shown is not None
    assert made_node._shown.undrawn == set()


@pytest.mark.ros
@pytest.mark.patient
def test_a_role_the_rig_lacks_is_refused() -> None:
    status, line = refused("visualizer_node", "-p", "overlay_roles:=[front_wide, roof]")
    assert status == 1
    assert "overlay_roles: want any of front_left, front_wide" in line
    assert line.endswith("got roof")
