"""A rosbag2 of a drive through the driving world as a rig of cameras would have recorded it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import simplejpeg
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags import BagWriter, message
from alpamayo_ros.evaluation import messages
from alpamayo_ros.evaluation.replay import EGO_SIGNALS, IMAGE_TYPES, NAVIGATION
from alpamayo_ros.geometry import odom_from_ego
from alpamayo_ros.profile import Rig, RigCamera
from alpamayo_ros.simulation.closed_loop.loop import run_episode
from alpamayo_ros.simulation.closed_loop.policies import ExpertPolicy
from alpamayo_ros.simulation.closed_loop.settings import start_ns
from alpamayo_ros.simulation.data.recording import at, ego_at, end_s
from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.families import make_scenario
from alpamayo_ros.simulation.navigation import navigation_at
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras
from alpamayo_ros.simulation.rendering.scene import Scene
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import STEP_S, SignalSample, role_index

JPEG_QUALITY = 86
NOISE_SIGMA = 5.0  # of a full-size camera, grey levels
ODOMETRY_VARIANCE = 1e-4  # that is stated of every axis of pose and twist
SIGNALS_HZ = 50.0  # a chassis bus
NAVIGATION_HZ = 1 / STEP_S  # a command holds for one step of the world
CAMERA_DELAY_NS = 25_000_000  # from exposure to the recorder: read-out, encoding, transport
CAMERA_STAGGER_NS = 700_000  # the cameras' messages arrive one after the other
OTHERS_DELAY_NS = 2_000_000

_SECOND_NS = 1_000_000_000
_WINDOW_NS = 200_000_000  # what is rendered in parallel and then written

_Message = tuple[str, str, Any]  # topic, type, message


@dataclass(frozen=True)
class MadeBag:
    """What was written."""

    messages: int
    duration_s: float
    bytes: int


class _Due(NamedTuple):
    """A measurement to write."""

    log_ns: int
    exposure_ns: int  # when the sensor measured
    source: str  # "odometry", "signals", "navigation" or a camera's role


@dataclass(frozen=True)
class _Studio:
    """Everything a message depends on besides its time."""

    rig: Rig
    episode: Episode
    stage: Stage
    cameras: SceneCameras
    start_ns: int


def make_bag(out: Path, rig: Rig, duration_s: float = 20.0, seed: int = 0, family: str = "town") -> MadeBag:
    """Let the expert drive through a scenario of a family and record it, see `write_episode`.

    The same arguments give the same messages. `out` is a folder that does not exist yet. Raises InvalidInput.
    """
    scenario = make_scenario(family, seed, duration_s)
    # Other than in small pictures, where it stands for anything, noise has its price here: it is most of what JPEG encodes.
    scenario = replace(scenario, look=replace(scenario.look, noise_sigma=NOISE_SIGMA))
    return write_episode(out, rig, run_episode(scenario, ExpertPolicy()))


def write_episode(out: Path, rig: Rig, episode: Episode) -> MadeBag:
    """Record a drive: what the cameras saw, camera_info, odometry, transforms, ego signals and navigation commands.

    The same drive gives the same messages. `out` is a folder that does not exist yet. Raises InvalidInput.
    """
    begin_ns = start_ns(episode.scenario)
    studio = _Studio(rig, episode, Stage(episode.scenario), SceneCameras(rig), begin_ns)
    windows = [list(window) for _, window in groupby(_schedule(studio), lambda due: (due.log_ns - begin_ns) // _WINDOW_NS)]
    with BagWriter(out) as bag, ThreadPoolExecutor(2) as pool:
        frames = {camera.frame_id: studio.cameras.base_from_optical[role] for role, camera in rig.cameras.items()}
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", begin_ns, messages.transforms(rig.base_frame, frames, begin_ns))
        for window in track(windows, "recording", console=Console(stderr=True)):
            images = _images(studio, [due for due in window if due.source in rig.cameras], pool)
            for due in window:
                said = _camera(studio, due, next(images)) if due.source in rig.cameras else _vehicle(studio, due)
                for topic, type_name, value in said:
                    bag.write(topic, type_name, due.log_ns, value)
    return MadeBag(bag.messages, end_s(episode), sum(file.stat().st_size for file in out.iterdir()))


def _schedule(studio: _Studio) -> list[_Due]:
    """All measurements of [0, end) in the order in which a recorder receives them."""
    rig, end = studio.rig, end_s(studio.episode)
    delays_ns = {role: CAMERA_DELAY_NS + CAMERA_STAGGER_NS * role_index(role) for role in rig.cameras}
    rates_hz = {role: camera.rate_hz for role, camera in rig.cameras.items()}
    rates_hz |= {"odometry": rig.odometry.rate_hz, "signals": SIGNALS_HZ, "navigation": NAVIGATION_HZ}
    return sorted(
        _Due(exposure_ns + delays_ns.get(source, OTHERS_DELAY_NS), exposure_ns, source)
        for source, rate_hz in rates_hz.items()
        for exposure_ns in (studio.start_ns + round(k * _SECOND_NS / rate_hz) for k in range(round(end * rate_hz)))
    )


def _t_s(studio: _Studio, due: _Due) -> float:
    return (due.exposure_ns - studio.start_ns) / _SECOND_NS


def _vehicle(studio: _Studio, due: _Due) -> Iterator[_Message]:
    """What the vehicle says of itself, and what navigation says."""
    ego = ego_at(studio.episode, _t_s(studio, due))
    if due.source == "odometry":
        yield from _odometry(studio.rig, ego, due.exposure_ns)
    elif due.source == "signals":
        signals = SignalSample(due.exposure_ns, ego.steering_rad, ego.indicator, ego.accel_mps2)
        yield EGO_SIGNALS, "alpamayo_ros/msg/EgoSignals", messages.ego_signals(signals, studio.rig.base_frame)
    elif command := navigation_at(studio.episode.scenario, ego, due.exposure_ns):
        yield NAVIGATION, "alpamayo_ros/msg/NavigationCommand", messages.navigation(command, due.exposure_ns)


def _odometry(rig: Rig, ego: Ego, stamp_ns: int) -> Iterator[_Message]:
    pose = ego.pose(stamp_ns)
    odometry = messages.odometry(pose, rig.odometry.frame, rig.base_frame, ODOMETRY_VARIANCE)
    yield rig.odometry.topic, "nav_msgs/msg/Odometry", odometry
    moved = messages.transforms(rig.odometry.frame, {rig.base_frame: odom_from_ego(pose)}, stamp_ns)
    yield "/tf", "tf2_msgs/msg/TFMessage", moved


def _camera(studio: _Studio, due: _Due, image: Any) -> Iterator[_Message]:
    camera = studio.rig.cameras[due.source]
    info = messages.camera_info(studio.cameras.lenses[due.source], _stamp_ns(camera, due), camera.frame_id)
    yield camera.info_topic, "sensor_msgs/msg/CameraInfo", info
    yield camera.topic, IMAGE_TYPES[camera.transport], image


def _stamp_ns(camera: RigCamera, due: _Due) -> int:
    """The stamp that becomes the exposure time when the rig's offset is added."""
    return due.exposure_ns - round(camera.stamp_offset_ms * 1e6)


