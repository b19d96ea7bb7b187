"""A vehicle with a supervisor, in time that goes on by hand: poses every 10 ms, plans when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from safety.plans import plan

from alpamayo_ros import dynamics
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.safety.contract import EpochCause, Finding, Mode, Now, Output, Timing, timing
from alpamayo_ros.safety.supervisor import TRANSITIONS, Supervisor
from alpamayo_ros.types import HORIZON, EgoPose, Plan

MS = 1_000_000
TIMING = timing(camera_period_ns=100 * MS, odometry_period_ns=10 * MS, max_plan_hz=10.0)
"""hold after 200 ms, stop after 500, no plan older than 1000, odometry silent after 200, again every 100."""

PLAN_MS = 100
LAG_MS = 50  # from t0 until its plan is there
BAD = Finding("V7", "lateral acceleration", "reject", 6.0, 4.9, "m/s^2", "nuPlan", 1.2)
HARSH = Finding("V6", "acceleration", "warn", 2.5, 2.0, "m/s^2", "ISO 15622", 0.4)
SHADOWED = Finding("V15", "too short to stop in", "reject", 3.0, 0.0, "m", "ours", shadow=True)
TRACE = parse_trace("", tokens=0, complete=True)


def a_plan(t0_ns: int, epoch: int, speed_mps: float, curvature_1pm: float = 0.0, accel_mps2: float = 0.0) -> Plan:
    """A constant acceleration on a constant curvature."""
    path = dynamics.trajectory(np.full(HORIZON, accel_mps2), np.full(HORIZON, curvature_1pm), speed_mps)
    return plan(path, t0_ns, epoch=epoch, reasoning=TRACE)


def watched(supervisor: Supervisor) -> Supervisor:
    """Every change of its state, from one call to the next, must be in the table."""

    def looked_at(call: Callable[..., Any]) -> Callable[..., Any]:
        def looking(*arguments: Any) -> Any:
            before = supervisor.state
            said = call(*arguments)
            assert before == supervisor.state or (before, supervisor.state) in TRANSITIONS, (before, supervisor.state)
            return said

        return looking

    for name in ("take_plan", "take_refusal", "tick", "engage", "disengage"):
        setattr(supervisor, name, looked_at(getattr(supervisor, name)))
    return supervisor


@dataclass
class Drive:
    """Straight on at a speed that the test sets. `said` is every output of a tick, in order.

    A stopped clock is a simulated one, and then durations are simulated too.
    """

    mode: Mode = "shadow"
    timing: Timing = TIMING
    speed_mps: float = 8.0
    yaw_rps: float = 0.0
    ros_ns: int = 1_700_000_000_000 * MS
    steady_ns: int = 5_000 * MS
    epoch: int = 3
    cause: EpochCause = "start"
    clock_stopped: bool = False
    odometry: bool = True  # flows
    said: list[Output] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.supervisor = watched(Supervisor(self.mode, self.timing))
        self.x_m = 0.0
        self.pose: EgoPose | None = None
        self.pose_steady_ns = 0

    def now(self) -> Now:
        """The moment."""
        return Now(self.ros_ns, self.steady_ns, self.epoch, self.cause, self.pose, self.pose_steady_ns, self.clock_stopped)

    def ego(self, at_ns: int) -> EgoPose:
        """Where the vehicle is, or was at this speed."""
        x_m = self.x_m + self.speed_mps * (at_ns - self.ros_ns) / 1e9
        return EgoPose(
            at_ns, np.array([x_m, 0, 0.0]), np.eye(3), np.array([self.speed_mps, 0, 0]), np.array([0, 0, self.yaw_rps])
        )

    def go(self, ms: int) -> list[Output]:
        """Time goes on: a pose and a tick every 10 ms. What the ticks say."""
        before = len(self.said)
        for _ in range(ms // 10):
            if not self.clock_stopped:
                self.steady_ns += 10 * MS
                self.ros_ns += 10 * MS
                self.x_m += self.speed_mps * 0.01
                if self.odometry:
                    self.pose, self.pose_steady_ns = self.ego(self.ros_ns), self.steady_ns
            self.tick()
        return self.said[before:]

    def tick(self) -> Output | None:
        """One, now."""
        output = self.supervisor.tick(self.now())
        self.said += [output] if output else []
        return output

    def plan(
        self,
        *findings: Finding,
        warnings: tuple[str, ...] = (),
        lag_ms: int = LAG_MS,
        epoch: int | None = None,
        curvature_1pm: float = 0.0,
        accel_mps2: float = 0.0,
        provisional: bool = False,
    ) -> Output:
        """A plan for a t0 `lag_ms` ago comes, straight on unless it is told otherwise."""
        ego_t0 = self.ego(self.ros_ns - lag_ms * MS)
        of_epoch = self.epoch if epoch is None else epoch
        plan = a_plan(ego_t0.stamp_ns, of_epoch, self.speed_mps, curvature_1pm, accel_mps2)
        return self.supervisor.take_plan(replace(plan, provisional=provisional), ego_t0, findings, warnings, self.now())

    def refuse(self, *reasons: str) -> Output:
        """A cycle that makes no plan."""
        return self.supervisor.take_refusal(self.ros_ns - LAG_MS * MS, reasons or ("front_wide: no frames",), self.now())

    def plans(self, count: int, curvature_1pm: float = 0.0, accel_mps2: float = 0.0) -> list[Output]:
        """So many good plans, one every PLAN_MS."""
        made = []
        for _ in range(count):
            self.go(PLAN_MS)
            made.append(self.plan(curvature_1pm=curvature_1pm, accel_mps2=accel_mps2))
        return made

    def jump(self, cause: EpochCause, ros_ms: int = 0) -> None:
        """An epoch begins: no pose of it came yet."""
        self.epoch, self.cause, self.pose = self.epoch + 1, cause, None
        self.ros_ns += ros_ms * MS

    @property
    def state(self) -> str:
        return self.supervisor.state


def driving(mode: Mode = "shadow", timing: Timing = TIMING, speed_mps: float = 8.0, yaw_rps: float = 0.0) -> Drive:
    """Nominal, the last plan just accepted."""
    drive = Drive(mode, timing, speed_mps, yaw_rps)
    assert [output.source for output in drive.plans(2)] == ["model", "model"]
    assert drive.state == "nominal"
    drive.said.clear()
    return drive


def engaged(speed_mps: float = 8.0) -> Drive:
    """As `driving`, and the vehicle drives by it."""
    drive = driving("active", speed_mps=speed_mps)
    assert drive.supervisor.engage(drive.now()) == ""
    return drive


def stopped() -> Drive:
    """Engaged, and at rest after a stop."""
    drive = engaged()
    drive.go(600)
    assert drive.state == "stopping"
    drive.speed_mps = 0.0
    drive.go(10)
    assert drive.state == "stopped"
    return drive
