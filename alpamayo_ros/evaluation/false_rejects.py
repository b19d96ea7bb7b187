"""How often the checks would reject human driving: every window of a recorded drive, as if it had been a plan.

The recording is KITTI odometry's ground truth: poses of the left camera at about 10 Hz, from GPS and IMU. Such poses are not
smooth as a vehicle is, so a cubic is laid through those within 0.5 s of each instant; where even that misses one of them by
more than 5 cm, the recording jumps. Windows at a jump are counted apart: no car drives it, whatever the checks say of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.geometry import rotation_from_quaternion, rotation_z
from alpamayo_ros.safety.checks import findings
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.types import (
    F64,
    HORIZON,
    STEP_S,
    Consistency,
    Decision,
    EgoPose,
    InvalidInput,
    Plan,
    ReasoningTrace,
    Trajectory,
)

GOAL = 0.01  # of all windows, rejected
HISTORY = 16  # poses of a window up to its t0
SMOOTHED_S = 0.5  # to either side of an instant
JUMP_M = 0.05
CAMERA_AHEAD_M = 1.03  # of the rear axle: KITTI's drawing of its car, 0.76 m to the laser and 0.27 m on to the cameras
EGO_FROM_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # KITTI cameras: x right, y down, z ahead


class Poses(NamedTuple):
    """A drive every 0.1 s."""

    xyz: F64  # (N, 3) m, rear axle
    yaw_rad: F64  # (N,) unwrapped
    speed_mps: F64  # (N,) forward
    jumps: F64  # (N,) m, how far the recording is from the cubic through it, at most


@dataclass
class Tally:
    """What became of the windows of one kind of driving."""

    name: str
    apart_steps: int  # of 0.1 s, between two windows
    windows: int = 0
    warned: int = 0  # with a warning and no rejection
    rejected: int = 0
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)  # windows by check, name and level

    def add(self, found: Iterable[Finding]) -> None:
        """One more window. What is in shadow is counted by check, and neither warns nor rejects."""
        found = tuple(found)
        self.windows += 1
        self.counts.update((each.check, each.name, each.level) for each in found)
        rejects = any(each.rejects for each in found)
        self.rejected += rejects
        self.warned += not rejects and any(not each.shadow for each in found)

    def interval(self) -> tuple[float, float]:
        """Share of rejected windows, 95 %: Wilson's, of as many windows as do not overlap."""
        if not self.windows:
            raise InvalidInput(f"{self.name}: no window of {HORIZON} steps")
        n = max(1.0, self.windows * self.apart_steps / HORIZON)
        share, z2 = self.rejected / self.windows, 1.96**2
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def count_poses(poses_file: Path) -> tuple[Tally, Tally]:
    """Windows without a jump, and those with one. Raises InvalidInput for a file that is no drive of 8 s or more."""
    smooth, jumping = Tally("recorded human driving", 1), Tally("recorded, where the recording jumps", 1)
    poses = smoothed(*read_poses(poses_file))
    for t0 in range(HISTORY - 1, len(poses.xyz) - HORIZON):
        plan, ego = driven_plan(poses, t0)
        jumps = poses.jumps[t0 - HISTORY + 1 : t0 + HORIZON + 1].max() > JUMP_M
        (jumping if jumps else smooth).add(findings(plan, ego, LIMITS))
    return smooth, jumping


