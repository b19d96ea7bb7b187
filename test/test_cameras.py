"""Camera models: round trips, analytic pixels, OpenCV as the reference, and what no lens can see."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alpamayo_ros.cameras import (
    Camera,
    Fisheye,
    FTheta,
    Pinhole,
    base_from_optical,
    camera_from_info,
    hfov_deg,
    info_from_camera,
    nominal_camera,
    resized,
)
from alpamayo_ros.geometry import apply
from alpamayo_ros.profile import Mount, read_rig
from alpamayo_ros.types import InvalidInput

BARREL = (-0.30, 0.10, 0.001, -0.0008, -0.014)  # a real 70 degree automotive lens, rounded
RATIONAL = (0.6, 0.1, 0.0003, -0.0002, 0.005, 0.95, 0.25, 0.02)  # a real wide sensor's signs and sizes
KANNALA = (0.02, -0.006, 0.002, -0.0004)

PINHOLE = Pinhole(1300.0, 1310.0, 959.0, 541.0, 1920, 1080)
PLUMB_BOB = replace(PINHOLE, distortion=BARREL)
RATIONAL_POLYNOMIAL = replace(PINHOLE, distortion=RATIONAL)
FISHEYE = Fisheye(600.0, 598.0, 960.0, 540.0, 1920, 1080, KANNALA)
FTHETA = FTheta(960.0, 540.0, 1920, 1080, (940.0, 2.0, -30.0, 4.0), max_angle_rad=1.2)
ALL = {"pinhole": PINHOLE, "plumb_bob": PLUMB_BOB, "rational": RATIONAL_POLYNOMIAL, "fisheye": FISHEYE, "ftheta": FTHETA}
each_camera = pytest.mark.parametrize("camera", ALL.values(), ids=ALL.keys())


def grid(camera: Camera, steps: int = 41) -> np.ndarray:
    """Pixels (N, 2) all over the image, its outermost edges included."""
    u, v = np.linspace(-0.49, camera.width - 0.51, steps), np.linspace(-0.49, camera.height - 0.51, steps)
    return np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)


def rays_within(angle_rad: float, count: int = 300) -> np.ndarray:
    """Points (N, 3) up to an angle off the axis, at distances from 0.5 m to 80 m."""
    random = np.random.default_rng(7)
    angle, around = angle_rad * np.sqrt(random.random(count)), 2 * np.pi * random.random(count)
    rays = np.column_stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)])
    return rays * random.uniform(0.5, 80.0, (count, 1))


def angle_between(rays: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Angles (N,) rad between unit rays, exact near 0 where arccos is not."""
    return 2 * np.arcsin(np.minimum(np.linalg.norm(rays - others, axis=1) / 2, 1.0))


@each_camera
def test_every_pixel_of_the_image_survives_the_way_out_and_back(camera: Camera) -> None:
    uv = grid(camera)
    back, visible = camera.project(camera.unproject(uv))
    # The corners of the f-theta lens lie beyond its largest angle, which is a property of that lens.
    reachable = np.hypot(*(uv - (960.0, 540.0)).T) < 1060.0 if camera is FTHETA else np.ones(len(uv), bool)
    assert visible[reachable].all()
    # 1e-9 rad is 1e-6 px at these focal lengths.
    np.testing.assert_allclose(back[reachable], uv[reachable], rtol=0, atol=1e-6)


@each_camera
def test_directions_survive_the_way_through_the_image_within_1e_9_rad(camera: Camera) -> None:
    points = rays_within(0.9)
    uv, visible = camera.project(points)
    assert np.count_nonzero(visible) > 100
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert angle_between(camera.unproject(uv), directions)[visible].max() < 1e-9


@each_camera
def test_rays_are_unit_vectors(camera: Camera) -> None:
    np.testing.assert_allclose(np.linalg.norm(camera.unproject(grid(camera)), axis=1), 1.0, rtol=0, atol=1e-12)


