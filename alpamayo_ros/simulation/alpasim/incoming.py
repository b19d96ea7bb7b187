"""What AlpaSim submits, as the messages and values of a vehicle.

Frames: its "local" is our odometry frame, its "rig" our ego frame (rear axle on the ground, REP-103). Times are microseconds
there and nanoseconds here. All refusals are InvalidInput.
Sources: NVlabs/alpasim@3032e0c, src/grpc/alpasim_grpc/v0/{egodriver,common}.proto and CONTRIBUTING.md, "Coordinate Systems".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from alpamayo_ros import geometry
from alpamayo_ros.evaluation import messages
from alpamayo_ros.pipeline.images import compressed_header
from alpamayo_ros.pipeline.observe import TWIST_TOLERANCE_MPS, TWIST_TOLERANCE_SHARE
from alpamayo_ros.profile import InputProfile, Rig, RigCamera, read_rig
from alpamayo_ros.types import F64, EgoPose, InvalidInput, Navigation

ROLES_BY_CAMERA = {
    "camera_cross_left_120fov": "front_left",
    "camera_front_wide_120fov": "front_wide",
    "camera_cross_right_120fov": "front_right",
    "camera_rear_left_70fov": "rear_left",
    "camera_rear_tele_30fov": "rear_tele",
    "camera_rear_right_70fov": "rear_right",
    "camera_front_tele_30fov": "front_tele",
}
"""Its logical ids (src/driver/src/alpasim_driver/models/alpamayo_base.py) and our roles."""

PICTURE_HZ = 10.0
"""Of the cameras and of the ego poses in its default configuration (frame_interval_us, control_timestep_us: 100 000)."""

LOOKAHEAD_M, TURN_M = 20.0, 3.0
"""Where its own driver looks along the route, and how far to a side the route is there when it says "turn".

src/driver/src/alpasim_driver/navigation.py, with the values of src/wizard/configs/driver/alpamayo1.yaml."""

ROUTE_HOLDS_US = 1_000_000
"""A route is drawn in the rig frame of its stamp and sent at every step: an older one is somewhere else."""

FASTEST_MPS = 70.0
"""What moves faster than this has been put elsewhere: the buffers' business, which begin anew."""

LATEST_US = 4_102_444_800_000_000  # the year 2100: ns of it still fit a signed 64-bit integer
_SHIFT_US = 1_000_000  # a scene may begin at 0, which as a stamp says that nobody set it
_PNG = b"\x89PNG"


def stamp_ns(time_us: int) -> int:
    """Its time as a stamp, ns: one second later, so that 0 is one."""
    if not 0 <= time_us <= LATEST_US:
        raise InvalidInput(f"time {time_us} us: want 0..{LATEST_US}")
    return (time_us + _SHIFT_US) * 1000


def time_us(stamp: int) -> int:
    """A stamp, ns, as its time."""
    return round(stamp / 1000) - _SHIFT_US


def role_of(logical_id: str) -> str:
    """The role of a camera. An unknown one is an error: its pictures would be shown as those of another."""
    if logical_id not in ROLES_BY_CAMERA:
        raise InvalidInput(f"unknown camera {logical_id[:80]!r}, want one of {', '.join(ROLES_BY_CAMERA)}")
    return ROLES_BY_CAMERA[logical_id]


def alpasim_rig(rig: str, profile: InputProfile) -> Rig:
    """The vehicle: a rig by name or file; named none, Hyperion 8 with every camera at 10 Hz. Raises InvalidInput.

    Sizes of pictures are not the rig's but the pictures' own: the renderer makes other ones than it is asked for. A profile
    whose ego signals come in messages is refused: nobody submits steering or turn indicators.
    """
    if missing := set(profile.ego_signals) - {"speed"}:
        raise InvalidInput(f"profile {profile.name} needs {', '.join(sorted(missing))}, which AlpaSim does not submit")
    described = read_rig(rig or "hyperion8")
    if not rig:
        cameras = {role: camera.model_copy(update={"rate_hz": PICTURE_HZ}) for role, camera in described.cameras.items()}
        odometry = described.odometry.model_copy(update={"rate_hz": PICTURE_HZ})
        described = described.model_copy(update={"cameras": cameras, "odometry": odometry})
    described.check_covers(profile)
    return described


def check_cameras(logical_ids: Sequence[str], profile: InputProfile) -> None:
    """Raise InvalidInput when a vehicle has no camera of a role that the profile requires."""
    has = {ROLES_BY_CAMERA.get(logical_id) for logical_id in logical_ids}
    lacking = [name for name, role in ROLES_BY_CAMERA.items() if role in profile.required_roles and role not in has]
    if lacking:
        raise InvalidInput(f"the vehicle has no {', '.join(lacking)}, which profile {profile.name} requires")


