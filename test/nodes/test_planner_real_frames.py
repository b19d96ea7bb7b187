"""Real pictures and a real drive through the planner node: six nuScenes cameras, a highway film, the ego motion of KITTI 00."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import simplejpeg
import yaml
from geometry_msgs.msg import TransformStamped
from nodes.planner_harness import Vehicle, node_for
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.interpolate import CubicSpline
from tf2_msgs.msg import TFMessage

from alpamayo_ros.geometry import rotation_from_quaternion
from alpamayo_ros.nodes.client import odometry_message
from alpamayo_ros.pipeline.decode import trajectory_values
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import F64, EgoPose

DATA = (Path(__file__).parents[2] / "../shared/data").resolve()
SURROUND, FILM = DATA / "images/surround_6cam", DATA / "images/highway/front_25fps.mp4"
POSES = DATA / "ego_poses/kitti00_groundtruth.txt"

pytestmark = [
    pytest.mark.ros,
    pytest.mark.shared,
    pytest.mark.skipif(not (SURROUND.is_dir() and FILM.is_file() and POSES.is_file()), reason=f"no recorded data in {DATA}"),
]

SURROUND_OF_ROLE = {
    "front_left": "CAM_FRONT_LEFT",
    "front_wide": "CAM_FRONT",
    "front_right": "CAM_FRONT_RIGHT",
    "rear_left": "CAM_BACK_LEFT",
    "rear_tele": "CAM_BACK",
    "rear_right": "CAM_BACK_RIGHT",
}
"""One picture each, with a patch that differs within every window; `front_tele` is the film, another frame at every tick."""

VARIANTS = 7
"""The frames of a window are five ticks apart: no two of them are the same, as if the camera were frozen."""

START_NS = 1_317_640_000_000_000_000  # the stamps of KITTI 00 begin at 0
STRAIGHT, RIGHT_TURN = range(39), range(90, 117)
"""Rows of the recording. At row 39 the recorded speed jumps by 0.4 m/s within 0.1 s, which no vehicle does."""

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
ROWS = (*STRAIGHT, *RIGHT_TURN)
WINDOW_ROWS = 21  # of the profile: 2.0 s, 20 intervals of 0.1037 s
ROS_FROM_KITTI = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # x right, y down, z forward -> REP-103


CAMERA_M = np.array([1.08, 0.0, 1.65])
"""KITTI's poses are those of its left grey camera, which sits here from the rear axle on the ground (its sensor setup)."""


class Drive(NamedTuple):
    """A recorded drive."""

    poses: list[EgoPose]  # of the camera, by row
    rear_axle: CubicSpline  # m, odom frame, over s after START_NS


def kitti_drive(rows: int) -> Drive:
    """The first rows of KITTI 00 in REP-103 axes, with twists from the poses around."""
    recorded = np.loadtxt(POSES, max_rows=rows + 20)
    t_s = recorded[:, 0]
    camera_xyz = recorded[:, 1:4] @ ROS_FROM_KITTI.T
    turns = [ROS_FROM_KITTI @ rotation_from_quaternion(q) @ ROS_FROM_KITTI.T for q in recorded[:, 4:8]]
    velocity = CubicSpline(t_s, camera_xyz)(t_s, 1)
    poses = [
        EgoPose(START_NS + round(t_s[i] * 1e9), camera_xyz[i], turns[i], turns[i].T @ velocity[i], angular_rps(turns, t_s, i))
        for i in range(rows)
    ]
    return Drive(poses, CubicSpline(t_s, camera_xyz - np.stack(turns) @ CAMERA_M))


def camera_on_vehicle() -> TFMessage:
    """The /tf_static message of that camera."""
    transform = TransformStamped(child_frame_id="kitti_camera")
    transform.header.frame_id = "base_link"
    shift = transform.transform.translation
    shift.x, shift.y, shift.z = CAMERA_M.tolist()
    return TFMessage(transforms=[transform])


def angular_rps(turns: list[F64], t_s: F64, i: int) -> F64:
    """Turn between the poses before and after, over their time, ego frame."""
    before, after = max(i - 1, 0), i + 1
    turned, _ = cv2.Rodrigues(turns[before].T @ turns[after])
    return np.asarray(turned[:, 0] / (t_s[after] - t_s[before]), np.float64)


def patched(jpeg: bytes) -> list[bytes]:
    """A picture with a patch of another grey each time, in a corner."""
    image = simplejpeg.decode_jpeg(jpeg)
    made = []
    for variant in range(VARIANTS):
        image[:64, :64] = 255 * variant // VARIANTS
        made.append(bytes(simplejpeg.encode_jpeg(image, quality=85)))
    return made


