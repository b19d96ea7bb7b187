"""Messages become values or are refused with numbers; nothing heavy happens before a header is believed."""

from __future__ import annotations

import array
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import simplejpeg
from pipeline.vehicle import HEIGHT, SECOND, WIDTH, T, compressed, decoded, header, jpeg, odometry, raw, rig, stamp, xyz

from alpamayo_ros import bags, geometry
from alpamayo_ros.pipeline.decode import (
    FrameLimits,
    camera_frame,
    ego_pose,
    stamp_ns,
    static_transforms,
    trajectory_values,
)
from alpamayo_ros.types import EncodedFrame, InvalidInput

CAMERA = rig().cameras["front_wide"]
RAW_CAMERA = rig(transport="raw").cameras["front_wide"]
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def take(msg: Any, camera: Any = CAMERA, **more: Any) -> EncodedFrame:
    return camera_frame(msg, "front_wide", camera, 3, **more)


# -------------------------------------------------------------------------------------------------------------------- frames


def test_a_compressed_message_becomes_a_frame_without_copying() -> None:
    data = array.array("B", jpeg())
    frame = take(compressed(T, data))
    want = EncodedFrame("front_wide", T, 3, "jpeg", HEIGHT, WIDTH, 0, memoryview(data))
    assert frame == want
    assert isinstance(frame.data, memoryview)
    assert frame.data.obj is data


def test_a_raw_message_becomes_a_frame_without_copying() -> None:
    msg = raw(T, "bgr8", RGB)
    frame = take(msg, RAW_CAMERA)
    assert (frame.encoding, frame.height, frame.width, frame.step) == ("bgr8", HEIGHT, WIDTH, 3 * WIDTH)
    assert isinstance(frame.data, memoryview)
    assert frame.data.obj is msg.data
    assert np.array_equal(decoded(frame, HEIGHT, WIDTH), RGB[:, :, ::-1])


def test_the_rigs_stamp_offset_is_added() -> None:
    late = CAMERA.model_copy(update={"stamp_offset_ms": -12.5})
    assert take(compressed(T), late).stamp_ns == T - 12_500_000


@pytest.mark.parametrize("transport", ["compressed", "raw"])
def test_rosbags_messages_and_ros_messages_give_the_same_frame(transport: str) -> None:
    ros = pytest.importorskip("sensor_msgs.msg", reason="no ROS 2 messages in this environment")
    kind = {"compressed": "CompressedImage", "raw": "Image"}[transport]
    data = jpeg() if transport == "compressed" else RGB.tobytes()
    fields: dict[str, Any] = {"format": "jpeg"}
    if transport == "raw":
        fields = {"encoding": "rgb8", "height": HEIGHT, "width": WIDTH, "step": 3 * WIDTH, "is_bigendian": 0}
    ours = getattr(ros, kind)(**fields)
    ours.header.stamp.sec = T // SECOND
    ours.data = array.array("B", data)
    head = bags.message("std_msgs/msg/Header")(bags.message("builtin_interfaces/msg/Time")(T // SECOND, 0), "")
    theirs = bags.message(f"sensor_msgs/msg/{kind}")(header=head, data=np.frombuffer(data, np.uint8), **fields)
    recorded = bags.deserialize(bags.serialize(theirs, f"sensor_msgs/msg/{kind}"), f"sensor_msgs/msg/{kind}")
    camera = CAMERA if transport == "compressed" else RAW_CAMERA
    frames = [take(msg, camera) for msg in (ours, theirs, recorded)]
    for frame in frames:
        assert replace(frame, data=b"") == replace(frames[0], data=b"")
        assert bytes(frame.data) == data


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (compressed(0), "stamp: want a time after 0, got sec 0 nanosec 0"),
        (compressed(T, b""), "0 bytes that start with nothing"),
        (compressed(T, jpeg()[:20]), "JPEG of 20 bytes"),
        (compressed(T, jpeg(width=WIDTH + 8)), f"declares {WIDTH}x{HEIGHT} pixels, got {WIDTH + 8}x{HEIGHT}"),
        (compressed(T, jpeg(width=HEIGHT, height=WIDTH)), f"got {HEIGHT}x{WIDTH}"),
        (compressed(T, fmt="png"), "names another kind of file than the jpeg"),
        (compressed(T, fmt="h264"), "format 'h264'"),
        (raw(T, "rgb8", RGB), "declares compressed images on /sensing/camera/front_wide/image/compressed, got a raw one"),
        (compressed(T, bytes(8_000_001)), "8000001 bytes, limit 8000000"),
    ],
)
def test_a_compressed_message_that_cannot_be_believed_is_refused(msg: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^front_wide: .*{says}"):
        take(msg)


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (compressed(T), "declares raw images on .*, got a compressed one"),
        (raw(0, "rgb8", RGB), "stamp"),
        (raw(T, "mono16", RGB), "encoding 'mono16': want one of"),
        (raw(T, "rgb8", RGB[:-1]), f"got {WIDTH}x{HEIGHT - 1}"),
        (raw(T, "rgb8", RGB, data=RGB.tobytes()[:-1]), f"want {3 * WIDTH * HEIGHT} bytes, got {3 * WIDTH * HEIGHT - 1}"),
        (raw(T, "rgb8", RGB, height=2**31, width=2**31, step=2**32 - 1), "pixels, got 2147483648x2147483648"),
        (raw(T, "rgb8", RGB, step=0, data=b""), "step 0 is below"),
    ],
)
def test_a_raw_message_that_cannot_be_believed_is_refused(msg: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=f"^front_wide: .*{says}"):
        take(msg, RAW_CAMERA)


