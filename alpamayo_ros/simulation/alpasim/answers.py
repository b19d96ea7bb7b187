"""Plans as AlpaSim's messages."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from alpasim_grpc.v0 import common_pb2, egodriver_pb2

from alpamayo_ros import geometry
from alpamayo_ros.simulation.alpasim import incoming
from alpamayo_ros.simulation.alpasim.session import Driven, Planned
from alpamayo_ros.types import F64, Trajectory


def response(driven: Driven) -> egodriver_pb2.DriveResponse:
    """A `DriveResponse`: the trajectory, all candidates, and the reasoning as JSON; an empty trajectory in the beginning."""
    if driven.planned is None:
        return egodriver_pb2.DriveResponse(debug_info=_debug_info({"waiting": driven.waiting}))
    planned = driven.planned
    debug_info = _debug_info(_said(planned))
    debug_info.sampled_trajectories.extend(placed(candidate, planned) for candidate in planned.plan.candidates)
    return egodriver_pb2.DriveResponse(trajectory=placed(planned.plan.trajectory, planned), debug_info=debug_info)


def placed(trajectory: Trajectory, planned: Planned) -> common_pb2.Trajectory:
    """A trajectory of the ego frame at t0 in the local frame: the ego pose now, then the points still ahead, at t0 + 0.1 s, ...

    The first pose is of now and not of t0 where they differ: the controller takes the reference to be in the rig frame of its
    first stamp, and the runtime gives it one in the rig frame of now (src/controller/alpasim_controller/system.py,
    _get_reference_in_rig_frame; src/runtime/alpasim_runtime/events/controller.py). Points lie in the ego's plane
    at t0, with its roll and pitch.
    """
    odom_from_ego_t0 = geometry.odom_from_ego(planned.ego_t0)
    xyz = geometry.apply(odom_from_ego_t0, trajectory.xyz)
    stamps = planned.plan.t0_ns + np.round(trajectory.t_s * 1e9).astype(np.int64)
    now = planned.ego_now
    poses = [_timed(now.stamp_ns, now.position, now.odom_from_ego)]
    for stamp, point, yaw_rad in zip(stamps.tolist(), xyz, trajectory.yaw_rad.tolist(), strict=True):
        if stamp > now.stamp_ns:
            poses.append(_timed(stamp, point, odom_from_ego_t0[:3, :3] @ geometry.rotation_z(yaw_rad)))
    return common_pb2.Trajectory(poses=poses)


def _timed(stamp_ns: int, position: F64, rotation: F64) -> common_pb2.PoseAtTime:
    x, y, z, w = geometry.quaternion_from_rotation(rotation).tolist()
    vec = common_pb2.Vec3(**dict(zip("xyz", position.tolist(), strict=True)))
    pose = common_pb2.Pose(vec=vec, quat=common_pb2.Quat(w=w, x=x, y=y, z=z))
    return common_pb2.PoseAtTime(pose=pose, timestamp_us=incoming.time_us(stamp_ns))


def _said(planned: Planned) -> dict[str, object]:
    plan, trace = planned.plan, planned.plan.reasoning
    return {
        "t0_us": incoming.time_us(plan.t0_ns),
        "text": trace.text,
        "complete": trace.complete,
        "decision": asdict(trace.decision),
        "components": [asdict(component) for component in trace.components],
        "meta_actions": [asdict(action) for action in plan.meta_actions],
        "consistent": asdict(plan.consistent),
        "chosen": plan.chosen,
        "scores": plan.scores,
        "navigation": planned.navigation.maneuver if planned.navigation else None,
        "speed_mps": planned.ego_t0.speed_mps,
        "stage_ms": dict(plan.stage_ms),
    }


def _debug_info(said: dict[str, object]) -> egodriver_pb2.DriveResponse.DebugInfo:
    # AlpaSim's own driver pickles here. Loading a pickle runs what is in it; JSON is only read.
    return egodriver_pb2.DriveResponse.DebugInfo(unstructured_debug_info=json.dumps(said, allow_nan=False).encode())
