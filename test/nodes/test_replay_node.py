"""The replay node over real DDS: what was recorded comes out again, undecoded, in time, with a clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nodes.ros_harness import listen, refused, started
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from alpamayo_ros.bags import BagWriter, TopicInfo, message, read_bag, serialize
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.messages import stamp_ns
from alpamayo_ros.nodes.topics import message_class, recorded_qos
from alpamayo_ros.types import InvalidInput

OURS = ("planner", "planner/shadow", "visualizer", "monitor")
START = 1_700_000_000_000_000_000
STEP = 100_000_000
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WORDS = ("-p", "topics:=[/word]", "-p", "wait_for_subscribers_s:=5.0")


def write_bag(path: Path, steps: int = 6) -> Path:
    """One camera and one word every 100 ms, a latched transform at the start, and a plan of an earlier run."""
    image, text, transforms = (
        message(name) for name in ("sensor_msgs/msg/CompressedImage", "std_msgs/msg/String", "tf2_msgs/msg/TFMessage")
    )
    header, stamp = message("std_msgs/msg/Header"), message("builtin_interfaces/msg/Time")
    with BagWriter(path) as bag:
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START, transforms(transforms=[]))
        for i in range(steps):
            now = START + i * STEP
            pixels = np.full(3000, i, np.uint8)
            frame = image(header(stamp(now // 10**9, now % 10**9), "camera"), "jpeg", pixels)
            bag.write("/camera/image/compressed", "sensor_msgs/msg/CompressedImage", now, frame)
            bag.write("/word", "std_msgs/msg/String", now + 1, text(f"word {i}"))
            for ours in OURS:
                bag.write(f"/alpamayo_{ours}/word", "std_msgs/msg/String", now + 2, text("of an earlier run"))
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bag(tmp_path_factory.mktemp("bags") / "bag")


def played(node: Node, process: Any) -> int:
    """Exit status of a replay after all its messages were received."""
    assert spin_until(node, lambda: process.poll() is not None, 15), "the replay did not end"
    spin_until(node, lambda: False, 0.1)
    return int(process.returncode)


@dataclass
class Playback:
    """What arrived while the bag was played once, at twice its speed."""

    status: int
    images: list[bytes]
    words: list[str]
    word_receipts_s: list[float]
    plans: list[String]
    clock_ns: list[int]
    transforms: list[TFMessage]


@pytest.fixture(scope="module")
def playback(bag: Path) -> Playback:
    arguments = ("-p", f"bag:={bag}", "-p", "clock_hz:=50.0", "-p", "rate:=2.0", "-p", "wait_for_subscribers_s:=5.0")
    images: list[bytes] = []
    receipts: list[tuple[float, str]] = []
    with client_node("tester") as node:
        node.create_subscription(CompressedImage, "/camera/image/compressed", images.append, qos_profile_sensor_data, raw=True)
        node.create_subscription(String, "/word", lambda word: receipts.append((time.monotonic(), word.data)), 100)
        plans: list[String] = []
        for ours in OURS:
            node.create_subscription(String, f"/alpamayo_{ours}/word", plans.append, 10)
        clocks = listen(node, Clock, "/clock")
        transforms = listen(node, TFMessage, "/tf_static", LATCHED)
        with started("replay_node", bag.with_name("log"), *arguments) as process:
            status = played(node, process)
    clock_ns = [stamp_ns(clock.clock) for clock in clocks]
    return Playback(status, images, [w for _, w in receipts], [s for s, _ in receipts], plans, clock_ns, transforms)


@pytest.mark.ros
@pytest.mark.patient
def test_every_message_comes_out_as_it_was_recorded_and_the_exit_status_is_0(bag: Path, playback: Playback) -> None:
    assert playback.images == [record.cdr for record in read_bag(bag, ["/camera/image/compressed"])]
    assert playback.words == [f"word {i}" for i in range(6)]
    assert len(playback.transforms) == 1
    assert playback.status == 0


@pytest.mark.ros
@pytest.mark.patient
def test_the_clock_ticks_evenly_in_bag_time(playback: Playback) -> None:
    assert playback.clock_ns == [START + i * 20_000_000 for i in range(26)]


@pytest.mark.ros
@pytest.mark.patient
def test_the_bag_is_not_played_faster_than_asked_for(playback: Playback) -> None:
    # 0.5 s of bag at twice the speed; a slow machine may take longer, and the first receipt may be late by its wakeup.
    assert playback.word_receipts_s[-1] - playback.word_receipts_s[0] > 0.25 - 0.02


@pytest.mark.ros
@pytest.mark.patient
def test_plans_of_an_earlier_run_do_not_mix_with_those_of_a_planner_that_is_being_tested(playback: Playback) -> None:
    assert playback.plans == []


@pytest.mark.ros
@pytest.mark.patient
def test_a_late_subscriber_gets_the_latched_transform_also_when_the_start_was_skipped(bag: Path, tmp_path: Path) -> None:
    arguments = ("-p", f"bag:={bag}", "-p", "start_offset_s:=0.25", "-p", "rate:=0.15", "-p", "wait_for_subscribers_s:=0.0")
    with client_node("tester") as node, started("replay_node", tmp_path / "log", *arguments) as process:
        words = listen(node, String, "/word")
        assert spin_until(node, lambda: bool(words), 10)
        transforms = listen(node, TFMessage, "/tf_static", LATCHED)
        assert spin_until(node, lambda: bool(transforms), 5)
        assert played(node, process) == 0
    assert words[-1].data == "word 5"
    assert "word 2" not in [word.data for word in words], "recorded 0.2 s after the start, 0.25 s were to be skipped"


@pytest.mark.ros
@pytest.mark.patient
def test_on_a_loop_the_clock_jumps_back_and_everything_comes_again_until_interrupted(bag: Path, tmp_path: Path) -> None:
    with client_node("tester") as node:
        words, clocks = listen(node, String, "/word"), listen(node, Clock, "/clock")

        def jumps_back() -> int:
            return int((np.diff([stamp_ns(clock.clock) for clock in clocks]) < 0).sum())

        with started(
            "replay_node", tmp_path / "log", "-p", f"bag:={bag}", "-p", "loop:=true", "-p", "rate:=5.0", *WORDS
        ) as process:
            # The replay waits for a listener of /word only: the first clocks may have gone unheard.
            assert spin_until(node, lambda: len(words) >= 13 and jumps_back() >= 2, 15)
            assert process.poll() is None
        assert process.returncode == 0
    assert [word.data for word in words[:13]] == [f"word {i % 6}" for i in range(13)]
    times = np.array([stamp_ns(clock.clock) for clock in clocks])
    back = np.flatnonzero(np.diff(times) < 0)
    assert (times[back + 1] == START).all()


@pytest.mark.ros
@pytest.mark.patient
def test_a_type_that_is_not_installed_is_skipped_with_one_warning(tmp_path: Path) -> None:
    store = get_typestore(Stores.ROS2_KILTED)
    store.register(get_types_from_msg("uint8 x", "nowhere_msgs/msg/Thing"))
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        thing = writer.add_connection("/thing", "nowhere_msgs/msg/Thing", typestore=store)
        word = writer.add_connection("/word", "std_msgs/msg/String", typestore=store)
        for i in range(3):
            writer.write(thing, START + i, b"\x00\x01\x00\x00\x05")
            writer.write(word, START + i, serialize(message("std_msgs/msg/String")(str(i)), "std_msgs/msg/String"))
    with client_node("tester") as node:
        words = listen(node, String, "/word")
        with started(
            "replay_node", tmp_path / "log", "-p", f"bag:={tmp_path / 'bag'}", "-p", "wait_for_subscribers_s:=5.0"
        ) as process:
            assert played(node, process) == 0
    assert [word.data for word in words] == ["0", "1", "2"]
    log = (tmp_path / "log").read_text()
    assert log.count("/thing is not played: message type nowhere_msgs/msg/Thing is not installed") == 1


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("start_offset_s:=3.5",), "0.500 s long, got 3.5"),
        (("topics:=[/nothing]",), "topics: /nothing not in"),
        (("exclude:=.*",), "no topic is left to play"),
        (("bag:=/no/such/bag",), "/no/such/bag: no such bag"),
    ],
)
def test_what_cannot_be_played_is_refused(bag: Path, arguments: tuple[str, ...], line: str) -> None:
    status, last_line = refused("replay_node", "-p", f"bag:={bag}", *(text for a in arguments for text in ("-p", a)))
    assert status == 1
    assert line in last_line


def test_a_recorded_qos_is_offered_again_and_what_several_publishers_offered_is_all_offered() -> None:
    def qos(recorded: str, name: str = "/x", kind: str = "std_msgs/msg/String") -> tuple[bool, bool, int]:
        made = recorded_qos(TopicInfo(name, kind, 1, "", recorded))
        return made.reliability == ReliabilityPolicy.RELIABLE, made.durability == DurabilityPolicy.TRANSIENT_LOCAL, made.depth

    assert qos("best_effort volatile keep_last(5)") == (False, False, 10)
    assert qos("reliable volatile keep_last(40)") == (True, False, 40)
    assert qos("reliable transient_local keep_last(1)") == (True, True, 100)
    assert qos("best_effort volatile keep_last(5); reliable transient_local keep_last(1)") == (True, True, 100)
    assert qos("reliable volatile keep_all") == (True, False, 10)


def test_without_a_recorded_qos_images_are_sensors_transforms_latched_and_the_rest_reliable() -> None:
    assert recorded_qos(TopicInfo("/c", "sensor_msgs/msg/CompressedImage", 1, "", "")) == qos_profile_sensor_data
    static = recorded_qos(TopicInfo("/tf_static", "tf2_msgs/msg/TFMessage", 1, "", ""))
    assert static.durability == DurabilityPolicy.TRANSIENT_LOCAL
    rest = recorded_qos(TopicInfo("/o", "nav_msgs/msg/Odometry", 1, "", ""))
    assert (rest.reliability, rest.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)


@pytest.mark.parametrize("name", ["nowhere_msgs/msg/Thing", "std_msgs/msg/Nothing", "os/path/join", "std_msgs.msg.String", ""])
def test_a_type_name_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="message type"):
        message_class(name)


def test_a_type_name_leads_to_the_generated_class() -> None:
    assert message_class("std_msgs/msg/String") is String
