"""Twists: from poses where a data set measures none, on another point of the vehicle, and whether they agree with the poses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.geometry import inverse
from alpamayo_ros.pipeline.observe import TWIST_TOLERANCE_MPS, TWIST_TOLERANCE_SHARE
from alpamayo_ros.types import F64, EgoPose, InvalidInput

I64 = NDArray[np.int64]

HALF_WINDOW_S = 0.1
"""A twist is fitted to the poses this long before and after it, and to two on either side at least."""

TWIST_WINDOW_S = 0.5
"""Over windows this long poses may differ from twists by as much as the planner tolerates."""


def twists(name: str, stamps_ns: I64, xyz: F64, odom_from_ego: F64) -> tuple[F64, F64]:
    """Linear m/s and angular rad/s velocity (N, 3), ego frame, of N >= 5 poses: stamps, positions (N, 3), rotations (N, 3, 3).

    The slope, at each pose, of the least-squares parabolas through the poses around it, as they are seen from it: exact for
    constant acceleration, one-sided at the ends (Savitzky and Golay, 1964, for times that need not be even). Raises
    InvalidInput.
    """
    check_times(name, stamps_ns, at_least=5)
    if not np.isfinite(xyz).all():
        raise InvalidInput(f"{name}: {np.count_nonzero(~np.isfinite(xyz).all(axis=1))} of {len(xyz)} positions are not finite")
    t_s = (stamps_ns - stamps_ns[0]) / 1e9
    reach = max(2, round(HALF_WINDOW_S / float(np.median(np.diff(t_s)))))
    reach = min(reach, (len(t_s) - 1) // 2)
    slopes = np.empty((len(t_s), 6))
    for i, rotation in enumerate(odom_from_ego):
        first = min(max(i - reach, 0), len(t_s) - 2 * reach - 1)
        around = slice(first, first + 2 * reach + 1)
        moved = (xyz[around] - xyz[i]) @ rotation
        turned = _rotation_vectors(rotation.T @ odom_from_ego[around])
        dt_s = t_s[around] - t_s[i]
        powers = np.column_stack([np.ones_like(dt_s), dt_s, dt_s * dt_s])
        slopes[i] = np.linalg.lstsq(powers, np.column_stack([moved, turned]), rcond=None)[0][1]
    return slopes[:, :3], slopes[:, 3:]


def check_times(name: str, stamps_ns: I64, at_least: int) -> None:
    """Raise InvalidInput unless there are so many times, all after 0, and each after the one before it."""
    if len(stamps_ns) < at_least:
        raise InvalidInput(f"{name}: {len(stamps_ns)}, want {at_least} or more")
    if stamps_ns[0] <= 0:
        raise InvalidInput(f"{name}: the first time is {stamps_ns[0]} ns, want one after 0")
    for place, (before, after) in enumerate(pairwise(stamps_ns.tolist()), 1):
        if after <= before:
            raise InvalidInput(f"{name}: times must increase: number {place} is {after} ns, the one before it {before} ns")


def moved_to_base(pose: EgoPose, base_from_body: F64) -> EgoPose:
    """Pose and twist of the base frame of a rigid vehicle, from those of another frame on it (4, 4)."""
    body_from_base, rotation = inverse(base_from_body), base_from_body[:3, :3]
    base_in_body = body_from_base[:3, 3]
    return EgoPose(
        pose.stamp_ns,
        pose.position + pose.odom_from_ego @ base_in_body,
        pose.odom_from_ego @ body_from_base[:3, :3],
        rotation @ (pose.velocity_mps + np.cross(pose.angular_rps, base_in_body)),
        rotation @ pose.angular_rps,
    )


def check_twists(name: str, poses: Sequence[EgoPose]) -> None:
    """Raise InvalidInput when poses, in stamp order, move elsewhere or at another speed than their twists say."""
    t_s = (np.array([pose.stamp_ns for pose in poses]) - poses[0].stamp_ns) / 1e9
    xyz = np.array([pose.position for pose in poses])
    velocity = np.array([pose.odom_from_ego @ pose.velocity_mps for pose in poses])
    steps = (velocity[:-1] + velocity[1:]) / 2 * np.diff(t_s)[:, None]
    travelled = np.vstack([np.zeros(3), np.cumsum(steps, axis=0)])
    edges = np.unique(np.searchsorted(t_s, np.arange(0.0, t_s[-1], TWIST_WINDOW_S)))
    edges = edges if len(edges) > 1 else np.array([0, len(t_s) - 1])
    took_s = np.diff(t_s[edges])[:, None]
    implied, stated = np.diff(xyz[edges], axis=0) / took_s, np.diff(travelled[edges], axis=0) / took_s
    error, speed = np.linalg.norm(implied - stated, axis=1), np.linalg.norm(stated, axis=1)
    if np.median(error) > TWIST_TOLERANCE_MPS + TWIST_TOLERANCE_SHARE * np.median(speed):
        worst = int(np.argmax(error))
        raise InvalidInput(
            f"{name}: poses and twists differ by {np.median(error):.2f} m/s (median of {TWIST_WINDOW_S} s windows); at "
            f"{t_s[edges][worst]:.1f} s poses move by {_text(implied[worst])} m/s, twists say {_text(stated[worst])} m/s"
        )


def _rotation_vectors(rotations: F64) -> F64:
    """Axis times angle (N, 3) of rotations (N, 3, 3) by less than half a turn."""
    axis = np.column_stack(
        [
            rotations[:, 2, 1] - rotations[:, 1, 2],
            rotations[:, 0, 2] - rotations[:, 2, 0],
            rotations[:, 1, 0] - rotations[:, 0, 1],
        ]
    )
    sine = np.linalg.norm(axis, axis=1) / 2
    angle = np.arctan2(sine, (np.trace(rotations, axis1=1, axis2=2) - 1) / 2)
    # angle / sine is 1 at angle 0.
    vectors: F64 = axis / 2 * np.divide(angle, sine, out=np.ones_like(sine), where=sine > 1e-9)[:, None]
    return vectors


def _text(vector: F64) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in vector) + ")"
