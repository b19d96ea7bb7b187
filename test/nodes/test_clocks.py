"""ROS time beside the steady clock, with a node's clock and one that a test can step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own
import pytest
from rclpy.clock import ClockChange
from rosgraph_msgs.msg import Clock

from alpamayo_ros.nodes import clocks
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.clocks import AHEAD_NS, BACK_NS, STANDS_STILL_NS, Clocks
from alpamayo_ros.nodes.messages import time_message

MS = 1_000_000
T0 = 1_700_000_000_000_000_000


@dataclass
class Time:
    """The clocks of a machine: the system's may be stepped, the steady one goes on."""

    system_ns: int = T0
    steady_ns: int = 50_000 * MS
    naps_ns: list[int] = field(default_factory=list)  # what passes before each of the next looks at the steady clock

    def monotonic_ns(self) -> int:
        self.passes(self.naps_ns.pop() if self.naps_ns else 0)
        return self.steady_ns

    def passes(self, ns: int) -> None:
        self.system_ns += ns
        self.steady_ns += ns


@dataclass
class NodeOf:
    """A node whose clock is this time's."""

    time: Time
    ros_time_is_active: bool = False
    before: Callable[[], None] = lambda: None
    after: Callable[[Any], None] = lambda _: None
    hear: Callable[[Clock], None] = lambda _: None

    def get_clock(self) -> NodeOf:
        return self

    def now(self) -> Any:
        return SimpleNamespace(nanoseconds=self.time.system_ns)

    def create_jump_callback(self, _: Any, pre_callback: Callable[[], None], post_callback: Callable[[Any], None]) -> Any:
        self.before, self.after = pre_callback, post_callback
        return SimpleNamespace(unregister=lambda: None)

    def create_subscription(self, _: type, topic: str, hear: Callable[[Clock], None], __: Any, *, raw: bool) -> str:
        assert self.ros_time_is_active
        assert raw
        self.hear = hear
        return topic

    def destroy_subscription(self, topic: str) -> None:
        assert topic == "/clock"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Time:
    machine = Time()
    monkeypatch.setattr(clocks, "time", machine)
    return machine


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("step_ns", "is_jump"),
    [(-BACK_NS - MS, True), (-BACK_NS + MS, False), (0, False), (AHEAD_NS - MS, False), (AHEAD_NS + MS, True)],
)
def test_a_system_clock_that_steps_against_the_steady_one_is_a_jump(
    machine: Time, told: list[str], step_ns: int, is_jump: bool
) -> None:
    watched = Clocks(NodeOf(machine), told.append)
    for _ in range(3):
        machine.passes(20 * MS)
        watched.moment()
    machine.system_ns += step_ns
    moment = watched.moment()
    assert (moment.ros_ns, moment.steady_ns) == (machine.system_ns, machine.steady_ns)
    machine.passes(20 * MS)
    watched.moment()
    assert told == ([f"system clock stepped by {step_ns / 1e9:.3f} s against the steady clock"] if is_jump else [])


def test_a_clock_that_is_slewed_is_no_jump(machine: Time, told: list[str]) -> None:
    watched = Clocks(NodeOf(machine), told.append)
    for _ in range(1000):
        machine.passes(20 * MS)
        machine.system_ns -= MS  # 5 %, a hundred times what NTP does
        watched.moment()
    assert told == []


def test_a_thread_that_is_put_aside_between_the_two_clocks_sees_no_step(machine: Time, told: list[str]) -> None:
    watched = Clocks(NodeOf(machine), told.append)
    watched.moment()
    machine.naps_ns = [3000 * MS, 0]
    moment = watched.moment()
    assert machine.naps_ns == []
    assert moment.ros_ns - moment.steady_ns == machine.system_ns - machine.steady_ns
    watched.moment()
    assert told == []


def test_simulated_time_that_stands_still_has_stopped_until_it_moves(machine: Time, told: list[str]) -> None:
    watched = Clocks(NodeOf(machine, ros_time_is_active=True), told.append)
    assert not watched.moment().has_stopped
    machine.steady_ns += STANDS_STILL_NS
    assert not watched.moment().has_stopped
    machine.steady_ns += 1
    moment = watched.moment()
    assert (moment.has_stopped, moment.is_simulated, moment.steady_ns) == (True, True, machine.system_ns)
    machine.system_ns += 1
    assert not watched.moment().has_stopped
    assert told == []


def test_simulated_time_that_is_told_again_has_not_stopped(machine: Time, told: list[str]) -> None:
    node = NodeOf(machine, ros_time_is_active=True)
    watched = Clocks(node, told.append)
    watched.moment()
    for _ in range(4):
        machine.steady_ns += STANDS_STILL_NS // 2
        node.hear(Clock(clock=time_message(machine.system_ns)))
        assert not watched.moment().has_stopped
    machine.steady_ns += STANDS_STILL_NS + 1
    assert watched.moment().has_stopped, "nobody tells it any more"
    watched.close()


def test_a_moment_inside_a_jump_waits_for_the_epoch_that_it_begins(machine: Time, told: list[str]) -> None:
    node = NodeOf(machine, ros_time_is_active=True)
    watched = Clocks(node, told.append)
    watched.moment()
    node.before()
    machine.system_ns += 5000 * MS
    moments: list[clocks.Moment] = []
    reader = threading.Thread(target=lambda: moments.append(watched.moment()))
    reader.start()
    reader.join(0.2)
    assert moments == [], "the new time is not told before its epoch"
    node.after(SimpleNamespace(delta=SimpleNamespace(nanoseconds=5000 * MS), clock_change=ClockChange.ROS_TIME_NO_CHANGE))
    reader.join(10)
    assert [moment.ros_ns for moment in moments] == [machine.system_ns]
    assert told == ["ROS clock jumped by 5.000 s (ROS_TIME_NO_CHANGE)"]


@pytest.fixture
def node() -> Iterator[Any]:
    with client_node("clocks", use_sim_time=True) as node:
        yield node


@pytest.mark.ros
@pytest.mark.patient
def test_simulated_time_that_begins_is_no_jump_and_one_that_goes_back_is(node: Any, told: list[str]) -> None:
    watched = Clocks(node, told.append)
    assert watched.moment().ros_ns == 0
    publisher = node.create_publisher(Clock, "/clock", 10)
    for now_ns in (T0, T0 + 20 * MS, T0 - 500 * MS):
        deadline = time.monotonic() + 10
        while watched.moment().ros_ns != now_ns and time.monotonic() < deadline:
            publisher.publish(Clock(clock=time_message(now_ns)))
            spin_until(node, lambda: False, 0.02)
        assert watched.moment().ros_ns == now_ns
    assert told == ["ROS clock jumped by -0.520 s (ROS_TIME_NO_CHANGE)"]
    watched.close()


@pytest.mark.ros
@pytest.mark.patient
def test_a_clock_message_of_the_same_time_is_heard(node: Any, told: list[str], machine: Time) -> None:
    watched = Clocks(node, told.append)
    publisher = node.create_publisher(Clock, "/clock", 10)

    def told_again(is_so: Callable[[clocks.Moment], bool]) -> bool:
        publisher.publish(Clock(clock=time_message(T0)))
        return is_so(watched.moment())

    assert spin_until(node, lambda: told_again(lambda moment: moment.ros_ns == T0), 10)
    machine.steady_ns += STANDS_STILL_NS + 1
    assert watched.moment().has_stopped
    assert spin_until(node, lambda: told_again(lambda moment: not moment.has_stopped), 10)
    watched.close()
