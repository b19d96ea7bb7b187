"""What a recorded drive teaches is what the planner node would have seen, and what `alpamayo evaluate` would have judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from alpamayo_ros.bags import BagWriter, Record, deserialize, read_bag, serialize
from alpamayo_ros.evaluation.openloop.results import KINEMATIC, BagEvaluation, Setup
from alpamayo_ros.evaluation.openloop.windows import evaluate_bag
from alpamayo_ros.evaluation.replay import BagPass
from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.training.dataset.recordings import bag_examples
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import HORIZON, InvalidInput, Observation, Request, StaleInput

RATE_HZ = 4.0
ODOMETRY = "/localization/kinematic_state"
FRONT_TELE = "/sensing/camera/front_tele/image/compressed"
Records = Iterator[Record]


@pytest.fixture(scope="module")
def found(bag: Path, rig: Rig, profile: InputProfile) -> tuple[list[Example], Skipped]:
    skipped = Skipped()
    return list(bag_examples("drive", bag, rig, profile, RATE_HZ, skipped)), skipped


@pytest.fixture(scope="module")
def evaluated(bag: Path, rig: Rig, profile: InputProfile, tmp_path_factory: pytest.TempPathFactory) -> BagEvaluation:
    folder = tmp_path_factory.mktemp("setup")
    for name, described in (("rig", rig), ("profile", profile)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(described.model_dump(mode="json")))
    setup = Setup(str(folder / "rig.yaml"), (KINEMATIC,), str(folder / "profile.yaml"), Request(), RATE_HZ)
    return evaluate_bag(bag, setup)


def test_the_future_is_the_truth_of_an_evaluation(found: tuple[list[Example], Skipped], evaluated: BagEvaluation) -> None:
    whole = [window for window in evaluated.windows if len(window.driven.xyz) == HORIZON]
    assert [example.observation.stamp_ns for example in found[0]] == [window.t0_ns for window in whole]
    assert len(whole) >= 3
    for example, window in zip(found[0], whole, strict=True):
        np.testing.assert_array_equal(example.future.xyz, window.driven.xyz)
        np.testing.assert_array_equal(example.future.yaw_rad, window.driven.yaw_rad)
        np.testing.assert_array_equal(example.future.speed_mps, window.driven.speed_mps)
        assert example.meta_actions == meta_actions(example.future, example.observation.speed_mps)
        assert (example.clip, example.reasoning) == ("drive", None)


def test_windows_without_a_whole_future_are_counted(found: tuple[list[Example], Skipped], evaluated: BagEvaluation) -> None:
    short = [len(window.driven.xyz) for window in evaluated.windows if len(window.driven.xyz) < HORIZON]
    assert found[1].counts["future: known for # of # points"] == len(short) > 0
    assert found[1].first["future: known for # of # points"] == f"future: known for {short[0]} of 64 points"


def test_the_observation_is_the_planners_own(
    found: tuple[list[Example], Skipped], bag: Path, rig: Rig, profile: InputProfile
) -> None:
    observed: dict[int, tuple[Observation, int]] = {}
    with closing(BagPass(bag, rig, profile, (), lambda topic, reason: None)) as one_pass:
        for t0_ns in one_pass.instants(one_pass.records(), RATE_HZ):
            try:
                observation = observe(one_pass.buffers, t0_ns)
            except StaleInput:
                continue
            observed[t0_ns] = replace(observation, frames={}), observation.pixels_crc32
            del observation  # whoever holds its frames takes slots from the ring
    for example in found[0]:
        mine = example.observation
        other, pixels_crc32 = observed[mine.stamp_ns]
        assert mine.pixels_crc32 == pixels_crc32
        np.testing.assert_array_equal(mine.history.xyz, other.history.xyz)
        np.testing.assert_array_equal(mine.history.rot, other.history.rot)
        assert str(mine.ego_t0) == str(other.ego_t0)
        assert (mine.navigation, mine.sync_error_ms) == (other.navigation, other.sync_error_ms)
        assert {frame.slot for frames in mine.frames.values() for frame in frames} == {None}


def test_the_actions_explain_the_way(found: tuple[list[Example], Skipped]) -> None:
    """Speeds follow from the accelerations within what smoothing takes away."""
    for example in found[0]:
        speeds = example.observation.speed_mps + 0.1 * np.cumsum(example.future.accel_mps2)
        np.testing.assert_allclose(speeds, example.future.speed_mps, atol=0.1)


# ---------------------------------------------------------------------------------------------------------------- broken ones


def changed(bag: Path, out: Path, change: Callable[[Record], Record | None]) -> Path:
    with BagWriter(out) as writer:
        for record in read_bag(bag):
            if (kept := change(record)) is not None:
                writer.write(kept.topic, kept.type_name, kept.log_ns, kept.cdr)
    return out


def read(bag: Path, rig: Rig, profile: InputProfile) -> tuple[int, dict[str, int]]:
    skipped = Skipped()
    examples = list(bag_examples("drive", bag, rig, profile, RATE_HZ, skipped))
    return len(examples), dict(skipped.counts)


def test_poses_that_are_no_numbers_are_counted_and_are_in_no_example(
    bag: Path, rig: Rig, profile: InputProfile, found: tuple[list[Example], Skipped], tmp_path: Path
) -> None:
    begin_ns = next(iter(read_bag(bag))).log_ns

    def spoil(record: Record) -> Record:
        if record.topic != ODOMETRY or not 6.0 < (record.log_ns - begin_ns) / 1e9 < 7.0:
            return record
        odometry = deserialize(record.cdr, record.type_name)
        odometry.pose.pose.position.x = float("nan")
        return record._replace(cdr=serialize(odometry, record.type_name))

    count, reasons = read(changed(bag, tmp_path / "bag", spoil), rig, profile)
    assert count == 0 < len(found[0])
    refused = {reason: number for reason, number in reasons.items() if reason.startswith(ODOMETRY)}
    assert sum(refused.values()) == 100, "a second of poses"
    assert reasons["future: known for # of # points"] > len(found[0])


def test_pictures_that_cannot_be_decoded_cost_the_windows_that_need_them(
    bag: Path, rig: Rig, profile: InputProfile, found: tuple[list[Example], Skipped], tmp_path: Path
) -> None:
    begin_ns = next(iter(read_bag(bag))).log_ns

    def spoil(record: Record) -> Record:
        if record.topic != FRONT_TELE or (record.log_ns - begin_ns) / 1e9 > 0.7:
            return record
        image = deserialize(record.cdr, record.type_name)
        return record._replace(cdr=serialize(replace(image, data=image.data[:-200]), record.type_name))

    count, reasons = read(changed(bag, tmp_path / "bag", spoil), rig, profile)
    assert 0 < count < len(found[0])
    assert any(reason.startswith(f"{FRONT_TELE}: front_tele: jpeg of #") for reason in reasons), reasons
    assert any(reason.startswith("t0: front_tele: ") for reason in reasons), reasons


def test_a_bag_that_lacks_a_camera_is_refused(bag: Path, rig: Rig, profile: InputProfile, tmp_path: Path) -> None:
    without = changed(bag, tmp_path / "bag", lambda record: record if record.topic != FRONT_TELE else None)
    with pytest.raises(InvalidInput, match=f"has no {FRONT_TELE}"):
        read(without, rig, profile)
    cameras = {role: camera for role, camera in rig.cameras.items() if role != "front_tele"}
    with pytest.raises(InvalidInput, match="rig seven_camera has no front_tele"):
        read(bag, rig.model_copy(update={"cameras": cameras}), profile)
