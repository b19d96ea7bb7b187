"""ROS messages made from values: what a bag holds of cameras, transforms and motion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from alpamayo_ros.bags import message
from alpamayo_ros.cameras import Camera, info_from_camera
from alpamayo_ros.geometry import quaternion_from_rotation
from alpamayo_ros.types import F64, EgoPose, Maneuver, Navigation, SignalSample, TurnIndicator

_SECOND_NS = 1_000_000_000


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header."""
    return message("std_msgs/msg/Header")(_time(stamp_ns), frame_id)


def compressed_image(data: bytes, encoding: Literal["jpeg", "png"], stamp_ns: int, frame_id: str) -> Any:
    """A sensor_msgs/CompressedImage of a file's bytes."""
    return message("sensor_msgs/msg/CompressedImage")(header(stamp_ns, frame_id), encoding, np.frombuffer(data, np.uint8))


def camera_info(lens: Camera, stamp_ns: int, frame_id: str) -> Any:
    """A sensor_msgs/CameraInfo: K and D of the lens. P repeats K, as drivers do that rectify nothing."""
    fields = info_from_camera(lens)
    k = np.array(fields.k).reshape(3, 3)
    return message("sensor_msgs/msg/CameraInfo")(
        header=header(stamp_ns, frame_id),
        height=fields.height,
        width=fields.width,
        distortion_model=fields.distortion_model,
        d=np.array(fields.d),
        k=k.reshape(-1),
        r=np.eye(3).reshape(-1),
        p=np.column_stack([k, np.zeros(3)]).reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=message("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, do_rectify=False),
    )


def transforms(parent: str, parent_from_child: Mapping[str, F64], stamp_ns: int) -> Any:
    """A tf2_msgs/TFMessage of where frames are in another one: child -> pose (4, 4) in the parent frame."""
    stamped = []
    for child, pose in parent_from_child.items():
        rotation = _vector("Quaternion", quaternion_from_rotation(pose[:3, :3]))
        placed = message("geometry_msgs/msg/Transform")(_vector("Vector3", pose[:3, 3]), rotation)
        stamped.append(message("geometry_msgs/msg/TransformStamped")(header(stamp_ns, parent), child, placed))
    return message("tf2_msgs/msg/TFMessage")(stamped)


def odometry(ego: EgoPose, frame: str, base_frame: str, variance: float) -> Any:
    """A nav_msgs/Odometry of the base frame: pose in `frame`, twist in the base frame (REP-105).

    `variance` (m^2, rad^2, m^2/s^2, rad^2/s^2) is written for every axis; 0 says that nobody knows.
    """
    turn = _vector("Quaternion", quaternion_from_rotation(ego.odom_from_ego))
    pose = message("geometry_msgs/msg/Pose")(_vector("Point", ego.position), turn)
    twist = message("geometry_msgs/msg/Twist")(_vector("Vector3", ego.velocity_mps), _vector("Vector3", ego.angular_rps))
    covariance = np.diag([variance] * 6).reshape(-1)
    return message("nav_msgs/msg/Odometry")(
        header(ego.stamp_ns, frame),
        base_frame,
        message("geometry_msgs/msg/PoseWithCovariance")(pose, covariance),
        message("geometry_msgs/msg/TwistWithCovariance")(twist, covariance),
    )


def ego_signals(signals: SignalSample, base_frame: str) -> Any:
    """An alpamayo_ros/EgoSignals."""
    indicator = get_args(TurnIndicator).index(signals.turn_indicator)  # in the order of EgoSignals.msg
    return message("alpamayo_ros/msg/EgoSignals")(
        header(signals.stamp_ns, base_frame), signals.steering_angle_rad, indicator, signals.acceleration_mps2
    )


def navigation(command: Navigation, stamp_ns: int) -> Any:
    """An alpamayo_ros/NavigationCommand made at an instant."""
    maneuver = get_args(Maneuver).index(command.maneuver)  # in the order of NavigationCommand.msg
    return message("alpamayo_ros/msg/NavigationCommand")(
        header(stamp_ns, ""), maneuver, command.distance_m, command.road_name, _time(command.expires_ns)
    )


def _time(stamp_ns: int) -> Any:
    return message("builtin_interfaces/msg/Time")(stamp_ns // _SECOND_NS, stamp_ns % _SECOND_NS)


def _vector(kind: str, xyz: F64) -> Any:
    return message(f"geometry_msgs/msg/{kind}")(*map(float, xyz))
