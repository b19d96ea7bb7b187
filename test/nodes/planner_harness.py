"""A planner node in its own process on a small rig, fed by hand over real DDS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import yaml
from nav_msgs.msg import Odometry
from nodes.ros_harness import started
from rclpy.node import Node

from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.nodes.client import PlanCollector, RigPublisher, client_node, odometry_message, spin_until
from alpamayo_ros.profile import Rig, read_profile, read_rig
from alpamayo_ros.types import EgoPose

WIDTH, HEIGHT = 160, 96
SPEED_MPS = 8.0
START_NS = 1_700_000_000_000_000_000


def small_rig(folder: Path, camera_hz: float = 10.0, odometry_hz: float = 50.0) -> Rig:
    """The shipped rig with small images and other rates, written to `folder`."""
    described = read_rig("seven_camera").model_dump(mode="json")
    described["odometry"]["rate_hz"] = odometry_hz
    for camera in described["cameras"].values():
        camera |= {"width": WIDTH, "height": HEIGHT, "rate_hz": camera_hz}
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(described, sort_keys=False))
    return read_rig(str(path))


def small_profile(folder: Path) -> Path:
    """A profile of all seven cameras with a short window, so that tests need not wait two seconds."""
    described = read_profile("seven_camera").model_dump(mode="json")
    described |= {"image_height": 48, "image_width": 80, "frame_offsets_ms": [-200, -100, 0], "history_steps": 4}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(described))
    return path


def jpeg(grey: int) -> bytes:
    """A small picture that differs by `grey`."""
    image = np.full((HEIGHT, WIDTH, 3), grey, np.uint8)
    image[HEIGHT // 2 :, : grey % WIDTH] = 255 - grey
    return bytes(simplejpeg.encode_jpeg(image, quality=90))


@dataclass
class Vehicle:
    """What a vehicle publishes, driven by hand: straight ahead at a constant speed, stamps on simulated time."""

    node: Node
    rig: Rig
    publisher: RigPublisher
    plans: PlanCollector
    now_ns: int = START_NS
    skip: set[str] = field(default_factory=set)  # roles that are silent

    def tick(self, steps: int = 1, camera_every_ms: int = 100, odometry_every_ms: int = 20) -> None:
        """Let `steps` camera periods pass: odometry and clock on the way, a frame of every camera at the end."""
        for _ in range(steps):
            for _ in range(camera_every_ms // odometry_every_ms):
                self.now_ns += odometry_every_ms * 1_000_000
                self.publisher.clock(self.now_ns)
                self.publisher.odometry(self.pose(self.now_ns))
                spin_until(self.node, lambda: False, odometry_every_ms / 1e3)
            for role in self.rig.cameras:
                if role not in self.skip:
                    self.publisher.camera(role, self.now_ns, jpeg(self.now_ns // 100_000_000 % 250))
            spin_until(self.node, lambda: False, 0.03)

    def pose(self, stamp_ns: int) -> EgoPose:
        """Where the vehicle is then."""
        position = np.array([SPEED_MPS * (stamp_ns - START_NS) / 1e9, 0.0, 0.0])
        return EgoPose(stamp_ns, position, rotation_z(0.0), np.array([SPEED_MPS, 0.0, 0.0]), np.zeros(3))

    def bad_odometry(self) -> Odometry:
        """A good odometry message of just now, for a test to spoil."""
        return odometry_message(self.pose(self.now_ns + 1_000_000), self.rig)

    def drive_until_plan(self, steps: int = 40) -> Any:
        """Drive until a new plan comes; the message. Fails after `steps` camera periods without one."""
        before = len(self.plans.trajectory)
        for _ in range(steps):
            self.tick()
            if len(self.plans.trajectory) > before:
                return self.plans.trajectory[-1]
        last = [reason for status in self.plans.status[-3:] for reason in status.reasons]
        raise AssertionError(f"no plan in {steps} camera periods; last reasons: {last}")

    def diagnostic(self, name_ending: str, text: str, timeout_s: float = 4.0) -> str:
        """Wait until a diagnostic mentions `text`; returns its message and values as one string."""

        def said() -> str:
            for name, status in self.plans.diagnostics.items():
                whole = "; ".join([status.message, *(f"{pair.key}={pair.value}" for pair in status.values)])
                if name.endswith(name_ending) and text in whole:
                    return whole
            return ""

        spin_until(self.node, lambda: bool(said()), timeout_s)
        assert said(), f"{name_ending!r} never said {text!r}; last: {self.plans.diagnostics.get(name_ending)}"
        return said()


@contextmanager
def planner(folder: Path, *extra: str, camera_hz: float = 10.0, odometry_hz: float = 50.0) -> Iterator[tuple[Vehicle, Any]]:
    """A running planner node and the vehicle it listens to."""
    rig = small_rig(folder, camera_hz, odometry_hz)
    arguments = ["rig:=" + str(folder / "rig.yaml"), "profile:=" + str(small_profile(folder)), "use_sim_time:=true", *extra]
    flat = [text for argument in arguments for text in ("-p", argument)]
    with started("planner_node", folder / "planner.log", *flat) as process, client_node(f"vehicle_{os.getpid()}") as node:
        vehicle = Vehicle(node, rig, RigPublisher(node, rig, clock=True), PlanCollector(node))
        ready = spin_until(node, lambda: vehicle.publisher.subscribers() >= 1, 20)
        assert ready, (folder / "planner.log").read_text()
        yield vehicle, process


def wait_for(vehicle: Vehicle, done: Any, timeout_s: float = 5.0) -> bool:
    """Serve the vehicle's node until `done()`."""
    return spin_until(vehicle.node, done, timeout_s)
