"""A scenario: everything that a seed decides, before anything moves. Plain data; `World` sets it in motion.

`roads[0]` is the ego's route: its reference line is the centre of the lane that the ego starts in and is meant to follow, also
round a corner or down an exit. Where the route wants another lane (a navigation command, a lane that ends), the command says
which. Every other road is what the ego meets: a crossing street, the motorway beside an on-ramp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alpamayo_ros.simulation.road import Road
from alpamayo_ros.types import InvalidInput, Maneuver

LightColour = Literal["green", "yellow", "red"]
Rgb = tuple[int, int, int]
Weather = Literal["clear", "overcast", "rain", "fog"]
Daylight = Literal["day", "dusk", "night"]
StandingKind = Literal["parked_car", "broken_down_car", "truck", "cone", "barrier"]
WalkerKind = Literal["pedestrian", "child", "cyclist"]

ROUTE = 0
"""Index of the ego's route among a scenario's roads."""


@dataclass(frozen=True)
class Trigger:
    """When something starts: at a time, or when the ego's rear axle is past a place on its route, whichever is first."""

    at_s: float = float("inf")
    ego_past_m: float = float("inf")


@dataclass(frozen=True)
class TrafficLight:
    """A light with its stop line; it repeats its phases for ever."""

    road: int  # index into the scenario's roads
    stop_line_m: float  # along it
    lanes: tuple[str, ...]  # that it holds for
    phases: tuple[tuple[LightColour, float], ...]  # colour and duration, s
    offset_s: float  # time of the start of the first phase
    lamp_m: tuple[float, float]  # along, left: where the lamps stand, usually across the junction
    trigger: Trigger | None = None  # with one, the last phase's colour is shown until it fires; then the phases start

    def colour(self, t_s: float) -> LightColour:
        """The lit lamp, `t_s` after the phases' own zero: the world's, or when the trigger fired."""
        within = (t_s - self.offset_s) % sum(duration for _, duration in self.phases)
        for colour, duration in self.phases:
            if within < duration:
                return colour
            within -= duration
        return self.phases[-1][0]


@dataclass(frozen=True)
class Sign:
    """A sign beside the road, with its line where it has one."""

    kind: Literal["stop", "yield", "advisory_speed", "roadworks", "merge", "exit"]
    road: int
    along_m: float  # of the sign
    left_m: float
    stop_line_m: float | None = None  # of a stop or yield sign
    speed_mps: float | None = None  # of an advisory speed
    side: Literal["left", "right"] | None = None  # to which the curve bends, the lane closes, the exit leaves


@dataclass(frozen=True)
class Crosswalk:
    """A zebra crossing over the whole road."""

    road: int
    from_m: float
    to_m: float


@dataclass(frozen=True)
class LaneChange:
    """Another vehicle changes into a lane."""

    lane: str
    trigger: Trigger  # then it begins to signal; a second later it moves over, as soon as there is room
    duration_s: float = 3.0  # of moving over
    returns_after_s: float | None = None  # that it has arrived, and back again


@dataclass(frozen=True)
class Vehicle:
    """Another road user on wheels, driven by the Intelligent Driver Model in its lane."""

    name: str
    kind: Literal["car", "truck", "motorcycle"]
    road: int
    lane: str
    along_m: float  # of its centre on the road's reference line
    speed_mps: float
    wishes: tuple[tuple[Trigger, float], ...] = ()  # the speed it wishes from then on, m/s; none is the lane's limit
    changes: tuple[LaneChange, ...] = ()
    overtakes: bool = False  # changes lanes when it gains by it (MOBIL)
    yields: bool = True  # to whoever is ahead, the ego included; False drives through
    waits: Trigger | None = None  # stands until then, whatever its speed
    colour: Rgb = (120, 124, 130)


@dataclass(frozen=True)
class Standing:
    """Something solid that never moves."""

    name: str
    kind: StandingKind
    road: int
    along_m: float  # of its centre
    left_m: float
    yaw_rad: float = 0.0  # against the road's heading
    colour: Rgb = (120, 124, 130)


@dataclass(frozen=True)
class Walker:
    """Somebody who crosses a road."""

    name: str
    kind: WalkerKind
    road: int
    along_m: float
    from_left_m: float  # waits here
    to_left_m: float  # stops here
    speed_mps: float
    trigger: Trigger
    colour: Rgb = (180, 70, 60)


@dataclass(frozen=True)
class Scenery:
    """A building or a tree: never touched by anybody, but it hides what is behind it."""

    kind: Literal["building", "tree"]
    road: int
    along_m: float
    left_m: float
    length_m: float  # along the road
    width_m: float
    height_m: float
    colour: Rgb


@dataclass(frozen=True)
class Command:
    """What navigation says, from `given_from_m` of the route until it is carried out."""

    maneuver: Maneuver
    given_from_m: float
    at_m: float  # where the turn or split begins, or the change of lanes has to be over
    to_left_m: float | None = None  # the route's place from there on, where the command asks for another lane or the kerb
    road_name: str = ""
    done_m: float | None = None  # where it is carried out, for what takes some way; None: at `at_m`

    @property
    def until_m(self) -> float:
        """Where it is carried out, along the route."""
        return self.at_m if self.done_m is None else self.done_m


@dataclass(frozen=True)
class Look:
    """Light, weather and texture: what pictures depend on and driving does not."""

    daylight: Daylight = "day"
    weather: Weather = "clear"
    sun_yaw_rad: float = 0.9
    noise_sigma: float = 5.0  # of the sensors, grey levels
    texture_seed: int = 0


@dataclass(frozen=True)
class Start:
    """Where and how fast the ego is at time 0."""

    along_m: float  # of its rear axle on the route
    speed_mps: float
    left_m: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """One drive to be made. `goal_m`: place on the route that a competent driver has passed when the time is over."""

    family: str
    seed: int
    duration_s: float
    roads: tuple[Road, ...]
    start: Start
    goal_m: float
    lights: tuple[TrafficLight, ...] = ()
    signs: tuple[Sign, ...] = ()
    crosswalks: tuple[Crosswalk, ...] = ()
    vehicles: tuple[Vehicle, ...] = ()
    standing: tuple[Standing, ...] = ()
    walkers: tuple[Walker, ...] = ()
    scenery: tuple[Scenery, ...] = ()
    commands: tuple[Command, ...] = ()
    look: Look = Look()

    def __post_init__(self) -> None:
        bodies: tuple[Vehicle | Standing | Walker, ...] = (*self.vehicles, *self.standing, *self.walkers)
        ground: tuple[TrafficLight | Sign | Crosswalk | Scenery, ...] = (
            *self.lights, *self.signs, *self.crosswalks, *self.scenery,
        )  # fmt: skip
        names = [body.name for body in bodies]
        if not 0 < self.duration_s <= 3600:
            raise InvalidInput(f"{self.family} {self.seed}: duration {self.duration_s} s, want 0 < s <= 3600")
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidInput(f"{self.family} {self.seed}: two things are called {twice}")
        for thing in (*bodies, *ground):
            if not 0 <= thing.road < len(self.roads):
                raise InvalidInput(f"{self.family} {self.seed}: {thing} is on road {thing.road} of {len(self.roads)}")

    @property
    def route(self) -> Road:
        """The ego's road."""
        return self.roads[ROUTE]
