"""What the planner node says about itself: the status of each cycle, and /diagnostics once a second."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.contract import Weights
from alpamayo_ros.nodes.inputs import Inputs
from alpamayo_ros.nodes.messages import ERROR, OK, WARN, CameraStatus, CycleStatus, Diagnostic, State
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle
from alpamayo_ros.profile import RigCamera
from alpamayo_ros.types import Observation

REMEDY = (
    "lost before they came here: start the publisher of the cameras with "
    "FASTDDS_DEFAULT_PROFILES_FILE=.../share/alpamayo_ros/config/fastdds_shm.xml (docs/install.md)"
)


@dataclass
class Tally:
    """What the planning thread has done since activation."""

    published: int = 0
    refused: int = 0
    last_refusal: str = ""
    stage_ms: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, cycle: Cycle, reason: str) -> None:
        """Count one cycle."""
        if reason:
            self.refused += 1
            self.last_refusal = reason
        else:
            self.published += 1
        for stage, ms in cycle.stage_ms.items():
            self.stage_ms.setdefault(stage, deque(maxlen=1000)).append(ms)


class Lateness:
    """How late a short timer of the node's executor fires: what a callback of this node has to wait at worst."""

    def __init__(self, node: Node, period_ms: float) -> None:
        self._period_s = period_ms / 1e3
        self._due_s = time.monotonic() + self._period_s
        self.late_ms: deque[float] = deque(maxlen=60_000)
        node.create_timer(self._period_s, self._fired, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _fired(self) -> None:
        now_s = time.monotonic()
        self.late_ms.append(max(now_s - self._due_s, 0.0) * 1e3)
        self._due_s = now_s + self._period_s


def cycle_status(
    cycle: Cycle, reason: str, plan_id: int, now_ns: int, bundle: str, weights: Weights, buffers: Buffers, warm: bool
) -> CycleStatus:
    """The status of one cycle; `reason` is empty when its plan is published."""
    observation = cycle.observation
    return CycleStatus(
        t0_ns=cycle.t0_ns,
        epoch=cycle.epoch,
        state=_state(reason, observation, buffers, warm),
        bundle=bundle,
        weights=weights,
        plan_id=plan_id,
        source=None if reason else "model",
        valid=not reason,
        reasons=(reason,) if reason else (),
        age_ms=(now_ns - cycle.t0_ns) / 1e6,
        odometry_extrapolated_ms=observation.odometry_extrapolated_ms if observation else 0.0,
        cameras={role: _camera_status(role, observation, buffers) for role in buffers.profile.cameras},
        stage_ms=cycle.stage_ms,
        pixels_crc32=observation.pixels_crc32 if observation else 0,
    )


def _state(reason: str, observation: Observation | None, buffers: Buffers, warm: bool) -> State:
    if reason:
        return "silent" if warm else "warmup"
    complete = observation is not None and set(observation.frames) == set(buffers.profile.cameras)
    return "nominal" if complete else "degraded"


def _camera_status(role: str, observation: Observation | None, buffers: Buffers) -> CameraStatus:
    lost = dropped(buffers, role)
    if observation is None or role not in observation.frames:
        return CameraStatus(float("nan"), float("nan"), lost)
    age_ms = (observation.stamp_ns - observation.frames[role][-1].stamp_ns) / 1e6
    return CameraStatus(age_ms, max(observation.sync_error_ms[role], key=abs), lost)


def dropped(buffers: Buffers, role: str) -> int:
    """Frames of a camera that were refused, lost or dropped since activation."""
    if role not in buffers.rig.cameras:
        return 0
    counts = buffers.frames.counts[role]
    return counts.refused + counts.late + counts.dropped + counts.missing + counts.conflicting


def diagnose(
    buffers: Buffers, engine: EngineClient, inputs: Inputs | None, tally: Tally, lateness: Lateness | None, now_ns: int
) -> tuple[Diagnostic, ...]:
    """Everything /diagnostics says: one status per camera, odometry, inputs, engine, planner."""
    cameras = [_camera(role, camera, buffers, now_ns) for role, camera in buffers.rig.cameras.items()]
    return (*cameras, _odometry(buffers, now_ns), _inputs(inputs), _engine(engine), _planner(tally, lateness))


def _camera(role: str, camera: RigCamera, buffers: Buffers, now_ns: int) -> Diagnostic:
    counts, newest_ns, rate_hz = buffers.frames.counts[role], buffers.frames.newest_ns(role), buffers.frames.rate_hz(role)
    values = {
        "topic": camera.topic,
        "rate_hz": f"{rate_hz:.2f}",
        "declared_hz": f"{camera.rate_hz:g}",
        "age_ms": "none" if newest_ns is None else f"{(now_ns - newest_ns) / 1e6:.1f}",
        **{name: str(value) for name, value in vars(counts).items() if name != "reason"},
        "last_reason": counts.reason,
    }
    name = f"camera {role}"
    if newest_ns is None:
        return Diagnostic(name, ERROR, f"no frame on {camera.topic}", values)
    if now_ns - newest_ns > 5 * camera.period_ns:
        return Diagnostic(
            name, ERROR, f"silent for {(now_ns - newest_ns) / 1e6:.0f} ms, period {camera.period_ns / 1e6:.0f}", values
        )
    if counts.missing:
        return Diagnostic(name, WARN, f"{counts.missing} frames {REMEDY}", values)
    if abs(rate_hz - camera.rate_hz) > 0.2 * camera.rate_hz:
        return Diagnostic(name, WARN, f"comes at {rate_hz:.1f} Hz, the rig declares {camera.rate_hz:g}", values)
    if counts.refused:
        return Diagnostic(name, WARN, f"{counts.refused} refused, last: {counts.reason}", values)
    return Diagnostic(name, OK, f"{rate_hz:.1f} Hz", values)


def _odometry(buffers: Buffers, now_ns: int) -> Diagnostic:
    newest = buffers.poses.newest()
    period_ms = 1e3 / buffers.rig.odometry.rate_hz
    values = {"topic": buffers.rig.odometry.topic, "epoch": str(buffers.epoch)}
    if newest is None:
        return Diagnostic("odometry", ERROR, f"no pose on {buffers.rig.odometry.topic}", values)
    age_ms = (now_ns - newest.stamp_ns) / 1e6
    values |= {"age_ms": f"{age_ms:.1f}", "speed_mps": f"{newest.speed_mps:.2f}", "rate_hz": f"{buffers.poses.rate_hz():.1f}"}
    level = ERROR if age_ms > max(200.0, 5 * period_ms) else OK
    return Diagnostic("odometry", level, f"newest pose {age_ms:.0f} ms old", values)


def _inputs(inputs: Inputs | None) -> Diagnostic:
    if inputs is None:
        return Diagnostic("inputs", OK, "not listening: the node is not active", {})
    wrong, refused = inputs.wrong_types(), {topic: r for topic, r in inputs.refusals.items() if r.count}
    values = {topic: f"type: {text}" for topic, text in wrong.items()}
    values |= {topic: f"incompatible QoS: {policy}" for topic, policy in inputs.incompatible_qos.items()}
    values |= {topic: f"{r.count} refused, last: {r.last}" for topic, r in refused.items()}
    level = ERROR if wrong or inputs.incompatible_qos else WARN if refused else OK
    return Diagnostic(
        "inputs", level, "; ".join(f"{topic}: {text}" for topic, text in values.items()) or "all accepted", values
    )


def _engine(engine: EngineClient) -> Diagnostic:
    values = {
        "state": engine.state,
        "weights": engine.weights,
        "restarts": str(engine.restarts),
        "last_failure": engine.last_failure,
        "engine_pid": str(engine.pid or 0),
        "node_pid": str(os.getpid()),
    }
    return Diagnostic("engine", OK if engine.alive else ERROR, engine.state, values)


def _planner(tally: Tally, lateness: Lateness | None) -> Diagnostic:
    values = {"published": str(tally.published), "refused": str(tally.refused), "last_refusal": tally.last_refusal}
    for stage, ms in tally.stage_ms.items():
        values |= _percentiles(f"{stage}_ms", ms)
    if lateness is not None:
        values |= _percentiles("timer_late_ms", lateness.late_ms)
    return Diagnostic("planner", OK if tally.published else WARN, f"{tally.published} plans, {tally.refused} refused", values)


def _percentiles(name: str, samples: Iterable[float]) -> dict[str, str]:
    values = np.array(list(samples))
    if not len(values):
        return {}
    return {f"{name}_p{p}": f"{np.percentile(values, p):.2f}" for p in (50, 95, 99)} | {f"{name}_max": f"{values.max():.2f}"}
