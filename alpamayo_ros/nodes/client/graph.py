"""What others publish: what there is, who is not heard, and hearing it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosgraph_msgs.msg import Clock

from alpamayo_ros.bags import Record
from alpamayo_ros.nodes.messages import stamp_ns
from alpamayo_ros.nodes.topics import matching_qos, message_class

DISCOVERY_S = 0.2
"""How often a listener looks for topics that were not there before."""


class Published(NamedTuple):
    """A topic that somebody else publishes."""

    types: tuple[str, ...]
    qos: str  # offered, as `bags.TopicInfo` writes it


def published(node: Node) -> dict[str, Published]:
    """What the other nodes of the graph publish, by topic."""
    found = {}
    for name, _ in node.get_topic_names_and_types():
        if others := _other_publishers(node, name):
            offers = "; ".join(sorted({_qos_text(other.qos_profile) for other in others}))
            found[name] = Published(tuple(sorted({other.topic_type for other in others})), offers)
    return found


def unheard(node: Node, topics: Iterable[str]) -> Iterator[str]:
    """Who on the graph hears nothing from a publisher of its topic, for its type or QoS: a sentence each."""
    for topic in topics:
        pairs = product(node.get_publishers_info_by_topic(topic), node.get_subscriptions_info_by_topic(topic))
        for offer, request in pairs:
            publisher, subscriber = _node_name(offer), _node_name(request)
            compatibility, _ = qos_check_compatible(offer.qos_profile, request.qos_profile)
            if offer.topic_type != request.topic_type:
                types = f"{publisher} publishes {offer.topic_type}, {subscriber} wants {request.topic_type}"
                yield f"{topic}: {types} and hears nothing: correct the type or the topic of one of them"
            elif compatibility == QoSCompatibility.ERROR:
                qos = (
                    f"{publisher} offers {_qos_text(offer.qos_profile)}, {subscriber} asks for {_qos_text(request.qos_profile)}"
                )
                yield f"{topic}: {qos} and hears nothing: offer more or ask for less"


class Listener:
    """Hears topics that others publish, each with a QoS that receives from all its publishers."""

    def __init__(self, node: Node, wanted: Callable[[str, str], bool]) -> None:
        """Topics are chosen by `wanted(topic, type_name)`, also when they appear later."""
        self._node = node
        self._wanted = wanted
        self._subscribed: set[str] = set()
        self._arrived: deque[Record] = deque()
        self._ahead_ns = 0  # simulated time minus system time
        self.topics: dict[str, Published] = {}  # everything seen on the graph meanwhile

    def records(self, seconds: float) -> Iterator[Record]:
        """Yield what arrives within `seconds`, undecoded.

        `log_ns` is when DDS had a message: system time, or simulated time after the first message of a /clock.
        """
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        look_at = time.monotonic()
        stop_at = look_at + seconds
        try:
            while (now := time.monotonic()) < stop_at:
                if now >= look_at:
                    self._subscribe_to_new_topics()
                    look_at = now + DISCOVERY_S
                executor.spin_once(timeout_sec=0.02)
                while self._arrived:
                    yield self._arrived.popleft()
        finally:
            executor.remove_node(self._node)
            executor.shutdown()

    def _subscribe_to_new_topics(self) -> None:
        self.topics |= published(self._node)
        if "/clock" in self.topics and "/clock" not in self._subscribed:
            self._subscribe("/clock", "rosgraph_msgs/msg/Clock", self._take_clock, raw=False)
        for name, topic in self.topics.items():
            types = [type_name for type_name in topic.types if self._wanted(name, type_name)]
            if types and name not in self._subscribed:
                self._subscribe(name, types[0], self._taker(name, types[0]), raw=True)

    def _subscribe(self, name: str, type_name: str, take: Callable[[Any, Any], None], raw: bool) -> None:
        offered = [p.qos_profile for p in _other_publishers(self._node, name) if p.topic_type == type_name]
        if offered:
            self._subscribed.add(name)
            self._node.create_subscription(message_class(type_name), name, take, matching_qos(offered), raw=raw)

    def _take_clock(self, message: Clock, info: Mapping[str, int]) -> None:
        self._ahead_ns = stamp_ns(message.clock) - info["received_timestamp"]

    def _taker(self, name: str, type_name: str) -> Callable[[bytes, Mapping[str, int]], None]:
        def take(cdr: bytes, info: Mapping[str, int]) -> None:
            self._arrived.append(Record(name, type_name, info["received_timestamp"] + self._ahead_ns, cdr))

        return take


def _other_publishers(node: Node, topic: str) -> list[TopicEndpointInfo]:
    own = (node.get_namespace(), node.get_name())
    return [p for p in node.get_publishers_info_by_topic(topic) if (p.node_namespace, p.node_name) != own]


def _node_name(endpoint: TopicEndpointInfo) -> str:
    return f"{endpoint.node_namespace.rstrip('/')}/{endpoint.node_name}"


def _qos_text(qos: QoSProfile) -> str:
    return f"{qos.reliability.name.lower()} {qos.durability.name.lower()}"
