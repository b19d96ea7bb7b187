"""Who goes first where tracks of different roads cross or join.

At a crossing, who is in it goes first; then whoever has no stop or yield sign; then whoever gets there first. Who gives way
stops short of the whole junction, not in it. Where two tracks join, the second follows the first as if it were in its lane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.simulation.world.progress import Ahead, Progress, stop_before
from alpamayo_ros.simulation.world.road_rules import Line
from alpamayo_ros.simulation.world.tracks import Track
from alpamayo_ros.types import F64

CLEARANCE_M = 2.7  # between the centres of two tracks where nobody can pass
FAR_M = 120.0  # nobody looks at a junction from farther away
GAP_S = 1.5  # left between two who cross the same place
BEFORE_JUNCTION_M = 25.0  # a sign nearer to a junction than this is for it
ROOM_BETWEEN_M = 11.0  # crossings nearer to each other than this are one junction: nobody stops between

_ALONG_RAD = 0.6  # tracks that meet at less than this join
_COARSE = 8  # metres between the places that are compared first


@dataclass(frozen=True)
class Zone:
    """A stretch that two tracks of different roads share: where it begins and ends on each."""

    from_m: float
    to_m: float
    other_from_m: float
    other_to_m: float
    joins: bool  # driven in the same direction
    enter_m: float  # where the junction begins that it is part of
    other_enter_m: float
    minor: bool = False  # there is a sign to give way before it
    other_minor: bool = False


def zones(track: Track, other: Track) -> tuple[Zone, ...]:
    """The stretches of a track that it shares with another, each a junction of its own."""
    (xy, yaw), (other_xy, other_yaw) = track.centre, other.centre
    rows, columns = _meeting(xy, other_xy)
    apart = ((xy[rows, None] - other_xy[columns]) ** 2).sum(axis=-1)
    near = apart < CLEARANCE_M**2
    hits = np.flatnonzero(near.any(axis=1))
    found = []
    for run in np.split(hits, np.flatnonzero(np.diff(rows[hits]) > 1) + 1) if len(hits) else ():
        across = np.flatnonzero(near[run].any(axis=0))
        k, j = np.unravel_index(int(np.argmin(apart[run])), apart[run].shape)
        turned = abs((yaw[rows[run[k]]] - other_yaw[columns[j]] + np.pi) % (2 * np.pi) - np.pi)
        if turned < np.pi - _ALONG_RAD:  # two who drive towards each other in one lane: no rule helps
            start, end = float(rows[run[0]]) - 0.5, float(rows[run[-1]]) + 0.5
            other_start, other_end = float(columns[across[0]]) - 0.5, float(columns[across[-1]]) + 0.5
            found.append(Zone(start, end, other_start, other_end, bool(turned < _ALONG_RAD), start, other_start))
    return tuple(found)


def _meeting(xy: F64, other_xy: F64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the places of two lines, a metre apart each, that can be near the other line at all."""
    coarse = ((xy[::_COARSE, None] - other_xy[::_COARSE]) ** 2).sum(axis=-1) < (CLEARANCE_M + 2 * _COARSE) ** 2
    one, two = (np.repeat(coarse.any(axis=axis), _COARSE)[: len(line)] for axis, line in ((1, xy), (0, other_xy)))
    return np.flatnonzero(one), np.flatnonzero(two)


def give_way(me: Progress, other: Progress, zone: Zone) -> Ahead | None:
    """What a driver keeps behind because of another one who comes to the same place, if anything."""
    if not zone.from_m - FAR_M < me.front_m < zone.from_m - 0.1 or other.rear_m > zone.other_to_m:
        return None  # I am in it or far away, or the other has passed
    entered, other_entered = me.front_m >= zone.enter_m - 0.1, other.front_m >= zone.other_enter_m
    if not other_entered and (entered or other.halts_at_m < zone.other_enter_m + 0.5 or _is_minor(zone, other)):
        return None
    way_m, other_way_m = zone.from_m - me.front_m, zone.other_from_m - other.front_m
    if zone.joins and not zone.minor:
        first = (other_way_m, other.order) < (way_m, me.order)
        return Ahead(way_m - other_way_m - other.length_m, other.speed_mps, me.after_s(way_m)) if first else None
    enter_m = way_m if entered else zone.enter_m - me.front_m
    in_s, other_in_s = me.after_s(way_m), other.after_s(other_way_m)
    if in_s > other.after_s(zone.other_to_m - other.rear_m) + GAP_S:
        return None  # the other will have passed
    if other_entered and not entered:
        passes = False
    elif (zone.minor and not zone.other_minor) or not other.yields:
        passes = other_in_s > me.after_s(zone.to_m - me.rear_m) + GAP_S
    else:
        other_enter_s = other_in_s if other_entered else other.after_s(zone.other_enter_m - other.front_m)
        passes = (me.after_s(enter_m), me.order) < (other_enter_s, other.order)
    return None if passes else stop_before(enter_m)


def _is_minor(zone: Zone, other: Progress) -> bool:
    """Whether the other one has to give way, and does."""
    return other.yields and zone.other_minor and not zone.minor


class Junctions:
    """Where the tracks of different roads meet; computed when first asked for."""

    def __init__(self, lines: Mapping[Track, Sequence[Line]]) -> None:
        self.lines = lines  # per track
        self._crossings: dict[Track, list[tuple[float, float]]] = {}
        self._zones: dict[tuple[Track, Track], tuple[Zone, ...]] = {}

    def zones(self, track: Track, other: Track) -> tuple[Zone, ...]:
        """The stretches of a track that it shares with one of another road."""
        if (track, other) not in self._zones:
            self._zones[track, other] = tuple(self._known(track, other, zone) for zone in zones(track, other))
        return self._zones[track, other]

    def ahead(self, me: Progress, others: Sequence[Progress], ego_on: Sequence[Progress]) -> Iterator[Ahead]:
        """What a driver keeps behind because of others on other roads; of the ego, only who has a sign to give way."""
        for other in (*others, *ego_on):
            for zone in self.zones(me.track, other.track) if other.track.road is not me.track.road else ():
                ahead = give_way(me, other, zone) if zone.minor or other.order >= 0 else None
                if ahead is not None:
                    yield ahead

    def _known(self, track: Track, other: Track, zone: Zone) -> Zone:
        """The zone as part of its junction, and with its signs."""
        enter, other_enter = zone.from_m, zone.other_from_m
        if not zone.joins:
            enter, other_enter = self._enter_m(track, enter), self._enter_m(other, other_enter)
        minor, other_minor = _has_sign(self.lines[track], enter), _has_sign(self.lines[other], other_enter)
        return replace(zone, enter_m=enter, other_enter_m=other_enter, minor=minor, other_minor=other_minor)

    def _enter_m(self, track: Track, from_m: float) -> float:
        """Where the junction begins that a crossing is part of."""
        if track not in self._crossings:
            others = [other for other in self.lines if other.road is not track.road]
            found = [zone for other in others for zone in zones(track, other) if not zone.joins]
            self._crossings[track] = sorted((zone.from_m, zone.to_m) for zone in found)
        enter = from_m
        for start, end in reversed(self._crossings[track]):
            if start < enter <= end + ROOM_BETWEEN_M:
                enter = start
        return enter


def _has_sign(lines: Sequence[Line], enter_m: float) -> bool:
    return any(line.sign is not None and -3.0 < enter_m - line.s_m < BEFORE_JUNCTION_M for line in lines)
