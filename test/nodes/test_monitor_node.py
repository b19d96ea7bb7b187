"""The monitor node over real DDS, told of a made-up drive: a good planner is found good, and what is broken is found."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own, before anything of ROS starts
import numpy as np
import pytest
import yaml
from alpamayo_ros.msg import PlanStatus, TrajectoryPoint, UnicycleTrajectory
from lifecycle_msgs.msg import State, TransitionEvent
from nodes.planner_harness import Vehicle, driving, small_rig
from nodes.ros_harness import listen, refused, started
from rclpy.node import Node
from rclpy.serialization import serialize_message
from safety.watched_drive import ROLES, START_NS, Drive, Event, odometer, published, status_of
from sensor_msgs.msg import CompressedImage
from simulation.faults.test_broken import DRIVES, passed_by
from std_msgs.msg import Header, String

from alpamayo_ros.geometry import rotation_from_quaternion
from alpamayo_ros.nodes import monitoring
from alpamayo_ros.nodes.client import Relay, RigPublisher, client_node, spin_until
from alpamayo_ros.nodes.messages import time_message
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.safety.monitor_inputs import At, Odometer
from alpamayo_ros.simulation.faults.broken import broken_variants
from alpamayo_ros.simulation.faults.saboteurs import Saboteur
from alpamayo_ros.types import EgoPose, InvalidInput

MS = 1_000_000
SPEED = 3.0
"""Simulated seconds a second."""


def ego_pose(pose: Odometer) -> EgoPose:
    rotation = rotation_from_quaternion(pose.orientation)
    return EgoPose(pose.stamp_ns, pose.position, rotation, pose.velocity_mps, np.array([0.0, 0.0, pose.yaw_rate_rps]))


@dataclass
class Publishing:
    """Publishes the events of a drive as a vehicle and a planner would, on simulated time."""

    node: Node
    rig: Rig
    found: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inputs = RigPublisher(self.node, self.rig, clock=True)
        planner = "/alpamayo_planner"
        self.outputs = {
            "status": self.node.create_publisher(PlanStatus, f"{planner}/status", 10),
            "trajectory": self.node.create_publisher(UnicycleTrajectory, f"{planner}/trajectory", 10),
            "life": self.node.create_publisher(TransitionEvent, f"{planner}/transition_event", 10),
        }
        self.found = listen(self.node, String, "/alpamayo_monitor/breach", 1000)

    def is_heard(self) -> bool:
        publishers = (*self.outputs.values(), self.inputs._odometry, self.inputs._clock)
        said = self.node.count_publishers("/alpamayo_monitor/breach")
        return bool(said and self.inputs.subscribers()) and all(publisher.get_subscription_count() for publisher in publishers)

    def publish(self, event: Event) -> None:
        now, kind, value = event
        if kind == "tick":
            self.inputs.clock(now.ros_ns)
        elif kind == "frame":
            role, stamp_ns = value
            self.inputs.camera(role, stamp_ns, b"not decoded")
        elif kind == "odometry":
            self.inputs.odometry(ego_pose(value))
        elif kind == "status":
            self.outputs[kind].publish(monitoring.status_message_of(value))
        elif kind == "trajectory":
            self.outputs[kind].publish(monitoring.trajectory_message_of(value))
        else:
            self.outputs[kind].publish(TransitionEvent(goal_state=State(label=value)))

    def drive(self, drive: Drive, saboteur: Saboteur) -> None:
        """All of it, in time."""
        passing, began_s, first_ns = passed_by(saboteur), time.monotonic(), START_NS
        for event in drive.events():
            for passed in passing(event):
                self.publish(passed)
            due_s = began_s + (event.now.ros_ns - first_ns - drive._ahead_ns) / 1e9 / SPEED
            if (early_s := due_s - time.monotonic()) > 0:
                spin_until(self.node, lambda: False, early_s)


@contextmanager
def watched(folder: Path, **parameters: Any) -> Iterator[tuple[Publishing, subprocess.Popen[bytes]]]:
    """A monitor's process, and somebody whom it hears."""
    described = read_rig("seven_camera").model_dump(mode="json")
    described["odometry"]["rate_hz"] = 50
    described["cameras"] = {role: camera for role, camera in described["cameras"].items() if role in ROLES}
    (folder / "rig.yaml").write_text(yaml.safe_dump(described))
    given = {"rig": folder / "rig.yaml", "use_sim_time": "true", "out": folder / "breaches.jsonl", **parameters}
    arguments = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    with client_node("vehicle") as node, started("monitor_node", folder / "log", *arguments) as process:
        publishing = Publishing(node, read_rig(str(folder / "rig.yaml")))
        assert spin_until(node, publishing.is_heard, 20), (folder / "log").read_text()
        time.sleep(0.3)  # the other half of the matching is its own
        yield publishing, process


