"""What the sensors of a simulated vehicle publish: the messages that its planner listens to, one by one.

Pictures are raw RGB at the size that the engine sees, so that no codec changes or delays them, and only those that a coming
window asks for are made. Odometry comes every 0.1 s, at the very instants of the ego history: nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from alpamayo_ros.bags import message
from alpamayo_ros.cameras import base_from_optical
from alpamayo_ros.evaluation import messages
from alpamayo_ros.evaluation.replay import EGO_SIGNALS, IMAGE_TYPES, NAVIGATION
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.simulation.closed_loop.settings import TICK_NS, LoopSettings, start_ns, tick_of
from alpamayo_ros.simulation.navigation import navigation_at
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures, rig_at
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.types import U8, InvalidInput, SignalSample

ODOMETRY, TRANSFORMS = "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
COMMAND, SIGNALS = "alpamayo_ros/msg/NavigationCommand", "alpamayo_ros/msg/EgoSignals"


class Sensed(NamedTuple):
    """A message on its way, as `bags.message` makes them."""

    topic: str
    type_name: str
    message: Any

    @property
    def is_picture(self) -> bool:
        """Whether a camera made it."""
        return self.type_name == IMAGE_TYPES["raw"]


class Sensors:
    """The sensors of a rig in the driving world, as far as a profile wants them, one scenario after the other.

    Raises InvalidInput for a rig that lacks what the profile requires, and for a profile that looks at instants which the
    world does not have or further back than the warm-up.
    """

    def __init__(self, profile: InputProfile, rig: Rig, settings: LoopSettings) -> None:
        self.profile = profile
        self._settings = settings
        self._offsets = _offset_ticks(profile, settings)
        self.rig = _simulated(rig, profile, _picture_hz(self._offsets, settings))
        self._cameras = SceneCameras(rig, profile.image_shape[:2])
        self._scenario: Scenario | None = None
        self._stage: Stage | None = None
        self._start_ns = 0

    @property
    def types(self) -> dict[str, str]:
        """The types of all topics that anything can be published on."""
        pictures = {camera.topic: IMAGE_TYPES["raw"] for camera in self.rig.cameras.values()}
        return pictures | {
            self.rig.odometry.topic: ODOMETRY,
            "/tf_static": TRANSFORMS,
            NAVIGATION: COMMAND,
            EGO_SIGNALS: SIGNALS,
        }

    def begin(self, scenario: Scenario) -> Iterator[Sensed]:
        """Set the stage; what is published once."""
        self._scenario, self._start_ns = scenario, start_ns(scenario)
        self._stage = Stage(scenario)
        places = {camera.frame_id: base_from_optical(camera.mount) for camera in self.rig.cameras.values()}
        transforms = messages.transforms(self.rig.base_frame, places, self._start_ns)
        yield Sensed("/tf_static", TRANSFORMS, transforms)

    def stamp_ns(self, t_s: float) -> int:
        """The stamp of a tick of the world."""
        return self._start_ns + tick_of(t_s) * TICK_NS

    def looks_at(self, tick: int) -> bool:
        """Whether some window has its pictures of this tick."""
        return any(self._settings.plans_at(tick - offset) for offset in self._offsets)

    def sense(self, snapshot: Snapshot) -> Iterator[Sensed]:
        """Everything published at a tick; its pictures come last, and with them all of a window is there."""
        assert self._scenario is not None
        stamp_ns, ego = self.stamp_ns(snapshot.t_s), snapshot.ego
        odometry = messages.odometry(ego.pose(stamp_ns), self.rig.odometry.frame, self.rig.base_frame, 0.0)
        yield Sensed(self.rig.odometry.topic, ODOMETRY, odometry)
        if set(self.profile.ego_signals) - {"speed"}:
            yield Sensed(EGO_SIGNALS, SIGNALS, messages.ego_signals(_signals(ego, stamp_ns), self.rig.base_frame))
        command = navigation_at(self._scenario, ego, stamp_ns) if self.profile.navigation != "none" else None
        if command is not None:
            yield Sensed(NAVIGATION, COMMAND, messages.navigation(command, stamp_ns))
        if self.looks_at(tick_of(snapshot.t_s)):
            yield from self._pictures(snapshot, stamp_ns)

    def _pictures(self, snapshot: Snapshot, stamp_ns: int) -> Iterator[Sensed]:
        assert self._stage is not None
        taken: Mapping[str, U8] = pictures(self._stage, snapshot, self._cameras, tuple(self.rig.cameras))
        for role, picture in taken.items():
            camera = self.rig.cameras[role]
            header, (height, width, _) = messages.header(stamp_ns, camera.frame_id), picture.shape
            image = message(IMAGE_TYPES["raw"])(header, height, width, "rgb8", 0, 3 * width, picture.reshape(-1))
            yield Sensed(camera.topic, IMAGE_TYPES["raw"], image)


def _signals(ego: Ego, stamp_ns: int) -> SignalSample:
    """As their message holds them."""
    return SignalSample(stamp_ns, float(np.float32(ego.steering_rad)), ego.indicator, float(np.float32(ego.accel_mps2)))


def _offset_ticks(profile: InputProfile, settings: LoopSettings) -> tuple[int, ...]:
    if odd := [ms for ms in profile.frame_offsets_ms if ms % (TICK_NS // 1_000_000)]:
        raise InvalidInput(f"profile {profile.name} looks at {odd} ms: the world has an instant every 100 ms")
    offsets = tuple(offset_ns // TICK_NS for offset_ns in profile.offsets_ns)
    back_ticks = max(-offsets[0], profile.history_steps - 1)
    if back_ticks > settings.warm_up_ticks:
        raise InvalidInput(
            f"profile {profile.name} looks {back_ticks / 10:.1f} s back, the warm-up is {settings.warm_up_s:.1f} s long"
        )
    return offsets


def _picture_hz(offsets: tuple[int, ...], settings: LoopSettings) -> float:
    """Of the instants at which pictures are taken, the nearest two."""
    windows = 2 - offsets[0] // settings.period_ticks  # so many t0s until the first window is behind
    instants = sorted({window * settings.period_ticks + offset for window in range(windows) for offset in offsets})
    return 10.0 / min(later - earlier for earlier, later in pairwise(instants))


def _simulated(rig: Rig, profile: InputProfile, picture_hz: float) -> Rig:
    """The rig as the world has it: the cameras that are used, at the engine's size, in step with the world."""
    rig.check_covers(profile)
    sized = rig_at(rig, profile.image_height, profile.image_width)
    changes = {"transport": "raw", "rate_hz": picture_hz, "stamp_offset_ms": 0.0}
    cameras = {role: sized.cameras[role].model_copy(update=changes) for role in profile.cameras if role in sized.cameras}
    odometry = sized.odometry.model_copy(update={"rate_hz": 1e9 / TICK_NS})
    return sized.model_copy(update={"cameras": cameras, "odometry": odometry})
