"""The other side of a planner node: publish what a vehicle publishes, collect what the planner says, hear what others do.

Benches, the doctor, the fault campaign and the simulator use this and nothing else of `nodes`.
"""

from __future__ import annotations

import array
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_profile_sensor_data,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from alpamayo_ros.bags import Record, TopicInfo
from alpamayo_ros.geometry import quaternion_from_rotation
from alpamayo_ros.msg import PlanStatus, ReasoningTrace, TrajectoryCandidates, UnicycleTrajectory
from alpamayo_ros.nodes.messages import stamp_ns, time_message
from alpamayo_ros.nodes.topics import matching_qos, message_class, recorded_qos
from alpamayo_ros.profile import Rig, shared_files
from alpamayo_ros.types import EgoPose

OUTPUTS = {
    "trajectory": UnicycleTrajectory,
    "candidates": TrajectoryCandidates,
    "reasoning": ReasoningTrace,
    "status": PlanStatus,
}

DISCOVERY_S = 0.2
"""How often a listener looks for topics that were not there before."""


def executable(node: str) -> Path:
    """The installed program of one of our nodes. Raises FileNotFoundError where the package was not built."""
    for parent in Path(__file__).parents:
        if (program := parent / "lib" / "alpamayo_ros" / node).is_file():
            return program
    raise FileNotFoundError(f"no lib/alpamayo_ros/{node} above {__file__}: build the package with `make build` or colcon")


def node_environment() -> dict[str, str]:
    """This process's environment plus what launch/ sets: a Fast DDS segment that holds a burst of seven cameras, and
    an allocator that keeps large blocks (their cost without: docs/performance.md)."""
    return {
        **os.environ,  # noqa: TID251 - a child process inherits its parent's environment
        "FASTDDS_DEFAULT_PROFILES_FILE": str(shared_files() / "config" / "fastdds_shm.xml"),
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "4294967295",
    }


