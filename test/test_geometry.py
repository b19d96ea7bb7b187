"""Rotations and poses, by identities and against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation, Slerp

from alpamayo_ros.geometry import (
    apply,
    inverse,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_rpy,
    rotation_z,
    slerp,
    transform,
    yaw_of,
)
from alpamayo_ros.types import InvalidInput

# A handful of float64 operations on numbers of order 1.
CLOSE = {"rtol": 0, "atol": 1e-12}

ANGLES = st.floats(-np.pi, np.pi)
QUATERNIONS = (
    arrays(np.float64, 4, elements=st.floats(-1, 1, width=32))
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)
VECTORS = arrays(np.float64, 3, elements=st.floats(-100, 100))


@settings(deadline=None)
@given(QUATERNIONS)
def test_a_quaternion_becomes_a_proper_rotation_and_comes_back(xyzw: np.ndarray) -> None:
    rotation = rotation_from_quaternion(xyzw)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), **CLOSE)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    back = quaternion_from_rotation(rotation)
    assert back[3] >= 0
    np.testing.assert_allclose(back * np.sign(back @ xyzw), xyzw, **CLOSE)


@settings(deadline=None)
@given(QUATERNIONS)
def test_quaternions_are_those_of_scipy(xyzw: np.ndarray) -> None:
    np.testing.assert_allclose(rotation_from_quaternion(xyzw), Rotation.from_quat(xyzw).as_matrix(), **CLOSE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_half_turns_keep_their_digits(axis: int) -> None:
    # w is 0 here: where a formula that divides by w fails.
    rotation = -np.eye(3)
    rotation[axis, axis] = 1.0
    np.testing.assert_allclose(quaternion_from_rotation(rotation), np.eye(4)[axis], **CLOSE)


def test_a_quaternion_near_unit_norm_is_renormalised() -> None:
    np.testing.assert_allclose(rotation_from_quaternion(np.array([0, 0, 0, 1.009])), np.eye(3), **CLOSE)


@pytest.mark.parametrize(
    ("xyzw", "said"),
    [([0, 0, 0, 0], "norm 0"), ([0, 0, 0, 1.02], "norm 1.02"), ([0, 0, 0, np.nan], "norm nan"), ([0, 0, 1], "want 4 numbers")],
)
def test_what_is_no_unit_quaternion_is_refused(xyzw: list[float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        rotation_from_quaternion(np.array(xyzw))


@settings(deadline=None)
@given(ANGLES, ANGLES, ANGLES)
def test_roll_pitch_yaw_turn_about_fixed_axes(roll: float, pitch: float, yaw: float) -> None:
    expected = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
    np.testing.assert_allclose(rotation_from_rpy(roll, pitch, yaw), expected, **CLOSE)


@settings(deadline=None)
@given(ANGLES)
def test_yaw_turns_x_towards_y_and_is_read_back(yaw: float) -> None:
    rotation = rotation_z(yaw)
    np.testing.assert_allclose(rotation @ [1, 0, 0], [np.cos(yaw), np.sin(yaw), 0], **CLOSE)
    assert np.cos(yaw_of(rotation) - yaw) == pytest.approx(1.0)


@settings(deadline=None)
@given(QUATERNIONS, QUATERNIONS, st.floats(0, 1))
def test_slerp_is_scipys(first: np.ndarray, second: np.ndarray, fraction: float) -> None:
    rotations = Rotation.from_quat([first, second])
    if (rotations[0].inv() * rotations[1]).magnitude() > np.pi - 1e-3:
        return  # two shortest arcs: either is right
    expected = Slerp([0, 1], rotations)(fraction).as_matrix()
    found = slerp(rotations[0].as_matrix(), rotations[1].as_matrix(), fraction)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # near half a turn the arc is ill-conditioned


def test_slerp_takes_the_short_way_through_pi_and_extrapolates() -> None:
    halfway = slerp(rotation_z(np.pi - 0.1), rotation_z(-np.pi + 0.1), 0.5)
    assert abs(yaw_of(halfway)) == pytest.approx(np.pi)
    assert yaw_of(slerp(rotation_z(0.0), rotation_z(0.2), 1.5)) == pytest.approx(0.3)


def test_slerp_of_rotations_closer_than_float_can_tell_is_finite() -> None:
    rotation = rotation_z(0.3)
    np.testing.assert_allclose(slerp(rotation, rotation_z(0.3 + 1e-14), 0.7), rotation, **CLOSE)


@settings(deadline=None)
@given(QUATERNIONS, VECTORS, arrays(np.float64, (5, 3), elements=st.floats(-100, 100)))
def test_a_pose_and_its_inverse_undo_each_other(xyzw: np.ndarray, translation: np.ndarray, points: np.ndarray) -> None:
    a_from_b = transform(rotation_from_quaternion(xyzw), translation)
    np.testing.assert_allclose(inverse(a_from_b) @ a_from_b, np.eye(4), rtol=0, atol=1e-10)  # of numbers up to 100
    np.testing.assert_allclose(apply(inverse(a_from_b), apply(a_from_b, points)), points, rtol=0, atol=1e-10)


def test_apply_turns_then_moves() -> None:
    a_from_b = transform(rotation_z(np.pi / 2), np.array([10.0, 0.0, 1.0]))
    np.testing.assert_allclose(apply(a_from_b, np.array([[2.0, 0.0, 0.0]])), [[10.0, 2.0, 1.0]], **CLOSE)
    assert apply(a_from_b, np.zeros((0, 3))).shape == (0, 3)
