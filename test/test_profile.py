"""Input profiles and rigs: every shipped file reads, everything unknown or wrong is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from alpamayo_ros.profile import InputProfile, Rig, read_profile, read_rig, shared_files
from alpamayo_ros.types import ROLES, InvalidInput

ROOT = Path(__file__).parents[1]
PROFILES = {p.stem: p for p in (ROOT / "config" / "profiles").glob("*.yaml")}
PROFILES |= {p.parent.name: p for p in (ROOT / "models").glob("*/profile.yaml")}
RIGS = {p.stem: p for p in (ROOT / "config" / "rigs").glob("*.yaml")}


def shipped(folder: str, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load({"profiles": PROFILES, "rigs": RIGS}[folder][name].read_text())
    return loaded


def written(tmp_path: Path, content: Any) -> str:
    file = tmp_path / "given.yaml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(file)


# ----------------------------------------------------------------------------------------------------------------- shipped


@pytest.mark.parametrize("name", PROFILES)
def test_every_shipped_profile_reads_by_name_and_by_path(name: str) -> None:
    profile = read_profile(name)
    assert profile.name == name
    assert read_profile(str(PROFILES[name])) == profile


def test_the_default_profile_is_seven_cameras_over_two_seconds() -> None:
    profile = read_profile("seven_camera")
    assert profile.required_roles == ROLES
    assert profile.offsets_ns == (-2_000_000_000, -1_500_000_000, -1_000_000_000, -500_000_000, 0)
    assert (profile.history_steps, profile.horizon_steps) == (21, 64)
    assert profile.image_shape == (profile.image_height, profile.image_width, 3)


def test_the_released_model_sees_four_cameras_at_10_hz() -> None:
    profile = read_profile("alpamayo_r1_10b")
    assert profile.required_roles == ("front_left", "front_wide", "front_right", "front_tele")
    assert profile.offsets_ns == (-300_000_000, -200_000_000, -100_000_000, 0)
    assert profile.history_steps == 16


def test_shared_files_are_those_of_the_checkout() -> None:
    assert (shared_files() / "config" / "profiles" / "seven_camera.yaml").is_file()


# ----------------------------------------------------------------------------------------------------------------- profiles


def test_cameras_come_in_the_order_of_their_index(tmp_path: Path) -> None:
    content = shipped("profiles", "alpamayo_r1_10b")
    content["cameras"] = dict(reversed(content["cameras"].items()))
    profile = read_profile(written(tmp_path, content))
    assert list(profile.cameras) == ["front_left", "front_wide", "front_right", "front_tele"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_hight": 320}, "image_hight: Extra inputs are not permitted"),
        ({"cameras": {"front": "required"}}, "yaml: cameras: unknown camera role 'front', want one of front_left"),
        ({"cameras": {"front_wide": "maybe"}}, "cameras.front_wide: Input should be 'required' or 'optional'"),
        ({"cameras": {"front_wide": "optional"}}, "cameras: .*at least one role must be required"),
        ({"frame_offsets_ms": [-100, -200, 0]}, r"want increasing offsets that end at 0, got \[-100, -200, 0\]"),
        ({"frame_offsets_ms": [-200, -100]}, r"want increasing offsets that end at 0, got \[-200, -100\]"),
        ({"frame_offsets_ms": []}, r"want increasing offsets that end at 0, got \[\]"),
        ({"frame_offsets_ms": [-100, -100, 0]}, r"want increasing offsets that end at 0, got \[-100, -100, 0\]"),
        ({"image_height": 8}, "image_height: Input should be greater than or equal to 16, got 8$"),
        ({"horizon_steps": 32}, "horizon_steps: Input should be 64"),
        ({"history_steps": 1}, "history_steps: Input should be greater than or equal to 2"),
        ({"views": "panorama"}, "views: Input should be 'single_image', 'flex' or 'triplane'"),
        ({"ego_signals": ["brake"]}, "ego_signals.0: Input should be 'speed', 'acceleration', 'steering_angle' or 'turn_ind"),
        ({"ego_signals": ["speed", "speed"]}, r"ego_signals: .*want each at most once, got \['speed', 'speed'\]"),
        ({"navigation": "voice"}, "navigation: Input should be 'none' or 'text'"),
        ({"name": "a b"}, "name: String should match pattern"),
    ],
)
def test_a_wrong_or_unknown_entry_is_refused_by_its_key(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    file = written(tmp_path, {**shipped("profiles", "seven_camera"), **changes})
    with pytest.raises(InvalidInput, match=said) as refusal:
        read_profile(file)
    assert str(refusal.value).startswith(file)


@pytest.mark.parametrize("key", InputProfile.model_fields)
def test_nothing_in_a_profile_has_a_default(tmp_path: Path, key: str) -> None:
    content = shipped("profiles", "seven_camera")
    del content[key]
    with pytest.raises(InvalidInput, match=f"{key}: Field required"):
        read_profile(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cameras: [", "not YAML: while parsing .* line 1, column 11"),
        (b"- 1", r"file: Input should be a valid dictionary .*, got \[1\]"),
        (b"", "file: Input should be a valid dictionary .*, got None"),
        (b"\xff\xfe", "not YAML: .* can't decode byte 0xff in position 0"),
        (b"a: &a [1, 1]\nb: [*a, *a]", r"alias \*a in line 2: write the values out"),
        (b"#" * 1_000_001, "1000001 bytes, limit 1000000"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "given.yaml").write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as refusal:
        read_profile(str(tmp_path / "given.yaml"))
    assert "\n" not in str(refusal.value)


def test_a_name_or_path_that_does_not_exist_is_refused_with_the_names_that_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no profile 'eight_camera': want a \.yaml file or one of .*seven_camera"):
        read_profile("eight_camera")
    with pytest.raises(InvalidInput, match=r"no rig 'truck': want a \.yaml file or one of .*seven_camera"):
        read_rig("truck")
    with pytest.raises(InvalidInput, match=r"absent\.yaml: no such file"):
        read_profile(str(tmp_path / "absent.yaml"))


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read_profile("seven_camera").history_steps = 3  # type: ignore[misc]


# --------------------------------------------------------------------------------------------------------------------- rigs


def rig_with(tmp_path: Path, role: str, **changes: Any) -> str:
    content = shipped("rigs", "seven_camera")
    content["cameras"][role].update(changes)
    return written(tmp_path, content)


def test_periods_and_tolerances_follow_from_the_declared_rate(tmp_path: Path) -> None:
    rig = read_rig(rig_with(tmp_path, "rear_tele", rate_hz=30))
    assert rig.cameras["front_wide"].period_ns == 100_000_000
    assert rig.cameras["front_wide"].tolerance_ns == 55_000_000
    assert rig.cameras["rear_tele"].period_ns == 33_333_333
    assert rig.cameras["rear_tele"].tolerance_ns == 21_666_666


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topic": "front/image"}, "cameras.rear_tele.topic: String should match pattern"),
        ({"rate_hz": 0}, "cameras.rear_tele.rate_hz: Input should be greater than 0"),
        ({"transport": "h264"}, "cameras.rear_tele.transport: Input should be 'compressed' or 'raw'"),
        ({"hfov_deg": 30}, "cameras.rear_tele.hfov_deg: Extra inputs are not permitted"),
        ({"mount": {"xyz_m": [0, 0], "yaw_deg": 0, "pitch_deg": 0, "hfov_deg": 30}}, "cameras.rear_tele.mount.xyz_m"),
        ({"mount": {"xyz_m": [0, 0, 1], "yaw_deg": 0, "pitch_deg": 0, "hfov_deg": 0}}, "hfov_deg: Input should be greater"),
        ({"topic": "/sensing/camera/front_wide/image/compressed"}, r"two roles share a topic: \['/sensing/camera/front_wide"),
    ],
)
def test_a_wrong_camera_is_refused_by_its_role_and_key(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_rig(rig_with(tmp_path, "rear_tele", **changes))


def test_a_rig_with_a_role_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    content = shipped("rigs", "seven_camera")
    content["cameras"]["roof"] = content["cameras"].pop("rear_tele")
    with pytest.raises(InvalidInput, match="unknown camera role 'roof'"):
        read_rig(written(tmp_path, content))


def without(role: str, anchor: str = "front_wide") -> Rig:
    content = shipped("rigs", "seven_camera")
    del content["cameras"][role]
    return Rig.model_validate({**content, "anchor": anchor})


def test_a_rig_that_lacks_what_a_profile_requires_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match=r"rig seven_camera has no rear_left, which profile seven_camera requires"):
        without("rear_left").check_covers(read_profile("seven_camera"))
    without("rear_left").check_covers(read_profile("alpamayo_r1_10b"))


def test_the_anchor_is_a_camera_of_the_rig_that_the_profile_requires(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="anchor 'front_wide' is not among the cameras front_left"):
        read_rig(written(tmp_path, without("front_tele").model_dump() | {"cameras": _without_wide()}))
    with pytest.raises(InvalidInput, match="anchor rear_tele is not required by profile alpamayo_r1_10b"):
        without("rear_left", anchor="rear_tele").check_covers(read_profile("alpamayo_r1_10b"))


def _without_wide() -> dict[str, Any]:
    cameras: dict[str, Any] = shipped("rigs", "seven_camera")["cameras"]
    del cameras["front_wide"]
    return cameras
