"""What the supervisor remembers, all of one epoch, and whether it can see.

A new epoch is a new object: no output can be computed from two of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.safety.contract import MAX_AHEAD_NS, Now, Timing
from alpamayo_ros.safety.stop import OdomPath
from alpamayo_ros.types import STEP_S, EgoPose, Plan, Trajectory


@dataclass(frozen=True)
class Accepted:
    """A plan that passed every check, and the ego pose at its t0."""

    plan: Plan
    ego: EgoPose


@dataclass(frozen=True)
class Published:
    """A trajectory that was given out."""

    stamp_ns: int
    trajectory: Trajectory

    def accel_mps2(self, at_ns: int) -> float:
        """What it accelerates at a stamp, m/s^2; 0 after its end. An action is the mean of a step: it holds in its middle."""
        middles_s = self.trajectory.t_s - STEP_S / 2
        return float(np.interp((at_ns - self.stamp_ns) / 1e9, middles_s, self.trajectory.accel_mps2, right=0.0))


@dataclass
class Epoch:
    """The memory of one epoch. Times are steady ns but for those called stamp or t0."""

    number: int
    began_ns: int
    waits_since_ns: int | None = None  # the clock jumped then, and no plan of the new time was good yet

    accepted: Accepted | None = None  # what is followed: published last
    accepted_ns: int = 0  # when, or since when one is waited for
    newest_t0_ns: int = 0  # of the plans that passed
    is_provisional: bool = False  # that plan: a refined one of the same t0 may follow
    good: int = 0  # plans that passed in a row
    good_ns: int = 0  # when the last of them came
    compared: Accepted | None = None  # what V14 compares the next plan with
    shifts: int = 0  # cycles in a row of which V14 rejected a plan
    shifted_t0_ns: int = -1  # of the last of them

    holds_now: bool = False  # a plan was rejected: do not wait for the next one
    held_ns: int | None = None  # when the last hold was published

    chooses_path: bool = False  # a stop began and was not published yet
    followed: Accepted | None = None  # whose path the stop follows
    path: OdomPath | None = None
    brakes_hard: bool = False  # the stop is no comfortable one any more
    stop_stamp_ns: int = 0  # of the last stop
    next_stop_stamp_ns: int = 0  # the earliest one of the next
    no_stop: str = ""  # why no stop can be made from the newest pose

    published: Published | None = None  # last

    def start_again(self) -> None:
        """Plans have to pass in a row again, and nothing that was planned before says where the next one has to be."""
        self.good, self.shifts, self.compared = 0, 0, None


def blindness(now: Now, began_ns: int, timing: Timing) -> str:
    """Why our own pose or clock cannot be trusted, with the numbers; empty when both can. `began_ns`: the epoch, steady."""
    if now.clock_stopped:
        return "simulated time stands still"
    limit_ns = timing.odometry_silence_ns
    if now.pose is None:
        waited_ns = now.steady_ns - began_ns
        return f"odometry: no pose for {_ms(waited_ns)}, limit {_ms(limit_ns)}" if waited_ns > limit_ns else ""
    age_ns, silent_ns = now.ros_ns - now.pose.stamp_ns, now.steady_ns - now.pose_steady_ns
    if age_ns < -MAX_AHEAD_NS:
        return f"odometry: the newest pose is {_ms(-age_ns)} ahead of the clock, limit {_ms(MAX_AHEAD_NS)}"
    if silent_ns > limit_ns:
        return f"odometry: silent for {_ms(silent_ns)}, limit {_ms(limit_ns)}"
    if age_ns > limit_ns:
        return f"odometry: the newest pose is {_ms(age_ns)} old, limit {_ms(limit_ns)}"
    return ""


def _ms(ns: int) -> str:
    return f"{ns / 1e6:.0f} ms"
