"""A cycle's own answer: its plan goes to the supervisor with its findings, a refusal with one reason for each problem."""

from __future__ import annotations

import pytest
from pipeline.vehicle import TWO_CAMERAS, buffers, drive

from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.pipeline.buffers import Buffers
from alpamayo_ros.pipeline.cycle import Cycle, run_cycle
from alpamayo_ros.pipeline.supervision import left_out_warnings, supervise
from alpamayo_ros.safety.contract import Finding, Now, timing
from alpamayo_ros.safety.supervisor import Supervisor
from alpamayo_ros.types import Request

BAD = Finding("V7", "lateral acceleration", "reject", 6.0, 4.9, "m/s^2", "nuPlan", 1.2)


@pytest.fixture
def filled() -> Buffers:
    return buffers(TWO_CAMERAS)


@pytest.fixture
def cycle(filled: Buffers) -> Cycle:
    return run_cycle(filled, drive(filled, speed_mps=10.0), KinematicEngine(), Request(), RELEASED)


@pytest.fixture
def supervisor() -> Supervisor:
    return Supervisor("shadow", timing(100_000_000, 20_000_000, 10.0))


def at(cycle: Cycle) -> Now:
    assert cycle.observation is not None
    return Now(cycle.t0_ns, cycle.t0_ns, cycle.epoch, "start", cycle.observation.ego_t0, cycle.t0_ns)


def test_a_plan_is_taken_with_where_it_was_made(cycle: Cycle, supervisor: Supervisor) -> None:
    assert cycle.plan is not None
    assert cycle.observation is not None
    said = supervise(cycle, supervisor, (), at(cycle))
    assert (said.source, said.plan, said.ego, said.state) == ("model", cycle.plan, cycle.observation.ego_t0, "nominal")


def test_what_its_checks_found_decides(cycle: Cycle, supervisor: Supervisor) -> None:
    rejected = Cycle(cycle.t0_ns, cycle.epoch, cycle.observation, cycle.plan, "", (BAD,))
    said = supervise(rejected, supervisor, (), at(cycle))
    assert (said.valid, said.reasons, said.findings) == (False, (str(BAD),), (BAD,))


def test_a_camera_that_is_left_out_degrades(cycle: Cycle, supervisor: Supervisor) -> None:
    assert cycle.observation is not None
    left_out = left_out_warnings((*cycle.observation.frames, "rear_right"), cycle.observation)
    assert left_out == ("rear_right: left out, a frame is not within tolerance",)
    said = supervise(cycle, supervisor, left_out, at(cycle))
    assert (said.state, said.source, said.reasons) == ("degraded", "model", left_out)


def test_without_an_observation_no_camera_is_left_out() -> None:
    assert left_out_warnings(("front_wide",), None) == ()


def test_a_refusal_is_one_reason_for_each_problem(cycle: Cycle, supervisor: Supervisor) -> None:
    refused = Cycle(cycle.t0_ns, cycle.epoch, None, None, "front_wide: no frames; odometry: no poses")
    said = supervise(refused, supervisor, (), at(cycle))
    assert (said.valid, said.stamp_ns, said.state) == (False, cycle.t0_ns, "warmup")
    assert said.reasons == ("front_wide: no frames", "odometry: no poses")
