"""A rosbag2 of the driving world as a rig of cameras would have recorded it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags import BagWriter, message
from alpamayo_ros.cameras import Pinhole, base_from_optical, nominal_camera
from alpamayo_ros.evaluation import messages
from alpamayo_ros.geometry import rotation_z, transform
from alpamayo_ros.profile import Rig, RigCamera
from alpamayo_ros.simulation.render import render
from alpamayo_ros.simulation.scene import Scene, scene_at, static_scene
from alpamayo_ros.simulation.world import EgoStates, World, ego_at, make_world
from alpamayo_ros.types import U8, EgoPose, InvalidInput, role_index

EPOCH_S = 1_700_000_000  # of the first sensor sample for seed 0
JPEG_QUALITY = 86
NOISE_SIGMA = 5.0  # of the sensors, grey levels
ODOMETRY_VARIANCE = 1e-4  # that is stated of every axis of pose and twist
CAMERA_DELAY_NS = 25_000_000  # from exposure to the recorder: read-out, encoding, transport
CAMERA_STAGGER_NS = 700_000  # the cameras' messages arrive one after the other
ODOMETRY_DELAY_NS = 2_000_000

_NOISE_MARGIN_PX = 64  # one tile of noise serves all frames of a size, shifted by up to this much
_SECOND_NS = 1_000_000_000
_WINDOW_NS = 200_000_000  # what is rendered in parallel and then written


@dataclass(frozen=True)
class MadeBag:
    """What was written."""

    messages: int
    duration_s: float
    bytes: int


class _Due(NamedTuple):
    """A message to write."""

    log_ns: int
    exposure_ns: int  # when the sensor measured
    role: str  # empty: odometry
    frame: int  # count of the sensor's samples before it


class _Noise(NamedTuple):
    """Sensor noise as two unsigned tiles: what it adds and what it takes away."""

    plus: U8
    minus: U8


@dataclass(frozen=True)
class _Studio:
    """Everything an image depends on besides its time."""

    rig: Rig
    world: World
    static: Scene
    seed: int
    start_ns: int
    lenses: dict[str, Pinhole]  # by role
    noise: dict[tuple[int, int], _Noise]  # by (width, height)


def make_bag(out: Path, rig: Rig, duration_s: float = 20.0, seed: int = 0) -> MadeBag:
    """Drive through a world and record it: images and camera_info per frame, odometry, static transforms.

    The same arguments give the same messages. `out` is a folder that does not exist yet. Raises InvalidInput.
    """
    if not 0 <= seed < 10_000:
        raise InvalidInput(f"seed: want 0 <= seed < 10000, got {seed}")
    start_ns = (EPOCH_S + 1000 * seed) * _SECOND_NS
    world = make_world(seed, duration_s)
    lenses = {role: nominal_camera(camera) for role, camera in rig.cameras.items()}
    studio = _Studio(rig, world, static_scene(world), seed, start_ns, lenses, _noises(rig, seed))
    schedule = _schedule(rig, duration_s, start_ns)
    windows = [list(window) for _, window in groupby(schedule, lambda due: (due.log_ns - start_ns) // _WINDOW_NS)]
    with BagWriter(out) as bag, ThreadPoolExecutor(2) as pool:
        places = {camera.frame_id: base_from_optical(camera.mount) for camera in rig.cameras.values()}
        transforms = messages.static_transforms(rig.base_frame, places, start_ns)
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", start_ns, transforms)
        for window in track(windows, "recording", console=Console(stderr=True)):
            images = _images(studio, [due for due in window if due.role], pool)
            for due in window:
                _write(bag, studio, due, images)
    return MadeBag(bag.messages, duration_s, sum(file.stat().st_size for file in out.iterdir()))


def _schedule(rig: Rig, duration_s: float, start_ns: int) -> list[_Due]:
    """All samples of [0, duration_s) in the order in which a recorder receives them."""
    due = [
        _Due(exposure_ns + ODOMETRY_DELAY_NS, exposure_ns, "", k)
        for k, exposure_ns in _samples(rig.odometry.rate_hz, duration_s, start_ns)
    ]
    for role, camera in rig.cameras.items():
        delay_ns = CAMERA_DELAY_NS + CAMERA_STAGGER_NS * role_index(role)
        due += [_Due(t_ns + delay_ns, t_ns, role, k) for k, t_ns in _samples(camera.rate_hz, duration_s, start_ns)]
    return sorted(due)


def _samples(rate_hz: float, duration_s: float, start_ns: int) -> Iterator[tuple[int, int]]:
    return ((k, start_ns + round(k * _SECOND_NS / rate_hz)) for k in range(round(duration_s * rate_hz)))


def _write(bag: BagWriter, studio: _Studio, due: _Due, images: Iterator[Any]) -> None:
    rig = studio.rig
    if not due.role:
        pose = _pose(_ego(studio, due.exposure_ns), due.exposure_ns)
        odometry = messages.odometry(pose, rig.odometry.frame, rig.base_frame, ODOMETRY_VARIANCE)
        bag.write(rig.odometry.topic, "nav_msgs/msg/Odometry", due.log_ns, odometry)
        return
    camera = rig.cameras[due.role]
    kind = "CompressedImage" if camera.transport == "compressed" else "Image"
    info = messages.camera_info(studio.lenses[due.role], _stamp_ns(camera, due), camera.frame_id)
    bag.write(camera.info_topic, "sensor_msgs/msg/CameraInfo", due.log_ns, info)
    bag.write(camera.topic, f"sensor_msgs/msg/{kind}", due.log_ns, next(images))


def _ego(studio: _Studio, exposure_ns: int) -> EgoStates:
    return ego_at(studio.world, np.array([(exposure_ns - studio.start_ns) / _SECOND_NS]))


def _stamp_ns(camera: RigCamera, due: _Due) -> int:
    """The stamp that becomes the exposure time when the rig's offset is added."""
    return due.exposure_ns - round(camera.stamp_offset_ms * 1e6)


