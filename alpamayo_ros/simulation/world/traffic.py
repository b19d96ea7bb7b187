"""Vehicles other than the ego, driven by highway-env's Intelligent Driver Model and MOBIL on our roads.

The only importer of highway_env, whose y points down and whose headings are clockwise: `_flipped` is the border. From the
library come the models of acceleration and of lane changes; its lanes are our tracks, on which vehicles move exactly; lights,
signs, crosswalks and crossings are standing or moving things ahead of a driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from highway_env.road.lane import AbstractLane
from highway_env.road.road import Road as Streets
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle as Moving
from highway_env.vehicle.objects import Obstacle

from alpamayo_ros.simulation.scenario import LightColour, Scenario, Trigger, Vehicle
from alpamayo_ros.simulation.state import FRONT_M, REAR_M, SIZES, Body, Ego, Size
from alpamayo_ros.simulation.world import road_rules as rules
from alpamayo_ros.simulation.world.foresight import Around, ego_on, ghosts, not_in_its_way
from alpamayo_ros.simulation.world.motion import Change, Motion
from alpamayo_ros.simulation.world.progress import JAM_M, Ahead, Progress, hardest_mps2
from alpamayo_ros.simulation.world.right_of_way import Junctions
from alpamayo_ros.simulation.world.road_rules import SIDE_MARGIN_M, Obedience, Sweep
from alpamayo_ros.simulation.world.tracks import Spot, Track, beside, may_change, spots, track_with, tracks_of
from alpamayo_ros.simulation.world.walkers import Stroll
from alpamayo_ros.types import F64

LaneIndex = tuple[str, str, int]

OVERTAKING_S = 4.0  # duration of a lane change of MOBIL, or out of a lane that ends
MERGE_FROM_M = 120.0  # before the end of a lane
KEEPS_OUT_M = 300.0  # before the end of a lane nobody overtakes in it
WISH_BRAKING_MPS2 = 4.0  # to a lower wished speed
ROOM_M = 2.0  # to others in the lane that is changed to
IMPOSED_MPS2 = 2.5  # braking that a lane change asks of others, or of oneself
STANDING_MPS2 = -1.0  # wanted by who stands and wants to go on standing


def _flipped(xy_m: F64) -> F64:
    """highway-env's position of a place of ours, and back; headings change their sign."""
    return np.asarray(xy_m * np.array([1.0, -1.0]))


class TrackLane(AbstractLane):  # type: ignore[misc]
    """A track as highway-env's lane: longitudinal is `s_m`, lateral to the right of the direction of driving."""

    speed_limit = None  # is a matter of the place; see `Driver.act`

    def __init__(self, track: Track, neighbours: Sequence[Track]) -> None:
        self.track = track
        self.length = track.length_m
        self.neighbours = neighbours

    def position(self, longitudinal: float, lateral: float) -> F64:
        """highway-env's place of lane coordinates."""
        track = self.track
        xy, _ = track.road.place(track.along_m(longitudinal), track.left_m - track.sign * lateral)
        return _flipped(xy)

    def local_coordinates(self, position: F64) -> tuple[float, float]:
        """Inverse of `position`."""
        along, left = self.track.road.locate(_flipped(position))
        return self.track.s_m(float(along)), self.track.sign * (self.track.left_m - float(left))

    def after_end(self, *_: object) -> bool:
        """Never: no lane follows a track."""
        return False

    def is_reachable_from(self, position: F64) -> bool:
        """Whether one may change into it from a neighbour at this place."""
        s, right = self.local_coordinates(position)
        if self.track.ends_early and self.length - s < KEEPS_OUT_M:
            return False
        along = self.track.along_m(s)
        from_left = self.track.sign * right < 0
        side = [other for other in self.neighbours if (other.left_m > self.track.left_m) == from_left]
        return any(may_change(other, self.track, along) for other in side)


