"""The RViz view and the Foxglove layout show what the nodes really publish: topics, types, fields, namespaces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="what is shown are ROS topics")

from nodes.made_plans import ego, plan, plan_message, trace_message
from nodes.ros_harness import started
from pipeline.vehicle import buffers, drive

from alpamayo_ros import msg
from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.engine.kinematic import KinematicEngine
from alpamayo_ros.nodes import markers
from alpamayo_ros.nodes.client import client_node, spin_until
from alpamayo_ros.nodes.messages import STATE, candidates_message
from alpamayo_ros.nodes.topics import message_class
from alpamayo_ros.pipeline.cycle import run_cycle
from alpamayo_ros.profile import read_rig
from alpamayo_ros.types import Request

CONFIG = Path(__file__).parents[1] / "config"
RIG = read_rig("seven_camera")
RVIZ = yaml.safe_load((CONFIG / "rviz" / "alpamayo.rviz").read_text())["Visualization Manager"]
FOXGLOVE = json.loads((CONFIG / "foxglove" / "alpamayo.json").read_text())
PANELS = FOXGLOVE["configById"]

# What an RViz display understands (rviz_default_plugins of ros2/rviz); of an Image it is told by the end of the topic's name.
DISPLAYS = {
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/Odometry": "nav_msgs/msg/Odometry",
    "rviz_default_plugins/Path": "nav_msgs/msg/Path",
    "rviz_default_plugins/Image": "sensor_msgs/msg/CompressedImage",
    "rviz_default_plugins/Grid": None,
    "rviz_default_plugins/TF": None,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Type by topic, of everything that a planner, a visualizer and their rig have."""
    folder = tmp_path_factory.mktemp("views")
    planner = started("planner_node", folder / "p", "-p", "mode:=active")  # in shadow it has the shadow topics only
    with client_node("tester") as node, planner, started("visualizer_node", folder / "v"):
        paths = {"/alpamayo_planner/path", "/alpamayo_planner/shadow/path"}
        wanted = {*paths, "/alpamayo_visualizer/markers", RIG.odometry.topic, "/diagnostics"}
        assert spin_until(node, lambda: wanted <= {name for name, _ in node.get_topic_names_and_types()}, 20)
        spin_until(node, lambda: False, 0.5)
        yield {name: kinds[0] for name, kinds in node.get_topic_names_and_types()}


def field_type(kind: type, path: str) -> str:
    """The type of a Foxglove message path's field, such as ".points[0].speed_mps"; a KeyError names what does not exist."""
    found = ""
    for name, index in re.findall(r"\.([a-z_0-9]+)(\[\d+\])?", path):
        found = kind.get_fields_and_field_types()[name]  # type: ignore[attr-defined]
        element = re.match(r"(?:sequence<)?([^,<>\[]+)", found)
        assert element
        assert bool(index) == (found != element[1]), f"{path}: {name} is {found}"
        found = element[1]
        if "/" in found:
            kind = message_class(found.replace("/", "/msg/", 1))
    return found


def numbers() -> list[str]:
    """Every message path of the layout that must be a number."""
    paths = [path["value"] for panel in PANELS.values() for path in panel.get("paths", [])]
    return [*paths, *(panel["path"] for panel in PANELS.values() if "path" in panel)]


@pytest.mark.ros
@pytest.mark.patient
def test_every_display_of_rviz_shows_a_topic_of_its_type(published: dict[str, str]) -> None:
    assert RVIZ["Global Options"]["Fixed Frame"] == RIG.odometry.frame
    for display in RVIZ["Displays"]:
        assert published.get(display.get("Topic", {}).get("Value")) == DISPLAYS[display["Class"]], display["Name"]


@pytest.mark.ros
@pytest.mark.patient
def test_every_overlay_has_a_display_and_only_the_strip_is_on_from_the_start(published: dict[str, str]) -> None:
    images = {d["Topic"]["Value"]: d["Enabled"] for d in RVIZ["Displays"] if d["Class"].endswith("Image")}
    assert set(images) == {topic for topic in published if topic.startswith("/alpamayo_visualizer/overlay/")}
    assert len(images) == len(RIG.cameras) + 1
    assert [topic for topic, on in images.items() if on] == ["/alpamayo_visualizer/overlay/strip/compressed"]


