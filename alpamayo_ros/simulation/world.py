"""The driving world: a road of clothoids with lanes, a traffic light, other vehicles and scenery, and a drive through it.

The world frame is the odometry frame: x, y in the plane, z up, metres. Places on the road are given as `along_m` on its
centre line and `left_m` of it. The centre line divides the two directions: ours is on its right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from alpamayo_ros.simulation.driver import FRONT_M, MOTION_HZ, SPEED_MPS, Motion, drive
from alpamayo_ros.simulation.road import LightColour, Piece, Road, TrafficLight
from alpamayo_ros.types import F64, InvalidInput

LANE_WIDTH_M = 3.5
EGO_LANE_LEFT_M = -1.5 * LANE_WIDTH_M  # ours is the right one of two lanes
PASSING_LANE_LEFT_M = -0.5 * LANE_WIDTH_M
ONCOMING_LANE_LEFT_M = 0.5 * LANE_WIDTH_M
ROAD_LEFT_M = LANE_WIDTH_M
ROAD_RIGHT_M = -2.0 * LANE_WIDTH_M
PARKING_WIDTH_M = 2.2
START_M = 100.0  # of the ego along the road: the rear cameras need a road behind it

_MIDDLE_M = -2.0  # `left_m` of the middle of all lanes

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Vehicle:
    """Another car; its place is that of its rear axle."""

    name: str
    left_m: float
    oncoming: bool  # its motion counts from the far end of the road
    motion: Motion
    colour: Rgb


@dataclass(frozen=True)
class Scenery:
    """A building or a tree beside the road."""

    kind: Literal["building", "tree"]
    along_m: float
    left_m: float
    length_m: float  # along the road
    width_m: float
    height_m: float
    colour: Rgb


@dataclass(frozen=True)
class World:
    """Everything there is, for t in [0, duration_s]."""

    duration_s: float
    road: Road
    lights: tuple[TrafficLight, ...]
    ego: Motion
    vehicles: tuple[Vehicle, ...]
    scenery: tuple[Scenery, ...]

    def vehicle_along_m(self, vehicle: Vehicle, t_s: float) -> float:
        """Where a vehicle's rear axle is along the road."""
        along_m = float(vehicle.motion.along_m(t_s))
        return self.road.length_m - along_m if vehicle.oncoming else along_m

    def vehicle_pose(self, vehicle: Vehicle, t_s: float) -> tuple[F64, float]:
        """Where a vehicle's rear axle is: xy (2,) m and yaw, rad."""
        xy, yaw = self.road.place(self.vehicle_along_m(vehicle, t_s), vehicle.left_m)
        return xy, float(yaw) + (np.pi if vehicle.oncoming else 0.0)


@dataclass(frozen=True)
class EgoStates:
    """The reference drive, sampled; an exact unicycle: yaw rate = speed x curvature."""

    t_s: F64  # (n,) s
    xyz: F64  # (n, 3) m, odom; rear axle on the ground
    yaw_rad: F64  # (n,) rad, unwrapped
    speed_mps: F64  # (n,)
    accel_mps2: F64  # (n,)
    curvature_1pm: F64  # (n,) of the path, positive turns left

    @property
    def yaw_rate_rps(self) -> F64:
        """Yaw rates (n,), rad/s, positive turns left."""
        return self.speed_mps * self.curvature_1pm


def ego_states(world: World, rate_hz: float, duration_s: float) -> EgoStates:
    """The reference drive at t = 0, 1/rate, ... before `duration_s`. Raises InvalidInput beyond the world's duration."""
    if not (rate_hz > 0 and 0 < duration_s <= world.duration_s):
        raise InvalidInput(f"want a rate > 0 Hz and 0 < duration <= {world.duration_s} s, got {rate_hz} Hz, {duration_s} s")
    return ego_at(world, np.arange(round(duration_s * rate_hz)) / rate_hz)