class Network(RoadNetwork):  # type: ignore[misc]
    """Tracks as highway-env's lanes; those of one road and direction are one edge."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        super().__init__()
        self.index: dict[Track, LaneIndex] = {}
        for track in tracks:
            start, end = f"{track.road_index} {track.sign:+.0f}", f"{track.road_index} end"
            self.add_lane(start, end, TrackLane(track, [other for other in tracks if beside(track, other)]))
            self.index[track] = (start, end, len(self.graph[start][end]) - 1)

    def side_lanes(self, lane_index: LaneIndex) -> list[LaneIndex]:
        """Neighbours, wherever the line between may be crossed."""
        return [self.index[track] for track in self.get_lane(lane_index).neighbours]


class _OnStreets:
    """Mixed into highway-env's vehicles and obstacles: gaps from bumper to bumper, along the road of whoever is acting."""

    road: Traffic
    position: F64
    heading: float
    speed: float
    velocity: F64
    LENGTH: float
    WIDTH: float
    accel_mps2 = 0.0
    within_s: float | None = None  # until it is in the way; None: it is
    entering: Track | None = None  # that it is seen to move over to
    spots: list[Spot]  # one per road

    def lane_distance_to(self, other: _OnStreets | None, *_: object) -> float:
        """Gap to another thing ahead, m; negative when they touch."""
        if other is None:
            return float("nan")
        if isinstance(other, Shadow):
            return other.gap_m
        here = self.road.here
        mine, its = self.spots[here.road_index], other.spots[here.road_index]
        return mine.gap_m(its) if here.sign * (its.along_m - mine.along_m) >= 0 else -mine.gap_m(its)


class Shadow(_OnStreets, Obstacle):  # type: ignore[misc]
    """What stands for a line, or for somebody who is not in the lane, ahead of a driver."""

    def __init__(self) -> None:
        super().__init__(None, (0.0, 0.0))
        self.gap_m = float("inf")

    def of(self, ahead: Ahead, heading: float) -> Shadow:
        """Of a thing ahead of somebody with a heading."""
        self.gap_m, self.speed, self.within_s, self.heading = *ahead, heading
        return self


class Puppet(_OnStreets, Moving):  # type: ignore[misc]
    """The ego, a walker, or something that stands: put where it is by others."""

    def __init__(self, streets: Traffic, size: Size) -> None:
        self.LENGTH, self.WIDTH = size.length_m, size.width_m
        super().__init__(None, (0.0, 0.0))
        self.road, self.check_collisions = streets, False
        self.spots = []

    def put(self, xy_m: F64, yaw_rad: float, speed_mps: float, accel_mps2: float = 0.0) -> None:
        """Place it in the world."""
        self.position, self.heading, self.speed, self.accel_mps2 = _flipped(xy_m), -yaw_rad, speed_mps, accel_mps2
        self.target_speed = max(speed_mps, 1.0)  # MOBIL asks how it would like somebody in front of it

    def act(self, *_: object) -> None:
        """Somebody else decides."""

    def step(self, dt: float) -> None:
        """Somebody else moves it."""


