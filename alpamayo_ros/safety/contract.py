"""The values of the safety core: what it is told, what it finds, and what it lets be published.

Everything here is numbers and words: no ROS, no threads, no clock of its own. Who calls says what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.types import EgoPose, Plan, Trajectory

Mode = Literal["shadow", "active"]
"""shadow: a human drives, nothing latches. active: the vehicle may be engaged, and then drives by what is published."""

State = Literal["init", "warmup", "nominal", "degraded", "stopping", "stopped", "silent"]
"""init: nothing seen yet. warmup: no plan accepted yet. nominal, degraded: by an accepted plan, without or with a warning.
stopping: a minimal-risk stop. stopped: at rest after one, until somebody engages again. silent: no trajectory at all."""

Source = Literal["model", "hold", "stop"]

Level = Literal["warn", "reject"]

EpochCause = Literal["start", "clock", "odometry", "pause"]
"""Why an epoch began: with the node, because time jumped, because the pose jumped, or after a deactivation."""

STANDSTILL_MPS = 0.1
"""Slower than this is at rest."""

MAX_AHEAD_NS = 100_000_000
"""A plan and a pose may be this much ahead of the clock: /clock and a sensor's message come in any order."""


@dataclass(frozen=True)
class Finding:
    """One check that failed, with the number that did it."""

    check: str  # "V7"
    name: str  # "lateral acceleration"
    level: Level
    value: float
    limit: float  # the one of `level` that was passed
    unit: str  # "m/s^2"
    source: str  # where the limit comes from: "ISO 11270"
    at_s: float | None = None  # of the trajectory's worst point, where the check is of a point
    shadow: bool = False  # counted and shown; decides nothing

    @property
    def rejects(self) -> bool:
        """Whether the plan must not be published."""
        return self.level == "reject" and not self.shadow

    @property
    def warns(self) -> bool:
        """Whether the plan may be published, as one that is not quite good."""
        return self.level == "warn" and not self.shadow

    def __str__(self) -> str:
        at = "" if self.at_s is None else f" at {self.at_s:.1f} s"
        shadow = " (shadow)" if self.shadow else ""
        return f"{self.check} {self.name}: {self.value:.3g} {self.unit}{at}, {self.level} limit {self.limit:.3g}{shadow}"


@dataclass(frozen=True)
class Timing:
    """How long things may take; see `timing`."""

    stop_after_ns: int  # without an accepted plan, then a stop
    hold_after_ns: int  # without an accepted plan, then the last one is held
    warn_age_ns: int  # of a plan
    max_age_ns: int  # of a plan and of its holds
    odometry_silence_ns: int
    repeat_ns: int  # between two holds and between two stops
    recover_plans: int = 3  # accepted in a row, to leave a stop or silence


def timing(
    camera_period_ns: int, odometry_period_ns: int, max_plan_hz: float, stop_after_ns: int = 0, max_age_ns: int = 0
) -> Timing:
    """Limits as multiples of the period in which plans can come: a 2 Hz rig is healthy at 2 Hz. 0: as derived."""
    period_ns = max(camera_period_ns, round(1e9 / max_plan_hz))
    return Timing(
        stop_after_ns=stop_after_ns or 5 * period_ns,
        hold_after_ns=2 * period_ns,
        warn_age_ns=5 * period_ns,
        max_age_ns=max_age_ns or 10 * period_ns,
        odometry_silence_ns=max(200_000_000, 5 * odometry_period_ns),
        repeat_ns=100_000_000,
    )


@dataclass(frozen=True)
class Now:
    """What is so at one moment."""

    ros_ns: int  # the clock of the stamps
    steady_ns: int  # never steps inside an epoch: the steady clock, or simulated time where that is the clock of the stamps
    epoch: int
    epoch_cause: EpochCause
    pose: EgoPose | None  # newest of this epoch
    pose_steady_ns: int = 0  # when it came
    clock_stopped: bool = False  # simulated time stands still


@dataclass(frozen=True)
class Output:
    """What is to be said now: a state with its reasons and, unless `source` is None, a trajectory to publish."""

    state: State
    engaged: bool  # the vehicle drives by it; False: it goes to the shadow topics
    stamp_ns: int  # of the trajectory; without one: t0 of the cycle, or ROS time
    epoch: int
    source: Source | None = None
    trajectory: Trajectory | None = None  # in the ego frame at `stamp_ns`
    ego: EgoPose | None = None  # the ego pose at `stamp_ns`
    plan: Plan | None = None  # the accepted plan that is published or held, or whose path the stop follows
    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()  # why not nominal, one problem each

    @property
    def valid(self) -> bool:
        """Whether a trajectory follows."""
        return self.trajectory is not None
