"""The rigs that are shipped: what runs on them, and that no camera stands where it cannot."""

from __future__ import annotations

import re

import pytest

from alpamayo_ros.pipeline.buffers import check_rates
from alpamayo_ros.profile import Rig, read_profile, read_rig, shared_files
from alpamayo_ros.types import ROLES, InvalidInput

RIGS = sorted(path.stem for path in (shared_files() / "config" / "rigs").glob("*.yaml"))
PROFILES = sorted(path.stem for path in (shared_files() / "config" / "profiles").glob("*.yaml"))
SEVEN, SIX = ("hyperion8", "seven_camera"), ("autoware_sample_sensor_kit", "nuscenes")
HYPERION = {
    "front_left": "camera_cross_left_120fov",
    "front_wide": "camera_front_wide_120fov",
    "front_right": "camera_cross_right_120fov",
    "rear_left": "camera_rear_left_70fov",
    "rear_tele": "camera_rear_tele_30fov",
    "rear_right": "camera_rear_right_70fov",
    "front_tele": "camera_front_tele_30fov",
}
LOOKS_DEG = {  # (nominal yaw, how far from it a camera may look and still be that role)
    "front_left": (60, 10),
    "front_wide": (0, 5),
    "front_right": (-60, 10),
    "rear_left": (130, 25),
    "rear_tele": (180, 5),
    "rear_right": (-130, 25),
    "front_tele": (0, 5),
}


def fits(rig: Rig, profile_name: str) -> bool:
    profile = read_profile(profile_name)
    try:
        rig.check_covers(profile)
    except InvalidInput:
        return False
    check_rates(profile, rig)  # a rig with the cameras must be fast enough too
    return True


@pytest.mark.parametrize("name", RIGS)
def test_something_runs_on_every_rig(name: str) -> None:
    assert any(fits(read_rig(name), profile) for profile in (*PROFILES, "alpamayo_1_5_10b"))


@pytest.mark.parametrize("name", RIGS)
def test_a_rig_reads_by_its_name_and_nothing_in_it_comes_twice(name: str) -> None:
    rig = read_rig(name)
    assert rig.name == name
    cameras = rig.cameras.values()
    names = [text for camera in cameras for text in (camera.topic, camera.info_topic)] + [rig.odometry.topic]
    assert len(set(names)) == len(names)
    assert len({camera.frame_id for camera in cameras}) == len(rig.cameras)


@pytest.mark.parametrize("name", SEVEN)
def test_seven_cameras_run_every_profile(name: str) -> None:
    rig = read_rig(name)
    assert tuple(rig.cameras) == ROLES
    profiles = (*PROFILES, "ar1_nano", "alpamayo_r1_10b", "alpamayo_1_5_10b")
    assert [profile for profile in profiles if not fits(rig, profile)] == []


@pytest.mark.parametrize("name", SIX)
def test_six_cameras_run_what_needs_no_tele_and_are_refused_by_name_elsewhere(name: str) -> None:
    rig = read_rig(name)
    assert set(ROLES) - set(rig.cameras) == {"front_tele"}
    assert fits(rig, "six_camera")
    assert fits(rig, "alpamayo_1_5_10b")
    for profile in ("seven_camera", "ar1_nano", "alpamayo_r1_10b"):
        with pytest.raises(InvalidInput, match=f"rig {name} has no front_tele"):
            rig.check_covers(read_profile(profile))


def test_one_camera_runs_the_profile_of_the_front_camera() -> None:
    rig = read_rig("kitti")
    assert tuple(rig.cameras) == ("front_wide",)
    assert fits(rig, "front_camera")
    for profile in ("seven_camera", "six_camera", "ar1_nano", "alpamayo_r1_10b"):
        with pytest.raises(InvalidInput, match="rig kitti has no front_left"):
            rig.check_covers(read_profile(profile))


@pytest.mark.parametrize(("name", "roles"), [("six_camera", set(ROLES) - {"front_tele"}), ("front_camera", {"front_wide"})])
def test_fewer_cameras_are_seven_less_some(name: str, roles: set[str]) -> None:
    """One difference, so that a figure of one profile tells something about the other."""
    seven, fewer = read_profile("seven_camera"), read_profile(name)
    assert set(fewer.required_roles) == set(fewer.cameras) == roles
    same = {"cameras", "name", "scene_tokens"}
    assert seven.model_dump(exclude=same) == fewer.model_dump(exclude=same)
    assert seven.scene_tokens * len(roles) == fewer.scene_tokens * 7


@pytest.mark.parametrize("name", SEVEN + SIX)
def test_every_camera_looks_where_its_role_looks(name: str) -> None:
    for role, camera in read_rig(name).cameras.items():
        nominal, limit = LOOKS_DEG[role]
        off = abs((camera.mount.yaw_deg - nominal + 180) % 360 - 180)
        assert off <= limit, f"{role}: looks {camera.mount.yaw_deg} deg, {off:.0f} off"
        left = camera.mount.xyz_m[1]
        assert left > 0.2 if "left" in role else left < -0.2 if "right" in role else abs(left) < 0.2, f"{role} at y {left} m"
        assert 1.0 < camera.mount.xyz_m[2] < 2.5
        assert 28 <= camera.mount.hfov_deg <= 120


@pytest.mark.parametrize("name", SEVEN)
def test_the_views_of_seven_cameras_are_those_of_the_released_models(name: str) -> None:
    views = {role: camera.mount.hfov_deg for role, camera in read_rig(name).cameras.items()}
    assert views == {role: int(re.findall(r"(\d+)fov", told)[0]) for role, told in HYPERION.items()}


def test_hyperion_cameras_have_the_names_of_physicalai_av() -> None:
    rig = read_rig("hyperion8")
    for role, name in HYPERION.items():
        camera = rig.cameras[role]
        assert camera.topic == f"/sensing/camera/{name}/image/compressed"
        assert camera.info_topic == f"/sensing/camera/{name}/camera_info"
        assert (camera.frame_id, camera.width, camera.height, camera.rate_hz) == (f"{name}_optical", 1920, 1080, 30)


def test_nuscenes_and_autoware_have_their_own_names() -> None:
    nuscenes, autoware = read_rig("nuscenes"), read_rig("autoware_sample_sensor_kit")
    assert {camera.topic for camera in nuscenes.cameras.values()} == {
        f"/CAM_{place}/image_rect_compressed"
        for place in ("FRONT", "FRONT_LEFT", "FRONT_RIGHT", "BACK", "BACK_LEFT", "BACK_RIGHT")
    }
    assert {camera.topic for camera in autoware.cameras.values()} == {
        f"/sensing/camera/camera{n}/image_rect_color" for n in range(6)
    }
    # Frames of Autoware's odometry, and so what its messages can be published from.
    assert {rig.odometry.frame for rig in (nuscenes, autoware, read_rig("hyperion8"))} == {"map"}
    assert autoware.odometry.topic == "/localization/kinematic_state"