def picture(image: Any, frame_id: str) -> Any:
    """A CompressedImage of an `egodriver.RolloutCameraImage.CameraImage`, stamped with the end of its exposure."""
    kind: Literal["jpeg", "png"] = "png" if image.image_bytes.startswith(_PNG) else "jpeg"  # AlpaSim's image_format
    return messages.compressed_image(image.image_bytes, kind, stamp_ns(image.frame_end_us), frame_id)


def sized(camera: RigCamera, message: Any) -> RigCamera:
    """The camera with the size of this picture."""
    _, height, width = compressed_header(memoryview(message.data), message.format)
    return camera.model_copy(update={"width": width, "height": height})


def ego_poses(trajectory: Any, states: Sequence[Any], before: Sequence[EgoPose]) -> Iterator[EgoPose]:
    """The poses of a `RolloutEgoTrajectory` in stamp order, each with a twist that can be believed (see `_twisted`).

    `before` is what is known of earlier ones, oldest first. Stamps that are there, also twice in the message, are left out.
    """
    if len(states) != len(trajectory.poses):
        raise InvalidInput(f"{len(trajectory.poses)} poses with {len(states)} dynamic states, want one each")
    known = {pose.stamp_ns for pose in before}
    told = {pose.stamp_ns: pose for pose in map(_ego_pose, trajectory.poses, states)}
    new = [told[stamp] for stamp in sorted(told) if stamp not in known]
    older = [pose for pose in before if new and pose.stamp_ns < new[0].stamp_ns][-1:]
    chain = [*older, *new]
    for at, pose in enumerate(new, len(older)):
        first = max(at - 1, 0)  # the one before it; of the very first pose, itself and the one after it
        around = chain[first : first + 2]
        yield _twisted(pose, *around) if len(around) == 2 else pose


def _ego_pose(timed: Any, state: Any) -> EgoPose:
    turn = timed.pose.quat
    return EgoPose(
        stamp_ns(timed.timestamp_us),
        _xyz(timed.pose.vec),
        geometry.rotation_from_quaternion(np.array([turn.x, turn.y, turn.z, turn.w])),
        _xyz(state.linear_velocity),
        _xyz(state.angular_velocity),
    )


def _twisted(pose: EgoPose, older: EgoPose, newer: EgoPose) -> EgoPose:
    """The pose with the twist that was submitted where it explains the motion around it, else with the motion itself.

    While AlpaSim forces the recorded motion (1.7 s by default) it submits dynamic states of zeros, and before that
    velocities of the local frame: controller_service.py and event_loop.py of its runtime. A motion over FASTEST_MPS is none.
    """
    seconds = (newer.stamp_ns - older.stamp_ns) / 1e9
    halfway = geometry.slerp(older.odom_from_ego, newer.odom_from_ego, 0.5)
    moved_mps = halfway.T @ (newer.position - older.position) / seconds
    limit_mps = TWIST_TOLERANCE_MPS + TWIST_TOLERANCE_SHARE * np.linalg.norm(pose.velocity_mps)
    if np.linalg.norm(pose.velocity_mps - moved_mps) <= limit_mps or np.linalg.norm(moved_mps) > FASTEST_MPS:
        return pose
    turned_rps = geometry.yaw_of(older.odom_from_ego.T @ newer.odom_from_ego) / seconds
    return replace(pose, velocity_mps=moved_mps, angular_rps=np.array([0.0, 0.0, turned_rps]))


def command(route: Any) -> Navigation | None:
    """A turn or "continue" of an `egodriver.Route`; None of a route without a waypoint. Padding of NaN is left out.

    By AlpaSim's own rule: the side of the first waypoint at least LOOKAHEAD_M away, where it is over TURN_M off. A turn's
    distance is that of the first waypoint that is so far off.
    """
    ahead = [xy for xy in ((point.x, point.y) for point in route.waypoints) if math.isfinite(xy[0] + xy[1])]
    expires_ns = stamp_ns(route.timestamp_us + ROUTE_HOLDS_US)
    if not ahead:
        return None
    left_m = next((y for x, y in ahead if math.hypot(x, y) >= LOOKAHEAD_M), 0.0)
    if abs(left_m) <= TURN_M:
        return Navigation("continue", math.hypot(*ahead[-1]), "", expires_ns)
    distance_m = next(math.hypot(x, y) for x, y in ahead if math.copysign(1.0, left_m) * y > TURN_M)
    return Navigation("turn_left" if left_m > 0 else "turn_right", distance_m, "", expires_ns)


def _xyz(vector: Any) -> F64:
    return np.array([vector.x, vector.y, vector.z], np.float64)
