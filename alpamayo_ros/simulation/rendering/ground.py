"""The ground: fields, pavements, asphalt and what is painted on it, as faces in painting order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import shapely

from alpamayo_ros.simulation.rendering.faces import GLOSSY, MARKING, MATT, Faces, Tint, faces, joined
from alpamayo_ros.simulation.road import Lane, Paint, Road, Strip
from alpamayo_ros.simulation.scenario import Crosswalk, Scenario, Sign
from alpamayo_ros.types import F64

ASPHALT: Tint = (86, 87, 91)
PAVEMENT: Tint = (166, 162, 155)
STRIPS: dict[str, Tint] = {"shoulder": (98, 98, 100), "parking": (104, 103, 104), "pavement": PAVEMENT}
WHITE: Tint = (232, 232, 228)
YELLOW: Tint = (226, 182, 48)
FIELDS: tuple[Tint, ...] = ((104, 138, 74), (122, 142, 80), (144, 138, 92), (92, 126, 72))

LINE_M = 0.18  # of a painted line
FAINT_PX = 0.12  # thinner markings are not painted: less than this part of them would be seen
FLAT_PX = 0.02  # the ground far ahead is thin, but there is much of it
DASH_M, DASH_PERIOD_M = 3.0, 9.0
NOWHERE = shapely.Polygon()
SAG_M = 0.02  # of a chord in a bend
FIELDS_WITHIN_M = 45.0  # of a road
STOP_LINE_M = 0.6

Spans = F64  # (N, 4) rectangles along a road: from_m, to_m, right_m, left_m


class Ground(NamedTuple):
    """What the wheels and the fields are on."""

    faces: Faces
    asphalt: Tint
    field: Tint  # of the ground far from any road


class Grid(NamedTuple):
    """The largest faces."""

    long_m: float  # along a road
    wide_m: float  # across it
    field_m: float  # side of a tile of field


def ground(scenario: Scenario, finest: Grid, rng: np.random.Generator) -> Ground:
    """The ground of a scenario; no face is larger than `finest`. The same `rng` gives the same tints."""
    asphalt, field = _tinted(ASPHALT, rng.normal(0, 9), rng.normal(0, 2)), FIELDS[rng.integers(len(FIELDS))]
    roads = scenario.roads
    stations = [_stations(road, finest.long_m) for road in roads]
    layers: list[Faces] = [_fields(roads, finest.field_m, field, rng)]
    for kinds in (("pavement",), ("shoulder", "parking")):
        layers += [_strips(road, at, kinds, finest.wide_m) for road, at in zip(roads, stations, strict=True)]
    paved = [_asphalt(road, at, finest.wide_m, asphalt, rng) for road, at in zip(roads, stations, strict=True)]
    worn = [_worn(road, at, asphalt, rng) for road, at in zip(roads, stations, strict=True)]
    areas = [_area(some) for some in paved] if len(roads) > 1 else [NOWHERE]
    others = [shapely.union_all(areas[:k] + areas[k + 1 :]) for k in range(len(roads))]
    lines = [_lines(road, at, other) for road, at, other in zip(roads, stations, others, strict=True)]
    layers += [*paved, *worn, *lines, *_crossings(scenario)]
    return Ground(joined(layers), asphalt, field)


def _tinted(colour: Tint, grey: float, warm: float) -> Tint:
    red, green, blue = (int(c + grey) for c in colour)
    return red + int(warm), green, blue - int(warm)


def _stations(road: Road, longest_m: float) -> F64:
    """Places along a road whose chords stay within SAG_M of its lanes."""
    widest = max((abs(lane.left_m) + lane.width_m for lane in road.lanes), default=0.0)
    along = np.arange(0.0, road.length_m + 1.0)
    curvature = np.abs(road.curvature_1pm(along))
    sharpest = np.maximum(curvature[:-1], curvature[1:]) / np.maximum(1.0 - widest * curvature[1:], 0.2)
    step_m = np.clip(np.sqrt(8 * SAG_M / np.maximum(sharpest, 1e-9)), 1.0, longest_m)
    count = np.concatenate([[0.0], np.cumsum(1.0 / step_m)])  # of chords needed until there
    return np.asarray(np.interp(np.arange(0.0, np.ceil(count[-1]) + 1.0), count, along))


def _bands(stations_m: F64, from_m: float, to_m: float, right_m: float, left_m: float) -> Spans:
    """A band along a road, cut at the stations."""
    edges = np.concatenate([[from_m], stations_m[(stations_m > from_m + 0.05) & (stations_m < to_m - 0.05)], [to_m]])
    return _spans(edges[:-1], edges[1:], right_m, left_m)


def _surface(stations_m: F64, from_m: float, to_m: float, edges_m: tuple[float, float], widest_m: float) -> Spans:
    """A band from its right to its left edge, in strips that are not wider than `widest_m`."""
    edges = np.linspace(*edges_m, 1 + int(np.ceil((edges_m[1] - edges_m[0]) / widest_m)))
    return np.concatenate([_bands(stations_m, from_m, to_m, *pair) for pair in pairwise(edges.tolist())])


def _spans(from_m: F64 | float, to_m: F64 | float, right_m: F64 | float, left_m: F64 | float) -> Spans:
    return np.column_stack(np.broadcast_arrays(*np.atleast_1d(from_m, to_m, right_m, left_m)))


def _placed(road: Road, spans: list[Spans] | Spans, colour: Tint | F64, finish: int = MATT, least_px: float = FLAT_PX) -> Faces:
    """Rectangles of a road's frame in the world."""
    start, end, right, left = np.concatenate([np.empty((0, 4)), *spans]).T if isinstance(spans, list) else spans.T
    along, across = np.stack([start, end, end, start], axis=1), np.stack([right, right, left, left], axis=1)
    return _level(road.place(along.ravel(), across.ravel())[0], colour, finish, least_px)


