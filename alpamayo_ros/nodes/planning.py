"""One activation of the planner node: listen, plan the newest t0, hand what becomes of it to the supervisor.

Callbacks only buffer; one planning thread takes the newest t0, so a slow plan skips frames and never queues them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from alpamayo_ros.bundle.folder import read_special_tokens
from alpamayo_ros.bundle.identity import bundle_hash
from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_engine, bundle_folder, bundle_name
from alpamayo_ros.nodes.inputs import Inputs, Listeners
from alpamayo_ros.nodes.messages import CameraStatus, CycleStatus
from alpamayo_ros.nodes.outputs import Outputs
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.nodes.supervising import Supervising
from alpamayo_ros.nodes.tally import Tally
from alpamayo_ros.pipeline.buffers import Buffers, Counts
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.deliberation import Deliberating, Deliberation
from alpamayo_ros.pipeline.observe import next_t0
from alpamayo_ros.pipeline.planner import seed_of
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.safety.limits import Limits
from alpamayo_ros.types import InvalidInput, Request


class Planning:
    """Listens and plans from its making until `close`."""

    def __init__(
        self,
        node: LifecycleNode,
        params: PlannerParams,
        limits: Limits,
        buffers: Buffers,
        engine: EngineClient,
        outputs: Outputs,
        plan_id: int,
    ) -> None:
        self._node = node
        self._params = params
        self._limits = limits
        self._buffers = buffers
        self._engine = engine
        self._deliberating = Deliberating(deliberation_of(params))
        self._dropped_before = {role: dropped(counts) for role, counts in buffers.frames.counts.items()}
        self._system_clock = Clock(clock_type=ClockType.SYSTEM_TIME)
        folder = bundle_folder(params.bundle)
        digest = bundle_hash(folder) if folder else ""
        runs, instead = (bundle_engine(engine.bundle) if folder else ""), bool(engine.refused)
        name, mode = bundle_name(params.bundle), params.mode
        self._about = CycleStatus(0, 0, "init", name, engine.weights, digest, runs, instead, mode)
        self._supervising = Supervising(node, params, limits, buffers, outputs, self._about, plan_id)
        told = Listeners(self._supervising.say_epoch, self._supervising.take_pose, self._supervising.take_driver)
        self.inputs = Inputs(node, buffers, told, navigation_words(params, buffers.profile))
        self._services = [
            node.create_service(Trigger, "~/engage", self._engage),
            node.create_service(Trigger, "~/disengage", self._disengage),
        ]
        self._ended = node.create_guard_condition(self.check)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="planning")
        self._threads = [self._run(self._plan_every_t0), self._run(self._supervising.watch)]

    @property
    def tally(self) -> Tally:
        """What was planned since activation, as of now."""
        return self._supervising.tally.copy()

    @property
    def plan_id(self) -> int:
        """Of the newest plan."""
        return self._supervising.plan_id

    def stop(self) -> None:
        """Publish nothing from now on, without waiting for a plan under way."""
        self._supervising.stop()

    def close(self) -> None:
        """Stop listening and planning, and forget what was seen: it is no history after a pause."""
        self.stop()
        self._pool.shutdown()  # a plan under way is waited for, at most deadline_ms, twice that where two are thought
        self._supervising.close()
        self.inputs.close()
        for service in self._services:
            self._node.destroy_service(service)
        self._node.destroy_guard_condition(self._ended)
        self._buffers.new_epoch("deactivated", "pause")

    def check(self) -> None:
        """Raise what ended a thread, if anything did: a node that cannot plan, or cannot stop, must not look alive."""
        for thread in self._threads:
            if thread.done():
                thread.result()

    def _run(self, work: Callable[[], None]) -> Future[None]:
        """Work on a thread of its own; a bug in it ends the node at once, and nothing is published any more."""
        thread = self._pool.submit(self._until_stopped, work)
        thread.add_done_callback(self._thread_ended)
        return thread

    def _until_stopped(self, work: Callable[[], None]) -> None:
        try:
            work()
        except RuntimeError:  # rclpy's RCLError is one
            if self._node.context.ok():
                raise
            # The context ended (Ctrl-C) while something was published.

    def _thread_ended(self, thread: Future[None]) -> None:
        if not self._supervising.is_stopped and thread.exception() is not None:
            self.stop()
            self._ended.trigger()

    def _engage(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._supervising.engage()
        response.success = not response.message
        return response

    def _disengage(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._supervising.disengage("asked to")
        response.success = True
        return response

    def _plan_every_t0(self) -> None:
        """Always the newest t0 whose turn has come, one plan at a time."""
        buffers = self._buffers
        epoch, last_t0_ns = buffers.epoch, 0
        max_wait_ns = round(self._params.max_wait_ms * 1e6)
        while not self._supervising.is_stopped:
            buffers.frames.wait_for_change(0.02)
            if buffers.epoch != epoch:
                epoch, last_t0_ns = buffers.epoch, 0
                self._engine.reset(epoch)
            t0_ns = next_t0(buffers, last_t0_ns, time.monotonic_ns(), max_wait_ns, self._params.max_plan_hz)
            if t0_ns is not None:
                last_t0_ns = t0_ns
                self._plan(t0_ns)

    def _plan(self, t0_ns: int) -> None:
        request = request_of(self._params, seed_of(t0_ns, self._params.seed))
        space, doubt = self._engine.space, self._supervising.doubt
        for cycle in self._deliberating.cycles(self._buffers, t0_ns, self._engine, request, space, self._limits, doubt):
            ready = self._with_readiness(cycle)
            self._supervising.take(ready, self._status(ready))
            if self._supervising.is_stopped or self._buffers.epoch != cycle.epoch:
                return  # what would refine it comes too late

    def _with_readiness(self, cycle: Cycle) -> Cycle:
        """Add the time from the last camera message of this t0 (when DDS had it) to the finished observation."""
        received_ns = self.inputs.received_ns(cycle.observation.frames) if cycle.observation and cycle.plan else None
        if received_ns is None:
            return cycle
        since_ms = (int(self._system_clock.now().nanoseconds) - received_ns) / 1e6
        ready_ms = since_ms - cycle.stage_ms["total"] + cycle.stage_ms["observe"]
        return replace(cycle, stage_ms={**cycle.stage_ms, "ready": ready_ms})

    def _status(self, cycle: Cycle) -> CycleStatus:
        """What a cycle's status says of its inputs."""
        observation, counts = cycle.observation, self._buffers.frames.counts
        return replace(
            self._about,
            odometry_extrapolated_ms=observation.odometry_extrapolated_ms if observation else 0.0,
            cameras={role: self._camera_status(role, cycle, counts) for role in self._buffers.profile.cameras},
            stage_ms=cycle.stage_ms,
            pixels_crc32=observation.pixels_crc32 if observation else 0,
        )

    def _camera_status(self, role: str, cycle: Cycle, counts: Mapping[str, Counts]) -> CameraStatus:
        lost = dropped(counts[role]) - self._dropped_before[role] if role in counts else 0
        if cycle.observation is None or role not in cycle.observation.frames:
            return CameraStatus(float("nan"), float("nan"), lost)
        age_ms = (cycle.t0_ns - cycle.observation.frames[role][-1].stamp_ns) / 1e6
        return CameraStatus(age_ms, max(cycle.observation.sync_error_ms[role], key=abs), lost)


