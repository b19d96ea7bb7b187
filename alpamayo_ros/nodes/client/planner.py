"""What a planner says, engaged and not, and how it is engaged."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from alpamayo_ros.msg import PlanStatus, ReasoningTrace, ShadowDifference, TrajectoryCandidates, UnicycleTrajectory
from alpamayo_ros.nodes.client.processes import spin_until

OUTPUTS = {
    "trajectory": UnicycleTrajectory,
    "candidates": TrajectoryCandidates,
    "reasoning": ReasoningTrace,
    "status": PlanStatus,
}
"""What a planner publishes below its name; all but the status goes below shadow/ while it is not engaged."""


def engage(node: Node, planner: str = "/alpamayo_planner", timeout_s: float = 5.0) -> str:
    """Ask a planner to drive; why it does not, empty when it does. Serves the node's callbacks meanwhile."""
    client = node.create_client(Trigger, f"{planner}/engage")
    try:
        if not spin_until(node, client.service_is_ready, timeout_s):
            return f"no service {planner}/engage in {timeout_s:g} s: the planner is not active"
        answer = client.call_async(Trigger.Request())
        if not spin_until(node, answer.done, timeout_s):
            return f"{planner}/engage did not answer in {timeout_s:g} s"
        return "" if answer.result().success else str(answer.result().message)
    finally:
        node.destroy_client(client)


@dataclass
class PlanCollector:
    """Everything a planner published, engaged or not, in order of arrival, with the steady time of receipt in s."""

    node: Node
    planner: str = "/alpamayo_planner"
    trajectory: list[Any] = field(default_factory=list)
    candidates: list[Any] = field(default_factory=list)
    reasoning: list[Any] = field(default_factory=list)
    status: list[Any] = field(default_factory=list)
    difference: list[Any] = field(default_factory=list)
    order: list[tuple[float, str, Any]] = field(default_factory=list)  # (receipt, topic below the planner's name, message)
    diagnostics: dict[str, Any] = field(default_factory=dict)  # newest DiagnosticStatus by name

    def __post_init__(self) -> None:
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)
        in_shadow = {f"shadow/{name}": kind for name, kind in OUTPUTS.items() if name != "status"}
        for topic, kind in (OUTPUTS | in_shadow | {"shadow/difference": ShadowDifference}).items():
            self.node.create_subscription(kind, f"{self.planner}/{topic}", self._keeper(topic), qos)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._keep_diagnostics, qos)

    def _keeper(self, topic: str) -> Callable[[Any], None]:
        kept = getattr(self, topic.rpartition("/")[2])

        def keep(message: Any) -> None:
            kept.append(message)
            self.order.append((time.monotonic(), topic, message))

        return keep

    def _keep_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})

    def values(self, name_ending: str) -> dict[str, str]:
        """Key-values of the newest diagnostic status whose name ends so; empty when none came yet."""
        for name, status in self.diagnostics.items():
            if name.endswith(name_ending):
                return {pair.key: pair.value for pair in status.values}
        return {}
