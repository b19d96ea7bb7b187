"""A small vehicle for the pipeline tests: tiny pictures, messages by hand, a ring that counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import simplejpeg

from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.pipeline.buffers import Buffers, ring_slots
from alpamayo_ros.pipeline.images import pixels_into
from alpamayo_ros.profile import InputProfile, Rig, read_profile, read_rig
from alpamayo_ros.types import U8, CameraFrame, EgoPose, EncodedFrame

MS = 1_000_000
SECOND = 1_000_000_000
T = 1_000 * SECOND  # where the tests' time begins
WIDTH, HEIGHT = 64, 48
PROFILE = read_profile("seven_camera").model_copy(update={"image_height": 16, "image_width": 24})
TWO_CAMERAS = PROFILE.model_copy(update={"cameras": {"front_wide": "required", "rear_tele": "required"}})


def rig(rate_hz: float = 10, odometry_hz: float = 100, transport: str = "compressed", **rates_hz: float) -> Rig:
    """The shipped rig with small cameras; `rates_hz` are of single cameras."""
    shipped = read_rig("seven_camera")
    small = {"width": WIDTH, "height": HEIGHT, "transport": transport}
    cameras = {
        role: camera.model_copy(update=small | {"rate_hz": rates_hz.get(role, rate_hz)})
        for role, camera in shipped.cameras.items()
    }
    odometry = shipped.odometry.model_copy(update={"rate_hz": odometry_hz})
    return shipped.model_copy(update={"cameras": cameras, "odometry": odometry})


@cache
def jpeg(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A picture that only this seed has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((-(-height // 4), -(-width // 4), 1), np.uint8))[:height, :width]
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=95))


def stamp(ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=ns // SECOND, nanosec=ns % SECOND)


def header(ns: int, frame_id: str = "") -> SimpleNamespace:
    return SimpleNamespace(stamp=stamp(ns), frame_id=frame_id)


def compressed(ns: int, data: Any = None, fmt: str = "jpeg") -> SimpleNamespace:
    """A sensor_msgs/CompressedImage; by itself with a picture of its time."""
    return SimpleNamespace(header=header(ns), format=fmt, data=jpeg(ns // (10 * MS) % 251) if data is None else data)


def raw(ns: int, encoding: str, image: U8, **changes: Any) -> SimpleNamespace:
    """A sensor_msgs/Image."""
    fields = {"height": image.shape[0], "width": image.shape[1], "step": image.strides[0], "data": image.tobytes()}
    return SimpleNamespace(header=header(ns), encoding=encoding, is_bigendian=0, **(fields | changes))


def xyz(values: Any) -> SimpleNamespace:
    x, y, z = (float(v) for v in values)
    return SimpleNamespace(x=x, y=y, z=z)


def odometry(
    ns: int,
    position: Any = (0, 0, 0),
    quaternion: Any = (0, 0, 0, 1),
    linear: Any = (0, 0, 0),
    angular: Any = (0, 0, 0),
    frame: str = "odom",
    child: str = "base_link",
) -> SimpleNamespace:
    """A nav_msgs/Odometry."""
    x, y, z, w = (float(v) for v in quaternion)
    pose = SimpleNamespace(position=xyz(position), orientation=SimpleNamespace(x=x, y=y, z=z, w=w))
    return SimpleNamespace(
        header=header(ns, frame),
        child_frame_id=child,
        pose=SimpleNamespace(pose=pose),
        twist=SimpleNamespace(twist=SimpleNamespace(linear=xyz(linear), angular=xyz(angular))),
    )


def encoded(role: str, ns: int, epoch: int = 0, data: bytes | None = None) -> EncodedFrame:
    return EncodedFrame(role, ns, epoch, "jpeg", HEIGHT, WIDTH, 0, jpeg(ns // (10 * MS) % 251) if data is None else data)


def pose(
    ns: int, speed_mps: float = 10.0, x_m: float | None = None, yaw_rate_rps: float = 0.0, yaw_rad: float = 0.0
) -> EgoPose:
    """Straight ahead at a constant speed since T, or wherever `x_m` says."""
    x = speed_mps * (ns - T) / SECOND if x_m is None else x_m
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return EgoPose(ns, np.array([x, 0.0, 0]), rotation, np.array([speed_mps, 0.0, 0]), np.array([0.0, 0, yaw_rate_rps]))


class CountingRing:
    """A frame ring that remembers what was drawn into it."""

    def __init__(self, slots: int = 400) -> None:
        self.ring = FrameRing(PROFILE.image_shape, slots)
        self.drawn: list[tuple[str, int]] = []

    def write(self, role: str, stamp_ns: int, epoch: int, fill: Callable[[U8], object]) -> CameraFrame | None:
        self.drawn.append((role, stamp_ns))
        return self.ring.write(role, stamp_ns, epoch, fill)


class Clock:
    """Message time as a buffer's clock."""

    now_ns = T

    def __call__(self) -> int:
        return self.now_ns


def buffers(
    profile: InputProfile = TWO_CAMERAS, of: Rig | None = None, ring: CountingRing | None = None, threads: int = 0, **more: Any
) -> Buffers:
    of = of or rig()
    return Buffers(profile, of, ring or CountingRing(ring_slots(profile, of)), threads, **more)


def drive(into: Buffers, seconds: float = 2.5, start_ns: int = T, speed_mps: float = 10.0) -> int:
    """Fill buffers at the rig's declared rates, in the order of stamps; return the last anchor stamp."""
    stop_ns = start_ns + round(seconds * SECOND)
    poses = [pose(ns, speed_mps) for ns in range(start_ns, stop_ns + 1, round(SECOND / into.rig.odometry.rate_hz))]
    frames = [
        encoded(role, ns, into.epoch)
        for role in into.roles
        for ns in range(start_ns, stop_ns + 1, into.rig.cameras[role].period_ns)
    ]
    for item in sorted([*poses, *frames], key=lambda value: value.stamp_ns):
        if isinstance(item, EgoPose):
            into.poses.offer(item)
        else:
            into.frames.offer(item, item.stamp_ns)
    newest = into.frames.newest_ns(into.rig.anchor)
    assert newest is not None
    return newest


def offer(to: Buffers, role: str, ms: float) -> None:
    to.frames.offer(encoded(role, T + round(ms * MS), to.epoch), T + 3600 * SECOND)


def offer_poses(to: Buffers, first_ms: int, last_ms: int, step_ms: int = 10, speed_mps: float = 10.0) -> None:
    for ms in range(first_ms, last_ms + 1, step_ms):
        to.poses.offer(pose(T + ms * MS, speed_mps))


def decoded(frame: EncodedFrame, height: int, width: int) -> U8:
    out = np.full((height, width, 3), 77, np.uint8)
    pixels_into(frame, out)
    return out
