from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulation.closed_loop.driven import ATTENTIVE, QUICK, bits, short, small_profile, told

from alpamayo_ros.pipeline.cycle import run_cycle
from alpamayo_ros.profile import Rig, read_rig, shared_files
from alpamayo_ros.simulation.closed_loop.engines import EnginePolicy
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.settings import LoopSettings, start_ns, timing_of
from alpamayo_ros.simulation.closed_loop.suite import Driver, open_policy
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures
from alpamayo_ros.simulation.scenario import Command
from alpamayo_ros.simulation.state import Snapshot
from alpamayo_ros.types import InvalidInput

RIG = read_rig("seven_camera")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_profile(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def engine(profile: str) -> Iterator[EnginePolicy]:
    with closing(EnginePolicy(ATTENTIVE, RIG, profile, QUICK)) as policy:
        yield policy


@pytest.fixture
def cycles(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every cycle that is run in the test."""
    ran: list[Any] = []

    def noted(*arguments: Any) -> Any:
        ran.append(run_cycle(*arguments))
        return ran[-1]

    monkeypatch.setattr("alpamayo_ros.simulation.closed_loop.engines.run_cycle", noted)
    return ran


def test_an_engine_sees_the_world_at_the_very_instants_it_asks_for(engine: EnginePolicy, cycles: list[Any]) -> None:
    scenario = short()
    episode = run_episode(scenario, engine, QUICK)
    assert len(cycles) == 3
    stage, cameras = Stage(scenario), SceneCameras(RIG, (48, 80))
    for cycle, tick in zip(cycles, (5, 10, 15), strict=True):
        seen, t0_ns = cycle.observation, start_ns(scenario) + tick * 100_000_000
        assert seen is not None
        assert seen.stamp_ns == t0_ns
        frames = seen.frames["front_wide"]
        assert [frame.stamp_ns - t0_ns for frame in frames] == [-300_000_000, -100_000_000, 0]
        assert seen.sync_error_ms["front_wide"] == (0.0, 0.0, 0.0)
        assert seen.odometry_extrapolated_ms == 0.0
        for frame, at in zip(frames, (tick - 3, tick - 1, tick), strict=True):
            drawn = pictures(stage, episode.snapshots[at], cameras, ("front_wide",))["front_wide"]
            assert np.array_equal(frame.image, drawn)
        egos = [snapshot.ego for snapshot in episode.snapshots[tick - 3 : tick + 1]]
        moved = np.linalg.norm([ego.xy_m - egos[-1].xy_m for ego in egos], axis=1)
        assert np.linalg.norm(seen.history.xyz, axis=1) == pytest.approx(moved, abs=1e-5)
        assert seen.ego_t0.position[:2].tolist() == egos[-1].xy_m.tolist()


def test_pictures_that_no_window_has_are_not_made(engine: EnginePolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []

    def noted(stage: Stage, snapshot: Snapshot, *others: Any) -> Any:
        at.append(round(snapshot.t_s * 10))
        return pictures(stage, snapshot, *others)

    monkeypatch.setattr("alpamayo_ros.simulation.closed_loop.sensors.pictures", noted)
    run_episode(short(), engine, QUICK)
    assert at == [2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19], "17 and 19 are for the t0 of the last instant, which comes no more"


def test_what_was_driven_before_does_not_matter(engine: EnginePolicy, profile: str) -> None:
    run_episode(short(), engine, QUICK)
    second = run_episode(short(seed=1), engine, QUICK)
    with closing(EnginePolicy(ATTENTIVE, RIG, profile, QUICK)) as fresh:
        assert bits(run_episode(short(seed=1), fresh, QUICK)) == bits(second)
    assert len({plan.plan.reasoning.text for plan in second.planned if plan.plan is not None}) == 3


def test_a_crashed_engine_fails_its_drive_and_no_other(engine: EnginePolicy, profile: str) -> None:
    crashed = run_episode(told("crash"), engine, QUICK)
    assert crashed.failure == "at 0.5 s: the engine's process ended with status 3"
    after = run_episode(short(), engine, QUICK)
    assert after.failure == ""
    assert len(after.planned) == 3
    assert all(plan.trajectory is not None for plan in after.planned)


def test_a_hanging_engine_fails_at_its_deadline(profile: str) -> None:
    hasty = LoopSettings(warm_up_s=0.5, deadline_s=1.0)
    with closing(EnginePolicy(ATTENTIVE, RIG, profile, hasty)) as policy:
        started_s = time.monotonic()
        episode = run_episode(told("hang", from_m=46.0), policy, hasty)
        assert time.monotonic() - started_s < 30.0, "it hangs for 60 s"
    assert "no answer before the deadline, the engine's process was killed" in episode.failure
    assert len(episode.planned) > 0, "it had planned before"


def test_an_engine_that_fails_again_and_again_fails_its_drive(engine: EnginePolicy) -> None:
    episode = run_episode(told("refuse", duration_s=4.0), engine, QUICK)
    assert "3 bad answers" in episode.failure
    assert "out of luck" in episode.failure
    assert {plan.refused for plan in episode.planned} == {"out of luck"}


def test_an_engine_whose_plans_are_rejected_from_the_start_is_silent_after_a_while(engine: EnginePolicy) -> None:
    episode = run_episode(told("wild", duration_s=4.0), engine, QUICK)
    assert episode.failure.startswith("at 3.0 s: no plan for 2.5 s, limit 2; the last reason: V7 lateral acceleration")
    assert all(plan.trajectory is None and plan.plan is None for plan in episode.planned)


def test_after_rejected_plans_the_course_goes_on_and_then_the_vehicle_stops(engine: EnginePolicy) -> None:
    """The last plan is of 0.5 s; 2.0 s later, between two t0s, a stop begins."""
    episode = run_episode(told("wild", from_m=46.0, duration_s=5.0), engine, QUICK)
    assert episode.failure == ""
    driven = [(plan.t0_s, plan.plan is not None, plan.trajectory is not None) for plan in episode.planned]
    held, stopping = [1.0, 1.5, 2.0, 2.5], [3.0, 3.5, 4.0, 4.5]
    assert driven == [(0.5, True, True)] + [(t_s, False, False) for t_s in held] + [(t_s, False, True) for t_s in stopping]
    assert all("V7 lateral acceleration" in plan.refused for plan in episode.planned[1:7])
    for plan in episode.planned[5:]:
        assert plan.trajectory is not None
        assert plan.trajectory.speed_mps[0] == pytest.approx(plan.ego.speed_mps, abs=0.3)
        assert plan.trajectory.speed_mps[-1] == 0.0
    speeds = [plan.ego.speed_mps for plan in episode.planned]
    assert speeds[-1] < speeds[5] - 1.5, "2.5 m/s^2 for 1.5 s, less its beginning"


def test_a_supervisor_goes_by_the_periods_of_the_loop_and_stops_before_the_loop_gives_up(profile: str) -> None:
    """The profile's pictures are 0.1 s apart."""
    with closing(EnginePolicy("kinematic", RIG, profile, QUICK)) as policy:
        rig = policy.rig
    slow, quick = timing_of(rig, LoopSettings(plan_hz=1.0, silence_s=10.0)), timing_of(rig, LoopSettings(plan_hz=10.0))
    assert (slow.hold_after_ns, slow.stop_after_ns, slow.max_age_ns) == (2_000_000_000, 5_000_000_000, 10_000_000_000)
    assert (quick.hold_after_ns, quick.stop_after_ns, quick.odometry_silence_ns) == (200_000_000, 500_000_000, 500_000_000)
    assert timing_of(rig, QUICK).stop_after_ns == 2_000_000_000


def test_navigation_is_what_holds_at_t0(engine: EnginePolicy, cycles: list[Any]) -> None:
    """The ego is at 44 m at the first t0, at 48 m at the second one and at 52 m at the third one, more or less."""
    turn = Command("turn_left", given_from_m=46.0, at_m=50.0)
    scenario = short(commands=(turn,))
    episode = run_episode(scenario, engine, QUICK)
    along = [float(scenario.route.locate(plan.ego.xy_m)[0]) for plan in episode.planned]
    before, heard, after = (cycle.observation.navigation for cycle in cycles)
    assert along[0] < 46.0 < along[1] < 50.0 < along[2]
    assert (before, after) == (None, None)
    assert heard.maneuver == "turn_left"
    assert heard.distance_m == pytest.approx(50.0 - along[1], abs=1e-5)


def test_signals_that_the_profile_declares_are_measured(tmp_path: Path, cycles: list[Any]) -> None:
    declared = ["speed", "acceleration", "steering_angle", "turn_indicator"]
    with closing(EnginePolicy("kinematic", RIG, small_profile(tmp_path, ego_signals=declared), QUICK)) as policy:
        episode = run_episode(short(), policy, QUICK)
    signals, egos = cycles[1].observation.signals, [snapshot.ego for snapshot in episode.snapshots[7:11]]
    assert signals.speed_mps == pytest.approx([ego.speed_mps for ego in egos], rel=1e-6)
    assert signals.acceleration_mps2 == pytest.approx([ego.accel_mps2 for ego in egos], rel=1e-6)
    assert signals.steering_angle_rad == pytest.approx([ego.steering_rad for ego in egos], rel=1e-6)
    assert signals.turn_indicator == tuple(ego.indicator for ego in egos)


@pytest.mark.parametrize(
    ("bundle", "changes", "words"),
    [
        ("kinematic", {"frame_offsets_ms": [-133, 0]}, r"looks at \[-133\] ms: the world has an instant every 100 ms"),
        ("kinematic", {"frame_offsets_ms": [-900, 0]}, "looks 0.9 s back, the warm-up is 0.5 s long"),
        ("kinematic", {"history_steps": 16}, "looks 1.5 s back, the warm-up is 0.5 s long"),
        (
            "kinematic",
            {"cameras": {"front_tele": "required"}},
            "anchor front_wide is not required by profile",
        ),
        ("kinematics", {}, "no engine 'kinematics': want one of kinematic"),
        ("engine.own_engines:NoSuchEngine", {}, "cannot be opened.* has no attribute 'NoSuchEngine'"),
        ("engine.own_engines:dies_opening", {}, "cannot be opened: .*no such weights"),
    ],
)
def test_who_cannot_drive_here_is_refused_before_the_first_drive(
    tmp_path: Path, bundle: str, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        open_policy(Driver(bundle, profile=small_profile(tmp_path, **changes)), QUICK)


def test_a_rig_without_a_camera_of_the_profile_is_refused(tmp_path: Path, profile: str) -> None:
    cameras = {role: camera for role, camera in RIG.cameras.items() if role != "rear_tele"}
    blind = Rig.model_validate(RIG.model_copy(update={"cameras": cameras}).model_dump())
    with pytest.raises(InvalidInput, match="rig seven_camera has no rear_tele, which profile seven_camera requires"):
        EnginePolicy("kinematic", blind, "seven_camera", LoopSettings())


def test_a_driver_is_called_by_the_name_of_its_bundle(engine: EnginePolicy) -> None:
    assert Driver("always_stop").name == "always_stop"
    assert Driver(str(shared_files() / "models" / "ar1_nano")).name == "ar1_nano"
    assert engine.name == ATTENTIVE
    assert engine.senses == "1 cameras of 80x48, 3 frames each; odometry, navigation"