def _images(studio: _Studio, due: list[_Due], pool: ThreadPoolExecutor) -> Iterator[Any]:
    """The camera messages of a window, in its order."""
    instants = {d.exposure_ns: _t_s(studio, d) for d in due}
    scenes = {ns: studio.stage.scene(at(studio.episode, t_s)) for ns, t_s in instants.items()}
    return pool.map(lambda d: _image(studio, scenes[d.exposure_ns], d), due)


def _image(studio: _Studio, scene: Scene, due: _Due) -> Any:
    """One camera message: rendered with the noise of a sensor, encoded as the rig says."""
    camera, role = studio.rig.cameras[due.source], due.source
    odom_from_optical = studio.cameras.odom_from_optical(role, scene.ego)
    noise_key = (studio.episode.scenario.seed, role_index(role), round(_t_s(studio, due) * 1000))
    pixels = scene.picture(studio.cameras.lenses[role], odom_from_optical, noise_key)
    stamp_ns = _stamp_ns(camera, due)
    if camera.transport == "compressed":
        jpeg = simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "420")
        return messages.compressed_image(jpeg, "jpeg", stamp_ns, camera.frame_id)
    header = messages.header(stamp_ns, camera.frame_id)
    size = (camera.height, camera.width)
    return message("sensor_msgs/msg/Image")(header, *size, "rgb8", 0, camera.width * 3, pixels.reshape(-1))
