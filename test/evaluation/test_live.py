"""The doctor and the recorder on a live graph: real DDS, on a domain of this test's own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from evaluation.test_doctor import JPEG, RIG, cameras_of, record, some_problem
from nodes.ros_harness import DOMAIN, started
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from alpamayo_ros.bags import bag_topics, deserialize, read_bag
from alpamayo_ros.evaluation.doctor.live import examine_graph, record_graph
from alpamayo_ros.nodes.client import Listener, RigPublisher, client_node, executable, published, spin_until
from alpamayo_ros.nodes.messages import time_message
from alpamayo_ros.types import ROLES, EgoPose, InvalidInput

cv2.setNumThreads(1)

PROGRAM = str(executable("planner_node").parents[2] / "bin" / "alpamayo")
FRONT, TELE, LEFT = (RIG.cameras[role].topic for role in ("front_wide", "front_tele", "rear_left"))


@contextmanager
def alpamayo(*arguments: object, before: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command in its own process, asked to end if it still runs."""
    command = [*before, PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def figures(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a command that must succeed says in its last line."""
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert isinstance(said, dict)
    return said


@contextmanager
def meanwhile(work: Any) -> Iterator[None]:
    """Call `work(k)` for k = 0, 1, ... in a thread as long as the `with` lasts."""
    done = threading.Event()

    def loop() -> None:
        k = 0
        while not done.is_set():
            work(k)
            k += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# ---- doctor


@pytest.mark.ros
def test_nothing_on_the_graph_is_said_with_the_domain() -> None:
    with pytest.raises(InvalidInput, match=rf"ROS_DOMAIN_ID {DOMAIN}, nothing else either"):
        examine_graph(None, 0.5)
    with client_node("other") as node:
        node.create_publisher(String, "/word", 10)
        with pytest.raises(InvalidInput, match=rf"ROS_DOMAIN_ID {DOMAIN}, only /word:"):
            examine_graph(RIG, 1.0)


@pytest.mark.ros
def test_a_healthy_vehicle_in_simulated_time_is_found_whole_and_nothing_is_wrong(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", cameras_of(), duration_s=4.0)
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(RIG.model_dump(mode="json")))
    played = ("-p", f"bag:={bag}", "-p", "wait_for_subscribers_s:=20.0")
    options = ("--rig", tmp_path / "rig.yaml", "--seconds", 2, "--out", tmp_path)
    with started("replay_node", tmp_path / "log", *played), alpamayo("doctor", *options) as doctor:
        said = figures(doctor)
    assert said["problems"] == []
    assert said["roles"] == {role: RIG.cameras[role].topic for role in ROLES}
    assert cv2.imread(said["files"][0]) is not None


@pytest.mark.ros
def test_a_late_clock_and_lost_frames_are_measured_in_system_time() -> None:
    with client_node("vehicle") as node:
        vehicle = RigPublisher(node, RIG)

        def drive(tick: int) -> None:
            now_ns = int(node.get_clock().now().nanoseconds)
            vehicle.odometry(EgoPose(now_ns, np.zeros(3), np.eye(3), np.zeros(3), np.zeros(3)))
            for role in RIG.cameras if tick % 5 == 0 else ():
                if role != "rear_left" or tick % 25 != 0:
                    vehicle.camera(role, now_ns - 200_000_000 * (role == "front_tele"), JPEG)
            time.sleep(0.02)

        with meanwhile(drive):
            diagnosis = examine_graph(RIG, 2.0)
    assert tuple(diagnosis.roles) == ROLES
    offsets = {row.topic: row.offset_ms for row in diagnosis.rows}
    assert offsets[TELE] - offsets[FRONT] == pytest.approx(200, abs=20)  # ms; both are published within one tick
    some_problem(diagnosis, f"{TELE}: its clock is", "behind the other topics'")
    some_problem(diagnosis, f"{LEFT}: ", "messages are missing")
    assert not [problem for problem in diagnosis.problems if "recorder's clock" in problem]


@pytest.mark.ros
def test_types_and_qos_that_do_not_match_are_said_with_the_nodes() -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with client_node("driver") as driver, client_node("viewer") as viewer:
        driver.create_publisher(Image, FRONT, 10)
        driver.create_publisher(CompressedImage, TELE, qos_profile_sensor_data)
        driver.create_publisher(CompressedImage, "/spare", 10)
        driver.create_publisher(TFMessage, "/tf_static", 10)
        viewer.create_subscription(CompressedImage, TELE, print, 10)
        viewer.create_subscription(CompressedImage, FRONT, print, 10)
        viewer.create_subscription(TFMessage, "/tf_static", print, latched)
        diagnosis = examine_graph(RIG, 0.7)
    some_problem(diagnosis, f"front_wide: {FRONT} is a sensor_msgs/msg/Image", "declares sensor_msgs/msg/CompressedImage")
    some_problem(diagnosis, f"{FRONT}: /driver publishes sensor_msgs/msg/Image, /viewer wants sensor_msgs/msg/CompressedImage")
    some_problem(diagnosis, f"{TELE}: /driver offers best_effort volatile, /viewer asks for reliable volatile")
    some_problem(diagnosis, "/tf_static: /driver offers reliable volatile, /viewer asks for reliable transient_local")
    some_problem(diagnosis, "/tf_static is offered as reliable volatile")
    some_problem(diagnosis, "/spare: published, but no message came in 0.7 s")
    some_problem(diagnosis, f"front_tele: {TELE} has no message")
    assert len([problem for problem in diagnosis.problems if "hears nothing" in problem]) == 3


# ---- listening


@pytest.mark.ros
def test_late_topics_are_heard_and_receipt_is_in_simulated_time() -> None:
    start_ns = 1_700_000_000_000_000_000
    with client_node("vehicle") as vehicle, client_node("ear") as ear:
        clock, early = vehicle.create_publisher(Clock, "/clock", 10), vehicle.create_publisher(String, "/early", 10)
        assert spin_until(ear, lambda: {"/clock", "/early"} <= set(published(ear)), 5)
        late: list[Any] = []

        def publish(tick: int) -> None:
            clock.publish(Clock(clock=time_message(start_ns + tick * 10_000_000)))
            if tick == 50:
                late.append(vehicle.create_publisher(String, "/late", 10))
            for publisher in (early, *late):
                publisher.publish(String(data=str(tick)))
            time.sleep(0.01)

        listener = Listener(ear, lambda topic, _: topic in ("/early", "/late"))
        with meanwhile(publish):
            records = []
            for heard in listener.records(10.0):
                records.append(heard)
                if heard.topic == "/late":
                    break
    assert {record.topic for record in records} == {"/early", "/late"}
    ticks = [int(deserialize(record.cdr, record.type_name).data) for record in records]
    late_ms = [(r.log_ns - start_ns) / 1e6 - 10 * k for r, k in zip(records, ticks, strict=True)]
    # Simulated time advances by 10 ms in 10 ms or, on a busy machine, more; system time is years away.
    assert np.median(np.abs(late_ms)) < 100


# ---- record


def subscribed(node: Node, publisher: Any) -> None:
    """Wait for the recorder to subscribe; the other half of the matching is its own."""
    assert spin_until(node, lambda: publisher.get_subscription_count() > 0, 20)
    time.sleep(0.3)


@pytest.mark.ros
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_recording_ends_on_a_signal_whole_and_no_recorder_is_left(tmp_path: Path, number: signal.Signals) -> None:
    bag = tmp_path / "new" / "bag"
    with client_node("talker") as node, alpamayo("record", bag, "--topics", "/word", "/never") as process:
        word, other = (node.create_publisher(String, name, 10) for name in ("/word", "/other"))
        subscribed(node, word)
        for i in range(10):
            word.publish(String(data=str(i)))
            other.publish(String())
        time.sleep(0.3)  # what was published is on its way
        process.send_signal(number)
        said = figures(process)
        assert spin_until(node, lambda: word.get_subscription_count() == 0, 5)
    assert (said["messages"], said["topics"]) == (10, {"/word": 10})
    assert said["files"] == sorted(map(str, bag.iterdir()))
    assert [deserialize(r.cdr, r.type_name).data for r in read_bag(bag)] == [str(i) for i in range(10)]


@pytest.mark.parametrize("name", ["", "bad name", "a], b: [c"])
def test_what_is_no_topic_name_is_refused_before_anything_starts(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=f"^topics: {re.escape(repr(name))} is not a topic name: want letters"):
        record_graph(tmp_path / "bag", ("foo", name), 1.0, use_sim_time=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ros
def test_a_recording_ends_by_itself_after_its_seconds(tmp_path: Path) -> None:
    with alpamayo("record", tmp_path / "bag", "--seconds", 0.5) as process:
        said = figures(process)
    assert said["topics"] == {name: topic.count for name, topic in bag_topics(tmp_path / "bag").items()}
    assert said["messages"] == sum(said["topics"].values())


@pytest.mark.ros
def test_a_full_disk_is_said_and_what_was_recorded_can_be_read(tmp_path: Path) -> None:
    arguments = ("record", tmp_path / "bag", "--topics", "/camera")
    with client_node("driver") as node, alpamayo(*arguments, before=("prlimit", "--fsize=3000000")) as process:
        camera = node.create_publisher(CompressedImage, "/camera", 10)
        subscribed(node, camera)
        for i in range(100):
            camera.publish(CompressedImage(format="jpeg", data=bytes([i]) * 100_000))
            time.sleep(0.01)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err.startswith("alpamayo: the recorder ended with status 1: ")
    assert "File too large" in err
    assert err.count("\n") == 1
    assert out == ""
