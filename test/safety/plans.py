"""Plans by hand for the safety tests, and limits of which only one is on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.safety.limits import LIMITS, Limit, Limits
from alpamayo_ros.types import HORIZON, Consistency, Decision, EgoPose, Plan, ReasoningTrace, Trajectory

OFF = Limit(None, None, "", "off")


def ego(speed_mps: float = 10.0, x_m: float = 0.0, y_m: float = 0.0, yaw_rad: float = 0.0, stamp_ns: int = 0) -> EgoPose:
    velocity = np.array([speed_mps, 0.0, 0.0])
    return EgoPose(stamp_ns, np.array([x_m, y_m, 0.0]), rotation_z(yaw_rad), velocity, np.zeros(3))


def way(accel: Any = 0.0, curvature: Any = 0.0, v0_mps: float = 10.0, steps: int = HORIZON) -> Trajectory:
    return trajectory(np.full(steps, accel, float), np.full(steps, curvature, float), v0_mps)


def plan(of: Trajectory, t0_ns: int = 0, **changes: Any) -> Plan:
    said = ReasoningTrace("", Decision(), (), 0, complete=True)
    made = Plan(
        t0_ns=t0_ns,
        epoch=0,
        source="model",
        provisional=False,
        trajectory=of,
        candidates=(of,),
        chosen=0,
        scores=(1.0,),
        reasoning=said,
        meta_actions=(),
        consistent=Consistency(None),
    )
    return replace(made, **changes)


def moved(of: Trajectory, point: int, axis: int, by_m: float) -> Trajectory:
    """One coordinate of one point somewhere else."""
    xyz = of.xyz.copy()
    xyz[point, axis] += by_m
    return replace(of, xyz=xyz)


def only(name: str) -> Limits:
    """The defaults with every other limit off."""
    others = {
        field.name: OFF for field in fields(Limits) if isinstance(getattr(LIMITS, field.name), Limit) and field.name != name
    }
    return with_changes(others)


def with_changes(changes: Mapping[str, Any], of: Limits = LIMITS) -> Limits:
    """Limits with some by name changed."""
    return replace(of, **changes)
