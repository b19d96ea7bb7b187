"""What a vehicle publishes, as the bytes that go over the wire: made once, stamped cheaply."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import simplejpeg

from alpamayo_ros.bags import message, serialize
from alpamayo_ros.evaluation import messages
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import U8, EgoPose

COMPRESSED, ODOMETRY = "sensor_msgs/msg/CompressedImage", "nav_msgs/msg/Odometry"
WIDTH, HEIGHT = 64, 48
PICTURES = 32
"""So many pictures come in turn: no two of a window are the same."""

_STAMP = struct.Struct("<iI")  # a header begins with it, right after the four bytes that say how the rest is written
_STAMP_AT = 4


@dataclass(frozen=True)
class Sent:
    """A message on its way out."""

    due_ns: int  # when it leaves, steady clock
    source: str  # a camera role, "odometry", or the topic of anything else
    topic: str
    stamp_ns: int  # as its header says
    cdr: bytes

    def later(self, delay_ns: int) -> Sent:
        """The same, leaving later."""
        return replace(self, due_ns=self.due_ns + delay_ns)

    def stamped(self, stamp_ns: int) -> Sent:
        """The same with another stamp."""
        return replace(self, stamp_ns=stamp_ns, cdr=stamped(self.cdr, stamp_ns))


def stamped(cdr: bytes, stamp_ns: int) -> bytes:
    """A message that begins with a header, with another stamp in it."""
    stamp = _STAMP.pack(stamp_ns // 1_000_000_000, stamp_ns % 1_000_000_000)
    return cdr[:_STAMP_AT] + stamp + cdr[_STAMP_AT + _STAMP.size :]


def image_cdr(jpeg: bytes, frame_id: str = "camera", encoding: str = "jpeg") -> bytes:
    """A CompressedImage of some file's bytes, which may be nonsense, at stamp 0."""
    data = np.frombuffer(jpeg, np.uint8)
    image = message(COMPRESSED)(messages.header(0, frame_id), encoding, data)
    return serialize(image, COMPRESSED)


def odometry_cdr(pose: EgoPose, rig: Rig) -> bytes:
    """An ego pose as the rig's odometry."""
    return serialize(messages.odometry(pose, rig.odometry.frame, rig.base_frame, 0.0), ODOMETRY)


@cache
def pictures(count: int = PICTURES, width: int = WIDTH, height: int = HEIGHT) -> tuple[bytes, ...]:
    """JPEGs of coarse coloured noise, each of another seed."""
    return tuple(jpeg(noise(seed, width, height)) for seed in range(count))


def noise(seed: int, width: int = WIDTH, height: int = HEIGHT) -> U8:
    """A picture (height, width, 3) of blocks of 8 x 8 pixels in random colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.ascontiguousarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))


def jpeg(image: U8) -> bytes:
    """A picture as JPEG."""
    return bytes(simplejpeg.encode_jpeg(image, quality=80))


def image_types(rig: Rig) -> Mapping[str, str]:
    """Type of every topic that the vehicle publishes."""
    return {camera.topic: COMPRESSED for camera in rig.cameras.values()} | {rig.odometry.topic: ODOMETRY}