def ended(node: Node, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """The summary of a monitor that was asked to stop; on a busy machine it is behind, and is given the time."""
    spin_until(node, lambda: False, 2.0)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0, log.read_text()
    summary: dict[str, Any] = json.loads(log.read_text().splitlines()[-1])
    return summary


@pytest.mark.ros
@pytest.mark.parametrize("needs", ["outage", "deactivation"])
def test_a_good_planner_is_found_good(tmp_path: Path, needs: Any) -> None:
    with watched(tmp_path) as (publishing, process):
        drive = replace(DRIVES[needs](), simulated=True)
        publishing.drive(drive, Saboteur())
        summary = ended(publishing.node, process, tmp_path / "log")
    assert (tmp_path / "breaches.jsonl").read_text() == ""
    assert summary["breaches"] == {}
    assert summary["publications"]["model"] >= 10


@pytest.mark.ros
def test_a_namesake_that_is_refused_is_not_the_planner_that_goes_on(tmp_path: Path) -> None:
    with watched(tmp_path) as (publishing, process), client_node("namesake") as namesake:
        other = namesake.create_publisher(TransitionEvent, "/alpamayo_planner/transition_event", 10)
        assert spin_until(namesake, lambda: other.get_subscription_count() > 0, 20)
        time.sleep(0.5)  # the monitor has to know of both
        other.publish(TransitionEvent(goal_state=State(label="inactive")))
        publishing.drive(replace(DRIVES["outage"](), simulated=True), Saboteur())
        summary = ended(publishing.node, process, tmp_path / "log")
    assert summary["breaches"] == {}
    assert "two nodes are named /alpamayo_planner" in (tmp_path / "log").read_text()


@pytest.mark.ros
@pytest.mark.parametrize(
    "name",
    ["nan", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("stale", "no_stop", "old_after_jump", "undead"))],
)
def test_a_broken_planner_is_caught(tmp_path: Path, name: str) -> None:
    variant = broken_variants()[name]
    with watched(tmp_path) as (publishing, process):
        drive = replace(DRIVES[variant.needs](), simulated=True)
        publishing.drive(drive, variant.make())
        summary = ended(publishing.node, process, tmp_path / "log")
    lines = [json.loads(line) for line in (tmp_path / "breaches.jsonl").read_text().splitlines()]
    assert variant.caught_by <= set(summary["breaches"]), summary
    assert sum(summary["breaches"].values()) == len(lines) == summary["unsafe"] + summary["liveness"]
    assert {line["invariant"] for line in lines} == set(summary["breaches"])
    heard = [json.loads(message.data) for message in publishing.found]
    assert heard
    assert all(line in lines for line in heard)


@contextmanager
def watched_planner(folder: Path, planner: str = "/alpamayo_planner") -> Iterator[tuple[Vehicle, subprocess.Popen[bytes]]]:
    """A real planner that plans already, and a monitor's process that watches `planner`."""
    small_rig(folder)
    given = {"rig": folder / "rig.yaml", "use_sim_time": "true", "out": folder / "breaches.jsonl", "planner": planner}
    arguments = [text for name, value in given.items() for text in ("-p", f"{name}:={value}")]
    with started("monitor_node", folder / "log", *arguments) as process, driving(folder) as (vehicle, _):
        yield vehicle, process


