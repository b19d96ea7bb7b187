"""What must not be replaced by what comes after it, in the queues of writers and readers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own
import pytest
from pipeline.vehicle import TWO_CAMERAS, buffers
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Bool

from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.inputs import Inputs, Listeners
from alpamayo_ros.nodes.outputs import Outputs

AT_ONCE = 10
"""Cycle, hold, stop and news of two watchdog ticks, twice over."""


class Asked(LifecycleNode):  # type: ignore[misc]
    """As much of a node as a publisher's queue is asked for."""

    def __init__(self) -> None:
        """No node."""
        self.depths: dict[str, int] = {}

    def create_lifecycle_publisher(self, _: type, topic: str, qos: Any) -> None:
        self.depths[topic] = qos.depth


def test_statuses_wait_for_a_slow_reader_and_trajectories_do_not() -> None:
    node = Asked()
    Outputs(node, None, "active")
    assert node.depths["~/status"] >= AT_ONCE
    assert {node.depths[topic] for topic in ("~/trajectory", "~/shadow/trajectory")} == {1}, "only the newest counts"


@pytest.fixture
def node() -> Iterator[Any]:
    with client_node("alpamayo_planner") as node:
        yield node


@pytest.mark.ros
@pytest.mark.patient
def test_a_driver_who_acts_for_a_moment_has_acted(node: Any) -> None:
    acted: list[bool] = []
    inputs = Inputs(node, buffers(TWO_CAMERAS), Listeners(lambda: None, lambda: None, acted.append))
    with client_node("driver") as driver:
        publisher = driver.create_publisher(Bool, "/alpamayo_planner/driver_override", 10)
        assert spin_until(driver, lambda: publisher.get_subscription_count() > 0, 10)
        for acts in (True, False):  # both before the node looks
            publisher.publish(Bool(data=acts))
        assert publisher.wait_for_all_acked()
        assert spin_until(node, lambda: len(acted) == 2 or acted == [False], 10)
    assert acted == [True, False]
    inputs.close()
