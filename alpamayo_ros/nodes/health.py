"""What the planner node says about itself on /diagnostics, once a second: one status per camera, odometry, inputs,
engine, planner, supervisor and resources. docs/nodes.md lists names and values."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.nodes.inputs import Inputs
from alpamayo_ros.nodes.messages import ERROR, OK, WARN, Diagnostic, diagnostics_message
from alpamayo_ros.nodes.planning import Planning
from alpamayo_ros.nodes.resources import Resources
from alpamayo_ros.nodes.tally import Tally
from alpamayo_ros.pipeline.buffers import Buffers, Counts
from alpamayo_ros.profile import shared_files

PERIOD_S = 1.0

RECENT_S = 10.0
"""What went wrong counts for the level this long."""

SILENT_S = 2.0
"""Without a plan for this long the planner is in error, whatever the reason."""

SILENT_PERIODS = 5
"""A camera, or odometry, without a message for this many of its declared periods is silent."""

WARM_CYCLES = 100
"""Of fewer cycles the slowest is the first one, and p99 says nothing."""

REMEDY = (
    "lost before they came here: start the publisher of the cameras with FASTDDS_DEFAULT_PROFILES_FILE="
    f"{shared_files() / 'config' / 'fastdds_shm.xml'} (docs/install.md)"
)


class Lateness:
    """How late a short timer of the node's executor fires: what a callback of this node has to wait at worst."""

    def __init__(self, node: Node, period_ms: float) -> None:
        self._period_s = period_ms / 1e3
        self._due_s = time.monotonic() + self._period_s
        self.late_ms: deque[float] = deque(maxlen=60_000)
        self.timer = node.create_timer(self._period_s, self._fired, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _fired(self) -> None:
        now_s = time.monotonic()
        self.late_ms.append(max(now_s - self._due_s, 0.0) * 1e3)
        self._due_s = now_s + self._period_s


class Recent:
    """By how much counters rose in the last RECENT_S: a fault of an hour ago is a number, not a warning."""

    def __init__(self) -> None:
        self._counts: dict[str, deque[int]] = {}

    def rise(self, name: str, count: int) -> int:
        """Tell a counter, once every PERIOD_S."""
        counts = self._counts.setdefault(name, deque([0], maxlen=round(RECENT_S / PERIOD_S) + 1))
        counts.append(count)
        return max(count - counts[0], 0)  # 0 after a restart of the counter

    def forget(self, name: str) -> None:
        """Let a counter begin again at what it is told next."""
        self._counts[name] = deque(maxlen=self._counts[name].maxlen)


class Health:
    """Publishes the diagnostics of a configured node."""

    def __init__(self, node: Node, buffers: Buffers, engine: EngineClient, stop_after_ms: float, probe_timer_ms: float) -> None:
        self.planning: Planning | None = None  # while the node is active
        self._node = node
        self._buffers = buffers
        self._engine = engine
        self._stop_after_ms = stop_after_ms
        self._resources = Resources()
        self._lateness = Lateness(node, probe_timer_ms) if probe_timer_ms else None
        self._recent = Recent()
        self._silent: set[str] = set()  # roles
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # On the steady clock: simulated time may stand still, and that must be said too.
        self._timer = node.create_timer(PERIOD_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Say nothing more."""
        for timer in (self._timer, *([self._lateness.timer] if self._lateness else [])):
            self._node.destroy_timer(timer)
        self._node.destroy_publisher(self._publisher)

    def _tick(self) -> None:
        if self.planning:
            self.planning.check()
        now_ns = max(int(self._node.get_clock().now().nanoseconds), 0)  # whatever comes on /clock
        message = diagnostics_message(now_ns, self._diagnose(now_ns), self._node.get_name(), self._buffers.rig.name)
        self._publisher.publish(message)

    def _diagnose(self, now_ns: int) -> Iterator[Diagnostic]:
        inputs, tally = (self.planning.inputs, self.planning.tally) if self.planning else (None, Tally())
        counts = self._buffers.frames.counts
        cameras = [self._camera(role, counts[role], tally.sync_error_ms.get(role), now_ns) for role in counts]
        active = self._odometry(inputs, now_ns), self._inputs(inputs), self._planner(tally), supervisor_diagnostic(tally)
        for diagnostic in (*cameras, *active):
            yield diagnostic if self.planning else replace(diagnostic, level=OK, message="the node is not active")
        yield self._engine_status()
        yield self._resources.diagnose(os.getpid(), self._engine.pid)

    def _camera(self, role: str, counts: Counts, sync_error_ms: float | None, now_ns: int) -> Diagnostic:
        camera, frames = self._buffers.rig.cameras[role], self._buffers.frames
        newest_ns, rate_hz = frames.newest_ns(role), frames.rate_hz(role)
        values = {
            "topic": camera.topic,
            "rate_hz": f"{rate_hz:.2f}",
            "declared_hz": f"{camera.rate_hz:g}",
            "age_ms": "none" if newest_ns is None else f"{(now_ns - newest_ns) / 1e6:.1f}",
            "sync_error_ms": "none" if sync_error_ms is None else f"{sync_error_ms:.1f}",
            **{name: str(value) for name, value in vars(counts).items() if name != "reason"},
            "last_reason": counts.reason,
        }
        silent_ns = None if newest_ns is None else now_ns - newest_ns
        level, message = self._camera_level(role, counts, silent_ns, rate_hz)
        return Diagnostic(f"camera {role}", level, message, values)

    def _camera_level(self, role: str, counts: Counts, silent_ns: int | None, rate_hz: float) -> tuple[bytes, str]:
        camera, profile = self._buffers.rig.cameras[role], self._buffers.profile
        is_silent = silent_ns is None or silent_ns > SILENT_PERIODS * camera.period_ns
        lost = self._lost(role, counts.missing, is_silent)
        unusable = counts.refused + counts.late + counts.dropped + counts.conflicting
        refused = self._recent.rise(f"{role} unusable", unusable)
        because = f"{refused} frames refused or dropped in the last {RECENT_S:.0f} s, last: {counts.reason}"
        if role not in profile.cameras:
            return OK, f"not used by profile {profile.name}"
        gone = ERROR if role in profile.required_roles else WARN
        if silent_ns is None:
            return gone, because if refused else f"no frame on {camera.topic}"
        if is_silent:
            silent = f"no good frame for {silent_ns / 1e6:.0f} ms, period {camera.period_ns / 1e6:.0f}"
            return gone, f"{silent}; {because}" if refused else silent
        if lost:
            said = f"{lost} frames in the last {RECENT_S:.0f} s were {REMEDY}"
            return WARN, f"{said}; {because}" if refused else said
        if refused:
            return WARN, because
        if abs(rate_hz - camera.rate_hz) > 0.2 * camera.rate_hz:
            return WARN, f"comes at {rate_hz:.1f} Hz, the rig declares {camera.rate_hz:g}"
        return OK, f"{rate_hz:.1f} Hz"

    def _lost(self, role: str, missing: int, is_silent: bool) -> int:
        """Frames lost on the way lately: gaps in the stamps, but for those that an outage explains."""
        if role in self._silent and not is_silent:
            self._recent.forget(f"{role} missing")
        (self._silent.add if is_silent else self._silent.discard)(role)
        return self._recent.rise(f"{role} missing", missing)

    def _odometry(self, inputs: Inputs | None, now_ns: int) -> Diagnostic:
        declared, poses = self._buffers.rig.odometry, self._buffers.poses
        newest, rate_hz = poses.newest(), poses.rate_hz()
        values = {"topic": declared.topic, "rate_hz": f"{rate_hz:.1f}", "declared_hz": f"{declared.rate_hz:g}"}
        values |= {"epoch": str(self._buffers.epoch), "epoch_reason": self._buffers.epoch_reason}
        values |= {outcome: str(count) for outcome, count in inputs.odometry.items()} if inputs else {}
        if newest is None:
            return Diagnostic("odometry", ERROR, f"no good pose on {declared.topic}", values)
        age_ms = (now_ns - newest.stamp_ns) / 1e6
        values |= {"age_ms": f"{age_ms:.1f}", "speed_mps": f"{newest.speed_mps:.2f}"}
        if age_ms > max(200.0, SILENT_PERIODS * 1e3 / declared.rate_hz):
            return Diagnostic("odometry", ERROR, f"newest pose {age_ms:.0f} ms old", values)
        if jumped := self._buffers.jumped():
            return Diagnostic("odometry", WARN, jumped, values)
        if abs(rate_hz - declared.rate_hz) > 0.2 * declared.rate_hz:
            return Diagnostic("odometry", WARN, f"comes at {rate_hz:.1f} Hz, the rig declares {declared.rate_hz:g}", values)
        return Diagnostic("odometry", OK, f"{rate_hz:.1f} Hz", values)

    def _inputs(self, inputs: Inputs | None) -> Diagnostic:
        if inputs is None:
            return Diagnostic("inputs", OK, "", {})
        deaf = {f"{topic} unheard": why for topic, why in inputs.deaf_to().items()}
        refused = {f"{topic} refused": f"{r.count}, last: {r.last}" for topic, r in inputs.refusals.items() if r.count}
        recently = [f"{topic} refused" for topic, r in inputs.refusals.items() if self._recent.rise(topic, r.count)]
        crowded = {f"{topic} publishers": who for topic, who in inputs.crowded().items()}
        said = [
            f"{name}: {text}" for name, text in (deaf | crowded | refused).items() if name not in refused or name in recently
        ]
        level = ERROR if deaf else WARN if recently or crowded else OK
        return Diagnostic("inputs", level, "; ".join(said) or "all accepted", deaf | crowded | refused)

    def _engine_status(self) -> Diagnostic:
        engine = self._engine
        values = {
            "state": engine.state,
            "bundle": engine.bundle,
            "refused": engine.refused,
            "weights": engine.weights,
            "restarts": str(engine.restarts),
            "last_failure": engine.last_failure,
            "bad_answers": str(engine.bad_answers),
            "last_bad_answer": engine.last_bad_answer,
            "engine_pid": str(engine.pid or 0),
            "node_pid": str(os.getpid()),
        }
        if engine.state == "failed":
            return Diagnostic(
                "engine", ERROR, f"given up, clean up and configure the node to try again: {engine.last_failure}", values
            )
        restarted = self._recent.rise("restarts", engine.restarts)
        if restarted or not engine.alive:
            return Diagnostic("engine", WARN, f"{engine.state}, restarted {restarted} times: {engine.last_failure}", values)
        if bad := self._recent.rise("bad answers", engine.bad_answers):
            return Diagnostic(
                "engine", WARN, f"{bad} bad answers in the last {RECENT_S:.0f} s, last: {engine.last_bad_answer}", values
            )
        if engine.refused:
            return Diagnostic("engine", WARN, f"{engine.bundle} runs in place of what was named: {engine.refused}", values)
        return Diagnostic("engine", OK, engine.state, values)

    def _planner(self, tally: Tally) -> Diagnostic:
        values = {"published": str(tally.published), "refused": str(tally.refused), "last_refusal": tally.last_refusal}
        for stage, ms in tally.stage_ms.items():
            values |= _percentiles(f"{stage}_ms", ms)
        if self._lateness is not None:
            values |= _percentiles("timer_late_ms", self._lateness.late_ms)
        said = f"{tally.published} plans, {tally.refused} refused"
        if time.monotonic() - tally.last_plan_s > SILENT_S:
            why = f"last refusal: {tally.last_refusal or f'none, no frame of {self._buffers.rig.anchor} led to a cycle'}"
            if jumped := self._buffers.jumped():
                why += f"; odometry: {jumped}"
            level = ERROR if tally.published else WARN
            return Diagnostic("planner", level, f"no plan for {SILENT_S:.0f} s or more, {said}; {why}", values)
        p99_ms = float(values.get("total_ms_p99", 0.0))
        if p99_ms > self._stop_after_ms / 2 and len(tally.stage_ms["total"]) >= WARM_CYCLES:
            limit = f"half of the {self._stop_after_ms:.0f} ms until a stop"
            return Diagnostic("planner", WARN, f"a cycle takes {p99_ms:.0f} ms at p99, more than {limit}; {said}", values)
        return Diagnostic("planner", OK, said, values)


def supervisor_diagnostic(tally: Tally) -> Diagnostic:
    """What the supervisor makes of it all."""
    values = {
        "state": tally.state,
        "engaged": str(tally.engaged).lower(),
        "holds": str(tally.holds),
        "stops": str(tally.stops),
        "rejected": ", ".join(f"{check} {count}" for check, count in sorted(tally.rejected.items())) or "none",
        "last_findings": "; ".join(tally.last_findings),
        "breaches": str(tally.breaches),
        "last_breach": tally.last_breach,
        "withheld": str(tally.withheld),
    }
    said = "; ".join((tally.state, *tally.reasons))
    if tally.breaches:
        return Diagnostic(
            "supervisor", ERROR, f"a bug: {tally.breaches} not published, last: {tally.last_breach}; {said}", values
        )
    if tally.state in ("stopping", "stopped") or (tally.state == "silent" and tally.has_driven):
        return Diagnostic("supervisor", ERROR, said, values)
    return Diagnostic("supervisor", WARN if tally.state in ("degraded", "silent") else OK, said, values)


def _percentiles(name: str, samples: Iterable[float]) -> Mapping[str, str]:
    values = np.fromiter(samples, float)
    if not len(values):
        return {}
    p50, p95, p99, highest = np.percentile(values, (50, 95, 99, 100))
    return {
        f"{name}_p50": f"{p50:.2f}",
        f"{name}_p95": f"{p95:.2f}",
        f"{name}_p99": f"{p99:.2f}",
        f"{name}_max": f"{highest:.2f}",
    }
