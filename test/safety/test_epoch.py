"""What the supervisor remembers of an epoch, and in which words it says that it cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safety.plans import ego, plan, way

from alpamayo_ros.safety.contract import Now, timing
from alpamayo_ros.safety.epoch import Accepted, Epoch, Published, blindness
from alpamayo_ros.types import EgoPose

MS, S = 1_000_000, 1_000_000_000
NOW_NS = 50 * S


def now(pose: EgoPose | None, silent_ns: int = 0) -> Now:
    return Now(NOW_NS, NOW_NS, 0, "start", pose, NOW_NS - silent_ns)


def test_who_starts_again_has_nothing_good_and_nothing_to_compare_with() -> None:
    epoch = Epoch(3, 0, good=2, shifts=1, compared=Accepted(plan(way()), ego()))
    epoch.start_again()
    assert (epoch.good, epoch.shifts, epoch.compared) == (0, 0, None)


@pytest.mark.parametrize(
    ("after_ns", "accel"),
    [
        (-S, 1.0),
        (50 * MS, 1.0),
        (100 * MS, 0.5),
        (150 * MS, 0.0),
        (6_250_000_001, -61.0 - 1e-8),
        (6350 * MS, -62.0),
        (6351 * MS, 0.0),
        (60 * S, 0.0),
    ],
)
def test_what_was_published_accelerates_by_the_middles_of_its_steps_and_not_after_its_end(after_ns: int, accel: float) -> None:
    falling = np.append(np.linspace(1.0, -61.0, 63), -62.0)
    assert Published(S, way(falling)).accel_mps2(S + after_ns) == pytest.approx(accel, rel=0, abs=1e-12)


@pytest.mark.parametrize(
    ("pose", "silent_ns", "text"),
    [
        (ego(stamp_ns=NOW_NS + 100 * MS), 0, ""),
        (ego(stamp_ns=NOW_NS + 100 * MS + 1), 0, "odometry: the newest pose is 100 ms ahead of the clock, limit 100 ms"),
        (ego(stamp_ns=NOW_NS + 300_500_001), 0, "odometry: the newest pose is 301 ms ahead of the clock, limit 100 ms"),
        (ego(stamp_ns=NOW_NS), 200_500_001, ""),
        (ego(stamp_ns=NOW_NS), 200_500_002, "odometry: silent for 201 ms, limit 201 ms"),
        (ego(stamp_ns=NOW_NS - 200_500_001), 0, ""),
        (ego(stamp_ns=NOW_NS - 200_500_002), 0, "odometry: the newest pose is 201 ms old, limit 201 ms"),
    ],
)
def test_it_cannot_see_beyond_a_limit_by_a_nanosecond_and_says_the_numbers(pose: EgoPose, silent_ns: int, text: str) -> None:
    limits = replace(timing(100 * MS, 10 * MS, 10.0), odometry_silence_ns=200_500_001)
    assert blindness(now(pose, silent_ns), 0, limits) == text


def test_before_the_first_pose_it_waits_as_long() -> None:
    limits = timing(100 * MS, 10 * MS, 10.0)
    assert blindness(now(None), NOW_NS - 200 * MS, limits) == ""
    assert blindness(now(None), NOW_NS - 200 * MS - 1, limits) == "odometry: no pose for 200 ms, limit 200 ms"
