from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alpamayo_ros.cameras import Pinhole, base_from_optical, nominal_camera
from alpamayo_ros.geometry import apply, inverse, rotation_from_rpy, rotation_z, transform
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.driver import FRONT_M, REAR_M
from alpamayo_ros.simulation.render import HAZE, HAZE_M, RANGE_M, render
from alpamayo_ros.simulation.scene import BRAKE_LIT, LAMPS, VEHICLE_HALF_WIDTH_M, Polygons, Scene, scene_at, static_scene
from alpamayo_ros.simulation.world import World, ego_at, make_world
from alpamayo_ros.types import F64, U8, InvalidInput

RIG = read_rig("seven_camera")
CAMERAS = {
    role: (nominal_camera(camera.model_copy(update={"width": 640, "height": 360})), base_from_optical(camera.mount))
    for role, camera in RIG.cameras.items()
}
NOTHING = Polygons(np.empty((0, 4, 3)), np.empty((0, 3)))
EMPTY = Scene(NOTHING, (), np.empty((0, 3)))
LEVEL = Pinhole(100.0, 100.0, 79.5, 59.5, 160, 120)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(0, 20.0)


@pytest.fixture(scope="module")
def static(world: World) -> Scene:
    return static_scene(world)


def pose_at(world: World, t_s: float) -> F64:
    ego = ego_at(world, np.array([t_s]))
    return transform(rotation_z(float(ego.yaw_rad[0])), ego.xyz[0])


def looking(xyz: tuple[float, float, float], yaw_deg: float = 0.0, pitch_deg: float = 0.0) -> F64:
    forward = rotation_from_rpy(0.0, np.radians(pitch_deg), np.radians(yaw_deg))
    optical = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    return transform(forward @ optical, np.array(xyz))


def board(x: float, colour: tuple[int, int, int], half_m: float = 1.0, y: float = 0.0) -> Polygons:
    """A square across x at eye height that faces -x."""
    face = [
        (x, y + half_m, 1.5 - half_m),
        (x, y - half_m, 1.5 - half_m),
        (x, y - half_m, 1.5 + half_m),
        (x, y + half_m, 1.5 + half_m),
    ]
    return Polygons(np.array([face]), np.array([colour], dtype=np.float64))


def scene_of(*solids: Polygons) -> Scene:
    return Scene(NOTHING, solids, np.array([solid.corners.mean(axis=(0, 1)) for solid in solids]))


def close_to(image: U8, colour: F64 | tuple[int, int, int], tolerance: float) -> np.ndarray:
    return np.abs(image.astype(float) - np.asarray(colour)).max(axis=-1) <= tolerance


@pytest.mark.parametrize("pitch_deg", [-25.0, 0.0, 25.0])
def test_the_horizon_is_where_the_camera_model_says(pitch_deg: float) -> None:
    image = render(EMPTY, LEVEL, looking((0, 0, 1.5), pitch_deg=pitch_deg))
    horizon = 59.5 - 100 * np.tan(np.radians(pitch_deg))
    sky = image[:, :, 2] > image[:, :, 1]  # blue above, green below
    rows = np.arange(120)
    assert sky[rows < horizon - 1].all()
    assert not sky[rows > horizon + 4].any()  # just below, the ground is haze and as blue as the sky