def read_poses(poses_file: Path) -> tuple[F64, F64, F64]:
    """Times (N,) s, rear axle (N, 3) m and yaw (N,) rad of a file with lines `t_s x y z qx qy qz qw ...` of KITTI's camera.

    Raises InvalidInput for a file that is none, for times that do not increase, and for less than 8 s.
    """
    try:
        rows = np.loadtxt(poses_file, np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{poses_file}: not a table of poses: {error}") from error
    if rows.shape[1:] < (8,) or (np.diff(rows[:, 0]) <= 0).any() or rows[-1, 0] - rows[0, 0] < 8.0:
        raise InvalidInput(f"{poses_file}: want t_s x y z qx qy qz qw, times increasing over 8 s or more, got {rows.shape}")
    cameras = np.stack([rotation_from_quaternion(quaternion) for quaternion in rows[:, 4:8]])
    rotations = EGO_FROM_CAMERA @ cameras @ EGO_FROM_CAMERA.T
    axle = rows[:, 1:4] @ EGO_FROM_CAMERA.T - CAMERA_AHEAD_M * rotations[:, :, 0]
    return rows[:, 0], axle, dynamics.unwrapped_yaw(rotations)


def smoothed(t_s: F64, xyz: F64, yaw_rad: F64) -> Poses:
    """Poses every 0.1 s: cubics through all that were recorded within 0.5 s. Raises InvalidInput for fewer than 5 of them."""
    instants = np.arange(t_s[0], t_s[-1], STEP_S)
    values, slopes, jumps = [], [], []
    for instant in instants:
        near = np.abs(t_s - instant) <= SMOOTHED_S
        if np.count_nonzero(near) < 5:
            raise InvalidInput(f"{np.count_nonzero(near)} poses within {SMOOTHED_S} s of {instant:.1f} s, want 5 or more")
        recorded = np.column_stack([xyz[near], yaw_rad[near]])
        powers = np.vander(t_s[near] - instant, 4, increasing=True)
        cubic = np.linalg.lstsq(powers, recorded)[0]
        values.append(cubic[0])
        slopes.append(cubic[1])
        jumps.append(np.linalg.norm((powers @ cubic - recorded)[:, :2], axis=-1).max())
    value, slope = np.array(values), np.array(slopes)
    speed = slope[:, 0] * np.cos(value[:, 3]) + slope[:, 1] * np.sin(value[:, 3])
    return Poses(value[:, :3], value[:, 3], speed, np.array(jumps))


def driven_plan(poses: Poses, t0: int) -> tuple[Plan, EgoPose]:
    """What was driven in the 6.4 s after an index, as the actions that make it, and the ego pose then."""
    window = slice(t0 - HISTORY + 1, t0 + HORIZON + 1)
    odom_from_ego = rotation_z(float(poses.yaw_rad[t0]))
    xyz = (poses.xyz[window] - poses.xyz[t0]) @ odom_from_ego
    rot = np.stack([rotation_z(float(yaw - poses.yaw_rad[t0])) for yaw in poses.yaw_rad[window]])
    motion = dynamics.motion_from_trajectory(xyz[:HISTORY], rot[:HISTORY], xyz[HISTORY:], rot[HISTORY:])
    v0_mps = float(motion.speed_mps[0])
    ego = EgoPose(t0 * 100_000_000, poses.xyz[t0], odom_from_ego, np.array([poses.speed_mps[t0], 0.0, 0.0]), np.zeros(3))
    return wordless(dynamics.trajectory(motion.accel_mps2, motion.curvature_1pm, v0_mps), ego), ego


def wordless(trajectory: Trajectory, ego_t0: EgoPose) -> Plan:
    """A plan of one trajectory, about which nothing is said."""
    return Plan(
        t0_ns=ego_t0.stamp_ns,
        epoch=0,
        source="model",
        provisional=False,
        trajectory=trajectory,
        candidates=(trajectory,),
        chosen=0,
        scores=(1.0,),
        reasoning=ReasoningTrace("", Decision(), (), 0, complete=True),
        meta_actions=(),
        consistent=Consistency(None),
    )


def write_tallies(tallies: Sequence[Tally], out: Path) -> dict[str, Any]:
    """Write false_rejects.json and false_rejects.md; returns what the first one holds. What has no window is left out."""
    kept = [tally for tally in tallies if tally.windows]
    out.mkdir(parents=True, exist_ok=True)
    figures = {tally.name: _figures(tally) for tally in kept}
    (out / "false_rejects.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    (out / "false_rejects.md").write_text("\n\n".join(map(_table, kept)) + "\n", "utf-8")
    return figures


def _figures(tally: Tally) -> dict[str, Any]:
    low, high = tally.interval()
    return {
        "windows": tally.windows,
        "rejected": tally.rejected,
        "reject_share": tally.rejected / tally.windows,
        "reject_share_95": [low, high],
        "warned": tally.warned,
        "warn_share": tally.warned / tally.windows,
        "checks": [
            {"check": check, "name": name, **{level: tally.counts[check, name, level] for level in ("warn", "reject")}}
            for check, name in _named(tally)
        ],
    }


def _named(tally: Tally) -> Iterator[tuple[str, str]]:
    """Checks that found something, in their order."""
    yield from sorted({key[:2] for key in tally.counts}, key=lambda key: (int(key[0][1:]), key[1]))


def _table(tally: Tally) -> str:
    low, high = tally.interval()
    share = f"{tally.rejected / tally.windows:.2%} (95 %: {low:.2%} to {high:.2%}, of windows that do not overlap)"
    said = f"**{tally.name}**: {tally.windows} windows, {tally.rejected} rejected: {share}, {tally.warned} more with a warning."
    lines = [said, "", "| check | quantity | warned | rejected |", "|---|---|---|---|"]
    for check, name in _named(tally):
        lines.append(f"| {check} | {name} | {tally.counts[check, name, 'warn']} | {tally.counts[check, name, 'reject']} |")
    return "\n".join(lines)