def drive(vehicle: Vehicle, ticks: int) -> None:
    """In time: the planner's watchdog has its own clock."""
    for _ in range(ticks):
        vehicle.tick()
        vehicle.pause(0.05)


@pytest.mark.ros
def test_a_real_planner_is_found_good_while_it_plans_holds_stops_and_goes_on(tmp_path: Path) -> None:
    with watched_planner(tmp_path) as (vehicle, process):
        drive(vehicle, 20)
        vehicle.skip.add(vehicle.rig.anchor)
        drive(vehicle, 15)
        vehicle.skip.clear()
        drive(vehicle, 20)
        summary = ended(vehicle.node, process, tmp_path / "log")
    assert summary["unsafe"] == 0, (tmp_path / "breaches.jsonl").read_text()
    assert min(summary["publications"][source] for source in ("model", "hold", "stop")) > 0
    assert summary["unjudged"] == 0


@pytest.mark.ros
def test_a_relay_that_changes_nothing_is_found_good_and_one_that_lies_is_not(tmp_path: Path) -> None:
    with watched_planner(tmp_path, "/broken_planner") as (vehicle, process):
        relay = Relay(vehicle.node, vehicle.rig, Saboteur())
        vehicle.pause(1.0)
        drive(vehicle, 20)
        vehicle.pause(0.5)
        assert (tmp_path / "breaches.jsonl").read_text() == ""
        relay.between = broken_variants()["newest_pose"].make()
        drive(vehicle, 10)
        summary = ended(vehicle.node, process, tmp_path / "log")
    assert summary["publications"]["model"] >= 20
    assert set(summary["breaches"]) == {"I10"}


# Its parts


def test_values_are_messages_and_back() -> None:
    plan = replace(published("model", odometer(START_NS, 0.5), np.linspace(0.0, 1.0, 64)), plan_id=7, epoch=3)
    for said in (plan, replace(plan, provisional=True)):
        back = monitoring.published_of(monitoring.trajectory_message_of(said))
        assert {name for name, value in vars(said).items() if not np.array_equal(value, getattr(back, name))} == set()
    for status in (status_of(plan), replace(status_of(plan), source=None, valid=False, state="silent", engaged=False)):
        assert monitoring.status_of(monitoring.status_message_of(status)) == status


def test_a_message_without_points_and_one_with_an_impossible_time_are_values_too() -> None:
    empty = monitoring.published_of(UnicycleTrajectory())
    assert (empty.xyz.shape, empty.quaternion.shape, empty.t_ns.shape) == ((0, 3), (0, 4), (0,))
    far = UnicycleTrajectory(points=[TrajectoryPoint(time_from_start_ns=2**64 - 1)])
    assert monitoring.published_of(far).t_ns[0] < 0


def test_codes_that_no_message_may_have_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"source: want one of \[0, 1, 2\], got 9"):
        monitoring.published_of(UnicycleTrajectory(source=9))
    with pytest.raises(InvalidInput, match=r"state: want one of .* got 99"):
        monitoring.status_of(PlanStatus(state=99))


@pytest.mark.parametrize("big_endian", [False, True])
def test_a_stamp_is_read_from_an_undecoded_message(big_endian: bool) -> None:
    cdr = serialize_message(CompressedImage(header=Header(stamp=time_message(START_NS + 5), frame_id="camera")))
    if big_endian:
        cdr = b"\x00\x00" + cdr[2:4] + cdr[4:8][::-1] + cdr[8:12][::-1]
    assert monitoring.cdr_stamp_ns(cdr) == START_NS + 5
    with pytest.raises(InvalidInput, match="11 bytes"):
        monitoring.cdr_stamp_ns(cdr[:11])


