"""A drive of the expert without a vehicle: the ego is wherever its plan says, so that only the plans are tested."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from simulation.made import snapshot

from alpamayo_ros.simulation.expert import Expert
from alpamayo_ros.simulation.expert.intention import Intention
from alpamayo_ros.simulation.scenario import LightColour, Scenario
from alpamayo_ros.simulation.state import WHEELBASE_M, Body, Ego, Snapshot
from alpamayo_ros.types import F64, Trajectory

Moves = Callable[[Body, float], Body]


@dataclass(frozen=True)
class Step:
    """One plan."""

    now: Snapshot
    intention: Intention
    along_m: float  # of the rear axle on the route
    left_m: float


def still(body: Body, _t_s: float) -> Body:
    """Nobody moves."""
    return body


def onward(body: Body, t_s: float) -> Body:
    """Everybody goes straight on at their speed."""
    ahead = np.array([np.cos(body.yaw_rad), np.sin(body.yaw_rad)])
    return replace(body, xy_m=body.xy_m + body.speed_mps * t_s * ahead)


def driven(
    of: Scenario,
    seconds: float,
    moves: Moves = still,
    colours: Callable[[float], LightColour] | None = None,
    every: int = 5,
) -> list[Step]:
    """Plans every so many steps of 0.1 s, each followed exactly."""
    expert, first = Expert(of), snapshot(of)
    ego, steps, plan, begun = first.ego, [], None, 0
    for tick in range(round(10 * seconds)):
        t_s = tick / 10
        if plan is not None:
            ego = after(steps[-1].now.ego, plan, tick - begun)
        lights = first.lights if colours is None else tuple(colours(t_s) for _ in first.lights)
        now = Snapshot(t_s, ego, tuple(moves(body, t_s) for body in first.bodies), lights)
        expert.see(now)
        if tick % every == 0:
            intention = expert.plan()
            along, left = of.route.locate(ego.xy_m)
            steps.append(Step(now, intention, float(along), float(left)))
            plan, begun = intention.trajectory, tick
    return steps


def after(ego: Ego, plan: Trajectory, steps: int) -> Ego:
    """The ego on its plan, so many steps of 0.1 s later."""
    k = steps - 1
    curvature = plan.curvature_1pm[min(k + 1, len(plan.t_s) - 1)]
    steering = float(np.arctan(WHEELBASE_M * (curvature + plan.curvature_1pm[k]) / 2))
    xy = in_world(ego, plan.xyz[k : k + 1])[0]
    return Ego(xy, ego.yaw_rad + float(plan.yaw_rad[k]), float(plan.speed_mps[k]), float(plan.accel_mps2[k]), steering)


def in_world(ego: Ego, xyz: F64) -> F64:
    """Points (n, 3) of a plan, ego at t0, as xy (n, 2) in the world."""
    cos, sin = np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)
    return np.asarray(ego.xy_m + xyz[:, :2] @ np.array([[cos, sin], [-sin, cos]]))
