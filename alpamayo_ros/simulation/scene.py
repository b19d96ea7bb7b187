"""The driving world as coloured polygons: what `render` paints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.simulation.driver import FRONT_M, REAR_M
from alpamayo_ros.simulation.road import LightColour, Road, TrafficLight
from alpamayo_ros.simulation.world import LANE_WIDTH_M, PARKING_WIDTH_M, ROAD_LEFT_M, ROAD_RIGHT_M, Rgb, Scenery, Vehicle, World
from alpamayo_ros.types import F64

ASPHALT: Rgb = (84, 86, 90)
PARKING: Rgb = (98, 98, 100)
PAVEMENT: Rgb = (168, 164, 156)
WHITE: Rgb = (232, 232, 228)
YELLOW: Rgb = (222, 180, 50)
FIELDS: tuple[Rgb, Rgb] = ((104, 138, 74), (118, 150, 84))
GLASS: Rgb = (38, 46, 56)
TYRE: Rgb = (24, 24, 26)
POLE: Rgb = (70, 72, 74)
LAMPS: dict[LightColour, tuple[Rgb, Rgb]] = {  # lit, dark; only the lit lamp is saturated
    "red": ((255, 20, 20), (62, 34, 34)),
    "yellow": ((255, 200, 0), (60, 54, 34)),
    "green": ((0, 245, 110), (34, 58, 44)),
}
BRAKE_LIT: Rgb = (255, 25, 20)
BRAKE_DARK: Rgb = (110, 22, 22)
BRAKING_MPS2 = -0.5  # brake lights are lit below

VEHICLE_HALF_WIDTH_M = 0.92
NEAR_EGO_M = 300.0  # along the road; more than the renderer draws
SEGMENT_M = 3.0  # a bend of 40 m radius is within 3 cm of such chords
_SUN = np.array([0.35, 0.45, 0.82])


class Polygons(NamedTuple):
    """Convex quadrilaterals, in the order in which they are painted."""

    corners: F64  # (N, 4, 3) m, odom
    colours: F64  # (N, 3) RGB, 0..255


@dataclass(frozen=True)
class Scene:
    """The ground is painted first and in order, then the solids from far to near."""

    ground: Polygons
    solids: tuple[Polygons, ...]  # one per thing, its faces in painting order
    centres: F64  # (S, 3) m, of the solids


def static_scene(world: World) -> Scene:
    """What does not change: the road and what stands beside it."""
    solids = [_building(world.road, s) if s.kind == "building" else _tree(world.road, s) for s in world.scenery]
    return Scene(_ground(world), tuple(solids), _centres(solids))


def scene_at(static: Scene, world: World, t_s: float) -> Scene:
    """The static scene with the world's lights and vehicles at `t_s`, those near the ego: farther ones are out of sight."""
    here_m = float(world.ego.along_m(t_s))
    lights = [light for light in world.lights if abs(light.stop_line_m - here_m) < NEAR_EGO_M]
    vehicles = [v for v in world.vehicles if abs(world.vehicle_along_m(v, t_s) - here_m) < NEAR_EGO_M]
    moving = [_traffic_light(world.road, light, light.colour(t_s)) for light in lights]
    moving += [_vehicle(world, vehicle, t_s) for vehicle in vehicles]
    return Scene(static.ground, (*static.solids, *moving), np.concatenate([static.centres, _centres(moving)]))


def _centres(solids: list[Polygons]) -> F64:
    return np.array([solid.corners.mean(axis=(0, 1)) for solid in solids]).reshape(-1, 3)


def _ground(world: World) -> Polygons:
    road = world.road
    edges = np.arange(0.0, road.length_m, SEGMENT_M)
    dashes = np.arange(0.0, road.length_m - 9.0, 9.0)
    strips = [
        *_fields(road),
        _strip(road, edges, ROAD_LEFT_M, ROAD_LEFT_M + 2.5, PAVEMENT),
        _strip(road, edges, ROAD_RIGHT_M - PARKING_WIDTH_M - 2.0, ROAD_RIGHT_M - PARKING_WIDTH_M, PAVEMENT),
        _strip(road, edges, ROAD_RIGHT_M, ROAD_LEFT_M, ASPHALT),
        _strip(road, edges, ROAD_RIGHT_M - PARKING_WIDTH_M, ROAD_RIGHT_M, PARKING),
        _strip(road, edges, 0.1, 0.25, YELLOW),
        _strip(road, edges, -0.25, -0.1, YELLOW),
        _strip(road, edges, ROAD_LEFT_M - 0.3, ROAD_LEFT_M - 0.15, WHITE),
        _strip(road, edges, ROAD_RIGHT_M - 0.08, ROAD_RIGHT_M + 0.08, WHITE),
        _patches(road, dashes, dashes + 3.0, -LANE_WIDTH_M - 0.08, -LANE_WIDTH_M + 0.08, WHITE),
        *(_stop_line(road, light) for light in world.lights),
    ]
    return Polygons(*map(np.concatenate, zip(*strips, strict=True)))


