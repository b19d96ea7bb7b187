"""Examples that were made up: a vehicle on a bent road that sees noise."""

from __future__ import annotations

import numpy as np

from alpamayo_ros import dynamics
from alpamayo_ros.profile import InputProfile
from alpamayo_ros.reasoning import meta_actions
from alpamayo_ros.training.example import Example, Reasoning
from alpamayo_ros.types import (
    ROLES,
    CameraFrame,
    CriticalComponent,
    Decision,
    EgoHistory,
    EgoPose,
    EgoSignals,
    Navigation,
    Observation,
)

START_NS = 1_700_000_000_000_000_000
SPEED_MPS = 8.1
LIGHT = CriticalComponent("traffic_light", "red traffic light", (("colour", "red"),))
STOP = Reasoning(Decision("stop_for_static_constraints", "lane_keeping"), (LIGHT,), "Stop because the light is red.")


def frame(profile: InputProfile, role: str, stamp_ns: int) -> CameraFrame:
    """The picture of a camera at an instant is always the same."""
    rng = np.random.default_rng([ROLES.index(role), stamp_ns])
    return CameraFrame(role, stamp_ns, 0, rng.integers(256, size=profile.image_shape, dtype=np.uint8))


def example(profile: InputProfile, t0_ns: int = START_NS, clip: str = "drive", curvature_1pm: float = 0.01) -> Example:
    """With navigation, signals and reasoning."""
    steps = profile.history_steps
    back = np.zeros((steps, 3), np.float32)
    back[:, 0] = np.linspace(-0.1 * SPEED_MPS * (steps - 1), 0.0, steps)
    turn = np.array([0.0, 0.0, SPEED_MPS * curvature_1pm])
    ego = EgoPose(t0_ns, np.array([0.1, -7.3, 0.0]), np.eye(3), np.array([SPEED_MPS, 0.0, 0.0]), turn)
    future = dynamics.trajectory(np.full(64, 0.3), np.full(64, curvature_1pm), SPEED_MPS)
    seen = {role: tuple(frame(profile, role, t0_ns + ns) for ns in profile.offsets_ns) for role in profile.cameras}
    observation = Observation(
        stamp_ns=t0_ns,
        epoch=0,
        frames=seen,
        history=EgoHistory(t0_ns, back, np.tile(np.eye(3, dtype=np.float32), (steps, 1, 1))),
        ego_t0=ego,
        navigation=Navigation("turn_left", 41.7, "Main Street", t0_ns + 10**9),
        signals=EgoSignals(np.full(steps, SPEED_MPS, np.float32), None, None, ("left",) * steps),
        sync_error_ms={role: (1.5,) * len(of_role) for role, of_role in seen.items()},
        odometry_extrapolated_ms=2.5,
    )
    return Example(clip, observation, future, meta_actions(future, SPEED_MPS), STOP, (("What?", "That."),))


def assert_equal(one: Example, other: Example) -> None:
    """To the bit, pictures included."""
    assert (one.clip, one.meta_actions, one.reasoning, one.questions) == (
        other.clip,
        other.meta_actions,
        other.reasoning,
        other.questions,
    )
    for name, value in vars(one.future).items():
        np.testing.assert_array_equal(value, getattr(other.future, name))
    a, b = one.observation, other.observation
    assert (a.stamp_ns, a.epoch, a.navigation, a.sync_error_ms, a.odometry_extrapolated_ms) == (
        b.stamp_ns,
        b.epoch,
        b.navigation,
        b.sync_error_ms,
        b.odometry_extrapolated_ms,
    )
    for left, right in ((a.history, b.history), (a.ego_t0, b.ego_t0), (a.signals, b.signals)):
        assert str(left) == str(right)
    np.testing.assert_array_equal(a.history.xyz, b.history.xyz)
    np.testing.assert_array_equal(a.ego_t0.position, b.ego_t0.position)
    assert [*a.frames] == [*b.frames]
    stamps = [[(f.role, f.stamp_ns, f.epoch) for of_role in seen.frames.values() for f in of_role] for seen in (a, b)]
    assert stamps[0] == stamps[1]
    assert a.pixels_crc32 == b.pixels_crc32
