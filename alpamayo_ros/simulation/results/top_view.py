"""A scene of the driving world from above, for films: the ego in the middle, its front up."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import cv2
import numpy as np

from alpamayo_ros.drawing import INK, PAPER, Colour, speed_colours
from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.simulation.road import Lane, Paint, Road
from alpamayo_ros.simulation.scenario import LightColour, Scenario
from alpamayo_ros.simulation.state import Body, Ego, Snapshot, ego_footprint_m, footprint_m
from alpamayo_ros.types import F64, U8, Trajectory

ASPHALT: Colour = (58, 62, 68)
SOFT: Colour = (74, 76, 78)  # shoulders, parking
EGO: Colour = (90, 170, 250)
PAINTS: dict[Paint, Colour] = {"dashed": (140, 146, 152), "solid": (190, 194, 198), "double": (205, 170, 70)}
LAMPS: dict[LightColour, Colour] = {"red": (255, 50, 40), "yellow": (255, 205, 40), "green": (40, 225, 110)}
BEHIND = 0.72  # of the picture's height lies ahead of the ego
STEP_M = 2.0
_SHIFT = 4  # fractional bits of OpenCV's corners


class Map:
    """What stays: surfaces and paint as polygons and lines in the world."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @cached_property
    def surfaces(self) -> tuple[tuple[F64, Colour], ...]:
        """Outlines (n, 2) m, in the order in which they are painted."""
        return tuple(_surfaces(self.scenario))

    @cached_property
    def lines(self) -> tuple[tuple[F64, Colour], ...]:
        """Lines (n, 2) m."""
        return tuple(_lines(self.scenario))


def draw_above(of: Map, snapshot: Snapshot, trajectory: Trajectory | None, t0: Ego, size: int, metres: float) -> U8:
    """The world around the ego, (size, size, 3) RGB, `metres` from edge to edge; the trajectory is in ego `t0`."""
    scenario = of.scenario
    picture = np.full((size, size, 3), PAPER, np.uint8)
    scale = size / metres
    turn = rotation_z(np.pi / 2 - snapshot.ego.yaw_rad)[:2, :2] * scale

    def pixels(xy: F64) -> F64:
        up = (xy - snapshot.ego.xy_m) @ turn.T
        return np.column_stack([size / 2 + up[:, 0], size * BEHIND - up[:, 1]])

    def near(xy: F64) -> bool:
        return bool((np.abs(xy - snapshot.ego.xy_m).max(axis=1) < 1.2 * metres).any())

    for outline, colour in of.surfaces:
        if near(outline):
            cv2.fillPoly(picture, [_fixed(pixels(outline))], colour, cv2.LINE_AA, _SHIFT)
    for line, colour in of.lines:
        if near(line):
            _draw_line(picture, pixels(line), colour)
    for light, lit in zip(scenario.lights, snapshot.lights, strict=True):
        line = _stop_line(scenario.roads[light.road], light.stop_line_m, light.lanes)
        _draw_line(picture, pixels(line), LAMPS[lit], 3)
    for body in snapshot.bodies:
        _draw_body(picture, body, pixels(footprint_m(body)))
    if trajectory is not None:
        path = trajectory.xyz[:, :2] @ rotation_z(t0.yaw_rad)[:2, :2].T + t0.xy_m
        for (x, y), colour in zip(pixels(path).tolist(), speed_colours(trajectory.speed_mps), strict=True):
            cv2.circle(picture, (round(x), round(y)), 2, colour, -1, cv2.LINE_AA)
    cv2.fillConvexPoly(picture, _fixed(pixels(ego_footprint_m(snapshot.ego))), EGO, cv2.LINE_AA, _SHIFT)
    return picture


def _draw_body(picture: U8, body: Body, corners: F64) -> None:
    cv2.fillConvexPoly(picture, _fixed(corners), body.colour, cv2.LINE_AA, _SHIFT)
    _draw_line(picture, corners[[0, 1, 2, 3, 0]], INK)
    if body.brakes and body.kind in ("car", "truck", "motorcycle"):
        _draw_line(picture, corners[[0, 3]], LAMPS["red"], 2)


def _draw_line(picture: U8, points: F64, colour: Colour, thickness: int = 1) -> None:
    cv2.polylines(
        picture, [_fixed(points)], isClosed=False, color=colour, thickness=thickness, lineType=cv2.LINE_AA, shift=_SHIFT
    )


def _stop_line(road: Road, stop_line_m: float, lanes: tuple[str, ...]) -> F64:
    crossed = [road.lane(name) for name in lanes]
    right, left = min(c.left_m - c.width_m / 2 for c in crossed), max(c.left_m + c.width_m / 2 for c in crossed)
    return np.array([road.place(stop_line_m, right)[0], road.place(stop_line_m, left)[0]])


def _surfaces(scenario: Scenario) -> Iterator[tuple[F64, Colour]]:
    for road in scenario.roads:
        for strip in road.strips:
            if strip.kind != "pavement":
                yield _band(road, strip.from_m, strip.to_m, strip.right_m, strip.left_m), SOFT
    for road in scenario.roads:
        for lane in road.lanes:
            half = lane.width_m / 2
            yield _band(road, lane.from_m, lane.to_m, lane.left_m - half, lane.left_m + half), ASPHALT
    for crosswalk in scenario.crosswalks:
        road = scenario.roads[crosswalk.road]
        right, left = _edges(road, crosswalk.from_m)
        yield _band(road, crosswalk.from_m, crosswalk.to_m, right, left), (120, 124, 128)


def _lines(scenario: Scenario) -> Iterator[tuple[F64, Colour]]:
    for road in scenario.roads:
        for lane in road.lanes:
            for paint, left_m in ((lane.left_paint, _left(lane, 0.5)), (lane.right_paint, _left(lane, -0.5))):
                if paint != "none":
                    yield _along(road, lane.from_m, lane.to_m, left_m), PAINTS[paint]
    for sign in scenario.signs:
        if sign.stop_line_m is not None:
            road = scenario.roads[sign.road]
            yield np.array([road.place(sign.stop_line_m, left)[0] for left in (-1.75, 1.75)]), INK


def _left(lane: Lane, side: float) -> float:
    return lane.left_m + side * lane.width_m


def _edges(road: Road, along_m: float) -> tuple[float, float]:
    """Right and left edge of the lanes there."""
    here = [lane for lane in road.lanes if lane.from_m <= along_m < lane.to_m]
    return min((_left(lane, -0.5) for lane in here), default=0.0), max((_left(lane, 0.5) for lane in here), default=0.0)


def _band(road: Road, from_m: float, to_m: float, right_m: float, left_m: float) -> F64:
    return np.concatenate([_along(road, from_m, to_m, right_m), _along(road, from_m, to_m, left_m)[::-1]])


def _along(road: Road, from_m: float, to_m: float, left_m: float) -> F64:
    return road.place(np.linspace(from_m, to_m, max(2, round((to_m - from_m) / STEP_M))), left_m)[0]


def _fixed(pixels: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.rint(np.clip(pixels, -1e5, 1e5) * (1 << _SHIFT)).astype(np.int32)
