"""Records topics, undecoded, into an MCAP rosbag2: complete after SIGINT and SIGTERM, cut by a second at most after SIGKILL."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.topic_endpoint_info import TopicEndpointInfo

from alpamayo_ros import bags
from alpamayo_ros.nodes.params import RecorderParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.nodes.topics import matching_qos, message_class
from alpamayo_ros.types import InvalidInput

DISCOVERY_S = 0.2
"""How often the node looks for topics that were not there before."""

FLUSH_S = 0.5
"""How often what was received is sent to the disk: half of what a killed recording may miss."""

SLOW_DISK_S = 0.1
"""Waiting longer than this for the disk between two flushes is said: best-effort messages are lost meanwhile."""


class RecorderNode(Node):  # type: ignore[misc]
    """Subscribes to what appears and writes what arrives."""

    def __init__(self) -> None:
        super().__init__("alpamayo_recorder")
        self._params = declare(self, RecorderParams)
        self._wanted = {self._resolved(name) for name in self._params.topics}
        self._known: set[str] = set()  # subscribed to, or refused once
        self._bag = bags.BagWriter(Path(self._params.out))
        self._waited_s = 0.0
        self._too_early = 0  # messages that came before simulated time had begun
        # On the steady clock: simulated time may not have begun.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DISCOVERY_S, self._subscribe_to_new_topics, clock=steady)
        self.create_timer(FLUSH_S, self._flush, clock=steady)

    def record(self, executor: SingleThreadedExecutor) -> None:
        """Write until the process is asked to stop. Raises OSError when the disk refuses; the index is tried even then."""
        try:
            with self._bag:
                executor.spin()
        except OSError as error:
            self.get_logger().error(f"recording stopped after {self._bag.messages} messages: {error}")
            raise
        finally:
            said = [f"recorded {self._bag.messages} messages in {self._bag.path}"]
            if missing := ", ".join(sorted(self._wanted - self._known)):
                said.append(f"never seen: {missing}")
            if self._too_early:
                said.append(f"not recorded: {self._too_early} messages that came before the first /clock")
            print("; ".join(said))

    def _flush(self) -> None:
        self._bag.flush()
        if self._bag.waited_s - self._waited_s > SLOW_DISK_S:
            waited_s = self._bag.waited_s - self._waited_s
            self.get_logger().warning(f"the disk is too slow: {waited_s:.1f} s waited for it, messages may be missing")
        self._waited_s = self._bag.waited_s
        if self._params.parent and os.getppid() != self._params.parent:
            self.get_logger().warning(f"process {self._params.parent}, which started this recording, is gone: it ends")
            self.context.try_shutdown()

    def _resolved(self, name: str) -> str:
        try:
            return str(self.resolve_topic_name(name))
        except RuntimeError as error:
            reason = str(error).removeprefix("failed to resolve name: ").partition(", at /")[0]
            raise InvalidInput(f"topics: {name!r} is not a topic name: {reason}") from error

    def _has_time(self) -> bool:
        """Whether simulated time, where it is used, has begun."""
        return int(self.get_clock().now().nanoseconds) != 0

    def _subscribe_to_new_topics(self) -> None:
        for name, type_names in self.get_topic_names_and_types():
            if name not in self._known and (name in self._wanted or not (self._wanted or "/_" in name)):
                self._subscribe(name, type_names)

    def _subscribe(self, name: str, type_names: list[str]) -> None:
        publishers = self.get_publishers_info_by_topic(name)
        if not publishers:
            return
        qos = matching_qos([publisher.qos_profile for publisher in publishers])
        if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL and not self._has_time():
            return  # a latched message waits for its subscriber: it gets a time
        self._known.add(name)
        try:
            if len(type_names) != 1:
                raise InvalidInput(f"published with different types: {', '.join(type_names)}")
            kind = message_class(type_names[0])
        except InvalidInput as error:
            self.get_logger().warning(f"{name} is not recorded: {error}")
            return
        try:
            definition = _definition(type_names[0], publishers)
        except InvalidInput as error:
            self.get_logger().warning(f"{name} is recorded without its definition: {error}")
            definition = bags.Definition("", "", _offered_hash(publishers))
        self.create_subscription(kind, name, self._writer(name, type_names[0], definition), qos, raw=True)

    def _writer(self, name: str, type_name: str, definition: bags.Definition | None) -> Callable[[bytes], None]:
        def write(cdr: bytes) -> None:
            if not self._has_time():
                self._too_early += 1
                return
            if name not in self._bag:
                offers = [_offer(publisher.qos_profile) for publisher in self.get_publishers_info_by_topic(name)]
                self._bag.add_topic(name, type_name, list(dict.fromkeys(offers)) or None, definition)
            self._bag.write(name, type_name, int(self.get_clock().now().nanoseconds), cdr)

        return write


def _definition(type_name: str, publishers: Sequence[TopicEndpointInfo]) -> bags.Definition | None:
    """None where bags know the type as it is published. Raises InvalidInput where nobody knows its definition."""
    bags.define(type_name, _installed_definition)
    ours, offered = bags.type_hash(type_name), _offered_hash(publishers)
    if offered not in ("", ours):
        raise InvalidInput(f"published as {type_name} {offered}, which is {ours} here")
    return None


def _installed_definition(type_name: str) -> str:
    """The .msg file that is installed with the Python class of a type. Raises InvalidInput."""
    package, _, name = type_name.split("/")
    source = Path(sys.modules[message_class(type_name).__module__].__file__ or "")
    for parent in source.parents:
        if (file := parent / "share" / package / "msg" / f"{name}.msg").is_file():
            return file.read_text(encoding="utf-8")
    raise InvalidInput(f"no share/{package}/msg/{name}.msg above {source}")


def _offered_hash(publishers: Sequence[TopicEndpointInfo]) -> str:
    """The RIHS01 hash of the publishers' type; empty where one does not say, or they do not agree."""
    hashes = {str(getattr(publisher, "topic_type_hash", "")) for publisher in publishers}  # ROS 2 Humble has none
    agreed = hashes.pop() if len(hashes) == 1 else ""
    return agreed if agreed.startswith("RIHS01_") else ""


def _offer(qos: QoSProfile) -> bags.Offer:
    return bags.Offer(
        qos.reliability.name.lower(),
        qos.durability.name.lower(),
        qos.history.name.lower(),
        qos.depth,
        qos.deadline.nanoseconds,
        qos.lifespan.nanoseconds,
        qos.liveliness.name.lower(),
        qos.liveliness_lease_duration.nanoseconds,
    )


def main() -> None:
    """Entry point of `recorder_node`."""
    run_node(RecorderNode, RecorderNode.record)
