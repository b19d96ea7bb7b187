"""A rig and a profile that are small enough to evaluate whole bags in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alpamayo_ros.profile import Rig, read_profile, read_rig


@pytest.fixture(scope="session")
def small_rig(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, Path]:
    """The shipped rig with small cameras, and its file."""
    shipped = read_rig("seven_camera")
    small = {role: camera.model_copy(update={"width": 160, "height": 96}) for role, camera in shipped.cameras.items()}
    rig = shipped.model_copy(update={"cameras": small})
    path = tmp_path_factory.mktemp("rig") / "small.yaml"
    path.write_text(yaml.safe_dump(rig.model_dump(mode="json")))
    return rig, path


@pytest.fixture(scope="session")
def small_profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All seven cameras, a window of 200 ms."""
    described = read_profile("seven_camera").model_dump(mode="json")
    described |= {"image_height": 48, "image_width": 80, "frame_offsets_ms": [-200, -100, 0], "history_steps": 4}
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(yaml.safe_dump(described))
    return path
