"""The monitor node: sees what goes into a planner and what comes out of it, and records every breach of the invariants.

A process of its own that shares nothing with the planner but the messages. What it demands: safety/monitor.py. Each breach is
a line of JSON in the file `out` and on ~/breach; /diagnostics says how many there were.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import TransitionEvent
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from alpamayo_ros import msg
from alpamayo_ros.nodes import monitoring
from alpamayo_ros.nodes.messages import ERROR, OK, WARN, Diagnostic, diagnostics_message
from alpamayo_ros.nodes.monitor_params import MonitorParams
from alpamayo_ros.nodes.params import declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.safety.contract import timing
from alpamayo_ros.safety.invariants import Breach
from alpamayo_ros.safety.monitor import Life, Monitor
from alpamayo_ros.safety.monitor_inputs import At
from alpamayo_ros.types import InvalidInput

TICK_S, GRAPH_S, DIAGNOSTICS_S = 0.025, 0.2, 1.0
"""How often it judges, looks who is there, and says how it stands."""

RELIABLE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE)
SENSORS = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Deeper than the planner's own queues: what the planner has, the monitor must have."""
SMALL = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Of odometry and /clock, at 100 Hz and more: a busy machine was measured to keep this process from them for 1.9 s."""

IMAGE_TYPE = {"compressed": CompressedImage, "raw": Image}
LIVES: Mapping[str, Life] = {"active": "active", "inactive": "inactive", "unconfigured": "inactive", "finalized": "inactive"}


class MonitorNode(Node):  # type: ignore[misc]
    """Tells a `Monitor` every message, and everybody what it finds."""

    def __init__(self) -> None:
        super().__init__("alpamayo_monitor")
        params = declare(self, MonitorParams)
        rig = read_rig(params.rig)
        simulated = bool(self.get_parameter("use_sim_time").value)
        self._planner = str(self.resolve_topic_name(params.planner))
        self._out = params.out
        self._file: TextIO | None = None
        self._parent = params.parent
        self._simulated = simulated
        self._monitor = _monitor(params, rig, simulated)
        self._turns = monitoring.Turns(simulated)
        self._found: Counter[str] = Counter()  # by invariant
        self._unsafe = 0
        self._last = ""
        self._planners: frozenset[tuple[int, ...]] = frozenset()  # who publishes the status
        self._started_s = time.monotonic()
        self._breaches = self.create_publisher(String, "~/breach", RELIABLE)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._listen_to_inputs(rig)
        if simulated:
            self.create_subscription(ClockMessage, "/clock", self._take_clock, SMALL)
        self._listen_to_outputs()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, act in ((TICK_S, self._judge), (GRAPH_S, self._look_around), (DIAGNOSTICS_S, self._diagnose)):
            self.create_timer(period_s, act, clock=steady)

    def watch(self, executor: SingleThreadedExecutor) -> None:
        """Until the process is asked to stop; then a summary, as a JSON object, is the last line on stdout."""
        with Path(self._out).open("w", encoding="utf-8") if self._out else nullcontext() as self._file:
            try:
                executor.spin()
            finally:
                self._judge()  # not what is too new: its inputs may not have been taken yet
                print(json.dumps(self.summary()), flush=True)

    def summary(self) -> dict[str, Any]:
        """Figures so far."""
        return {
            "seconds": round(time.monotonic() - self._started_s, 3),
            "publications": dict(self._monitor.publications),
            "breaches": dict(self._found),
            "unsafe": self._unsafe,
            "liveness": self._found.total() - self._unsafe,
            "unjudged": self._monitor.unjudged,
            "jumps": self._monitor.inputs.jumps,
            "lost": self._monitor.losses,
        }

    def _listen_to_inputs(self, rig: Rig) -> None:
        for role, camera in rig.cameras.items():
            offset_ns = round(camera.stamp_offset_ms * 1e6)
            kind = IMAGE_TYPE[camera.transport]
            self.create_subscription(
                kind, camera.topic, self._camera(role, offset_ns), SENSORS, raw=True, event_callbacks=self._losses()
            )
        self.create_subscription(Odometry, rig.odometry.topic, self._odometry(rig), SMALL, event_callbacks=self._losses())

    def _losses(self) -> SubscriptionEventCallbacks:
        return SubscriptionEventCallbacks(message_lost=lambda _: self._turns.put(self._turns.now_ns()[1], self._monitor.lost))

    def _listen_to_outputs(self) -> None:
        planner, kind = self._planner, msg.UnicycleTrajectory
        self.create_subscription(msg.PlanStatus, f"{planner}/status", self._take_status, RELIABLE)
        self.create_subscription(kind, f"{planner}/trajectory", self._trajectory(engaged=True), RELIABLE)
        self.create_subscription(kind, f"{planner}/shadow/trajectory", self._trajectory(engaged=False), RELIABLE)
        self.create_subscription(TransitionEvent, f"{planner}/transition_event", self._take_transition, RELIABLE)

    def _camera(self, role: str, offset_ns: int) -> Callable[[bytes, Mapping[str, int]], None]:
        def take(cdr: bytes, info: Mapping[str, int]) -> None:
            exposed_ns = monitoring.cdr_stamp_ns(cdr) + offset_ns
            self._turns.put(self._came_ns(info), lambda now: self._monitor.frame(role, exposed_ns, now))

        return take

    def _odometry(self, rig: Rig) -> Callable[[Odometry, Mapping[str, int]], None]:
        def take(message: Odometry, info: Mapping[str, int]) -> None:
            if (message.header.frame_id, message.child_frame_id) != (rig.odometry.frame, rig.base_frame):
                frames = f"{message.header.frame_id!r} from {message.child_frame_id!r}"
                self.get_logger().warning(f"odometry in {frames} is not judged", throttle_duration_sec=10.0)
                return
            pose = monitoring.odometer_of(message)
            self._turns.put(self._came_ns(info), lambda now: self._monitor.odometry(pose, now))

        return take

    def _came_ns(self, info: Mapping[str, int]) -> int:
        """When an input came; under simulated time, which is of one computer, when it was sent, as /clock was."""
        return monitoring.sent_ns(info) if self._simulated else info["received_timestamp"]

    def _take_clock(self, message: ClockMessage, info: Mapping[str, int]) -> None:
        self._turns.put(monitoring.sent_ns(info), self._monitor.clock, monitoring.time_ns(message.clock))

    def _take_status(self, message: msg.PlanStatus, info: Mapping[str, int]) -> None:
        def tell(now: At) -> None:
            self._monitor.status(monitoring.status_of(message), now)

        self._turns.put(monitoring.sent_ns(info), tell)

    def _trajectory(self, engaged: bool) -> Callable[[msg.UnicycleTrajectory, Mapping[str, int]], None]:
        def take(message: msg.UnicycleTrajectory, info: Mapping[str, int]) -> None:
            late_ns = 0 if self._simulated else monitoring.late_ns(info)

            def tell(now: At) -> None:
                self._monitor.trajectory(monitoring.published_of(message), engaged, now, late_ns)

            self._turns.put(monitoring.sent_ns(info), tell)

        return take

    def _take_transition(self, event: TransitionEvent, info: Mapping[str, int]) -> None:
        if self.count_publishers(f"{self._planner}/transition_event") > 1:
            self.get_logger().warning(f"two nodes are named {self._planner}: which of them changes its state is not known")
        elif (life := LIVES.get(event.goal_state.label)) is not None:
            self._turns.put(monitoring.sent_ns(info), lambda now: self._monitor.life(life, now))

    def _look_around(self) -> None:
        """Another process of the planner, or none any more; and whether the one that started this one is there."""
        found = self.get_publishers_info_by_topic(f"{self._planner}/status")
        publishers = frozenset(tuple(publisher.endpoint_gid) for publisher in found)
        life: Life | None = None
        if publishers - self._planners:
            life = "starts"
        elif self._planners and not publishers:
            life = "gone"
        self._planners = publishers
        if life is not None:
            self._turns.put(0, lambda now: self._monitor.life(life, now))
        if self._parent and os.getppid() != self._parent:
            self.get_logger().warning(f"process {self._parent}, which started this monitor, is gone: it ends")
            self.context.try_shutdown()

    def _judge(self) -> None:
        for now, tell in self._turns.take():
            self._tell(tell, now)
        settled = self._turns.now()
        if settled is not None:
            self._record(self._monitor.tick(settled), settled)

    def _tell(self, tell: monitoring.Tell, now: At) -> None:
        try:
            tell(now)
        except InvalidInput as error:  # a code that no message may have
            self._record((Breach("I7", str(error)),), now)

    def _record(self, breaches: tuple[Breach, ...], now: At) -> None:
        for breach in breaches:
            self._found[breach.invariant] += 1
            self._unsafe += breach.unsafe
            self._last = str(breach)
            line = json.dumps(
                {"ros_ns": now.ros_ns, "invariant": breach.invariant, "unsafe": breach.unsafe, "text": breach.text}
            )
            if self._file:
                print(line, file=self._file, flush=True)
            if self.context.ok():
                self._breaches.publish(String(data=line))

    def _diagnose(self) -> None:
        level = ERROR if self._unsafe else WARN if self._found else OK
        values = {name: json.dumps(value) for name, value in self.summary().items()} | {"last": self._last}
        diagnostic = Diagnostic("breaches", level, self._last or "none", values)
        now_ns = int(self.get_clock().now().nanoseconds)
        self._diagnostics.publish(diagnostics_message(now_ns, [diagnostic], self.get_name(), self._planner))


def _monitor(params: MonitorParams, rig: Rig, simulated: bool) -> Monitor:
    """Raises InvalidInput for a camera that the rig does not have."""
    if unknown := set(params.cameras) - set(rig.cameras):
        raise InvalidInput(f"cameras: rig {rig.name} has {', '.join(rig.cameras)}, not {', '.join(sorted(unknown))}")
    periods_ns = {role: rig.cameras[role].period_ns for role in (*(params.cameras or rig.cameras), rig.anchor)}
    limits = timing(
        rig.cameras[rig.anchor].period_ns,
        round(1e9 / rig.odometry.rate_hz),
        params.max_plan_hz,
        round(params.stop_after_ms * 1e6),
        round(params.max_plan_age_ms * 1e6),
    )
    return Monitor(limits, rig.anchor, periods_ns, simulated)


def main() -> None:
    """Entry point of `monitor_node`."""
    run_node(MonitorNode, MonitorNode.watch)
