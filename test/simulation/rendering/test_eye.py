"""Geometry: what is seen, and where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.cameras import FORWARD_FROM_OPTICAL, Pinhole
from alpamayo_ros.geometry import apply, inverse, rotation_from_rpy, rotation_z, transform
from alpamayo_ros.simulation.rendering.eye import NEAR_M, SHIFT, Eye
from alpamayo_ros.types import F64, InvalidInput

LENS = Pinhole(100.0, 100.0, 79.5, 59.5, 160, 120)


def looking(xyz: tuple[float, float, float], yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> F64:
    forward = rotation_from_rpy(0.0, float(np.radians(pitch_deg)), float(np.radians(yaw_deg)))
    return transform(forward @ FORWARD_FROM_OPTICAL, np.array(xyz))


def painted(eye: Eye, corners: F64) -> np.ndarray:
    """Mask of the pixels of one face (4, 3), odom."""
    image = np.zeros((eye.lens.height, eye.lens.width), np.uint8)
    for outline in eye.outlines(corners[None] - eye.origin).points:
        if len(outline):
            cv2.fillConvexPoly(image, outline, 255, cv2.LINE_8, SHIFT)
    return image > 0


def hit(eye: Eye, corners: F64) -> np.ndarray:
    """Mask of the pixels whose rays meet the face in front of the near plane: no clipping anywhere."""
    v, u = np.mgrid[0 : eye.lens.height, 0 : eye.lens.width]
    rays = eye.lens.unproject(np.column_stack([u.ravel(), v.ravel()])) @ eye.rotation.T
    edges = np.roll(corners, -1, axis=0) - corners
    normal = np.cross(edges[0], edges[1])
    away = ((corners[0] - eye.origin) @ normal) / np.where(np.abs(rays @ normal) > 1e-12, rays @ normal, np.inf)
    places = eye.origin + away[:, None] * rays
    sides = np.einsum("knj,j->kn", np.cross(edges[:, None], places[None] - corners[:, None]), normal)
    inside = (sides >= 0).all(axis=0) | (sides <= 0).all(axis=0)
    depth = away * (rays @ eye.rotation[:, 2])
    return np.asarray(inside & (depth >= NEAR_M)).reshape(u.shape)


def differs(eye: Eye, corners: F64) -> int:
    """Pixels in which `painted` and `hit` differ, but for those beside an edge, where OpenCV rounds."""
    want, got = (mask(eye, corners).astype(np.uint8) for mask in (hit, painted))
    around = np.ones((3, 3))
    edges = [cv2.dilate(mask, around) != cv2.erode(mask, around) for mask in (want, got)]
    return int(((want != got) & ~edges[0] & ~edges[1]).sum())


@pytest.mark.parametrize("yaw_deg", [0.0, 57.0, -140.0])
def test_corners_land_where_the_camera_model_projects_them(yaw_deg: float) -> None:
    eye = Eye(LENS, looking((12.0, -7.0, 1.5), yaw_deg, 8.0))
    ahead = eye.rotation[:, 2]
    face = eye.origin + 9.0 * ahead + np.array([(0, 0, 0), (0.8, 0.3, 0), (0.5, 0.9, 1.1), (-0.4, 0.5, 0.9)])
    uv, visible = LENS.project(apply(inverse(eye.odom_from_optical), face))
    assert visible.all()
    drawn = eye.outlines(face[None] - eye.origin)
    np.testing.assert_allclose(drawn.points[0] / (1 << SHIFT), uv, atol=0.5 / (1 << SHIFT))
    np.testing.assert_allclose(drawn.centres_m[:, 0], face.mean(axis=0) - eye.origin)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_a_face_paints_the_pixels_whose_rays_meet_it(seed: int) -> None:
    """Also where it reaches behind the camera, or far out of the picture."""
    rng = np.random.default_rng([seed, 3])
    eye = Eye(LENS, looking((0.0, 0.0, 1.5), float(rng.uniform(-180, 180)), float(rng.uniform(-30, 30))))
    centre, across, up = rng.uniform(-6, 6, 3), rng.normal(0, 1, 3), rng.normal(0, 1, 3)
    size = rng.choice([1.0, 5.0, 300.0])
    face = eye.origin + centre + size * np.array([-across - up, across - up, across + up, -across + up])
    assert differs(eye, face) == 0


def test_the_ground_under_the_camera_is_painted_though_it_starts_behind_it() -> None:
    eye = Eye(LENS, looking((0.0, 0.0, 1.5)))
    strip = np.array([(-50.0, -2.0, 0.0), (50.0, -2.0, 0.0), (50.0, 2.0, 0.0), (-50.0, 2.0, 0.0)])
    assert painted(eye, strip)[110, 40:120].all()
    assert differs(eye, strip) == 0


def test_a_face_behind_the_near_plane_is_not_painted() -> None:
    eye = Eye(LENS, looking((0.0, 0.0, 1.5)))
    board = np.array([(0.0, 1.0, 0.5), (0.0, -1.0, 0.5), (0.0, -1.0, 2.5), (0.0, 1.0, 2.5)])
    assert not painted(eye, board + np.array([NEAR_M - 0.01, 0.0, 0.0])).any()
    assert painted(eye, board + np.array([NEAR_M + 0.01, 0.0, 0.0])).all()


def test_outlines_stay_close_to_the_picture() -> None:
    """OpenCV's edges drift by a pixel in 30,000: a kilometre of wall beside the lens must not reach that far."""
    eye = Eye(LENS, looking((0.0, 0.0, 1.5)))
    wall = np.array([(0.41, 1.0, -500.0), (900.0, 1.0, -500.0), (900.0, 1.0, 500.0), (0.41, 1.0, 500.0)])
    assert np.abs(eye.outlines(wall[None] - eye.origin).points[0]).max() < 5000 * (1 << SHIFT)
    assert differs(eye, wall) == 0


