"""Subscriptions of the planner node: callbacks check headers and buffer, nothing heavy, nothing dies.

What a message is refused for is kept per topic, with its count, and said in diagnostics.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String
from tf2_msgs.msg import TFMessage

from alpamayo_ros import msg
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.types import CameraFrame, InvalidInput

IMAGE_TYPE = {"compressed": CompressedImage, "raw": Image}
SENSOR_DATA = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
ODOMETRY = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
DRIVER = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
"""A driver who acts for a moment has acted: a false does not replace the true before it."""


@dataclass
class Refusals:
    """What one topic was refused for since activation."""

    count: int = 0
    last: str = ""
    logged_s: float = float("-inf")  # steady clock

    def add(self, reason: str) -> bool:
        """Count one refused message; whether it is time to log one of this topic again, at most one a second."""
        self.count += 1
        self.last = reason
        if time.monotonic() - self.logged_s < 1.0:
            return False
        self.logged_s = time.monotonic()
        return True


class Listeners(NamedTuple):
    """Who is told at once, on the executor's thread."""

    epoch: Callable[[], None]  # odometry jumped
    pose: Callable[[], None]  # odometry was taken
    driver: Callable[[bool], None]  # whether the driver acts


class Inputs:
    """The subscriptions of one activation, filling the buffers. Used by the executor's thread, but for `received_ns`."""

    def __init__(
        self, node: Node, buffers: Buffers, listeners: Listeners, special_tokens: Collection[str] | None = None
    ) -> None:
        """`special_tokens`: what a route in free words must not spell; None: such routes are not listened to."""
        self._special_tokens = special_tokens
        self._node = node
        self._buffers = buffers
        self._tell = listeners
        self.refusals: dict[str, Refusals] = {}  # by topic
        self.odometry: Counter[str] = Counter()  # what became of the poses (see poses.Offered)
        self._wanted: dict[str, tuple[type, QoSProfile]] = {}  # by topic
        # role -> stamp of the newest frame, and when DDS had it. Complete from the start: another thread iterates over it.
        self._received_ns: dict[str, tuple[int, int]] = dict.fromkeys(buffers.roles, (0, 0))
        self._subscriptions = self._subscribe()

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def received_ns(self, frames: Mapping[str, tuple[CameraFrame, ...]]) -> int | None:
        """When DDS had the last message of an observation's newest frames, system clock; None when newer ones have come."""
        received = [self._received_ns[role] for role in frames]
        newest = [of_role[-1].stamp_ns for of_role in frames.values()]
        return max(ns for _, ns in received) if [stamp for stamp, _ in received] == newest else None

    def deaf_to(self) -> dict[str, str]:
        """By topic, why nothing can come from somebody who publishes there now: another message type, incompatible QoS."""
        found = {}
        for topic, (kind, qos) in self._wanted.items():
            ours = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            for publisher in self._node.get_publishers_info_by_topic(topic):
                verdict, why = qos_check_compatible(publisher.qos_profile, qos)
                if publisher.topic_type != ours:
                    found[topic] = f"{publisher.node_name} publishes {publisher.topic_type}, wanted is {ours}"
                elif verdict == QoSCompatibility.ERROR:
                    found[topic] = f"{publisher.node_name} publishes with incompatible QoS: {why}"
        return found

    def crowded(self) -> dict[str, str]:
        """By topic of a camera or of odometry, its publishers where there is more than one: their messages would mix."""
        rig = self._buffers.rig
        topics = [rig.odometry.topic, *(rig.cameras[role].topic for role in self._buffers.roles)]
        found = {topic: self._node.get_publishers_info_by_topic(topic) for topic in map(self._node.resolve_topic_name, topics)}
        return {topic: " and ".join(sorted(p.node_name for p in ps)) for topic, ps in found.items() if len(ps) > 1}

    def _subscribe(self) -> list[Subscription]:
        rig = self._buffers.rig
        cameras = [
            self._listen(IMAGE_TYPE[rig.cameras[role].transport], rig.cameras[role].topic, self._camera(role), SENSOR_DATA)
            for role in self._buffers.roles
        ]
        in_words = self._special_tokens is not None
        words = [self._listen(String, "~/navigation_text", self._navigation_text, COMMAND)] if in_words else []
        return [
            *cameras,
            *words,
            self._listen(Odometry, rig.odometry.topic, self._odometry, ODOMETRY),
            self._listen(TFMessage, "/tf_static", self._transforms, LATCHED),
            self._listen(msg.NavigationCommand, "~/navigation", self._navigation, COMMAND),
            self._listen(msg.EgoSignals, "~/ego_signals", self._signals, SENSOR_DATA),
            self._listen(Bool, "~/driver_override", self._driver, DRIVER),
        ]

    def _listen(self, kind: type, topic: str, take: Callable[[Any, Any], None], qos: QoSProfile) -> Subscription:
        """Subscribe; a message that `take` refuses is counted under its topic and dropped."""
        resolved = self._node.resolve_topic_name(topic)
        refusals = self.refusals.setdefault(resolved, Refusals())
        self._wanted[resolved] = kind, qos

        def callback(message: Any, info: Mapping[str, int]) -> None:
            try:
                take(message, info)
            except InvalidInput as error:
                if refusals.add(str(error)):
                    self._node.get_logger().warning(f"{resolved}: {error}")

        return self._node.create_subscription(kind, topic, callback, qos)

    def _camera(self, role: str) -> Callable[[Any, Mapping[str, int]], None]:
        def take(message: Any, info: Mapping[str, int]) -> None:
            self._buffers.take_image(message, role, self._now_ns())
            self._received_ns[role] = (self._buffers.frames.newest_ns(role) or 0, info["received_timestamp"])

        return take

    def _odometry(self, message: Odometry, _: Any) -> None:
        outcome = self._buffers.take_odometry(message, self._now_ns())
        self.odometry[outcome] += 1
        if outcome == "jump":
            self._tell.epoch()
        self._tell.pose()

    def _transforms(self, message: TFMessage, _: Any) -> None:
        self._buffers.take_transforms(message)

    def _navigation(self, message: msg.NavigationCommand, _: Any) -> None:
        self._buffers.take_navigation(message)

    def _navigation_text(self, message: String, _: Any) -> None:
        assert self._special_tokens is not None
        self._buffers.take_navigation_text(message, self._special_tokens, self._now_ns())

    def _signals(self, message: msg.EgoSignals, _: Any) -> None:
        self._buffers.take_signals(message, self._now_ns())

    def _driver(self, message: Bool, _: Any) -> None:
        self._tell.driver(message.data)

    def _now_ns(self) -> int:
        """The clock of the stamps. Raises InvalidInput before simulated time has begun, or the year 1970."""
        now_ns = int(self._node.get_clock().now().nanoseconds)
        if now_ns == 0:
            raise InvalidInput("use_sim_time is set, and nothing has come on /clock yet")
        if now_ns < 0:
            raise InvalidInput(f"ROS time: want a time after 1970, got {now_ns / 1e9:g} s")
        return now_ns