def request_of(params: PlannerParams, seed: int) -> Request:
    """What a cycle asks for."""
    p = params
    return Request(
        samples=p.samples,
        reasoning=p.reasoning,
        greedy=p.greedy,
        temperature=p.temperature,
        top_p=p.top_p,
        steps=p.steps,
        guidance=p.guidance,
        seed=seed,
        max_tokens=p.max_tokens,
        share_reasoning=p.share_reasoning,
    )


def requests_of(params: PlannerParams) -> list[Request]:
    """All that cycles will ask for, but for seeds. Raises InvalidInput."""
    usual, deliberation = request_of(params, seed=0), deliberation_of(params)
    return [usual, deliberation.brief(usual)] if deliberation.thinks_briefly(usual) else [usual]


def deliberation_of(params: PlannerParams) -> Deliberation:
    """When cycles reason. Raises InvalidInput."""
    p = params
    return Deliberation(p.reason_on_demand, p.provisional, p.reason_every, p.quick_samples, p.reason_spread_m)


def navigation_words(params: PlannerParams, profile: InputProfile) -> tuple[str, ...] | None:
    """Special tokens that a route in free words must not spell; None where such routes are not taken.

    Raises InvalidInput where they are allowed and the profile takes no navigation.
    """
    if not params.allow_navigation_text:
        return None
    if profile.navigation == "none":
        raise InvalidInput(f"allow_navigation_text: profile {profile.name} takes no navigation")
    folder = bundle_folder(params.bundle)
    return read_special_tokens(folder) if folder else ()


def dropped(counts: Counts) -> int:
    """Frames that were refused, lost or dropped."""
    return counts.refused + counts.late + counts.dropped + counts.missing + counts.conflicting
