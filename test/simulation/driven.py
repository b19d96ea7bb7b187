"""Egos without a driver, for tests of everybody else: where it is after each 0.1 s is known beforehand."""

from collections.abc import Callable, Iterator

import numpy as np
from shapely.geometry import Polygon

from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Body, Ego, Snapshot, ego_footprint_m, footprint_m
from alpamayo_ros.simulation.world.world import World

MOVING = ("car", "truck", "motorcycle")

EgoAt = Callable[[Scenario, float], Ego]


def coasting(scenario: Scenario, t_s: float) -> Ego:
    """In its lane at its first speed."""
    start = scenario.start
    return placed(scenario, start.along_m + start.speed_mps * t_s, start.left_m, start.speed_mps)


def placed(scenario: Scenario, along_m: float, left_m: float, speed_mps: float) -> Ego:
    """Somewhere on the route, heading along it."""
    xy, yaw = scenario.route.place(along_m, left_m)
    return Ego(xy, float(yaw), speed_mps)


def away(scenario: Scenario, t_s: float) -> Ego:
    """Standing where it meets nobody."""
    return Ego(np.array([-500.0, -500.0]), 0.0, 0.0)


def driven(scenario: Scenario, seconds: float, ego: EgoAt = coasting) -> list[Snapshot]:
    """Every snapshot of a drive."""
    world = World(scenario)
    steps = range(1, round(seconds * 10) + 1)
    return [world.now, *(world.step(ego(scenario, k / 10)) for k in steps)]


def seen(snapshots: list[Snapshot], name: str) -> list[Body]:
    """One body, as long as it is there."""
    return [body for snapshot in snapshots for body in snapshot.bodies if body.name == name]


def along_m(scenario: Scenario, body: Body, road: int = 0) -> float:
    """Of the centre of a body."""
    return float(scenario.roads[road].locate(body.xy_m)[0])


def left_m(scenario: Scenario, body: Body, road: int = 0) -> float:
    """Of the centre of a body."""
    return float(scenario.roads[road].locate(body.xy_m)[1])


def overlaps(snapshot: Snapshot, *, with_ego: bool = True) -> Iterator[tuple[str, str]]:
    """Names of two that are in the same place, one of them a vehicle."""
    outlines = [(body.name, footprint_m(body)) for body in snapshot.bodies]
    moving = [body.kind in MOVING for body in snapshot.bodies]
    if with_ego:
        outlines, moving = [*outlines, ("ego", ego_footprint_m(snapshot.ego))], [*moving, True]
    centres = np.array([corners.mean(axis=0) for _, corners in outlines]).reshape(-1, 2)
    near = np.abs(centres[:, None] - centres).max(axis=-1) < 9.0
    for k, j in zip(*np.nonzero(np.triu(near, 1) & (np.array(moving)[:, None] | moving)), strict=True):
        if Polygon(outlines[k][1]).intersection(Polygon(outlines[j][1])).area > 0.01:
            yield outlines[k][0], outlines[j][0]
