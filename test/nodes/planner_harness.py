"""A planner node in its own process on a small rig, driven in lockstep over real DDS: simulated time goes on when the node
has answered, so that a loaded machine makes a test slower and nothing else."""

from __future__ import annotations

import array
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import nodes.ros_harness  # noqa: F401 - a DDS domain of its own, before anything of ROS starts
import numpy as np
import simplejpeg
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from alpamayo_ros import msg
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.nodes.client import (
    PlanCollector,
    RigPublisher,
    client_node,
    node_environment,
    node_process,
    odometry_message,
)
from alpamayo_ros.nodes.messages import stamp_ns, time_message
from alpamayo_ros.profile import Rig, read_profile, read_rig
from alpamayo_ros.types import EgoPose

TEST_FOLDER = Path(__file__).parents[1]
MS = 1_000_000
WIDTH, HEIGHT = 160, 96
SPEED_MPS, HEADING_RAD = 8.0, 0.5
START_NS = 1_700_000_000_000_000_000
CAMERA_LAG_NS = 30 * MS
"""Frames are this much older than the newest odometry, and between two of its stamps, as on a vehicle."""

RAW_ROLE = "rear_right"
"""The camera that publishes raw images; the others publish JPEG."""

ANSWER_S = 5.0
"""How long the node may take to say something to a t0; it waits 0.1 s for a camera that does not come."""

WATCH_S = 0.03
"""In so long the node's watchdog looks at the time at least once."""

_names = count()


def small_rig(folder: Path, camera_hz: float = 10.0, odometry_hz: float = 50.0) -> Rig:
    """The shipped rig with small images, one of them raw, and other rates, written to `folder`."""
    described = read_rig("seven_camera").model_dump(mode="json")
    described["odometry"]["rate_hz"] = odometry_hz
    for camera in described["cameras"].values():
        camera |= {"width": WIDTH, "height": HEIGHT, "rate_hz": camera_hz}
    described["cameras"][RAW_ROLE] |= {"transport": "raw", "topic": f"/sensing/camera/{RAW_ROLE}/image_raw"}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(described, sort_keys=False))
    return read_rig(str(path))


