"""A cycle ends in a plan or in the reason why not, whatever the inputs or the engine refuse."""

from __future__ import annotations

import numpy as np
from pipeline.test_planner import Answers, steady
from pipeline.vehicle import MS, buffers, drive, pose

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.cycle import run_cycle
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
