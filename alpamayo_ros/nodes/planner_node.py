"""The planner node: seven cameras and odometry in, trajectories and reasoning traces out.

A lifecycle node. configure: read the rig, start the engine process, make the buffers. activate: listen, plan, publish.
Callbacks only buffer; one planning thread takes the newest t0, so a slow plan skips frames and never queues them.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Path
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy

from alpamayo_ros import msg
from alpamayo_ros.dynamics import ActionSpace
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_profile
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.nodes import health, messages
from alpamayo_ros.nodes.inputs import Inputs
from alpamayo_ros.nodes.params import PlannerParams, declare
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.pipeline.buffers import Buffers, ring_slots
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.observe import next_t0
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import EngineFailure, InvalidInput, Request

OUTPUT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class Loaded:
    """What configure makes and cleanup frees."""

    rig: Rig
    ring: FrameRing
    engine: EngineClient
    buffers: Buffers

    def close(self) -> None:
        """Give back the engine process, the decode pool and the shared memory."""
        self.engine.close()
        self.buffers.close()
        self.ring.close()


def load(params: PlannerParams) -> Loaded:
    """Read the rig and the bundle's profile, start the engine process. Raises InvalidInput."""
    rig = read_rig(params.rig)
    profile = bundle_profile(params.bundle, params.profile)
    rig.check_covers(profile)
    ring = FrameRing(profile.image_shape, ring_slots(profile, rig))
    engine = EngineClient(params.bundle, profile, ring, deadline_ms=params.deadline_ms, engine_python=params.engine_python)
    buffers = Buffers(profile, rig, ring, threads=params.decode_threads, on_frame=engine.add_frame)
    return Loaded(rig, ring, engine, buffers)


