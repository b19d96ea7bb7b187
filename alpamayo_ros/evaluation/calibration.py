"""How the cameras of a bag look at the world: lenses from CameraInfo, places from /tf_static."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from alpamayo_ros.bags import deserialize, read_bag
from alpamayo_ros.cameras import Camera, base_from_optical, camera_from_info, nominal_camera, resized
from alpamayo_ros.geometry import inverse
from alpamayo_ros.pipeline import decode
from alpamayo_ros.pipeline.buffers import Transforms
from alpamayo_ros.profile import Rig
from alpamayo_ros.types import F64


class View(NamedTuple):
    """A camera as it looks at the world."""

    camera: Camera  # of the size of the recorded images
    optical_from_ego: F64  # (4, 4)
    calibrated: bool  # False: lens or place are nominal, from the rig


def calibration(bag: Path, rig: Rig, recorded: Collection[str]) -> tuple[dict[str, View], Transforms]:
    """Every camera's lens from its CameraInfo and place from /tf_static, nominal where the bag does not say, by role."""
    transforms = Transforms()
    for record in read_bag(bag, ["/tf_static"]) if "/tf_static" in recorded else ():
        for parent, child, parent_from_child in decode.static_transforms(deserialize(record.cdr, record.type_name)):
            transforms.offer(parent, child, parent_from_child)
    lenses = _lenses(bag, [camera.info_topic for camera in rig.cameras.values() if camera.info_topic in recorded])
    views = {}
    for role, camera in rig.cameras.items():
        place, lens = transforms.lookup(rig.base_frame, camera.frame_id), lenses.get(camera.info_topic)
        shown = resized(lens or nominal_camera(camera), camera.width, camera.height)
        base_from_camera = base_from_optical(camera.mount) if place is None else place
        views[role] = View(shown, inverse(base_from_camera), calibrated=lens is not None and place is not None)
    return views, transforms


def _lenses(bag: Path, topics: list[str]) -> dict[str, Camera]:
    """The first camera that each topic told of."""
    lenses: dict[str, Camera] = {}
    for record in read_bag(bag, topics) if topics else ():
        if record.topic not in lenses:
            lenses[record.topic] = camera_from_info(deserialize(record.cdr, record.type_name))
        if len(lenses) == len(topics):
            break
    return lenses