@contextmanager
def node_process(
    node: str, parameters: Mapping[str, object], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our nodes as its own process; at the end interrupt it as Ctrl-C would, kill it after 5 s."""
    arguments = [text for key, value in parameters.items() for text in ("-p", f"{key}:={_as_yaml(value)}")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [executable(node), "--ros-args", *arguments],
            env=environment or node_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes], grace_s: float = 5.0) -> None:
    """Interrupt a process as Ctrl-C would and wait for it; kill it after the grace time."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _as_yaml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def client_node(name: str, use_sim_time: bool = False) -> Iterator[Node]:
    """A plain node in its own rclpy context, shut down at the end."""
    context = rclpy.Context()
    rclpy.init(context=context)
    parameters = [rclpy.parameter.Parameter("use_sim_time", value=use_sim_time)]
    node = Node(name, context=context, parameter_overrides=parameters)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def spin_until(node: Node, done: Callable[[], bool], timeout_s: float) -> bool:
    """Serve a node's callbacks until `done()` or the timeout; True when done."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + timeout_s
    try:
        while not done() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.02)
    finally:
        executor.remove_node(node)
        executor.shutdown()
    return done()


def odometry_message(pose: EgoPose, rig: Rig) -> Odometry:
    """An ego pose as the odometry of a rig."""
    message = Odometry(child_frame_id=rig.base_frame)
    message.header.stamp = time_message(pose.stamp_ns)
    message.header.frame_id = rig.odometry.frame
    place, turn = message.pose.pose.position, message.pose.pose.orientation
    place.x, place.y, place.z = pose.position.tolist()
    turn.x, turn.y, turn.z, turn.w = quaternion_from_rotation(pose.odom_from_ego).tolist()
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    linear.x, linear.y, linear.z = pose.velocity_mps.tolist()
    angular.x, angular.y, angular.z = pose.angular_rps.tolist()
    return message


class RigPublisher:
    """Publishes a rig's camera and odometry topics as a vehicle's drivers would."""

    def __init__(self, node: Node, rig: Rig, clock: bool = False) -> None:
        self._rig = rig
        self._cameras = {
            role: node.create_publisher(CompressedImage, camera.topic, qos_profile_sensor_data)
            for role, camera in rig.cameras.items()
        }
        self._odometry = node.create_publisher(Odometry, rig.odometry.topic, QoSProfile(depth=50))
        self._clock = node.create_publisher(Clock, "/clock", 10) if clock else None

    def subscribers(self) -> int:
        """The smallest number of subscribers on any camera topic."""
        return min(int(publisher.get_subscription_count()) for publisher in self._cameras.values())

    def camera(self, role: str, stamp_ns: int, data: bytes, encoding: str = "jpeg") -> None:
        """Publish one compressed frame."""
        message = CompressedImage(format=encoding)
        message.header.stamp = time_message(stamp_ns)
        message.header.frame_id = self._rig.cameras[role].frame_id
        message.data = array.array("B", data)  # assigning bytes or an ndarray copies element by element
        self._cameras[role].publish(message)

    def odometry(self, pose: EgoPose) -> None:
        """Publish one ego pose as the rig's odometry."""
        self.odometry_message(odometry_message(pose, self._rig))

    def odometry_message(self, message: Odometry) -> None:
        """Publish an odometry message as it is, right or wrong."""
        self._odometry.publish(message)

    def clock(self, now_ns: int) -> None:
        """Publish simulated time; the publisher must have been made with `clock=True`."""
        if self._clock is None:
            raise RuntimeError("this RigPublisher was made without a clock")
        self._clock.publish(Clock(clock=time_message(now_ns)))


def subscribe_cameras(node: Node, rig: Rig, take: Callable[[str, int, bytes, int, int], None]) -> None:
    """Call `take(role, stamp_ns, data, received_ns, now_ns)` for every compressed image; both times on the system clock."""
    system = RosClock(clock_type=ClockType.SYSTEM_TIME)

    def listener(role: str) -> Callable[[Any, Mapping[str, int]], None]:
        def listen(message: Any, info: Mapping[str, int]) -> None:
            now_ns = int(system.now().nanoseconds)
            take(role, stamp_ns(message.header.stamp), bytes(message.data), info["received_timestamp"], now_ns)

        return listen

    for role, camera in rig.cameras.items():
        node.create_subscription(CompressedImage, camera.topic, listener(role), qos_profile_sensor_data)


class Lockstep:
    """The world's side of a planner node that shares its simulated time: messages as bytes, and when they have been taken."""

    def __init__(self, node: Node, types: Mapping[str, str], planner: str = "/alpamayo_planner") -> None:
        """`types`: of the topics that will be published."""
        unsaid = {topic: TopicInfo(topic, kind, 0, "", "") for topic, kind in types.items()}
        self._publishers = {
            topic: node.create_publisher(message_class(info.type_name), topic, recorded_qos(info))
            for topic, info in unsaid.items()
        }
        self._clock = node.create_publisher(Clock, "/clock", 10)
        self._state = node.create_client(GetState, f"{planner}/get_state")
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def is_heard(self) -> bool:
        """Whether the node has come, and listens to everything."""
        publishers = (*self._publishers.values(), self._clock)
        return all(publisher.get_subscription_count() for publisher in publishers) and self._state.service_is_ready()

    def publish(self, topic: str, cdr: bytes) -> None:
        """One message."""
        self._publishers[topic].publish(cdr)

    def clock(self, now_ns: int) -> None:
        """Simulated time."""
        self._clock.publish(Clock(clock=time_message(now_ns)))

    def wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        """Serve this side's callbacks until `done()` or the timeout; whether it is done."""
        deadline = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
        return done()

    def is_taken(self, timeout_s: float) -> bool:
        """Whether the node has taken what was published: it answers a service after all that had come before the question."""
        return self.wait(self._state.call_async(GetState.Request()).done, timeout_s)

    def close(self) -> None:
        """Serve nothing any more."""
        self._executor.shutdown()


@dataclass
class PlanCollector:
    """Everything a planner published, in order of arrival, with the steady time of receipt in s."""

    node: Node
    planner: str = "/alpamayo_planner"
    trajectory: list[Any] = field(default_factory=list)
    candidates: list[Any] = field(default_factory=list)
    reasoning: list[Any] = field(default_factory=list)
    status: list[Any] = field(default_factory=list)
    order: list[tuple[float, str, Any]] = field(default_factory=list)  # (receipt, output, message)
    diagnostics: dict[str, Any] = field(default_factory=dict)  # newest DiagnosticStatus by name

    def __post_init__(self) -> None:
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
        for name, kind in OUTPUTS.items():
            self.node.create_subscription(kind, f"{self.planner}/{name}", self._keeper(name), qos)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._keep_diagnostics, qos)

    def _keeper(self, name: str) -> Callable[[Any], None]:
        kept = getattr(self, name)

        def keep(message: Any) -> None:
            kept.append(message)
            self.order.append((time.monotonic(), name, message))

        return keep

    def _keep_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})

    def values(self, name_ending: str) -> dict[str, str]:
        """Key-values of the newest diagnostic status whose name ends so; empty when none came yet."""
        for name, status in self.diagnostics.items():
            if name.endswith(name_ending):
                return {pair.key: pair.value for pair in status.values}
        return {}


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
