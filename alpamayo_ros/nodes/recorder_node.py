"""Records topics, undecoded, into an MCAP rosbag2 that is complete after SIGINT and SIGTERM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from alpamayo_ros import bags
from alpamayo_ros.nodes.params import RecorderParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.nodes.topics import matching_qos, message_class
from alpamayo_ros.types import InvalidInput

DISCOVERY_S = 0.2
"""How often the node looks for topics that were not there before."""


class RecorderNode(Node):  # type: ignore[misc]
    """Subscribes to what appears and writes what arrives."""

    def __init__(self) -> None:
        super().__init__("alpamayo_recorder")
        self._params = declare(self, RecorderParams)
        self._wanted = {self.resolve_topic_name(name) for name in self._params.topics}
        self._known: set[str] = set()  # subscribed to, or refused once
        self._bag = bags.BagWriter(Path(self._params.out))
        # On the steady clock: simulated time may not have begun.
        self.create_timer(DISCOVERY_S, self._subscribe_to_new_topics, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def record(self, executor: SingleThreadedExecutor) -> None:
        """Write until the process is asked to stop. Raises OSError when the disk refuses; the index is tried even then."""
        try:
            with self._bag:
                executor.spin()
        except OSError as error:
            self.get_logger().error(f"recording stopped after {self._bag.messages} messages: {error}")
            raise
        finally:
            missing = ", ".join(sorted(self._wanted - self._known))
            print(
                f"recorded {self._bag.messages} messages in {self._bag.path}" + (f"; never seen: {missing}" if missing else "")
            )

    def _subscribe_to_new_topics(self) -> None:
        if self.get_clock().now().nanoseconds == 0:
            return  # simulated time has not begun; latched messages wait for a subscriber
        for name, type_names in self.get_topic_names_and_types():
            if name not in self._known and (name in self._wanted or not (self._wanted or "/_" in name)):
                self._subscribe(name, type_names)

    def _subscribe(self, name: str, type_names: list[str]) -> None:
        offered = [publisher.qos_profile for publisher in self.get_publishers_info_by_topic(name)]
        if not offered:
            return
        self._known.add(name)
        try:
            if len(type_names) != 1:
                raise InvalidInput(f"published with different types: {', '.join(type_names)}")
            bags.message(type_names[0])
            kind = message_class(type_names[0])
        except InvalidInput as error:
            self.get_logger().warning(f"{name} is not recorded: {error}")
            return
        self.create_subscription(kind, name, self._writer(name, type_names[0]), matching_qos(offered), raw=True)

    def _writer(self, name: str, type_name: str) -> Callable[[bytes], None]:
        def write(cdr: bytes) -> None:
            self._bag.write(name, type_name, int(self.get_clock().now().nanoseconds), cdr)

        return write


def main() -> None:
    """Entry point of `recorder_node`."""
    run_node(RecorderNode, RecorderNode.record)
