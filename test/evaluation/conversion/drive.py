"""A drive for made data sets: a vehicle that turns and leans, and before each camera a bright disc that stands in the world.

Rotations are scipy's and lenses are written out here: nothing agrees with the package because it is the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from alpamayo_ros.bags import deserialize, read_bag
from alpamayo_ros.cameras import camera_from_info
from alpamayo_ros.evaluation.conversion.writing import Converted
from alpamayo_ros.geometry import apply, inverse, transform
from alpamayo_ros.pipeline.decode import ego_pose, stamp_ns, static_transforms
from alpamayo_ros.pipeline.poses import pose_at
from alpamayo_ros.profile import Mount, read_rig

SPEED_MPS, YAW_RATE_RPS, YAW0_RAD, LEAN = 8.0, 0.1, 0.7, (0.02, -0.03)  # LEAN: roll and pitch, rad
DISC_PX, DARK, BRIGHT = 4.0, 40, 235
OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # forward, left, up from right, down, forward


def ego(t_s: float) -> np.ndarray:
    """Pose (4, 4) at a time, in a world whose origin the vehicle passes at 0: an arc at constant speed."""
    yaw = YAW0_RAD + YAW_RATE_RPS * t_s
    radius = SPEED_MPS / YAW_RATE_RPS
    place = radius * np.array([np.sin(yaw) - np.sin(YAW0_RAD), np.cos(YAW0_RAD) - np.cos(yaw), 0.0])
    return transform(Rotation.from_euler("xyz", (*LEAN, yaw)).as_matrix(), place)


def velocity(t_s: float) -> np.ndarray:
    """World frame, m/s."""
    yaw = YAW0_RAD + YAW_RATE_RPS * t_s
    return SPEED_MPS * np.array([np.cos(yaw), np.sin(yaw), 0.0])


def turn_rate() -> np.ndarray:
    """Ego frame, rad/s: the same at all times."""
    return ego(0.0)[:3, :3].T @ np.array([0.0, 0.0, YAW_RATE_RPS])


def mounted(mount: Mount, off_deg: float = 1.5) -> np.ndarray:
    """Pose (4, 4) of a camera that was built in a little askew."""
    turn = Rotation.from_euler("xyz", (off_deg, mount.pitch_deg + off_deg, mount.yaw_deg - off_deg), degrees=True)
    return transform(turn.as_matrix() @ OPTICAL, np.add(mount.xyz_m, (0.05, -0.03, 0.02)))


@dataclass(frozen=True)
class Eye:
    """A camera of a made data set."""

    base_from_optical: np.ndarray
    width: int
    height: int
    project: Callable[[np.ndarray], np.ndarray]  # point (3,) in front of it -> pixel (2,)

    def disc(self, middle_s: float) -> np.ndarray:
        """A place (3,) in the world 14 m before the camera at a time, off its axis."""
        return apply(ego(middle_s) @ self.base_from_optical, np.array([[0.9, -0.5, 14.0]]))[0]

    def image(self, disc: np.ndarray, t_s: float) -> np.ndarray:
        pixels = np.full((self.height, self.width, 3), DARK, np.uint8)
        pixels[self.height // 2 :] //= 2  # a lens that shows one grey is taken for covered
        seen = apply(inverse(ego(t_s) @ self.base_from_optical), disc[None])[0]
        if seen[2] > 1.0:
            centre = tuple(round(float(c) * 256) for c in np.clip(self.project(seen), -1000, 5000))
            cv2.circle(pixels, centre, round(DISC_PX * 256), (BRIGHT,) * 3, -1, cv2.LINE_AA, shift=8)
        return pixels


def pinhole(f: float, cx: float, cy: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda p: np.array([f * p[0] / p[2] + cx, f * p[1] / p[2] + cy])


def ftheta(cx: float, cy: float, polynomial: tuple[float, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """As the data set's package projects (FThetaCameraModel.ray2pixel)."""

    def project(p: np.ndarray) -> np.ndarray:
        angle = np.arccos(p[2] / np.linalg.norm(p))
        radius = sum(c * angle**i for i, c in enumerate(polynomial))
        return np.array([cx, cy]) + radius * p[:2] / np.hypot(p[0], p[1])

    return project


def centroid(image: np.ndarray) -> np.ndarray | None:
    """Pixel (2,) of the disc in a grey image; None where it is not whole."""
    light = np.clip(image.astype(float) - DARK - 30, 0, None)
    ys, xs = np.nonzero(light > 60)
    if not len(xs) or xs.min() < 2 or ys.min() < 2 or xs.max() > image.shape[1] - 3 or ys.max() > image.shape[0] - 3:
        return None
    return (
        np.array([light.sum(axis=0) @ np.arange(image.shape[1]), light.sum(axis=1) @ np.arange(image.shape[0])]) / light.sum()
    )


class Bag:
    """All messages of a converted clip, by topic."""

    def __init__(self, result: Converted) -> None:
        self.result, self.path, self.rig = result, Path(result.rig).parent, read_rig(result.rig)
        self.log_ns: list[int] = []
        self.messages: dict[str, list[Any]] = {}
        for record in read_bag(self.path):
            self.log_ns.append(record.log_ns)
            self.messages.setdefault(record.topic, []).append(deserialize(record.cdr, record.type_name))
        self.poses = [ego_pose(msg, self.rig) for msg in self.messages[self.rig.odometry.topic]]

    def images(self, role: str) -> list[Any]:
        return self.messages[self.rig.cameras[role].topic]

    def infos(self, role: str) -> list[Any]:
        return self.messages[self.rig.cameras[role].info_topic]

    def stamps_ns(self, role: str) -> list[int]:
        return [stamp_ns(image.header.stamp) for image in self.images(role)]


def misplacements_px(
    bag: Bag, role: str, disc: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray] = lambda pose: pose
) -> np.ndarray:
    """How far the disc is, in each image that shows all of it, from where odometry, transforms and camera_info of the bag put
    it. `wrong` spoils the camera's pose on the way: a comparison that cannot fail proves nothing."""
    (tree,) = bag.messages["/tf_static"]
    frame = bag.rig.cameras[role].frame_id
    (base_from_optical,) = (t.parent_from_child for t in static_transforms(tree) if t.child == frame)
    errors = []
    for info, image, stamp in zip(bag.infos(role), bag.images(role), bag.stamps_ns(role), strict=True):
        found = centroid(cv2.imdecode(image.data, cv2.IMREAD_GRAYSCALE))
        if found is None or not bag.poses[0].stamp_ns <= stamp <= bag.poses[-1].stamp_ns:
            continue
        pose, _ = pose_at(bag.poses, stamp)
        odom_from_optical = transform(pose.odom_from_ego, pose.position) @ wrong(base_from_optical)
        expected, _ = camera_from_info(info).project(apply(inverse(odom_from_optical), disc[None]))
        errors.append(np.linalg.norm(expected[0] - found))
    return np.array(errors)


WRONG = {
    "pose turned round": inverse,
    "axes of the body": lambda pose: transform(pose[:3, :3] @ OPTICAL.T, pose[:3, 3]),
    "no place": lambda pose: transform(pose[:3, :3], np.zeros(3)),
}


def jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
