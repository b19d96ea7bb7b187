"""ROS time beside the steady clock: what time it is, and whether it can be trusted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

BACK_NS, AHEAD_NS = 100_000_000, 1_000_000_000
"""A step further back or ahead than this is another time."""

STANDS_STILL_NS = 2_000_000_000
"""Simulated time that has neither moved nor been told again for this long, steady, has stopped. A simulation that waits for us
says the same time again and again."""

_CLOCK = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_AT_ONCE_NS = 1_000_000  # two clocks read within this time are read at the same moment
_JUMP = JumpThreshold(
    min_forward=Duration(nanoseconds=AHEAD_NS), min_backward=Duration(nanoseconds=-BACK_NS), on_clock_change=True
)


class Moment(NamedTuple):
    """One moment on both clocks."""

    ros_ns: int  # 0: simulated time has not begun
    steady_ns: int  # of durations: simulated time where that is the clock of the stamps
    is_simulated: bool
    has_stopped: bool  # simulated time stands still


class Clocks:
    """Reads the clocks of a node and calls `on_jump(why)` when time jumps; never inside a jump that is not told yet.

    Simulated time tells its jumps itself, on the executor's thread. The system clock is held against the steady one at
    every `moment`, which one thread at a time may ask for.
    """

    def __init__(self, node: Node, on_jump: Callable[[str], None]) -> None:
        self._node = node
        self._clock = node.get_clock()
        self._on_jump = on_jump
        self._settled = threading.Event()
        self._settled.set()
        self._ahead_ns: int | None = None  # of the system clock, before the steady one
        self._simulated_ns = 0
        self._lived_ns = time.monotonic_ns()  # when simulated time moved or was told again; two threads set it to now
        self._handle = self._clock.create_jump_callback(_JUMP, pre_callback=self._settled.clear, post_callback=self._after_jump)
        # Beside the one of rclpy, which does not tell that the same time came again.
        listens = self._clock.ros_time_is_active
        self._heard = node.create_subscription(Clock, "/clock", self._hear, _CLOCK, raw=True) if listens else None

    def moment(self) -> Moment:
        """Now."""
        ros_ns, steady_ns = self._read()
        while not self._settled.is_set():  # asked after the clock was read: what was read may be of the other side
            self._settled.wait()
            ros_ns, steady_ns = self._read()
        if self._clock.ros_time_is_active:
            self._ahead_ns = None
            if ros_ns != self._simulated_ns:
                self._simulated_ns, self._lived_ns = ros_ns, steady_ns
            return Moment(ros_ns, ros_ns, is_simulated=True, has_stopped=steady_ns - self._lived_ns > STANDS_STILL_NS)
        self._compare(ros_ns - steady_ns)
        return Moment(ros_ns, steady_ns, is_simulated=False, has_stopped=False)

    def ros_ns(self) -> int:
        """ROS time alone; any thread may ask."""
        return int(self._clock.now().nanoseconds)

    def close(self) -> None:
        """Tell no more jumps. On the executor's thread."""
        self._handle.unregister()
        if self._heard is not None:
            self._node.destroy_subscription(self._heard)
            self._heard = None

    def _hear(self, _: object) -> None:
        self._lived_ns = time.monotonic_ns()

    def _read(self) -> tuple[int, int]:
        """Both clocks at once: a thread that was put aside between them would see a step that never was."""
        while True:
            before_ns = time.monotonic_ns()
            ros_ns = self.ros_ns()
            steady_ns = time.monotonic_ns()
            if steady_ns - before_ns < _AT_ONCE_NS:
                return ros_ns, steady_ns

    def _compare(self, ahead_ns: int) -> None:
        stepped_ns = 0 if self._ahead_ns is None else ahead_ns - self._ahead_ns
        self._ahead_ns = ahead_ns
        if not -BACK_NS <= stepped_ns <= AHEAD_NS:
            self._on_jump(f"system clock stepped by {stepped_ns / 1e9:.3f} s against the steady clock")

    def _after_jump(self, jump: Any) -> None:
        try:
            if self.ros_ns() - jump.delta.nanoseconds != 0:  # else simulated time begins; nothing was taken before it
                self._on_jump(f"ROS clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s ({jump.clock_change.name})")
        finally:
            self._settled.set()