def test_thickness_is_the_shorter_way_across() -> None:
    eye = Eye(LENS, looking((0.0, 0.0, 1.5)))
    board = np.array([(10.0, 2.0, 1.45), (10.0, -2.0, 1.45), (10.0, -2.0, 1.55), (10.0, 2.0, 1.55)])
    assert eye.outlines(board[None] - eye.origin).thick_px[0] == pytest.approx(1.0, rel=0.01)  # 0.1 m at 10 px per m


def test_spheres_are_seen_as_long_as_any_part_of_them_may_be() -> None:
    rng = np.random.default_rng(5)
    eye = Eye(LENS, looking((3.0, 2.0, 1.5), 40.0))
    centres, radii = eye.origin + rng.uniform(-30, 30, (400, 3)), rng.uniform(0.1, 5.0, 400)
    directions = rng.normal(0, 1, (200, 3))
    surface = centres[:, None] + radii[:, None, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    to_eye = inverse(eye.odom_from_optical)
    visible = LENS.project(apply(to_eye, surface.reshape(-1, 3)))[1].reshape(400, 200).any(axis=1)
    seen = eye.sees(centres, radii)
    depth = apply(to_eye, surface.reshape(-1, 3))[:, 2].reshape(400, 200).max(axis=1)
    assert not (visible & (depth >= NEAR_M) & ~seen).any()
    assert 20 < seen.sum() < 60  # and most of what is elsewhere is left out


def test_a_rolled_or_distorted_camera_is_refused_with_numbers() -> None:
    rolled = looking((0.0, 0.0, 1.5))
    rolled[:3, :3] = rolled[:3, :3] @ rotation_z(0.1)
    with pytest.raises(InvalidInput, match=r"upright.*rolled by 5\.73 degrees"):
        Eye(LENS, rolled)
    with pytest.raises(InvalidInput, match=r"distortion.*0\.1"):
        Eye(Pinhole(100.0, 100.0, 79.5, 59.5, 160, 120, (0.1, 0.0, 0.0, 0.0)), looking((0.0, 0.0, 1.5)))
    upside_down = looking((0.0, 0.0, 1.5))
    upside_down[:3, :3] = upside_down[:3, :3] @ rotation_z(np.pi)
    with pytest.raises(InvalidInput, match=r"rolled by -?180\.00 degrees"):
        Eye(LENS, upside_down)
