"""Small observations for the engine tests: real shapes, tiny images."""

from __future__ import annotations

import numpy as np

from alpamayo_ros.dynamics import integrate
from alpamayo_ros.engine.ring import FrameRing
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import F64, STEP_S, CameraFrame, EgoHistory, EgoPose, Navigation, Observation

PROFILE = read_profile("seven_camera").model_copy(update={"image_height": 16, "image_width": 24})
SECOND = 1_000_000_000


def picture(role: str, stamp_ns: int, epoch: int) -> np.ndarray:
    """Pixels that only this frame has."""
    seed = [len(role), ord(role[-1]), ord(role[0]), stamp_ns, epoch]
    return np.random.default_rng(seed).integers(0, 256, PROFILE.image_shape, dtype=np.uint8)


def frame(role: str, stamp_ns: int, epoch: int = 0, ring: FrameRing | None = None) -> CameraFrame:
    """A frame with its own pixels, private or in a ring."""
    image = picture(role, stamp_ns, epoch)
    if ring is None:
        return CameraFrame(role, stamp_ns, epoch, image)
    written = ring.write(role, stamp_ns, epoch, lambda pixels: np.copyto(pixels, image))
    assert written is not None
    return written


def history(t0_ns: int, v0_mps: float, accel_mps2: float = 0.0, curvature_1pm: float = 0.0, steps: int = 21) -> EgoHistory:
    """Poses of constant acceleration and curvature up to t0: the vehicle's future, run backwards in time."""
    n = steps - 1
    # backwards, speed changes sign with time: the same accelerations from -v0, and the path bends the same way
    back = integrate(np.full(n, accel_mps2), np.full(n, curvature_1pm), -v0_mps, STEP_S)
    xyz = np.column_stack([back.xy, np.zeros(steps)])[::-1]
    return EgoHistory(t0_ns, xyz.astype(np.float32), rotations(back.yaw_rad[::-1]).astype(np.float32))


def rotations(yaw_rad: F64) -> F64:
    """Rotations (n, 3, 3) about z."""
    result = np.zeros((len(yaw_rad), 3, 3))
    result[:, 0, 0] = result[:, 1, 1] = np.cos(yaw_rad)
    result[:, 1, 0] = np.sin(yaw_rad)
    result[:, 0, 1] = -result[:, 1, 0]
    result[:, 2, 2] = 1.0
    return result


def observation(
    stamp_ns: int = 10 * SECOND,
    epoch: int = 0,
    ring: FrameRing | None = None,
    roles: tuple[str, ...] = ("front_wide", "rear_tele"),
    say: str = "",
    v0_mps: float = 10.0,
    accel_mps2: float = 0.5,
    curvature_1pm: float = 0.02,
) -> Observation:
    """An observation of two cameras; `say` reaches the engine as the name of a road (see own_engines.Puppet)."""
    ego = EgoPose(stamp_ns, np.zeros(3), np.eye(3), np.array([v0_mps, 0.0, 0.0]), np.zeros(3))
    return Observation(
        stamp_ns,
        epoch,
        {role: tuple(frame(role, stamp_ns + offset, epoch, ring) for offset in PROFILE.offsets_ns) for role in roles},
        history(stamp_ns, v0_mps, accel_mps2, curvature_1pm),
        ego,
        Navigation("continue", 0.0, say, stamp_ns) if say else None,
    )