def test_every_namespace_of_the_markers_can_be_switched_in_rviz() -> None:
    message, trace = plan_message(), trace_message()
    others = markers.candidate_markers(candidates_message(plan(candidates=2), 1, ego(), RIG))
    texts = [markers.plan_text_marker(message, ""), markers.components_marker(message, trace)]
    made = {m.ns for m in [*markers.trajectory_markers(message), *others, markers.ego_marker(message), *texts]}
    [shown] = [display["Namespaces"] for display in RVIZ["Displays"] if "Namespaces" in display]
    assert set(shown) == made


def test_what_nobody_drives_by_is_shown_beside_what_is_driven() -> None:
    """The shipped mode is shadow."""
    text = json.dumps(FOXGLOVE)
    said = set(re.findall(r"/alpamayo_planner/[^\"]*", text))
    driven = {topic for topic in said if re.match(r"/alpamayo_planner/(trajectory|reasoning|path)", topic)}
    assert len(driven) >= 6
    assert {topic.replace("planner/", "planner/shadow/") for topic in driven} <= said
    shown = {display["Topic"]["Value"] for display in RVIZ["Displays"] if display["Class"].endswith("Path")}
    assert shown == {"/alpamayo_planner/path", "/alpamayo_planner/shadow/path"}


def test_rviz_follows_the_vehicle_from_behind() -> None:
    view = RVIZ["Views"]["Current"]
    assert (view["Class"], view["Target Frame"]) == ("rviz_default_plugins/ThirdPersonFollower", markers.EGO_T0_FRAME)


@pytest.mark.ros
@pytest.mark.patient
def test_every_topic_of_the_foxglove_layout_has_the_type_of_its_panel(published: dict[str, str]) -> None:
    for name, panel in PANELS.items():
        if name.startswith("Image!"):
            assert published[panel["imageMode"]["imageTopic"]] == "sensor_msgs/msg/CompressedImage"
        if name.startswith("3D!"):
            assert panel["followTf"] == markers.EGO_T0_FRAME
            assert {published[topic] for topic in panel["topics"]} <= set(filter(None, DISPLAYS.values()))
        if name.startswith("DiagnosticSummary!"):
            assert published[panel["topicToRender"]] == "diagnostic_msgs/msg/DiagnosticArray"
        if name.startswith("RawMessages!"):
            topic, _, field = panel["topicPath"].partition(".")
            assert topic in published
            assert not field or field in message_class(published[topic]).get_fields_and_field_types()


@pytest.mark.ros
@pytest.mark.patient
@pytest.mark.parametrize("path", numbers())
def test_every_message_path_of_the_foxglove_layout_is_a_number(published: dict[str, str], path: str) -> None:
    topic, field = re.fullmatch(r"(/[a-z_/]+)(\..*)", path).groups()  # type: ignore[union-attr]
    assert field_type(message_class(published[topic]), field) in {"double", "float", "uint8", "boolean"}


def test_a_message_path_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(KeyError, match="speed_kmh"):
        field_type(msg.UnicycleTrajectory, ".points[0].speed_kmh")
    with pytest.raises(AssertionError, match="points is sequence"):
        field_type(msg.UnicycleTrajectory, ".points.speed_mps")
    assert field_type(msg.UnicycleTrajectory, ".points[0].pose.position.x") == "double"


def test_the_stages_of_the_layout_are_labelled_in_the_order_of_a_cycle() -> None:
    filled = buffers()
    cycle = run_cycle(filled, drive(filled), KinematicEngine(), Request(), RELEASED)
    stages = {path["value"]: path["label"] for path in PANELS["Plot!latency"]["paths"] if "stage_ms" in path["value"]}
    assert stages == {f"/alpamayo_planner/status.stage_ms[{i}]": name for i, name in enumerate(cycle.stage_ms)}


def test_the_states_of_the_layout_have_the_names_of_their_numbers() -> None:
    rules = {int(rule["rawValue"]): rule["label"].lower() for rule in PANELS["Indicator!state"]["rules"]}
    assert rules == {number: name for name, number in STATE.items()}


def test_the_indicator_says_whether_the_vehicle_drives_by_the_plan() -> None:
    rules = {rule["rawValue"]: rule["label"] for rule in PANELS["Indicator!engaged"]["rules"]}
    assert rules == {"false": "SHADOW", "true": "ENGAGED"}


def placed(part: Any) -> list[str]:
    return [part] if isinstance(part, str) else placed(part["first"]) + placed(part["second"])


def test_every_panel_has_one_place_in_the_layout() -> None:
    assert sorted(placed(FOXGLOVE["layout"])) == sorted(PANELS)
