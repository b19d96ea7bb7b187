"""A cycle ends in a plan or in the reason why not, whatever the inputs or the engine refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pipeline.test_planner import Answers, steady
from pipeline.vehicle import MS, buffers, drive, pose

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.cycle import run_cycle
from alpamayo_ros.safety.limits import LIMITS
from alpamayo_ros.types import ModelOutput, Request


def test_a_cycle_with_everything_there_ends_in_a_plan() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    cycle = run_cycle(filled, t0_ns, KinematicEngine(), Request(), RELEASED)
    assert cycle.plan is not None
    assert cycle.refused == ""
    assert (cycle.t0_ns, cycle.plan.t0_ns) == (t0_ns, t0_ns)
    assert {"observe", "infer", "rollout", "reasoning", "total"} <= set(cycle.stage_ms)
    assert cycle.stage_ms["total"] >= cycle.stage_ms["infer"]


def test_a_cycle_before_the_window_is_full_says_what_is_missing() -> None:
    filled = buffers()
    t0_ns = drive(filled, seconds=0.5)
    cycle = run_cycle(filled, t0_ns, KinematicEngine(), Request(), RELEASED)
    assert cycle.plan is None
    assert cycle.observation is None
    assert "front_wide" in cycle.refused


def test_an_incomplete_answer_is_no_plan() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    unfinished = Answers(ModelOutput(steady(0.0)[None].astype(np.float32), ("Stop",), (1,), (False,)))
    cycle = run_cycle(filled, t0_ns, unfinished, Request(), RELEASED)
    assert cycle.plan is None
    assert cycle.observation is not None
    assert "incomplete" in cycle.refused


def test_poses_that_no_observation_can_hold_end_the_cycle() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    filled.poses.clear()
    step_m = 2.0**130  # no float32 holds it; a power of two, so that speed and way agree to the last bit
    for k in range(-230, 5):
        assert filled.poses.offer(pose(t0_ns + k * 10 * MS, speed_mps=100 * step_m, x_m=k * step_m)) == "kept"
    cycle = run_cycle(filled, t0_ns, KinematicEngine(), Request(), RELEASED)
    assert cycle.plan is None
    assert "not finite" in cycle.refused


def test_a_good_plan_has_no_findings_and_the_check_is_timed() -> None:
    filled = buffers()
    cycle = run_cycle(filled, drive(filled), KinematicEngine(), Request(), RELEASED)
    assert cycle.findings == ()
    assert cycle.rejected == ""
    assert 0.0 < cycle.stage_ms["check"] < cycle.stage_ms["total"]


def test_a_rejected_plan_stays_in_its_cycle_with_every_reason() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    wild = Answers(ModelOutput(steady(0.3, -7.0)[None].astype(np.float32), ("Stop",), (1,), (True,)))
    cycle = run_cycle(filled, t0_ns, wild, Request(), RELEASED)
    assert cycle.plan is not None
    assert cycle.refused == ""
    rejecting = [finding for finding in cycle.findings if finding.rejects]
    assert {"V4", "V6", "V7", "V10"} <= {finding.check for finding in rejecting}
    assert cycle.rejected == "; ".join(map(str, rejecting))
    assert "V6 deceleration: 7 m/s^2 at 0.1 s, reject limit 6" in cycle.rejected


def test_a_warning_and_a_shadow_finding_reject_nothing() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    brisk = Answers(ModelOutput(steady(0.0, 2.5)[None].astype(np.float32), ("Stop for the red light",), (1,), (True,)))
    cycle = run_cycle(filled, t0_ns, brisk, Request(), RELEASED)
    assert [(finding.check, finding.level) for finding in cycle.findings] == [("V6", "warn"), ("V18", "warn")]
    assert cycle.rejected == ""


def test_limits_are_the_callers() -> None:
    filled = buffers()
    slow = replace(LIMITS, speed_mps=replace(LIMITS.speed_mps, reject=5.0))
    cycle = run_cycle(filled, drive(filled), KinematicEngine(), Request(), RELEASED, slow)
    assert [finding.check for finding in cycle.findings] == ["V5"]
    assert cycle.rejected.startswith("V5 speed: 10")


def test_zeros_of_a_dead_engine_are_rejected() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    dead = Answers(ModelOutput(np.zeros((1, 64, 2), np.float32), ("",), (1,), (True,)))
    assert "V1 actions all zero" in run_cycle(filled, t0_ns, dead, Request(), RELEASED).rejected


def test_zeros_are_of_the_engines_own_space() -> None:
    filled = buffers()
    t0_ns = drive(filled)
    dead = Answers(ModelOutput(np.zeros((1, 64, 2), np.float32), ("",), (1,), (True,)))
    own = replace(RELEASED, curvature_mean_1pm=0.001)
    assert "V1 actions all zero" in run_cycle(filled, t0_ns, dead, Request(), own).rejected