@each_camera
def test_the_optical_axis_is_the_principal_point(camera: Camera) -> None:
    uv, visible = camera.project(np.array([[0.0, 0.0, 5.0]]))
    np.testing.assert_array_equal(uv, [[camera.cx, camera.cy]])
    assert visible.all()
    np.testing.assert_array_equal(camera.unproject(uv), [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("camera", "offset_px"),
    [
        (Pinhole(800.0, 800.0, 960.0, 540.0, 1920, 1080), 800.0),  # tan 45 degrees = 1
        (Pinhole(800.0, 800.0, 960.0, 540.0, 1920, 1080, (-0.2, 0.05, 0.0, 0.0, 0.01)), 800.0 * (1 - 0.2 + 0.05 + 0.01)),
        (Pinhole(800.0, 800.0, 960.0, 540.0, 1920, 1080, (0, 0, 0, 0, 0, 0.25, 0, 0)), 800.0 / 1.25),
        (Fisheye(800.0, 800.0, 960.0, 540.0, 1920, 1080), 800.0 * np.pi / 4),
        (FTheta(960.0, 540.0, 1920, 1080, (800.0, 16.0), 1.2), 800.0 * np.pi / 4 + np.pi**2),
    ],
)
def test_a_point_45_degrees_to_the_right_lands_at_its_known_pixel(camera: Camera, offset_px: float) -> None:
    uv, visible = camera.project(np.array([[3.0, 0.0, 3.0]]))
    np.testing.assert_allclose(uv, [[960.0 + offset_px, 540.0]], rtol=0, atol=1e-9)
    assert visible.all()


def test_x_is_right_and_y_is_down() -> None:
    for camera in ALL.values():
        uv, _ = camera.project(np.array([[0.1, 0.0, 1.0], [0.0, 0.1, 1.0]]))
        assert uv[0, 0] > camera.cx
        assert uv[1, 1] > camera.cy


@pytest.mark.parametrize("camera", [PLUMB_BOB, RATIONAL_POLYNOMIAL], ids=["plumb_bob", "rational"])
def test_pinhole_agrees_with_opencv(camera: Pinhole) -> None:
    points = rays_within(0.8)
    matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(camera.distortion))
    uv, visible = camera.project(points)
    assert visible.any()
    np.testing.assert_allclose(uv[visible], expected[visible, 0], rtol=0, atol=1e-8)


def test_fisheye_agrees_with_opencv() -> None:
    points = rays_within(1.5)  # OpenCV's model ends before 90 degrees
    matrix = np.array([[FISHEYE.fx, 0, FISHEYE.cx], [0, FISHEYE.fy, FISHEYE.cy], [0, 0, 1.0]])
    expected, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), matrix, np.array(KANNALA))
    uv, visible = FISHEYE.project(points)
    assert visible.any()
    np.testing.assert_allclose(uv[visible], expected[visible, 0], rtol=0, atol=1e-8)


@each_camera
def test_points_behind_are_not_visible(camera: Camera) -> None:
    uv, visible = camera.project(-rays_within(0.5))
    assert not visible.any()
    assert np.isfinite(uv).all()


