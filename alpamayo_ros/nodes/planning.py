"""One activation of the planner node: listen, plan the newest t0, publish the plan or the reason why there is none.

Callbacks only buffer; one planning thread takes the newest t0, so a slow plan skips frames and never queues them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from nav_msgs.msg import Path
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

from alpamayo_ros import msg
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_name
from alpamayo_ros.nodes import messages
from alpamayo_ros.nodes.autoware import Autoware
from alpamayo_ros.nodes.inputs import Inputs
from alpamayo_ros.nodes.messages import CameraStatus, CycleStatus, State
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.pipeline.buffers import Buffers, Counts
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.observe import next_t0
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.types import EgoPose, InvalidInput, Plan, Request

OUTPUT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
CLOCK_JUMP = JumpThreshold(
    min_forward=Duration(seconds=1), min_backward=Duration(nanoseconds=-100_000_000), on_clock_change=True
)
MAX_AHEAD_MS = 100.0
"""A plan may be this much ahead of the clock: /clock and a camera's message come in any order."""


class Outputs:
    """The publishers of plans, those of Autoware's messages too where `autoware` makes them."""

    def __init__(self, node: LifecycleNode, autoware: Autoware | None) -> None:
        self._autoware = autoware
        self._node = node
        self._status = node.create_lifecycle_publisher(msg.PlanStatus, "~/status", OUTPUT)
        topics = {
            "~/trajectory": msg.UnicycleTrajectory,
            "~/reasoning": msg.ReasoningTrace,
            "~/candidates": msg.TrajectoryCandidates,
            "~/path": Path,
        }
        self._of_plan = [node.create_lifecycle_publisher(kind, topic, OUTPUT) for topic, kind in topics.items()]
        for_autoware = autoware.topics if autoware else {}
        self._for_autoware = [node.create_lifecycle_publisher(kind, topic, OUTPUT) for topic, kind in for_autoware.items()]

    def publish(self, status: msg.PlanStatus, plan_messages: tuple[Any, ...]) -> None:
        """The status first, then what belongs to its plan, if there is one (see `Planning._plan_messages`)."""
        self._status.publish(status)
        if plan_messages:
            for publisher, message in zip(self._of_plan, plan_messages, strict=True):
                publisher.publish(message)

    def publish_for_autoware(self, plan: Plan, ego: EgoPose) -> None:
        """All of Autoware's messages of a plan, where they are asked for. Raises InvalidInput: they cannot hold it."""
        made = self._autoware.messages(plan, ego) if self._autoware else ()
        for publisher, message in zip(self._for_autoware, made, strict=True):
            publisher.publish(message)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._status, *self._of_plan, *self._for_autoware):
            self._node.destroy_lifecycle_publisher(publisher)


@dataclass
class Tally:
    """What was planned since activation. The planning thread adds, the executor's thread reads a `copy`."""

    published: int = 0
    refused: int = 0
    last_refusal: str = ""
    last_plan_s: float = float("-inf")  # steady clock
    sync_error_ms: Mapping[str, float] = field(default_factory=dict)  # by role: the largest of the newest observation
    stage_ms: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, cycle: Cycle, reason: str) -> None:
        """Count one cycle; `reason` is empty when its plan is published."""
        with self._lock:
            if reason:
                self.refused += 1
                self.last_refusal = reason
            else:
                self.published += 1
                self.last_plan_s = time.monotonic()
            if cycle.observation:
                self.sync_error_ms = {role: max(ms, key=abs) for role, ms in cycle.observation.sync_error_ms.items()}
            for stage, ms in cycle.stage_ms.items():
                self.stage_ms.setdefault(stage, deque(maxlen=1000)).append(ms)

    def copy(self) -> Tally:
        """As of now: iterating over a deque that another thread appends to is an error."""
        with self._lock:
            stages = {stage: ms.copy() for stage, ms in self.stage_ms.items()}
            return Tally(self.published, self.refused, self.last_refusal, self.last_plan_s, self.sync_error_ms, stages)