@pytest.mark.parametrize("role", CAMERAS)
def test_ground_pixels_have_the_colour_that_a_ray_finds(role: str, world: World, static: Scene) -> None:
    """Cast rays at the ground's polygons by hand: a picture that is continuous across cameras follows."""
    camera, base_from_camera = CAMERAS[role]
    pose = pose_at(world, 9.0) @ base_from_camera
    image = render(Scene(static.ground, (), np.empty((0, 3))), camera, pose)
    rng = np.random.default_rng(3)
    uv = rng.integers((1, camera.height // 2), (camera.width - 1, camera.height - 1), (1500, 2))
    rays = camera.unproject(uv) @ pose[:3, :3].T
    scale = -pose[2, 3] / np.minimum(rays[:, 2], -1e-9)
    uv, hits = uv[scale < 60.0], (pose[:2, 3] + rays[:, :2] * scale[:, None])[scale < 60.0]
    expected, found = colours_at(static.ground, hits, pose[:3, 3])
    assert found.sum() > 500
    # OpenCV paints the pixels of the outline too: along an edge the colour looked for may be one pixel aside.
    around = [image[uv[:, 1] + dv, uv[:, 0] + du].astype(float) for du in (-1, 0, 1) for dv in (-1, 0, 1)]
    off = np.min([np.abs(seen - expected).max(axis=1) for seen in around], axis=0)
    assert (off[found] > 3).mean() < 0.005


def colours_at(ground: Polygons, points: F64, origin: F64) -> tuple[F64, np.ndarray]:
    colours, found = np.zeros((len(points), 3)), np.zeros(len(points), dtype=bool)
    for corners, colour in zip(ground.corners, ground.colours, strict=True):
        if np.linalg.norm(corners[0] - origin) > 90.0:
            continue
        edge = np.roll(corners[:, :2], -1, axis=0) - corners[:, :2]
        to_point = points[:, None] - corners[None, :, :2]
        side = edge[:, 0] * to_point[..., 1] - edge[:, 1] * to_point[..., 0]
        inside = (side >= 0).all(axis=1) | (side <= 0).all(axis=1)
        haze = np.exp(-np.linalg.norm(corners.mean(axis=0) - origin) / HAZE_M)
        colours[inside] = HAZE + (colour - HAZE) * haze
        found |= inside
    return colours, found


@pytest.mark.parametrize("size", [(1920, 1080), (640, 360), (160, 90), (97, 61)])
@pytest.mark.parametrize("role", ["front_wide", "front_right"])
def test_the_red_lamp_is_red_where_each_camera_must_see_it(
    role: str, size: tuple[int, int], world: World, static: Scene
) -> None:
    t_s = 12.0
    light = world.lights[0]
    assert light.colour(t_s) == "red"
    rig_camera = RIG.cameras[role].model_copy(update={"width": size[0], "height": size[1]})
    camera, pose = nominal_camera(rig_camera), pose_at(world, t_s) @ base_from_optical(rig_camera.mount)
    scene = scene_at(static, world, t_s)
    lamp = min(lit_lamps(scene, LAMPS["red"][0]), key=lambda xyz: float(np.linalg.norm(xyz - pose[:3, 3])))
    uv, visible = camera.project(apply(inverse(pose), lamp[None]))
    assert visible[0]
    u, v = np.rint(uv[0]).astype(int)
    red, green, blue = render(scene, camera, pose)[v, u].astype(int)
    assert red > 200
    assert max(green, blue) < 90


def lit_lamps(scene: Scene, colour: tuple[int, int, int]) -> list[F64]:
    lit = [solid.corners[(solid.colours == colour).all(axis=1)] for solid in scene.solids]
    return [corners.mean(axis=(0, 1)) for corners in lit if len(corners)]


def test_brake_lights_are_lit_exactly_while_braking(world: World, static: Scene) -> None:
    lead = world.vehicles[0].motion
    braking = float(lead.times[int(lead.accel[:500].argmin())])
    rolling = float(lead.times[int(lead.accel[:500].argmax())])
    camera, base_from_camera = CAMERAS["front_tele"]
    bright = {}
    for t_s in (braking, rolling):
        image = render(scene_at(static, world, t_s), camera, pose_at(world, t_s) @ base_from_camera)
        bright[t_s] = int(close_to(image, BRAKE_LIT, 25).sum())
    assert bright[braking] > 200
    assert bright[rolling] == 0


def test_a_car_lies_along_its_heading_with_its_rear_axle_at_its_place(world: World, static: Scene) -> None:
    lead, t_s = world.vehicles[0], 5.0
    xy, yaw = world.vehicle_pose(lead, t_s)
    assert 0.3 < yaw < 1.2  # in the bend
    body = min(scene_at(static, world, t_s).solids, key=lambda s: float(np.hypot(*(s.corners.mean(axis=(0, 1))[:2] - xy))))
    points = body.corners.reshape(-1, 3)[:, :2] - xy
    along, left = points @ [np.cos(yaw), np.sin(yaw)], points @ [-np.sin(yaw), np.cos(yaw)]
    np.testing.assert_allclose([along.min(), along.max()], [-REAR_M, FRONT_M], atol=0.02)  # lamps stand out by 1 cm
    np.testing.assert_allclose([left.min(), left.max()], [-VEHICLE_HALF_WIDTH_M, VEHICLE_HALF_WIDTH_M], atol=0.02)


def test_near_things_hide_far_ones_whatever_their_order() -> None:
    near, far = board(5.0, (200, 30, 30)), board(20.0, (30, 30, 200), half_m=5.0)
    for scene in (scene_of(near, far), scene_of(far, near)):
        image = render(scene, LEVEL, looking((0, 0, 1.5)))
        assert image[60, 80, 0] > 150  # the red one in the middle
        assert image[60, 102, 2] > 150  # the blue one around it


def test_a_face_seen_from_behind_is_not_painted() -> None:
    scene = scene_of(board(5.0, (200, 30, 30)))
    behind = render(scene, LEVEL, looking((10.0, 0, 1.5), yaw_deg=180.0))
    np.testing.assert_array_equal(behind, render(EMPTY, LEVEL, looking((10.0, 0, 1.5), yaw_deg=180.0)))


def test_a_board_covers_the_pixels_between_its_projected_corners() -> None:
    corners = board(5.0, (200, 30, 30), y=0.6)
    pose = looking((0, 0, 1.5), yaw_deg=12.0)
    uv, visible = LEVEL.project(apply(inverse(pose), corners.corners[0]))
    assert visible.all()
    painted = np.argwhere(close_to(render(scene_of(corners), LEVEL, pose), (200, 33, 33), 12))
    np.testing.assert_allclose(painted.min(axis=0)[::-1], uv.min(axis=0), atol=1.0)
    np.testing.assert_allclose(painted.max(axis=0)[::-1], uv.max(axis=0), atol=1.0)


def test_nothing_beyond_the_range_is_painted() -> None:
    scene = scene_of(board(RANGE_M + 30.0, (200, 30, 30), half_m=60.0))
    np.testing.assert_array_equal(render(scene, LEVEL, looking((0, 0, 1.5))), render(EMPTY, LEVEL, looking((0, 0, 1.5))))


def test_ground_under_the_camera_is_painted_though_it_starts_behind_it() -> None:
    strip = [(-50.0, -2.0, 0.0), (50.0, -2.0, 0.0), (50.0, 2.0, 0.0), (-50.0, 2.0, 0.0)]
    ground = Polygons(np.array([strip]), np.array([[90.0, 90.0, 90.0]]))
    pose = looking((0, 0, 1.5))
    image = render(Scene(ground, (), np.empty((0, 3))), LEVEL, pose)
    v, u = np.mgrid[75:120, 0:160]
    edge_px = 2.0 / 1.5 * (v - 59.5)  # 2 m aside at the depth of the row, from the middle column
    grey = np.ptp(image[75:].astype(int), axis=-1) < 20
    assert grey[np.abs(u - 79.5) < edge_px - 1].all()
    assert not grey[np.abs(u - 79.5) > edge_px + 1.5].any()


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-300, 300),
    st.floats(-30, 30),
    st.floats(0.05, 12),
    st.floats(-180, 180),
    st.floats(-80, 80),
    st.integers(16, 200),
)
def test_any_upright_pose_gives_a_picture(
    static: Scene, along_m: float, y: float, z: float, yaw_deg: float, pitch_deg: float, width: int
) -> None:
    camera = Pinhole(0.6 * width, 0.6 * width, (width - 1) / 2, 35.5, width, 72)
    image = render(static, camera, looking((150.0 + along_m, y, z), yaw_deg, pitch_deg))
    assert (image.shape, image.dtype) == ((72, width, 3), np.uint8)


def test_the_same_scene_gives_the_same_picture(world: World, static: Scene) -> None:
    camera, base_from_camera = CAMERAS["front_wide"]
    pose = pose_at(world, 5.0) @ base_from_camera
    first, second = (render(scene_at(static, world, 5.0), camera, pose) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != render(scene_at(static, world, 5.1), camera, pose)).any()


def test_a_rolled_or_distorted_camera_is_refused() -> None:
    rolled = looking((0, 0, 1.5))
    rolled[:3, :3] = rolled[:3, :3] @ rotation_z(0.1)
    with pytest.raises(InvalidInput, match="upright cameras without distortion"):
        render(EMPTY, LEVEL, rolled)
    with pytest.raises(InvalidInput, match="upright cameras without distortion"):
        render(EMPTY, Pinhole(100.0, 100.0, 79.5, 59.5, 160, 120, (0.1, 0, 0, 0)), looking((0, 0, 1.5)))
