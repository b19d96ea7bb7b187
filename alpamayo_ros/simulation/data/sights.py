"""What is on each picture and where on it, coarsely: what a vision tower can be taught before it learns to drive.

A picture is a grid of cells, one for each token of the vision tower. Only what `expert.sight` says can be seen counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.simulation.expert.sight import shown
from alpamayo_ros.simulation.rendering.cameras import SceneCameras
from alpamayo_ros.simulation.scenario import Scenario
from alpamayo_ros.simulation.state import Body, Snapshot
from alpamayo_ros.types import F32, F64, U8

Kind = Literal[
    "vehicle", "braking", "signals_left", "signals_right", "oncoming", "person", "barrier",
    "red", "yellow", "green", "stop_sign", "yield_sign", "other_sign", "crosswalk",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
I64 = NDArray[np.int64]

NOTHING_M = 200.0
"""The distance of a cell without a vehicle."""

_OF_BODY: dict[str, Kind] = {
    **dict.fromkeys(("car", "truck", "motorcycle", "parked_car", "broken_down_car"), "vehicle"),
    **dict.fromkeys(("pedestrian", "child", "cyclist"), "person"),
    **dict.fromkeys(("cone", "barrier"), "barrier"),
}
_OF_SIGN: dict[str, Kind] = {"stop": "stop_sign", "yield": "yield_sign"}
_LAMPS = ("green", "yellow", "red")  # from below, as their points are


class Sights(NamedTuple):
    """Of one instant."""

    kinds: U8  # (roles, rows, columns, KINDS) 1 where something of the kind is seen in the cell
    nearest_m: F32  # (roles, rows, columns) distance of the nearest vehicle or person in the cell from the camera, or NOTHING_M


class _Thing(NamedTuple):
    points_m: F64  # (n, 3) odometry frame
    kinds: tuple[Kind, ...]
    is_body: bool


def sights(
    scenario: Scenario, snapshot: Snapshot, cameras: SceneCameras, roles: Sequence[str], rows: int, columns: int
) -> Sights:
    """What is where on the pictures of these roles."""
    kinds = np.zeros((len(roles), rows, columns, len(KINDS)), np.uint8)
    nearest_m = np.full((len(roles), rows, columns), NOTHING_M, np.float32)
    things = list(_things(scenario, snapshot))
    for place, role in enumerate(roles):
        odom_from_optical = cameras.odom_from_optical(role, snapshot.ego)
        for thing in things:
            row, column, away_m = _cells(cameras.lenses[role], odom_from_optical, thing.points_m, rows, columns)
            for kind in thing.kinds:
                kinds[place, row, column, KINDS.index(kind)] = 1
            if thing.is_body:
                np.minimum.at(nearest_m[place], (row, column), away_m)
    return Sights(kinds, nearest_m)


def _things(scenario: Scenario, snapshot: Snapshot) -> Iterator[_Thing]:
    bodies = {body.name: body for body in snapshot.bodies}
    for name, points_m in shown(scenario, snapshot).items():
        what, _, number = name.partition(" ")
        if name in bodies:
            yield _Thing(points_m, tuple(_kinds_of(bodies[name], snapshot)), is_body=True)
        elif what == "light":
            colour = snapshot.lights[int(number)]
            # Lamps stand above each other: the lit one is the point that counts, or what is left of the light.
            yield _Thing(points_m[[min(_LAMPS.index(colour), len(points_m) - 1)]], (colour,), is_body=False)
        elif what == "sign":
            yield _Thing(points_m, (_OF_SIGN.get(scenario.signs[int(number)].kind, "other_sign"),), is_body=False)
        else:
            yield _Thing(points_m, ("crosswalk",), is_body=False)


def _kinds_of(body: Body, snapshot: Snapshot) -> Iterator[Kind]:
    kind = _OF_BODY[body.kind]
    yield kind
    if kind == "vehicle":
        if body.brakes:
            yield "braking"
        if body.indicator in ("left", "right"):
            yield "signals_left" if body.indicator == "left" else "signals_right"
        if np.cos(body.yaw_rad - snapshot.ego.yaw_rad) < -0.5 and body.speed_mps > 0:
            yield "oncoming"


def _cells(lens: Pinhole, odom_from_optical: F64, points_m: F64, rows: int, columns: int) -> tuple[I64, I64, F64]:
    """Row, column and distance, m, of the points (n, 3) that are on a picture."""
    optical = (points_m - odom_from_optical[:3, 3]) @ odom_from_optical[:3, :3]
    uv, seen = lens.project(optical)
    column, row = (uv[seen] / (lens.width, lens.height) * (columns, rows)).astype(np.int64).T
    return row, column, np.linalg.norm(optical[seen], axis=1)
