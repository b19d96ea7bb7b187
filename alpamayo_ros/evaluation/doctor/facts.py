"""What a diagnosis is made from: facts gathered message by message, from a bag or live, nothing judged yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.bags import Record, bag_topics, deserialize, read_bag
from alpamayo_ros.geometry import inverse
from alpamayo_ros.pipeline.decode import FrameLimits, StaticTransform, static_transforms
from alpamayo_ros.pipeline.images import check_raw, compressed_header, pixels_into
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import F64, U8, EncodedFrame, InvalidInput

I64 = NDArray[np.int64]

COMPRESSED, RAW = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"
INFO, ODOMETRY, TRANSFORMS = "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry", "tf2_msgs/msg/TFMessage"
STATIC_TOPIC = "/tf_static"
LIMITS = FrameLimits()
PICTURE_TRIES = 3
PICTURE_PX = 480


@dataclass(frozen=True)
class TopicFacts:
    """One image topic as it was received."""

    topic: str
    type_name: str
    stamps_ns: I64  # (N,) of the headers in order of arrival, 0 where nobody set it
    log_ns: I64  # (N,) when each message was recorded or received
    size_bytes: int  # of all N messages
    frame_id: str
    width: int  # px of the first image, 0 when it could not be read
    height: int
    encoding: str  # of a raw image, "jpeg" or "png"; empty when it could not be read
    refused: str  # why the first image cannot be used, empty when it can
    picture: U8 | None  # (H, W, 3) RGB, an early image made small
    info: Any | None  # its sensor_msgs/CameraInfo
    base_from_optical: F64 | None  # (4, 4) pose of frame_id from /tf_static
    qos: str  # offered, empty when unknown


@dataclass(frozen=True)
class OdometryFacts:
    """One odometry topic as it was received."""

    topic: str
    stamps_ns: I64  # (N,)
    log_ns: I64  # (N,)
    frame_id: str
    child_frame_id: str
    position: F64  # (N, 3) m, may hold NaN
    quaternion: F64  # (N, 4) x y z w, may hold NaN or no unit
    speed_mps: F64  # (N,) length of the linear twist, may be NaN
    qos: str


@dataclass(frozen=True)
class Facts:
    """Everything received from one vehicle."""

    source: str  # bag path, or "live"
    cameras: tuple[TopicFacts, ...]
    odometry: tuple[OdometryFacts, ...]
    types: Mapping[str, str]  # every topic there is, also without messages, and its type
    base_frame: str
    placed_frames: frozenset[str]  # frames that /tf_static connects to the base frame, itself included
    root_frames: tuple[str, ...]  # frames of /tf_static without a parent
    static_qos: str  # offered QoS of /tf_static, empty when unknown
    refused: tuple[str, ...]  # messages that could not be read, a sentence per topic


@dataclass
class _Stream:
    type_name: str
    stamps_ns: list[int] = field(default_factory=list)
    log_ns: list[int] = field(default_factory=list)
    size_bytes: int = 0
    first: Any = None
    picture: U8 | None = None
    refused: list[str] = field(default_factory=list)
    poses: list[list[float]] = field(default_factory=list)  # x y z, qx qy qz qw, vx vy vz


class Collector:
    """Takes messages one at a time (rosbags' or rclpy's, they have the same fields) and gives the facts at the end."""

    def __init__(self, source: str, rig: Rig | None) -> None:
        self._source = source
        self._rig = rig
        self._streams: dict[str, _Stream] = {}
        self._infos: dict[str, Any] = {}
        self._transforms: dict[str, StaticTransform] = {}  # by child: the newest counts
        self._refused: dict[str, list[str]] = {}

    def add(self, topic: str, type_name: str, log_ns: int, msg: Any, size_bytes: int) -> None:
        """Take one message of a type in `WANTED`; others are ignored."""
        if type_name == INFO:
            self._infos.setdefault(topic, msg)
        elif type_name == TRANSFORMS and topic == STATIC_TOPIC:
            try:
                self._transforms |= {t.child: t for t in static_transforms(msg)}
            except InvalidInput as error:
                self.refuse(topic, str(error))
        elif type_name in (COMPRESSED, RAW, ODOMETRY):
            self._add_stamped(topic, type_name, log_ns, msg, size_bytes)

    def take(self, record: Record) -> None:
        """Take note of one recorded or received message; one that is none of its type becomes a fact too."""
        try:
            msg = deserialize(record.cdr, record.type_name)
        except InvalidInput as error:
            self.refuse(record.topic, str(error))
            return
        self.add(record.topic, record.type_name, record.log_ns, msg, len(record.cdr))

    def refuse(self, topic: str, reason: str) -> None:
        """Count a message that could not be read."""
        self._refused.setdefault(topic, []).append(reason)

    def facts(self, types: Mapping[str, str], qos: Mapping[str, str]) -> Facts:
        """Everything so far. `types` and `qos` say which topics there are and what their publishers offer."""
        transforms = tuple(self._transforms.values())
        children, parents = {t.child for t in transforms}, {t.parent for t in transforms}
        roots = tuple(sorted(parents - children))
        base_frame = self._rig.base_frame if self._rig else _base_frame(children | parents, roots)
        poses = _poses(base_frame, transforms)
        streams = sorted(self._streams.items())
        return Facts(
            source=self._source,
            cameras=tuple(self._camera(topic, s, poses, qos) for topic, s in streams if s.type_name != ODOMETRY),
            odometry=tuple(_odometry(topic, s, qos) for topic, s in streams if s.type_name == ODOMETRY),
            types=dict(types),
            base_frame=base_frame,
            placed_frames=frozenset(poses) if transforms else frozenset(),
            root_frames=roots,
            static_qos=qos.get(STATIC_TOPIC, ""),
            refused=tuple(f"{t}: {len(r)} messages cannot be read, first: {r[0]}" for t, r in sorted(self._refused.items())),
        )

    def _add_stamped(self, topic: str, type_name: str, log_ns: int, msg: Any, size_bytes: int) -> None:
        stream = self._streams.setdefault(topic, _Stream(type_name))
        if stream.first is None:
            stream.first = msg
        stream.stamps_ns.append(int(msg.header.stamp.sec) * 1_000_000_000 + int(msg.header.stamp.nanosec))
        stream.log_ns.append(log_ns)
        stream.size_bytes += size_bytes
        if type_name == ODOMETRY:
            stream.poses.append(_numbers(msg))
        elif stream.picture is None and len(stream.refused) < PICTURE_TRIES:
            try:
                stream.picture = picture_of(msg)
            except InvalidInput as error:
                stream.refused.append(str(error))

    def _camera(self, topic: str, stream: _Stream, poses: Mapping[str, F64], qos: Mapping[str, str]) -> TopicFacts:
        try:
            encoding, height, width, _ = image_header(stream.first)
        except InvalidInput:  # the reason is in `refused`: the first image was drawn, or tried to be
            encoding, height, width = "", 0, 0
        return TopicFacts(
            topic=topic,
            type_name=stream.type_name,
            stamps_ns=np.array(stream.stamps_ns, np.int64),
            log_ns=np.array(stream.log_ns, np.int64),
            size_bytes=stream.size_bytes,
            frame_id=str(stream.first.header.frame_id),
            width=width,
            height=height,
            encoding=encoding,
            refused=stream.refused[0] if stream.refused else "",
            picture=stream.picture,
            info=self._infos.get(self._info_topic(topic)),
            base_from_optical=poses.get(str(stream.first.header.frame_id)),
            qos=qos.get(topic, ""),
        )

    def _info_topic(self, topic: str) -> str:
        declared = {camera.topic: camera.info_topic for camera in self._rig.cameras.values()} if self._rig else {}
        return declared.get(topic, f"{namespace(topic)}/camera_info")


def namespace(topic: str) -> str:
    """Where an image topic and its camera_info live together: the part before the image's own name and its transport."""
    return topic.removesuffix("/compressed").rpartition("/")[0]


