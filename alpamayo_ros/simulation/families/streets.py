"""Roads that families share: reference lines of clothoids, cross-sections, junctions, corners.

Everybody drives on the right. `left_m` counts from the ego's lane; lanes are 3.5 m wide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from alpamayo_ros.simulation.families.dice import Dice, signed
from alpamayo_ros.simulation.road import Lane, Paint, Piece, Road, Strip
from alpamayo_ros.types import Direction

LANE_M = 3.5
PARKING_M = 2.2
SHOULDER_M = 2.6
PAVEMENT_M = 2.2
START_M = 100.0  # of the ego's rear axle along its route: the rear cameras need a road behind it
AHEAD_M = 130.0  # of road beyond what the fastest covers
ARM_M = 160.0  # of a crossing street on either side

Kerb = Literal["parking", "shoulder", "none"]


class CrossSection(NamedTuple):
    """What lies beside each other on a street, counted from the ego's lane."""

    right: int = 0  # lanes right of the ego's, same direction
    left: int = 0
    oncoming: int = 1
    centre: Paint = "double"  # the line between the directions
    right_kerb: Kerb = "parking"
    left_kerb: Kerb = "none"
    pavement: bool = True

    @property
    def right_edge_m(self) -> float:
        """left_m of the right edge of the lanes."""
        return -(self.right + 0.5) * LANE_M

    @property
    def left_edge_m(self) -> float:
        """left_m of the left edge of the lanes."""
        return (self.left + self.oncoming + 0.5) * LANE_M


def length_m(dice: Dice, fastest_mps: float) -> float:
    """Of a route on which nobody comes to the end in time."""
    return START_M + fastest_mps * dice.duration_s + AHEAD_M


def straight(length: float) -> tuple[Piece, ...]:
    """A reference line without bends."""
    return (Piece(length, 0.0),)


def bend(curvature_1pm: float, angle_rad: float, ease_m: float) -> tuple[Piece, ...]:
    """A bend by an angle >= 0: its curvature comes and goes over `ease_m` each."""
    arc_m = angle_rad / abs(curvature_1pm) - ease_m
    return Piece(ease_m, curvature_1pm), Piece(arc_m, curvature_1pm), Piece(ease_m, 0.0)


def winding(dice: Dice, length: float, radius_m: tuple[float, float] = (120.0, 300.0)) -> tuple[Piece, ...]:
    """A reference line of gentle bends and straights, at least so long."""
    pieces = [Piece(START_M + dice.between(0.0, 20.0), 0.0)]
    while sum(piece.length_m for piece in pieces) < length:
        radius = dice.between(*radius_m)
        pieces += bend(signed(dice.side(), 1.0 / radius), dice.between(30.0, 60.0) / radius + 25.0 / radius, 25.0)
        pieces.append(Piece(dice.between(20.0, 60.0), 0.0))
    return tuple(pieces)


def ends_m(pieces: Iterable[Piece]) -> float:
    """Length of a reference line."""
    return sum(piece.length_m for piece in pieces)


def street(dice: Dice, pieces: tuple[Piece, ...], limit_mps: float, section: CrossSection, name: str = "street") -> Road:
    """A road with one cross-section from end to end, heading anywhere.

    Its lanes are "ego", "left", "left 2", "right", "oncoming", "oncoming 2".
    """
    end = ends_m(pieces)
    lanes = tuple(_lane(section, at, end, limit_mps) for at in range(-section.right, section.left + section.oncoming + 1))
    yaw = dice.between(-np.pi, np.pi)
    return Road(name, pieces, lanes, tuple(_strips(section, end)), start_yaw_rad=yaw)


def _lane(section: CrossSection, at: int, end_m: float, limit_mps: float) -> Lane:
    """The lane at so many lanes left of the ego's."""
    oncoming = at > section.left
    place = at - section.left if oncoming else abs(at)
    stem = "oncoming" if oncoming else "ego" if at == 0 else "left" if at > 0 else "right"
    name = stem if place < 2 else f"{stem} {place}"
    left, right = _line(section, at), _line(section, at - 1)
    return Lane(name, at * LANE_M, 0.0, end_m, limit_mps, oncoming, LANE_M, left, right)


def _line(section: CrossSection, at: int) -> Paint:
    """The line on the left of a lane."""
    if at in (-section.right - 1, section.left + section.oncoming):
        return "solid"
    return section.centre if at == section.left else "dashed"