class Driver(_OnStreets, IDMVehicle):  # type: ignore[misc]
    """Somebody who drives: highway-env's acceleration and lane changes, on a track."""

    COMFORT_ACC_MAX = 1.8
    COMFORT_ACC_MIN = -2.2
    DISTANCE_WANTED = JAM_M
    TIME_WANTED = 1.2
    ACC_MAX = 7.0

    def __init__(self, streets: Traffic, vehicle: Vehicle, order: int) -> None:
        lanes = (vehicle.lane, *(change.lane for change in vehicle.changes))
        track, *targets = (track_with(streets.tracks, vehicle.road, lane) for lane in lanes)
        script = [
            (change.trigger, Change(to, change.duration_s, change.returns_after_s, insists=True))
            for change, to in zip(vehicle.changes, targets, strict=True)
        ]
        self.vehicle, self.order, self.motion = vehicle, order, Motion(vehicle, track, script)
        self.LENGTH, self.WIDTH = self.motion.size.length_m, self.motion.size.width_m
        place, index = streets.network.get_lane(streets.index[track]), streets.index[track]
        super().__init__(None, place.position(self.motion.s_m, 0.0), speed=self.motion.speed_mps, target_lane_index=index)
        self.road, self.lane_index, self.lane = streets, index, place
        self.check_collisions = False  # highway-env would throw them about; ending the drive is the matter of others
        self.spots = []
        self.shadow = Shadow()
        self.obedience = Obedience()
        self.line_m: float | None = None  # progress of the stop line that it stops at
        self.leader_stands_at_m = float("inf")
        self.wanted_mps2 = 0.0
        if vehicle.kind == "truck":
            self.COMFORT_ACC_MAX = 1.0

    def look_at_lines(self, colours: Sequence[LightColour], dt_s: float) -> None:
        """Decide at which stop line it stops, before anybody asks whether it comes."""
        if self.vehicle.yields:
            self.line_m = self.obedience.look(self.road.lines[self.motion.track], colours, self.progress(), dt_s)

    def progress(self) -> Progress:
        """As others at a junction see it."""
        motion = self.motion
        halts = self.leader_stands_at_m if self.line_m is None else min(self.line_m, self.leader_stands_at_m)
        return Progress(motion.track, motion.s_m, motion.speed_mps, *motion.size[:2], self.order, halts, self.vehicle.yields)

    def act(self, *_: object) -> None:
        """Decide on lane and acceleration: as IDMVehicle.act, but without steering, and with more to keep behind."""
        around, motion, self.road.here = self.road.around, self.motion, self.motion.track
        if motion.stands(around.fired):
            self.wanted_mps2 = STANDING_MPS2
            return
        self._change_lanes(around)
        wish = motion.wished_mps(around.fired)
        braking = min(WISH_BRAKING_MPS2, 0.8 + self.speed)
        self.target_speed = max(wish, self.speed / (1.0 + braking / self.COMFORT_ACC_MAX) ** (1 / self.DELTA))
        near, wanted = float("inf"), float(self.acceleration(self))
        for thing in self._ahead(around) if self.vehicle.yields else ():
            gap = self.lane_distance_to(thing)
            near = min(near, gap)
            closing = self.speed - float(thing.velocity @ self.direction)
            hardest = hardest_mps2(gap, closing, thing.accel_mps2, thing.within_s)
            wanted = min(wanted, max(float(self.acceleration(self, thing)), hardest))
        if self.speed < 0.5 and (near < JAM_M + 0.5 or wish < 0.1):
            wanted = STANDING_MPS2  # the model itself would creep for ever
        self.wanted_mps2 = max(wanted, -self.ACC_MAX)

    def step(self, dt: float) -> None:
        """Move; no steering, a track is followed exactly."""
        self.timer += dt
        self.motion.step(self.wanted_mps2, dt)

    def put(self, xy_m: F64, road_yaw_rad: float, dt_s: float) -> None:
        """Place it in the world where it is on its road."""
        self.motion.put(xy_m, road_yaw_rad, dt_s)
        self.position, self.heading, self.speed = _flipped(xy_m), -self.motion.yaw_rad, self.motion.speed_mps
        self.accel_mps2, self.entering = self.motion.accel_mps2, self.motion.track if self.motion.swerve else None
        self.lane_index = self.target_lane_index = self.road.index[self.motion.track]
        self.lane = self.road.network.get_lane(self.lane_index)

    def _ahead(self, around: Around) -> Iterator[_OnStreets]:
        """Whatever it keeps behind: who is in its way, and shadows of what is not, or not yet."""
        motion = self.motion
        leader, _ = self.road.neighbour_vehicles(self)
        self.leader_stands_at_m = float("inf")
        if leader is not None:
            yield leader
            if leader.speed < 0.5:
                self.leader_stands_at_m = motion.front_m + self.lane_distance_to(leader)
        me, crosswalks = self.progress(), self.road.scenario.crosswalks
        absent = not_in_its_way(me, motion.left_m, self.line_m, crosswalks, around)
        for ahead in (*absent, *self.road.junctions.ahead(me, around.drivers, around.ego_on)):
            yield self.shadow.of(ahead, self.heading)

    def _change_lanes(self, around: Around) -> None:
        motion = self.motion
        if motion.change is None:
            change = motion.due(around.fired) or self._merge() or self._overtake()
            if change is not None:
                motion.signal(change)
        elif motion.ready():
            if not self.vehicle.yields or self.road.has_room(self, motion.change.to):
                motion.move_over()
                self.entering, self.target_lane_index = motion.track, self.road.index[motion.track]
            elif not motion.change.insists:
                motion.give_up()

    def _merge(self) -> Change | None:
        """Out of a lane that ends, into one that goes on."""
        track = self.motion.track
        if not track.ends_early or track.length_m - self.motion.front_m > MERGE_FROM_M:
            return None
        lanes = [lane for lane in self.lane.neighbours if may_change(track, lane, self.motion.along_m)]
        return Change(lanes[0], OVERTAKING_S, insists=True) if lanes else None

    def _overtake(self) -> Change | None:
        """What MOBIL decides."""
        if not self.vehicle.overtakes:
            return None
        self.change_lane_policy()
        track = self.road.network.get_lane(self.target_lane_index).track
        return None if track is self.motion.track else Change(track, OVERTAKING_S)