def _marked(road: Road, spans: Spans, colour: Tint = WHITE) -> Faces:
    return _placed(road, spans, colour, MARKING, FAINT_PX)


def _level(xy: F64, colour: Tint | F64, finish: int, least_px: float) -> Faces:
    """Faces on the ground, with a corner at every place (4 N, 2)."""
    return faces(np.column_stack([xy, np.zeros(len(xy))]), colour, finish, least_px)


def _fields(roads: tuple[Road, ...], side_m: float, field: Tint, rng: np.random.Generator) -> Faces:
    """Tiles of several tints near the roads: without them nothing beside a road would move."""
    centres = np.concatenate([road.place(np.arange(0.0, road.length_m, 10.0), 0.0)[0] for road in roads])
    reach = int(FIELDS_WITHIN_M / side_m)
    low = np.floor(centres.min(axis=0) / side_m).astype(int) - reach
    cells = np.floor(centres / side_m).astype(int) - low
    tints = 1.0 + 0.07 * rng.standard_normal((*(cells.max(axis=0) + reach + 1), 1)) * (1.0, 0.8, 0.9)
    around = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), axis=-1).reshape(-1, 2)
    near = np.unique((cells[:, None] + around[np.hypot(*around.T) <= reach]).reshape(-1, 2), axis=0)
    xy = ((near + low)[:, None] + np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])) * side_m
    return _level(xy.reshape(-1, 2), tints[near[:, 0], near[:, 1]] * field, MATT, 0.4)


def _strips(road: Road, stations_m: F64, kinds: tuple[str, ...], widest_m: float) -> Faces:
    found = [strip for strip in road.strips if strip.kind in kinds]
    return joined([part for strip in found for part in _strip(road, stations_m, strip, widest_m)])


def _strip(road: Road, stations_m: F64, strip: Strip, widest_m: float) -> Iterator[Faces]:
    """Slabs of two tints; parking bays of 6 m have lines between them."""
    bands = _surface(stations_m, strip.from_m, strip.to_m, (strip.right_m, strip.left_m), widest_m)
    tints = np.where(np.arange(len(bands)) % 2, 0.97, 1.03)[:, None]
    yield _placed(road, bands, tints * STRIPS[strip.kind], MATT if strip.kind == "pavement" else GLOSSY)
    if strip.kind == "parking":
        bays = np.arange(strip.from_m + 3.0, strip.to_m, 6.0)
        yield _placed(road, _spans(bays, bays + 0.12, strip.right_m, strip.left_m), WHITE, MARKING, 0.3)