def _images(studio: _Studio, due: list[_Due], pool: ThreadPoolExecutor) -> Iterator[Any]:
    """The camera messages of a window, in its order."""
    times_ns = {d.exposure_ns for d in due}
    scenes = {t_ns: scene_at(studio.static, studio.world, (t_ns - studio.start_ns) / _SECOND_NS) for t_ns in times_ns}
    return pool.map(lambda d: _image(studio, scenes[d.exposure_ns], d), due)


def _image(studio: _Studio, scene: Scene, due: _Due) -> Any:
    """One camera message: rendered, noisy, encoded as the rig says."""
    camera = studio.rig.cameras[due.role]
    ego = _ego(studio, due.exposure_ns)
    odom_from_ego = transform(rotation_z(float(ego.yaw_rad[0])), ego.xyz[0])
    clean = render(scene, studio.lenses[due.role], odom_from_ego @ base_from_optical(camera.mount))
    rng = np.random.default_rng([studio.seed, role_index(due.role), due.frame])
    pixels = _noisy(clean, studio.noise[camera.width, camera.height], rng)
    stamp_ns = _stamp_ns(camera, due)
    if camera.transport == "compressed":
        jpeg = simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, "RGB", "420")
        return messages.compressed_image(jpeg, "jpeg", stamp_ns, camera.frame_id)
    header = messages.header(stamp_ns, camera.frame_id)
    size = (camera.height, camera.width)
    return message("sensor_msgs/msg/Image")(header, *size, "rgb8", 0, camera.width * 3, pixels.reshape(-1))


def _noises(rig: Rig, seed: int) -> dict[tuple[int, int], _Noise]:
    rng = np.random.default_rng([seed, 7])
    sizes = sorted({(camera.width, camera.height) for camera in rig.cameras.values()})
    return {(width, height): _make_noise(rng, width, height) for width, height in sizes}


def _make_noise(rng: np.random.Generator, width: int, height: int) -> _Noise:
    shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX, 3)
    noise = np.rint(NOISE_SIGMA * rng.standard_normal(shape, dtype=np.float32))
    return _Noise(np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8))


def _noisy(image: U8, noise: _Noise, rng: np.random.Generator) -> U8:
    top, left = rng.integers(0, _NOISE_MARGIN_PX, 2)
    window = np.s_[top : top + image.shape[0], left : left + image.shape[1]]
    return np.asarray(cv2.subtract(cv2.add(image, noise.plus[window]), noise.minus[window]), np.uint8)


def _pose(ego: EgoStates, stamp_ns: int) -> EgoPose:
    """Of a vehicle that stays level and drives where it looks."""
    velocity, turn = np.array([ego.speed_mps[0], 0.0, 0.0]), np.array([0.0, 0.0, ego.yaw_rate_rps[0]])
    return EgoPose(stamp_ns, ego.xyz[0], rotation_z(float(ego.yaw_rad[0])), velocity, turn)
