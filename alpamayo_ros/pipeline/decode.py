"""Messages to values: every message is checked here, once, and nothing downstream sees a message.

Messages are duck-typed: rclpy's and rosbags' have the same fields. No ROS import. All refusals are InvalidInput.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import numpy as np

from alpamayo_ros import geometry
from alpamayo_ros.pipeline.images import check_raw, compressed_header, pixels_into
from alpamayo_ros.profile import Rig, RigCamera
from alpamayo_ros.types import (
    F64,
    EgoPose,
    EncodedFrame,
    InvalidInput,
    Maneuver,
    Navigation,
    SignalSample,
    Trajectory,
    TurnIndicator,
)

__all__ = [
    "FrameLimits",
    "StaticTransform",
    "camera_frame",
    "ego_pose",
    "ego_signals",
    "exposure_ns",
    "navigation",
    "navigation_text",
    "pixels_into",
    "stamp_ns",
    "static_transforms",
    "trajectory_values",
]

MAX_ROAD_NAME = 64
"""Characters of a road name, as in NavigationCommand.msg."""

MAX_NAVIGATION_TEXT = 80
"""Characters of a route in free words."""

TURN_INDICATORS: tuple[TurnIndicator, ...] = get_args(TurnIndicator)
"""By the values of EgoSignals.msg."""


@dataclass(frozen=True)
class FrameLimits:
    """What a camera message may weigh, whatever it declares."""

    compressed_bytes: int = 8_000_000
    pixels: int = 16_777_216  # 4096 x 4096


class StaticTransform(NamedTuple):
    """Where a frame sits in its parent."""

    parent: str
    child: str
    parent_from_child: F64  # (4, 4)


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces/Time; zero means that nobody set it. Raises InvalidInput."""
    sec, nanosec = int(stamp.sec), int(stamp.nanosec)
    if sec < 0 or not 0 <= nanosec < 1_000_000_000 or (sec, nanosec) == (0, 0):
        raise InvalidInput(f"stamp: want a time after 0, got sec {sec} nanosec {nanosec}")
    return sec * 1_000_000_000 + nanosec


def exposure_ns(msg: Any, role: str, camera: RigCamera) -> int:
    """When a camera message was exposed: its stamp plus the camera's stamp offset. Raises InvalidInput."""
    try:
        return stamp_ns(msg.header.stamp) + round(camera.stamp_offset_ms * 1e6)
    except InvalidInput as error:
        raise InvalidInput(f"{role}: {error}") from error


def camera_frame(msg: Any, role: str, camera: RigCamera, epoch: int, limits: FrameLimits = FrameLimits()) -> EncodedFrame:
    """An image message (sensor_msgs Image or CompressedImage) whose header agrees with the rig; no pixel is touched.

    The bytes are not copied: the frame refers to the message's data. Raises InvalidInput.
    """
    stamp = exposure_ns(msg, role, camera)
    try:
        return _camera_frame(msg, role, camera, stamp, epoch, limits)
    except InvalidInput as error:
        raise InvalidInput(f"{role}: {error}") from error


def _camera_frame(msg: Any, role: str, camera: RigCamera, stamp: int, epoch: int, limits: FrameLimits) -> EncodedFrame:
    transport = "compressed" if hasattr(msg, "format") else "raw"
    if transport != camera.transport:
        raise InvalidInput(f"the rig declares {camera.transport} images on {camera.topic}, got a {transport} one")
    data = memoryview(msg.data)
    if transport == "compressed":
        if len(data) > limits.compressed_bytes:
            raise InvalidInput(f"{len(data)} bytes, limit {limits.compressed_bytes}")
        encoding, height, width = compressed_header(data, msg.format)
        step = 0
    else:
        encoding, height, width, step = msg.encoding, int(msg.height), int(msg.width), int(msg.step)
    if (width, height) != (camera.width, camera.height):
        raise InvalidInput(f"the rig declares {camera.width}x{camera.height} pixels, got {width}x{height}")
    if width * height > limits.pixels:
        raise InvalidInput(f"{width}x{height} are {width * height} pixels, limit {limits.pixels}")
    if transport == "raw":
        check_raw(encoding, height, width, step, data)
    return EncodedFrame(role, stamp, epoch, encoding, height, width, step, data)


