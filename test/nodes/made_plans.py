"""Plans for tests of what people see: straight ahead at 10 m/s, from a vehicle that faces +y of the odometry frame."""

from __future__ import annotations

import numpy as np

from alpamayo_ros import msg, types
from alpamayo_ros.geometry import rotation_from_rpy
from alpamayo_ros.nodes.messages import reasoning_message, trajectory_message
from alpamayo_ros.profile import Rig, read_rig
from alpamayo_ros.types import Consistency, CriticalComponent, Decision, EgoPose, MetaAction, Plan, Trajectory

T0 = 1_700_000_000_000_000_000
STEP = 100_000_000
SPEED_MPS = 10.0
COMPONENTS = (
    CriticalComponent("critical_object", "a pedestrian at the crossing", (("moving", "yes"), ("side", "left"))),
    CriticalComponent("traffic_light", "a red light"),
)


def straight(offset_m: float = 0.0) -> Trajectory:
    """10 m/s straight ahead, `offset_m` to the left, so that left and right edges are easy to name."""
    t, zeros = np.arange(1, 65) * 0.1, np.zeros(64)
    xyz = np.stack([SPEED_MPS * t, np.full(64, offset_m), zeros], axis=1)
    return Trajectory(t, xyz, zeros, np.full(64, SPEED_MPS), zeros, zeros)


def ego(stamp_ns: int = T0, yaw_rad: float = np.pi / 2, yaw_rate_rps: float = 0.0) -> EgoPose:
    rotation = rotation_from_rpy(0, 0, yaw_rad)
    return EgoPose(stamp_ns, np.array([100.0, -50.0, 3.0]), rotation, np.zeros(3), np.array([0.0, 0.0, yaw_rate_rps]))


def plan(stamp_ns: int = T0, source: str = "model", candidates: int = 1) -> Plan:
    """With `candidates` samples side by side, the first one chosen, the further ones with lower scores."""
    trace = types.ReasoningTrace(
        "Keep the lane: nothing is in the way.", Decision("set_speed_tracking", "lane_keeping"), COMPONENTS, 9, complete=True
    )
    return Plan(
        t0_ns=stamp_ns,
        epoch=0,
        source=source,  # type: ignore[arg-type]
        provisional=False,
        trajectory=straight(),
        candidates=tuple(straight(float(i)) for i in range(candidates)),
        chosen=0,
        scores=tuple(1.0 / (1 + i) for i in range(candidates)),
        reasoning=trace,
        meta_actions=(MetaAction("longitudinal", "maintain_speed", 0.0, 6.4),),
        consistent=Consistency(agrees=True),
    )


def plan_message(stamp_ns: int = T0, plan_id: int = 1, source: str = "model") -> msg.UnicycleTrajectory:
    return trajectory_message(plan(stamp_ns, source), plan_id, ego(stamp_ns), read_rig("seven_camera"))


def trace_message(stamp_ns: int = T0, plan_id: int = 1, rig: Rig | None = None) -> msg.ReasoningTrace:
    return reasoning_message(plan(stamp_ns), plan_id, rig or read_rig("seven_camera"), 0)
