"""Recorded driving becomes plans again: a smooth drive is never rejected, a recording that jumps is counted apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.evaluation.false_rejects import (
    CAMERA_AHEAD_M,
    EGO_FROM_CAMERA,
    HISTORY,
    Tally,
    count_poses,
    driven_plan,
    read_poses,
    smoothed,
    write_tallies,
)
from alpamayo_ros.geometry import quaternion_from_rotation, rotation_z
from alpamayo_ros.safety.contract import Finding
from alpamayo_ros.types import HORIZON, InvalidInput

RADIUS_M, SPEED_MPS = 50.0, 8.0
KITTI = Path(__file__).parents[3] / "shared" / "data" / "ego_poses" / "kitti00_groundtruth.txt"


def recorded(
    path: Path, seconds: float = 12.0, period_s: float = 0.1037, jump_m: float = 0.0, ends_mps: float = SPEED_MPS
) -> Path:
    """A left turn of the rear axle with even acceleration, as KITTI tells of its camera; elsewhere from the middle on."""
    t_s = np.arange(0.0, seconds, period_s)
    gone = SPEED_MPS * t_s + (ends_mps - SPEED_MPS) / seconds * t_s**2 / 2
    rows = []
    for index, (t, yaw) in enumerate(zip(t_s, gone / RADIUS_M, strict=True)):
        axle = np.array([RADIUS_M * np.sin(yaw), RADIUS_M * (1 - np.cos(yaw)), 0.0]) + (jump_m if index > len(t_s) / 2 else 0.0)
        camera = axle + CAMERA_AHEAD_M * rotation_z(yaw)[:, 0]
        rotation = EGO_FROM_CAMERA.T @ rotation_z(yaw) @ EGO_FROM_CAMERA
        rows.append([t, *(EGO_FROM_CAMERA.T @ camera), *quaternion_from_rotation(rotation), 1.0])
    np.savetxt(path, rows)
    return path


def test_poses_are_those_of_the_rear_axle_every_tenth_of_a_second(tmp_path: Path) -> None:
    poses = smoothed(*read_poses(recorded(tmp_path / "turn.txt")))
    assert len(poses.xyz) == 120
    yaw = 0.1 * np.arange(120) * SPEED_MPS / RADIUS_M
    assert poses.yaw_rad == pytest.approx(yaw, abs=1e-6)
    assert poses.xyz[:, 0] == pytest.approx(RADIUS_M * np.sin(yaw), abs=1e-3)
    assert poses.xyz[:, 1] == pytest.approx(RADIUS_M * (1 - np.cos(yaw)), abs=1e-3)
    assert poses.speed_mps == pytest.approx(SPEED_MPS, abs=1e-2)
    assert poses.jumps.max() < 1e-3


def test_a_driven_plan_follows_the_drive_from_its_pose(tmp_path: Path) -> None:
    poses = smoothed(*read_poses(recorded(tmp_path / "turn.txt")))
    plan, ego = driven_plan(poses, 30)
    odom = plan.trajectory.xyz @ ego.odom_from_ego.T + ego.position
    assert plan.t0_ns == ego.stamp_ns == 3_000_000_000
    assert np.abs(odom[:, :2] - poses.xyz[31 : 31 + HORIZON, :2]).max() < 0.02
    assert plan.trajectory.curvature_1pm == pytest.approx(1 / RADIUS_M, rel=0.02)
    assert ego.speed_mps == pytest.approx(SPEED_MPS, abs=1e-2)


def test_every_window_of_a_smooth_drive_passes(tmp_path: Path) -> None:
    smooth, jumping = count_poses(recorded(tmp_path / "turn.txt"))
    assert (smooth.windows, smooth.rejected, smooth.warned, jumping.windows) == (120 - HISTORY + 1 - HORIZON, 0, 0, 0)


def test_a_drive_that_no_check_allows_is_rejected_in_every_window(tmp_path: Path) -> None:
    smooth, _ = count_poses(recorded(tmp_path / "fast.txt", ends_mps=SPEED_MPS + 12.0 * 5.5))
    assert smooth.rejected == smooth.windows > 0
    assert smooth.counts["V6", "acceleration", "reject"] == smooth.windows


def test_windows_at_a_jump_are_counted_apart(tmp_path: Path) -> None:
    smooth, jumping = count_poses(recorded(tmp_path / "jump.txt", jump_m=0.5, seconds=22.0))
    assert smooth.rejected == 0
    assert smooth.windows + jumping.windows == 220 - HISTORY + 1 - HORIZON
    assert jumping.rejected > 0
    assert smooth.windows > 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello\n", "not a table of poses"),
        ("0 1 2 3\n1 2 3 4\n", "want t_s x y z qx qy qz qw"),
        ("0 0 0 0 0 0 0 1\n0 0 0 0 0 0 0 1\n9 0 0 0 0 0 0 1\n", "times increasing"),
        ("0 0 0 0 0 0 0 1\n7.9 0 0 0 0 0 0 1\n", "over 8 s or more"),
        ("0 0 0 0 0 0 0 1\n8 0 0 0 0 0 0 1\n", "1 poses within 0.5 s of 0.0 s"),
        ("0 0 0 0 0 0 0 3\n8 0 0 0 0 0 0 1\n", "quaternion"),
    ],
)
def test_a_file_that_is_no_drive_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "poses.txt"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        count_poses(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.txt: not a table"):
        count_poses(tmp_path / "none.txt")


def finding(check: str, level: str, *, shadow: bool = False) -> Finding:
    return Finding(check, "speed", "reject" if level == "reject" else "warn", 2.0, 1.0, "m/s", "me", shadow=shadow)


def test_a_tally_counts_windows_once_and_shadow_apart() -> None:
    tally = Tally("driving", 1)
    for found in (
        [],
        [finding("V5", "warn"), finding("V6", "reject")],
        [finding("V5", "warn")],
        [finding("V15", "warn", shadow=True)],
    ):
        tally.add(found)
    tally.add([finding("V18", "reject", shadow=True)])
    assert (tally.windows, tally.rejected, tally.warned) == (5, 1, 1)
    assert tally.counts == {
        ("V5", "speed", "warn"): 2, ("V6", "speed", "reject"): 1, ("V15", "speed", "warn"): 1, ("V18", "speed", "reject"): 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("windows", "rejected", "apart", "low", "high"),
    [
        (6400, 0, 1, 0.0, 0.0370),  # 0 of 100: Wilson's upper end is z^2 / (n + z^2)
        (100, 10, HORIZON, 0.0552, 0.1744),  # 10 of 100, as in textbooks
        (100, 100, HORIZON, 0.9630, 1.0),
        (10, 0, 1, 0.0, 0.7935),  # less than one that does not overlap counts as one
    ],
)
def test_the_interval_is_of_windows_that_do_not_overlap(
    windows: int, rejected: int, apart: int, low: float, high: float
) -> None:
    assert Tally("driving", apart, windows, 0, rejected).interval() == pytest.approx((low, high), abs=1e-4)


def test_no_window_has_no_share() -> None:
    with pytest.raises(InvalidInput, match="driving: no window"):
        Tally("driving", 1).interval()


def test_what_is_written_is_what_was_counted(tmp_path: Path) -> None:
    tally = Tally("driving", HORIZON)
    for found in ([finding("V11", "warn"), finding("V5", "reject")], [], [], []):
        tally.add(found)
    figures = write_tallies([tally, Tally("nothing", 1)], tmp_path / "out")
    assert json.loads((tmp_path / "out" / "false_rejects.json").read_text()) == figures
    assert list(figures) == ["driving"]
    assert figures["driving"]["reject_share"] == 0.25
    assert figures["driving"]["checks"] == [
        {"check": "V5", "name": "speed", "warn": 0, "reject": 1},
        {"check": "V11", "name": "speed", "warn": 1, "reject": 0},
    ]
    table = (tmp_path / "out" / "false_rejects.md").read_text()
    assert "**driving**: 4 windows, 1 rejected: 25.00% (95 %: 4.56% to 69.94%" in table
    assert table.index("| V5 | speed | 0 | 1 |") < table.index("| V11 | speed | 1 | 0 |")


@pytest.mark.shared
@pytest.mark.skipif(not KITTI.exists(), reason=f"no recorded drive at {KITTI}")
def test_a_real_drive_is_rejected_in_less_than_one_window_of_a_hundred(tmp_path: Path) -> None:
    """The first 60 s of KITTI 00; `alpamayo bench safety` counts the whole drive."""
    first = tmp_path / "first.txt"
    first.write_text("\n".join(KITTI.read_text().splitlines()[:600]))
    smooth, _ = count_poses(first)
    assert smooth.windows > 300
    assert smooth.rejected < 0.01 * smooth.windows
