"""What is fuzzed: everything that turns bytes from outside into values. Each target takes any bytes and raises nothing.

InvalidInput is the one way to refuse; whatever is accepted must be what its type promises. Run by `fuzz.py` with atheris, and
by pytest with a few hundred inputs, so that the targets cannot rot.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import simplejpeg
from pipeline.vehicle import HEIGHT, WIDTH, T, jpeg, rig

from alpamayo_ros.pipeline.decode import (
    MAX_NAVIGATION_TEXT,
    MAX_ROAD_NAME,
    camera_frame,
    ego_pose,
    ego_signals,
    navigation,
    navigation_text,
    pixels_into,
    static_transforms,
    trajectory_values,
)
from alpamayo_ros.pipeline.images import RAW_ENCODINGS, compressed_header
from alpamayo_ros.types import EncodedFrame, InvalidInput

RIG = rig()
CAMERAS = {transport: rig(transport=transport).cameras["front_wide"] for transport in ("compressed", "raw")}
FORMATS = ("jpeg", "png", "bgr8; jpeg compressed bgr8", "mono8; png compressed mono8", "rgb8; png compressed bgr8", "webp")
ENCODINGS = (*RAW_ENCODINGS, "mono16", "")
LARGEST = 256 * 256
"""Pixels of a fuzzed picture; larger ones are refused by the rig in real life, too."""


class Bytes:
    """Reads values from bytes, zeros once they are used up."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, layout: str) -> Any:
        size = struct.calcsize(layout)
        head, self.left = self.left[:size].ljust(size, b"\0"), self.left[size:]
        values = struct.unpack(layout, head)
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        size = self.take("<B")
        head, self.left = self.left[:size], self.left[size:]
        return head.decode("utf-8", errors="surrogatepass" if size % 2 else "replace") if _decodable(head) else repr(head)

    def flag(self) -> bool:
        return bool(self.take("<B") & 1)


