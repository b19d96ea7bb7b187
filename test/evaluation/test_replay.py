"""A bag through the planner offline: deterministic, complete, and fed exactly the pixels that were recorded."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from evaluation.small_vehicle import small_rig_of, write_small_profile

from alpamayo_ros.bags import BagWriter, deserialize, message, read_bag
from alpamayo_ros.evaluation.public_way import decode_fully, expected_checksums, window_cpu_ms
from alpamayo_ros.evaluation.replay import NAVIGATION, Replay, ReplayResult, digest, replay_bag
from alpamayo_ros.evaluation.single import Asked, answer_once, instant, navigation_of, plan_at, plan_once
from alpamayo_ros.pipeline.decode import camera_frame, pixels_into
from alpamayo_ros.profile import InputProfile, Rig, read_profile
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import InvalidInput, StaleInput

SECONDS = 2.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    """The shipped rig with small cameras."""
    return small_rig_of(160, 96)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All seven cameras, a window of 200 ms."""
    return write_small_profile(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> Path:
    path = tmp_path_factory.mktemp("bags") / "bag"
    make_bag(path, rig, duration_s=SECONDS, seed=1)
    return path


@pytest.fixture(scope="module")
def replayed(bag: Path, rig: Rig, profile: Path) -> ReplayResult:
    return replay_bag(bag, rig, "kinematic", str(profile))


def test_every_anchor_frame_is_planned_for_once_the_window_is_full(replayed: ReplayResult) -> None:
    frames = round(SECONDS * 10)
    assert len(replayed.plans) + replayed.without_plan == frames
    filling = 3  # the history of 4 poses and the window of 3 frames need the first 0.3 s
    assert len(replayed.plans) == frames - filling
    steps = np.diff([plan.t0_ns for plan in replayed.plans])
    assert set(steps.tolist()) == {100_000_000}


def test_plans_that_the_checks_reject_are_kept_and_told_apart_from_cycles_without_one(
    replayed: ReplayResult, bag: Path, rig: Rig, profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    wild = replay_bag(bag, rig, "evaluation.openloop.contenders:Wild", str(profile))
    assert (len(wild.plans), wild.without_plan) == (len(replayed.plans), replayed.without_plan)
    assert wild.rejected_plans == len(wild.plans) == wild.rejected_by["V6 acceleration"]
    assert wild.rejected == wild.without_plan + len(wild.plans) == round(SECONDS * 10)


def test_the_same_bag_gives_the_same_hash(replayed: ReplayResult, bag: Path, rig: Rig, profile: Path) -> None:
    assert replay_bag(bag, rig, "kinematic", str(profile)).sha256 == replayed.sha256


def test_the_hash_sees_every_part_of_a_plan(replayed: ReplayResult) -> None:
    plan = replayed.plans[-1]
    moved = replace(plan.trajectory, xyz=np.nextafter(plan.trajectory.xyz, np.inf))
    changed = [
        replace(plan, t0_ns=plan.t0_ns + 1),
        replace(plan, candidates=(moved,)),
        replace(plan, reasoning=replace(plan.reasoning, text="else")),
        replace(plan, meta_actions=()),
    ]
    hashes = {digest([p]) for p in (plan, *changed)}
    assert len(hashes) == 1 + len(changed)
    assert digest([replace(plan, stage_ms={"infer": 9.0})]) == digest([plan]), "time is not part of what was decided"


def test_the_planner_sees_the_recorded_pixels(bag: Path, rig: Rig, profile: Path) -> None:
    """Against checksums made without the buffers: from the bag's frames and the window's offsets alone."""
    chosen: InputProfile = read_profile(str(profile))
    expected = expected_checksums(bag, rig, chosen)
    with closing(Replay(bag, rig, "kinematic", str(profile))) as replay:
        seen = {c.t0_ns: c.observation.pixels_crc32 for c in replay.cycles() if c.observation is not None}
    assert seen
    assert seen == {t0_ns: expected[t0_ns] for t0_ns in seen}
    assert len(set(seen.values())) == len(seen), "every window is another picture, or the comparison could not fail"


def asked(bag: Path, t0_ns: int, rig: Rig, profile: Path, **more: object) -> Asked:
    return Asked(bag, t0_ns, rig, "kinematic", str(profile))._replace(**more)


def test_one_plan_is_the_replays_plan(replayed: ReplayResult, bag: Path, rig: Rig, profile: Path) -> None:
    wanted = replayed.plans[7]
    cycle, weights = plan_at(asked(bag, wanted.t0_ns, rig, profile))
    assert cycle.plan is not None
    assert weights == "none"
    assert digest([cycle.plan]) == digest([wanted])


def test_one_plan_is_printed_drawn_and_held_against_what_was_driven(
    bag: Path, rig: Rig, profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = plan_once(asked(bag, instant(bag, rig, 1.0), rig, profile), tmp_path)
    assert (tmp_path / "plan.jpg").stat().st_size > 10_000
    assert figures["ade_m"] is None, "the bag ends before 6.4 s"
    printed = capsys.readouterr().out
    assert figures["trace"] in printed
    assert "│ 6.40 │" in printed, "the last point of the trajectory"
    with pytest.raises(StaleInput, match="no plan"):
        plan_once(asked(bag, instant(bag, rig, 0.0), rig, profile), tmp_path)
    with pytest.raises(InvalidInput, match=r"2\.\d s long, got 99"):
        instant(bag, rig, 99.0)


def test_seconds_into_a_bag_are_counted_by_stamps_whatever_clock_the_log_had(bag: Path, rig: Rig, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        for record in read_bag(bag):
            writer.write(record.topic, record.type_name, record.log_ns + 10**15, record.cdr)
    assert instant(tmp_path / "bag", rig, 1.0) == instant(bag, rig, 1.0)


def test_a_route_is_read_from_words_and_refused_where_nobody_takes_it(bag: Path, rig: Rig, profile: Path) -> None:
    route = navigation_of("turn_left 40 Main St", 5)
    assert (route.maneuver, route.distance_m, route.road_name) == ("turn_left", 40.0, "Main St")
    for words in ("left 40", "turn_left", "turn_left near", "turn_left -3"):
        with pytest.raises(InvalidInput, match=f"route '{words}': want MANEUVER METRES"):
            navigation_of(words, 5)
    with pytest.raises(InvalidInput, match="takes no navigation"):
        plan_at(asked(bag, instant(bag, rig, 1.0), rig, profile, navigation=route))


def test_recorded_commands_reach_the_planner_unless_another_one_is_given(
    bag: Path, rig: Rig, profile: Path, tmp_path: Path
) -> None:
    described = read_profile(str(profile)).model_dump(mode="json") | {"navigation": "text"}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(described))
    time, kind = message("builtin_interfaces/msg/Time"), "alpamayo_ros/msg/NavigationCommand"
    with BagWriter(tmp_path / "bag") as writer:
        for number, record in enumerate(read_bag(bag)):
            writer.write(record.topic, record.type_name, record.log_ns, record.cdr)
            if number == 200:
                made = message("std_msgs/msg/Header")(time(record.log_ns // 10**9, 0), "")
                command = message(kind)(made, 1, 30.0, "Main St", time(record.log_ns // 10**9 + 60, 0))
                writer.write(NAVIGATION, kind, record.log_ns, command)
    for given in (None, navigation_of("turn_right 5", 4 * 10**18)):
        with closing(Replay(tmp_path / "bag", rig, "kinematic", str(tmp_path / "profile.yaml"), navigation=given)) as replay:
            seen = [cycle.observation.navigation for cycle in replay.cycles() if cycle.observation is not None]
        if given is None:
            assert seen[0] is None
            assert seen[-1] is not None
            assert (seen[-1].maneuver, seen[-1].road_name) == ("turn_left", "Main St")
        else:
            assert set(seen) == {given}


def test_only_models_answer_questions(bag: Path, rig: Rig, profile: Path) -> None:
    with pytest.raises(InvalidInput, match="kinematic answers no questions"):
        answer_once(asked(bag, instant(bag, rig, 1.0), rig, profile), "Is the light red?")


def test_a_bag_without_a_required_camera_is_refused(bag: Path, rig: Rig, profile: Path, tmp_path: Path) -> None:
    gone = rig.cameras["rear_tele"].topic
    with BagWriter(tmp_path / "bag") as cut:
        for record in read_bag(bag):
            if record.topic != gone:
                cut.write(record.topic, record.type_name, record.log_ns, record.cdr)
    with pytest.raises(InvalidInput, match=gone):
        replay_bag(tmp_path / "bag", rig, "kinematic", str(profile))


def test_a_recording_whose_clock_jumps_back_starts_a_new_epoch(bag: Path, rig: Rig, profile: Path, tmp_path: Path) -> None:
    """The bag twice, one after the other: what `ros2 bag play --loop` does to a recorder."""
    length_ns = round((SECONDS + 1) * 1e9)
    with BagWriter(tmp_path / "bag") as twice:
        for again in (0, 1):
            for record in read_bag(bag):
                twice.write(record.topic, record.type_name, record.log_ns + again * length_ns, record.cdr)
    result = replay_bag(tmp_path / "bag", rig, "kinematic", str(profile))
    epochs = [plan.epoch for plan in result.plans]
    assert sorted(set(epochs)) == [0, 1]
    assert epochs == sorted(epochs), "nothing of the first epoch after the jump"


def test_refused_messages_are_counted_and_harm_nothing(bag: Path, rig: Rig, profile: Path, tmp_path: Path) -> None:
    spoiled = rig.cameras["front_wide"].topic
    with BagWriter(tmp_path / "bag") as writer:
        for index, record in enumerate(read_bag(bag)):
            message = deserialize(record.cdr, record.type_name)
            if record.topic == spoiled and index % 5 == 0:
                message = replace(message, data=message.data[:100])
            writer.write(record.topic, record.type_name, record.log_ns, message)
    result = replay_bag(tmp_path / "bag", rig, "kinematic", str(profile))
    assert any("front_wide" in reason for reason in result.reasons)
    assert len(result.plans) + result.without_plan <= round(SECONDS * 10)


def test_the_public_nodes_way_sees_nearly_the_same_picture(bag: Path, rig: Rig, profile: Path) -> None:
    """It is a fair baseline: the same frames at the same size, apart from the resampling."""
    record = next(iter(read_bag(bag, [rig.cameras["front_wide"].topic])))
    frame = camera_frame(deserialize(record.cdr, record.type_name), "front_wide", rig.cameras["front_wide"], 0)
    theirs, ours = np.empty((48, 80, 3), np.uint8), np.empty((48, 80, 3), np.uint8)
    decode_fully(frame.data, theirs)
    pixels_into(frame, ours)
    assert np.abs(theirs.astype(int) - ours).mean() < 2.0, "grey levels"
    assert np.abs(theirs.astype(int) - ours[..., ::-1]).mean() > 4.0, "the comparison sees swapped colours"
    figures = window_cpu_ms(bag, rig, read_profile(str(profile)))
    assert set(figures) == {"full_decode", "same_decoder"}
    assert all(ms > 0 for ms in figures.values())
