"""What the planner node publishes: one set of topics for who drives by its plans, one for who only looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nav_msgs.msg import Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message

from alpamayo_ros import msg
from alpamayo_ros.nodes import messages
from alpamayo_ros.nodes.autoware import Autoware, autoware_trajectory
from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.contract import Mode, Output

OUTPUT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
STATUSES = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
"""The newest trajectory is the one that counts; of statuses none replaces another, and several may come at once."""

OF_PLAN = {
    "~/trajectory": msg.UnicycleTrajectory,
    "~/reasoning": msg.ReasoningTrace,
    "~/candidates": msg.TrajectoryCandidates,
    "~/path": Path,
}
STATUS, DIFFERENCE = "~/status", "~/shadow/difference"


def plan_messages(output: Output, plan_id: int, rig: Rig, latency_ms: float) -> dict[str, Any]:
    """By topic, what is said of an output with a trajectory; a hold and a stop have neither words nor samples.

    Raises InvalidInput for what no message can hold.
    """
    plan, ego = messages.published_plan(output), output.ego
    assert ego is not None
    said = {"~/trajectory": messages.trajectory_message(plan, plan_id, ego, rig)}
    if output.source == "model":
        said["~/reasoning"] = messages.reasoning_message(plan, plan_id, rig, latency_ms)
        said["~/candidates"] = messages.candidates_message(plan, plan_id, ego, rig)
    return said | {"~/path": messages.path_message(plan, ego, rig)}


def on_the_wire(said: Mapping[str, Any]) -> dict[str, bytes]:
    """Messages as DDS sends them.

    Most of the time of a publication goes into this, 4 ms for 150 points, and on a starved machine any time: it is done before
    the last look at the clock.
    """
    return {topic: serialize_message(message) for topic, message in said.items()}


class Outputs:
    """The publishers. In shadow mode there are none that anybody could drive by."""

    def __init__(self, node: LifecycleNode, autoware: Autoware | None, mode: Mode) -> None:
        self._node = node
        self._autoware = autoware
        kinds = OF_PLAN | (autoware.topics if autoware else {})
        below = {False: "~/shadow/", True: "~/"} if mode == "active" else {False: "~/shadow/"}
        self._status = node.create_lifecycle_publisher(msg.PlanStatus, STATUS, STATUSES)
        self._difference = node.create_lifecycle_publisher(msg.ShadowDifference, DIFFERENCE, OUTPUT)
        self._of_plan = {
            (engaged, topic): node.create_lifecycle_publisher(kind, topic.replace("~/", prefix), OUTPUT)
            for engaged, prefix in below.items()
            for topic, kind in kinds.items()
        }

    def publish(self, engaged: bool, wire: Mapping[str, bytes]) -> None:
        """The status, then what it is about (see `plan_messages`), to those it is for; in this order, `on_the_wire`."""
        for topic, message in wire.items():
            publisher = self._status if topic == STATUS else self._of_plan[engaged, topic]
            publisher.publish(message)

    def autoware_messages(self, output: Output) -> dict[str, Any]:
        """By topic, Autoware's messages of an output with a trajectory, where asked for. Raises InvalidInput where they cannot.

        A hold is the whole trajectory once more: theirs begin where the ego was at their stamp.
        """
        if self._autoware is None:
            return {}
        ego = output.ego
        assert ego is not None
        if output.source == "model":
            assert output.plan is not None
            return dict(zip(self._autoware.topics, self._autoware.messages(output.plan, ego), strict=True))
        plan = output.plan if output.source == "hold" else messages.published_plan(output)
        assert plan is not None
        return {"~/output/trajectory": autoware_trajectory(self._autoware, plan, ego)}

    def publish_for_autoware(self, engaged: bool, said: Mapping[str, bytes]) -> None:
        """See `autoware_messages`; to those they are for."""
        for topic, message in said.items():
            self._of_plan[engaged, topic].publish(message)

    def publish_difference(self, difference: msg.ShadowDifference) -> None:
        """How a plan differed from what was driven."""
        self._difference.publish(difference)

    def rivals(self) -> Iterator[str]:
        """Who else publishes where one would drive by us: a sentence each."""
        own = self._node.get_fully_qualified_name()
        for (engaged, _), publisher in self._of_plan.items():
            found = self._node.get_publishers_info_by_topic(publisher.topic_name) if engaged else []
            names = [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]
            if own in names:
                names.remove(own)  # this publisher; what is left of this name is a second node that bears it
            if names:
                yield f"{publisher.topic_name} is published by {', '.join(sorted(set(names)))}, too"

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._status, self._difference, *self._of_plan.values()):
            self._node.destroy_lifecycle_publisher(publisher)