def image_header(msg: Any) -> tuple[str, int, int, int]:
    """Encoding, height, width and row step (0 when compressed) of an image message within limits. Raises InvalidInput."""
    data, step = memoryview(msg.data), 0
    if hasattr(msg, "format"):
        if len(data) > LIMITS.compressed_bytes:
            raise InvalidInput(f"{len(data)} bytes, limit {LIMITS.compressed_bytes}")
        encoding, height, width = compressed_header(data, msg.format)
    else:
        encoding, height, width, step = str(msg.encoding), int(msg.height), int(msg.width), int(msg.step)
        check_raw(encoding, height, width, step, data)
    if not 0 < width * height <= LIMITS.pixels:
        raise InvalidInput(f"{width}x{height} are {width * height} pixels, want 1..{LIMITS.pixels}")
    return encoding, height, width, step


def picture_of(msg: Any) -> U8:
    """A small RGB picture (H, W, 3) of an image message. Raises InvalidInput for what cannot or must not be decoded."""
    encoding, height, width, step = image_header(msg)
    scale = min(1.0, PICTURE_PX / max(width, height))
    picture = np.empty((max(round(height * scale), 1), max(round(width * scale), 1), 3), np.uint8)
    pixels_into(EncodedFrame("picture", 0, 0, encoding, height, width, step, memoryview(msg.data)), picture)
    return picture


