"""What the reader of a data set gives and the writer of bags takes: calibrated cameras and the motion of the vehicle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from alpamayo_ros.cameras import Camera
from alpamayo_ros.evaluation.conversion.motion import I64, check_times, check_twists
from alpamayo_ros.types import F64, EgoPose, InvalidInput, checked, role_index

MAX_FROM_BASE_M = 10.0
"""A camera that is farther from the base frame's origin is on no vehicle: its place is not in metres."""

ROTATION_TOLERANCE = 1e-3
"""How far R R^T of a rotation matrix may be from the identity; seven digits, as data sets write them, are within 1e-6."""


def check_rotation(name: str, rotation: F64) -> None:
    """Raise InvalidInput unless a matrix (3, 3) turns and does nothing else."""
    off, volume = float(np.abs(rotation @ rotation.T - np.eye(3)).max()), float(np.linalg.det(rotation))
    if not off <= ROTATION_TOLERANCE or volume < 0:
        raise InvalidInput(
            f"{name}: not a rotation: R R^T is {off:.3g} off the identity (limit {ROTATION_TOLERANCE}), "
            f"its determinant is {volume:.3g}, want 1"
        )


@dataclass(frozen=True)
class ImageFiles:
    """Images of a camera that lie in a folder, in the order of their stamps."""

    paths: tuple[Path, ...]

    def read(self, wanted: I64) -> Iterator[bytes]:
        """Files of the images with these indices, as they are."""
        return (self.paths[index].read_bytes() for index in wanted.tolist())

    def name(self, index: int) -> str:
        """Path of the image with this index."""
        return str(self.paths[index])


@dataclass(frozen=True)
class ClipCamera:
    """One camera of a clip; its images are read when they are asked for. Raises InvalidInput."""

    role: str
    lens: Camera  # of the images as they are read
    base_from_optical: F64  # (4, 4)
    encoding: Literal["jpeg", "png"]
    stamps_ns: I64  # (N,) exposure times, increasing, > 0
    read: Callable[[I64], Iterator[bytes]]  # files of the images with these indices, which increase
    name: Callable[[int], str]  # of the image with this index, to find it by

    def __post_init__(self) -> None:
        role_index(self.role)
        checked(f"{self.role}: pose on the vehicle", self.base_from_optical, np.float64, 4, 4)
        check_rotation(f"{self.role}: pose on the vehicle", self.base_from_optical[:3, :3])
        place = self.base_from_optical[:3, 3]
        if (far := float(np.linalg.norm(place))) > MAX_FROM_BASE_M:
            where = ", ".join(f"{metres:.4g}" for metres in place)
            raise InvalidInput(
                f"{self.role}: its calibration places it {far:.4g} m from the vehicle's origin, at ({where}): "
                f"want metres, and at most {MAX_FROM_BASE_M:g}"
            )
        checked(f"{self.role}: stamps", self.stamps_ns, np.int64, "N")
        check_times(f"{self.role}: images", self.stamps_ns, at_least=2)


@dataclass(frozen=True)
class Clip:
    """A drive of a data set. Raises InvalidInput, also for poses that move differently from what their twists say."""

    scene: str
    rig: str  # name of the rig file that has its topics, frames and roles
    cameras: tuple[ClipCamera, ...]
    poses: tuple[EgoPose, ...]  # of the rig's base frame, in stamp order
    notes: tuple[str, ...]  # what a user has to know about the data, or what was left out

    def __post_init__(self) -> None:
        if not self.cameras:
            raise InvalidInput(f"{self.scene}: no images of any camera; {'; '.join(self.notes)}")
        check_times(f"{self.scene}: ego poses", np.array([pose.stamp_ns for pose in self.poses], np.int64), at_least=2)
        check_twists(self.scene, self.poses)
