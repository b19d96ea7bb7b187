"""A camera that delivers and does not see, and odometry that moves other than a road vehicle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pipeline.vehicle import MS, TWO_CAMERAS, T, buffers, encoded, jpeg, pose

from alpamayo_ros.pipeline.observe import observe
from alpamayo_ros.pipeline.sight import blindness
from alpamayo_ros.types import CameraFrame, EgoPose, StaleInput

ROLE = "front_wide"


def frames(*images: np.ndarray, period_ms: int = 500) -> list[CameraFrame]:
    return [CameraFrame(ROLE, T + i * period_ms * MS, 0, image) for i, image in enumerate(images)]


def noise(seed: int, sigma: float = 3.0, level: float = 60.0) -> np.ndarray:
    """A night without a lamp: a grey with the noise of a sensor."""
    drawn = np.random.default_rng(seed).normal(level, sigma, (48, 64, 3))
    return drawn.clip(0, 255).astype(np.uint8)


def test_four_equal_pictures_over_a_metre_of_road_are_frozen() -> None:
    same = [noise(0)] * 4
    assert blindness(frames(noise(1), *same), 0.8) == "frozen: 4 pictures are the same over 1.2 m of road"
    assert blindness(frames(noise(1), *same), -0.8).startswith("frozen")
    assert blindness(frames(noise(1), *same), 0.6) == "", "0.9 m"
    assert blindness(frames(*same[:3]), 20.0) == "", "three may be chance"


def test_one_bit_is_enough_to_be_alive() -> None:
    alive = noise(0)
    alive[20, 30, 1] ^= 1
    for place in range(4):
        pictures = [noise(0)] * 4
        pictures[place] = alive
        assert blindness(frames(*pictures), 10.0) == "", place


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_covered_lens_is_told_from_a_dark_night(level: int) -> None:
    covered = [np.full((48, 64, 3), level, np.uint8) for _ in range(4)]
    for i, image in enumerate(covered):
        image[i, i] ^= 1  # not frozen
    assert blindness(frames(*covered), 5.0).startswith("covered: contrast of 0.0")
    assert blindness(frames(*covered), 0.9) == "", "at rest in a dark garage"
    assert blindness(frames(*covered[:-1], noise(0)), 5.0) == "", "it sees again"
    assert blindness(frames(*(noise(i) for i in range(5))), 5.0) == "", "a night has noise"


def test_a_picture_of_one_strong_colour_is_no_contrast() -> None:
    red = [np.full((48, 64, 3), (200, 10, i), np.uint8) for i in range(3)]
    assert blindness(frames(*red), 5.0).startswith("covered")


def fill(profile: object, blind: str, speed_mps: float = 10.0) -> object:
    """Buffers of 2.5 s in which one camera shows the same picture all the time."""
    made = buffers(profile)  # type: ignore[arg-type]
    for ns in range(T, T + 2500 * MS + 1, 100 * MS):
        for role in made.roles:
            made.frames.offer(encoded(role, ns, data=jpeg(3) if role == blind else None), ns)
    for ns in range(T, T + 2500 * MS + 1, 10 * MS):
        made.poses.offer(pose(ns, speed_mps))
    return made


def test_a_required_camera_that_is_frozen_ends_the_cycle_and_an_optional_one_is_left_out() -> None:
    t0_ns = T + 2500 * MS
    with pytest.raises(StaleInput, match=r"^rear_tele: frozen: 4 pictures are the same over 15\.0 m of road$"):
        observe(fill(TWO_CAMERAS, "rear_tele"), t0_ns)  # type: ignore[arg-type]
    optional = TWO_CAMERAS.model_copy(update={"cameras": {ROLE: "required", "rear_tele": "optional"}})
    assert set(observe(fill(optional, "rear_tele"), t0_ns).frames) == {ROLE}  # type: ignore[arg-type]
    assert set(observe(fill(TWO_CAMERAS, "rear_tele", 0.0), t0_ns).frames) == {ROLE, "rear_tele"}  # type: ignore[arg-type]


def turned(said: EgoPose, yaw_rad: float, twist: bool) -> EgoPose:
    """The same motion with the axes of the vehicle, or of its twist alone, turned about z."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    if twist:
        return replace(said, velocity_mps=rotation @ said.velocity_mps)
    return replace(said, odom_from_ego=said.odom_from_ego @ rotation.T, velocity_mps=rotation @ said.velocity_mps)


@pytest.mark.parametrize(
    ("yaw_rad", "twist", "speed_mps", "says"),
    [
        (0.4, False, 8.0, ""),  # a wheel slips
        (np.pi / 2, False, 8.0, "odometry: twists go 0.00 m/s forward and 8.00 m/s to the left"),  # x right, y forward
        (-np.pi / 2, True, 8.0, "odometry: twists go 0.00 m/s forward and -8.00 m/s to the left"),
        (np.pi, True, 8.0, "odometry: poses go 8.00 m/s along x, twists say -8.00 m/s"),
        (np.pi / 2, False, 1.9, ""),  # too slow to tell
        (np.pi, False, 8.0, ""),  # it reverses
    ],
)
def test_a_vehicle_goes_where_its_x_axis_points(yaw_rad: float, twist: bool, speed_mps: float, says: str) -> None:
    made = buffers()
    t0_ns = T + 2500 * MS
    for ns in range(T, t0_ns + 1, 100 * MS):
        for role in made.roles:
            made.frames.offer(encoded(role, ns), ns)
    for ns in range(T, t0_ns + 1, 10 * MS):
        made.poses.offer(turned(pose(ns, speed_mps), yaw_rad, twist))
    if not says:
        assert observe(made, t0_ns).speed_mps == pytest.approx(np.cos(yaw_rad) * speed_mps)
    else:
        with pytest.raises(StaleInput) as refused:
            observe(made, t0_ns)
        assert str(refused.value).replace("-0.00", "0.00").startswith(says)
