from __future__ import annotations

from contextlib import closing
from pathlib import Path

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own, before anything of ROS starts
import numpy as np
import pytest
from alpamayo_ros.msg import UnicycleTrajectory
from simulation.closed_loop.driven import ATTENTIVE, QUICK, bits, short, small_profile, straight, told

from alpamayo_ros.nodes import messages
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.closed_loop.engines import EnginePolicy, as_published
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.over_ros import NodePolicy
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.types import InvalidInput

RIG = read_rig("seven_camera")


def driven(episode: Episode) -> object:
    planned = [(plan.t0_s, plan.ego, plan.trajectory, plan.refused) for plan in episode.planned]
    plans = [plan.plan for plan in episode.planned if plan.plan is not None]
    thought = [(plan.t0_ns, plan.epoch, plan.chosen, plan.reasoning, plan.meta_actions, plan.consistent) for plan in plans]
    return bits([planned, thought, episode.snapshots, episode.egos, episode.incident, episode.failure])


@pytest.mark.thorough
@pytest.mark.ros
@pytest.mark.patient
def test_over_dds_is_driven_what_is_driven_in_process(tmp_path: Path) -> None:
    """To the bit: pictures, motion, navigation and seeds decide the engine's plans. The clock jumps between the drives."""
    profile = small_profile(tmp_path, ego_signals=["speed", "acceleration", "steering_angle", "turn_indicator"])
    # The second one has the stamps of the first, and a slow answer; after the crash of the fourth it takes a new node.
    scenarios = [short(), told("late", 50.0), told("", 46.0), told("crash", 46.0), short(seed=2)]
    with (
        closing(EnginePolicy(ATTENTIVE, RIG, profile, QUICK)) as here,
        closing(NodePolicy(ATTENTIVE, RIG, profile, QUICK)) as there,
    ):
        for scenario in scenarios:
            expected, got = (run_episode(scenario, policy, QUICK) for policy in (here, there))
            assert driven(got) == driven(expected)
        assert len(expected.planned) == 3
    assert here.name == there.name


@pytest.mark.ros
@pytest.mark.patient
def test_over_dds_holds_and_stops_are_driven_as_they_are_in_process(tmp_path: Path) -> None:
    """Plans that are rejected: the course before goes on, then a stop is followed, from a pose of its own every time."""
    profile = small_profile(tmp_path, ego_signals=["speed", "acceleration", "steering_angle", "turn_indicator"])
    with (
        closing(EnginePolicy(ATTENTIVE, RIG, profile, QUICK)) as here,
        closing(NodePolicy(ATTENTIVE, RIG, profile, QUICK)) as there,
    ):
        expected, got = (run_episode(told("wild", 52.0, 5.5), policy, QUICK) for policy in (here, there))
    assert driven(got) == driven(expected)
    planned = [(plan.plan is not None, plan.trajectory is not None) for plan in got.planned]
    assert planned[0] == (True, True), "it drove"
    assert (False, False) in planned, "it held"
    assert (False, True) in planned, "it stopped"
    assert got.egos[-1].speed_mps < got.planned[0].ego.speed_mps


@pytest.mark.ros
@pytest.mark.patient
def test_a_node_that_refuses_its_start_is_an_invalid_input_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"the planner node ended with status 1; .*no such weights"):
        NodePolicy("engine.own_engines:dies_opening", RIG, small_profile(tmp_path), QUICK)


def test_in_process_a_trajectory_is_what_its_message_says() -> None:
    curved = straight(-0.7, 9.0, 0.03)
    points = messages._points(curved)
    read = trajectory_values(UnicycleTrajectory(points=points))
    assert bits(as_published(curved)) == bits(read)
    assert bits(read) != bits(curved), "or the comparison could not fail"
    np.testing.assert_allclose(read.yaw_rad, curved.yaw_rad, atol=1e-12)