def _strips(section: CrossSection, end_m: float) -> list[Strip]:
    strips = []
    sides = ((section.right_kerb, section.right_edge_m, -1.0), (section.left_kerb, section.left_edge_m, 1.0))
    for kerb, edge, outwards in sides:
        width = {"parking": PARKING_M, "shoulder": SHOULDER_M, "none": 0.0}[kerb]
        if kerb != "none":
            strips.append(_strip(kerb, edge, edge + outwards * width, end_m))
        if section.pavement:
            strips.append(_strip("pavement", edge + outwards * width, edge + outwards * (width + PAVEMENT_M), end_m))
    return strips


def _strip(kind: Literal["shoulder", "parking", "pavement"], edge: float, other: float, end_m: float) -> Strip:
    return Strip(kind, 0.0, end_m, min(edge, other), max(edge, other))


def opened(road: Road, openings: Sequence[tuple[float, float]]) -> Road:
    """The road with junctions from one place to another: no lines, no strips there.

    What remains of lane "ego" is called "ego", "ego 2" (in the junction), "ego 3", ... in the order of the road.
    """
    openings = sorted(openings)
    lanes = [part for lane in road.lanes for part in _parts(lane, openings)]
    kept = [part for strip in road.strips for part in _remains(strip, openings)]
    return replace(road, lanes=tuple(lanes), strips=tuple(kept))


def _parts(lane: Lane, openings: Sequence[tuple[float, float]]) -> list[Lane]:
    edges = [lane.from_m, *(edge for opening in openings for edge in opening if lane.from_m < edge < lane.to_m), lane.to_m]
    parts: list[Lane] = []
    for start, end in pairwise(edges):
        name = lane.name if not parts else f"{lane.name} {len(parts) + 1}"
        part = replace(lane, name=name, from_m=start, to_m=end)
        inside = any(low <= start and end <= high for low, high in openings)
        parts.append(replace(part, left_paint="none", right_paint="none") if inside else part)
    return parts


def _remains(strip: Strip, openings: Sequence[tuple[float, float]]) -> list[Strip]:
    parts = [strip]
    for low, high in openings:
        cut = [(p, p.from_m, min(p.to_m, low)) for p in parts] + [(p, max(p.from_m, high), p.to_m) for p in parts]
        parts = [replace(p, from_m=start, to_m=end) for p, start, end in cut if start < end]
    return parts


def lane_at(road: Road, left_m: float, along_m: float) -> Lane:
    """The lane with this centre at this place. Raises StopIteration when there is none."""
    return next(lane for lane in road.lanes if lane.left_m == left_m and lane.from_m <= along_m < lane.to_m)


class Junction(NamedTuple):
    """A route with its junction, and the street that crosses it."""

    route: Road
    crossing: Road
    at_m: float  # of the crossing street's middle along the route
    from_m: float  # where the crossing street's ground begins
    to_m: float

    @property
    def middle_m(self) -> float:
        """Of the route's reference line along the crossing street."""
        return ARM_M


def crossed(route: Road, section: CrossSection, at_m: float, limit_mps: float) -> Junction:
    """A street of two lanes crosses the route: "from_right" leads over to the left, "from_left" back.

    Both are cut at the junction (`opened`). A crossing street has pavements where the route has.
    """
    half, clear = LANE_M + 1.0, 1.0
    start, yaw = route.place(at_m, 0.0)
    heading = float(yaw) + np.pi / 2
    xy = start - ARM_M * np.array([np.cos(heading), np.sin(heading)])
    lanes = (
        Lane("from_right", -LANE_M / 2, 0.0, 2 * ARM_M, limit_mps, left_paint="double"),
        Lane("from_left", LANE_M / 2, 0.0, 2 * ARM_M, limit_mps, oncoming=True, right_paint="double"),
    )
    edges = (-LANE_M, -1.0), (LANE_M, 1.0)
    strips = [_strip("pavement", edge, edge + out * PAVEMENT_M, 2 * ARM_M) for edge, out in edges] if section.pavement else []
    whole = Road("crossing", straight(2 * ARM_M), lanes, tuple(strips), (float(xy[0]), float(xy[1])), heading)
    crossing = opened(whole, [(ARM_M + section.right_edge_m - 2.5, ARM_M + section.left_edge_m + 2.5)])
    return Junction(opened(route, [(at_m - half - clear, at_m + half + clear)]), crossing, at_m, at_m - half, at_m + half)