def ego_at(world: World, t_s: F64) -> EgoStates:
    """The reference drive at the times (n,) s, within [0, world.duration_s]."""
    along_m = world.ego.along_m(t_s)
    xy, yaw = world.road.place(along_m, EGO_LANE_LEFT_M)
    centre_curvature = world.road.curvature_1pm(along_m)
    return EgoStates(
        t_s=t_s,
        xyz=np.column_stack([xy, np.zeros(len(xy))]),
        yaw_rad=yaw,
        speed_mps=world.ego.speed_mps(t_s),
        accel_mps2=world.ego.accel_mps2(t_s),
        curvature_1pm=centre_curvature / (1.0 - EGO_LANE_LEFT_M * centre_curvature),
    )


def make_world(seed: int, duration_s: float) -> World:
    """A world in which the ego speeds up behind a car that brakes, takes a curve, stops at a red light, waits and goes on.

    The same arguments give the same world. Raises InvalidInput for a duration outside (0, 3600] s.
    """
    if not 0 < duration_s <= 3600:
        raise InvalidInput(f"duration: want 0 < s <= 3600, got {duration_s}")
    rng = np.random.default_rng(seed)
    road, stop_lines_m = _make_road(rng, START_M + SPEED_MPS * duration_s + 300.0)
    lights = tuple(_make_light(rng, line) for line in stop_lines_m)
    steps = round(duration_s * MOTION_HZ) + 2
    lead = drive(road, EGO_LANE_LEFT_M, START_M + rng.uniform(18, 21), 9.0, _braking_once(rng, steps), lights[1:], None)
    lights = (_turn_red_behind(lights[0], lead), *lights[1:])
    ego = drive(road, EGO_LANE_LEFT_M, START_M, 7.5, np.full(steps, rng.uniform(9.5, 10.5)), lights, lead)
    vehicles = (
        Vehicle("lead", EGO_LANE_LEFT_M, oncoming=False, motion=lead, colour=(200, 60, 40)),
        _follower(rng, road, lights, ego, steps),
        _passing(rng, road, lights, steps),
        *_oncoming(rng, road, duration_s),
        *_parked(rng, road, duration_s),
    )
    return World(duration_s, road, lights, ego, vehicles, _make_scenery(rng, road))


def _make_road(rng: np.random.Generator, length_m: float) -> tuple[Road, list[float]]:
    """A straight start, then blocks of: left curve, straight with a stop line, right curve, straight."""
    pieces, stop_lines_m = [Piece(START_M + 6.0, 0.0)], []
    while sum(piece.length_m for piece in pieces) < length_m:
        left, right = 1 / rng.uniform(42, 52), -1 / rng.uniform(42, 52)
        pieces += [Piece(16.0, left), Piece(rng.uniform(16, 22), left), Piece(16.0, 0.0)]
        stop_lines_m.append(sum(piece.length_m for piece in pieces) + 30.0)
        pieces += [Piece(64.0, 0.0), Piece(16.0, right), Piece(rng.uniform(16, 22), right), Piece(16.0, 0.0), Piece(70.0, 0.0)]
    return Road(tuple(pieces)), stop_lines_m


def _make_light(rng: np.random.Generator, stop_line_m: float) -> TrafficLight:
    phases: tuple[tuple[LightColour, float], ...] = (("yellow", 2.0), ("red", rng.uniform(6.5, 7.0)), ("green", 14.0))
    return TrafficLight(stop_line_m, phases, offset_s=rng.uniform(0, 20))


def _turn_red_behind(light: TrafficLight, lead: Motion) -> TrafficLight:
    """The same light, yellow from the moment the lead can no longer stop: it passes, and the ego meets the red."""
    reached = np.flatnonzero(lead.along + FRONT_M > light.stop_line_m - 5.0)
    return replace(light, offset_s=float(reached[0]) / MOTION_HZ) if len(reached) else light