def ego_pose(msg: Any, rig: Rig, base_from_child: F64 | None = None) -> EgoPose:
    """The ego pose and twist of a nav_msgs/Odometry, moved from its child frame to the rig's base frame.

    `base_from_child` (4, 4) is where the child frame sits on the vehicle; it may be None when the child is the base frame.
    Twists are of the child frame, in the child frame (REP-105). Raises InvalidInput.
    """
    if msg.header.frame_id != rig.odometry.frame:
        raise InvalidInput(f"odometry in frame {msg.header.frame_id!r}, the rig declares {rig.odometry.frame!r}")
    pose, twist = msg.pose.pose, msg.twist.twist
    child = EgoPose(
        stamp_ns=stamp_ns(msg.header.stamp),
        position=_vector("position", pose.position),
        odom_from_ego=_rotation(pose.orientation),
        velocity_mps=_vector("linear twist", twist.linear),
        angular_rps=_vector("angular twist", twist.angular),
    )
    if msg.child_frame_id == rig.base_frame:
        return child
    if base_from_child is None:
        raise InvalidInput(
            f"odometry of {msg.child_frame_id!r}: no transform from it to the rig's base frame {rig.base_frame!r} in /tf_static"
        )
    return _moved_to_base(child, base_from_child)


def _moved_to_base(child: EgoPose, base_from_child: F64) -> EgoPose:
    """Pose and twist of the base frame of a rigid vehicle, from those of another frame on it."""
    rotation, child_from_base = base_from_child[:3, :3], geometry.inverse(base_from_child)
    base_in_child = child_from_base[:3, 3]
    return EgoPose(
        stamp_ns=child.stamp_ns,
        position=child.position + child.odom_from_ego @ base_in_child,
        odom_from_ego=child.odom_from_ego @ child_from_base[:3, :3],
        # Rigid body: v_base = v_child + w x r, r from the child's to the base's origin.
        velocity_mps=rotation @ (child.velocity_mps + np.cross(child.angular_rps, base_in_child)),
        angular_rps=rotation @ child.angular_rps,
    )


def static_transforms(msg: Any) -> tuple[StaticTransform, ...]:
    """The transforms of a tf2_msgs/TFMessage. Raises InvalidInput for the whole message when one is not a rigid motion."""
    return tuple(_static_transform(stamped) for stamped in msg.transforms)


def _static_transform(stamped: Any) -> StaticTransform:
    parent, child, moved = stamped.header.frame_id, stamped.child_frame_id, stamped.transform
    if not parent or not child or parent == child:
        raise InvalidInput(f"transform: want two different frames, got {parent!r} and {child!r}")
    try:
        matrix = geometry.transform(_rotation(moved.rotation), _vector("translation", moved.translation))
    except InvalidInput as error:
        raise InvalidInput(f"transform from {child!r} to {parent!r}: {error}") from error
    return StaticTransform(parent, child, matrix)


def navigation(msg: Any) -> Navigation:
    """A NavigationCommand. The road name is the only text and holds letters, digits, space and -.' after NFKC.

    Raises InvalidInput.
    """
    maneuvers: tuple[Maneuver, ...] = get_args(Maneuver)  # in the order of NavigationCommand.msg
    if not 0 <= msg.maneuver < len(maneuvers):
        raise InvalidInput(f"maneuver {msg.maneuver}: want 0..{len(maneuvers) - 1}")
    distance_m = float(msg.distance_m)
    if not (math.isfinite(distance_m) and distance_m >= 0):
        raise InvalidInput(f"distance_m {distance_m}: want a number from 0")
    made_ns, expires_ns = stamp_ns(msg.header.stamp), stamp_ns(msg.expires)
    if expires_ns <= made_ns:
        raise InvalidInput(f"expires {(made_ns - expires_ns) / 1e9:.3f} s before or at the command's own stamp")
    return Navigation(maneuvers[msg.maneuver], distance_m, _road_name(msg.road_name), expires_ns)


def _road_name(text: str) -> str:
    return _words("road_name", text, MAX_ROAD_NAME, " -.'")


