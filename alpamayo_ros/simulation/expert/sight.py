"""What can be seen from the ego: what is large enough on a small picture, faces it, and has nothing standing before it.

Pictures are taken to be 96 x 64 all round (120 degrees across them) and 30 degrees wide to the front and the rear, as the
`seven_camera` rig has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import Crosswalk, Look, Scenario, Scenery, Sign, TrafficLight
from alpamayo_ros.simulation.state import SIZES, Body, BodyKind, Ego, Snapshot
from alpamayo_ros.types import F64

EYE_M = (1.8, 1.5)
"""Of the front cameras: ahead of the rear axle, and above the ground."""

RANGE_M: dict[BodyKind, float] = {
    **dict.fromkeys(("car", "truck", "motorcycle", "parked_car", "broken_down_car"), 90.0),
    **dict.fromkeys(("pedestrian", "child", "cyclist", "cone", "barrier"), 60.0),
}
"""In the tele pictures, on a clear day. Elsewhere a thing must be a pixel high, too: 41 m for a car, 22 m for a cone."""

LIGHT_RANGES_M, SIGN_RANGES_M, CROSSWALK_RANGES_M = (70.0, 32.0), (60.0, 33.0), (45.0, 25.0)
"""In the tele pictures; elsewhere, where a lamp or a sign is then a pixel high and a crosswalk has two."""

HAZE = {"clear": 1.0, "overcast": 1.0, "rain": 0.85, "fog": 0.7}
"""Ranges by weather of what does not shine, against those of a clear day."""

DARKNESS = {"day": 1.0, "dusk": 0.9, "night": 0.8}
"""Ranges by daylight of what has no lamps of its own."""

TELE_COS = np.cos(np.radians(14.0))  # half the field of the tele cameras, less a margin
WIDE_PX = 27.7  # per rad: 48 / tan(60 degrees)
FIELD_COS = np.cos(np.radians(58.0))  # half of front_wide's field, less a margin
FACING_COS = np.cos(np.radians(60.0))  # a lamp or a sign is read from within this angle of its front
SEEN_SHARE = 0.25  # of a thing's points that nothing may hide
LAMPS_Z_M, SIGN_Z_M = (2.5, 3.45, 4.4), (2.0, 2.35, 2.7)

_LIT = ("car", "truck", "motorcycle", "broken_down_car")
_CORNERS = np.array([(x, y, z) for x in (-0.4, 0.4) for y in (-0.4, 0.4) for z in (0.5, 0.9)])  # of a box's sizes
_CROWN = (0.24, 0.9)  # of a tree: where it begins, of its height; its breadth as a box, of its diameter


@dataclass(frozen=True)
class _Fixed:
    """Something that a scenario places and that never moves, as points."""

    name: str
    points_m: F64  # (P, 3)
    ranges_m: tuple[float, float]  # in the tele pictures, elsewhere
    faces: F64 | None  # (2,) the way it looks; None: it is seen from all round


@dataclass(frozen=True)
class _Boxes:
    """Upright boxes."""

    xy_m: F64  # (M, 2)
    yaw_rad: F64  # (M,)
    half_m: F64  # (M, 3)
    z_m: F64  # (M,) of the centre


@dataclass(frozen=True)
class _Stage:
    """What of a scenario does not change."""

    scenario: Scenario
    fixed: tuple[_Fixed, ...]
    scenery: _Boxes
    ranges_m: dict[BodyKind, tuple[float, float]]  # in the tele pictures, elsewhere


_stages: dict[int, _Stage] = {}  # by id; a stage keeps its scenario alive, so that no other one gets its id


def visible(scenario: Scenario, snapshot: Snapshot) -> frozenset[str]:
    """Names of what can be seen from the ego now: bodies; "light 0", "sign 1", "crosswalk 0"; "route" and "road" always."""
    return frozenset(shown(scenario, snapshot)) | {"route", "road"}


def shown(scenario: Scenario, snapshot: Snapshot) -> dict[str, F64]:
    """By name, the points (n, 3), m, of each thing that can be seen from the ego now, without those that others hide."""
    stage = _stage(scenario)
    eye, ahead = _eye(snapshot.ego)
    near = _near(stage, snapshot.bodies, eye, ahead)
    read = [thing for thing in stage.fixed if _is_read(thing, eye, ahead)]
    names = [*(snapshot.bodies[k].name for k in near), *(thing.name for thing in read)]
    bodies = _boxes(snapshot.bodies)
    points = [*_corners(bodies, near), *(thing.points_m for thing in read)]
    owners = np.repeat([*near, *([-1] * len(read))], [len(of_one) for of_one in points])
    hidden = _hidden(eye, np.concatenate([*points, np.empty((0, 3))]), owners, _together(bodies, stage.scenery))
    clear = np.split(~hidden, np.cumsum([len(of_one) for of_one in points]))
    seen = zip(names, points, clear[:-1], strict=True)
    return {name: of_one[free] for name, of_one, free in seen if free.mean() >= SEEN_SHARE}


def _eye(ego: Ego) -> tuple[F64, F64]:
    """Where it is, (3,) m, and where it looks, (2,)."""
    ahead = _towards(ego.yaw_rad)
    return np.append(ego.xy_m + EYE_M[0] * ahead, EYE_M[1]), ahead


def _near(stage: _Stage, bodies: Sequence[Body], eye: F64, ahead: F64) -> list[int]:
    """Bodies near enough to be seen, by index."""
    if not bodies:
        return []
    off = np.array([body.xy_m for body in bodies]) - eye[:2]
    away = np.hypot(off[:, 0], off[:, 1])
    tele, elsewhere = np.array([stage.ranges_m[body.kind] for body in bodies]).T
    return [int(k) for k in np.flatnonzero(away <= np.where(np.abs(off @ ahead) >= TELE_COS * away, tele, elsewhere))]


def _is_read(thing: _Fixed, eye: F64, ahead: F64) -> bool:
    """Whether it is near, in the field of the front camera and not seen from behind."""
    x, y, _ = (thing.points_m[len(thing.points_m) // 2] - eye).tolist()
    away = (x * x + y * y) ** 0.5
    along, (tele, elsewhere) = x * float(ahead[0]) + y * float(ahead[1]), thing.ranges_m
    if away > (tele if along >= TELE_COS * away else elsewhere) or along < FIELD_COS * away:
        return False
    return thing.faces is None or bool(-x * thing.faces[0] - y * thing.faces[1] >= FACING_COS * away)


def _corners(boxes: _Boxes, which: Sequence[int]) -> F64:
    """Points (n, 8, 3) of some boxes that stand on the ground."""
    size = 2.0 * boxes.half_m[which][:, None] * _CORNERS
    cos, sin = np.cos(boxes.yaw_rad[which])[:, None], np.sin(boxes.yaw_rad[which])[:, None]
    x, y = size[..., 0] * cos - size[..., 1] * sin, size[..., 0] * sin + size[..., 1] * cos
    return np.stack([boxes.xy_m[which, 0, None] + x, boxes.xy_m[which, 1, None] + y, size[..., 2]], axis=-1)


def _hidden(eye: F64, points: F64, owners: NDArray[np.int64], boxes: _Boxes) -> NDArray[np.bool_]:
    """Whether the line from the eye to each point (K, 3) passes through a box that is not its owner, (K,)."""
    point, box = np.nonzero(_may_hide(eye, points, boxes) & (owners[:, None] != np.arange(len(boxes.z_m))))
    cos, sin = np.cos(boxes.yaw_rad[box]), np.sin(boxes.yaw_rad[box])
    start = eye - np.column_stack([boxes.xy_m, boxes.z_m])[box]
    line = points[point] - eye
    start, line = (np.stack([x * cos + y * sin, y * cos - x * sin, z]) for x, y, z in (start.T, line.T))
    line = np.where(np.abs(line) < 1e-9, 1e-9, line)
    middle, reach = -start / line, boxes.half_m[box].T / np.abs(line)
    enters, leaves = (middle - reach).max(axis=0), (middle + reach).min(axis=0)
    through = np.minimum(leaves, 1.0) - np.maximum(enters, 0.0) > 1e-9
    return np.bincount(point[through], minlength=len(points)) > 0


def _may_hide(eye: F64, points: F64, boxes: _Boxes) -> NDArray[np.bool_]:
    """Whether the circle around each box is before each point, in the plane: (K, M)."""
    to_box, to_point = boxes.xy_m - eye[:2], points[:, :2] - eye[:2]
    away, far = np.hypot(to_box[:, 0], to_box[:, 1]), np.hypot(to_point[:, 0], to_point[:, 1])
    radius = np.hypot(boxes.half_m[:, 0], boxes.half_m[:, 1])
    tangent = np.sqrt(np.maximum(away**2 - radius**2, 0.0))  # the circle is seen within an angle of cosine tangent / away
    threshold = np.where(away > radius, tangent, -1e9)
    return np.asarray((to_point @ to_box.T >= far[:, None] * threshold) & (far[:, None] > away - radius))


def _together(first: _Boxes, then: _Boxes) -> _Boxes:
    pairs = ((getattr(first, name), getattr(then, name)) for name in ("xy_m", "yaw_rad", "half_m", "z_m"))
    return _Boxes(*(np.concatenate(pair) for pair in pairs))


def _boxes(bodies: Sequence[Body]) -> _Boxes:
    half = np.array([SIZES[body.kind] for body in bodies], np.float64).reshape(-1, 3) / 2
    xy = np.array([body.xy_m for body in bodies], np.float64).reshape(-1, 2)
    return _Boxes(xy, np.array([body.yaw_rad for body in bodies], np.float64), half, half[:, 2])


def _stage(scenario: Scenario) -> _Stage:
    stage = _stages.get(id(scenario))
    if stage is None:
        while len(_stages) >= 8:
            del _stages[next(iter(_stages))]
        ranges = {kind: _ranges_m(kind, scenario.look) for kind in RANGE_M}
        stage = _stages[id(scenario)] = _Stage(scenario, _fixed(scenario), _scenery(scenario), ranges)
    return stage


def _ranges_m(kind: BodyKind, look: Look) -> tuple[float, float]:
    far = RANGE_M[kind] * HAZE[look.weather] * (1.0 if kind in _LIT else DARKNESS[look.daylight])
    return far, min(far, SIZES[kind].height_m * WIDE_PX)


def _fixed(scenario: Scenario) -> tuple[_Fixed, ...]:
    roads, haze = scenario.roads, HAZE[scenario.look.weather]
    dark = haze * DARKNESS[scenario.look.daylight]
    lights = (_light(f"light {i}", light, roads[light.road]) for i, light in enumerate(scenario.lights))
    signs = (_sign(f"sign {i}", sign, roads[sign.road], haze) for i, sign in enumerate(scenario.signs))
    stripes = (_crosswalk(f"crosswalk {i}", zebra, roads[zebra.road], dark) for i, zebra in enumerate(scenario.crosswalks))
    return (*lights, *signs, *stripes)


def _light(name: str, light: TrafficLight, road: Road) -> _Fixed:
    """It shines through haze, and faces who waits at its line."""
    xy, _ = road.place(*light.lamp_m)
    _, yaw = road.place(light.stop_line_m, 0.0)
    backward = all(road.lane(lane).oncoming for lane in light.lanes)
    return _Fixed(name, _column(xy, LAMPS_Z_M), LIGHT_RANGES_M, _towards(float(yaw) + (0.0 if backward else np.pi)))


def _sign(name: str, sign: Sign, road: Road, dim: float) -> _Fixed:
    """It reflects headlights, and faces who drives on its side of the road."""
    xy, yaw = road.place(sign.along_m, sign.left_m)
    oncoming = [lane.left_m for lane in road.lanes if lane.oncoming and lane.from_m <= sign.along_m < lane.to_m]
    backward = bool(oncoming) and sign.left_m > max(oncoming)
    faces = _towards(float(yaw) + (0.0 if backward else np.pi))
    return _Fixed(name, _column(xy, SIGN_Z_M), _dimmed(SIGN_RANGES_M, dim), faces)


def _crosswalk(name: str, crosswalk: Crosswalk, road: Road, dim: float) -> _Fixed:
    middle = (crosswalk.from_m + crosswalk.to_m) / 2
    there = [lane.left_m for lane in road.lanes if lane.from_m <= middle < lane.to_m] or [0.0]
    xy, _ = road.place(np.full(5, middle), np.linspace(min(there), max(there), 5))
    return _Fixed(name, np.column_stack([xy, np.full(5, 0.02)]), _dimmed(CROSSWALK_RANGES_M, dim), None)


def _dimmed(ranges_m: tuple[float, float], dim: float) -> tuple[float, float]:
    return ranges_m[0] * dim, min(ranges_m[0] * dim, ranges_m[1])


def _column(xy: F64, heights_m: Sequence[float]) -> F64:
    return np.column_stack([np.tile(xy, (len(heights_m), 1)), heights_m])


def _towards(yaw_rad: float) -> F64:
    return np.array([np.cos(yaw_rad), np.sin(yaw_rad)])


def _scenery(scenario: Scenario) -> _Boxes:
    """Buildings and the crowns of trees; trunks hide nothing."""
    things = scenario.scenery
    places = [scenario.roads[thing.road].place(thing.along_m, thing.left_m) for thing in things]
    shapes = np.array([_bottom_and_size(thing) for thing in things], np.float64).reshape(-1, 4)
    return _Boxes(
        np.array([xy for xy, _ in places], np.float64).reshape(-1, 2),
        np.array([yaw for _, yaw in places], np.float64),
        shapes[:, 1:] / 2,
        shapes[:, 0] + shapes[:, 3] / 2,
    )


def _bottom_and_size(thing: Scenery) -> tuple[float, float, float, float]:
    if thing.kind == "building":
        return 0.0, thing.length_m, thing.width_m, thing.height_m
    begins, breadth = _CROWN
    return begins * thing.height_m, breadth * thing.width_m, breadth * thing.width_m, (1.0 - begins) * thing.height_m