def _fields(road: Road) -> list[Polygons]:
    """Mown stripes of two tints: without them nothing beside the road would move."""
    starts = np.arange(0.0, road.length_m - 12.0, 12.0)
    return [
        _patches(road, starts[k::2], starts[k::2] + 12.0, right_m, right_m + 26.0, FIELDS[k])
        for k in (0, 1)
        for right_m in (ROAD_LEFT_M + 2.0, ROAD_RIGHT_M - PARKING_WIDTH_M - 28.0)
    ]


def _stop_line(road: Road, light: TrafficLight) -> Polygons:
    start = np.array([light.stop_line_m])
    return _patches(road, start, start + 0.5, ROAD_RIGHT_M, -0.3, WHITE)


def _strip(road: Road, edges_m: F64, right_m: float, left_m: float, colour: Rgb) -> Polygons:
    """An unbroken band along the road, from one edge to the next."""
    return _patches(road, edges_m[:-1], edges_m[1:], right_m, left_m, colour)


def _patches(road: Road, starts_m: F64, ends_m: F64, right_m: float, left_m: float, colour: Rgb) -> Polygons:
    around = [(starts_m, right_m), (ends_m, right_m), (ends_m, left_m), (starts_m, left_m)]
    xy = np.stack([road.place(along_m, across_m)[0] for along_m, across_m in around], axis=1)
    corners = np.concatenate([xy, np.zeros((*xy.shape[:2], 1))], axis=2)
    return Polygons(corners, np.tile(np.array(colour, dtype=np.float64), (len(corners), 1)))