def test_a_fisheye_of_200_degrees_sees_points_beside_and_a_little_behind_it() -> None:
    camera = Fisheye(300.0, 300.0, 599.5, 399.5, 1200, 800)
    angle = np.radians(100.0)
    uv, visible = camera.project(np.array([[np.sin(angle), 0.0, np.cos(angle)], [0.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(visible, [True, False])
    assert uv[0, 0] == pytest.approx(599.5 + 300.0 * angle)


def test_a_barrel_lens_does_not_fold_steep_points_back_into_the_image() -> None:
    # Radius r - 0.3 r^3 peaks at r = sqrt(1 / 0.9); beyond it the polynomial brings points back to the centre.
    camera = replace(PINHOLE, distortion=(-0.3, 0.0, 0.0, 0.0))
    fold = np.sqrt(1 / 0.9)
    assert camera.max_tangent == pytest.approx(fold)
    uv, visible = camera.project(np.array([[0.99 * fold, 0.0, 1.0], [1.01 * fold, 0.0, 1.0], [1.8, 0.0, 1.0]]))
    np.testing.assert_array_equal(visible, [True, False, False])
    assert np.isfinite(uv).all()


def test_a_pixel_no_direction_reaches_is_the_steepest_ray() -> None:
    camera = replace(PINHOLE, distortion=(-0.3, 0.0, 0.0, 0.0))
    ray = camera.unproject(np.array([[camera.cx + 5000.0, camera.cy]]))[0]
    assert ray[0] / ray[2] == pytest.approx(camera.max_tangent)
    ray = FTHETA.unproject(np.array([[960.0, 5000.0]]))[0]
    assert np.arctan2(ray[1], ray[2]) == pytest.approx(FTHETA.max_angle_rad)


def test_ftheta_sees_nothing_beyond_its_largest_angle() -> None:
    camera = FTheta(1000.0, 1000.0, 2000, 2000, (100.0,), max_angle_rad=1.0)
    angles = np.array([0.999, 1.001])
    _, visible = camera.project(np.column_stack([np.sin(angles), np.zeros(2), np.cos(angles)]))
    np.testing.assert_array_equal(visible, [True, False])


def test_points_outside_the_image_are_not_visible() -> None:
    edge = PINHOLE.unproject(np.array([[1919.4, 541.0], [1919.6, 541.0], [-0.4, 541.0], [-0.6, 541.0], [959.0, 1079.6]]))
    _, visible = PINHOLE.project(edge)
    np.testing.assert_array_equal(visible, [True, False, True, False, False])


@each_camera
def test_nothing_and_everything_of_no_place_is_invisible_and_finite(camera: Camera) -> None:
    nowhere = np.array([[np.nan, 0, 1], [np.inf, 0, 1], [0, 0, np.inf], [0, 0, 0], [1e308, 1e308, 1e308], [1.0, 0, 1e-320]])
    uv, visible = camera.project(nowhere)
    assert np.isfinite(uv).all()
    assert not visible[:5].any()
    none, invisible = camera.project(np.empty((0, 3)))
    assert none.shape == (0, 2)
    assert invisible.shape == (0,)


number = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(points=st.lists(st.tuples(number, number, number), min_size=1, max_size=5), name=st.sampled_from(sorted(ALL)))
def test_no_point_whatsoever_projects_to_nan_or_visibly_outside(points: list[tuple[float, ...]], name: str) -> None:
    camera = ALL[name]
    uv, visible = camera.project(np.array(points))
    assert np.isfinite(uv).all()
    assert ((uv[visible] >= -0.5) & (uv[visible] <= (camera.width - 0.5, camera.height - 0.5))).all()


@settings(max_examples=60, deadline=None)
@given(
    k1=st.floats(-0.4, 0.4),
    k2=st.floats(-0.15, 0.15),
    p1=st.floats(-0.003, 0.003),
    p2=st.floats(-0.003, 0.003),
    k3=st.floats(-0.05, 0.05),
)
def test_any_plumb_bob_lens_is_inverted_inside_its_valid_range(k1: float, k2: float, p1: float, p2: float, k3: float) -> None:
    camera = replace(PINHOLE, distortion=(k1, k2, p1, p2, k3))
    assume(camera.max_tangent > 0.5)
    limit = float(np.arctan(0.9 * min(camera.max_tangent, 2.0)))  # at the fold itself every inverse is infinitely steep
    points = rays_within(limit, 100)
    uv, _ = camera.project(points)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert angle_between(camera.unproject(uv), directions).max() < 1e-9


def test_a_radial_curve_that_bends_both_ways_is_inverted_too() -> None:
    # Newton's method alone cycles between r = 0.03 and r = 3.34 for the pixel of r = 1.326 of this lens.
    camera = replace(PINHOLE, distortion=(0.415, 0.167, -0.0008, 0.0009, 0.0352, -0.0657, 0.0175, 0.0053))
    r, around = np.linspace(0.0, 1.8, 2000), np.linspace(0.0, 40.0, 2000)
    rays = np.column_stack([r * np.cos(around), r * np.sin(around), np.ones(2000)])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert angle_between(camera.unproject(camera.project(rays)[0]), rays).max() < 1e-9


def test_a_pole_of_the_rational_curve_ends_the_image() -> None:
    camera = replace(PINHOLE, distortion=(0.0, 0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.0))  # 1 - r^2 / 4 is zero at r = 2
    assert 1.99 < camera.max_tangent < 2.0
    _, visible = camera.project(np.array([[3.0, 0.0, 1.0]]))
    assert not visible.any()
    assert np.isfinite(camera.unproject(np.array([[1e6, 0.0]]))).all()


@settings(max_examples=60, deadline=None)
@given(k=st.tuples(*[st.floats(-0.05, 0.05)] * 4), focal=st.floats(100.0, 900.0))
def test_any_fisheye_is_inverted_inside_its_valid_range(k: tuple[float, float, float, float], focal: float) -> None:
    camera = Fisheye(focal, focal, 960.0, 540.0, 1920, 1080, k)
    points = rays_within(0.95 * camera.max_angle_rad, 100)
    uv, _ = camera.project(points)
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert angle_between(camera.unproject(uv), directions).max() < 1e-9


def info(distortion_model: str, d: tuple[float, ...], **changes: object) -> SimpleNamespace:
    fields = {
        "width": 1920,
        "height": 1080,
        "k": np.array([1300.0, 0, 959.0, 0, 1310.0, 541.0, 0, 0, 1]),
        "d": np.array(d),
        "distortion_model": distortion_model,
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0),
    }
    return SimpleNamespace(**{**fields, **changes})


def test_camera_info_gives_the_model_it_names() -> None:
    assert camera_from_info(info("plumb_bob", BARREL)) == PLUMB_BOB
    assert camera_from_info(info("rational_polynomial", RATIONAL)) == RATIONAL_POLYNOMIAL
    assert camera_from_info(info("equidistant", KANNALA)) == Fisheye(1300.0, 1310.0, 959.0, 541.0, 1920, 1080, KANNALA)
    assert camera_from_info(info("", (0.0,) * 5)) == PINHOLE
    assert camera_from_info(info("plumb_bob", ())) == PINHOLE


@each_camera
def test_a_camera_info_gives_back_the_camera_it_was_made_from(camera: Camera) -> None:
    written = info_from_camera(camera)
    assert camera_from_info(info(**written._asdict())) == camera
    other = camera_from_info(info(**written._replace(d=(written.d[0] + 1e-3, *written.d[1:]))._asdict()))
    assert other != camera


def test_the_models_have_the_names_and_sizes_of_ros() -> None:
    names = {name: (info_from_camera(camera).distortion_model, len(info_from_camera(camera).d)) for name, camera in ALL.items()}
    assert names == {
        "pinhole": ("plumb_bob", 5),
        "plumb_bob": ("plumb_bob", 5),
        "rational": ("rational_polynomial", 8),
        "fisheye": ("equidistant", 4),
        "ftheta": ("ftheta", 5),
    }
    written = info_from_camera(FTHETA)
    assert written.d == (1.2, 940.0, 2.0, -30.0, 4.0)
    assert written.k == (940.0, 0, 960.0, 0, 940.0, 540.0, 0, 0, 1)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (info("ftheta", (1.2,)), "ftheta with 1 coefficients"),
        (info("ftheta", (1.2, 1300.0)), r"c1 = 1300.0 px/rad in D, focal lengths \(1300.0, 1310.0\)"),
        (info("thin_prism", BARREL), "'thin_prism'"),
        (info("", BARREL), "''"),
        (info("plumb_bob", RATIONAL), "plumb_bob with 8 coefficients"),
        (info("equidistant", ()), "equidistant with 0 coefficients"),
        (info("plumb_bob", BARREL, k=np.zeros(9)), "focal lengths 0.0"),
        (info("plumb_bob", BARREL, width=0), "0 x 1080 px"),
        (info("plumb_bob", (np.nan,) * 5), "finite"),
        (info("plumb_bob", BARREL, k=np.array([1300.0, 3.0, 959.0, 0, 1310.0, 541.0, 0, 0, 1])), "skew 3.0"),
        (info("plumb_bob", BARREL, binning_x=2), "binning 2"),
    ],
)
def test_camera_info_that_describes_no_camera_is_refused_by_name(broken: SimpleNamespace, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        camera_from_info(broken)


def test_lenses_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidInput, match="got 3"):
        replace(PINHOLE, distortion=(0.1, 0.1, 0.1))
    with pytest.raises(InvalidInput, match="does not rise"):
        FTheta(960.0, 540.0, 1920, 1080, (900.0, -600.0), max_angle_rad=1.0)  # peaks at 0.75 rad
    with pytest.raises(InvalidInput, match="first coefficient"):
        FTheta(960.0, 540.0, 1920, 1080, (), max_angle_rad=1.0)


def test_the_nominal_camera_has_the_field_of_view_of_its_mount() -> None:
    for rig_camera in read_rig("seven_camera").cameras.values():
        camera = nominal_camera(rig_camera)
        assert hfov_deg(camera) == pytest.approx(rig_camera.mount.hfov_deg, abs=1e-9)
        assert (camera.width, camera.height) == (1920, 1080)


def test_no_pinhole_is_made_for_180_degrees() -> None:
    rig_camera = read_rig("seven_camera").cameras["front_wide"]
    wide = rig_camera.model_copy(update={"mount": rig_camera.mount.model_copy(update={"hfov_deg": 180.0})})
    with pytest.raises(InvalidInput, match=r"180\.0"):
        nominal_camera(wide)


def test_the_field_of_view_of_a_fisheye_may_pass_180_degrees() -> None:
    camera = Fisheye(300.0, 300.0, 549.5, 399.5, 1100, 800)
    assert hfov_deg(camera) == pytest.approx(np.degrees(1100 / 300.0))


@each_camera
def test_a_resized_camera_sees_the_same_view(camera: Camera) -> None:
    points = rays_within(0.6)
    uv, visible = camera.project(points)
    small, also_visible = resized(camera, 576, 324).project(points)
    np.testing.assert_array_equal(also_visible, visible)
    np.testing.assert_allclose((small + 0.5) / 0.3, uv + 0.5, atol=1e-9)  # measured from the corner of the image
    assert hfov_deg(resized(camera, 576, 324)) == pytest.approx(hfov_deg(camera), abs=1e-9)


def test_only_a_lens_with_two_focal_lengths_can_be_stretched() -> None:
    stretched = resized(PINHOLE, 576, 320)
    assert isinstance(stretched, Pinhole)
    assert stretched.fy / stretched.fx == pytest.approx(1310.0 / 1300.0 * (320 / 1080) / (576 / 1920))
    with pytest.raises(InvalidInput, match="stretch"):
        resized(FTHETA, 576, 320)


def test_an_f_theta_image_is_made_smaller_to_the_nearest_row() -> None:
    camera = replace(FTHETA, width=1936, height=1220)
    small = resized(camera, 960, 605)  # 604.96 rows
    points = rays_within(0.6)
    expected = (camera.project(points)[0] + 0.5) * (960 / 1936) - 0.5
    np.testing.assert_allclose(small.project(points)[0], expected, rtol=0, atol=0.05)
    with pytest.raises(InvalidInput, match="stretch"):
        resized(camera, 960, 604)


def test_a_mount_turns_left_by_yaw_and_down_by_pitch() -> None:
    mount = Mount(xyz_m=(1.0, 2.0, 1.5), yaw_deg=90.0, pitch_deg=30.0, hfov_deg=70.0)
    ahead, right, below = apply(base_from_optical(mount), np.array([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
    np.testing.assert_allclose(ahead, [1.0, 2.0 + np.sqrt(3.0), 0.5], atol=1e-12)
    np.testing.assert_allclose(right, [2.0, 2.0, 1.5], atol=1e-12)
    np.testing.assert_allclose(below, [1.0, 1.0, 1.5 - np.sqrt(3.0)], atol=1e-12)