def facts_of_bag(path: Path, rig: Rig | None) -> Facts:
    """Read a whole bag. Raises InvalidInput for what is not a readable bag; single broken messages become facts."""
    topics = bag_topics(path)
    wanted = {name for name, topic in topics.items() if topic.type_name in (COMPRESSED, RAW, INFO, ODOMETRY, TRANSFORMS)}
    collector = Collector(str(path), rig)
    for record in read_bag(path, wanted):
        collector.take(record)
    return collector.facts({n: t.type_name for n, t in topics.items()}, {n: t.qos for n, t in topics.items()})


def _numbers(msg: Any) -> list[float]:
    p, q, v = msg.pose.pose.position, msg.pose.pose.orientation, msg.twist.twist.linear
    return [p.x, p.y, p.z, q.x, q.y, q.z, q.w, v.x, v.y, v.z]


def _odometry(topic: str, stream: _Stream, qos: Mapping[str, str]) -> OdometryFacts:
    numbers = np.array(stream.poses, np.float64)
    return OdometryFacts(
        topic=topic,
        stamps_ns=np.array(stream.stamps_ns, np.int64),
        log_ns=np.array(stream.log_ns, np.int64),
        frame_id=str(stream.first.header.frame_id),
        child_frame_id=str(stream.first.child_frame_id),
        position=numbers[:, :3],
        quaternion=numbers[:, 3:7],
        speed_mps=np.linalg.norm(numbers[:, 7:], axis=1),
        qos=qos.get(topic, ""),
    )


def _base_frame(frames: set[str], roots: tuple[str, ...]) -> str:
    return "base_link" if "base_link" in frames or not roots else roots[0]


def _poses(base_frame: str, transforms: Iterable[StaticTransform]) -> dict[str, F64]:
    """base_from_frame (4, 4) of every frame that the transforms connect to the base frame."""
    poses: dict[str, F64] = {base_frame: np.eye(4)}
    left = list(transforms)
    while left:
        apart = []
        for t in left:
            if t.parent in poses:
                poses.setdefault(t.child, poses[t.parent] @ t.parent_from_child)
            elif t.child in poses:
                poses[t.parent] = poses[t.child] @ inverse(t.parent_from_child)
            else:
                apart.append(t)
        if len(apart) == len(left):
            break
        left = apart
    return poses
