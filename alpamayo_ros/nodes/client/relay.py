"""Puts somebody between a planner and those who listen to it: what the planner says goes out elsewhere, changed or not.

For trials of the monitor only. The planner stays as it is under its own name; the monitor is told to watch `target`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import TransitionEvent
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from alpamayo_ros import msg
from alpamayo_ros.nodes.monitoring import odometer_of, published_of, status_message_of, status_of, trajectory_message_of
from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.invariants import Published
from alpamayo_ros.safety.monitor import Status
from alpamayo_ros.safety.monitor_inputs import Odometer

RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
SENSORS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
IDLE_S = 0.05


class Between(Protocol):
    """Who stands between; see `simulation.faults.saboteurs.Saboteur`."""

    def odometry(self, pose: Odometer) -> None:
        """The vehicle moved."""

    def end(self) -> None:
        """The planner was deactivated."""

    def take(self, message: Status | Published, now_ns: int) -> Iterable[tuple[Status | Published, bool]]:
        """What goes out instead of a message, and whether on the topics of an engaged planner."""

    def idle(self) -> Iterable[tuple[Status | Published, bool]]:
        """What goes out without cause."""


class Relay:
    """Takes what `planner` says and publishes as `target` what `between` makes of it; `between` may be replaced at any time."""

    def __init__(
        self, node: Node, rig: Rig, between: Between, planner: str = "/alpamayo_planner", target: str = "/broken_planner"
    ) -> None:
        self.between = between
        self.judged = 0  # trajectories, by what a monitor of the target last said of itself
        self._node = node
        self._target = target
        trajectory = msg.UnicycleTrajectory
        self._status = node.create_publisher(msg.PlanStatus, f"{target}/status", RELIABLE)
        self._trajectory = {
            engaged: node.create_publisher(trajectory, f"{target}/{place}trajectory", RELIABLE)
            for engaged, place in ((True, ""), (False, "shadow/"))
        }
        self._transition = node.create_publisher(TransitionEvent, f"{target}/transition_event", RELIABLE)
        node.create_subscription(msg.PlanStatus, f"{planner}/status", self._taking(status_of), RELIABLE)
        for place in ("", "shadow/"):
            node.create_subscription(trajectory, f"{planner}/{place}trajectory", self._taking(published_of), RELIABLE)
        node.create_subscription(TransitionEvent, f"{planner}/transition_event", self._take_transition, RELIABLE)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, RELIABLE)
        node.create_subscription(Odometry, rig.odometry.topic, self._take_odometry, SENSORS)
        node.create_timer(IDLE_S, lambda: self.publish(self.between.idle()), clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def is_heard(self) -> bool:
        """Whether somebody listens to everything it says of a planner."""
        return all(publisher.get_subscription_count() for publisher in (self._status, *self._trajectory.values()))

    def publish(self, said: Iterable[tuple[Status | Published, bool]]) -> None:
        """Values as messages, in this order."""
        for message, engaged in said:
            if isinstance(message, Status):
                self._status.publish(status_message_of(message))
            else:
                self._trajectory[engaged].publish(trajectory_message_of(message))

    def _taking(self, value_of: Callable[[Any], Status | Published]) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self.publish(self.between.take(value_of(message), int(self._node.get_clock().now().nanoseconds)))

        return take

    def _take_transition(self, event: TransitionEvent) -> None:
        if event.goal_state.label == "inactive":
            self.between.end()
        self._transition.publish(event)

    def _take_odometry(self, message: Odometry) -> None:
        self.between.odometry(odometer_of(message))

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        for said in message.status:
            values = {each.key: each.value for each in said.values}
            if said.hardware_id == self._target and "publications" in values:
                self.judged = sum(json.loads(values["publications"]).values())