def _box(low: tuple[float, float, float], high: tuple[float, float, float], colour: Rgb) -> Polygons:
    """The five faces of an upright box that are not its bottom, counter-clockwise seen from outside."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    faces = [
        [(x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)],
        [(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)],
        [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)],
        [(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)],
        [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)],
    ]
    return Polygons(np.array(faces), np.tile(np.array(colour, dtype=np.float64), (5, 1)))


def _wall(x: float, y0: float, y1: float, z0: float, z1: float, colour: Rgb) -> Polygons:
    """A rectangle across x; y0 > y1 faces backwards, y0 < y1 forwards."""
    face = [(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)]
    return Polygons(np.array([face]), np.array([colour], dtype=np.float64))


def _side(x0: float, x1: float, y: float, z0: float, z1: float, colour: Rgb) -> Polygons:
    """A rectangle along x that faces away from y = 0."""
    near, far = (x1, x0) if y > 0 else (x0, x1)
    face = [(near, y, z0), (far, y, z0), (far, y, z1), (near, y, z1)]
    return Polygons(np.array([face]), np.array([colour], dtype=np.float64))


def _crown(half_width_m: float, z0: float, z1: float, colour: Rgb) -> Polygons:
    """Eight triangles around an upright axis: four up, four down."""
    w, middle = half_width_m, z0 + 0.4 * (z1 - z0)
    ring = [(w, 0.0, middle), (0.0, w, middle), (-w, 0.0, middle), (0.0, -w, middle)]
    faces = []
    for a, b in zip(ring, ring[1:] + ring[:1], strict=True):
        faces += [[a, b, (0.0, 0.0, z1), (0.0, 0.0, z1)], [b, a, (0.0, 0.0, z0), (0.0, 0.0, z0)]]
    return Polygons(np.array(faces), np.tile(np.array(colour, dtype=np.float64), (8, 1)))


def _disc(x: float, z: float, radius_m: float, colour: Rgb) -> Polygons:
    """An octagon across x that faces backwards, as three quadrilaterals."""
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    rim = np.column_stack([np.full(8, x), -radius_m * np.cos(angles), z + radius_m * np.sin(angles)])
    return Polygons(rim[[[0, 1, 2, 3], [0, 3, 4, 7], [4, 5, 6, 7]]], np.tile(np.array(colour, dtype=np.float64), (3, 1)))


def _solid(parts: list[Polygons], xy: F64, yaw_rad: float, unshaded: int = 0) -> Polygons:
    """Parts placed in the world and shaded by the sun, but for the last `unshaded` polygons, which shine themselves."""
    corners, colours = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    corners = corners @ rotation_z(yaw_rad).T + (*xy, 0.0)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = 0.62 + 0.4 * np.clip(normals @ _SUN, 0.0, 1.0)
    light[len(light) - unshaded :] = 1.0
    return Polygons(corners, colours * light[:, None])


def _building(road: Road, s: Scenery) -> Polygons:
    xy, yaw = road.place(s.along_m, s.left_m)
    return _solid(
        [_box((-s.length_m / 2, -s.width_m / 2, 0.0), (s.length_m / 2, s.width_m / 2, s.height_m), s.colour)], xy, float(yaw)
    )


def _tree(road: Road, s: Scenery) -> Polygons:
    xy, yaw = road.place(s.along_m, s.left_m)
    trunk = _box((-0.18, -0.18, 0.0), (0.18, 0.18, 0.3 * s.height_m), (96, 72, 52))
    return _solid([trunk, _crown(s.width_m / 2, 0.2 * s.height_m, s.height_m, s.colour)], xy, float(yaw))


def _traffic_light(road: Road, light: TrafficLight, lit: LightColour) -> Polygons:
    """On the far side, so that who stops at the line still sees it; low, so that the tele camera does from 25 m on."""
    xy, yaw = road.place(light.stop_line_m + 11.0, ROAD_RIGHT_M - PARKING_WIDTH_M - 0.7)
    pole = _box((-0.12, -0.12, 0.0), (0.12, 0.12, 2.0), POLE)
    housing = _box((-0.15, -0.55, 2.0), (0.15, 0.55, 4.9), (26, 28, 30))
    places: list[tuple[LightColour, float]] = [("green", 2.55), ("yellow", 3.45), ("red", 4.35)]
    lamps = [_disc(-0.16, z, 0.4, LAMPS[colour][0 if colour == lit else 1]) for colour, z in places]
    return _solid([pole, housing, *lamps], xy, float(yaw), unshaded=9)


def _vehicle(world: World, vehicle: Vehicle, t_s: float) -> Polygons:
    xy, yaw = world.vehicle_pose(vehicle, t_s)
    w = VEHICLE_HALF_WIDTH_M
    braking = float(vehicle.motion.accel_mps2(t_s)) < BRAKING_MPS2
    brake = BRAKE_LIT if braking else BRAKE_DARK
    axles = (0.0, FRONT_M - 0.95)
    wheels = [
        _box((x - 0.33, side - 0.12, 0.0), (x + 0.33, side + 0.12, 0.3), TYRE) for x in axles for side in (w - 0.13, 0.13 - w)
    ]
    arches = [_side(x - 0.33, x + 0.33, side, 0.0, 0.64, TYRE) for x in axles for side in (w + 0.01, -w - 0.01)]
    body = _box((-REAR_M, -w, 0.28), (FRONT_M, w, 0.95), vehicle.colour)
    cabin = _box((-REAR_M + 0.15, -w + 0.12, 0.95), (FRONT_M - 1.6, w - 0.12, 1.42), GLASS)
    roof = _box((-REAR_M + 0.25, -w + 0.16, 1.42), (FRONT_M - 1.9, w - 0.16, 1.47), vehicle.colour)
    back, front = -REAR_M - 0.01, FRONT_M + 0.01
    lamps = [
        *(_wall(back, side + 0.24, side - 0.24, 0.62, 0.88, brake) for side in (w - 0.28, -w + 0.28)),
        _wall(back + 0.14, 0.4, -0.4, 1.3, 1.4, brake),
        *(_wall(front, side - 0.22, side + 0.22, 0.6, 0.8, (240, 240, 225)) for side in (w - 0.28, -w + 0.28)),
    ]
    return _solid([*wheels, body, *arches, cabin, roof, *lamps], xy, yaw, unshaded=5)
