"""Shows a planner: the trajectory and the trace as markers, and the trajectory in the camera frame it was planned from."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import simplejpeg
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros import drawing, msg
from alpamayo_ros.cameras import Camera, camera_from_info
from alpamayo_ros.geometry import inverse
from alpamayo_ros.nodes import markers
from alpamayo_ros.nodes.messages import time_message, trajectory_values
from alpamayo_ros.nodes.params import VisualizerParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Transforms
from alpamayo_ros.profile import read_rig
from alpamayo_ros.types import EncodedFrame, InvalidInput

KEPT_FRAMES = 64
"""Camera frames that wait for their plan: a plan comes at most a second or two after its t0."""

PLANS = QoSProfile(depth=5)
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class VisualizerNode(Node):  # type: ignore[misc]
    """The newest plan of one planner, in RViz and on one camera's picture."""

    def __init__(self) -> None:
        super().__init__("alpamayo_visualizer")
        self._params = declare(self, VisualizerParams)
        self._rig = read_rig(self._params.rig)
        self._role = self._params.overlay_role or self._rig.anchor
        if self._role not in self._rig.cameras:
            raise InvalidInput(f"overlay_role: want one of {', '.join(self._rig.cameras)}, got {self._role!r}")
        self._camera: Camera | None = None
        self._transforms = Transforms()
        self._frames: dict[int, EncodedFrame] = {}  # by stamp, in order of arrival
        self._status: msg.PlanStatus | None = None
        self._plan: msg.UnicycleTrajectory | None = None
        self._trace: msg.ReasoningTrace | None = None
        self._markers = self.create_publisher(MarkerArray, "~/markers", PLANS)
        self._overlay = self.create_publisher(CompressedImage, "~/overlay/compressed", PLANS)
        self._tf = self.create_publisher(TFMessage, "/tf", 10)
        self._subscribe()

    def _subscribe(self) -> None:
        planner, camera = self._params.planner, self._rig.cameras[self._role]
        image = CompressedImage if camera.transport == "compressed" else Image
        self._listen(msg.PlanStatus, f"{planner}/status", self._take_status, PLANS)
        self._listen(msg.UnicycleTrajectory, f"{planner}/trajectory", self._take_plan, PLANS)
        self._listen(msg.ReasoningTrace, f"{planner}/reasoning", self._take_trace, PLANS)
        self._listen(image, camera.topic, self._take_frame, qos_profile_sensor_data)
        self._listen(CameraInfo, camera.info_topic, self._take_camera, qos_profile_sensor_data)
        self._listen(TFMessage, "/tf_static", self._take_transforms, LATCHED)

    def _listen(self, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> None:
        """Subscribe; a message that `take` refuses is said in the log and dropped."""

        def callback(message: Any) -> None:
            try:
                take(message)
            except InvalidInput as error:
                self.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=1.0)

        self.create_subscription(kind, topic, callback, qos)

    def _take_status(self, status: msg.PlanStatus) -> None:
        self._status = status
        if not status.valid:
            text = markers.status_text(status)
            shown = markers.plan_text_marker(self._plan, text) if self._plan else markers.status_text_marker(status, text)
            self._publish([*markers.no_trajectory_markers(status), shown])

    def _take_plan(self, plan: msg.UnicycleTrajectory) -> None:
        self._plan = plan
        self._tf.publish(TFMessage(transforms=[markers.ego_t0_transform(plan)]))
        self._publish([*markers.trajectory_markers(plan), self._plan_text(plan)])
        self._draw_overlay()

    def _take_trace(self, trace: msg.ReasoningTrace) -> None:
        self._trace = trace
        if self._plan is not None and _same_plan(self._plan, trace):
            self._publish([self._plan_text(self._plan)])

    def _take_frame(self, message: Any) -> None:
        frame = decode.camera_frame(message, self._role, self._rig.cameras[self._role], epoch=0)
        self._frames.pop(frame.stamp_ns, None)  # a bag that loops brings it again, as the newest
        self._frames[frame.stamp_ns] = frame
        while len(self._frames) > KEPT_FRAMES:
            del self._frames[next(iter(self._frames))]
        if self._plan is not None and frame.stamp_ns == decode.stamp_ns(self._plan.header.stamp):
            self._draw_overlay()

    def _take_camera(self, info: CameraInfo) -> None:
        self._camera = camera_from_info(info)

    def _take_transforms(self, message: TFMessage) -> None:
        for parent, child, parent_from_child in decode.static_transforms(message):
            self._transforms.offer(parent, child, parent_from_child)

    def _plan_text(self, plan: msg.UnicycleTrajectory) -> Marker:
        """State and, once it came, the trace of the same plan."""
        status = [markers.status_text(self._status)] if self._status and _same_plan(plan, self._status) else []
        trace = [markers.trace_text(self._trace)] if self._trace and _same_plan(plan, self._trace) else []
        return markers.plan_text_marker(plan, "\n".join([*status, *trace]))

    def _publish(self, shown: list[Marker]) -> None:
        self._markers.publish(MarkerArray(markers=shown))

    def _draw_overlay(self) -> None:
        """Draw the newest plan into the frame of exactly its t0, when somebody looks and everything for it has come."""
        if self._plan is None or self._overlay.get_subscription_count() == 0:
            return
        frame = self._frames.get(decode.stamp_ns(self._plan.header.stamp))
        rig_camera = self._rig.cameras[self._role]
        base_from_optical = self._transforms.lookup(self._rig.base_frame, rig_camera.frame_id)
        if frame is None or self._camera is None or base_from_optical is None:
            return
        image = np.empty((frame.height, frame.width, 3), np.uint8)
        decode.pixels_into(frame, image)
        drawn = drawing.overlay(image, self._camera, inverse(base_from_optical), trajectory_values(self._plan))
        message = CompressedImage(format="jpeg")
        message.header.stamp, message.header.frame_id = time_message(frame.stamp_ns), rig_camera.frame_id
        message.data = array.array("B", simplejpeg.encode_jpeg(drawn, self._params.overlay_quality))
        self._overlay.publish(message)


def _same_plan(plan: msg.UnicycleTrajectory, other: Any) -> bool:
    return bool((plan.epoch, plan.plan_id, plan.header.stamp) == (other.epoch, other.plan_id, other.header.stamp))


def main() -> None:
    """Entry point of `visualizer_node`."""
    cv2.setNumThreads(1)  # OpenCV's own threads cost more than they bring for pictures of this size
    run_node(VisualizerNode)
