"""A vehicle that is small enough to plan for whole bags in seconds."""

from __future__ import annotations

from pathlib import Path

import yaml

from alpamayo_ros.profile import Rig, read_profile, read_rig


def small_rig_of(width: int, height: int) -> Rig:
    """The shipped rig with small cameras."""
    shipped = read_rig("seven_camera")
    small = {role: camera.model_copy(update={"width": width, "height": height}) for role, camera in shipped.cameras.items()}
    return shipped.model_copy(update={"cameras": small})


def write_small_profile(folder: Path) -> Path:
    """All seven cameras, a window of 200 ms."""
    described = read_profile("seven_camera").model_dump(mode="json")
    described |= {"image_height": 48, "image_width": 80, "frame_offsets_ms": [-200, -100, 0], "history_steps": 4}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(described))
    return path
