"""The kinematic baseline: it goes on as the history does, stops where that stops, and never blows up near standstill."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine.observations import SECOND, history, observation, rotations
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alpamayo_ros.dynamics import RELEASED, estimate_v0, rollout, trajectory, within_bounds
from alpamayo_ros.engine.kinematic import KinematicEngine, describe, measured_motion
from alpamayo_ros.types import HORIZON, STEP_S, EgoHistory, Request, Trajectory

LONGEST_S = HORIZON * STEP_S
SOME = settings(max_examples=100, deadline=None)


def planned(past: EgoHistory) -> Trajectory:
    ego = observation()
    seen = replace(ego, stamp_ns=past.t0_ns, history=past, ego_t0=replace(ego.ego_t0, stamp_ns=past.t0_ns))
    output = KinematicEngine().infer(seen, Request())
    assert within_bounds(output.actions[0])
    return rollout(output.actions[0], estimate_v0(past.xyz, past.rot), 0.0)


@SOME
@given(st.floats(2, 30), st.floats(-3, 2), st.floats(-0.1, 0.1))
def test_constant_motion_is_measured_and_continued(v0: float, accel: float, curvature: float) -> None:
    assume(v0 - 2 * accel > 2 and v0 + LONGEST_S * accel > 0 and abs(curvature) * (v0 + 7 * abs(accel)) ** 2 < 8)
    past = history(SECOND, v0, accel, curvature)
    motion = measured_motion(past, RELEASED)
    # float32 positions some 60 m away are exact to 4 um: 6e-5 m/s per step, 1e-5 m/s2 in the slope of 20; chords are
    # shorter than arcs by (curvature * step)^2 / 24 < 1e-4
    assert motion.v0_mps == pytest.approx(v0, abs=0.01)
    assert motion.accel_mps2 == pytest.approx(accel, abs=0.005)
    assert motion.curvature_1pm == pytest.approx(curvature, abs=1e-4)
    n = np.ones(HORIZON)
    true = trajectory(accel * n, curvature * n, v0)
    # 0.01 m/s and 0.005 m/s2 off for 6.4 s are 0.17 m along the path; 1e-4 1/m off over s metres is s^2 / 2 * 1e-4 across
    way_m = float(np.sum(true.speed_mps) * STEP_S)
    assert np.abs(planned(past).xyz - true.xyz).max() < 0.2 + 0.5e-4 * way_m**2


@SOME
@given(st.floats(0, 15), st.floats(-8, -0.5))
def test_braking_ends_in_standstill_and_stays_there(v0: float, accel: float) -> None:
    assume(v0 < -accel * (LONGEST_S - 1))
    plan = planned(history(SECOND, v0, accel))
    # actions are float32: a standstill is one to about 1e-6 m/s
    assert plan.speed_mps.min() > -1e-5
    assert abs(plan.speed_mps[-1]) < 1e-5
    stopped = np.abs(plan.speed_mps) < 1e-5
    assert stopped[np.argmax(stopped) :].all()
    assert np.abs(np.diff(plan.xyz[stopped], axis=0)).max(initial=0.0) < 1e-5


@SOME
@given(st.floats(0, 0.5), st.integers(0, 2**32))
def test_no_curvature_is_made_of_noise_near_standstill(v0: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    still = history(SECOND, v0 * 0.8)
    noise = np.append(rng.normal(size=20) * 0.003, 0.0)
    noisy = EgoHistory(SECOND, still.xyz, rotations(noise).astype(np.float32))
    assert measured_motion(noisy, RELEASED).curvature_1pm == 0.0
    assert np.abs(planned(noisy).yaw_rad).max() < 0.05


def test_standing_still_stays_still() -> None:
    plan = planned(history(SECOND, 0.0))
    assert np.abs(plan.xyz).max() < 1e-6
    assert np.abs(plan.yaw_rad).max() < 1e-6


def test_a_stop_in_the_past_is_not_driven_backwards() -> None:
    way = np.cumsum(np.maximum(np.linspace(4, -4, 21), 0.0)) * STEP_S
    xyz = np.column_stack([way - way[-1], np.zeros((21, 2))]).astype(np.float32)
    plan = planned(EgoHistory(SECOND, xyz, rotations(np.zeros(21)).astype(np.float32)))
    # the smoothed speed at t0 is some cm/s around 0: within the first step it is 0, and stays
    assert np.abs(plan.speed_mps).max() < 1e-5
    assert np.abs(plan.xyz).max() < 0.01


def test_reversing_goes_on_and_ends_in_standstill_too() -> None:
    assert planned(history(SECOND, -3.0)).xyz[-1, 0] == pytest.approx(-3.0 * LONGEST_S, abs=0.1)
    slowing = planned(history(SECOND, -3.0, 1.0))
    assert slowing.speed_mps.max() < 1e-5
    assert abs(slowing.speed_mps[-1]) < 1e-5


def test_every_sample_is_the_same_and_cameras_do_not_matter() -> None:
    engine = KinematicEngine()
    seen = observation()
    one = engine.infer(seen, Request())
    six = engine.infer(replace(seen, frames={}), Request(samples=6, seed=3))
    assert six.actions.shape == (6, HORIZON, 2)
    assert all(np.array_equal(sample, one.actions[0]) for sample in six.actions)
    assert (engine.weights, one.tokens, one.complete) == ("none", (0,), (True,))


def test_the_text_says_what_it_is_and_is_left_out_when_not_asked_for() -> None:
    engine = KinematicEngine()
    text = engine.infer(observation(v0_mps=10.0, accel_mps2=0.4, curvature_1pm=0.02), Request()).texts[0]
    assert text == "Kinematic baseline: keeps 0.4 m/s2 and a 50 m left curve from 10.0 m/s; cameras are not used."
    assert "a 25 m right curve" in describe(measured_motion(history(SECOND, 8.0, 0.0, -0.04), RELEASED))
    assert "keeps 0.0 m/s2 and a straight path" in describe(measured_motion(history(SECOND, 8.0), RELEASED))
    assert engine.infer(observation(), Request(reasoning="none")).texts == ("",)


def test_two_poses_are_a_history() -> None:
    assert planned(history(SECOND, 5.0, steps=2)).xyz[-1, 0] == pytest.approx(5.0 * LONGEST_S, rel=0.01)
