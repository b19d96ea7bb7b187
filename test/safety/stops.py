"""Poses, paths and stops for the tests of stops."""

from __future__ import annotations

import numpy as np

from alpamayo_ros import dynamics, geometry
from alpamayo_ros.safety.stop import OdomPath, Profile, StopSettings, odom_path
from alpamayo_ros.types import EgoPose, Trajectory

SETTINGS = StopSettings()
COMFORT, EMERGENCY, HARDEST = SETTINGS.comfort, SETTINGS.emergency, Profile(4.0, 4.0)


def ego(speed_mps: float = 10.0, yaw_rps: float = 0.0, yaw_rad: float = 0.0, xy: tuple[float, float] = (0.0, 0.0)) -> EgoPose:
    """A pose in the odometry frame."""
    return EgoPose(
        stamp_ns=3_000_000_000,
        position=np.array([*xy, 0.4]),
        odom_from_ego=geometry.rotation_z(yaw_rad),
        velocity_mps=np.array([speed_mps, 0.0, 0.0]),
        angular_rps=np.array([0.0, 0.0, yaw_rps]),
    )


def only(profile: Profile) -> StopSettings:
    """Settings with one profile for every speed."""
    return StopSettings(comfort=profile, emergency=profile)


def driven(stopped: Trajectory, speed_mps: float) -> dynamics.Motion:
    """What the actions of a stop do, its beginning included."""
    return dynamics.integrate(stopped.accel_mps2, stopped.curvature_1pm, speed_mps)


def arc_plan(speed_mps: float, curvature_1pm: float, accel_mps2: float = 0.0) -> Trajectory:
    return dynamics.trajectory(np.full(64, accel_mps2), np.full(64, curvature_1pm), speed_mps)


def seen_from(pose: EgoPose, stopped: Trajectory) -> np.ndarray:
    """The points of a trajectory of this ego in the odometry frame, its beginning included, (n + 1, 2)."""
    xyz = np.vstack([np.zeros(3), stopped.xyz])
    return geometry.apply(geometry.odom_from_ego(pose), xyz)[:, :2]


def straight_path(length_m: float) -> OdomPath:
    """Along x of the odometry frame."""
    return odom_path(dynamics.trajectory(np.zeros(64), np.zeros(64), length_m / 6.4), ego())