def pictures(ticks: int) -> dict[str, list[bytes]]:
    """JPEGs of every role at every tick."""
    variants = {role: patched((SURROUND / f"{name}.jpg").read_bytes()) for role, name in SURROUND_OF_ROLE.items()}
    still = {role: [made[i % VARIANTS] for i in range(ticks)] for role, made in variants.items()}
    film = cv2.VideoCapture(str(FILM))
    frames = []
    while len(frames) < 2.5 * ticks:  # 25 frames/s to 10
        is_read, frame = film.read()
        assert is_read
        frames.append(frame)
    film.release()
    tele = [bytes(simplejpeg.encode_jpeg(frames[int(2.5 * i)], quality=85, colorspace="BGR")) for i in range(ticks)]
    return {**still, "front_tele": tele}


def real_rig(folder: Path, of_role: dict[str, list[bytes]]) -> Rig:
    """The shipped rig with the sizes of these pictures and KITTI's odometry rate, written to the folder."""
    described = read_rig("seven_camera").model_dump(mode="json")
    described["odometry"]["rate_hz"] = 10.0
    for role, frames in of_role.items():
        height, width, _, _ = simplejpeg.decode_jpeg_header(frames[0])
        described["cameras"][role] |= {"width": width, "height": height}
    (folder / "rig.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    return read_rig(str(folder / "rig.yaml"))


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Vehicle, Drive]]:
    """A node that both stretches have gone through, as from a recording with a hole."""
    folder = tmp_path_factory.mktemp("real")
    drive, of_role = kitti_drive(ROWS[-1] + 1), pictures(len(ROWS))
    with node_for(real_rig(folder, of_role), folder, {"max_wait_ms": 1000.0}) as (vehicle, process):
        assert vehicle.wait(vehicle.is_heard, 20), vehicle.log.read_text()
        vehicle.node.create_publisher(TFMessage, "/tf_static", LATCHED).publish(camera_on_vehicle())
        vehicle.pause(0.5)  # a publisher knows its subscriber before that one knows it, and no frame may get lost
        for i, pose in enumerate(drive.poses[row] for row in ROWS):
            vehicle.publisher.clock(pose.stamp_ns)
            vehicle.pause(0.1)  # the clock first: it goes in steps of 104 ms, and a pose 100 ms ahead of it is of no time yet
            message = odometry_message(pose, vehicle.rig)
            message.child_frame_id = "kitti_camera"
            vehicle.publisher.odometry_message(message)
            vehicle.pause(0.02)
            for role, frames in of_role.items():
                vehicle.publisher.camera(role, pose.stamp_ns, frames[i])
            assert vehicle.wait(lambda at=pose.stamp_ns: vehicle.is_answered(at)), f"no answer to row {ROWS[i]}"
        vehicle.diagnostic("planner")
        assert process.poll() is None
        yield vehicle, drive


def test_no_real_frame_is_refused_or_lost(driven: tuple[Vehicle, Drive]) -> None:
    vehicle, _ = driven
    for role in vehicle.rig.cameras:
        values = vehicle.plans.values(f"camera {role}")
        counted = {name: int(values[name]) for name in ("received", "decoded", "refused", "dropped", "missing", "late")}
        assert counted == {"received": len(ROWS), "decoded": len(ROWS), "refused": 0, "dropped": 0, "missing": 0, "late": 0}
    assert "all accepted" in vehicle.said("inputs")


@pytest.mark.parametrize("rows", [STRAIGHT, RIGHT_TURN], ids=["straight", "right turn"])
def test_every_frame_gets_a_plan_of_64_points_once_the_window_is_full(driven: tuple[Vehicle, Drive], rows: range) -> None:
    vehicle, drive = driven
    planned = [vehicle.planned_at(drive.poses[row].stamp_ns) for row in rows]
    assert all(plan is None for plan in planned[: WINDOW_ROWS - 2])
    for row, plan in zip(rows[WINDOW_ROWS:], planned[WINDOW_ROWS:], strict=True):
        assert plan is not None, vehicle.status_at(drive.poses[row].stamp_ns).reasons
        assert len(plan.points) == 64


@pytest.mark.parametrize(("rows", "driven_left_m"), [(STRAIGHT, 0.0), (RIGHT_TURN, -0.9)], ids=["straight", "right turn"])
def test_the_plans_follow_the_driven_road(driven: tuple[Vehicle, Drive], rows: range, driven_left_m: float) -> None:
    """Constant acceleration and curvature: 0.5 m after 1 s are 1 m/s^2 of change, more than there is in these stretches."""
    vehicle, drive = driven
    for row in rows[WINDOW_ROWS:]:
        pose = drive.poses[row]
        plan = vehicle.planned_at(pose.stamp_ns)
        assert plan is not None
        ahead = trajectory_values(plan)
        t0_s = (pose.stamp_ns - START_NS) / 1e9
        driven_xyz = (drive.rear_axle(t0_s + ahead.t_s[:10]) - drive.rear_axle(t0_s)) @ pose.odom_from_ego
        error_m = np.linalg.norm(ahead.xyz[:10, :2] - driven_xyz[:, :2], axis=1)
        assert error_m[0] < 0.1, f"row {row}, at 0.1 s"
        assert error_m[-1] < 0.5, f"row {row}, at 1 s"
        assert driven_xyz[-1, 1] == pytest.approx(driven_left_m, abs=0.4), "the stretch is what its name says"
