"""Shows a planner: trajectory, candidates and trace as markers, and the trajectory in the pictures it was planned from.

Both sets of the planner's topics are listened to: `~/trajectory` and so on, and `~/shadow/trajectory` and so on, which nobody
drives by. A planner publishes one of them at a time.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from builtin_interfaces.msg import Duration
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from alpamayo_ros import msg
from alpamayo_ros.geometry import inverse
from alpamayo_ros.nodes import markers, overlays
from alpamayo_ros.nodes.inputs import IMAGE_TYPE, LATCHED, ODOMETRY, SENSOR_DATA
from alpamayo_ros.nodes.messages import pose_matrix, time_message
from alpamayo_ros.nodes.params import VisualizerParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import PoseBuffer, Transforms
from alpamayo_ros.pipeline.images import pixels_of_width
from alpamayo_ros.pipeline.poses import skew
from alpamayo_ros.profile import read_rig
from alpamayo_ros.types import U8, InvalidInput

PLANS = QoSProfile(depth=5)

SETTLE_S = 0.1
"""What a plan's pictures wait at most for frames and for a trace that are still to come."""

TICK_S = 0.05
LOOK_S = 0.5  # how often it is seen who subscribes to the overlays, and whether the planner has fallen silent

STILL_DRIVING = {msg.PlanStatus.STATE_NOMINAL, msg.PlanStatus.STATE_DEGRADED, msg.PlanStatus.STATE_STOPPING}
"""What a cycle without a plan leaves of the trajectory before it: that counts on, and a hold or a stop follows it."""

STRIP = "strip"
ODOMETRY_SOURCE = "odometry"


class Source(NamedTuple):
    """What is listened to only while somebody looks at what is drawn from it."""

    kind: type
    topic: str
    take: Callable[[Any], None]
    qos: QoSProfile


class Shown(NamedTuple):
    """A plan, or an instant without one, whose overlays are being drawn."""

    plan: msg.UnicycleTrajectory | None
    why_not: tuple[str, ...]  # what is said in place of a plan
    t0_ns: int
    since_s: float  # steady clock
    undrawn: set[str]  # what somebody looked at then: roles, and "strip"
    is_shadow: bool = False