def _carriageways(road: Road) -> Iterator[tuple[float, float, tuple[float, float]]]:
    """Lanes that begin and end together and touch, as one: from_m, to_m, right and left edge."""
    for start, end in sorted({(lane.from_m, lane.to_m) for lane in road.lanes}):
        together = sorted(
            (lane.left_m - lane.width_m / 2, lane.left_m + lane.width_m / 2)
            for lane in road.lanes
            if (lane.from_m, lane.to_m) == (start, end)
        )
        right, left = together[0]
        for next_right, next_left in together[1:]:
            if next_right > left + 0.01:
                yield start, end, (right, left)
                right = next_right
            left = max(left, next_left)
        yield start, end, (right, left)


def _asphalt(road: Road, stations_m: F64, widest_m: float, asphalt: Tint, rng: np.random.Generator) -> Faces:
    bands = [_surface(stations_m, *carriageway, widest_m) for carriageway in _carriageways(road)]
    count = sum(len(band) for band in bands)
    return _placed(road, bands, np.array(asphalt) + rng.normal(0.0, 1.2, (count, 1)), GLOSSY)


def _worn(road: Road, stations_m: F64, asphalt: Tint, rng: np.random.Generator) -> Faces:
    """Oil in the middle of every lane, and mended patches."""
    oil = [_bands(stations_m, lane.from_m, lane.to_m, lane.left_m - 0.35, lane.left_m + 0.35) for lane in road.lanes]
    mended = [_patches(lane, rng) for lane in road.lanes]
    tints = rng.uniform(0.82, 1.12, (sum(map(len, mended)), 1))
    worn = _placed(road, oil, 0.95 * np.array(asphalt), GLOSSY, 5.0)
    return joined([worn, _placed(road, mended, tints * asphalt, GLOSSY, 0.5)])


def _patches(lane: Lane, rng: np.random.Generator) -> Spans:
    """One in 16 m, on either side of the lane or in its middle."""
    count = round((lane.to_m - lane.from_m) / 16.0)
    start = rng.uniform(lane.from_m, max(lane.to_m - 3.0, lane.from_m), count)
    right = lane.left_m + rng.uniform(-0.45, 0.1, count) * lane.width_m
    return _spans(start, start + rng.uniform(0.8, 3.0, count), right, right + rng.uniform(0.2, 0.34, count) * lane.width_m)


def _area(paved: Faces) -> shapely.Geometry:
    """Where a road is paved, without its edges."""
    return shapely.unary_union(shapely.polygons(paved.corners[..., :2])).buffer(-0.4)


def _lines(road: Road, stations_m: F64, others: shapely.Geometry) -> Faces:
    """The lines beside the lanes, but not within other roads; one that two lanes share is painted once."""
    painted: dict[tuple[float, Paint], list[tuple[float, float]]] = {}
    for lane in road.lanes:
        for side, paint in ((-0.5, lane.right_paint), (0.5, lane.left_paint)):
            painted.setdefault((round(lane.left_m + side * lane.width_m, 2), paint), []).append((lane.from_m, lane.to_m))
    parts = []
    for (left, paint), intervals in painted.items():
        for whole in _merged(intervals) if paint != "none" else ():
            for start, end in _outside(others, road, left, *whole):
                parts += _PAINTED[paint](road, stations_m, start, end, left)
    return joined(parts)


def _merged(intervals: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    start, end = min(intervals)
    for following, until in sorted(intervals):
        if following > end + 0.01:
            yield start, end
            start = following
        end = max(end, until)
    yield start, end


def _outside(others: shapely.Geometry, road: Road, left: float, start: float, end: float) -> Iterator[tuple[float, float]]:
    """The stretches of a line that lie outside other roads, to within a step of 0.5 m."""
    if others.is_empty:
        yield start, end
        return
    along = np.linspace(start, end, 2 + int((end - start) / 0.5))
    xy, _ = road.place(along, left)
    free = ~shapely.contains_xy(others, xy[:, 0], xy[:, 1])
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]])))
    for first, behind in edges.reshape(-1, 2):
        if behind - first > 1:
            yield float(along[first]), float(along[behind - 1])