def _braking_once(rng: np.random.Generator, steps: int) -> F64:
    """Wished speeds of the lead: it brakes hard once, early."""
    t_s, start_s = np.arange(steps) / MOTION_HZ, rng.uniform(0.8, 1.2)
    return np.where((t_s > start_s) & (t_s < start_s + 1.6), 5.0, SPEED_MPS)


def _follower(rng: np.random.Generator, road: Road, lights: tuple[TrafficLight, ...], ego: Motion, steps: int) -> Vehicle:
    motion = drive(road, EGO_LANE_LEFT_M, START_M - rng.uniform(18, 22), 7.5, np.full(steps, 10.0), lights, ego)
    return Vehicle("follower", EGO_LANE_LEFT_M, oncoming=False, motion=motion, colour=(70, 110, 160))


def _passing(rng: np.random.Generator, road: Road, lights: tuple[TrafficLight, ...], steps: int) -> Vehicle:
    motion = drive(road, PASSING_LANE_LEFT_M, START_M - rng.uniform(10, 14), 9.0, np.full(steps, 11.0), lights, None)
    return Vehicle("passing", PASSING_LANE_LEFT_M, oncoming=False, motion=motion, colour=(230, 230, 225))


def _oncoming(rng: np.random.Generator, road: Road, duration_s: float) -> list[Vehicle]:
    """One car about every 60 m, all at the same speed; later ones wait at the far end of the road, out of sight."""
    speed = 8.0
    colours: tuple[Rgb, ...] = ((40, 60, 110), (160, 160, 165), (90, 30, 40), (235, 200, 60))
    starts = np.arange(10.0 - speed * duration_s, road.length_m - START_M, 60.0)
    return [
        Vehicle(
            f"oncoming_{k}",
            ONCOMING_LANE_LEFT_M,
            oncoming=True,
            motion=_steady(start + rng.uniform(0, 20), speed, duration_s),
            colour=colours[k % 4],
        )
        for k, start in enumerate(starts)
    ]


def _parked(rng: np.random.Generator, road: Road, duration_s: float) -> list[Vehicle]:
    left_m = ROAD_RIGHT_M - PARKING_WIDTH_M / 2
    places = np.arange(60.0, road.length_m - 10.0, 45.0) + rng.uniform(-5, 5)
    return [
        Vehicle(f"parked_{k}", left_m, oncoming=False, motion=_steady(place, 0.0, duration_s), colour=_grey(rng, 60, 200))
        for k, place in enumerate(places)
    ]


def _steady(start_m: float, speed_mps: float, duration_s: float) -> Motion:
    """A motion that needs no driver."""
    along = np.array([start_m, start_m + speed_mps * duration_s])
    return Motion(np.array([0.0, duration_s]), along, np.full(2, speed_mps), np.zeros(2))


def _grey(rng: np.random.Generator, low: int, high: int) -> Rgb:
    r, g, b = (rng.integers(low, high) + rng.integers(-15, 16, 3)).clip(0, 255)
    return int(r), int(g), int(b)


def _make_scenery(rng: np.random.Generator, road: Road) -> tuple[Scenery, ...]:
    """Trees in a row on both sides, buildings behind them."""
    scenery: list[Scenery] = []
    for along_m in np.arange(4.0, road.length_m, 9.0):
        for side in (1.0, -1.0):
            tree_m, house_m = side * rng.uniform(13, 16) + _MIDDLE_M, side * rng.uniform(22, 26) + _MIDDLE_M
            green = (int(rng.integers(35, 60)), int(rng.integers(85, 125)), int(rng.integers(30, 55)))
            if rng.random() < 0.7:
                scenery.append(Scenery("tree", along_m + rng.uniform(-3, 3), tree_m, 4.0, 4.0, rng.uniform(5, 8), green))
            if rng.random() < 0.5:
                size = (float(rng.uniform(6, 8.5)), float(rng.uniform(6, 9)), float(rng.uniform(4, 13)))
                scenery.append(Scenery("building", along_m, house_m, *size, colour=_grey(rng, 120, 215)))
    return tuple(scenery)
