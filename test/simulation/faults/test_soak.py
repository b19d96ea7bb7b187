"""What a soak makes of its samples."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alpamayo_ros.simulation.faults.judging import Said
from alpamayo_ros.simulation.faults.soak import BUDGET_SHARE, Course, Sample, figures, sampled, slope_mb_per_h
from alpamayo_ros.types import EngineFailure

HOUR_S = 3600.0


def plans(count: int, period_s: float = 0.1, state: str = "nominal", source: str = "model") -> list[Said]:
    return [Said(i * period_s, state, source, valid=True) for i in range(count)]


def samples(rss_mb: np.ndarray, fds: int = 20) -> list[Sample]:
    at_s = np.linspace(0.0, HOUR_S, len(rss_mb))
    return [Sample(float(t), "planner", float(mb), fds, 9) for t, mb in zip(at_s, rss_mb, strict=True)]


@pytest.mark.parametrize("slope", [0.0, 9.0, -4.0])
def test_a_slope_is_found_and_its_bound_is_above_it(slope: float) -> None:
    at_s = np.linspace(0.0, HOUR_S, 360)
    noise = np.random.default_rng(0).normal(0.0, 0.5, 360)
    found, upper = slope_mb_per_h(at_s, 200.0 + slope * at_s / HOUR_S + noise, 60.0)
    assert found == pytest.approx(slope, abs=0.3)
    assert found < upper < found + 0.5
    assert slope_mb_per_h(at_s, 200.0 + slope * at_s / HOUR_S, 60.0) == pytest.approx((slope, slope))


def test_two_blocks_say_nothing_about_a_slope() -> None:
    assert np.isnan(slope_mb_per_h(np.array([0.0, 70.0]), np.array([1.0, 2.0]), 60.0)).all()


def test_a_good_hour_misses_nothing_and_growth_at_the_start_is_none() -> None:
    course = Course()
    course.add(plans(36_000))
    warming = np.concatenate([np.linspace(100, 200, 36), np.full(324, 200.0)])
    made = figures(course, samples(warming), HOUR_S)
    assert made["missed"] == []
    assert (made["plans"], made["nominal_share"], made["late_plans"], made["stops"]) == (36_000, 1.0, 0, 0)


@pytest.mark.parametrize(
    ("said", "rss_mb", "word"),
    [
        (plans(1000) + plans(1, source="stop", state="stopping"), np.full(360, 200.0), "1 stops for nothing"),
        (plans(990) + plans(10, state="degraded"), np.full(360, 200.0), "nominal 99.00%"),
        (plans(1000, period_s=0.21), np.full(360, 200.0), "99.90% of the plans late"),
        (plans(1000), np.linspace(200.0, 212.0, 360), "planner: memory grows by up to 12.0 MB/h"),
    ],
)
def test_what_is_asked_for_and_was_not_so_is_said(said: list[Said], rss_mb: np.ndarray, word: str) -> None:
    course = Course()
    course.add(said)
    assert any(word in missed for missed in figures(course, samples(rss_mb), HOUR_S)["missed"])


def test_descriptors_that_pile_up_are_said() -> None:
    course = Course()
    course.add(plans(1000))
    piling = [*samples(np.full(180, 200.0)), *(Sample(3600.0, "planner", 200.0, 21, 9) for _ in range(1))]
    assert figures(course, piling, HOUR_S)["missed"] == ["planner: 20 file descriptors became 21"]


def test_gaps_are_counted_across_batches() -> None:
    course = Course()
    course.add(plans(2))
    course.add([Said(0.35, "nominal", "model", valid=True)])
    assert (course.late, course.longest_gap_s) == (1, pytest.approx(0.25))
    assert pytest.approx(0.005) == BUDGET_SHARE


def test_a_process_is_sampled_from_proc() -> None:
    sample = sampled(1.0, "this one", os.getpid())
    assert sample.rss_mb > 10
    assert sample.fds > 2
    assert sample.threads >= 1


def test_a_process_that_has_ended_is_said_to_have(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match="the engine's process has gone after 7 s"):
        sampled(7.0, "engine", 2**22 - 1)
    child = subprocess.Popen([sys.executable, "-c", ""])
    while "Z" not in Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2]:
        pass
    with pytest.raises(EngineFailure, match="the engine's process has ended after 7 s"):
        sampled(7.0, "engine", child.pid)
    child.wait()
