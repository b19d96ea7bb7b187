"""The public node's way, measured beside ours: keep compressed messages; when a plan is due, decode and resize the window.

It is what `alpamayo_node.py` of the package of the same name does (all frames of the window, full decode, then resize), with
the window of our profile. Ours decodes each frame once; this decodes it once per plan.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alpamayo_ros.bags import deserialize, read_bag
from alpamayo_ros.pipeline.decode import camera_frame, pixels_into
from alpamayo_ros.profile import InputProfile, Rig
from alpamayo_ros.types import U8, EncodedFrame, InvalidInput

EVERY_FRAMES = 30
"""It blocks its process for half a second: often enough to measure, seldom enough to leave the machine to the node."""


def decode_fully(data: bytes | memoryview, out: U8) -> None:
    """Full-size decode, then resize (INTER_AREA) and colour order."""
    full = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if full is None:
        raise InvalidInput(f"{len(data)} bytes are no image")
    small = cv2.resize(full, (out.shape[1], out.shape[0]), interpolation=cv2.INTER_AREA)
    cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=out)


class PublicNodesWay:
    """Listens to the cameras; for every 30th anchor frame decodes its whole window and notes how long that took."""

    def __init__(self, rig: Rig, profile: InputProfile) -> None:
        self._rig = rig
        self._profile = profile
        self._kept: dict[str, dict[int, bytes]] = {role: {} for role in profile.cameras}
        self._received_ns: dict[str, int] = {}
        self._anchors = 0
        self.ready_ms: list[float] = []  # from the receipt of the last message of a tick to its decoded window

    def take(self, role: str, stamp_ns: int, data: bytes, received_ns: int, now_ns: int) -> None:
        """One camera message; `received_ns` and `now_ns` on the system clock."""
        kept = self._kept[role]
        kept[stamp_ns] = data
        self._received_ns[role] = received_ns
        for old in [stamp for stamp in kept if stamp < stamp_ns + self._profile.offsets_ns[0]]:
            del kept[old]
        self._anchors += role == self._rig.anchor
        if self._anchors >= EVERY_FRAMES and all(stamp_ns in frames for frames in self._kept.values()):
            self._anchors = 0
            started = time.perf_counter()
            self._decode_window(stamp_ns)
            waited_ms = (now_ns - max(self._received_ns.values())) / 1e6
            self.ready_ms.append(waited_ms + (time.perf_counter() - started) * 1e3)

    def _decode_window(self, t0_ns: int) -> None:
        out = np.empty(self._profile.image_shape, np.uint8)
        for frames in self._kept.values():
            for offset_ns in self._profile.offsets_ns:
                nearest = min(frames, key=lambda stamp: abs(stamp - t0_ns - offset_ns))
                decode_fully(frames[nearest], out)


def window_cpu_ms(bag: Path, rig: Rig, profile: InputProfile) -> dict[str, float]:
    """CPU ms to decode one whole window of a bag at request time: with full decode, and with our own decoder."""
    frames = [frame for _, frame in zip(range(200), _frames(bag, rig, profile), strict=False)]
    count = len(profile.cameras) * len(profile.frame_offsets_ms)
    out = np.empty(profile.image_shape, np.uint8)
    ways: dict[str, Callable[[EncodedFrame], None]] = {
        "full_decode": lambda f: decode_fully(f.data, out),
        "same_decoder": lambda f: pixels_into(f, out),
    }
    figures = {}
    for name, decode in ways.items():
        started = time.thread_time()
        for frame in frames:
            decode(frame)
        figures[name] = (time.thread_time() - started) * 1e3 / len(frames) * count
    return figures


def expected_checksums(bag: Path, rig: Rig, profile: InputProfile) -> dict[int, int]:
    """`pixels_crc32` of the window of every anchor frame of a bag with exact stamps, computed without the node's buffers."""
    crcs: dict[str, dict[int, int]] = {role: {} for role in profile.cameras}
    for frame in _frames(bag, rig, profile):
        out = np.empty(profile.image_shape, np.uint8)
        pixels_into(frame, out)
        crcs[frame.role][frame.stamp_ns] = zlib.crc32(out.data)
    return {t0_ns: _window_crc(crcs, profile, t0_ns) for t0_ns in crcs[rig.anchor] if _complete(crcs, profile, t0_ns)}


def _complete(crcs: Mapping[str, Mapping[int, int]], profile: InputProfile, t0_ns: int) -> bool:
    return all(t0_ns + offset in row for row in crcs.values() for offset in profile.offsets_ns)


def _window_crc(crcs: Mapping[str, Mapping[int, int]], profile: InputProfile, t0_ns: int) -> int:
    window = [row[t0_ns + offset] for row in crcs.values() for offset in profile.offsets_ns]
    return zlib.crc32(np.array(window, "<u4").tobytes())


def _frames(bag: Path, rig: Rig, profile: InputProfile) -> Iterable[EncodedFrame]:
    roles = {rig.cameras[role].topic: role for role in profile.cameras}
    for record in read_bag(bag, list(roles)):
        role = roles[record.topic]
        message: Any = deserialize(record.cdr, record.type_name)
        yield camera_frame(message, role, rig.cameras[role], 0)