def test_limits_hold_whatever_the_rig_declares() -> None:
    with pytest.raises(InvalidInput, match=f"{WIDTH}x{HEIGHT} are {WIDTH * HEIGHT} pixels, limit 100"):
        take(compressed(T), limits=FrameLimits(pixels=100))
    with pytest.raises(InvalidInput, match=r"\d+ bytes, limit 100"):
        take(compressed(T), limits=FrameLimits(compressed_bytes=100))


def bomb(width: int, height: int) -> bytes:
    """A small JPEG whose header declares another size (SOF0: length, precision, height, width)."""
    data = bytearray(simplejpeg.encode_jpeg(np.zeros((64, 64, 1), np.uint8), colorspace="GRAY"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(data)


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize("size", [(1920, 1080), (20_000, 20_000), (32_000, 32_000), (65_500, 65_500)])
def test_a_picture_that_declares_gigabytes_costs_nothing(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    msg = compressed(T, bomb(*size))
    assert len(msg.data) < 1000
    monkeypatch.delattr(simplejpeg, "decode_jpeg")  # refused before anything decodes
    before = resident_bytes()
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=f"got {size[0]}x{size[1]}"):
        take(msg)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert resident_bytes() - before < 2_000_000  # the smallest of these pictures is 6 MB


# ---------------------------------------------------------------------------------------------------------------------- time


def test_stamps_are_whole_nanoseconds() -> None:
    assert stamp_ns(stamp(1_700_000_000_123_456_789)) == 1_700_000_000_123_456_789


@pytest.mark.parametrize(("sec", "nanosec"), [(0, 0), (-1, 5), (1, 1_000_000_000), (1, -1)])
def test_impossible_stamps_are_refused(sec: int, nanosec: int) -> None:
    with pytest.raises(InvalidInput, match="stamp: want a time after 0"):
        stamp_ns(SimpleNamespace(sec=sec, nanosec=nanosec))


# ------------------------------------------------------------------------------------------------------------------ odometry


def test_odometry_of_the_base_frame_is_taken_as_it_is() -> None:
    rotation = geometry.rotation_from_rpy(0.1, -0.2, 0.3)
    msg = odometry(T, (1, 2, 3), geometry.quaternion_from_rotation(rotation), (4, 5, 6), (0.1, 0.2, 0.3))
    pose = ego_pose(msg, rig())
    assert pose.stamp_ns == T
    assert np.array_equal(pose.position, [1, 2, 3])
    assert np.allclose(pose.odom_from_ego, rotation, atol=1e-12)
    assert np.array_equal(pose.velocity_mps, [4, 5, 6])
    assert np.array_equal(pose.angular_rps, [0.1, 0.2, 0.3])


def moved(base_from_imu: np.ndarray, ns: int, linear: np.ndarray, angular: np.ndarray) -> tuple[np.ndarray, SimpleNamespace]:
    """A rigid body whose imu frame has a constant twist: odom_from_imu and the imu's odometry message."""
    seconds = (ns - T) / SECOND
    rate = float(np.linalg.norm(angular))
    x, y, z = angular / rate
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = rate * seconds
    rotation = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    left = np.eye(3) * seconds + (1 - math.cos(angle)) / rate * cross + (angle - math.sin(angle)) / rate * cross @ cross
    start = geometry.transform(geometry.rotation_from_rpy(0.2, 0.1, 0.7), np.array([5.0, -3.0, 1.0]))
    odom_from_imu = start @ geometry.transform(rotation, left @ linear)
    quaternion = geometry.quaternion_from_rotation(odom_from_imu[:3, :3])
    return odom_from_imu, odometry(ns, odom_from_imu[:3, 3], quaternion, linear, angular, child="imu_link")


def test_odometry_of_another_frame_moves_to_the_base_frame_with_its_lever_arm() -> None:
    base_from_imu = geometry.transform(geometry.rotation_from_rpy(0.3, -0.2, 1.1), np.array([1.4, -0.6, 0.9]))
    linear, angular, h = np.array([9.0, 1.0, -0.5]), np.array([0.2, -0.3, 0.8]), 1_000_000
    before, at, after = (
        ego_pose(moved(base_from_imu, ns, linear, angular)[1], rig(), base_from_imu) for ns in (T - h, T, T + h)
    )
    # The pose is the rigid composition, the twist the derivative of the poses: central differences, error of order h^2.
    odom_from_base = moved(base_from_imu, T, linear, angular)[0] @ geometry.inverse(base_from_imu)
    assert np.allclose(at.position, odom_from_base[:3, 3], atol=1e-12)
    assert np.allclose(at.odom_from_ego, odom_from_base[:3, :3], atol=1e-12)
    velocity = at.odom_from_ego.T @ (after.position - before.position) / (2 * h / SECOND)
    assert np.allclose(at.velocity_mps, velocity, atol=1e-4)
    spin = at.odom_from_ego.T @ (after.odom_from_ego - before.odom_from_ego) / (2 * h / SECOND)
    assert np.allclose(at.angular_rps, [spin[2, 1], spin[0, 2], spin[1, 0]], atol=1e-5)
    assert np.linalg.norm(at.velocity_mps - base_from_imu[:3, :3] @ linear) > 0.5  # the lever arm is not small here


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ns": 0}, "stamp"),
        ({"frame": "map"}, "in frame 'map', the rig declares 'odom'"),
        ({"frame": ""}, "in frame '', the rig declares 'odom'"),
        ({"child": "imu_link"}, "of 'imu_link': no transform from it to the rig's base frame 'base_link'"),
        ({"position": (math.nan, 0, 0)}, "position: want finite"),
        ({"position": (0, math.inf, 0)}, "position: want finite"),
        ({"linear": (0, 0, math.nan)}, "linear twist: want finite"),
        ({"angular": (-math.inf, 0, 0)}, "angular twist: want finite"),
        ({"quaternion": (0, 0, 0, 0)}, "quaternion: want .* norm 1"),
        ({"quaternion": (0, 0, 0, 1.02)}, "quaternion: want .* norm 1"),
        ({"quaternion": (0, 0, math.nan, 1)}, "quaternion: want .* norm 1"),
    ],
)
def test_odometry_that_cannot_be_believed_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ego_pose(odometry(**({"ns": T} | change)), rig())