class VisualizerNode(Node):  # type: ignore[misc]
    """The newest plan of one planner, in RViz and on the cameras' pictures."""

    def __init__(self) -> None:
        super().__init__("alpamayo_visualizer")
        self._params = declare(self, VisualizerParams)
        self._rig = read_rig(self._params.rig)
        roles = self._params.overlay_roles or tuple(self._rig.cameras)
        if unknown := [role for role in roles if role not in self._rig.cameras]:
            raise InvalidInput(f"overlay_roles: want any of {', '.join(self._rig.cameras)}, got {', '.join(unknown)}")
        self._views = {role: overlays.CameraView(role, self._rig.cameras[role]) for role in roles}
        self._transforms = Transforms()
        self._poses = PoseBuffer(history_steps=2)
        self._status: msg.PlanStatus | None = None
        self._plan: msg.UnicycleTrajectory | None = None
        self._is_shadow = False  # that plan
        self._refusal: msg.PlanStatus | None = None  # since the last plan of the model
        self._trace: msg.ReasoningTrace | None = None
        self._candidates: msg.TrajectoryCandidates | None = None
        self._shown: Shown | None = None
        self._next_shown_s = 0.0  # steady clock
        self._last_word_s = time.monotonic()  # of the planner
        self._sources = self._sources_of_overlays()
        self._heard: dict[str, Subscription] = {}  # by name of the source
        self._publish_and_subscribe()

    def _publish_and_subscribe(self) -> None:
        planner, steady = self._params.planner, Clock(clock_type=ClockType.STEADY_TIME)
        self._tf = self.create_publisher(TFMessage, "/tf", 10)
        self._markers = self.create_publisher(MarkerArray, "~/markers", PLANS)
        self._strip = self.create_publisher(CompressedImage, "~/overlay/strip/compressed", PLANS)
        self._overlays: dict[str, Publisher] = {
            role: self.create_publisher(CompressedImage, f"~/overlay/{role}/compressed", PLANS) for role in self._views
        }
        self._listen(Source(msg.PlanStatus, f"{planner}/status", self._take_status, PLANS))
        for name, is_shadow in ((planner, False), (f"{planner}/shadow", True)):
            take_plan = partial(self._take_plan, is_shadow=is_shadow)
            self._listen(Source(msg.UnicycleTrajectory, f"{name}/trajectory", take_plan, PLANS))
            self._listen(Source(msg.ReasoningTrace, f"{name}/reasoning", self._take_trace, PLANS))
            self._listen(Source(msg.TrajectoryCandidates, f"{name}/candidates", self._take_candidates, PLANS))
        self._listen(Source(TFMessage, "/tf_static", self._take_transforms, LATCHED))
        for view in self._views.values():
            self._listen(Source(CameraInfo, view.camera.info_topic, view.take_info, SENSOR_DATA))
        self.create_timer(TICK_S, self._draw_due, clock=steady)
        self.create_timer(LOOK_S, self._follow_viewers, clock=steady)
        self.create_timer(LOOK_S, self._notice_silence, clock=steady)

    def _sources_of_overlays(self) -> dict[str, Source]:
        """A camera's pictures by its role, and odometry."""
        sources = {ODOMETRY_SOURCE: Source(Odometry, self._rig.odometry.topic, self._take_odometry, ODOMETRY)}
        for role, view in self._views.items():
            take = self._frame_taker(view)
            sources[role] = Source(IMAGE_TYPE[view.camera.transport], view.camera.topic, take, SENSOR_DATA)
        return sources

    def _listen(self, source: Source) -> Subscription:
        """Subscribe; a message that is refused is said in the log and dropped."""

        def callback(message: Any) -> None:
            try:
                source.take(message)
            except InvalidInput as error:
                self.get_logger().warning(f"{source.topic}: {error}", throttle_duration_sec=1.0)

        return self.create_subscription(source.kind, source.topic, callback, source.qos)

    def _follow_viewers(self) -> None:
        """Listen to the cameras that somebody looks at, and to odometry then; seven raw streams cost a vehicle too much."""
        wanted = {role for role in self._views if self._looked_at(role) or self._looked_at(STRIP)}
        wanted |= {ODOMETRY_SOURCE} if wanted else set()
        for name in wanted - set(self._heard):
            self._heard[name] = self._listen(self._sources[name])
        for name in set(self._heard) - wanted:
            self.destroy_subscription(self._heard.pop(name))
            if name in self._views:
                self._views[name].forget_frames()

    def _looked_at(self, name: str) -> bool:
        publisher = self._strip if name == STRIP else self._overlays[name]
        return bool(publisher.get_subscription_count() > 0)

    def _take_status(self, status: msg.PlanStatus) -> None:
        self._status = status
        self._last_word_s = time.monotonic()
        if status.valid:
            return
        self._refusal = status
        if self._plan is not None and status.state in STILL_DRIVING:
            self._show(self._texts(self._plan))
            return
        self._plan = None
        state, *reasons = markers.status_lines(status)
        text = "\n".join(markers.wrapped([state, *reasons]))
        self._show([markers.clearing_marker(status.header), markers.status_text_marker(status, text)])
        self._show_pictures(None, decode.stamp_ns(status.header.stamp), (f"NO PLAN | {state}", *reasons))

    def _take_plan(self, plan: msg.UnicycleTrajectory, is_shadow: bool) -> None:
        path = markers.trajectory_markers(plan, _strength(is_shadow))  # raises where there is nothing to show
        self._plan, self._is_shadow = plan, is_shadow
        self._refusal = None if plan.source == msg.UnicycleTrajectory.SOURCE_MODEL else self._refusal
        self._last_word_s = time.monotonic()
        self._tf.publish(TFMessage(transforms=[markers.ego_t0_transform(plan)]))
        candidates = self._candidates
        others = markers.candidate_markers(candidates) if candidates and _same_plan(plan, candidates) else []
        self._show([markers.clearing_marker(plan.header), *path, *others, markers.ego_marker(plan), *self._texts(plan)])
        self._show_pictures(plan, decode.stamp_ns(plan.header.stamp), ())

    def _notice_silence(self) -> None:
        """Let the pictures go on, without a path, when the planner has said nothing for as long as markers live."""
        silent_s = time.monotonic() - self._last_word_s
        newest_ns = max((view.newest_ns for view in self._views.values() if view.newest_ns is not None), default=None)
        if silent_s > self._params.lifetime_s and newest_ns is not None:
            why_not = f"nothing heard from {self._params.planner} for {silent_s:.0f} s"
            self._show_pictures(None, newest_ns, ("NO PLAN", why_not))

    def _show_pictures(self, plan: msg.UnicycleTrajectory | None, t0_ns: int, why_not: tuple[str, ...]) -> None:
        """Begin to draw what is looked at, unless it is too soon after the last time."""
        now_s = time.monotonic()
        if now_s >= self._next_shown_s:
            self._next_shown_s = max(self._next_shown_s + 1.0 / self._params.overlay_hz, now_s)
            looked_at = {name for name in (*self._views, STRIP) if self._looked_at(name)}
            self._shown = Shown(plan, why_not, t0_ns, now_s, looked_at, self._is_shadow)
            self._draw_due()

    def _take_trace(self, trace: msg.ReasoningTrace) -> None:
        self._trace = trace
        if self._plan is not None and _same_plan(self._plan, trace):
            self._show(self._texts(self._plan))
            self._draw_due()

    def _take_candidates(self, candidates: msg.TrajectoryCandidates) -> None:
        self._candidates = candidates
        if self._plan is not None and _same_plan(self._plan, candidates):
            self._show(markers.candidate_markers(candidates))

    def _take_odometry(self, message: Odometry) -> None:
        base_from_child = self._transforms.lookup(self._rig.base_frame, message.child_frame_id)
        pose = decode.ego_pose(message, self._rig, base_from_child)
        if self._poses.offer(pose) == "jump":
            self._poses.clear()
            self._poses.offer(pose)

    def _frame_taker(self, view: overlays.CameraView) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            view.take_frame(message)
            self._draw_due()

        return take

    def _take_transforms(self, message: TFMessage) -> None:
        for parent, child, parent_from_child in decode.static_transforms(message):
            self._transforms.offer(parent, child, parent_from_child)

    def _texts(self, plan: msg.UnicycleTrajectory) -> list[Marker]:
        """State and, once it came, the trace of the same plan, with its critical components beside it."""
        trace = self._trace if self._trace is not None and _same_plan(plan, self._trace) else None
        lines = markers.wrapped([*self._headline(plan), *(markers.trace_lines(trace) if trace else [])])
        beside = [markers.components_marker(plan, trace)] if trace and trace.components else []
        return [markers.plan_text_marker(plan, "\n".join(lines)), *beside]

    def _headline(self, plan: msg.UnicycleTrajectory) -> list[str]:
        status = self._status
        lines = markers.status_lines(status) if status is not None and _same_plan(plan, status) else []
        refused = [line for line in markers.problem_lines(self._refusal) if line not in lines] if self._refusal else []
        return [*markers.source_lines(plan, self._is_shadow), *lines, *(f"refused: {line}" for line in refused)]

    def _show(self, shown: list[Marker]) -> None:
        """Publish markers, if there are any; they fade when their planner dies."""
        if not shown:
            return
        seconds, rest = divmod(self._params.lifetime_s, 1.0)
        for marker in shown:
            marker.lifetime = Duration(sec=int(seconds), nanosec=int(rest * 1e9))
        self._markers.publish(MarkerArray(markers=shown))

    def _draw_due(self) -> None:
        """Draw those overlays that somebody looks at and for which everything has come."""
        shown = self._shown
        if shown is None or not shown.undrawn:
            return
        late = time.monotonic() - shown.since_s > SETTLE_S
        for role in shown.undrawn & set(self._views):
            if self._looked_at(role) and not self._missing(role) and (late or self._views[role].settled(shown.t0_ns)):
                self._draw_overlay(shown, role)
        settled = late or all(view.settled(shown.t0_ns) for view in self._views.values())
        traced = late or shown.plan is None or (self._trace is not None and _same_plan(shown.plan, self._trace))
        if STRIP in shown.undrawn and settled and traced and self._looked_at(STRIP):
            self._draw_strip(shown)

    def _draw_overlay(self, shown: Shown, role: str) -> None:
        if self._views[role].frame_at(shown.t0_ns) is None:
            return
        shown.undrawn.discard(role)  # also when it cannot be decoded: it would not be the next time either
        picture = self._picture(shown, role, self._params.overlay_width)
        if picture is not None:
            frame_id = self._rig.cameras[role].frame_id
            self._overlays[role].publish(self._jpeg(picture.image, picture.frame.stamp_ns, frame_id))

    def _draw_strip(self, shown: Shown) -> None:
        if shown.plan is not None and not any(view.frame_at(shown.t0_ns) for view in self._views.values()):
            return  # they may still come
        shown.undrawn.discard(STRIP)  # also when none can be decoded
        drawn = {role: self._picture(shown, role, overlays.CELL_PX) for role in self._views}
        pictures = {role: picture for role, picture in drawn.items() if picture is not None}
        image = overlays.strip(pictures, *self._strip_texts(shown))
        self._strip.publish(self._jpeg(image, shown.t0_ns, self._rig.base_frame))

    def _strip_texts(self, shown: Shown) -> tuple[list[str], list[str], list[str]]:
        """Headline, words and causes."""
        if shown.plan is None:
            return [shown.why_not[0]], [*shown.why_not[1:]], []
        headline = [" | ".join([*self._headline(shown.plan), markers.motion(decode.trajectory_values(shown.plan))])]
        trace = self._trace
        if trace is None or not _same_plan(shown.plan, trace):
            return headline, [], []
        return headline, markers.trace_lines(trace), [*markers.component_lines(trace), *markers.action_lines(trace)]

    def _picture(self, shown: Shown, role: str, width: int) -> overlays.Picture | None:
        """A camera's frame nearest to t0, if there is one, with the plan's path, at most `width` px wide.

        The label says what is missing.
        """
        view, label, plan = self._views[role], role.replace("_", " "), shown.plan
        frame, missing = view.frame_at(shown.t0_ns), self._missing(role)
        base_from_optical = self._transforms.lookup(self._rig.base_frame, view.camera.frame_id)
        if frame is None:
            return None
        width = min(width, frame.width)
        odom_from_ego_t0 = np.eye(4) if plan is None else pose_matrix(plan.odom_from_ego_t0.pose)
        seen = skew(self._poses.poses(), odom_from_ego_t0, shown.t0_ns, frame.stamp_ns)
        try:
            if plan is None:
                return overlays.Picture(pixels_of_width(frame, width), frame, label + seen.after)
            if view.lens is None or base_from_optical is None:
                return overlays.Picture(pixels_of_width(frame, width), frame, f"{label}: {missing}")
            optical_from_ego_t0 = inverse(base_from_optical) @ seen.ego_from_ego_t0
            style = overlays.Style(_strength(shown.is_shadow), markers.SOURCE_COLOURS.get(plan.source))
            image = overlays.picture(frame, view.lens, optical_from_ego_t0, decode.trajectory_values(plan), width, style)
        except InvalidInput as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)
            return None
        return overlays.Picture(image, frame, label + seen.after + seen.path)

    def _missing(self, role: str) -> str:
        """What a camera's overlay still needs, in words; empty when its lens and its place are known."""
        view = self._views[role]
        if view.lens is None:
            return "no camera info"
        known = self._transforms.lookup(self._rig.base_frame, view.camera.frame_id) is not None
        return "" if known else f"no transform to {view.camera.frame_id}"

    def _jpeg(self, image: U8, stamp_ns: int, frame_id: str) -> CompressedImage:
        message = CompressedImage(format="jpeg")
        message.header.stamp, message.header.frame_id = time_message(stamp_ns), frame_id
        message.data = array.array("B", simplejpeg.encode_jpeg(image, self._params.overlay_quality))
        return message


def _strength(is_shadow: bool) -> float:
    return markers.SHADOW_STRENGTH if is_shadow else 1.0


def _same_plan(plan: msg.UnicycleTrajectory, other: Any) -> bool:
    return bool((plan.epoch, plan.plan_id, plan.header.stamp) == (other.epoch, other.plan_id, other.header.stamp))


def main() -> None:
    """Entry point of `visualizer_node`."""
    cv2.setNumThreads(1)  # OpenCV's own threads cost more than they bring for pictures of this size
    run_node(VisualizerNode)
