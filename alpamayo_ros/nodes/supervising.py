"""The supervisor of one activation: the planning thread tells it of cycles, a watchdog lets time pass, and only here is
anything published, under one lock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.node import Node

from alpamayo_ros import msg
from alpamayo_ros.nodes import messages
from alpamayo_ros.nodes.clocks import Clocks
from alpamayo_ros.nodes.gate import Gate, outdated
from alpamayo_ros.nodes.messages import CycleStatus
from alpamayo_ros.nodes.outputs import STATUS, Outputs, on_the_wire, plan_messages
from alpamayo_ros.nodes.params import PlannerParams
from alpamayo_ros.nodes.tally import Tally
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.pipeline.limits import read_limits
from alpamayo_ros.pipeline.shadow import ShadowComparison
from alpamayo_ros.pipeline.supervision import left_out_warnings, supervise
from alpamayo_ros.profile import Rig
from alpamayo_ros.safety.contract import Now, Output, Timing, timing
from alpamayo_ros.safety.limits import LIMITS, Limits
from alpamayo_ros.safety.stop import Profile, StopSettings
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.types import InvalidInput

WATCH_S = 0.02
"""The watchdog lets time pass this often."""


def timing_of(params: PlannerParams, rig: Rig) -> Timing:
    """How long things may take on this rig."""
    return timing(
        rig.cameras[rig.anchor].period_ns,
        round(1e9 / rig.odometry.rate_hz),
        params.max_plan_hz,
        round(params.stop_after_ms * 1e6),
        round(params.max_plan_age_ms * 1e6),
    )


def limits_of(params: PlannerParams) -> Limits:
    """Limits of the checks, for the vehicle's own wheelbase where it is given. Raises InvalidInput, OSError."""
    limits = read_limits(Path(params.limits)) if params.limits else LIMITS
    return replace(limits, wheelbase_m=params.wheelbase_m) if params.wheelbase_m else limits


def settings_of(params: PlannerParams) -> StopSettings:
    """How a stop brakes. Raises InvalidInput."""
    return StopSettings(
        comfort=Profile(params.comfort_stop_decel_mps2, params.comfort_stop_jerk_mps3),
        emergency=Profile(params.stop_decel_mps2, params.stop_jerk_mps3),
        comfort_below_mps=params.comfort_stop_below_mps,
        cap_mps2=params.stop_cap_mps2,
    )


