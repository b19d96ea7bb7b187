"""The driving world in motion: a scenario, and everybody in it but the ego, which somebody else drives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from shapely.geometry import Polygon

from alpamayo_ros.simulation.road import Lane
from alpamayo_ros.simulation.scenario import LightColour, Scenario, TrafficLight, Trigger, Vehicle
from alpamayo_ros.simulation.state import Body, Ego, Snapshot, ego_footprint_m, footprint_m
from alpamayo_ros.simulation.world.traffic import Traffic
from alpamayo_ros.simulation.world.walkers import Stroll
from alpamayo_ros.types import F64, STEP_S, InvalidInput

OVERLAP_M2 = 0.01  # of two footprints at time 0: less is rounding


class World:
    """A scenario in motion: everybody else reacts to the ego as it was at `now`. The same egos make the same snapshots."""

    def __init__(self, scenario: Scenario) -> None:
        """Put everything in its place. Raises InvalidInput for a vehicle on no lane, and for bodies that overlap."""
        _check_lights(scenario)
        for vehicle in scenario.vehicles:
            _check_vehicle(scenario, vehicle)
        self.scenario = scenario
        self._standing = _standing(scenario)
        self._traffic = Traffic(scenario, self._standing)
        self._strolls = [Stroll(walker, scenario.roads[walker.road]) for walker in scenario.walkers]
        self._triggers = _triggers(scenario)
        self._fired: dict[Trigger, float] = {}
        self._ticks = 0
        xy, yaw = scenario.route.place(scenario.start.along_m, scenario.start.left_m)
        self.now = self._snapshot(Ego(xy, float(yaw), scenario.start.speed_mps))
        _check_apart(scenario, self.now)

    def step(self, ego: Ego) -> Snapshot:
        """Everybody else moves on by STEP_S; `ego` is where the ego is then. Returns the new `now`."""
        self._traffic.look(self.now.ego, self.now.lights, self._fired, self._strolls, STEP_S)
        for stroll in self._strolls:
            if stroll.walker.trigger in self._fired:
                road = stroll.walker.road
                stroll.step(self._traffic.taken(road), self._traffic.sweeps(road), STEP_S)
        self._traffic.move(STEP_S)
        self._ticks += 1
        self.now = self._snapshot(ego)
        return self.now

    def _snapshot(self, ego: Ego) -> Snapshot:
        t_s = round(self._ticks * STEP_S, 6)
        self._fire(t_s, ego)
        moving = self._traffic.bodies()
        vehicles = [moving[vehicle.name] for vehicle in self.scenario.vehicles if vehicle.name in moving]
        bodies = (*vehicles, *self._standing, *(stroll.body() for stroll in self._strolls))
        return Snapshot(t_s, ego, bodies, tuple(self._colour(light, t_s) for light in self.scenario.lights))

    def _fire(self, t_s: float, ego: Ego) -> None:
        """Note when triggers fire, once."""
        along_m = float(self.scenario.route.locate(ego.xy_m)[0])
        for trigger in self._triggers:
            if trigger not in self._fired and (t_s >= trigger.at_s - 1e-9 or along_m >= trigger.ego_past_m):
                self._fired[trigger] = t_s

    def _colour(self, light: TrafficLight, t_s: float) -> LightColour:
        if light.trigger is None:
            return light.colour(t_s)
        fired = self._fired.get(light.trigger)
        return light.phases[-1][0] if fired is None else light.colour(t_s - fired)


def _triggers(scenario: Scenario) -> tuple[Trigger, ...]:
    found = [light.trigger for light in scenario.lights] + [walker.trigger for walker in scenario.walkers]
    for vehicle in scenario.vehicles:
        found += [vehicle.waits, *(trigger for trigger, _ in vehicle.wishes), *(change.trigger for change in vehicle.changes)]
    return tuple(dict.fromkeys(trigger for trigger in found if trigger is not None))


def _standing(scenario: Scenario) -> tuple[Body, ...]:
    bodies = []
    for thing in scenario.standing:
        xy, heading = scenario.roads[thing.road].place(thing.along_m, thing.left_m)
        bodies.append(Body(thing.name, thing.kind, xy, float(heading) + thing.yaw_rad, 0.0, colour=thing.colour))
    return tuple(bodies)


def _check_lights(scenario: Scenario) -> None:
    for k, light in enumerate(scenario.lights):
        for name in light.lanes:
            _lane_of(scenario, light.road, name, f"light {k}")


def _check_vehicle(scenario: Scenario, vehicle: Vehicle) -> None:
    who = f"vehicle {vehicle.name}"
    lane = _lane_of(scenario, vehicle.road, vehicle.lane, who)
    if not lane.from_m <= vehicle.along_m < lane.to_m:
        where = f"at {vehicle.along_m:.1f} m, but lane {lane.name} is {lane.from_m:.1f} to {lane.to_m:.1f} m"
        raise InvalidInput(f"{scenario.family} {scenario.seed}: {who}: {where}")
    if not 0 <= vehicle.speed_mps < np.inf:
        raise InvalidInput(f"{scenario.family} {scenario.seed}: {who}: speed {vehicle.speed_mps} m/s, want >= 0")
    for change in vehicle.changes:
        if _lane_of(scenario, vehicle.road, change.lane, who).oncoming != lane.oncoming:
            why = f"lane {change.lane} is driven in the other direction than lane {lane.name}"
            raise InvalidInput(f"{scenario.family} {scenario.seed}: {who}: {why}")


def _lane_of(scenario: Scenario, road_index: int, name: str, who: str) -> Lane:
    road = scenario.roads[road_index]
    if all(lane.name != name for lane in road.lanes):
        known = ", ".join(lane.name for lane in road.lanes)
        raise InvalidInput(f"{scenario.family} {scenario.seed}: {who}: road {road.name} has no lane {name}, only {known}")
    return road.lane(name)


def _check_apart(scenario: Scenario, start: Snapshot) -> None:
    """Raise InvalidInput if two footprints overlap."""
    places: list[tuple[str, F64, F64]] = [("the ego", start.ego.xy_m, ego_footprint_m(start.ego))]
    places += [(body.name, body.xy_m, footprint_m(body)) for body in start.bodies]
    for (one, at, corners), (two, its, others) in combinations(places, 2):
        if abs(at[0] - its[0]) + abs(at[1] - its[1]) < 15.0:
            shared = Polygon(corners).intersection(Polygon(others)).area
            if shared > OVERLAP_M2:
                where = f"({at[0]:.1f}, {at[1]:.1f}) and ({its[0]:.1f}, {its[1]:.1f})"
                raise InvalidInput(
                    f"{scenario.family} {scenario.seed}: {one} and {two} overlap by {shared:.2f} m2 at {where} m"
                )
