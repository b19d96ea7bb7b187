"""A moment made by hand: three cameras over 2 s at 2 Hz, then a stop from 8 m/s."""

import numpy as np

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.training.coc.schema import Moment
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import HORIZON, CameraFrame, EgoHistory, EgoPose, Navigation, Observation

T0_NS = 1_700_000_000_000_000_000
ROLES = ("front_left", "front_wide", "front_right")
SPEED_MPS = 8.0
TIMES_S = (-2.0, -1.5, -1.0, -0.5, 0.0)


def frame(role: str, t_s: float) -> CameraFrame:
    """Grey, another one for every camera and time."""
    grey = 40 + 40 * ROLES.index(role) + round(10 * (t_s + 2.0))
    return CameraFrame(role, T0_NS + round(t_s * 1e9), 0, np.full((36, 64, 3), grey, np.uint8))


def observation(t0_ns: int = T0_NS, navigation: Navigation | None = None) -> Observation:
    """Straight ahead at 8 m/s."""
    shift_ns = t0_ns - T0_NS
    frames = {
        role: tuple(CameraFrame(role, f.stamp_ns + shift_ns, 0, f.image) for f in (frame(role, t_s) for t_s in TIMES_S))
        for role in ROLES
    }
    xyz = np.zeros((21, 3), np.float32)
    xyz[:, 0] = SPEED_MPS * np.arange(-2.0, 0.05, 0.1)
    xyz[-1] = 0.0
    velocity = np.array([SPEED_MPS, 0.0, 0.0])
    ego = EgoPose(t0_ns, np.zeros(3), np.eye(3), velocity, np.zeros(3))
    history = EgoHistory(t0_ns, xyz, np.tile(np.eye(3, dtype=np.float32), (21, 1, 1)))
    return Observation(t0_ns, 0, frames, history, ego, navigation)


def moment(t0_ns: int = T0_NS, clip: str = "drive", navigation: Navigation | None = None) -> Moment:
    """It brakes at 2 m/s^2 and stands from 4 s on."""
    accel = np.where(np.arange(HORIZON) < 40, -2.0, 0.0)
    future = trajectory(accel, np.zeros(HORIZON), SPEED_MPS)
    seen = observation(t0_ns, navigation)
    return Moment(Example(clip, seen, future, meta_actions(future, SPEED_MPS)), "stop_at_control")
