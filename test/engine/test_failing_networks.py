"""A network that fails in the engine's process is a failure in the parent's, and never a plan."""

from __future__ import annotations

from contextlib import closing

import pytest
from engine.observations import SECOND
from engine.processes import pid_of, soon
from model.nano import nano_profile, observation

from alpamayo_ros.engine.client import EngineClient
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.pipeline.planner import plan
from alpamayo_ros.types import EngineFailure, Plan, Request

pytestmark = pytest.mark.thorough  # a process that imports torch takes seconds to open

PATIENT_MS = 60_000.0


def planned(client: EngineClient, seed: int) -> Plan:
    return plan(observation(), client, Request(seed=seed, max_tokens=40, steps=1), client.space)


def test_a_network_that_fails_is_no_plan_and_one_that_lost_its_device_is_started_again() -> None:
    profile = nano_profile()
    ring = FrameRing(profile.image_shape, 64)
    with closing(ring), EngineClient("engine.own_engines:with_a_failing_network", profile, ring, PATIENT_MS) as client:
        first = pid_of(client)
        assert planned(client, seed=0).t0_ns == 5 * SECOND, "whole, it plans"
        with pytest.raises(EngineFailure, match="logits are not finite"):
            planned(client, seed=2)
        with pytest.raises(EngineFailure, match=r"incomplete: no trajectory was asked for after \[40\] tokens"):
            planned(client, seed=3)
        assert planned(client, seed=0).t0_ns == 5 * SECOND
        assert (client.pid, client.restarts, client.bad_answers) == (first, 0, 1)
        with pytest.raises(EngineFailure, match=r"status 1: .*AcceleratorError: CUDA error: unspecified launch failure"):
            planned(client, seed=1)
        with pytest.raises(EngineFailure, match="engine restarting"):
            planned(client, seed=0)
        assert soon(lambda: client.restarts == 1)
