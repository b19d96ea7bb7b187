"""Rotations, poses and interpolation. Matrices are named `a_from_b`: they take coordinates in b to coordinates in a.

Frames follow REP-103 (x forward, y left, z up); angles are radians; quaternions are (x, y, z, w) as in ROS messages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import F64, EgoPose, InvalidInput

UNIT_NORM_TOLERANCE = 1e-2
"""How far a quaternion's norm may be from 1 before it is refused rather than renormalised."""


def rotation_from_quaternion(xyzw: NDArray[Any]) -> F64:
    """Rotation matrix (3, 3) of a quaternion (x, y, z, w), renormalised when its norm is within 1e-2 of 1.

    Raises InvalidInput for any other norm, a wrong shape, or a number that is not finite.
    """
    quaternion = np.asarray(xyzw, dtype=np.float64)
    norm = float(np.linalg.norm(quaternion))
    if quaternion.shape != (4,) or not abs(norm - 1.0) <= UNIT_NORM_TOLERANCE:  # written so that NaN is refused too
        raise InvalidInput(f"quaternion: want 4 numbers of norm 1 ± {UNIT_NORM_TOLERANCE}, got {xyzw} of norm {norm:.6g}")
    x, y, z, w = quaternion / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: NDArray[Any]) -> F64:
    """Unit quaternion (x, y, z, w) with w >= 0 of a rotation matrix (3, 3).

    Every row of the 4x4 matrix 4 q q^T is a multiple of q; the one with the largest diagonal loses no digits
    (Shepperd, 1978).
    """
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = np.asarray(rotation, dtype=np.float64)
    outer = np.array(
        [
            [1 + r00 - r11 - r22, r01 + r10, r02 + r20, r21 - r12],
            [r01 + r10, 1 - r00 + r11 - r22, r12 + r21, r02 - r20],
            [r02 + r20, r12 + r21, 1 - r00 - r11 + r22, r10 - r01],
            [r21 - r12, r02 - r20, r10 - r01, 1 + r00 + r11 + r22],
        ]
    )
    quaternion: F64 = outer[int(np.argmax(np.diagonal(outer)))]
    return quaternion / (np.linalg.norm(quaternion) * (-1.0 if quaternion[3] < 0 else 1.0))


def rotation_z(yaw_rad: float) -> F64:
    """Rotation matrix (3, 3) about z: positive turns x towards y (left)."""
    return rotation_from_rpy(0.0, 0.0, yaw_rad)


def rotation_from_rpy(roll_rad: float, pitch_rad: float, yaw_rad: float) -> F64:
    """Rotation matrix (3, 3) of roll about x, then pitch about y, then yaw about z, all fixed axes (REP-103)."""
    (cr, cp, cy), (sr, sp, sy) = np.cos([roll_rad, pitch_rad, yaw_rad]), np.sin([roll_rad, pitch_rad, yaw_rad])
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def yaw_of(rotation: NDArray[Any]) -> float:
    """Heading of a rotation matrix (3, 3), rad in [-pi, pi]: the angle of its x axis in the x-y plane."""
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def slerp(rotation0: NDArray[Any], rotation1: NDArray[Any], fraction: float) -> F64:
    """Rotation (3, 3) on the shortest arc: `rotation0` at fraction 0, `rotation1` at 1, beyond for other fractions."""
    q0, q1 = quaternion_from_rotation(rotation0), quaternion_from_rotation(rotation1)
    if np.dot(q0, q1) < 0:
        q1 = -q1
    # Twice the angle of half the chord: exact near 0, where arccos of the dot product is not.
    angle = 2.0 * float(np.arctan2(np.linalg.norm(q1 - q0), np.linalg.norm(q1 + q0)))
    if angle < 1e-12:
        return rotation_from_quaternion(q0)
    mixed = (np.sin((1.0 - fraction) * angle) * q0 + np.sin(fraction * angle) * q1) / np.sin(angle)
    return rotation_from_quaternion(mixed)


def transform(rotation: NDArray[Any], translation: NDArray[Any]) -> F64:
    """Homogeneous matrix (4, 4) `a_from_b` of `a_from_b` rotation (3, 3) and the origin of b in a (3,) m."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation
    return matrix


def odom_from_ego(ego: EgoPose) -> F64:
    """The ego pose as a matrix (4, 4), odometry frame from ego."""
    return transform(ego.odom_from_ego, ego.position)


def inverse(a_from_b: NDArray[Any]) -> F64:
    """Rigid inverse (4, 4): `b_from_a`."""
    b_from_a_rotation = np.asarray(a_from_b, dtype=np.float64)[:3, :3].T
    return transform(b_from_a_rotation, -b_from_a_rotation @ a_from_b[:3, 3])


def apply(a_from_b: NDArray[Any], xyz_b: NDArray[Any]) -> F64:
    """Points (N, 3) m in b as points (N, 3) m in a."""
    matrix = np.asarray(a_from_b, dtype=np.float64)
    points: F64 = np.asarray(xyz_b, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return points
