"""Launch files and the files they point at. What needs `launch` and `launch_ros` runs where ROS 2 is installed."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from nodes.ros_harness import listen
from nodes.test_replay_node import write_bag
from rclpy.node import Node
from std_msgs.msg import String

from alpamayo_ros.bags import bag_topics
from alpamayo_ros.nodes.client import client_node, executable, spin_until

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))
RUNNER = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
arguments = [tuple(text.split(":=", 1)) for text in sys.argv[2:]]
file = IncludeLaunchDescription(PythonLaunchDescriptionSource(sys.argv[1]), launch_arguments=arguments)
service = LaunchService()
service.include_launch_description(LaunchDescription([file]))
sys.exit(service.run())
"""


def installed(name: str) -> Path:
    return executable("planner_node").parents[2] / "share" / "alpamayo_ros" / "launch" / name


@contextmanager
def launched(log: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`ros2 launch alpamayo_ros name arguments`, interrupted at the end."""
    environment = {"AMENT_PREFIX_PATH": sys.prefix, **os.environ}  # noqa: TID251 - as the harness left it
    with log.open("wb") as output:
        command = [sys.executable, "-c", RUNNER, str(installed(name)), *arguments]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: launch counts on its children having it too
            process.wait(15)


def described(name: str) -> dict[str, Any]:
    """Arguments of a launch file and of those it includes."""
    launch = pytest.importorskip("launch")
    pytest.importorskip("launch_ros.actions")
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    source = PythonLaunchDescriptionSource(str(installed(name)))
    description = source.get_launch_description(launch.LaunchContext())
    return {argument.name: argument for argument in description.get_launch_arguments()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_launch_file_is_python_with_one_described_entry(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ast.get_docstring(tree)
    assert ast.get_docstring(functions["generate_launch_description"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (
            "planner.launch.py",
            "namespace rig bundle mode monitor params_file use_sim_time autostart rviz compat record",
        ),
        ("visualization.launch.py", "namespace rig params_file use_sim_time log_level rviz compat"),
        ("replay.launch.py", "bag rate loop start_offset_s rig bundle mode monitor params_file compat record rviz"),
    ],
)
def test_every_argument_is_described(name: str, arguments: str) -> None:
    found = described(name)
    assert set(arguments.split()) <= set(found)
    for argument in found.values():
        assert argument.description
        assert argument.description != "no description given"


@pytest.mark.ros
def test_a_replay_ends_with_its_bag_and_everything_ends_cleanly(tmp_path: Path) -> None:
    pytest.importorskip("launch_ros.actions")
    bag = write_bag(tmp_path / "bag")
    with client_node("tester") as node:
        words = listen(node, String, "/word")
        with launched(tmp_path / "log", "replay.launch.py", f"bag:={bag}", "rate:=2.0") as process:
            assert spin_until(node, lambda: process.poll() is not None, 25)
    log = (tmp_path / "log").read_text()
    assert process.returncode == 0, log
    assert [word.data for word in words] == [f"word {i}" for i in range(6)]
    assert log.count("process has finished cleanly") == 2, log


@pytest.mark.ros
def test_a_planner_in_a_namespace_under_autoware_names_is_recorded_with_our_environment(tmp_path: Path) -> None:
    pytest.importorskip("launch_ros.actions")
    arguments = (
        "namespace:=car",
        "compat:=autoware",
        "mode:=active",  # in shadow nothing is published under another stack's names
        f"record:={tmp_path / 'recording'}",
        "bundle:=kinematic",
    )
    with client_node("tester") as node, launched(tmp_path / "log", "planner.launch.py", *arguments) as process:
        word = node.create_publisher(String, "/word", 10)
        wanted = {"/alpamayo/predicted_trajectory", "/alpamayo/reasoning", "/car/alpamayo_planner/status"}
        assert spin_until(node, lambda: wanted <= topics(node), 15), (tmp_path / "log").read_text()
        assert "/car/alpamayo_planner/trajectory" not in topics(node)
        assert spin_until(node, lambda: word.get_subscription_count() > 0, 10)
        time.sleep(0.3)
        word.publish(String(data="x"))
        time.sleep(0.3)
        environment = environment_of(process.pid, "planner_node")
    assert Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).name == "fastdds_shm.xml"
    assert Path(environment["FASTDDS_DEFAULT_PROFILES_FILE"]).is_file()
    assert environment["MALLOC_MMAP_THRESHOLD_"] == "1073741824"
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "4294967295"
    assert (process.returncode, bag_topics(tmp_path / "recording")["/word"].count) == (0, 1), (tmp_path / "log").read_text()


@pytest.mark.ros
def test_the_monitor_runs_beside_the_planner_and_hears_what_it_publishes_under_other_names(tmp_path: Path) -> None:
    pytest.importorskip("launch_ros.actions")
    arguments = ("namespace:=car", "compat:=autoware", "monitor:=true", "mode:=active", "bundle:=kinematic")
    with client_node("tester") as node, launched(tmp_path / "log", "planner.launch.py", *arguments):
        wanted = {"/alpamayo/predicted_trajectory", "/car/alpamayo_planner/shadow/trajectory", "/car/alpamayo_planner/status"}

        def heard_by_the_monitor() -> set[str]:
            listeners = {name: node.get_subscriptions_info_by_topic(name) for name in wanted}
            return {name for name, found in listeners.items() if any("monitor" in one.node_name for one in found)}

        assert spin_until(node, lambda: wanted <= heard_by_the_monitor(), 20), (tmp_path / "log").read_text()


@pytest.mark.ros
def test_the_visualizer_follows_a_planner_in_a_namespace_under_autoware_names(tmp_path: Path) -> None:
    pytest.importorskip("launch_ros.actions")
    arguments = ("namespace:=car", "compat:=autoware", "rviz:=false")
    with client_node("tester") as node, launched(tmp_path / "log", "visualization.launch.py", *arguments):
        subscribed = {"/alpamayo/predicted_trajectory", "/alpamayo/reasoning", "/car/alpamayo_planner/status"}
        subscribed |= {"/car/alpamayo_planner/shadow/trajectory", "/car/alpamayo_planner/shadow/reasoning"}
        published = {"/alpamayo/predicted_trajectory_markers", "/car/alpamayo_visualizer/overlay/strip/compressed"}
        assert spin_until(node, lambda: subscribed | published <= topics(node), 15), (tmp_path / "log").read_text()
        assert not {"/car/alpamayo_planner/trajectory", "/car/alpamayo_visualizer/markers"} & topics(node)


def topics(node: Node) -> set[str]:
    return {name for name, _ in node.get_topic_names_and_types()}


def environment_of(parent: int, node: str) -> dict[str, str]:
    """The environment a child process of a launch was started with."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for folder in (Path("/proc") / child for child in children):
        if node in (folder / "cmdline").read_text():
            pairs = (folder / "environ").read_text().split("\0")
            return dict(pair.split("=", 1) for pair in pairs if pair)
    raise AssertionError(f"no {node} among the children of {parent}")


def values(file: str, names: Sequence[str]) -> list[str | None]:
    tree = ET.parse(ROOT / "config" / file)  # noqa: S314 - our own file
    texts = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in tree.iter()}
    return [texts.get(name) for name in names]


def test_the_fast_dds_profile_has_room_for_a_burst_of_seven_cameras_and_keeps_udp() -> None:
    names = ("segment_size", "maxMessageSize", "port_queue_capacity", "useBuiltinTransports")
    assert values("fastdds_shm.xml", names) == ["134217728", "16777216", "2048", "false"]
    text = (ROOT / "config" / "fastdds_shm.xml").read_text()
    assert "<type>SHM</type>" in text
    assert "<type>UDPv4</type>" in text


def test_the_cyclone_profile_is_xml_and_says_that_it_was_not_run() -> None:
    assert values("cyclonedds.xml", ["MaxMessageSize"]) == ["65500B"]
    assert "NOT RUN" in (ROOT / "config" / "cyclonedds.xml").read_text()
