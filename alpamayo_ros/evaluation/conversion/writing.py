"""A clip written as a bag: images, calibration, transforms and odometry in the order of their stamps."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track

from alpamayo_ros.bags import BagWriter
from alpamayo_ros.evaluation import messages
from alpamayo_ros.evaluation.conversion.clip import Clip, ClipCamera
from alpamayo_ros.evaluation.conversion.motion import I64
from alpamayo_ros.pipeline.images import compressed_header
from alpamayo_ros.profile import Rig, RigCamera, read_rig
from alpamayo_ros.types import InvalidInput

RIG_FILE = "rig.yaml"
IMAGES_AHEAD = 3
"""Images of each camera that are read, or decoded and encoded again, while others are written."""

RATE_SLACK = 0.05
"""Every n-th frame stays, n as large as leaves this much less than the rate asked for: 29.97 Hz counts as 30."""


@dataclass(frozen=True)
class Converted:
    """What was written."""

    scene: str
    messages: int
    duration_s: float  # from the first to the last message
    bytes: int  # of all files in the folder
    cameras: tuple[str, ...]  # roles
    rig: str  # the rig file that describes the bag, in its folder
    notes: tuple[str, ...]


class _Due(NamedTuple):
    """A message to write."""

    log_ns: int
    topic: str
    type_name: str
    message: Any


def write_clip(clip: Clip, out: Path, rate_hz: float) -> Converted:
    """Write a clip into a bag folder that does not exist yet, with the rig file that describes it.

    Cameras that are faster keep every n-th frame, so that `rate_hz` remain. A message is logged at its stamp. Raises
    InvalidInput; what was written before stays.
    """
    kept = _kept_frames(clip, rate_hz)
    rig = fitted_rig(clip, kept)
    first_ns = min(clip.poses[0].stamp_ns, *(int(camera.stamps_ns[0]) for camera in clip.cameras))
    places = {rig.cameras[camera.role].frame_id: camera.base_from_optical for camera in clip.cameras}
    streams = [_odometry(clip, rig), *(_images(camera, rig.cameras[camera.role], kept[camera.role]) for camera in clip.cameras)]
    total = len(clip.poses) + 2 * sum(map(len, kept.values()))
    last_ns = first_ns
    merged = heapq.merge(*streams, key=lambda due: due.log_ns)
    with BagWriter(out) as bag:
        transforms = messages.transforms(rig.base_frame, places, first_ns)
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", first_ns, transforms)
        for due in track(merged, "converting", total, console=Console(stderr=True)):
            bag.write(due.topic, due.type_name, due.log_ns, due.message)
            last_ns = due.log_ns
    write_rig(out, rig)
    return Converted(
        scene=clip.scene,
        messages=bag.messages,
        duration_s=(last_ns - first_ns) / 1e9,
        bytes=sum(file.stat().st_size for file in out.iterdir()),
        cameras=tuple(rig.cameras),
        rig=str(out / RIG_FILE),
        notes=clip.notes,
    )


def write_rig(folder: Path, rig: Rig) -> None:
    """The rig of a bag, as rig.yaml in its folder."""
    (folder / RIG_FILE).write_text(yaml.safe_dump(rig.model_dump(mode="json"), sort_keys=False))


def fitted_rig(clip: Clip, kept: dict[str, I64]) -> Rig:
    """The clip's rig with the cameras that it has, at their sizes and rates; `kept` are the indices of frames by role.

    Topics, frames and nominal mounts are those of the shipped rig. Raises InvalidInput without its anchor camera.
    """
    rig = read_rig(clip.rig)
    cameras = {camera.role: camera for camera in clip.cameras}
    if rig.anchor not in cameras:
        raise InvalidInput(f"{clip.scene}: no {rig.anchor} camera, whose frames time everything; it has {', '.join(cameras)}")
    measured = {
        role: {
            "width": camera.lens.width,
            "height": camera.lens.height,
            "rate_hz": _rate_hz(camera.stamps_ns[kept[role]]),
            "transport": "compressed",
            "stamp_offset_ms": 0.0,
        }
        for role, camera in cameras.items()
    }
    odometry_hz = _rate_hz(np.array([pose.stamp_ns for pose in clip.poses]))
    return rig.model_copy(
        update={
            "odometry": rig.odometry.model_copy(update={"rate_hz": odometry_hz}),
            "cameras": {r: c.model_copy(update=measured[r]) for r, c in rig.cameras.items() if r in cameras},
        }
    )


def _rate_hz(stamps_ns: I64) -> float:
    return round(1e9 / float(np.median(np.diff(stamps_ns))), 3)


def _kept_frames(clip: Clip, rate_hz: float) -> dict[str, I64]:
    """Indices of the frames to write, by role: of a fast camera those nearest to every n-th one of the fastest."""
    if not rate_hz > 0:
        raise InvalidInput(f"rate: want a number above 0 Hz, got {rate_hz}")
    fastest = max(clip.cameras, key=lambda camera: _rate_hz(camera.stamps_ns))
    every = max(1, int((1 + RATE_SLACK) * _rate_hz(fastest.stamps_ns) / rate_hz))
    if every == 1:
        return {camera.role: np.arange(len(camera.stamps_ns)) for camera in clip.cameras}
    wanted = fastest.stamps_ns[::every]
    kept = {camera.role: _nearest(camera.stamps_ns, wanted) for camera in clip.cameras}
    if few := [role for role, frames in kept.items() if len(frames) < 2]:
        raise InvalidInput(f"rate: at {rate_hz} Hz fewer than 2 frames of {', '.join(few)} remain of this clip")
    return kept


def _nearest(stamps_ns: I64, wanted_ns: I64) -> I64:
    """Indices of the stamps that are nearest to wanted ones, each once."""
    after = np.clip(np.searchsorted(stamps_ns, wanted_ns), 1, len(stamps_ns) - 1)
    is_before = wanted_ns - stamps_ns[after - 1] <= stamps_ns[after] - wanted_ns
    nearest: I64 = np.unique(after - is_before)
    return nearest


def _odometry(clip: Clip, rig: Rig) -> Iterator[_Due]:
    for pose in clip.poses:
        odometry = messages.odometry(pose, rig.odometry.frame, rig.base_frame, variance=0.0)
        yield _Due(pose.stamp_ns, rig.odometry.topic, "nav_msgs/msg/Odometry", odometry)


def _images(camera: ClipCamera, declared: RigCamera, kept: I64) -> Iterator[_Due]:
    for index, data in zip(kept.tolist(), _ahead(camera.read(kept)), strict=True):
        stamp_ns = int(camera.stamps_ns[index])
        _check_image(camera, index, data)
        info = messages.camera_info(camera.lens, stamp_ns, declared.frame_id)
        image = messages.compressed_image(data, camera.encoding, stamp_ns, declared.frame_id)
        yield _Due(stamp_ns, declared.info_topic, "sensor_msgs/msg/CameraInfo", info)
        yield _Due(stamp_ns, declared.topic, "sensor_msgs/msg/CompressedImage", image)


def _check_image(camera: ClipCamera, index: int, data: bytes) -> None:
    where, lens = f"{camera.role}: {camera.name(index)}", camera.lens
    try:
        _, height, width = compressed_header(memoryview(data), camera.encoding)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
    if (width, height) != (lens.width, lens.height):
        raise InvalidInput(f"{where}: the image is {width}x{height}, its calibration is of {lens.width}x{lens.height}")


def _ahead(images: Iterator[bytes]) -> Iterator[bytes]:
    """The same images, read by a thread that is a few of them ahead: decoders and encoders let go of the interpreter."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[bytes | None]] = deque(pool.submit(next, images, None) for _ in range(IMAGES_AHEAD))
        while (image := pending.popleft().result()) is not None:
            pending.append(pool.submit(next, images, None))
            yield image
