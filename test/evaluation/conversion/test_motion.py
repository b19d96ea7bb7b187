from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alpamayo_ros.evaluation.conversion.kitti import mercator
from alpamayo_ros.evaluation.conversion.motion import check_twists, moved_to_base, twists
from alpamayo_ros.geometry import transform
from alpamayo_ros.types import EgoPose, InvalidInput


def test_twists_are_exact_for_constant_acceleration_at_uneven_times_and_at_the_ends() -> None:
    rng = np.random.default_rng(0)
    stamps_ns = 1_000_000_000 + np.cumsum(rng.integers(20_000_000, 80_000_000, 60))
    t_s = (stamps_ns - stamps_ns[0]) / 1e9
    start, speed, accel = rng.standard_normal((3, 3))
    turn = Rotation.from_rotvec([0.3, -0.2, 0.9])
    xyz = start + t_s[:, None] * speed + t_s[:, None] ** 2 / 2 * accel
    rotations = np.array([turn.as_matrix()] * len(t_s))
    linear, angular = twists("made", stamps_ns, xyz, rotations)
    np.testing.assert_allclose(linear, turn.inv().apply(speed + t_s[:, None] * accel), atol=1e-9)
    np.testing.assert_allclose(angular, 0.0, atol=1e-12)


def test_turn_rates_are_those_of_the_body() -> None:
    stamps_ns = 1_000_000_000 + 10_000_000 * np.arange(100)
    t_s = (stamps_ns - stamps_ns[0]) / 1e9
    rate = np.array([0.1, -0.2, 0.6])  # body frame, constant: the rotation is exp(rate t) on the right
    tilted = Rotation.from_rotvec([0.5, 1.0, -0.7])
    rotations = (tilted * Rotation.from_rotvec(rate * t_s[:, None])).as_matrix()
    _, angular = twists("made", stamps_ns, np.zeros((100, 3)), rotations)
    np.testing.assert_allclose(angular, np.tile(rate, (100, 1)), atol=1e-9)


def test_noise_of_positions_does_not_become_speed() -> None:
    """1 cm at 20 Hz: the difference of neighbours is off by 0.14 m/s, the slope over five of them by 0.06."""
    stamps_ns = 1_000_000_000 + 50_000_000 * np.arange(400)
    xyz = np.random.default_rng(1).normal(0.0, 0.01, (400, 3))
    linear, _ = twists("made", stamps_ns, xyz, np.tile(np.eye(3), (400, 1, 1)))
    assert linear[2:-2].std() == pytest.approx(0.01 / 0.05 / np.sqrt(10), rel=0.1)  # Savitzky-Golay, five points


def test_a_body_beside_the_base_frame_moves_it_rigidly() -> None:
    """Turning on the spot about the base's origin: the base stays where it is, whatever the body measures."""
    base_from_body = transform(Rotation.from_euler("z", 30, degrees=True).as_matrix(), np.array([1.0, 2.0, 0.5]))
    world_from_base = transform(Rotation.from_euler("xyz", (0.1, 0.2, 0.3)).as_matrix(), np.array([5.0, -3.0, 1.0]))
    rate = np.array([0.0, 0.0, 0.8])
    world_from_body = world_from_base @ base_from_body
    body = EgoPose(
        1,
        world_from_body[:3, 3],
        world_from_body[:3, :3],
        base_from_body[:3, :3].T @ np.cross(rate, base_from_body[:3, 3]),
        base_from_body[:3, :3].T @ rate,
    )
    base = moved_to_base(body, base_from_body)
    np.testing.assert_allclose(base.position, world_from_base[:3, 3], atol=1e-12)
    np.testing.assert_allclose(base.odom_from_ego, world_from_base[:3, :3], atol=1e-12)
    np.testing.assert_allclose(base.velocity_mps, 0.0, atol=1e-12)
    np.testing.assert_allclose(base.angular_rps, rate, atol=1e-12)


@pytest.mark.parametrize(
    ("velocity", "agrees"),
    [
        ((8.0, 0.0, 0.0), True),
        ((8.5, 0.4, 0.0), True),
        ((0.0, 8.0, 0.0), False),
        ((28.8, 0.0, 0.0), False),
        ((0.0,) * 3, False),
    ],
    ids=["right", "about right", "another frame", "km/h", "none"],
)
def test_twists_must_agree_with_how_the_poses_move(velocity: tuple[float, float, float], *, agrees: bool) -> None:
    poses = [
        EgoPose(10**9 + 50_000_000 * i, np.array([0.4 * i, 0.0, 0.0]), np.eye(3), np.array(velocity), np.zeros(3))
        for i in range(60)
    ]
    if agrees:
        check_twists("made", poses)
        return
    with pytest.raises(InvalidInput, match=r"poses move by \(8.00, 0.00, 0.00\) m/s, twists say"):
        check_twists("made", poses)


def test_mercator_is_metres_on_the_ground() -> None:
    """Near the first place, against the sphere's arc lengths, in the axes east, north, up."""
    lat, lon = 49.015, 8.434
    places = mercator(np.array([[lat, lon, 110.0], [lat, lon + 0.001, 110.0], [lat + 0.001, lon, 112.0]]))
    arc_m = 6_378_137.0 * np.radians(0.001)
    np.testing.assert_allclose(places[0], 0.0)
    np.testing.assert_allclose(places[1], [arc_m * np.cos(np.radians(lat)), 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(places[2], [0.0, arc_m, 2.0], atol=arc_m * 2e-5)