class Traffic(Streets):  # type: ignore[misc]
    """Everybody who drives but the ego, which is put where it is before they look."""

    def __init__(self, scenario: Scenario, standing: Sequence[Body]) -> None:
        self.scenario = scenario
        self.tracks = tracks_of(scenario.roads)
        super().__init__(Network(self.tracks), np_random=np.random.RandomState(0))
        self.index: Mapping[Track, LaneIndex] = self.network.index
        self.here: Track  # of whoever acts: gaps are measured along it
        self.lines = {track: rules.lines_of(scenario, track) for track in self.tracks}
        self.junctions = Junctions(self.lines)
        self.around = Around({}, (), (), (), ())
        self.drivers = [Driver(self, vehicle, order) for order, vehicle in enumerate(scenario.vehicles)]
        self.ego = Puppet(self, SIZES["car"])
        self.people = [Puppet(self, SIZES[walker.kind]) for walker in scenario.walkers]
        self.still = [Puppet(self, body.size) for body in standing]
        self.vehicles = [*self.drivers, self.ego]
        for puppet, body in zip(self.still, standing, strict=True):
            puppet.put(body.xy_m, body.yaw_rad, 0.0)
        self._locate(self.still)
        self._put_drivers(0.0)

    def look(
        self, ego: Ego, colours: Sequence[LightColour], fired: Mapping[Trigger, float], strolls: Sequence[Stroll], dt_s: float
    ) -> None:
        """Everybody sees this instant and decides what to do for the next `dt_s`."""
        centre = ego.xy_m + (FRONT_M - REAR_M) / 2 * np.array([np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)])
        self.ego.put(centre, ego.yaw_rad, ego.speed_mps, ego.accel_mps2)
        for puppet, stroll in zip(self.people, strolls, strict=True):
            puppet.put(*stroll.pose, stroll.speed_mps)
        self._locate([*self.drivers, self.ego, *self.people])
        for driver in self.drivers:
            driver.look_at_lines(colours, dt_s)
        self.around = Around(
            fired,
            [driver.progress() for driver in self.drivers],
            ego_on(self.tracks, self.ego.spots, ego),
            [(stroll.walker.road, stroll.crossing) for stroll in strolls if stroll.crossing is not None],
            ghosts(self.scenario.roads, ego, centre, strolls),
        )
        self.act()

    def move(self, dt_s: float) -> None:
        """Everybody moves on as decided; who has driven off the end of its road is gone."""
        self.step(dt_s)
        self.drivers = [driver for driver in self.drivers if not driver.motion.has_left]
        self.vehicles = [*self.drivers, self.ego]
        self._put_drivers(dt_s)

    def bodies(self) -> dict[str, Body]:
        """Everybody who has not left, by name."""
        return {driver.vehicle.name: driver.motion.body() for driver in self.drivers}

    def taken(self, road: int) -> list[Spot]:
        """Where vehicles are on a road, the ego among them."""
        return [thing.spots[road] for thing in self.vehicles]

    def sweeps(self, road: int) -> list[Sweep]:
        """Where drivers on a road, not the ego, will be in a moment and cannot stop."""
        return [
            rules.sweep_of(driver.spots[road], driver.speed, yields=driver.vehicle.yields)
            for driver in self.drivers
            if driver.speed > 0.5 and abs(np.cos(driver.spots[road].yaw_rad)) > 0.7
        ]

    def neighbour_vehicles(self, vehicle: Moving, lane_index: LaneIndex | None = None) -> tuple[Moving | None, Moving | None]:
        """Nearest ahead and behind of those whose footprints reach into the way of a vehicle, or into another lane."""
        track, mine = self.network.get_lane(lane_index or vehicle.lane_index).track, vehicle.spots[self.here.road_index]
        left = [mine.left_m, track.left_m] if track is self.here else [track.left_m]
        half = vehicle.WIDTH / 2 + SIDE_MARGIN_M
        low, high = min(left) - half, max(left) + half
        ahead = behind = None
        nearest_ahead = nearest_behind = float("inf")
        for other in (*self.vehicles, *self.people, *self.still):
            spot = other.spots[self.here.road_index]
            if other is vehicle or not (spot.within(low, high) or other.entering is track):
                continue
            way = track.sign * (spot.along_m - mine.along_m)
            if 0 <= way < nearest_ahead:
                ahead, nearest_ahead = other, way
            elif 0 < -way < nearest_behind:
                behind, nearest_behind = other, -way
        return ahead, behind

    def has_room(self, driver: Driver, to: Track) -> bool:
        """Whether somebody can move over into a lane without driving into others who are in it or on their way there."""
        mine, half = driver.spots[to.road_index], driver.WIDTH / 2 + SIDE_MARGIN_M
        for other in (*self.vehicles, *self.people, *self.still):
            its = other.spots[to.road_index]
            if other is driver or not (its.within(to.left_m - half, to.left_m + half) or other.entering is to):
                continue
            is_ahead = to.sign * (its.along_m - mine.along_m) >= 0
            closing = max((driver.speed - other.speed) * (1.0 if is_ahead else -1.0), 0.0)
            if mine.gap_m(its) < ROOM_M + closing**2 / (2 * IMPOSED_MPS2):
                return False
        return True

    def _put_drivers(self, dt_s: float) -> None:
        """Places in the world from those on the roads."""
        for index, road in enumerate(self.scenario.roads):
            drivers = [driver for driver in self.drivers if driver.motion.track.road_index == index]
            if drivers:
                along = np.array([driver.motion.along_m for driver in drivers])
                xy, yaw = road.place(along, np.array([driver.motion.left_m for driver in drivers]))
                for driver, place, heading in zip(drivers, xy, yaw.tolist(), strict=True):
                    driver.put(place, heading, dt_s)

    def _locate(self, things: Sequence[_OnStreets]) -> None:
        """Their places on every road."""
        if things:
            xy, yaw = _flipped(np.array([thing.position for thing in things])), np.array([-thing.heading for thing in things])
            length, width = np.array([thing.LENGTH for thing in things]), np.array([thing.WIDTH for thing in things])
            rows = [spots(road, xy, yaw, length, width) for road in self.scenario.roads]
            for thing, on in zip(things, zip(*rows, strict=True), strict=True):
                thing.spots = list(on)