class Corner(NamedTuple):
    """A route that turns into another street, the street that it leaves, going straight on, and the one that it enters."""

    route: Road
    main: Road  # same reference line up to the corner
    side: Road  # its reference line is the lane that the route enters
    from_m: float  # where the turn begins along the route
    to_m: float
    middle_m: float  # of the lane that the route enters, along the main street

    @property
    def roads(self) -> tuple[Road, Road, Road]:
        """In a scenario's order."""
        return self.route, self.main, self.side


def corner(dice: Dice, turn: Direction, radius_m: float, from_m: float, limit_mps: float, beyond_m: float) -> Corner:
    """A turn by 90 degrees, from a street with one lane in each direction into another one.

    The route's lane is "ego". The main street's lanes are "ahead" (from the junction on) and "oncoming", the side street's
    "away" in the route's direction and "toward" the junction; all are cut at the junction (`opened`).
    """
    turning = bend(signed(turn, 1.0 / radius_m), np.pi / 2, 0.55 * radius_m)
    to_m = from_m + ends_m(turning)
    end = to_m + beyond_m
    lane = Lane("ego", 0.0, 0.0, end, limit_mps, left_paint="double")
    pieces = (*straight(from_m), *turning, *straight(beyond_m))
    bare = Road("street", pieces, (lane,), tuple(_kerbs("right", end)), start_yaw_rad=dice.between(-np.pi, np.pi))
    route = opened(bare, [(from_m - 1.0, to_m + 1.0)])
    route = replace(route, strips=(*route.strips, Strip("shoulder", from_m, to_m, -LANE_M, LANE_M)))
    reach_m = _reach_m(route, from_m, to_m)
    main = _main_street(route, from_m, from_m + reach_m + (0.5 if turn == "left" else 1.5) * LANE_M + 2.0, limit_mps)
    return Corner(route, main, _side_street(route, turn, to_m, reach_m, limit_mps), from_m, to_m, from_m + reach_m)


def _reach_m(route: Road, from_m: float, to_m: float) -> float:
    """How far ahead a turn leads; it leads as far to its side."""
    there, _ = route.place(to_m, 0.0)
    here, yaw = route.place(from_m, 0.0)
    return float((there - here) @ np.array([np.cos(yaw), np.sin(yaw)]))


def _kerbs(side: Direction, end_m: float) -> list[Strip]:
    """Of a street with one lane in each direction."""
    return [strip for strip in _strips(CrossSection(), end_m) if (strip.left_m > 0) == (side == "left")]


def _main_street(route: Road, from_m: float, far_m: float, limit_mps: float) -> Road:
    """The street that the route leaves: the route has its right side up to the junction."""
    end = far_m + ARM_M
    lanes = (
        Lane("ahead", 0.0, from_m - 1.0, end, limit_mps, left_paint="double"),
        Lane("oncoming", LANE_M, 0.0, end, limit_mps, oncoming=True, right_paint="double"),
    )
    strips = (*_kerbs("left", end), *(replace(strip, from_m=far_m) for strip in _kerbs("right", end)))
    whole = Road("main street", straight(end), lanes, strips, route.start_xy_m, route.start_yaw_rad)
    return opened(whole, [(from_m - 1.0, far_m)])


def _side_street(route: Road, turn: Direction, to_m: float, depth_m: float, limit_mps: float) -> Road:
    """The street that the route enters, with its other arm: the route has its right side from the junction on."""
    there, yaw = route.place(to_m, 0.0)
    xy = there - ARM_M * np.array([np.cos(yaw), np.sin(yaw)])
    near = ARM_M - depth_m - (0.5 if turn == "left" else 1.5) * LANE_M - 2.0  # where the other arm ends
    lanes = (
        Lane("away", 0.0, 0.0, 2 * ARM_M, limit_mps, left_paint="double"),
        Lane("toward", LANE_M, 0.0, 2 * ARM_M, limit_mps, oncoming=True, right_paint="double"),
    )
    strips = (*_kerbs("left", 2 * ARM_M), *(replace(strip, to_m=near) for strip in _kerbs("right", 2 * ARM_M)))
    whole = Road("side street", straight(2 * ARM_M), lanes, strips, (float(xy[0]), float(xy[1])), float(yaw))
    return opened(whole, [(near, ARM_M + 1.0)])