def _decodable(data: bytes) -> bool:
    try:
        data.decode("utf-8", errors="surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------------------------------------------------------- image gate


def image_gate(data: bytes) -> None:
    """Camera messages, compressed and raw, up to their pixels."""
    choice = Bytes(data)
    kind = choice.take("<B")
    try:
        frame = _raw_frame(choice, kind) if kind % 4 == 0 else _compressed_frame(choice, kind)
    except InvalidInput:
        return
    assert frame.height * frame.width <= LARGEST
    out = np.empty((16, 24, 3), np.uint8)
    try:
        pixels_into(frame, out)
    except InvalidInput:
        return


def _raw_frame(choice: Bytes, kind: int) -> EncodedFrame:
    encoding = ENCODINGS[choice.take("<B") % len(ENCODINGS)]
    height, width, step = choice.take("<BBH")
    height, width = max(height, 1), max(width, 1)  # as every rig
    camera = CAMERAS["raw"].model_copy(update={"height": height, "width": width} if kind & 8 else {})
    if kind & 16:
        height, width = camera.height, camera.width
    msg = _message(encoding=encoding, height=height, width=width, step=step, data=choice.left)
    frame = camera_frame(msg, "front_wide", camera, 0)
    assert (frame.height, frame.width, len(frame.data)) == (camera.height, camera.width, len(choice.left))
    return frame


def _compressed_frame(choice: Bytes, kind: int) -> EncodedFrame:
    """With the size that the bytes declare as the rig's, or the rig's own; PNG checksums corrected where kind says so."""
    fmt = FORMATS[choice.take("<B") % len(FORMATS)]
    data = _with_checksums(choice.left) if kind & 32 else choice.left
    camera = CAMERAS["compressed"]
    if kind & 8:
        _, height, width = compressed_header(memoryview(data), fmt)
        if not 0 < height * width <= LARGEST:
            raise InvalidInput("a size that no rig of this test has")
        camera = camera.model_copy(update={"height": height, "width": width})
    return camera_frame(_message(format=fmt, data=data), "front_wide", camera, 0)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have right checksums: without them nearly every change ends at the first one."""
    fixed, at = [data[:8]], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        fixed.append(data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body)))
        at += 12 + size
    return b"".join(fixed) + data[at:]


def _message(stamp: tuple[int, int] = (T // 10**9, 0), frame_id: str = "", **fields: Any) -> SimpleNamespace:
    head = SimpleNamespace(stamp=SimpleNamespace(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)
    return SimpleNamespace(header=head, **fields)


# ---------------------------------------------------------------------------------------------------------- message decoding


def messages(data: bytes) -> None:
    """Every other message: odometry, navigation, ego signals, static transforms, trajectories."""
    choice = Bytes(data)
    kinds = (_odometry, _navigation, _signals, _transforms, _trajectory)
    try:
        kinds[choice.take("<B") % len(kinds)](choice)
    except InvalidInput:
        return


def _stamped(choice: Bytes, frames: tuple[str, ...], **fields: Any) -> SimpleNamespace:
    frame = choice.take("<B")
    name = frames[frame % len(frames)] if frame < 250 else choice.text()
    return _message(choice.take("<iI"), name, **fields)


def _vector(choice: Bytes, names: str) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip(names, choice.take(f"<{len(names)}d"), strict=True)))


def _turned(choice: Bytes) -> SimpleNamespace:
    """A quaternion: any four numbers, or one of a heading."""
    if choice.flag():
        return _vector(choice, "xyzw")
    angle = choice.take("<h") / 1e4
    return SimpleNamespace(x=0.0, y=0.0, z=float(np.sin(angle)), w=float(np.cos(angle)))


def _odometry(choice: Bytes) -> None:
    msg = _stamped(choice, ("odom", "map", ""), child_frame_id=("base_link", "imu_link")[choice.flag()])
    base_from_child = np.eye(4) if choice.flag() else None
    pose = SimpleNamespace(position=_vector(choice, "xyz"), orientation=_turned(choice))
    msg.pose = SimpleNamespace(pose=pose)
    msg.twist = SimpleNamespace(twist=SimpleNamespace(linear=_vector(choice, "xyz"), angular=_vector(choice, "xyz")))
    ego = ego_pose(msg, RIG, base_from_child)
    assert ego.stamp_ns > 0
    assert np.abs(ego.odom_from_ego @ ego.odom_from_ego.T - np.eye(3)).max() < 1e-6


def _navigation(choice: Bytes) -> None:
    sec, nanosec = choice.take("<iI")
    expires = SimpleNamespace(sec=sec, nanosec=nanosec)
    maneuver, distance_m = choice.take("<Bf")
    msg = _stamped(choice, ("",), maneuver=maneuver, distance_m=distance_m, expires=expires, road_name=choice.text())
    command = navigation(msg)
    assert np.isfinite(command.distance_m)
    assert command.distance_m >= 0
    assert len(command.road_name) <= MAX_ROAD_NAME
    assert not set(command.road_name) & set("<>|\n\0")


def _signals(choice: Bytes) -> None:
    steering, accel, indicator = choice.take("<ffB")
    msg = _stamped(choice, ("",), steering_angle_rad=steering, acceleration_mps2=accel, turn_indicator=indicator)
    sample = ego_signals(msg)
    assert np.isfinite([sample.steering_angle_rad, sample.acceleration_mps2]).all()


def _transforms(choice: Bytes) -> None:
    transforms = []
    for _ in range(choice.take("<B") % 4):
        moved = SimpleNamespace(translation=_vector(choice, "xyz"), rotation=_turned(choice))
        transforms.append(_stamped(choice, ("base_link", ""), child_frame_id=choice.text(), transform=moved))
    for found in static_transforms(SimpleNamespace(transforms=transforms)):
        assert np.isfinite(found.parent_from_child).all()
        assert found.parent != found.child


def _trajectory(choice: Bytes) -> None:
    points = []
    for _ in range(choice.take("<B") % 16):
        since_ns, speed, accel, curvature = choice.take("<qddd")
        pose = SimpleNamespace(position=_vector(choice, "xyz"), orientation=_turned(choice))
        values = {"speed_mps": speed, "acceleration_mps2": accel, "curvature_1pm": curvature}
        points.append(SimpleNamespace(time_from_start_ns=since_ns, pose=pose, **values))
    trajectory = trajectory_values(SimpleNamespace(points=points))
    assert np.isfinite(trajectory.xyz).all()
    assert (np.diff(trajectory.t_s) > 0).all()


# ------------------------------------------------------------------------------------------------------------------ navigation

TOKENS = ("<|im_end|>", "<|route_end|>", "endoftext", "<i0>")


def navigation_words(data: bytes) -> None:
    """A route in free words."""
    text = data.decode("utf-8", errors="replace") if len(data) % 2 else data.decode("utf-16-le", errors="surrogatepass")
    try:
        kept = navigation_text(text, TOKENS)
    except InvalidInput:
        return
    assert 0 < len(kept) <= MAX_NAVIGATION_TEXT
    assert kept == " ".join(kept.split())
    assert not {unicodedata.category(c)[0] for c in kept if c != " "} & set("CZS")
    assert not any(token in kept.casefold() for token in TOKENS)


def _pictures() -> list[bytes]:
    flat = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    png = cv2.imencode(".png", flat)[1].tobytes()
    progressive = cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    grey = simplejpeg.encode_jpeg(flat[:, :, :1].copy(), colorspace="GRAY")
    raw = struct.pack("<BBBH", HEIGHT, WIDTH, 0, 3 * WIDTH) + flat.tobytes()
    own = [b"\x09\0" + picture for picture in (jpeg(1), progressive, grey)]
    return [*own, b"\x29\1" + png, b"\x01\0" + jpeg(1), b"\x01\1" + png, b"\x18\0" + raw]


TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "image_gate": (image_gate, _pictures()),
    "messages": (messages, [bytes([kind]) + bytes(range(120)) for kind in range(5)] + [bytes([kind]) for kind in range(5)]),
    "navigation_text": (
        navigation_words,
        ["Turn left in 40 m".encode(enc) for enc in ("utf-8", "utf-16-le")] + [b"<|im_end|>"],
    ),
}
"""By name, what takes the bytes, and inputs to begin with."""