def test_a_quaternion_that_is_nearly_unit_is_renormalised() -> None:
    pose = ego_pose(odometry(T, quaternion=(0, 0, 0.7071 * 1.009, 0.7071 * 1.009)), rig())
    assert np.allclose(pose.odom_from_ego, geometry.rotation_z(math.pi / 2), atol=1e-9)


# ---------------------------------------------------------------------------------------------------------- static transforms


def tf(parent: str, child: str, translation: Any = (1, 2, 3), quaternion: Any = (0, 0, 0, 1)) -> SimpleNamespace:
    x, y, z, w = quaternion
    moved = SimpleNamespace(translation=xyz(translation), rotation=SimpleNamespace(x=x, y=y, z=z, w=w))
    return SimpleNamespace(header=header(T, parent), child_frame_id=child, transform=moved)


def test_static_transforms_are_parent_from_child() -> None:
    (found,) = static_transforms(SimpleNamespace(transforms=[tf("base_link", "imu_link")]))
    assert found[:2] == ("base_link", "imu_link")
    assert np.array_equal(found.parent_from_child, geometry.transform(np.eye(3), np.array([1, 2, 3])))


@pytest.mark.parametrize(
    ("transform", "says"),
    [
        (tf("", "a"), "two different frames, got '' and 'a'"),
        (tf("a", "a"), "two different frames, got 'a' and 'a'"),
        (tf("a", "b", (math.nan, 0, 0)), "from 'b' to 'a': translation: want finite"),
        (tf("a", "b", quaternion=(0, 0, 0, 0)), "from 'b' to 'a': quaternion"),
    ],
)
def test_transforms_that_are_no_rigid_motion_are_refused(transform: Any, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        static_transforms(SimpleNamespace(transforms=[tf("base_link", "imu_link"), transform]))


# ---------------------------------------------------------------------------------------------------------------- trajectory


def point(ns: int, quaternion: Any) -> SimpleNamespace:
    pose = SimpleNamespace(position=xyz((1, 2, 0)), orientation=SimpleNamespace(**dict(zip("xyzw", quaternion, strict=True))))
    return SimpleNamespace(time_from_start_ns=ns, pose=pose, speed_mps=1.0, acceleration_mps2=0.0, curvature_1pm=0.0)


def test_a_trajectory_keeps_the_headings_of_its_points() -> None:
    headings = (0.0, 0.5, -3.0)
    points = [point(10**8 * (i + 1), (0, 0, math.sin(yaw / 2), math.cos(yaw / 2))) for i, yaw in enumerate(headings)]
    assert np.allclose(trajectory_values(SimpleNamespace(points=points)).yaw_rad, headings, atol=1e-12)


@pytest.mark.parametrize(
    "quaternion", [(0, 0, 0, 0), (0, 0, 0, 1.1), (0, 1e200, 0, 1), (0, 0, math.nan, 1), (0, -math.inf, 0, 1)]
)
def test_a_trajectory_of_impossible_headings_is_refused(quaternion: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInput, match="trajectory: want quaternions of norm 1"):
        trajectory_values(SimpleNamespace(points=[point(10**8, (0, 0, 0, 1)), point(2 * 10**8, quaternion)]))


# ----------------------------------------------------------------------------------------------------------------- cv_bridge


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8", "bayer_grbg8"])
def test_pixels_are_those_of_cv_bridge(encoding: str) -> None:
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge comes with a ROS 2 installation")
    ros = pytest.importorskip("sensor_msgs.msg")
    channels = {"mono8": 1, "rgba8": 4, "bgra8": 4}.get(encoding, 1 if encoding.startswith("bayer") else 3)
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH * channels), dtype=np.uint8)
    msg = ros.Image(encoding=encoding, height=HEIGHT, width=WIDTH, step=WIDTH * channels)
    msg.header.stamp.sec = 1
    msg.data = array.array("B", pixels.tobytes())
    assert np.array_equal(
        decoded(take(msg, RAW_CAMERA), HEIGHT, WIDTH), cv_bridge.CvBridge().imgmsg_to_cv2(msg, desired_encoding="rgb8")
    )