def small_profile(folder: Path, **changes: Any) -> Path:
    """A profile of all seven cameras with a short window, so that tests need not wait two seconds."""
    described = read_profile("seven_camera").model_dump(mode="json")
    described |= {"image_height": 48, "image_width": 80, "frame_offsets_ms": [-200, -100, 0], "history_steps": 4, **changes}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def picture(grey: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A small picture that differs by `grey`, with an edge in it whatever the number: no covered lens."""
    image = np.full((height, width, 3), grey % 256, np.uint8)
    image[height // 2 :, : 8 + grey % (width - 8)] = (grey + 128) % 256
    return image


def jpeg(grey: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """The picture as JPEG."""
    return bytes(simplejpeg.encode_jpeg(picture(grey, width, height), quality=90))


@dataclass
class Vehicle:
    """What a vehicle publishes: straight ahead at a constant speed, on simulated time; and all that the node says to it."""

    node: Node
    rig: Rig
    log: Path
    now_ns: int = START_NS
    skip: set[str] = field(default_factory=set)  # roles that are silent

    def __post_init__(self) -> None:
        cameras = self.rig.cameras
        compressed = {role: camera for role, camera in cameras.items() if camera.transport == "compressed"}
        self.publisher = RigPublisher(self.node, self.rig.model_copy(update={"cameras": compressed}), clock=True)
        self.raw = {
            role: self.node.create_publisher(Image, cameras[role].topic, qos_profile_sensor_data)
            for role in cameras.keys() - compressed.keys()
        }
        self.navigation = self.node.create_publisher(msg.NavigationCommand, "/alpamayo_planner/navigation", 1)
        self.camera_period_ns = cameras[self.rig.anchor].period_ns
        self.odometry_period_ns = round(1e9 / self.rig.odometry.rate_hz)
        self.plans = PlanCollector(self.node)
        self.executor = SingleThreadedExecutor(context=self.node.context)
        self.executor.add_node(self.node)
        self.change_state = self.node.create_client(ChangeState, "/alpamayo_planner/change_state")
        self.services = {
            name: self.node.create_client(Trigger, f"/alpamayo_planner/{name}") for name in ("engage", "disengage")
        }
        self.driver = self.node.create_publisher(Bool, "/alpamayo_planner/driver_override", 1)

    @property
    def t0_ns(self) -> int:
        """Stamp of the newest frames."""
        return self.now_ns - CAMERA_LAG_NS

    @property
    def next_t0_ns(self) -> int:
        """Stamp of the frames of the next tick."""
        return self.t0_ns + self.camera_period_ns

    def wait(self, done: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        """Serve this side's callbacks until `done()` or the timeout; whether it is done."""
        deadline = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.005)
        return done()

    def pause(self, seconds: float) -> None:
        """Serve this side's callbacks for so long."""
        self.wait(lambda: False, seconds)

    def tick(self) -> None:
        """One camera period: clock and odometry, then a frame of every camera, then the node's answer to them."""
        until_ns = self.now_ns + self.camera_period_ns
        while self.now_ns < until_ns:
            self.now_ns += self.odometry_period_ns
            self.publisher.clock(self.now_ns)
            self.publisher.odometry(self.pose(self.now_ns))
        self.pause(0.002)  # the clock first, as on a vehicle
        for role in self.rig.cameras:
            if role not in self.skip:
                self.frame(role, self.t0_ns)
        if self.rig.anchor not in self.skip:
            self.wait(lambda: self.is_answered(self.t0_ns), ANSWER_S)
        self.pause(WATCH_S)

    def jump(self, seconds: float) -> None:
        """Let the clock jump; what came before is forgotten here, for its stamps may come again."""
        self.now_ns += round(seconds * 1e9)
        for collected in (self.plans.trajectory, self.plans.status, self.plans.reasoning, self.plans.candidates):
            collected.clear()

    def is_answered(self, t0_ns: int) -> bool:
        """Whether the node has said what it makes of this t0, and its plan, if there is one, has come."""
        said = self.statuses_at(t0_ns)
        return bool(said) and (not said[0].valid or self.planned_at(t0_ns) is not None)

    def frame(self, role: str, stamp: int, data: bytes | None = None) -> None:
        """Publish one camera frame."""
        grey = stamp // (100 * MS) % 250
        if role in self.raw:
            self.raw[role].publish(raw_image(stamp, picture(grey)))
        else:
            self.publisher.camera(role, stamp, jpeg(grey) if data is None else data)

    def pose(self, stamp: int) -> EgoPose:
        """Where the vehicle is then."""
        along_m = SPEED_MPS * (stamp - START_NS) / 1e9
        position = along_m * np.array([np.cos(HEADING_RAD), np.sin(HEADING_RAD), 0.0])
        return EgoPose(stamp, position, rotation_z(HEADING_RAD), np.array([SPEED_MPS, 0.0, 0.0]), np.zeros(3))

    def next_odometry(self) -> Odometry:
        """A good odometry message a moment after the newest one, for a test to spoil."""
        return odometry_message(self.pose(self.now_ns + MS), self.rig)

    def planned_at(self, t0_ns: int) -> msg.UnicycleTrajectory | None:
        """The plan of this t0, if it came; not its hold."""
        model = msg.UnicycleTrajectory.SOURCE_MODEL
        return next(
            (t for t in reversed(self.plans.trajectory) if t.source == model and stamp_ns(t.header.stamp) == t0_ns), None
        )

    def statuses_at(self, t0_ns: int) -> list[msg.PlanStatus]:
        """What was said of the cycle of this t0; a hold has its stamp, too, and a stop may have it."""
        of_cycle = (msg.PlanStatus.SOURCE_NONE, msg.UnicycleTrajectory.SOURCE_MODEL)
        return [s for s in self.plans.status if stamp_ns(s.header.stamp) == t0_ns and s.source in of_cycle and s.stages]

    def status_at(self, t0_ns: int) -> msg.PlanStatus:
        """The one status of this t0."""
        (status,) = self.statuses_at(t0_ns)
        return status

    def drive_until_plan(self, ticks: int = 40) -> msg.UnicycleTrajectory:
        """Drive until there is a plan for the newest frames. Fails after so many camera periods without one."""
        for _ in range(ticks):
            self.tick()
            if plan := self.planned_at(self.t0_ns):
                return plan
        last = [reason for status in self.plans.status[-3:] for reason in status.reasons]
        raise AssertionError(f"no plan in {ticks} ticks; last reasons: {last}; log: {self.log.read_text()[-2000:]}")

    def diagnostic(self, name: str, text: str = "", timeout_s: float = 5.0) -> str:
        """Wait until a diagnostic that comes from now on says `text`: its message, then its values, as one string."""
        self.plans.diagnostics.clear()
        self.wait(lambda: text in self.said(name) and bool(self.said(name)), timeout_s)
        assert text in self.said(name), f"{name!r} never said {text!r}; last: {self.said(name)!r}"
        return self.said(name)

    def values(self, name: str) -> dict[str, str]:
        """Values of the newest diagnostic of this name, as of now."""
        self.diagnostic(name)
        return self.plans.values(f": {name}")

    def said(self, name: str) -> str:
        """The newest diagnostic of this name, as one string; empty when there is none."""
        status = self.plans.diagnostics.get(f"alpamayo_planner: {name}")
        return "; ".join([status.message, *(f"{pair.key}={pair.value}" for pair in status.values)]) if status else ""

    def transition(self, transition: int) -> bool:
        """Ask the node for a lifecycle transition; whether it succeeded."""
        assert self.wait(self.change_state.service_is_ready)
        future = self.change_state.call_async(ChangeState.Request(transition=Transition(id=transition)))
        assert self.wait(future.done, 60)
        return bool(future.result().success)

    def ask(self, service: str) -> str:
        """Ask the node to engage or to disengage; why it does not, empty when it does."""
        assert self.wait(self.services[service].service_is_ready)
        future = self.services[service].call_async(Trigger.Request())
        assert self.wait(future.done)
        assert future.result().success is (not future.result().message)
        return str(future.result().message)

    def override(self, acts: bool) -> None:
        """Let the driver act, or not any more; the node has taken it when this returns."""
        assert self.wait(lambda: self.driver.get_subscription_count() > 0)
        self.driver.publish(Bool(data=acts))
        assert self.driver.wait_for_all_acked(Duration(seconds=5))
        self.pause(0.1)  # from its reader into its callback

    def is_heard(self) -> bool:
        """Whether the node listens to every topic of this vehicle, and this side to the node."""
        topics = [*(camera.topic for camera in self.rig.cameras.values()), self.rig.odometry.topic, "/clock"]
        names = ("status", "shadow/trajectory", "shadow/reasoning", "shadow/candidates")
        outputs = [f"/alpamayo_planner/{name}" for name in names]
        return all(self.node.count_subscribers(topic) for topic in topics) and all(map(self.node.count_publishers, outputs))


