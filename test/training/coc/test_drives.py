"""Keyframes of recorded drives: what 10 Hz meta-actions of the odometry tell, and nothing beyond a gap or a jump."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from evaluation.small_vehicle import small_rig_of
from training.coc.answering import endpoint, says
from training.coc.made import CRUISING, example
from training.coc.test_teacher import DECIDED, SEEN, wants
from typed import typed

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.profile import Rig, read_profile
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import start_ns
from alpamayo_ros.simulation.data.bag import write_episode
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.expert.label import driven
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.training.coc.drives import at_keyframes, bag_keyframes, drive_keyframes, way_keyframes
from alpamayo_ros.training.coc.keyframes import FUTURE_S, HISTORY_S, Keyframe
from alpamayo_ros.training.coc.schema import Record, read_records
from alpamayo_ros.types import EgoPose

BEGIN_S = 1_700_000_000.0
SPEED_MPS = 10.0


def poses(*pieces: tuple[float, float, float], speed_mps: float = SPEED_MPS) -> list[EgoPose]:
    """A drive at 10 Hz, by pieces of seconds, m/s^2 and 1/m."""
    columns = [np.tile(motion, (round(10 * seconds), 1)) for seconds, *motion in pieces]
    way = trajectory(*np.concatenate(columns).T, speed_mps)
    xyz = np.vstack([np.zeros(3), way.xyz])
    yaw_rad, speeds = np.append(0.0, way.yaw_rad), np.append(speed_mps, way.speed_mps)
    return [
        EgoPose(round((BEGIN_S + 0.1 * k) * 1e9), xyz[k], rotation_z(yaw_rad[k]), np.array([speeds[k], 0.0, 0.0]), np.zeros(3))
        for k in range(len(xyz))
    ]


def found(driven: Sequence[EgoPose]) -> list[tuple[str, float, float]]:
    """Kind, and seconds since the drive began."""
    return [(k.kind, round(k.t_s - BEGIN_S, 1), round(k.until_s - BEGIN_S, 1)) for k in drive_keyframes(driven)]


BRAKES = (3.0, -1.0, 0.0)
SPEEDS_UP = (3.0, 1.0, 0.0)


def straight(seconds: float) -> tuple[float, float, float]:
    return seconds, 0.0, 0.0


def moment(kind: str, t_s: float) -> tuple[str, float, float]:
    return kind, pytest.approx(t_s, abs=0.21), pytest.approx(t_s, abs=0.21)  # acceleration is smoothed over half a second


def test_half_a_second_before_the_ego_acts_is_a_keyframe() -> None:
    assert found(poses(straight(8.0), BRAKES, straight(9.0))) == [
        moment("gentle_decelerate", 7.5),
        moment("maintain_speed", 10.5),
    ]


def test_a_drive_longer_than_a_stretch_has_all_of_its_keyframes_once() -> None:
    """Two of them about where one stretch of 20 s ends and the next begins to have a history: 13.6 s and 25.3 s."""
    long = poses(straight(7.0), BRAKES, straight(4.1), SPEEDS_UP, straight(8.7), BRAKES, straight(9.2))
    expected = [
        moment("gentle_decelerate", 6.5),
        moment("maintain_speed", 9.5),
        moment("gentle_accelerate", 13.6),
        moment("maintain_speed", 16.6),
        moment("gentle_decelerate", 25.3),
        moment("maintain_speed", 28.3),
    ]
    assert found(long) == expected


def test_no_history_and_no_future_reaches_over_a_gap() -> None:
    """Braking 6.4 s before a gap or earlier, and 2 s behind it or later, is known; between nothing is."""
    drive = poses(straight(6.0), BRAKES, straight(8.0), SPEEDS_UP, straight(3.0), BRAKES, straight(16.0))
    assert [t_s for _, t_s, _ in found(drive)] == pytest.approx([5.5, 8.5, 16.5, 19.5, 22.5, 25.5], abs=0.21)
    torn = [pose for pose in drive if not 16.0 < pose.stamp_ns / 1e9 - BEGIN_S < 21.0]
    assert [t_s for _, t_s, _ in found(torn)] == pytest.approx([5.5, 8.5, 25.5], abs=0.21)


def test_a_curve_is_a_range_and_neither_a_turn_nor_a_lane_change_is_one() -> None:
    curve = found(poses(straight(7.0), (5.0, 0.0, 0.02), straight(8.0)))
    assert [frame for frame in curve if frame[0] == "curvy_road"] == [
        ("curvy_road", pytest.approx(7.0, abs=0.31), pytest.approx(12.0, abs=0.31))
    ]
    turn = found(poses(straight(7.0), (2.0, 0.0, 0.09), straight(8.0)))
    change = found(poses(straight(7.0), (2.0, 0.0, 0.011), (2.0, 0.0, -0.011), straight(8.0)))
    assert [kind for kind, _, _ in turn] == ["sharp_steer_left", "go_straight"]
    assert [kind for kind, _, _ in change] == ["steer_left", "steer_right", "go_straight"]


def test_slow_and_short_drives_have_none() -> None:
    assert found([]) == []
    assert found(poses(straight(20.0), speed_mps=0.0)) == []
    assert found(poses(straight(2.0), BRAKES, straight(HISTORY_S + FUTURE_S - 5.2))) == []


def seen(t0s_s: Sequence[float], frames: Sequence[Keyframe], period_s: float = 0.5) -> list[tuple[float, str | None]]:
    examples = [example(round(t0_s * 1e9), CRUISING) for t0_s in t0s_s]
    return [(moment.t0_ns / 1e9, moment.scenario) for moment in at_keyframes(examples, frames, period_s)]


def test_each_moment_of_a_keyframe_is_looked_for_once_among_examples() -> None:
    every = [2.0 + 0.5 * k for k in range(20)]
    assert seen(every, [Keyframe(None, 8.6, 8.6)]) == [(8.5, None)]
    assert seen(every, [Keyframe("curvy_road", 3.0, 7.5)]) == [(t_s, "curvy_road") for t_s in (3.0, 5.0, 7.0)]
    assert seen(every[::2], [Keyframe(None, 8.6, 8.6)], period_s=1.0) == [(9.0, None)]
    assert seen([8.49, 9.01], [Keyframe(None, 8.752, 8.752)]) == [(8.49, None)], "half-way between clocks that are not exact"
    assert seen([7.0, 10.0], [Keyframe(None, 8.5, 8.5)]) == [], "what cannot be observed has no moment"


def test_where_keyframes_meet_the_scenario_that_is_known_names_the_moment() -> None:
    meet = [Keyframe(None, 5.0, 5.0, "gentle_decelerate"), Keyframe("curvy_road", 5.1, 6.0), Keyframe(None, 5.2, 5.2, "stop")]
    assert seen([4.5, 5.0, 5.5], meet) == [(5.0, "curvy_road")]


# ------------------------------------------------------------------------------------------------------------- of a recording


@pytest.fixture(scope="module")
def episode() -> Episode:
    """Slows down for a curve, drives it, speeds up."""
    return run_episode(make_scenario("curve", 3, 20.0), ExpertPolicy())


@pytest.fixture(scope="module")
def rig() -> Rig:
    return small_rig_of(64, 48)


@pytest.fixture(scope="module")
def bag(episode: Episode, rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    write_episode(path, rig, episode)
    return path


@pytest.mark.thorough
def test_the_keyframes_of_a_recording_are_those_of_the_drive(bag: Path, rig: Rig, episode: Episode) -> None:
    way = driven([snapshot.ego for snapshot in episode.snapshots])
    truth = sorted((k.t_s, k.kind, k.until_s) for k in way_keyframes(way, episode.snapshots[0].ego.speed_mps))
    begin_s = start_ns(episode.scenario) / 1e9
    made = sorted((k.t_s - begin_s, k.kind, k.until_s - begin_s) for k in bag_keyframes(bag, rig, read_profile("seven_camera")))
    assert [kind for _, kind, _ in made] == [kind for _, kind, _ in truth]
    assert [kind for _, kind, _ in truth].count("curvy_road") == 1
    np.testing.assert_allclose([k[::2] for k in made], [k[::2] for k in truth], atol=0.11)


@pytest.mark.thorough
def test_a_teacher_is_asked_about_the_keyframes_of_a_bag_and_their_scenarios_are_kept(
    bag: Path, rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    described = read_profile("seven_camera").model_dump(mode="json") | {"image_height": 32, "image_width": 64}
    for name, values in (("rig", rig.model_dump(mode="json")), ("profile", described)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    places = ("--rig", tmp_path / "rig.yaml", "--profile", tmp_path / "profile.yaml", "--cache", tmp_path / "answers")
    out = tmp_path / "labels.jsonl"
    with endpoint(lambda body: says(json.dumps({"Seen": SEEN, "Decided": DECIDED}[wants(body)]))) as asked:
        words = ("label", bag, *places, "--out", out, "--teacher", asked.url, "--model", "teacher-8b")
        said = typed(monkeypatch, capsys, *words)
    assert said.status == 0, said.err
    figures = json.loads(said.out.splitlines()[-1])
    chosen = figures["keyframes_chosen"]
    assert chosen == figures["keyframes_found"], "one of each kind: nothing is left out"
    assert set(chosen) == {"curvy_road", "gentle_decelerate", "steer_left", "gentle_accelerate", "go_straight"}
    records: Sequence[Record] = read_records(out).records
    assert figures["samples"] == len(records) > figures["scenarios"]["curvy_road"] > 3, "a moment every 2 s of the curve"
    assert {record.scenario for record in records} == {"curvy_road", None}
