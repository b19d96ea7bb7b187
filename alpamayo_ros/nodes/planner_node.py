"""The planner node: seven cameras and odometry in, trajectories and reasoning traces out.

A lifecycle node. configure: read the rig, start the engine's process, make buffers and publishers. activate: listen, plan
(planning.py), and publish what the supervisor lets through (supervising.py). Topics, parameters and diagnostics: docs/nodes.md.
"""

from __future__ import annotations

import gc
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Literal, NamedTuple

from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.loading import bundle_engine, bundle_folder, bundle_profile, default_deadline_ms
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.nodes.autoware import autoware_outputs
from alpamayo_ros.nodes.health import Health
from alpamayo_ros.nodes.outputs import Outputs
from alpamayo_ros.nodes.params import PlannerParams, declare
from alpamayo_ros.nodes.planning import Planning, navigation_words, requests_of
from alpamayo_ros.nodes.process import run_node
from alpamayo_ros.nodes.supervising import limits_of, settings_of, timing_of
from alpamayo_ros.pipeline.buffers import Buffers, check_rates, ring_slots
from alpamayo_ros.profile import InputProfile, read_rig
from alpamayo_ros.safety.limits import Limits
from alpamayo_ros.types import EngineFailure, InvalidInput

DISCOVERY_S = 2.0
"""A node that came a moment ago knows nobody yet, and so not who else publishes where one would drive by it."""


class Configured(NamedTuple):
    """What configure makes and cleanup frees."""

    buffers: Buffers
    engine: EngineClient
    outputs: Outputs
    limits: Limits
    health: Health
    made: ExitStack  # closes all of it, and the frame ring, in the right order


