from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulation.made import busy, scenario, snapshot

from alpamayo_ros.cameras import hfov_deg
from alpamayo_ros.profile import read_rig, shared_files
from alpamayo_ros.simulation.rendering import Stage
from alpamayo_ros.simulation.rendering.cameras import SceneCameras, pictures, rig_at
from alpamayo_ros.simulation.scenario import Look
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import InvalidInput

RIG = read_rig("seven_camera")
RIGS = sorted(path.stem for path in (shared_files() / "config" / "rigs").glob("*.yaml"))


@pytest.mark.parametrize("name", RIGS)
def test_every_rig_gives_pictures_of_its_own_size_or_any_other(name: str) -> None:
    of = replace(busy(), look=Look(noise_sigma=0.0))
    rig = read_rig(name)
    stage, now = Stage(of), snapshot(of)
    small = rig_at(rig, 48, 80)
    seen = pictures(stage, now, SceneCameras(small), list(small.cameras))
    assert list(seen) == list(rig.cameras)
    for image in seen.values():
        assert image.shape == (48, 80, 3)
        assert image.dtype == np.uint8
        assert image.std() > 10  # not one colour
    role = rig.anchor
    own = pictures(stage, now, SceneCameras(rig), [role])[role]
    assert own.shape == (rig.cameras[role].height, rig.cameras[role].width, 3)


def test_a_squeezed_picture_shows_the_whole_view() -> None:
    """As `cv2.resize` of the full picture does in the node: a point keeps its place as a share of width and height."""
    full, small = SceneCameras(RIG), SceneCameras(RIG, (64, 96))
    point = np.array([[2.0, 0.7, 9.0]])
    for role, lens in full.lenses.items():
        (uv,), _ = lens.project(point)
        (squeezed,), _ = small.lenses[role].project(point)
        assert (squeezed + 0.5) / (96, 64) == pytest.approx((uv + 0.5) / (lens.width, lens.height))


def test_squeezing_a_picture_averages_its_noise() -> None:
    squeezed = SceneCameras(RIG, (54, 96))
    assert squeezed.noise_left["front_wide"] == pytest.approx(1 / 20)  # 400 pixels of 1920 x 1080 become one
    assert SceneCameras(RIG).noise_left["front_wide"] == 1.0
    of = scenario()
    stage, now = Stage(of), snapshot(of)
    quiet = pictures(stage, now, squeezed, ["front_wide"])["front_wide"].astype(int)
    squeezed.noise_left["front_wide"] = 1.0
    loud = pictures(stage, now, squeezed, ["front_wide"])["front_wide"].astype(int)
    squeezed.noise_left["front_wide"] = 0.0
    clean = pictures(stage, now, squeezed, ["front_wide"])["front_wide"].astype(int)
    assert np.std(quiet - clean) < np.std(loud - clean) / 5


def test_a_rig_at_another_size_keeps_its_mounts_and_views() -> None:
    small = SceneCameras(rig_at(RIG, 64, 96))
    for role, camera in RIG.cameras.items():
        lens = small.lenses[role]
        assert (lens.width, lens.height, lens.fx) == (96, 64, lens.fy)
        assert hfov_deg(lens) == pytest.approx(camera.mount.hfov_deg)
        assert small.rig.cameras[role].mount == camera.mount
        assert small.rig.cameras[role].topic == camera.topic


def test_what_no_pinhole_sees_is_refused_with_numbers() -> None:
    camera = RIG.cameras["front_wide"]
    wide = camera.model_copy(update={"mount": camera.mount.model_copy(update={"hfov_deg": 190.0})})
    with pytest.raises(InvalidInput, match=r"190\.0 degrees"):
        SceneCameras(RIG.model_copy(update={"cameras": {"front_wide": wide}}))
    with pytest.raises(InvalidInput, match="rig kitti has no rear_tele, only front_wide"):
        pictures(Stage(scenario()), snapshot(scenario()), SceneCameras(read_rig("kitti")), ["front_wide", "rear_tele"])


def test_a_camera_is_on_the_vehicle_where_its_mount_says() -> None:
    cameras, ego = SceneCameras(RIG), Ego(np.array([10.0, 20.0]), np.pi / 2, 3.0)
    pose = cameras.odom_from_optical("front_left", ego)
    np.testing.assert_allclose(pose[:3, 3], (10.0 - 0.8, 20.0 + 1.6, 1.5))
    np.testing.assert_allclose(pose[:3, 2], (np.cos(np.radians(150)), np.sin(np.radians(150)), 0.0), atol=1e-12)


def test_noise_differs_between_cameras_and_instants_and_seeds() -> None:
    of = busy()
    cameras, roles = SceneCameras(rig_at(RIG, 64, 96)), ["front_wide", "front_tele"]

    def noise(of_seed: int, t_s: float, role: str) -> np.ndarray:
        noisy, still = (replace(of, seed=of_seed, look=Look(noise_sigma=sigma)) for sigma in (5.0, 0.0))
        now = snapshot(noisy, t_s)
        both = [pictures(Stage(one), now, cameras, roles)[role].astype(int) for one in (noisy, still)]
        return np.asarray(both[0] - both[1])

    base = noise(0, 1.0, "front_wide")
    assert base.std() == pytest.approx(5.0, rel=0.05)
    np.testing.assert_array_equal(base, noise(0, 1.0, "front_wide"))
    for other in (noise(1, 1.0, "front_wide"), noise(0, 1.1, "front_wide"), noise(0, 1.0, "front_tele")):
        assert (other != base).mean() > 0.8


def test_neighbouring_cameras_see_one_world() -> None:
    """The oncoming lane is grey and the grass beside it green in both, to within a metre: poses and lenses fit each other."""
    of = replace(busy(), look=Look("day", "overcast", noise_sigma=0.0))
    cameras, now = SceneCameras(rig_at(RIG, 360, 640)), replace(snapshot(of), bodies=())
    seen = pictures(Stage(of), now, cameras, ["front_wide", "front_left"])
    rng = np.random.default_rng(2)
    left = np.concatenate([rng.uniform(6.3, 7.8, 300), rng.uniform(9.35, 20.0, 300)])
    places = np.column_stack([rng.uniform(45, 60, 600), left, np.zeros(600)])
    for role, image in seen.items():
        pose = cameras.odom_from_optical(role, now.ego)
        uv, visible = cameras.lenses[role].project((places - pose[:3, 3]) @ pose[:3, :3])
        u, v = np.rint(uv[visible]).astype(int).T
        green = image[v, u, 1].astype(int) - image[v, u, 2] > 15
        assert visible.sum() > 300
        np.testing.assert_array_equal(green, left[visible] > 8.75)