class Planning:
    """Listens and plans from its making until `close`."""

    def __init__(
        self, node: LifecycleNode, params: PlannerParams, buffers: Buffers, engine: EngineClient, outputs: Outputs, plan_id: int
    ) -> None:
        self.plan_id = plan_id  # of the newest plan
        self.tally = Tally()
        self._node = node
        self._params = params
        self._buffers = buffers
        self._engine = engine
        self._outputs = outputs
        self._dropped_before = {role: dropped(counts) for role, counts in buffers.frames.counts.items()}
        self._system_clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        self._stopping = threading.Event()
        self.inputs = Inputs(node, buffers, self._say_epoch)
        self._jump = node.get_clock().create_jump_callback(CLOCK_JUMP, post_callback=self._on_clock_jump)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="planning")
        self._thread = self._pool.submit(self._plan_until_stopped)

    def stop(self) -> None:
        """Publish nothing from now on, without waiting for a plan under way."""
        self._stopping.set()

    def close(self) -> None:
        """Stop listening and planning, and forget what was seen: it is no history after a pause."""
        self.stop()
        self._pool.shutdown()  # a plan under way is waited for, at most deadline_ms
        self._jump.unregister()
        self.inputs.close()
        self._buffers.new_epoch("deactivated")

    def check(self) -> None:
        """Raise what ended the planning thread, if anything did: a node that cannot plan must not look alive."""
        if self._thread.done():
            self._thread.result()

    def _on_clock_jump(self, jump: Any) -> None:
        if self._now_ns() - jump.delta.nanoseconds == 0:
            return  # simulated time begins; nothing was taken before it
        self._buffers.new_epoch(f"ROS clock jumped by {jump.delta.nanoseconds / 1e9:.3f} s ({jump.clock_change.name})")
        self._say_epoch()

    def _say_epoch(self) -> None:
        self._node.get_logger().warning(
            f"epoch {self._buffers.epoch}: {self._buffers.epoch_reason}; buffers emptied", throttle_duration_sec=1.0
        )

    def _plan_until_stopped(self) -> None:
        """The planning thread."""
        try:
            self._plan_every_t0()
        except RuntimeError:  # rclpy's RCLError is one
            if self._node.context.ok():
                raise
            # The context ended (Ctrl-C) while something was published.

    def _plan_every_t0(self) -> None:
        """Always the newest t0 whose turn has come, one plan at a time."""
        buffers = self._buffers
        epoch, last_t0_ns = buffers.epoch, 0
        max_wait_ns = round(self._params.max_wait_ms * 1e6)
        while not self._stopping.is_set():
            buffers.frames.wait_for_change(0.02)
            if buffers.epoch != epoch:
                epoch, last_t0_ns = buffers.epoch, 0
                self._engine.reset(epoch)
            t0_ns = next_t0(buffers, last_t0_ns, time.monotonic_ns(), max_wait_ns, self._params.max_plan_hz)
            if t0_ns is not None:
                last_t0_ns = t0_ns
                self._finish(run_cycle(buffers, t0_ns, self._engine, self._request(t0_ns), self._engine.space))

    def _request(self, t0_ns: int) -> Request:
        p = self._params
        return Request(
            samples=p.samples,
            reasoning=p.reasoning,
            greedy=p.greedy,
            temperature=p.temperature,
            top_p=p.top_p,
            steps=p.steps,
            guidance=p.guidance,
            seed=seed_of(t0_ns, p.seed),
            max_tokens=p.max_tokens,
            share_reasoning=p.share_reasoning,
        )

    def _finish(self, cycle: Cycle) -> None:
        """Publish the cycle's status and, when nothing speaks against it, its plan."""
        if self._stopping.is_set():
            return
        now_ns = self._now_ns()
        cycle = self._with_readiness(cycle)
        reason, plan_messages = cycle.refused or self._outdated(cycle, now_ns), ()
        try:
            plan_messages = () if reason else self._plan_messages(cycle)
        except InvalidInput as error:
            reason = str(error)
        self.plan_id += not reason
        status = self._status(cycle, reason, now_ns)
        self._outputs.publish(messages.status_message(status, self._buffers.rig), plan_messages)
        if not reason:
            self._publish_for_autoware(cycle)
        self.tally.add(cycle, reason)

    def _publish_for_autoware(self, cycle: Cycle) -> None:
        """After our own messages, which wait for none of this and are on the air whatever Autoware's cannot hold."""
        assert cycle.plan is not None
        assert cycle.observation is not None
        try:
            self._outputs.publish_for_autoware(cycle.plan, cycle.observation.ego_t0)
        except InvalidInput as error:
            said = f"plan {self.plan_id} has no Autoware messages: {error}"
            self._node.get_logger().warning(said, throttle_duration_sec=1.0)

    def _with_readiness(self, cycle: Cycle) -> Cycle:
        """Add the time from the last camera message of this t0 (when DDS had it) to the finished observation."""
        received_ns = self.inputs.received_ns(cycle.observation.frames) if cycle.observation and cycle.plan else None
        if received_ns is None:
            return cycle
        since_ms = (int(self._system_clock.now().nanoseconds) - received_ns) / 1e6
        ready_ms = since_ms - cycle.stage_ms["total"] + cycle.stage_ms["observe"]
        return replace(cycle, stage_ms={**cycle.stage_ms, "ready": ready_ms})

    def _outdated(self, cycle: Cycle, now_ns: int) -> str:
        """Why a finished plan must not be published any more; empty when it may be."""
        age_ms = (now_ns - cycle.t0_ns) / 1e6
        if cycle.epoch != self._buffers.epoch:
            return f"the clock jumped while planning: plan of epoch {cycle.epoch}, now {self._buffers.epoch}"
        if not -MAX_AHEAD_MS <= age_ms <= self._params.max_plan_age_ms:
            return f"plan is {age_ms:.0f} ms old, limit {self._params.max_plan_age_ms:.0f}"
        return ""

    def _plan_messages(self, cycle: Cycle) -> tuple[Any, ...]:
        """What Outputs publishes of a plan, in its order. Raises InvalidInput for what no message can hold."""
        assert cycle.plan is not None
        assert cycle.observation is not None
        plan, plan_id, ego, rig = cycle.plan, self.plan_id + 1, cycle.observation.ego_t0, self._buffers.rig
        return (
            messages.trajectory_message(plan, plan_id, ego, rig),
            messages.reasoning_message(plan, plan_id, rig, cycle.stage_ms["infer"]),
            messages.candidates_message(plan, plan_id, ego, rig),
            messages.path_message(plan, ego, rig),
        )

    def _status(self, cycle: Cycle, reason: str, now_ns: int) -> CycleStatus:
        observation, counts = cycle.observation, self._buffers.frames.counts
        used = observation.frames if observation else {}
        left_out = [f"{role}: left out, a frame is not within tolerance" for role in self._buffers.roles if role not in used]
        return CycleStatus(
            t0_ns=cycle.t0_ns,
            epoch=cycle.epoch,
            state=self._state(reason, left_out),
            bundle=bundle_name(self._params.bundle),
            weights=self._engine.weights,
            plan_id=0 if reason else self.plan_id,
            source=None if reason else "model",
            valid=not reason,
            # One problem each: a text has at most 256 bytes, seven silent cameras say more.
            reasons=tuple(reason.split("; ") if reason else left_out),
            age_ms=(now_ns - cycle.t0_ns) / 1e6,
            odometry_extrapolated_ms=observation.odometry_extrapolated_ms if observation else 0.0,
            cameras={role: self._camera_status(role, cycle, counts) for role in self._buffers.profile.cameras},
            stage_ms=cycle.stage_ms,
            pixels_crc32=observation.pixels_crc32 if observation else 0,
        )

    def _state(self, reason: str, left_out: list[str]) -> State:
        if reason:
            return "silent" if self.tally.published else "warmup"
        return "degraded" if left_out else "nominal"

    def _camera_status(self, role: str, cycle: Cycle, counts: Mapping[str, Counts]) -> CameraStatus:
        lost = dropped(counts[role]) - self._dropped_before[role] if role in counts else 0
        if cycle.observation is None or role not in cycle.observation.frames:
            return CameraStatus(float("nan"), float("nan"), lost)
        age_ms = (cycle.t0_ns - cycle.observation.frames[role][-1].stamp_ns) / 1e6
        return CameraStatus(age_ms, max(cycle.observation.sync_error_ms[role], key=abs), lost)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)


def dropped(counts: Counts) -> int:
    """Frames that were refused, lost or dropped."""
    return counts.refused + counts.late + counts.dropped + counts.missing + counts.conflicting
