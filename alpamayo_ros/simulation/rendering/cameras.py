"""The cameras of a rig in the driving world."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from alpamayo_ros.cameras import Pinhole, base_from_optical, nominal_camera, resized
from alpamayo_ros.geometry import rotation_z, transform
from alpamayo_ros.profile import Rig, RigCamera
from alpamayo_ros.simulation.rendering.stage import Stage
from alpamayo_ros.simulation.state import Ego, Snapshot
from alpamayo_ros.types import F64, U8, InvalidInput, role_index


class SceneCameras:
    """Lenses and mounts of a rig, as renderable cameras; pictures of the rig's own sizes, or all of one (height, width).

    Those are the whole views squeezed to it, as the node squeezes what it receives: a model sees the same here and on the road.
    Raises InvalidInput for a field of view that no pinhole has.
    """

    def __init__(self, rig: Rig, shape: tuple[int, int] | None = None) -> None:
        self.rig = rig
        self.lenses = {role: _lens(camera, shape) for role, camera in rig.cameras.items()}
        self.noise_left = {role: _noise_left(camera, shape) for role, camera in rig.cameras.items()}
        self.base_from_optical: dict[str, F64] = {role: base_from_optical(camera.mount) for role, camera in rig.cameras.items()}

    def odom_from_optical(self, role: str, ego: Ego) -> F64:
        """Pose (4, 4) of a camera on the ego vehicle."""
        return transform(rotation_z(ego.yaw_rad), np.append(ego.xy_m, 0.0)) @ self.base_from_optical[role]


def _lens(camera: RigCamera, shape: tuple[int, int] | None) -> Pinhole:
    lens = nominal_camera(camera)
    if shape is None:
        return lens
    squeezed = resized(lens, shape[1], shape[0])
    assert isinstance(squeezed, Pinhole)
    return squeezed


def _noise_left(camera: RigCamera, shape: tuple[int, int] | None) -> float:
    """Share of the sensor's noise that is left: where n of its pixels become one, their mean has a root of n less."""
    return 1.0 if shape is None else min((shape[0] * shape[1] / (camera.height * camera.width)) ** 0.5, 1.0)


def rig_at(rig: Rig, height: int, width: int) -> Rig:
    """The rig with pictures of another size: the same mounts and horizontal fields of view, square pixels."""
    cameras = {role: camera.model_copy(update={"height": height, "width": width}) for role, camera in rig.cameras.items()}
    return rig.model_copy(update={"cameras": cameras})


def pictures(stage: Stage, snapshot: Snapshot, cameras: SceneCameras, roles: Collection[str]) -> dict[str, U8]:
    """What the cameras of these roles see at one instant, RGB (height, width, 3) each.

    The noise depends on the scenario's seed, the role and the time in ms. Raises InvalidInput for a role that the rig lacks.
    """
    scene = stage.scene(snapshot)
    missing = [role for role in roles if role not in cameras.lenses]
    if missing:
        raise InvalidInput(f"rig {cameras.rig.name} has no {', '.join(missing)}, only {', '.join(cameras.lenses)}")
    poses = {role: cameras.odom_from_optical(role, snapshot.ego) for role in roles}
    keys = {role: (stage.scenario.seed, role_index(role), round(snapshot.t_s * 1000)) for role in roles}
    return {role: scene.picture(cameras.lenses[role], poses[role], keys[role], cameras.noise_left[role]) for role in roles}