class PlannerNode(LifecycleNode):  # type: ignore[misc]
    """See the module."""

    def __init__(self) -> None:
        # Before Node's own: a node whose parameters are refused is destroyed too.
        self._made_s = time.monotonic()
        self._configured: Configured | None = None
        self._planning: Planning | None = None
        self._plan_id = 0  # counts over all activations
        self.refusal = ""  # why the last configure or activate failed
        super().__init__("alpamayo_planner")
        self.params = declare(self, PlannerParams)

    def on_configure(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Make everything; a refusal leaves the node unconfigured with the reason in the log."""
        with self._bugs_logged(), ExitStack() as made:
            try:
                self._configured = self._configure(made)
            except (InvalidInput, EngineFailure, OSError) as error:
                return self._refuse(f"not configured: {error}")
            return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and plan; refused while somebody else publishes where one would drive by us."""
        assert self._configured is not None
        with self._bugs_logged():
            buffers, engine, outputs, limits, health, _ = self._configured
            if self.params.mode == "active":
                time.sleep(max(0.0, self._made_s + DISCOVERY_S - time.monotonic()))
            if rivals := "; ".join(outputs.rivals()):
                return self._refuse(f"not activated: {rivals}")
            result = super().on_activate(state)
            self._planning = Planning(self, self.params, limits, buffers, engine, outputs, self._plan_id)
            health.planning = self._planning
            # A full collection of 90,000 objects was measured to stop every thread for 100 ms: it is done once, now.
            gc.collect()
            gc.freeze()
            return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop listening and planning; nothing is published afterwards."""
        with self._bugs_logged():
            self._stop_planning()
            return super().on_deactivate(state)

    def on_cleanup(self, _: LifecycleState) -> TransitionCallbackReturn:
        """Free what configure made."""
        return self._free()

    def on_shutdown(self, _: LifecycleState) -> TransitionCallbackReturn:
        """From any state: stop, then free."""
        return self._free()

    def on_error(self, _: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised: free what there is; the node can be configured again."""
        return self._free()

    def destroy_node(self) -> None:
        """Stop, free, destroy: also when the process is interrupted."""
        self._free()
        super().destroy_node()

    def _configure(self, made: ExitStack) -> Configured:
        """Everything, each part registered in `made` to be closed. Raises InvalidInput, EngineFailure, OSError."""
        params = self.params
        rig, profile = read_rig(params.rig), bundle_profile(params.bundle, params.profile)
        rig.check_covers(profile)
        check_rates(profile, rig)
        navigation_words(params, profile)  # refuses what cannot be, before an engine starts
        autoware = autoware_outputs(self, params, rig)
        limits = limits_of(params)
        settings_of(params)  # refused now, not when the node is activated
        ring = FrameRing(profile.image_shape, ring_slots(profile, rig, params.decode_threads))
        made.callback(ring.close)
        engine = self._while_running(lambda: self._engine(profile, ring))
        made.callback(engine.close)
        buffers = Buffers(profile, rig, ring, params.decode_threads, on_frame=engine.add_frame)
        made.callback(buffers.close)
        outputs = Outputs(self, autoware, params.mode)
        made.callback(outputs.close)
        health = Health(self, buffers, engine, timing_of(params, rig).stop_after_ns / 1e6, params.probe_timer_ms)
        made.callback(health.close)
        return Configured(buffers, engine, outputs, limits, health, made.pop_all())

    def _engine(self, profile: InputProfile, ring: FrameRing) -> EngineClient:
        """The one that is named, or the one that may run in its place. Raises InvalidInput, EngineFailure."""
        params, folder = self.params, bundle_folder(self.params.bundle)
        deadline_ms, requests = params.deadline_ms or default_deadline_ms(params.bundle), requests_of(params)
        if params.fallback != "none" and folder is None:
            raise InvalidInput(f"fallback {params.fallback}: {params.bundle} is no folder that another engine could run")
        try:
            return EngineClient(params.bundle, profile, ring, deadline_ms, params.engine_python, requests=requests)
        except (InvalidInput, EngineFailure) as refusal:
            if params.fallback in ("none", bundle_engine(params.bundle)):
                raise
            instead, told = f"{folder}@{params.fallback}", str(refusal)
            # A deadline that was set for the one that is named may be too short for this one.
            patient_ms = max(deadline_ms, default_deadline_ms(instead))
            try:
                engine = EngineClient(instead, profile, ring, patient_ms, params.engine_python, refused=told, requests=requests)
            except (InvalidInput, EngineFailure) as second:
                raise EngineFailure(f"{params.bundle}: {told}; in its place {instead}: {second}") from second
            self.get_logger().warning(f"{params.bundle} does not open, {instead} runs in its place: {told}")
            return engine

    def _refuse(self, why: str) -> TransitionCallbackReturn:
        self.refusal = why
        if self.context.ok():
            self.get_logger().error(why)
        return TransitionCallbackReturn.FAILURE

    def _while_running(self, make: Callable[[], EngineClient]) -> EngineClient:
        """What `make` returns; given up when the node is asked to stop, for a large model takes minutes to load."""
        starting = _EngineStart(make)
        while starting.is_alive():
            if not self.context.ok():
                raise EngineFailure("the node was asked to stop while the engine started")
            starting.join(0.05)
        return starting.result()

    def _free(self) -> TransitionCallbackReturn:
        with self._bugs_logged():
            if self._configured and self._planning:
                # A plan under way must not keep us: its engine ends now, and with it the wait for it.
                self._planning.stop()
                self._configured.engine.close()
            self._stop_planning()
            if self._configured:
                self._configured.made.close()
                self._configured = None
                # Timers and jump handles hold our methods, which hold them: the ring's memory is too large to wait for.
                gc.unfreeze()
                gc.collect()
        return TransitionCallbackReturn.SUCCESS

    def _stop_planning(self) -> None:
        if self._configured:
            self._configured.health.planning = None
        if self._planning:
            self._planning.close()
            self._plan_id = self._planning.plan_id
            self._planning = None

    def _bugs_logged(self) -> ExitStack:
        """rclpy turns whatever a transition raises into an error state without a word: say the word on the way."""
        logging = ExitStack()
        logging.push(self._log_bug)
        return logging

    def _log_bug(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and self.context.ok():  # else it ended between two steps of rclpy: a clean stop
            self.get_logger().error("".join(traceback.format_exception(kind, error, trace)))
        return False


class _EngineStart(threading.Thread):
    """Makes an engine client. A daemon: who gives up waiting ends, and the engine's process ends with it."""

    def __init__(self, make: Callable[[], EngineClient]) -> None:
        super().__init__(name="engine start", daemon=True)
        self._make = make
        self._made: EngineClient | None = None
        self._refused: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._made = self._make()
        except (InvalidInput, EngineFailure, OSError) as error:
            self._refused = error

    def result(self) -> EngineClient:
        """What was made. Raises what was refused, or EngineFailure after a bug (threading printed it)."""
        if self._refused is not None:
            raise self._refused
        if self._made is None:
            raise EngineFailure("the engine's start ended with a bug: see stderr")
        return self._made


def start() -> PlannerNode:
    """The node, active already where `autostart` says so. Raises InvalidInput when it refuses."""
    node = PlannerNode()
    for transition in (node.trigger_configure, node.trigger_activate) if node.params.autostart else ():
        if transition() != TransitionCallbackReturn.SUCCESS:
            if not node.context.ok():
                raise ExternalShutdownException
            raise InvalidInput(node.refusal) if node.refusal else RuntimeError("a bug: see the log above")
    return node


def main() -> None:
    """Entry point."""
    run_node(start)


if __name__ == "__main__":
    main()
