"""What a vehicle publishes, and when a node has taken it."""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from typing import Any

from lifecycle_msgs.srv import GetState
from nav_msgs.msg import Odometry
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage

from alpamayo_ros.bags import TopicInfo
from alpamayo_ros.geometry import quaternion_from_rotation
from alpamayo_ros.nodes.messages import stamp_ns, time_message
from alpamayo_ros.nodes.topics import message_class, recorded_qos
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import EgoPose


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
