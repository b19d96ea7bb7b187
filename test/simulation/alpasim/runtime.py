"""A toy of AlpaSim's runtime: it submits what a rollout submits, drives over gRPC, and follows the plans to the point."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import yaml
from alpasim_grpc.v0 import common_pb2, egodriver_pb2

from alpamayo_ros import geometry
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import F64

CAMERAS = ("camera_front_wide_120fov", "camera_front_tele_30fov", "camera_cross_left_120fov", "camera_cross_right_120fov")
STEP_US = 100_000
START_US = 5_000_000
FORCED_STEPS = 17
"""Steps of recorded motion, during which dynamic states are zeros, as in AlpaSim."""

LOCAL_FROM_ROAD = geometry.transform(geometry.rotation_from_rpy(0.03, -0.06, 2.1), np.array([310.0, -75.0, 12.0]))
"""A road that rises and leans, in the local frame."""


def small_profile(folder: Path, **changes: Any) -> str:
    """AlpaSim's four cameras, 4 frames at 10 Hz, 16 poses, as the released model; small pictures, navigation."""
    described = read_profile("alpamayo_r1_10b").model_dump(mode="json")
    described |= {"image_height": 32, "image_width": 48, "navigation": "text", **changes}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(described))
    return str(path)


def recorded(t_s: float) -> F64:
    """The recorded motion: from 9 m/s on with 0.5 m/s^2, to the left; local from ego (4, 4)."""
    length, bend = 9.0 * t_s + 0.25 * t_s**2, 0.008
    road_from_ego = geometry.transform(
        geometry.rotation_z(bend * length), np.array([np.sin(bend * length), 1 - np.cos(bend * length), 0.0]) / bend
    )
    return LOCAL_FROM_ROAD @ road_from_ego


def timed(time_us: int, local_from_ego: F64) -> Any:
    x, y, z, w = geometry.quaternion_from_rotation(local_from_ego[:3, :3]).tolist()
    vec = common_pb2.Vec3(**dict(zip("xyz", local_from_ego[:3, 3].tolist(), strict=True)))
    return common_pb2.PoseAtTime(pose=common_pb2.Pose(vec=vec, quat=common_pb2.Quat(w=w, x=x, y=y, z=z)), timestamp_us=time_us)


def matrix(pose: Any) -> F64:
    """A `PoseAtTime` as local from ego (4, 4)."""
    vec, quat = pose.pose.vec, pose.pose.quat
    rotation = geometry.rotation_from_quaternion(np.array([quat.x, quat.y, quat.z, quat.w]))
    return geometry.transform(rotation, np.array([vec.x, vec.y, vec.z]))


def jpeg(*seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))))


def straight_route() -> list[tuple[float, float]]:
    return [(4.0 * k, 0.0) for k in range(1, 12)]


class Rollout:
    """One session. `order` puts the submissions of a step in another order; `scene` decides the pictures."""

    def __init__(
        self, stub: Any, uuid: str, seed: int = 7, scene: int = 0, order: Callable[[list[Any]], Iterable[Any]] = list
    ) -> None:
        self.stub, self.uuid, self._scene, self._order = stub, uuid, scene, order
        self.step_index = 0
        self.poses = [timed(START_US, recorded(0.0))]
        self.route = straight_route()
        self.speed_mps = 0.0
        vehicle = egodriver_pb2.DriveSessionRequest.RolloutSpec.VehicleDefinition()
        for name in (*CAMERAS, "camera_rear_tele_30fov"):
            vehicle.available_cameras.add(logical_id=name)
        spec = egodriver_pb2.DriveSessionRequest.RolloutSpec(vehicle=vehicle)
        stub.start_session(egodriver_pb2.DriveSessionRequest(session_uuid=uuid, random_seed=seed, rollout_spec=spec))

    @property
    def now_us(self) -> int:
        return START_US + self.step_index * STEP_US

    def image(self, camera: str, at_us: int | None = None, data: bytes | None = None) -> None:
        end_us = self.now_us if at_us is None else at_us
        data = data or jpeg(self._scene, CAMERAS.index(camera) if camera in CAMERAS else 9, end_us)
        fields = {"frame_start_us": end_us - 30_000, "frame_end_us": end_us, "image_bytes": data, "logical_id": camera}
        image = egodriver_pb2.RolloutCameraImage.CameraImage(**fields)
        self.stub.submit_image_observation(egodriver_pb2.RolloutCameraImage(session_uuid=self.uuid, camera_image=image))

    def egomotion(self, poses: list[Any]) -> None:
        state = common_pb2.DynamicState()
        if self.step_index > FORCED_STEPS:
            state.linear_velocity.x = self.speed_mps
        request = egodriver_pb2.RolloutEgoTrajectory(session_uuid=self.uuid, dynamic_states=[state] * len(poses))
        request.trajectory.poses.extend(poses)
        self.stub.submit_egomotion_observation(request)

    def submit_route(self) -> None:
        route = egodriver_pb2.Route(timestamp_us=self.now_us)
        for x, y in [*self.route, (np.nan, np.nan)]:
            route.waypoints.add(x=x, y=y, z=np.nan if x != x else 0.0)
        self.stub.submit_route(egodriver_pb2.RouteRequest(session_uuid=self.uuid, route=route))

    def submit(self, cameras: tuple[str, ...] = CAMERAS, new_poses: int = 1) -> None:
        """All that belongs to this instant."""
        jobs: list[Callable[[], None]] = [lambda camera=camera: self.image(camera) for camera in cameras]  # type: ignore[misc]
        jobs.append(lambda: self.egomotion([*self._order(self.poses[-new_poses:])]))
        for job in self._order([*jobs, self.submit_route]):
            job()

    def drive(self, later_us: int = 0) -> Any:
        now_us = self.now_us + later_us
        request = egodriver_pb2.DriveRequest(session_uuid=self.uuid, time_now_us=now_us, time_query_us=now_us + STEP_US)
        return self.stub.drive(request)

    def advance(self, response: Any) -> None:
        """To the next instant: by the recording, then along the plan."""
        self.step_index += 1
        forced = self.step_index <= FORCED_STEPS or not response.trajectory.poses
        moved = recorded(self.step_index * 0.1) if forced else matrix(response.trajectory.poses[1])
        self.speed_mps = float(np.linalg.norm(moved[:3, 3] - matrix(self.poses[-1])[:3, 3]) / 0.1)
        self.poses.append(timed(self.now_us, moved))

    def step(self, cameras: tuple[str, ...] = CAMERAS, new_poses: int = 1) -> Any:
        self.submit(cameras, new_poses)
        response = self.drive()
        self.advance(response)
        return response

    def run(self, steps: int) -> list[Any]:
        return [self.step() for _ in range(steps)]

    def warm(self) -> None:
        """To where plans are made."""
        assert self.run(16)[-1].trajectory.poses

    def close(self) -> None:
        self.stub.close_session(egodriver_pb2.DriveSessionCloseRequest(session_uuid=self.uuid))


def said(response: Any) -> dict[str, Any]:
    found = json.loads(response.debug_info.unstructured_debug_info.decode("utf-8"))
    assert isinstance(found, dict)
    return found