def navigation_text(text: str, special_tokens: Collection[str] = ()) -> str:
    """A route in free words, as it may stand in a prompt: 1..80 characters after NFKC, every white space one space.

    Letters, digits, space and -.,'()/& only, and none of the tokenizer's special tokens. It says nothing about what the words
    ask for: "ignore all rules" are words. Raises InvalidInput.
    """
    words = _words("navigation text", text, MAX_NAVIGATION_TEXT, " -.,'()/&")
    if not words:
        raise InvalidInput("navigation text: want words, got none")
    folded = words.casefold()
    if spelled := [token for token in special_tokens if token.strip() and token.strip().casefold() in folded]:
        raise InvalidInput(f"navigation text {words!r} spells the token {spelled[0]}")
    return words


def _words(what: str, text: str, limit: int, marks: str) -> str:
    """Text in its normal form if it holds letters, digits and these marks only, and is not too long before and after."""
    if len(text) > limit:
        raise InvalidInput(f"{what} of {len(text)} characters, limit {limit}")
    words = re.sub(" +", " ", unicodedata.normalize("NFKC", text)).strip()
    bad = sorted({c for c in words if not (c in marks or _letter_or_digit(c))})
    if bad or len(words) > limit:
        raise InvalidInput(f"{what} of {len(words)} characters (limit {limit}) with {bad}: want letters, digits and{marks}")
    return words


def _letter_or_digit(character: str) -> bool:
    # Marks are parts of letters in scripts that NFKC cannot compose (Devanagari, Thai).
    return unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd")


def ego_signals(msg: Any) -> SignalSample:
    """An EgoSignals message. Raises InvalidInput."""
    steering, accel = float(msg.steering_angle_rad), float(msg.acceleration_mps2)
    if not abs(steering) <= math.pi / 2:  # written so that NaN is refused too
        raise InvalidInput(f"steering_angle_rad {steering}: want -pi/2..pi/2")
    if not math.isfinite(accel):
        raise InvalidInput(f"acceleration_mps2 {accel}: want a finite number")
    if not 0 <= msg.turn_indicator < len(TURN_INDICATORS):
        raise InvalidInput(f"turn_indicator {msg.turn_indicator}: want 0..{len(TURN_INDICATORS) - 1}")
    return SignalSample(stamp_ns(msg.header.stamp), steering, TURN_INDICATORS[msg.turn_indicator], accel)


def trajectory_values(msg: Any) -> Trajectory:
    """The trajectory inside a UnicycleTrajectory, ego frame at its stamp. Raises InvalidInput for what cannot be one."""
    points = msg.points
    return Trajectory(
        t_s=np.array([p.time_from_start_ns for p in points], np.float64) * 1e-9,
        xyz=np.array([(p.pose.position.x, p.pose.position.y, p.pose.position.z) for p in points], np.float64).reshape(-1, 3),
        yaw_rad=_yaws_rad([p.pose.orientation for p in points]),
        speed_mps=np.array([p.speed_mps for p in points], np.float64),
        accel_mps2=np.array([p.acceleration_mps2 for p in points], np.float64),
        curvature_1pm=np.array([p.curvature_1pm for p in points], np.float64),
    )


def _yaws_rad(quaternions: list[Any]) -> F64:
    turns = np.array([(q.x, q.y, q.z, q.w) for q in quaternions], np.float64).reshape(-1, 4)
    # Sizes first: the square of a large number overflows. Both are written so that NaN is refused too.
    if not ((np.abs(turns) < 2).all() and (np.abs(np.square(turns).sum(axis=1) - 1) < 0.02).all()):
        raise InvalidInput("trajectory: want quaternions of norm 1 within 0.01")
    x, y, z, w = turns.T
    yaws_rad: F64 = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
    return yaws_rad


def _vector(name: str, value: Any) -> F64:
    xyz = np.array([value.x, value.y, value.z], np.float64)
    if not np.isfinite(xyz).all():
        raise InvalidInput(f"{name}: want finite numbers, got {xyz.tolist()}")
    return xyz


def _rotation(quaternion: Any) -> F64:
    return geometry.rotation_from_quaternion(np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w], np.float64))
