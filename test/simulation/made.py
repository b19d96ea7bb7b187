"""A small scenario and snapshots written by hand, for tests of one room of the simulation."""

from dataclasses import replace
from typing import Any

import numpy as np

from alpamayo_ros.simulation.episode import Episode
from alpamayo_ros.simulation.road import Lane, Piece, Road, Strip
from alpamayo_ros.simulation.scenario import Crosswalk, Scenario, Sign, Standing, Start, TrafficLight, Trigger, Vehicle, Walker
from alpamayo_ros.simulation.state import WHEELBASE_M, Body, Ego, Snapshot

LIMIT_MPS = 12.0


def street(*pieces: Piece) -> Road:
    """A street of two lanes ahead, ours the right one, and one oncoming; straight, 300 m, unless pieces are given."""
    pieces = pieces or (Piece(300.0, 0.0),)
    end = sum(piece.length_m for piece in pieces)
    lanes = (
        Lane("ego", 0.0, 0.0, end, LIMIT_MPS, left_paint="dashed"),
        Lane("left", 3.5, 0.0, end, LIMIT_MPS, left_paint="double", right_paint="dashed"),
        Lane("oncoming", 7.0, 0.0, end, LIMIT_MPS, oncoming=True, right_paint="double"),
    )
    strips = (Strip("parking", 0.0, end, -3.95, -1.75), Strip("pavement", 0.0, end, -5.95, -3.95))
    return Road("street", pieces, lanes, strips)


def scenario(**changes: Any) -> Scenario:
    """The street, empty, from 40 m on at 8 m/s."""
    plain = Scenario("made", 0, 20.0, (street(),), Start(40.0, 8.0), goal_m=180.0)
    return replace(plain, **changes)


def busy() -> Scenario:
    """One of each: lead, oncoming car, parked car, cones, pedestrian at a crosswalk, light, stop sign."""
    red = TrafficLight(0, 120.0, ("ego", "left"), (("red", 8.0), ("green", 10.0), ("yellow", 3.0)), 0.0, (132.0, -4.5))
    return scenario(
        lights=(red,),
        signs=(Sign("stop", 0, 170.0, -3.0, stop_line_m=171.0),),
        crosswalks=(Crosswalk(0, 122.0, 126.0),),
        vehicles=(
            Vehicle("lead", "car", 0, "ego", 70.0, 8.0, colour=(200, 60, 40)),
            Vehicle("oncoming", "truck", 0, "oncoming", 150.0, 9.0),
        ),
        standing=(
            Standing("parked", "parked_car", 0, 85.0, -2.85),
            *(Standing(f"cone {k}", "cone", 0, 95.0 + 2.0 * k, -1.5) for k in range(3)),
        ),
        walkers=(Walker("walker", "pedestrian", 0, 124.0, -5.0, 9.0, 1.4, Trigger(at_s=0.0)),),
    )


def snapshot(of: Scenario, t_s: float = 0.0, along_m: float | None = None, speed_mps: float | None = None) -> Snapshot:
    """Everything where the scenario puts it, the ego on its lane; nothing has moved."""
    start = of.start
    xy, yaw = of.route.place(start.along_m if along_m is None else along_m, start.left_m)
    ego = Ego(np.asarray(xy), float(yaw), start.speed_mps if speed_mps is None else speed_mps)
    bodies = [_vehicle(of, vehicle) for vehicle in of.vehicles]
    for thing in of.standing:
        place, heading = of.roads[thing.road].place(thing.along_m, thing.left_m)
        bodies.append(Body(thing.name, thing.kind, np.asarray(place), float(heading) + thing.yaw_rad, 0.0, colour=thing.colour))
    for walker in of.walkers:
        place, heading = of.roads[walker.road].place(walker.along_m, walker.from_left_m)
        side = np.copysign(np.pi / 2, walker.to_left_m - walker.from_left_m)
        bodies.append(
            Body(walker.name, walker.kind, np.asarray(place), float(heading) + float(side), 0.0, colour=walker.colour)
        )
    return Snapshot(t_s, ego, tuple(bodies), tuple(light.colour(t_s) for light in of.lights))


def episode(of: Scenario) -> Episode:
    """A drive without a driver: everybody on wheels goes on at the speed of the start, the ego along its route."""
    t_s = np.arange(round(of.duration_s * 100) + 1) / 100
    start = of.start
    xy, yaw = of.route.place(start.along_m + start.speed_mps * t_s, np.full(len(t_s), start.left_m))
    bend = of.route.curvature_1pm(start.along_m + start.speed_mps * t_s)
    wheels = np.arctan(WHEELBASE_M * bend)
    egos = tuple(
        Ego(place, float(heading), start.speed_mps, steering_rad=float(steering))
        for place, heading, steering in zip(xy, yaw, wheels, strict=True)
    )
    first = snapshot(of)
    snapshots = tuple(
        Snapshot(t, ego, tuple(_moved(body, t) for body in first.bodies), tuple(light.colour(t) for light in of.lights))
        for t, ego in zip(t_s[::10].tolist(), egos[::10], strict=True)
    )
    return Episode(of, "nobody", snapshots, egos, ())


def _moved(body: Body, t_s: float) -> Body:
    ahead_m = body.speed_mps * t_s
    return replace(body, xy_m=body.xy_m + ahead_m * np.array([np.cos(body.yaw_rad), np.sin(body.yaw_rad)]))


def _vehicle(of: Scenario, vehicle: Vehicle) -> Body:
    lane = of.roads[vehicle.road].lane(vehicle.lane)
    place, heading = of.roads[vehicle.road].place(vehicle.along_m, lane.left_m)
    yaw = float(heading) + (np.pi if lane.oncoming else 0.0)
    return Body(vehicle.name, vehicle.kind, np.asarray(place), yaw, vehicle.speed_mps, colour=vehicle.colour)
