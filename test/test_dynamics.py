"""The unicycle and its inverse: identities, published golden values, and vectors of the public reference code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.dynamics import (
    RELEASED,
    ActionSpace,
    actions_from_trajectory,
    estimate_v0,
    integrate,
    motion_from_trajectory,
    rollout,
    trajectory,
    unwrapped_yaw,
    within_bounds,
)
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.types import HORIZON, InvalidInput


def arc(v: float, curvature: float, accel: float, dtype: type = np.float32) -> tuple[np.ndarray, ...]:
    """History (16) and future (64) of exact circular motion through the origin at t0: xyz, rot, xyz, rot."""
    t = np.arange(-15, 65) * 0.1
    travelled = v * t + 0.5 * accel * t**2
    yaw = curvature * travelled
    x = np.sin(yaw) / curvature if curvature else travelled
    y = (1 - np.cos(yaw)) / curvature if curvature else 0 * travelled
    xyz = np.stack([x, y, 0 * x], axis=-1).astype(dtype)
    rot = np.stack([rotation_z(angle) for angle in yaw]).astype(dtype)
    return xyz[:16], rot[:16], xyz[16:], rot[16:]


# ------------------------------------------------------------------------------------------------------------------ rollout


def test_constant_speed_goes_straight_at_even_steps() -> None:
    path = trajectory(np.zeros(HORIZON), np.zeros(HORIZON), 10.0, z_m=-0.3)
    np.testing.assert_allclose(path.t_s, np.arange(1, 65) * 0.1)
    np.testing.assert_allclose(path.xyz, np.stack([10 * path.t_s, 0 * path.t_s, -0.3 + 0 * path.t_s], axis=-1))
    assert path.speed_mps.tolist() == [10.0] * HORIZON


def test_a_point_carries_the_action_that_led_to_it() -> None:
    accel, curvature = np.linspace(-1, 1, HORIZON), np.linspace(0.01, -0.02, HORIZON)
    path = trajectory(accel, curvature, 8.0)
    np.testing.assert_array_equal(path.accel_mps2, accel)
    np.testing.assert_array_equal(path.curvature_1pm, curvature)
    assert path.speed_mps[0] == 8.0 + accel[0] * 0.1
    assert path.yaw_rad[0] == pytest.approx(curvature[0] * (8.0 * 0.1 + accel[0] * 0.005))


@settings(deadline=None)
@given(st.floats(0.5, 30), st.floats(-0.15, 0.15))
def test_constant_curvature_turns_by_curvature_times_distance(v0: float, curvature: float) -> None:
    path = trajectory(np.zeros(HORIZON), np.full(HORIZON, curvature), v0)
    assert path.yaw_rad[-1] == pytest.approx(curvature * v0 * 6.4)  # unwrapped, however far


def test_positive_curvature_turns_left() -> None:
    path = trajectory(np.zeros(HORIZON), np.full(HORIZON, 0.02), 10.0)
    assert path.xyz[-1, 1] > 0


@settings(deadline=None)
@given(
    st.floats(0, 25),
    st.lists(st.floats(-4, 3), min_size=64, max_size=64),
    st.lists(st.floats(-0.1, 0.1), min_size=64, max_size=64),
)
def test_mirrored_curvature_mirrors_the_path(v0: float, accel: list[float], curvature: list[float]) -> None:
    left = trajectory(np.array(accel), np.array(curvature), v0)
    right = trajectory(np.array(accel), -np.array(curvature), v0)
    np.testing.assert_allclose(left.xyz * [1, -1, 1], right.xyz, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(left.speed_mps, right.speed_mps)


def test_nothing_clamps_so_hard_braking_reverses() -> None:
    path = trajectory(np.full(HORIZON, -6.0), np.zeros(HORIZON), 5.0)
    assert path.speed_mps[-1] == pytest.approx(5.0 - 6.0 * 6.4)


def test_normalised_actions_of_zero_are_the_released_means() -> None:
    # Golden: zero action after a straight history at 10 m/s, computed with the public code in float32.
    history_xyz, history_rot, _, _ = arc(10, 0, 0)
    path = rollout(np.zeros((HORIZON, 2), np.float32), estimate_v0(history_xyz, history_rot), 0.0)
    np.testing.assert_allclose(path.xyz[0], [1.0000861, 0.00013465, 0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(path.xyz[-1], [64.587433, 0.561567, 0], rtol=0, atol=1e-5)
    assert path.yaw_rad[-1] == pytest.approx(0.0173889, abs=1e-6)


def test_normalising_and_back_is_the_identity() -> None:
    accel, curvature = np.linspace(-5, 3, 64), np.linspace(-0.2, 0.2, 64)
    back = RELEASED.physical(RELEASED.normalised(accel, curvature))
    np.testing.assert_allclose(back[0], accel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(back[1], curvature, rtol=0, atol=1e-12)


def test_a_wrong_count_or_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"want \(64, 2\), got \(63, 2\)"):
        rollout(np.zeros((63, 2)), 5.0, 0.0)
    with pytest.raises(InvalidInput, match="not finite"):
        rollout(np.full((64, 2), np.nan), 5.0, 0.0)


def test_bounds_are_physical_and_hold_for_every_step() -> None:
    inside = RELEASED.normalised(np.full(64, -9.7), np.full(64, 0.32))
    assert within_bounds(inside)
    for step, accel, curvature in ((0, -9.9, 0.0), (63, 0.0, 0.34), (31, 9.9, 0.0), (31, 0.0, -0.34)):
        outside = inside.copy()
        outside[step] = RELEASED.normalised(np.array(accel), np.array(curvature))
        assert not within_bounds(outside)


# ------------------------------------------------------------------------------------------------------------------ inverse


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("v", "curvature", "accel", "v0"),
    [
        (10, 0, 0, 9.9994087),
        (10, 0.02, 0, 9.9997416),
        (10, 0, 1.5, 9.9994078),
        (0, 0, 0, 0.0),
        (0.3, 0, 0, 0.29998228),
        (25, -0.01, -2, 24.999848),
    ],
)
def test_v0_of_exact_arcs_is_the_published_one(v: float, curvature: float, accel: float, v0: float, dtype: type) -> None:
    history_xyz, history_rot, _, _ = arc(v, curvature, accel, dtype)
    assert estimate_v0(history_xyz, history_rot) == pytest.approx(v0, abs=1e-5)  # the golden values are float32


@pytest.mark.parametrize(
    ("v", "curvature", "accel", "first", "last"),
    [
        (10, 0.0, 0.0, (-0.0386119, -0.0102958), (-0.0465830, -0.0102958)),
        (10, 0.02, 0.0, (-0.0386018, 0.7545003), (-0.0474383, 0.7545428)),
        (10, 0.0, 1.0, (1.4295791, -0.0102958), None),
        (5, 0.05, 0.5, (0.6936172, 1.9010881), (0.6882927, 1.9014847)),
    ],
)
def test_actions_of_exact_arcs_are_the_published_ones(
    v: float, curvature: float, accel: float, first: tuple[float, float], last: tuple[float, float] | None
) -> None:
    actions = actions_from_trajectory(*arc(v, curvature, accel))
    # Golden values of float32: two differences of positions of 60 m leave 1e-4.
    np.testing.assert_allclose(actions[0], first, rtol=0, atol=2e-4)
    if last is not None:
        np.testing.assert_allclose(actions[-1], last, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("v", "curvature", "ade_m"), [(10, 0.0, 0.00082), (10, 0.02, 0.0015)])
def test_the_round_trip_error_is_the_published_one(v: float, curvature: float, ade_m: float) -> None:
    history_xyz, history_rot, future_xyz, future_rot = arc(v, curvature, 0)
    actions = actions_from_trajectory(history_xyz, history_rot, future_xyz, future_rot)
    path = rollout(actions, estimate_v0(history_xyz, history_rot), 0.0)
    assert np.linalg.norm(path.xyz - future_xyz, axis=1).mean() == pytest.approx(ade_m, abs=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.floats(3, 25), st.floats(-0.4, 1.5), st.floats(-0.03, 0.03), st.floats(-0.01, 0.01))
def test_the_inverse_of_a_rollout_rolls_out_along_it_again(v0: float, accel: float, bend: float, change: float) -> None:
    curvature = np.linspace(bend, bend + change, HORIZON)
    path = trajectory(np.full(HORIZON, accel), curvature, v0)
    rot = np.stack([rotation_z(yaw) for yaw in path.yaw_rad])
    history = trajectory(np.zeros(15), np.zeros(15), v0)
    history_xyz = np.concatenate([[[0.0, 0, 0]], history.xyz]) - history.xyz[-1]
    history_rot = np.broadcast_to(np.eye(3), (16, 3, 3))
    actions = actions_from_trajectory(history_xyz, history_rot, path.xyz, rot, v0_mps=v0)
    again = rollout(actions, v0, 0.0)
    # A smoothing, not an inverse: the ridges pull every speed down by 1e-4 of itself, yaw hardly at all.
    assert np.linalg.norm(again.xyz - path.xyz, axis=1).max() < 0.05
    accel_found, curvature_found = RELEASED.physical(actions)
    np.testing.assert_allclose(curvature_found, curvature, rtol=0, atol=2e-3)
    np.testing.assert_allclose(accel_found, accel, rtol=0, atol=0.05)


def test_the_dtype_of_the_input_is_kept() -> None:
    for dtype in (np.float32, np.float64):
        history_xyz, history_rot, future_xyz, future_rot = arc(7, 0.01, 0.3, dtype)
        found = motion_from_trajectory(history_xyz, history_rot, future_xyz, future_rot)
        assert {getattr(found, name).dtype for name in ("accel_mps2", "curvature_1pm", "speed_mps", "yaw_rad", "xy")} == {
            np.dtype(dtype)
        }
        moved = integrate(found.accel_mps2, found.curvature_1pm, float(found.speed_mps[0]))
        assert {moved.speed_mps.dtype, moved.yaw_rad.dtype, moved.xy.dtype} == {np.dtype(dtype)}


def test_yaw_is_unwrapped_through_pi() -> None:
    yaw = np.linspace(3.0, 9.0, 30)
    np.testing.assert_allclose(unwrapped_yaw(np.stack([rotation_z(a) for a in yaw])), yaw)


def test_a_standing_car_has_a_solution() -> None:
    # Every equation of curvature is 0 = 0 here: only the ridge makes the matrix definite, in float32 too.
    history_xyz, history_rot, future_xyz, future_rot = arc(0, 0, 0)
    accel, curvature = RELEASED.physical(actions_from_trajectory(history_xyz, history_rot, future_xyz, future_rot))
    np.testing.assert_allclose(accel, 0, atol=1e-6)
    np.testing.assert_allclose(curvature, 0, atol=1e-6)


def test_a_matrix_that_is_not_definite_gets_ten_times_the_ridge() -> None:
    # Without a ridge the standing car's matrix is singular: the retries find one that is not.
    space = ActionSpace(curvature_ridge=1e-16, curvature_lambda=0.0)
    actions = actions_from_trajectory(*arc(0, 0, 0, np.float32), space=space)
    assert np.isfinite(actions).all()
    hopeless = ActionSpace(curvature_ridge=0.0, curvature_lambda=0.0)
    with pytest.raises(InvalidInput, match="no positive definite normal equations of size 64"):
        actions_from_trajectory(*arc(0, 0, 0, np.float32), space=hopeless)


def test_histories_that_cannot_be_used_are_refused_with_their_shapes() -> None:
    history_xyz, history_rot, future_xyz, future_rot = arc(5, 0, 0)
    with pytest.raises(InvalidInput, match=r"history: .* n >= 2, got \(1, 3\)"):
        estimate_v0(history_xyz[:1], history_rot[:1])
    with pytest.raises(InvalidInput, match=r"future: .* got \(64, 2\)"):
        actions_from_trajectory(history_xyz, history_rot, future_xyz[:, :2], future_rot)
    with pytest.raises(InvalidInput, match="must be finite"):
        estimate_v0(history_xyz * np.nan, history_rot)


# ------------------------------------------------------------------------------------- vectors of the public reference code

VECTORS = (Path(__file__).parents[1] / "../shared/data/reference_vectors/action_space_default.npz").resolve()
PLAIN = ActionSpace(0.0, 1.0, 0.0, 1.0, curvature_bounds_1pm=(-0.2, 0.2))  # the class defaults these were made with


class Case:
    """One of the 24 recorded cases in one dtype."""

    def __init__(self, index: int, prefix: str) -> None:
        self.index, self.prefix = index, prefix
        self.dtype = np.float32 if prefix == "f32" else np.float64
        with np.load(VECTORS) as vectors:
            self.vectors: dict[str, Any] = {name: vectors[name][index] for name in vectors}

    def input(self, name: str) -> np.ndarray:
        return np.asarray(self.vectors[name], self.dtype)

    def wanted(self, name: str) -> np.ndarray:
        return np.asarray(self.vectors[f"{self.prefix}_{name}"])

    @property
    def history(self) -> tuple[np.ndarray, np.ndarray]:
        return self.input("hist_xyz"), self.input("hist_rot")


@pytest.fixture(params=[(i, p) for p in ("f64", "f32") for i in range(24)], ids=lambda p: f"{p[1]}-{p[0]}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case(*request.param)


@pytest.mark.shared
@pytest.mark.skipif(not VECTORS.is_file(), reason=f"no reference vectors at {VECTORS}")
class TestReferenceVectors:
    """float64 to 1e-6; float32 to the error the reference's own float32 has against its float64."""

    def test_estimated_speed(self, case: Case) -> None:
        found = estimate_v0(*case.history, space=PLAIN)
        assert found == pytest.approx(float(case.wanted("v0_est")), abs=1e-6 if case.prefix == "f64" else 1e-4)

    @pytest.mark.parametrize("given_v0", [False, True])
    def test_action_to_trajectory(self, case: Case, given_v0: bool) -> None:
        suffix = "_given_v0" if given_v0 else ""
        v0 = float(case.vectors["v0"]) if given_v0 else estimate_v0(*case.history, space=PLAIN)
        path = rollout(case.input("action"), v0, float(case.history[0][-1, 2]), PLAIN)
        tolerance = 1e-6 if case.prefix == "f64" else 1e-3
        np.testing.assert_allclose(path.xyz, case.wanted(f"fut_xyz{suffix}"), rtol=0, atol=tolerance)
        rot = np.stack([rotation_z(yaw) for yaw in path.yaw_rad])
        np.testing.assert_allclose(rot, case.wanted(f"fut_rot{suffix}"), rtol=0, atol=tolerance)

    @pytest.mark.parametrize("given_v0", [False, True])
    def test_trajectory_to_action(self, case: Case, given_v0: bool) -> None:
        future = case.wanted("fut_xyz_given_v0"), case.wanted("fut_rot_given_v0")
        v0 = float(case.vectors["v0"]) if given_v0 else None
        found = actions_from_trajectory(*case.history, *future, v0_mps=v0, space=PLAIN)
        # The reference's float32 differs from its float64 by up to 1.4e-3, ours by as much: 4e-3 between the two.
        tolerance = 1e-6 if case.prefix == "f64" else 4e-3
        np.testing.assert_allclose(found, case.wanted("t2a_given_v0" if given_v0 else "t2a"), rtol=0, atol=tolerance)

    def test_noisy_trajectory_to_action_and_states(self, case: Case) -> None:
        found = motion_from_trajectory(*case.history, case.input("noisy_xyz"), case.input("noisy_rot"), space=PLAIN)
        tolerance = 1e-6 if case.prefix == "f64" else 5e-3  # the reference's own: up to 2.3e-3
        actions = PLAIN.normalised(found.accel_mps2, found.curvature_1pm)
        np.testing.assert_allclose(actions, case.wanted("t2a_noisy"), rtol=0, atol=tolerance)
        states = np.stack([found.speed_mps[:-1], found.accel_mps2, found.yaw_rad[:-1]], axis=-1)
        np.testing.assert_allclose(states, case.wanted("t2a_noisy_states_v_a_theta"), rtol=0, atol=tolerance)

    def test_bounds(self, case: Case) -> None:
        assert within_bounds(case.input("action"), PLAIN) == bool(case.wanted("within_bounds"))
