"""A bag that cannot be evaluated says what is in it and what was expected; one that can in part says which part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from alpamayo_ros.bags import BagWriter, Record, deserialize, message, read_bag, serialize
from alpamayo_ros.bags.messages import typestore
from alpamayo_ros.evaluation.openloop.results import KINEMATIC, BagEvaluation, Setup
from alpamayo_ros.evaluation.openloop.windows import evaluate_bag
from alpamayo_ros.evaluation.replay import EGO_SIGNALS, NAVIGATION
from alpamayo_ros.profile import Rig, read_profile
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.types import InvalidInput, Request

SECONDS = 3.0
ODOMETRY = "/localization/kinematic_state"
FRONT_TELE = "/sensing/camera/front_tele/image/compressed"
Records = Iterator[Record]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory, small_rig: tuple[Rig, Path]) -> Path:
    path = tmp_path_factory.mktemp("bags") / "drive"
    make_bag(path, small_rig[0], duration_s=SECONDS, seed=3)
    return path


@pytest.fixture(scope="module")
def setup(small_rig: tuple[Rig, Path], small_profile: Path) -> Setup:
    return Setup(str(small_rig[1]), (KINEMATIC,), str(small_profile), Request(), 2.0)


@pytest.fixture(scope="module")
def whole(bag: Path, setup: Setup) -> BagEvaluation:
    return evaluate_bag(bag, setup)


@pytest.fixture
def optional_tele(setup: Setup, tmp_path: Path) -> Setup:
    """The setup with a front_tele that it can do without."""
    described = read_profile(setup.profile).model_dump(mode="json")
    described["cameras"]["front_tele"] = "optional"
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(described))
    return replace(setup, profile=str(tmp_path / "profile.yaml"))


def changed(bag: Path, out: Path, change: Callable[[Records], Records]) -> Path:
    with BagWriter(out) as writer:
        for record in change(read_bag(bag)):
            writer.write(record.topic, record.type_name, record.log_ns, record.cdr)
    return out


def without(*topics: str) -> Callable[[Records], Records]:
    return lambda records: (record for record in records if record.topic not in topics)


def refusal(bag: Path, setup: Setup) -> str:
    with pytest.raises(InvalidInput) as refused:
        evaluate_bag(bag, setup)
    return str(refused.value)


# ------------------------------------------------------------------------------------------------------------------- nothing


def test_an_empty_bag(setup: Setup, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag"):
        pass
    assert "the bag holds no message" in refusal(tmp_path / "bag", setup)
    assert "no such bag" in refusal(tmp_path / "nowhere", setup)


def test_a_truncated_bag(bag: Path, setup: Setup, tmp_path: Path) -> None:
    stored = (bag / "drive.mcap").read_bytes()
    (tmp_path / "cut.mcap").write_bytes(stored[: len(stored) // 2])
    assert "damaged or cut short" in refusal(tmp_path / "cut.mcap", setup)


@pytest.mark.parametrize("topic", [ODOMETRY, FRONT_TELE])
def test_a_topic_that_is_required_and_not_there(topic: str, bag: Path, setup: Setup, tmp_path: Path) -> None:
    text = refusal(changed(bag, tmp_path / "bag", without(topic)), setup)
    wanted = {ODOMETRY: "nav_msgs/msg/Odometry", FRONT_TELE: "sensor_msgs/msg/CompressedImage"}[topic]
    assert f"has no {topic} ({wanted}), which rig seven_camera declares" in text
    assert "it holds " in text
    assert "/sensing/camera/front_left/image/compressed (30 sensor_msgs/msg/CompressedImage)" in text
    assert text.endswith(f"; see alpamayo doctor {tmp_path / 'bag'}")
    assert len(text) < 1000


def test_a_topic_that_is_there_and_empty_is_not_there(bag: Path, setup: Setup, tmp_path: Path) -> None:
    store = typestore()
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {r.topic: r.type_name for r in read_bag(bag)}
        by_topic = {topic: writer.add_connection(topic, kind, typestore=store) for topic, kind in connections.items()}
        for record in read_bag(bag):
            if record.topic != ODOMETRY:
                writer.write(by_topic[record.topic], record.log_ns, record.cdr)
    assert f"has no {ODOMETRY} (nav_msgs/msg/Odometry)" in refusal(tmp_path / "bag", setup)


def test_a_camera_that_is_optional_and_not_there(bag: Path, optional_tele: Setup, tmp_path: Path, whole: BagEvaluation) -> None:
    found = evaluate_bag(changed(bag, tmp_path / "bag", without(FRONT_TELE)), optional_tele)
    assert len(found.windows) == len(whole.windows)
    assert found.coverage.messages[FRONT_TELE] == 0
    assert found.coverage.cameras == {role: len(whole.windows) * (role != "front_tele") for role in whole.coverage.cameras}


def test_a_topic_of_another_type(bag: Path, setup: Setup, small_rig: tuple[Rig, Path], tmp_path: Path) -> None:
    cameras = {
        role: camera.model_copy(update={"transport": "raw"} if role == "front_tele" else {})
        for role, camera in small_rig[0].cameras.items()
    }
    other = small_rig[0].model_copy(update={"cameras": cameras})
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(other.model_dump(mode="json")))
    text = refusal(bag, replace(setup, rig=str(tmp_path / "rig.yaml")))
    assert f"{FRONT_TELE} holds sensor_msgs/msg/CompressedImage, want sensor_msgs/msg/Image" in text


def test_a_type_that_was_recorded_with_another_definition(bag: Path, setup: Setup, tmp_path: Path) -> None:
    foreign = get_typestore(Stores.ROS2_KILTED)
    foreign.fielddefs.pop("nav_msgs/msg/Odometry")
    foreign.register(get_types_from_msg("std_msgs/Header header\nfloat64 x", "nav_msgs/msg/Odometry"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for record in without(EGO_SIGNALS)(read_bag(bag)):
            if record.topic not in connections:
                connections[record.topic] = writer.add_connection(record.topic, record.type_name, typestore=foreign)
            writer.write(connections[record.topic], record.log_ns, record.cdr)
    text = refusal(tmp_path / "bag", setup)
    assert f"{ODOMETRY} was recorded with another definition of nav_msgs/msg/Odometry: want RIHS01_" in text


# ---------------------------------------------------------------------------------------------------------------- not a window


def test_a_bag_without_a_window_says_every_reason(bag: Path, setup: Setup, tmp_path: Path) -> None:
    def late_odometry(records: Records) -> Records:
        for record in records:
            yield record._replace(log_ns=record.log_ns + 1_000_000_000 * (record.topic == ODOMETRY))

    text = refusal(changed(bag, tmp_path / "bag", late_odometry), setup)
    assert "not one window; " in text
    assert "instants were asked for" in text
    assert "odometry: newest pose" in text
    assert f"300 on {ODOMETRY}" in text


def test_pixels_that_are_refused_are_told_with_their_camera(bag: Path, setup: Setup, tmp_path: Path) -> None:
    def cut(records: Records) -> Records:
        for record in records:
            if record.topic == FRONT_TELE:
                image = deserialize(record.cdr, record.type_name)
                cdr = serialize(replace(image, data=image.data[:-200]), record.type_name)
                record = record._replace(cdr=cdr)
            yield record

    text = refusal(changed(bag, tmp_path / "bag", cut), setup)
    assert "not one window" in text
    assert "x front_tele: no frames" in text
    assert "x front_tele: jpeg of" in text


def test_the_future_that_a_short_bag_lacks(whole: BagEvaluation) -> None:
    assert len(whole.windows) == 5
    assert whole.coverage.future_to_s == {"0.5": 4, "1": 3, "2.5": 0, "3": 0, "5": 0, "6.4": 0}
    assert {window.metrics[KINEMATIC].ade_m[-1] for window in whole.windows} == {None}


# --------------------------------------------------------------------------------------------------------------------- in part


def test_a_gap_in_odometry_costs_the_windows_in_it_and_ends_the_future_before_it(
    bag: Path, setup: Setup, tmp_path: Path
) -> None:
    first_ns = next(iter(read_bag(bag))).log_ns

    def gap(records: Records) -> Records:
        for record in records:
            seconds = (record.log_ns - first_ns) / 1e9
            if record.topic != ODOMETRY or not 1.2 < seconds < 1.65:
                yield record

    found = evaluate_bag(changed(bag, tmp_path / "bag", gap), setup)
    t0s = [round((window.t0_ns - first_ns) / 1e9, 1) for window in found.windows]
    assert t0s == [0.5, 1.0, 2.0, 2.5], "at 1.5 there is none"
    assert len(found.windows[0].driven.xyz) == 6
    assert any("odometry" in reason for reason in found.coverage.not_observed)
    assert len(found.windows[2].driven.xyz) == 9


def test_a_message_that_is_none_is_counted_and_harms_nothing(
    bag: Path, setup: Setup, tmp_path: Path, whole: BagEvaluation
) -> None:
    def with_noise(records: Records) -> Records:
        for number, record in enumerate(records):
            if number in (40, 60):
                yield Record(ODOMETRY, "nav_msgs/msg/Odometry", record.log_ns, record.cdr[:20])
            yield record

    found = evaluate_bag(changed(bag, tmp_path / "bag", with_noise), setup)
    assert [window.t0_ns for window in found.windows] == [window.t0_ns for window in whole.windows]
    ((reason, count),) = found.coverage.messages_refused.items()
    assert reason.startswith(f"{ODOMETRY}: # bytes are not a nav_msgs/msg/Odometry")
    assert count == 2
    assert found.coverage.examples[reason].startswith(f"{ODOMETRY}: 20 bytes")


def test_frames_that_come_twice_are_counted(bag: Path, setup: Setup, tmp_path: Path) -> None:
    def twice(records: Records) -> Records:
        for record in records:
            yield record
            if record.topic == FRONT_TELE:
                yield record

    found = evaluate_bag(changed(bag, tmp_path / "bag", twice), setup)
    assert found.coverage.frames_refused == {"front_tele: a frame that is there, once more": 30}


# ---------------------------------------------------------------------------------------------------------------- not in order


def test_records_that_are_logged_out_of_order_are_refused(bag: Path, setup: Setup, tmp_path: Path) -> None:
    """Whatever the log times say: in the order of their stamps, or not at all."""

    def mixed(records: Records) -> Records:
        known = [*records]
        order = np.random.default_rng(0).permutation(len(known))
        for record, k in zip(known, order.tolist(), strict=True):
            yield record._replace(log_ns=known[k].log_ns + 10_000_000_000)

    text = refusal(changed(bag, tmp_path / "bag", mixed), setup)
    assert "not in order: " in text
    assert "want records in the order of their stamps" in text


def test_a_topic_after_the_other_is_refused(bag: Path, setup: Setup, tmp_path: Path) -> None:
    def by_topic(records: Records) -> Records:
        known = sorted(records, key=lambda record: record.topic)
        start_ns = min(record.log_ns for record in known) + 10_000_000_000
        for k, record in enumerate(known):
            yield record._replace(log_ns=start_ns + k * 10_000_000)

    assert "not one window" in refusal(changed(bag, tmp_path / "bag", by_topic), setup)


def test_jitter_of_the_recorder_changes_nothing(bag: Path, setup: Setup, tmp_path: Path, whole: BagEvaluation) -> None:
    rng = np.random.default_rng(0)

    def jitter(records: Records) -> Records:
        for record in records:
            yield record._replace(log_ns=record.log_ns + int(rng.integers(0, 60_000_000)) * (record.topic != "/tf_static"))

    found = evaluate_bag(changed(bag, tmp_path / "bag", jitter), setup)
    assert [window.t0_ns for window in found.windows] == [window.t0_ns for window in whole.windows]
    for one, other in zip(found.windows, whole.windows, strict=True):
        np.testing.assert_array_equal(one.driven.xyz, other.driven.xyz)
        np.testing.assert_array_equal(one.history.xyz, other.history.xyz)


def test_a_recording_of_a_loop_counts_a_window_once(bag: Path, setup: Setup, tmp_path: Path, whole: BagEvaluation) -> None:
    def looped(records: Records) -> Records:
        known = [*records]
        yield from known
        for record in known:
            yield record._replace(log_ns=record.log_ns + 5_000_000_000)

    found = evaluate_bag(changed(bag, tmp_path / "bag", looped), setup)
    assert [window.t0_ns for window in found.windows] == [window.t0_ns for window in whole.windows]
    assert found.coverage.not_observed["the recording repeats itself: this t0 has a window"] == len(whole.windows)


# -------------------------------------------------------------------------------------------------------- commands and signals


def commands(records: Records) -> Records:
    """A turn is asked for at 1 s."""
    time, header = message("builtin_interfaces/msg/Time"), message("std_msgs/msg/Header")
    for number, record in enumerate(records):
        stamp = time(record.log_ns // 10**9, record.log_ns % 10**9)
        if number == 150:
            expires = time(record.log_ns // 10**9 + 60, 0)
            kind = "alpamayo_ros/msg/NavigationCommand"
            command = message(kind)(header(stamp, ""), 1, 30.0, "Main St", expires)
            yield Record(NAVIGATION, kind, record.log_ns, serialize(command, kind))
        yield record


def test_signals_that_the_profile_wants_are_read_and_required(bag: Path, setup: Setup, tmp_path: Path) -> None:
    described = read_profile(setup.profile).model_dump(mode="json")
    described |= {"ego_signals": ["speed", "steering_angle"], "navigation": "text"}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(described))
    wanting = replace(setup, profile=str(tmp_path / "profile.yaml"))
    found = evaluate_bag(changed(bag, tmp_path / "bag", commands), wanting)
    assert len(found.windows) == 5
    assert found.coverage.messages[EGO_SIGNALS] == 50 * SECONDS
    assert found.coverage.messages[NAVIGATION] == 1
    assert found.coverage.messages_refused == {}
    text = refusal(changed(bag, tmp_path / "less", without(EGO_SIGNALS)), wanting)
    assert f"has no {EGO_SIGNALS} (alpamayo_ros/msg/EgoSignals)" in text
