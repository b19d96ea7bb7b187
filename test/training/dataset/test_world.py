"""An example of the driving world is what its shard says, as an observation."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.profile import InputProfile, read_profile
from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.data.samples import SceneSamples, scene_samples
from alpamayo_ros.simulation.expert.label import plainly
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.dataset.recordings import check_example
from alpamayo_ros.training.dataset.world import scene_examples
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import InvalidInput

SMALL = {"image_height": 32, "image_width": 48, "ego_signals": ("speed", "steering_angle")}


@pytest.fixture(scope="module")
def profile() -> InputProfile:
    return read_profile("ar1_nano").model_copy(update=SMALL)


@pytest.fixture(scope="module")
def taken(profile: InputProfile) -> SceneSamples:
    return scene_samples(SceneId("turn_left", 3), small_rig_of(160, 96), profile, 10.0)


@pytest.fixture(scope="module")
def made(taken: SceneSamples, profile: InputProfile) -> list[Example]:
    return list(scene_examples(taken, profile))


def test_a_window_is_an_example_with_its_label(taken: SceneSamples, made: list[Example], profile: InputProfile) -> None:
    assert len(made) == len(taken.samples) >= 3
    for example, sample in zip(made, taken.samples, strict=True):
        check_example(example, profile)
        label, observation = sample.label, example.observation
        assert example.clip == "turn_left-000003"
        assert observation.stamp_ns == taken.scene.start_ns + round(label.t0_s * 1e9) == sample.history.t0_ns
        assert example.future is label.trajectory
        assert (example.meta_actions, observation.navigation) == (label.meta_actions, sample.navigation)
        assert example.reasoning is not None
        assert (example.reasoning.decision, example.reasoning.text) == (label.decision, plainly(label))
        assert example.reasoning.components == parse_trace(plainly(label), 0, complete=True).components


def test_it_sees_the_pictures_of_its_instants(taken: SceneSamples, made: list[Example], profile: InputProfile) -> None:
    for example, sample in zip(made, taken.samples, strict=True):
        for place, role in enumerate(taken.scene.roles):
            frames = example.observation.frames[role]
            stamps_ns = [example.observation.stamp_ns + ns for ns in profile.offsets_ns]
            assert [frame.stamp_ns for frame in frames] == stamps_ns
            for frame, at in zip(frames, sample.frames, strict=True):
                np.testing.assert_array_equal(frame.image, taken.pictures[at, place])
    assert made[0].observation.frames["front_wide"][1] is made[1].observation.frames["front_wide"][0]


def test_the_ego_is_where_its_future_begins(taken: SceneSamples, made: list[Example]) -> None:
    """The future of one example, in the odometry frame, goes through the pose of the next one."""
    for one, other in pairwise(made):
        steps = round((other.observation.stamp_ns - one.observation.stamp_ns) / 1e8)
        ego, then = one.observation.ego_t0, other.observation.ego_t0
        there = ego.odom_from_ego @ one.future.xyz[steps - 1] + ego.position
        np.testing.assert_allclose(there, then.position, atol=1e-9)
        assert one.future.speed_mps[steps - 1] == pytest.approx(then.speed_mps)


def test_signals_and_navigation_are_the_profiles(taken: SceneSamples, made: list[Example], profile: InputProfile) -> None:
    signals = made[0].observation.signals
    assert signals is not None
    np.testing.assert_array_equal(signals.steering_angle_rad, taken.samples[0].signals.steering_angle_rad)
    assert signals.acceleration_mps2 is None
    assert signals.turn_indicator is None
    assert any(example.observation.navigation for example in made)
    bare = list(scene_examples(taken, profile.model_copy(update={"ego_signals": (), "navigation": "none"})))
    assert {(one.observation.signals, one.observation.navigation) for one in bare} == {(None, None)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image_height": 30}, r"front_left: want a picture \(30, 48, 3\), got \(32, 48, 3\)"),
        ({"frame_offsets_ms": (-500, 0)}, "front_left: want 2 frames, got 5"),
        ({"history_steps": 16}, "ego history: want 16 poses, got 21"),
    ],
)
def test_an_example_of_another_profile_is_refused(
    changes: dict[str, object], says: str, made: list[Example], profile: InputProfile
) -> None:
    with pytest.raises(InvalidInput, match=says):
        check_example(made[0], profile.model_copy(update=changes))


def test_an_example_without_a_camera_or_with_half_a_future_is_refused(made: list[Example], profile: InputProfile) -> None:
    seen = {role: frames for role, frames in made[0].observation.frames.items() if role != "rear_tele"}
    blind = replace(made[0], observation=replace(made[0].observation, frames=seen, sync_error_ms={}))
    with pytest.raises(InvalidInput, match="no frames of rear_tele, which profile ar1_nano requires"):
        check_example(blind, profile)
    half = replace(made[0].future, **{name: value[:32] for name, value in vars(made[0].future).items()})
    with pytest.raises(InvalidInput, match="future: want 64 points, 32 are known"):
        check_example(replace(made[0], future=half), profile)