class PlannerNode(LifecycleNode):  # type: ignore[misc]
    """See the module; topics and parameters: docs/nodes.md."""

    def __init__(self) -> None:
        super().__init__("alpamayo_planner")
        self.params = declare(self, PlannerParams)
        self._loaded: Loaded | None = None
        self._inputs: Inputs | None = None
        self._system_clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._tally = health.Tally()
        self._plan_id = 0
        self.refusal = ""  # why the last configure failed
        self._lateness = health.Lateness(self, self.params.probe_timer_ms) if self.params.probe_timer_ms else None

    def on_configure(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Load everything; a refusal leaves the node unconfigured with the reason in the log."""
        try:
            self._loaded = load(self.params)
        except (InvalidInput, EngineFailure) as error:
            self.refusal = str(error)
            self.get_logger().error(self.refusal)
            return TransitionCallbackReturn.FAILURE
        self._status = self.create_lifecycle_publisher(msg.PlanStatus, "~/status", OUTPUT)
        self._trajectory = self.create_lifecycle_publisher(msg.UnicycleTrajectory, "~/trajectory", OUTPUT)
        self._candidates = self.create_lifecycle_publisher(msg.TrajectoryCandidates, "~/candidates", OUTPUT)
        self._reasoning = self.create_lifecycle_publisher(msg.ReasoningTrace, "~/reasoning", OUTPUT)
        self._path = self.create_lifecycle_publisher(Path, "~/path", OUTPUT)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On the steady clock: simulated time may stand still, and that must be said too.
        self._health_timer = self.create_timer(1.0, self._publish_health, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and plan."""
        assert self._loaded is not None
        result = super().on_activate(state)
        self._tally = health.Tally()
        self._inputs = Inputs(self, self._loaded.buffers, self._say_epoch)
        threshold = JumpThreshold(
            min_forward=Duration(seconds=1), min_backward=Duration(nanoseconds=-100_000_000), on_clock_change=True
        )
        self._jump = self.get_clock().create_jump_callback(threshold, post_callback=self._on_clock_jump)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._plan_until_stopped, name="planning")
        self._thread.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and planning; nothing is published afterwards."""
        self._stop_planning()
        return super().on_deactivate(state)

    def on_cleanup(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Free what configure made."""
        self._unload()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, _: LifecycleState) -> TransitionCallbackReturn:
        """From any state: stop, then free."""
        self._unload()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop, free, destroy: also when the process is interrupted."""
        self._unload()
        super().destroy_node()

    def _unload(self) -> None:
        self._stop_planning()
        if self._loaded is not None:
            self.destroy_timer(self._health_timer)
            for publisher in (self._status, self._trajectory, self._candidates, self._reasoning, self._path, self._diagnostics):
                self.destroy_publisher(publisher)
            self._loaded.close()
            self._loaded = None

    def _stop_planning(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._jump.unregister()
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None

    def _on_clock_jump(self, jump: Any) -> None:
        assert self._loaded is not None
        self._loaded.buffers.new_epoch(f"ROS clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s ({jump.clock_change.name})")
        self._say_epoch()

    def _say_epoch(self) -> None:
        assert self._loaded is not None
        buffers = self._loaded.buffers
        self.get_logger().warning(f"epoch {buffers.epoch}: {buffers.epoch_reason}; buffers emptied")

    def _plan_until_stopped(self) -> None:
        """The planning thread: always the newest t0 whose turn has come, one plan at a time."""
        assert self._loaded is not None
        buffers, engine = self._loaded.buffers, self._loaded.engine
        epoch, last_t0_ns = buffers.epoch, 0
        max_wait_ns = round(self.params.max_wait_ms * 1e6)
        while not self._stopping.is_set():
            buffers.frames.wait_for_change(0.02)
            if buffers.epoch != epoch:
                epoch, last_t0_ns = buffers.epoch, 0
                engine.reset(epoch)
            t0_ns = next_t0(buffers, last_t0_ns, time.monotonic_ns(), max_wait_ns, self.params.max_plan_hz)
            if t0_ns is not None:
                last_t0_ns = t0_ns
                self._finish(run_cycle(buffers, t0_ns, engine, self._request(t0_ns), ActionSpace()))

    def _request(self, t0_ns: int) -> Request:
        p = self.params
        return Request(p.samples, p.reasoning, p.greedy, p.temperature, p.top_p, p.steps, p.guidance, seed_of(t0_ns, p.seed))

    def _finish(self, cycle: Cycle) -> None:
        """Publish the cycle's status and, when nothing speaks against it, its plan."""
        assert self._loaded is not None
        if self._stopping.is_set():
            return
        now_ns = int(self.get_clock().now().nanoseconds)
        cycle = self._with_readiness(cycle)
        reason = cycle.refused or self._outdated(cycle, now_ns)
        self._tally.add(cycle, reason)
        plan_id = 0 if reason else self._plan_id + 1
        status = health.cycle_status(
            cycle,
            reason,
            plan_id,
            now_ns,
            self.params.bundle,
            self._loaded.engine.weights,
            self._loaded.buffers,
            self._plan_id > 0,
        )
        self._status.publish(messages.status_message(status, self._loaded.rig))
        if not reason:
            self._plan_id = plan_id
            self._publish(cycle, plan_id)

    def _with_readiness(self, cycle: Cycle) -> Cycle:
        """Add the time from the last camera message of this t0 (when DDS had it) to the finished observation."""
        received_ns = self._inputs.last_received_ns(cycle.t0_ns) if self._inputs else None
        if received_ns is None or cycle.plan is None:
            return cycle
        since_ms = (int(self._system_clock.now().nanoseconds) - received_ns) / 1e6
        ready_ms = since_ms - cycle.stage_ms["total"] + cycle.stage_ms["observe"]
        return replace(cycle, stage_ms={**cycle.stage_ms, "ready": ready_ms})

    def _outdated(self, cycle: Cycle, now_ns: int) -> str:
        """Why a finished plan must not be published any more; empty when it may be."""
        assert self._loaded is not None
        age_ms = (now_ns - cycle.t0_ns) / 1e6
        if cycle.epoch != self._loaded.buffers.epoch:
            return f"the clock jumped while planning: plan of epoch {cycle.epoch}, now {self._loaded.buffers.epoch}"
        if not -100 <= age_ms <= self.params.max_plan_age_ms:
            return f"plan is {age_ms:.0f} ms old, limit {self.params.max_plan_age_ms:.0f}"
        return ""

    def _publish(self, cycle: Cycle, plan_id: int) -> None:
        assert self._loaded is not None
        assert cycle.plan is not None
        assert cycle.observation is not None
        rig, plan, ego = self._loaded.rig, cycle.plan, cycle.observation.ego_t0
        self._trajectory.publish(messages.trajectory_message(plan, plan_id, ego, rig))
        self._reasoning.publish(messages.reasoning_message(plan, plan_id, rig, cycle.stage_ms["infer"]))
        self._candidates.publish(messages.candidates_message(plan, plan_id, ego, rig))
        self._path.publish(messages.path_message(plan, ego, rig))

    def _publish_health(self) -> None:
        assert self._loaded is not None
        now_ns = int(self.get_clock().now().nanoseconds)
        statuses = health.diagnose(self._loaded.buffers, self._loaded.engine, self._inputs, self._tally, self._lateness, now_ns)
        self._diagnostics.publish(messages.diagnostics_message(now_ns, statuses, self.get_name(), self._loaded.rig.name))


def start() -> PlannerNode:
    """The node, active already where `autostart` says so. Raises InvalidInput when it cannot be configured."""
    node = PlannerNode()
    if node.params.autostart:
        if node.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise InvalidInput(f"not configured: {node.refusal}")
        node.trigger_activate()
    return node


def main() -> None:
    """Entry point."""
    run_node(start)


if __name__ == "__main__":
    main()
