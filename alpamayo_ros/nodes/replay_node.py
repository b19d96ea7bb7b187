"""Plays a rosbag2 as the vehicle it was recorded on: every topic undecoded, with its recorded QoS, and /clock."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path
from typing import NamedTuple

from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy
from rosgraph_msgs.msg import Clock

from alpamayo_ros.bags import bag_span, bag_topics, read_bag
from alpamayo_ros.nodes.messages import time_message
from alpamayo_ros.nodes.params import ReplayParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.nodes.topics import message_class, recorded_qos
from alpamayo_ros.types import InvalidInput

ACKNOWLEDGE_S = 0.5
"""How long the end of a bag waits for reliable subscribers to have everything."""

SETTLE_S = 0.3
"""A publisher knows its subscriber before the subscriber knows it: what is sent in between a best-effort one never gets."""

SERVE_NS = 50_000_000
"""Shorter waits are slept through: to be ready for callbacks costs 0.3 ms each time, as much as publishing an image."""


class ReplayNode(Node):  # type: ignore[misc]
    """One bag and a publisher per topic of it."""

    def __init__(self) -> None:
        super().__init__("alpamayo_replay")
        self._params = declare(self, ReplayParams)
        self._bag = Path(self._params.bag)
        self._clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self._publisher_of = self._create_publishers()
        first_ns, self._last_ns = bag_span(self._bag)
        self._start_ns = first_ns + round(self._params.start_offset_s * 1e9)
        if self._start_ns > self._last_ns:
            length_s = (self._last_ns - first_ns) / 1e9
            raise InvalidInput(f"start_offset_s: {self._bag} is {length_s:.3f} s long, got {self._params.start_offset_s}")

    def play(self, executor: SingleThreadedExecutor) -> None:
        """Publish the bag once, or over and over with `loop`."""
        self._wait_for_subscribers(executor)
        while True:
            self._play_once(executor)
            if not self._params.loop:
                break
        deadline = time.monotonic() + ACKNOWLEDGE_S
        for publisher in self._publisher_of.values():
            publisher.wait_for_all_acked(Duration(seconds=max(deadline - time.monotonic(), 0.0)))

    def _create_publishers(self) -> dict[str, Publisher]:
        topics, wanted = bag_topics(self._bag), self._params.topics
        if missing := sorted(set(wanted) - set(topics)):
            raise InvalidInput(f"topics: {', '.join(missing)} not in {self._bag}; it holds {', '.join(topics)}")
        # The bag's own /clock would fight with ours.
        unwanted = f"/clock|{self._params.exclude}"
        chosen = wanted or [name for name in topics if not re.fullmatch(unwanted, name)]
        publishers = {}
        for name in chosen:
            try:
                kind = message_class(topics[name].type_name)
            except InvalidInput as error:
                self.get_logger().warning(f"{name} is not played: {error}")
                continue
            publishers[name] = self.create_publisher(kind, name, recorded_qos(topics[name]))
        if not publishers:
            raise InvalidInput(f"{self._bag}: no topic is left to play of {', '.join(topics)}")
        return publishers

    def _wait_for_subscribers(self, executor: SingleThreadedExecutor) -> None:
        deadline = time.monotonic() + self._params.wait_for_subscribers_s
        waiting = list(self._publisher_of.values())
        while waiting and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
            waiting = [publisher for publisher in waiting if not publisher.get_subscription_count()]
        _serve_until(time.monotonic_ns() + round(SETTLE_S * 1e9), executor)
        played = len(self._publisher_of)
        self.get_logger().info(f"playing {played} topics of {self._bag}, {played - len(waiting)} of them with a subscriber")

    def _play_once(self, executor: SingleThreadedExecutor) -> None:
        self._publish_latched_before_start()
        from_ns = self._start_ns if self._params.start_offset_s else None  # a bag read as a whole is checked to be whole
        records = read_bag(self._bag, self._publisher_of, from_ns)
        first = list(itertools.islice(records, 1))  # opening takes 0.1 s that would make everything late
        pace = _Pace(self._start_ns, time.monotonic_ns(), self._params.rate)
        clock_ns = self._start_ns
        for record in itertools.chain(first, records):
            while clock_ns <= record.log_ns:
                _serve_until(pace.due_ns(clock_ns), executor)
                self._clock_publisher.publish(Clock(clock=time_message(clock_ns)))
                clock_ns += round(1e9 / self._params.clock_hz)
            _sleep_until(pace.due_ns(record.log_ns))  # at most one clock period
            self._publisher_of[record.topic].publish(record.cdr)
        late_s = (time.monotonic_ns() - pace.due_ns(self._last_ns)) / 1e9
        self.get_logger().info(f"played {(self._last_ns - self._start_ns) / 1e9:.3f} s of bag, {late_s:.3f} s late at the end")

    def _publish_latched_before_start(self) -> None:
        latched = [name for name, publisher in self._publisher_of.items() if _is_latched(publisher)]
        for record in read_bag(self._bag, latched, stop_ns=self._start_ns):
            self._publisher_of[record.topic].publish(record.cdr)


class _Pace(NamedTuple):
    """When a bag time is due on the steady clock."""

    start_ns: int  # bag time
    started_ns: int  # the same instant, steady clock
    rate: float

    def due_ns(self, bag_ns: int) -> int:
        return self.started_ns + round((bag_ns - self.start_ns) / self.rate)


def _is_latched(publisher: Publisher) -> bool:
    return bool(publisher.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL)


def _serve_until(due_ns: int, executor: SingleThreadedExecutor) -> None:
    """Wait, answering the node's services in between; at least once, so that a late replay still hears Ctrl-C."""
    executor.spin_once(timeout_sec=0.0)
    while (left_ns := due_ns - time.monotonic_ns()) > SERVE_NS:
        executor.spin_once(timeout_sec=left_ns / 1e9)
    _sleep_until(due_ns)


def _sleep_until(due_ns: int) -> None:
    time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)


def main() -> None:
    """Entry point of `replay_node`."""
    run_node(ReplayNode, ReplayNode.play)