def command(vehicle: Vehicle, road_name: str, for_ms: int) -> int:
    """Send a navigation command and wait until the node has it; when it expires, ns."""
    expires_ns = vehicle.now_ns + for_ms * MS
    message = msg.NavigationCommand(maneuver=msg.NavigationCommand.MANEUVER_KEEP_LEFT, road_name=road_name)
    message.header.stamp, message.expires = time_message(vehicle.now_ns), time_message(expires_ns)
    vehicle.navigation.publish(message)
    assert vehicle.navigation.wait_for_all_acked(Duration(seconds=5))
    vehicle.pause(0.1)  # from its reader into its callback
    return expires_ns


def lost(vehicle: Vehicle, role: str) -> int:
    """Frames of a camera that were refused or lost, as the newest status says."""
    status = vehicle.status_at(vehicle.t0_ns)
    return int(dict(zip(status.camera_roles, status.camera_dropped, strict=True))[role])


def raw_image(stamp: int, image: np.ndarray, **changes: Any) -> Image:
    """An image message of RGB pixels, or one that lies about them."""
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=array.array("B", image.tobytes()))
    message.header.stamp = time_message(stamp)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


@contextmanager
def node_for(rig: Rig, folder: Path, parameters: Mapping[str, Any]) -> Iterator[tuple[Vehicle, subprocess.Popen[bytes]]]:
    """A planner node's process and a vehicle with the cameras of this rig, which is the folder's rig.yaml."""
    # Engines of our own are found in test/ (see engine/own_engines.py).
    environment = node_environment() | {"PYTHONPATH": str(TEST_FOLDER)}
    given = {"rig": folder / "rig.yaml", "use_sim_time": True, **parameters}
    with (
        node_process("planner_node", given, folder / "planner.log", environment) as process,
        client_node(f"vehicle_{os.getpid()}_{next(_names)}") as node,
    ):
        vehicle = Vehicle(node, rig, folder / "planner.log")
        yield vehicle, process
        vehicle.executor.shutdown()


@contextmanager
def planner(
    folder: Path,
    camera_hz: float = 10.0,
    odometry_hz: float = 50.0,
    profile: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> Iterator[tuple[Vehicle, subprocess.Popen[bytes]]]:
    """A planner node's process and a vehicle with small cameras; `profile` changes the small one."""
    rig = small_rig(folder, camera_hz, odometry_hz)
    with node_for(rig, folder, {"profile": small_profile(folder, **(profile or {})), **parameters}) as running:
        yield running


@contextmanager
def driving(folder: Path, **arguments: Any) -> Iterator[tuple[Vehicle, subprocess.Popen[bytes]]]:
    """A planner node that plans already."""
    with planner(folder, **arguments) as (vehicle, process):
        assert vehicle.wait(vehicle.is_heard, 60), vehicle.log.read_text()
        for _ in range(5):  # until the node surely has it: before the first /clock it refuses everything
            vehicle.publisher.clock(vehicle.now_ns)
            vehicle.pause(0.03)
        vehicle.drive_until_plan()
        assert vehicle.node.count_publishers("/alpamayo_planner/status") == 1, "the node of another test is still there"
        yield vehicle, process


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def fds(pid: int) -> int:
    """How many file descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@contextmanager
def left_planning(running: tuple[Vehicle, Any]) -> Iterator[Vehicle]:
    """A vehicle whose planner plans, and is left so."""
    vehicle, process = running
    vehicle.drive_until_plan()
    yield vehicle
    vehicle.skip.clear()
    assert process.poll() is None, f"the node died: {vehicle.log.read_text()[-2000:]}"
    vehicle.drive_until_plan()
