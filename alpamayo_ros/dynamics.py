"""The unicycle action space of Alpamayo-R1: actions to trajectory, and back by Tikhonov-regularised least squares.

Source: Alpamayo-R1 paper (arXiv 2511.00088), section 3.2.2 and equation 5; constants and regularisers of the released
Alpamayo-R1-10B and Alpamayo-1.5-10B. Everything is planar: x forward, y left, ego at t0. Numbers keep the dtype they
come in (float32 or float64), except a `Trajectory`, which is always float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import HORIZON, STEP_S, InvalidInput, Trajectory

Floats = NDArray[Any]  # float32 or float64, one of them throughout a call


@dataclass(frozen=True)
class ActionSpace:
    """Normalisation, bounds and regularisers of the (acceleration, curvature) actions; defaults as released."""

    accel_mean_mps2: float = 0.02902694707164455
    accel_std_mps2: float = 0.6810426736454882
    curvature_mean_1pm: float = 0.0002692167976330542
    curvature_std_1pm: float = 0.026148280660833106
    accel_bounds_mps2: tuple[float, float] = (-9.8, 9.8)
    curvature_bounds_1pm: tuple[float, float] = (-0.33, 0.33)
    dt_s: float = STEP_S
    yaw_lambda: float = 1e-6
    yaw_ridge: float = 1e-8
    speed_lambda: float = 1e-6
    speed_ridge: float = 1e-4
    accel_lambda: float = 1e-4
    accel_ridge: float = 1e-4
    curvature_lambda: float = 1e-4
    curvature_ridge: float = 1e-4

    def normalised(self, accel_mps2: Floats, curvature_1pm: Floats) -> Floats:
        """Actions (n, 2) as a model speaks them, from physical acceleration (n,) and curvature (n,)."""
        accel = (accel_mps2 - self.accel_mean_mps2) / self.accel_std_mps2
        curvature = (curvature_1pm - self.curvature_mean_1pm) / self.curvature_std_1pm
        return np.stack([accel, curvature], axis=-1)

    def physical(self, actions: Floats) -> tuple[Floats, Floats]:
        """Acceleration (n,) m/s^2 and curvature (n,) 1/m of normalised actions (n, 2)."""
        accel = actions[..., 0] * self.accel_std_mps2 + self.accel_mean_mps2
        curvature = actions[..., 1] * self.curvature_std_1pm + self.curvature_mean_1pm
        return accel, curvature


RELEASED = ActionSpace()
"""The action space of the released models."""


@dataclass(frozen=True)
class Motion:
    """Planar unicycle motion: n actions between n + 1 states, the first state at t0."""

    accel_mps2: Floats  # (n,)
    curvature_1pm: Floats  # (n,) positive turns left
    speed_mps: Floats  # (n + 1,) along x forward, negative in reverse
    yaw_rad: Floats  # (n + 1,) unwrapped, starts at 0
    xy: Floats  # (n + 1, 2) m, starts at the origin


def integrate(accel_mps2: Floats, curvature_1pm: Floats, v0_mps: float, dt_s: float = STEP_S) -> Motion:
    """Motion of physical actions (n,) from speed v0 at the origin (paper, equation 5). Nothing clamps: v may turn negative."""
    speed = np.append(np.asarray(v0_mps, accel_mps2.dtype), v0_mps + np.cumsum(accel_mps2 * dt_s))
    turned = curvature_1pm * (speed[:-1] * dt_s + accel_mps2 * (0.5 * dt_s**2))
    yaw = np.append(np.zeros(1, accel_mps2.dtype), np.cumsum(turned))
    velocity = speed[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    steps = 0.5 * dt_s * (velocity[:-1] + velocity[1:])
    return Motion(accel_mps2, curvature_1pm, speed, yaw, np.concatenate([np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)]))


def trajectory(accel_mps2: Floats, curvature_1pm: Floats, v0_mps: float, z_m: float = 0.0, dt_s: float = STEP_S) -> Trajectory:
    """Trajectory of n physical actions: point i is the state after action i, at t = (i + 1) dt, at the height z.

    Raises InvalidInput for actions or a speed that are not finite.
    """
    motion = integrate(np.asarray(accel_mps2, np.float64), np.asarray(curvature_1pm, np.float64), float(v0_mps), dt_s)
    n = len(motion.accel_mps2)
    return Trajectory(
        t_s=np.arange(1.0, n + 1.0) * dt_s,
        xyz=np.column_stack([motion.xy[1:], np.full(n, float(z_m))]),
        yaw_rad=motion.yaw_rad[1:],
        speed_mps=motion.speed_mps[1:],
        accel_mps2=motion.accel_mps2,
        curvature_1pm=motion.curvature_1pm,
    )


def rollout(actions: Floats, v0_mps: float, z_m: float, space: ActionSpace = RELEASED) -> Trajectory:
    """Trajectory, float64, of 64 normalised actions (64, 2) from speed v0 m/s at height z m (both of the last history pose).

    The model's own convention takes v0 from `estimate_v0`, never from the odometry's twist. Raises InvalidInput.
    """
    if actions.shape != (HORIZON, 2):
        raise InvalidInput(f"actions: want ({HORIZON}, 2), got {actions.shape}")
    accel, curvature = space.physical(np.asarray(actions, np.float64))
    return trajectory(accel, curvature, v0_mps, z_m, space.dt_s)


def within_bounds(actions: Floats, space: ActionSpace = RELEASED) -> bool:
    """Whether every normalised action (n, 2) lies within the physical bounds; nothing else uses them, nothing clips."""
    accel, curvature = space.physical(actions)
    (a_low, a_high), (c_low, c_high) = space.accel_bounds_mps2, space.curvature_bounds_1pm
    return bool(((accel >= a_low) & (accel <= a_high) & (curvature >= c_low) & (curvature <= c_high)).all())


def estimate_v0(history_xyz: Floats, history_rot: Floats, space: ActionSpace = RELEASED) -> float:
    """Speed at t0, m/s, of a history xyz (N, 3) and rot (N, 3, 3) in ego_t0: the last of the smoothed speeds.

    Raises InvalidInput for fewer than 2 poses or numbers that are not finite.
    """
    _check_poses("history", history_xyz, history_rot, least=2)
    yaw = unwrapped_yaw(history_rot)
    return float(_smoothed_speed(history_xyz[:, :2], yaw, space)[-1])


def actions_from_trajectory(
    history_xyz: Floats,
    history_rot: Floats,
    future_xyz: Floats,
    future_rot: Floats,
    v0_mps: float | None = None,
    space: ActionSpace = RELEASED,
) -> Floats:
    """Normalised actions (n, 2) whose rollout follows a future (n, 3), (n, 3, 3); a smoothing, not an exact inverse.

    Shapes and frames as in `motion_from_trajectory`; v0 is estimated from the history when it is None.
    """
    motion = motion_from_trajectory(history_xyz, history_rot, future_xyz, future_rot, v0_mps, space)
    return space.normalised(motion.accel_mps2, motion.curvature_1pm)


def motion_from_trajectory(
    history_xyz: Floats,
    history_rot: Floats,
    future_xyz: Floats,
    future_rot: Floats,
    v0_mps: float | None = None,
    space: ActionSpace = RELEASED,
) -> Motion:
    """Smooth physical motion along a future path: yaw, then speed, then acceleration, then curvature, each a least squares.

    History xyz (N, 3), rot (N, 3, 3) end at t0; future xyz (n, 3), rot (n, 3, 3) follow at dt; m, ego_t0, one dtype.
    Raises InvalidInput for wrong shapes or numbers that are not finite.
    """
    _check_poses("future", future_xyz, future_rot, least=3)
    if v0_mps is None:
        v0_mps = estimate_v0(history_xyz, history_rot, space)
    n, dt, dtype = len(future_xyz), space.dt_s, future_xyz.dtype
    xy = np.concatenate([history_xyz[-1:, :2], future_xyz[:, :2]])

    states = np.eye(n + 1, dtype=dtype)
    yaw = _least_squares(states[1:], unwrapped_yaw(future_rot), 3, space.yaw_lambda, space.yaw_ridge, dt, first=0.0)
    speed = _smoothed_speed(xy, yaw, space, v0_mps)
    steps = np.eye(n, dtype=dtype)
    accel = _least_squares(steps, np.diff(speed) / dt, 2, space.accel_lambda, space.accel_ridge, dt)
    travelled = dt * speed[:-1] + 0.5 * dt**2 * accel
    curvature = _least_squares(steps * travelled, np.diff(yaw), 2, space.curvature_lambda, space.curvature_ridge, dt)
    return Motion(accel, curvature, speed, yaw, xy - xy[0])


def unwrapped_yaw(rotations: Floats) -> Floats:
    """Headings (n,) rad, without jumps of 2 pi, of rotations (n, 3, 3)."""
    yaw = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    turns = np.diff(yaw)
    return np.concatenate([yaw[:1], yaw[0] + np.cumsum(np.arctan2(np.sin(turns), np.cos(turns)))])


def _smoothed_speed(xy: Floats, yaw: Floats, space: ActionSpace, v0_mps: float | None = None) -> Floats:
    """Speeds (n,) that explain positions (n, 2) at headings (n,) by trapezoids: v_t u_t + v_(t+1) u_(t+1) = 2 Δp_t / dt."""
    n = len(xy)
    heading = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)
    equations = np.zeros((n - 1, 2, n), dtype=xy.dtype)
    segment = np.arange(n - 1)
    equations[segment, :, segment] = heading[:-1]
    equations[segment, :, segment + 1] = heading[1:]
    target = np.diff(xy, axis=0) * (2.0 / space.dt_s)
    return _least_squares(
        equations.reshape(-1, n), target.reshape(-1), 3, space.speed_lambda, space.speed_ridge, space.dt_s, first=v0_mps
    )


def _least_squares(
    equations: Floats, target: Floats, order: int, smoothing: float, ridge: float, dt_s: float, first: float | None = None
) -> Floats:
    """Solve A x = b with the penalties smoothing |D x|^2 / dt^(2 order), D the differences of that order, and ridge |x|^2.

    With `first`, x_0 is known: it moves to the right-hand side and bears no ridge.
    """
    differences = np.diff(np.eye(equations.shape[1], dtype=equations.dtype), n=order, axis=0)
    normal = equations.T @ equations + (smoothing / dt_s ** (2 * order)) * (differences.T @ differences)
    right = equations.T @ target
    if first is None:
        return _solve(normal, right, ridge)
    known = np.asarray(first, dtype=equations.dtype)
    return np.append(known, _solve(normal[1:, 1:], right[1:] - normal[1:, 0] * known, ridge))


def _solve(normal: Floats, right: Floats, ridge: float) -> Floats:
    """Solve the normal equations by Cholesky, with ten times the ridge each time the matrix is not positive definite."""
    for power in range(12):
        try:
            lower = np.linalg.cholesky(normal + np.eye(len(normal), dtype=normal.dtype) * (ridge * 10.0**power))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(np.linalg.solve(lower.T, np.linalg.solve(lower, right)))
    raise InvalidInput(f"no positive definite normal equations of size {len(normal)} with a ridge up to {ridge * 1e11:.0e}")


def _check_poses(name: str, xyz: Floats, rot: Floats, least: int) -> None:
    n = len(xyz)
    if n < least or xyz.shape != (n, 3) or rot.shape != (n, 3, 3):
        raise InvalidInput(f"{name}: want xyz (n, 3) and rot (n, 3, 3) with n >= {least}, got {xyz.shape} and {rot.shape}")
    if not (np.isfinite(xyz).all() and np.isfinite(rot).all()):
        raise InvalidInput(f"{name}: poses must be finite")