def _solid(road: Road, stations_m: F64, start: float, end: float, left: float) -> list[Faces]:
    return [_marked(road, _bands(stations_m, start, end, left - LINE_M / 2, left + LINE_M / 2))]


def _dashed(road: Road, _stations_m: F64, start: float, end: float, left: float) -> list[Faces]:
    dashes = np.arange(np.ceil(start / DASH_PERIOD_M) * DASH_PERIOD_M, end, DASH_PERIOD_M)
    return [_marked(road, _spans(dashes, np.minimum(dashes + DASH_M, end), left - LINE_M / 2, left + LINE_M / 2))]


def _double(road: Road, stations_m: F64, start: float, end: float, left: float) -> list[Faces]:
    lines = [_bands(stations_m, start, end, left + at - 0.07, left + at + 0.07) for at in (-0.15, 0.15)]
    return [_marked(road, np.concatenate(lines), YELLOW)]


_PAINTED: dict[Paint, Callable[[Road, F64, float, float, float], list[Faces]]] = {
    "dashed": _dashed,
    "solid": _solid,
    "double": _double,
}


def _crossings(scenario: Scenario) -> Iterator[Faces]:
    """Zebras and the lines to stop or give way at."""
    for crosswalk in scenario.crosswalks:
        yield _zebra(scenario.roads[crosswalk.road], crosswalk)
    for light in scenario.lights:
        road = scenario.roads[light.road]
        yield from (_stop_line(road, road.lane(name), light.stop_line_m) for name in light.lanes)
    for sign in scenario.signs:
        road = scenario.roads[sign.road]
        if sign.stop_line_m is not None:
            paint = _stop_line if sign.kind == "stop" else _teeth
            yield from (paint(road, lane, sign.stop_line_m) for lane in lanes_of(road, sign))


def _across(road: Road, along_m: float) -> tuple[float, float]:
    """Right and left edge of the lanes at a place."""
    there = [lane for lane in road.lanes if lane.from_m <= along_m < lane.to_m] or list(road.lanes)
    return min(lane.left_m - lane.width_m / 2 for lane in there), max(lane.left_m + lane.width_m / 2 for lane in there)


def _zebra(road: Road, crosswalk: Crosswalk) -> Faces:
    right, left = _across(road, crosswalk.from_m)
    stripes = np.arange(right + 0.3, left - 0.5, 1.0)
    return _marked(road, _spans(crosswalk.from_m, crosswalk.to_m, stripes, stripes + 0.5))


def _stop_line(road: Road, lane: Lane, along_m: float) -> Faces:
    end, half = along_m + (-STOP_LINE_M if lane.oncoming else STOP_LINE_M), lane.width_m / 2 - 0.15
    return _marked(road, _spans(min(along_m, end), max(along_m, end), lane.left_m - half, lane.left_m + half))


def _teeth(road: Road, lane: Lane, along_m: float) -> Faces:
    """Triangles that point at who has to give way."""
    base_m = along_m + (-0.9 if lane.oncoming else 0.9)
    starts = np.arange(lane.left_m - lane.width_m / 2 + 0.2, lane.left_m + lane.width_m / 2 - 0.6, 0.8)
    corners = [[(base_m, left), (base_m, left + 0.55), (along_m, left + 0.28), (along_m, left + 0.28)] for left in starts]
    places = np.array(corners).reshape(-1, 2)
    return _level(road.place(places[:, 0], places[:, 1])[0], WHITE, MARKING, FAINT_PX)


def lanes_of(road: Road, sign: Sign) -> tuple[Lane, ...]:
    """The lanes whose drivers a sign tells something: the oncoming ones where it stands on their side."""
    ahead = tuple(lane for lane in road.lanes if not lane.oncoming and lane.from_m <= sign.along_m < lane.to_m)
    against = tuple(lane for lane in road.lanes if lane.oncoming and lane.from_m <= sign.along_m < lane.to_m)
    if against and sign.left_m > max(lane.left_m for lane in against):
        return against
    return ahead or against
