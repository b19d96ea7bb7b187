"""A bug in one of the planner's threads ends the node: what can no longer plan or stop must not look alive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own
import pytest
import rclpy
from nodes.planner_harness import small_profile, small_rig
from rclpy.executors import SingleThreadedExecutor

from alpamayo_ros.nodes import planning
from alpamayo_ros.nodes.planner_node import PlannerNode
from alpamayo_ros.safety.supervisor import Supervisor

pytestmark = [pytest.mark.ros, pytest.mark.patient]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[PlannerNode]:
    """In this process, so that a test can break it."""
    small_rig(tmp_path)
    given = {"rig": tmp_path / "rig.yaml", "profile": small_profile(tmp_path)}
    rclpy.init(args=["--ros-args", *(text for name, value in given.items() for text in ("-p", f"{name}:={value}"))])
    node = PlannerNode()
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.shutdown()


@pytest.mark.parametrize("thread", ["planning", "watchdog"])
def test_a_thread_that_dies_of_a_bug_takes_the_node_with_it(
    node: PlannerNode, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    if thread == "planning":
        monkeypatch.setattr(planning, "next_t0", bug)
    else:
        monkeypatch.setattr(Supervisor, "tick", bug)
    node.trigger_configure()
    node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        serve(executor)
    executor.shutdown()


def serve(executor: SingleThreadedExecutor) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