def test_messages_are_told_in_the_order_in_which_they_were_sent() -> None:
    turns, told = monitoring.Turns(simulated=False), list[tuple[int, At]]()

    def keep(number: int, at: At) -> None:
        told.append((number, at))

    now_ns = turns.now_ns()[1]
    sent = {1: now_ns - 300 * MS, 2: now_ns - 200 * MS, 3: now_ns - 400 * MS, 4: 0, 5: now_ns + 10**9}
    for number, sent_ns in sent.items():
        turns.put(sent_ns, partial(keep, number))
    for at, tell in turns.take():
        tell(at)
    assert [number for number, _ in told] == [3, 1, 2]
    assert [at.ros_ns for _, at in told] == [sent[number] for number in (3, 1, 2)]
    assert told[1][1].steady_ns - told[0][1].steady_ns == pytest.approx(100 * MS, abs=20 * MS)
    time.sleep(1.2)  # behind by 0.4 s, and asleep as long again: both are waited for
    assert list(turns.take()) == []
    deadline_s = time.monotonic() + 20
    while len(told) < 5 and time.monotonic() < deadline_s:
        for at, tell in turns.take():
            tell(at)
    assert [number for number, _ in told[3:]] == [4, 5]  # of no time that can be: when they came
    assert told[3][1].ros_ns >= now_ns


def test_messages_that_were_sent_within_a_microsecond_keep_their_order() -> None:
    """However the clocks are read: a status and its trajectory are sent that near to each other."""
    turns, told = monitoring.Turns(simulated=False), list[int]()
    sent_ns = turns.now_ns()[1] - 900 * MS
    for number in reversed(range(2000)):
        turns.put(sent_ns + 1000 * number, lambda _, number=number: told.append(number))
    for at, tell in turns.take():
        tell(at)
    assert told == list(range(2000))


def test_simulated_time_is_that_of_the_last_clock_before_a_message_and_nothing_is_told_before_it() -> None:
    turns, told = monitoring.Turns(simulated=True), list[tuple[str, At]]()

    def put(name: str, ago_ms: int, clock_ns: int | None = None) -> None:
        turns.put(turns.now_ns()[1] - ago_ms * MS, lambda at: told.append((name, at)), clock_ns)

    put("too early", 500)
    put("frame", 300)
    put("clock", 400, START_NS)
    put("later clock", 350, START_NS + 1)
    assert turns.now() is None
    for at, tell in turns.take():
        tell(at)
    later = At(START_NS + 1, START_NS + 1)
    assert told == [("clock", At(START_NS, START_NS)), ("later clock", later), ("frame", later)]
    assert turns.now() == later


def test_an_output_counts_from_when_it_was_sent_and_from_when_it_came_where_nobody_says() -> None:
    assert monitoring.sent_ns({"source_timestamp": 5, "received_timestamp": 9}) == 5
    assert monitoring.sent_ns({"source_timestamp": 0, "received_timestamp": 9}) == 9


def test_an_output_was_under_way_until_it_came_and_for_no_time_where_its_publisher_has_another_clock() -> None:
    minute_ns = 60_000_000_000
    for sent_ns, came_ns, late_ns in ((5, 9, 4), (0, 9, 0), (9, 5, 0), (5, 5 + minute_ns, 0)):
        assert monitoring.late_ns({"source_timestamp": sent_ns, "received_timestamp": came_ns}) == late_ns


@pytest.mark.ros
@pytest.mark.parametrize(
    ("parameter", "why"),
    [
        ("cameras:=[front_wide, periscope]", "rig seven_camera has front_left"),
        ("out:=/no/such/folder/breaches.jsonl", "No such file or directory"),
        ("rig:=none", "no rig 'none'"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_one_line(parameter: str, why: str) -> None:
    status, line = refused("monitor_node", "-p", parameter)
    assert status == 1
    assert why in line


@pytest.mark.ros
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    with started("monitor_node", tmp_path / "log", "-p", "parent:=2147483647") as process:
        assert process.wait(20) == 0
    assert "which started this monitor, is gone" in (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["unsafe"] == 0
