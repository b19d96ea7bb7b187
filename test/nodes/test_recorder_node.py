"""The recorder node over real DDS: what was published is in the bag, and the bag can be read however the node ends."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from subprocess import Popen

import pytest
from alpamayo_ros.msg import PlanStatus
from builtin_interfaces.msg import Time
from nodes.ros_harness import refused, started
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from alpamayo_ros.bags import bag_topics, deserialize, read_bag, recover
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.topics import matching_qos, recorded_qos
from alpamayo_ros.types import InvalidInput

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def recorded(node: Node, publisher: Publisher) -> None:
    """Wait for the recorder to subscribe; the other half of the matching is its own."""
    assert spin_until(node, lambda: publisher.get_subscription_count() > 0, 10)
    time.sleep(0.3)


def interrupt(process: Popen[bytes], number: signal.Signals) -> int:
    time.sleep(0.3)  # what was published is on its way
    process.send_signal(number)
    return process.wait(10)


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bag_is_complete_after_a_signal_and_the_exit_status_is_0(tmp_path: Path, number: signal.Signals) -> None:
    with client_node("tester") as node, started("recorder_node", tmp_path / "log", "-p", f"out:={tmp_path / 'bag'}") as process:
        transforms = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        transforms.publish(TFMessage())
        status = node.create_publisher(PlanStatus, "/alpamayo_planner/status", 10)
        camera = node.create_publisher(CompressedImage, "/camera", qos_profile_sensor_data)
        recorded(node, status)
        for i in range(20):
            status.publish(PlanStatus(plan_id=i, reasons=["a reason"]))
            camera.publish(CompressedImage(format="jpeg", data=bytes([i]) * 1000))
            time.sleep(0.01)
        assert interrupt(process, number) == 0
    counts = {name: topic.count for name, topic in bag_topics(tmp_path / "bag").items()}
    assert (counts["/alpamayo_planner/status"], counts["/camera"], counts["/tf_static"]) == (20, 20, 1)
    records = list(read_bag(tmp_path / "bag", ["/alpamayo_planner/status"]))
    ids = [deserialize(record.cdr, record.type_name).plan_id for record in records]
    assert ids == list(range(20))
    assert [r.log_ns for r in records] == sorted(r.log_ns for r in records)


@pytest.mark.ros
def test_a_killed_recording_misses_the_last_second_at_most(tmp_path: Path) -> None:
    bag, sent_ns = tmp_path / "bag", dict[str, list[int]](small=[], large=[])
    with client_node("tester") as node, started("recorder_node", tmp_path / "log", "-p", f"out:={bag}") as process:
        small = node.create_publisher(PlanStatus, "/small", 100)
        large = node.create_publisher(CompressedImage, "/large", 100)
        recorded(node, small)
        recorded(node, large)
        for i in range(150):
            small.publish(PlanStatus(plan_id=i))
            large.publish(CompressedImage(format=str(i), data=bytes([i]) * 300_000))
            sent_ns["small"].append(time.time_ns())
            time.sleep(0.02)
        process.kill()
        killed_ns = time.time_ns()
        process.wait(10)
    with pytest.raises(InvalidInput, match=f"`alpamayo recover {bag} OUT`"):
        bag_topics(bag)
    recovered = recover(bag, tmp_path / "whole")
    assert any("cut off" in problem for problem in recovered.problems)
    for topic, number in (("/small", lambda m: m.plan_id), ("/large", lambda m: int(m.format))):
        records = list(read_bag(tmp_path / "whole", [topic]))
        numbers = [number(deserialize(record.cdr, record.type_name)) for record in records]
        assert numbers == list(range(len(numbers)))
        assert all(ns > killed_ns - 10**9 for ns in sent_ns["small"][len(numbers) :])
        assert abs(records[-1].log_ns - sent_ns["small"][len(numbers) - 1]) < 5 * 10**8


@pytest.mark.ros
def test_a_recording_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    arguments = (tmp_path / "log", "-p", f"out:={tmp_path / 'bag'}", "-p", "parent:=2147483647")
    with started("recorder_node", *arguments) as process:
        assert process.wait(10) == 0
    assert "which started this recording, is gone" in (tmp_path / "log").read_text()
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


@pytest.mark.ros
def test_a_topic_keeps_the_qos_that_its_publishers_offer(tmp_path: Path) -> None:
    with client_node("tester") as node, started("recorder_node", tmp_path / "log", "-p", f"out:={tmp_path / 'bag'}") as process:
        latched = node.create_publisher(String, "/latched", LATCHED)
        latched.publish(String(data="before the recorder"))
        sensor = node.create_publisher(CompressedImage, "/camera", qos_profile_sensor_data)
        recorded(node, sensor)
        sensor.publish(CompressedImage())
        assert interrupt(process, signal.SIGINT) == 0
    topics = bag_topics(tmp_path / "bag")
    assert topics["/latched"].qos.startswith("reliable transient_local")
    assert topics["/camera"].qos.startswith("best_effort volatile")
    assert recorded_qos(topics["/latched"]).durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert recorded_qos(topics["/camera"]).reliability == ReliabilityPolicy.BEST_EFFORT


@pytest.mark.ros
def test_a_topic_that_appears_late_is_recorded_and_one_that_was_not_named_is_not(tmp_path: Path) -> None:
    arguments = ("-p", f"out:={tmp_path / 'bag'}", "-p", "topics:=[/early, late, /never]")
    with client_node("tester") as node, started("recorder_node", tmp_path / "log", *arguments) as process:
        early, other = (node.create_publisher(String, name, 10) for name in ("/early", "/other"))
        recorded(node, early)
        late = node.create_publisher(String, "/late", 10)
        recorded(node, late)
        for publisher in (early, late, other):
            publisher.publish(String(data="x"))
        assert interrupt(process, signal.SIGINT) == 0
    assert {name: topic.count for name, topic in bag_topics(tmp_path / "bag").items()} == {"/early": 1, "/late": 1}
    assert "recorded 2 messages" in (tmp_path / "log").read_text()
    assert "never seen: /never" in (tmp_path / "log").read_text()


@pytest.mark.ros
def test_a_replay_is_recorded_from_its_first_clock_on_with_what_is_latched(tmp_path: Path) -> None:
    arguments = ("-p", f"out:={tmp_path / 'bag'}", "-p", "use_sim_time:=true")
    with client_node("tester") as node, started("recorder_node", tmp_path / "log", *arguments) as process:
        node.create_publisher(String, "/latched", LATCHED).publish(String(data="before"))
        odometry, clock = node.create_publisher(String, "/odometry", 10), node.create_publisher(Clock, "/clock", 10)
        recorded(node, odometry)  # without a clock
        recorded(node, clock)
        odometry.publish(String(data="too early"))
        time.sleep(0.3)
        clock.publish(Clock(clock=Time(sec=5)))
        time.sleep(0.05)  # less than until the recorder next looks for topics
        odometry.publish(String(data="first"))
        time.sleep(0.8)
        assert interrupt(process, signal.SIGINT) == 0
    records = list(read_bag(tmp_path / "bag", ["/odometry", "/latched"]))
    assert {deserialize(r.cdr, r.type_name).data for r in records} == {"first", "before"}
    assert {r.log_ns for r in records} == {5 * 10**9}
    assert "before the first /clock" in (tmp_path / "log").read_text()


@pytest.mark.ros
def test_what_is_no_topic_name_is_refused_in_one_line(tmp_path: Path) -> None:
    status, line = refused("recorder_node", "-p", f"out:={tmp_path / 'bag'}", "-p", "topics:=[fine, bad topic]")
    assert (status, line.count("\n")) == (1, 0)
    assert "topics: 'bad topic' is not a topic name: topic name must not contain characters other" in line
    assert not (tmp_path / "bag").exists()


@pytest.mark.ros
def test_a_full_disk_ends_the_recording_with_an_error_and_a_non_zero_exit_status(tmp_path: Path) -> None:
    process_arguments = (tmp_path / "log", "-p", f"out:={tmp_path / 'bag'}", "-p", "topics:=[/camera]")
    with client_node("tester") as node, started("recorder_node", *process_arguments, fail_at_bytes=3_000_000) as process:
        camera = node.create_publisher(CompressedImage, "/camera", 10)
        recorded(node, camera)
        for i in range(100):
            camera.publish(CompressedImage(format="jpeg", data=bytes([i]) * 100_000))
            time.sleep(0.01)
            if process.poll() is not None:
                break
        assert process.wait(10) == 1
    log = (tmp_path / "log").read_text()
    assert "[ERROR]" in log
    assert "File too large" in log.splitlines()[-1]
    assert "Traceback" not in log
    frames = [deserialize(record.cdr, record.type_name).data[0] for record in read_bag(tmp_path / "bag")]
    assert frames == list(range(len(frames)))
    assert len(frames) * 100_000 > 3_000_000 / 2


@pytest.mark.ros
def test_an_existing_bag_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "precious").write_text("x")
    status, line = refused("recorder_node", "-p", f"out:={tmp_path / 'bag'}")
    assert status == 1
    assert "does not exist yet" in line
    assert [file.name for file in (tmp_path / "bag").iterdir()] == ["precious"]


def test_a_subscription_matches_every_publisher_of_its_topic() -> None:
    reliable, latched, sensor = QoSProfile(depth=1), LATCHED, qos_profile_sensor_data
    qos = matching_qos([reliable, sensor])
    assert (qos.reliability, qos.durability) == (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
    qos = matching_qos([latched, latched])
    assert (qos.reliability, qos.durability) == (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
    assert matching_qos([latched, reliable]).durability == DurabilityPolicy.VOLATILE