class Supervising:
    """Publishes from its making until `stop`; after that nothing, whichever thread was about to."""

    def __init__(
        self,
        node: Node,
        params: PlannerParams,
        limits: Limits,
        buffers: Buffers,
        outputs: Outputs,
        about: CycleStatus,
        plan_id: int,
    ) -> None:
        """`about`: what every status says of the node."""
        self.plan_id = plan_id  # of the newest plan
        self.tally = Tally()
        self._node = node
        self._buffers = buffers
        self._outputs = outputs
        self._about = about
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._clocks = Clocks(node, self._new_epoch)
        self._timing = timing_of(params, buffers.rig)
        self._supervisor = Supervisor(params.mode, self._timing, limits, settings_of(params))
        self._gate = Gate()
        self._shadow = ShadowComparison()
        self._newest: tuple[int, int] | None = None  # epoch and t0 of the plan that has `plan_id`
        self._driver_acts = False

    def take(self, cycle: Cycle, about: CycleStatus) -> None:
        """Publish what becomes of a cycle; `about`: what its status says of its inputs."""
        left_out = left_out_warnings(self._buffers.roles, cycle.observation)
        with self._lock:
            if self._stopped.is_set():
                return
            now = self._now()
            output = supervise(cycle, self._supervisor, left_out, now)
            self.tally.add_cycle(cycle, self._publish(output, now, about))
            self._tick()

    def watch(self) -> None:
        """The watchdog: ends when it is stopped."""
        while not self._stopped.wait(WATCH_S):
            with self._lock:
                if not self._stopped.is_set():
                    self._tick()
            self._compare()

    def take_pose(self) -> None:
        """Odometry has come: what is driven is what shadow plans are compared with."""
        newest = self._buffers.newest()
        if newest.pose is not None:
            self._shadow.take_pose(newest.pose, newest.epoch)

    def take_driver(self, acts: bool) -> None:
        """The driver acts, or does not any more."""
        with self._lock:
            self._driver_acts = acts
            if acts and not self._stopped.is_set():
                self._supervisor.disengage("the driver acts", self._now())

    def engage(self) -> str:
        """Let the vehicle drive by us; why not, empty when it does."""
        with self._lock:
            if self._stopped.is_set():
                return "the node is being stopped"
            return self._supervisor.engage(self._now(), tuple(self._obstacles()))

    def disengage(self, reason: str) -> None:
        """What follows goes to the shadow topics."""
        with self._lock:
            self._supervisor.disengage(reason, self._now())

    def ros_ns(self) -> int:
        """ROS time."""
        return self._clocks.ros_ns()

    def stop(self) -> None:
        """Publish nothing from now on. What another thread is publishing has gone out when this returns."""
        self._stopped.set()
        with self._lock:
            pass

    @property
    def doubt(self) -> str:
        """Why the next cycle should reason, whatever it thinks itself; empty where all is well."""
        with self._lock:
            state = self._supervisor.state
        return "" if state == "nominal" else f"the supervisor's state is {state}"

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is published any more."""
        return self._stopped.is_set()

    def close(self) -> None:
        """Stop, and hear of no more jumps of the clock."""
        self.stop()
        self._clocks.close()

    def say_epoch(self) -> None:
        """Log that an epoch began."""
        self._node.get_logger().warning(
            f"epoch {self._buffers.epoch}: {self._buffers.epoch_reason}; buffers emptied", throttle_duration_sec=1.0
        )

    def _new_epoch(self, why: str) -> None:
        self._buffers.new_epoch(why, "clock")
        self.say_epoch()

    def _obstacles(self) -> Iterator[str]:
        if self._driver_acts:
            yield "the driver acts (~/driver_override)"
        yield from self._outputs.rivals()

    def _now(self) -> Now:
        moment = self._clocks.moment()  # first: it may begin an epoch
        epoch, cause, pose, came_ros_ns, came_steady_ns = self._buffers.newest()
        came_ns = came_ros_ns if moment.is_simulated else came_steady_ns
        return Now(moment.ros_ns, moment.steady_ns, epoch, cause, pose, came_ns, moment.has_stopped)

    def _tick(self) -> None:
        """Let time pass, once it has begun."""
        now = self._now()
        if now.ros_ns > 0 and (output := self._supervisor.tick(now)) is not None:
            self._publish(output, now, self._about)

    def _publish(self, output: Output, now: Now, about: CycleStatus) -> Output:
        """The status, then what it is about, unless that is a bug's or has grown too old. Returns what went out."""
        said, why_not = self._said(output, about.stage_ms.get("infer", 0.0))
        if why_not:
            self._node.get_logger().error(f"a bug: not published: {'; '.join(why_not)}")
            self.tally.add_breach(why_not[0])
            output = replace(_withheld(output, why_not, now), state="silent")
        wire = on_the_wire({STATUS: self._status_message(output, now, about), **said})
        if too_late := self._outdated(output):  # last: making messages takes time, and a starved machine takes more
            self.tally.add_withheld()
            output = _withheld(output, (f"not published: {too_late}",), now)
            wire = on_the_wire({STATUS: self._status_message(output, now, about)})
        self._outputs.publish(output.engaged, wire)
        self.tally.add_output(output)
        if output.source is not None:
            self._publish_for_autoware(output)
        if output.source == "model" and output.plan is not None and output.ego is not None and not output.engaged:
            self._shadow.take_plan(self.plan_id, output.plan, output.ego)
        return output

    def _outdated(self, output: Output) -> str:
        """Why a trajectory must not go out any more, as of this moment."""
        if output.trajectory is None:
            return ""
        ros_ns = self._clocks.moment().ros_ns  # first: it may begin an epoch
        return outdated(output, ros_ns, self._buffers.epoch, self._timing)

    def _said(self, output: Output, latency_ms: float) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The messages of an output with a trajectory, or why they must not go out."""
        if output.trajectory is None:
            return {}, ()
        if output.source == "model" and output.plan is not None:
            self.plan_id += 1
            self._newest = output.plan.epoch, output.plan.t0_ns
        try:
            said = plan_messages(output, self._plan_id_of(output), self._buffers.rig, latency_ms)
        except InvalidInput as error:
            return {}, (str(error),)
        breaches = self._gate.breaches(said["~/trajectory"])
        return ({}, breaches) if breaches else (said, ())

    def _plan_id_of(self, output: Output) -> int:
        """Of the plan that is published, held, or whose path a stop follows; 0 without one."""
        is_newest = output.plan is not None and (output.plan.epoch, output.plan.t0_ns) == self._newest
        return self.plan_id if is_newest else 0

    def _status_message(self, output: Output, now: Now, about: CycleStatus) -> msg.PlanStatus:
        status = replace(
            about,
            stamp_ns=output.stamp_ns,
            epoch=output.epoch,
            state=output.state,
            engaged=output.engaged,
            plan_id=self._plan_id_of(output) if output.valid else 0,
            source=output.source,
            valid=output.valid,
            reasons=output.reasons,
            findings=output.findings,
            age_ms=(now.ros_ns - output.stamp_ns) / 1e6,
        )
        return messages.status_message(status, self._buffers.rig)

    def _publish_for_autoware(self, output: Output) -> None:
        """After our own messages, which wait for none of this and are on the air whatever Autoware's cannot hold."""
        try:
            said = on_the_wire(self._outputs.autoware_messages(output))
        except InvalidInput as error:
            why_not = f"plan {self.plan_id} has no Autoware messages: {error}"
            self._node.get_logger().warning(why_not, throttle_duration_sec=1.0)
            return
        if said and not self._outdated(output):
            self._outputs.publish_for_autoware(output.engaged, said)

    def _compare(self) -> None:
        """Publish how plans differed from what was driven."""
        for difference in self._shadow.due():
            message: msg.ShadowDifference = messages.difference_message(difference, self._buffers.rig)
            with self._lock:
                if not self._stopped.is_set() and not self._supervisor.engaged:
                    self._outputs.publish_difference(message)


def _withheld(output: Output, why_not: tuple[str, ...], now: Now) -> Output:
    """What is said instead of an output whose trajectory does not go out."""
    stamp_ns = output.stamp_ns if output.source == "model" else now.ros_ns
    return replace(output, stamp_ns=stamp_ns, source=None, trajectory=None, reasons=why_not + output.reasons)
