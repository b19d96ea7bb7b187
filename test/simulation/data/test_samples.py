"""A sample is what the vehicle would have had before it, and what the expert then did and said."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.small_vehicle import small_rig_of

from alpamayo_ros.dynamics import actions_from_trajectory, rollout
from alpamayo_ros.evaluation.replay import BagPass
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.profile import InputProfile, read_profile
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.data.bag import write_episode
from alpamayo_ros.simulation.data.samples import SceneSamples, samples_of
from alpamayo_ros.simulation.episode import Episode, Incident, Planned
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures
from alpamayo_ros.types import InvalidInput, Observation

FAMILY = "turn_left"
SECONDS = 11.0


@pytest.fixture(scope="module")
def profile() -> InputProfile:
    """The nano one, with all signals."""
    signals = ("speed", "acceleration", "steering_angle", "turn_indicator")
    return read_profile("ar1_nano").model_copy(update={"ego_signals": signals, "image_height": 32, "image_width": 48})


@pytest.fixture(scope="module")
def episode() -> Episode:
    return run_episode(make_scenario(FAMILY, 3, SECONDS), ExpertPolicy())


@pytest.fixture(scope="module")
def made(episode: Episode, profile: InputProfile) -> SceneSamples:
    return samples_of(episode, small_rig_of(160, 96), profile)


def test_every_planned_instant_with_its_past_and_its_future_is_a_sample_or_dropped(
    made: SceneSamples, episode: Episode
) -> None:
    whole = [planned.t0_s for planned in episode.planned if 2.0 <= planned.t0_s <= SECONDS - 6.4]
    assert whole == pytest.approx([2.0, 2.5, 3.0, 3.5, 4.0, 4.5])
    surprising = [t0_s for t0_s, planned in zip(whole, episode.planned, strict=False) if surprise_m(episode, planned) > 2.0]
    assert [sample.label.t0_s for sample in made.samples] == pytest.approx([t0_s for t0_s in whole if t0_s not in surprising])
    assert made.scene.dropped == {"surprise": len(surprising)}
    assert len(made.samples) >= 3


def surprise_m(episode: Episode, planned: Planned) -> float:
    """How far what was driven is from what was intended, in the mean."""
    assert planned.intention is not None
    step = round(10 * planned.t0_s)
    forward, left = (planned.ego.yaw_rad + turn for turn in (0.0, np.pi / 2))
    axes = np.array([[np.cos(forward), np.cos(left)], [np.sin(forward), np.sin(left)]])
    driven = (np.array([s.ego.xy_m for s in episode.snapshots[step + 1 : step + 65]]) - planned.ego.xy_m) @ axes
    return float(np.linalg.norm(driven - planned.intention.trajectory.xyz[:, :2], axis=1).mean())


def test_pictures_are_taken_once_and_shared(made: SceneSamples, episode: Episode, profile: InputProfile) -> None:
    asked = [round(1000 * sample.label.t0_s) + offset_ms for sample in made.samples for offset_ms in profile.frame_offsets_ms]
    assert made.scene.instants_ms == tuple(sorted(set(asked)))
    assert made.pictures.shape == (len(set(asked)), 7, 32, 48, 3) < (len(asked), 7, 32, 48, 3)
    found = [made.scene.instants_ms[frame] for sample in made.samples for frame in sample.frames]
    assert found == asked
    stage, cameras = Stage(episode.scenario), SceneCameras(small_rig_of(160, 96), (32, 48))
    seen = pictures(stage, episode.snapshots[15], cameras, made.scene.roles)
    for role, picture in zip(made.scene.roles, made.pictures[made.scene.instants_ms.index(1500)], strict=True):
        np.testing.assert_array_equal(picture, seen[role])


def test_what_is_learned_from_is_what_the_planner_observes_on_the_vehicle(
    made: SceneSamples, episode: Episode, profile: InputProfile, tmp_path: Path
) -> None:
    """The same drive as a recording, through the node's own buffers: history, signals and command are those of the sample."""
    rig = small_rig_of(48, 32)
    write_episode(tmp_path / "bag", rig, episode)
    observed: dict[int, Observation] = {}
    with closing(BagPass(tmp_path / "bag", rig, profile, [], lambda *_: None)) as drive:
        for t0_ns in drive.instants(drive.records(), max_plan_hz=10.0):
            if (t0_ns - made.scene.start_ns) % 500_000_000 == 0 and t0_ns >= made.scene.start_ns + 2_000_000_000:
                observed[t0_ns] = observe(drive.buffers, t0_ns)
    commands = 0
    for sample in made.samples:
        seen = observed[sample.history.t0_ns]
        np.testing.assert_allclose(sample.history.xyz, seen.history.xyz, atol=1e-5)
        np.testing.assert_allclose(sample.history.rot, seen.history.rot, atol=1e-6)
        assert seen.signals is not None
        assert seen.signals.turn_indicator == sample.signals.turn_indicator
        for name in ("speed_mps", "acceleration_mps2", "steering_angle_rad"):
            np.testing.assert_allclose(getattr(sample.signals, name), getattr(seen.signals, name), atol=1e-6)
        assert seen.navigation == sample.navigation
        commands += sample.navigation is not None
    assert commands > 0


def test_the_future_is_what_was_driven_and_a_models_actions_lead_along_it(made: SceneSamples, episode: Episode) -> None:
    for sample in made.samples:
        xyz, rot = sample.future
        step = round(10 * sample.label.t0_s)
        ego, last = episode.snapshots[step].ego, episode.snapshots[step + 64].ego
        assert np.hypot(*xyz[-1, :2]) == pytest.approx(np.hypot(*(last.xy_m - ego.xy_m)), abs=1e-4)
        assert np.arctan2(rot[-1, 1, 0], rot[-1, 0, 0]) == pytest.approx(last.yaw_rad - ego.yaw_rad, abs=1e-5)
        actions = actions_from_trajectory(sample.history.xyz, sample.history.rot, xyz, rot, ego.speed_mps)
        again = rollout(actions, ego.speed_mps, 0.0)
        assert np.linalg.norm(again.xyz - xyz, axis=1).max() < 0.3


def test_a_drive_that_ended_with_an_incident_has_no_samples(episode: Episode, profile: InputProfile) -> None:
    hit = replace(episode, incident=Incident("collision_front", SECONDS, "lead"))
    made = samples_of(hit, small_rig_of(160, 96), profile)
    assert (made.samples, made.pictures.shape) == ((), (0, 7, 32, 48, 3))
    assert made.scene.dropped == {"collision_front": 6}


def test_a_rig_or_a_profile_that_the_world_cannot_serve_is_refused(episode: Episode, profile: InputProfile) -> None:
    rig = small_rig_of(160, 96)
    no_tele = rig.model_copy(update={"cameras": {k: v for k, v in rig.cameras.items() if k != "rear_tele"}})
    with pytest.raises(InvalidInput, match="has no rear_tele"):
        samples_of(episode, no_tele, profile)
    with pytest.raises(InvalidInput, match=r"pictures at \[.*\] ms: the world has an instant every 100 ms"):
        samples_of(episode, rig, profile.model_copy(update={"frame_offsets_ms": (-33, 0)}))
