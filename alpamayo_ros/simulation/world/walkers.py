"""People who cross a road: they wait, walk across when their trigger fires, and stand on the other side."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from alpamayo_ros.simulation.road import Road
from alpamayo_ros.simulation.scenario import Walker
from alpamayo_ros.simulation.state import SIZES, Body
from alpamayo_ros.simulation.world.road_rules import Crossing, Sweep
from alpamayo_ros.simulation.world.tracks import Spot
from alpamayo_ros.types import F64

WALKING_MPS2 = 2.0  # to speed up and to stop
SHORT_OF_M = 0.8  # of a vehicle


class Stroll:
    """One walker on its way."""

    def __init__(self, walker: Walker, road: Road) -> None:
        self.walker = walker
        self.road = road
        self.left_m = walker.from_left_m
        self.speed_mps = 0.0
        self.accel_mps2 = 0.0
        self.started = False
        self.side = 1.0 if walker.to_left_m >= walker.from_left_m else -1.0
        self._size = SIZES[walker.kind]

    @property
    def crossing(self) -> Crossing | None:
        """As drivers see it, while it is on its way."""
        if not self.started or self.remaining_m < 1e-3:
            return None
        return Crossing(self.walker.along_m, self.left_m, self.side * self.walker.speed_mps, self.walker.to_left_m)

    @property
    def remaining_m(self) -> float:
        """Still to walk."""
        return self.side * (self.walker.to_left_m - self.left_m)

    def step(self, vehicles: Iterable[Spot], sweeps: Iterable[Sweep], dt_s: float) -> None:
        """Walk on, but not into a vehicle, nor in front of one that cannot stop; the ego is only the former."""
        self.started = True
        room = min(self.remaining_m, self._room_m(vehicles, sweeps))
        wished = min(self.walker.speed_mps, float(np.sqrt(2 * WALKING_MPS2 * max(room, 0.0))))
        before = self.speed_mps
        self.speed_mps = min(max(wished, before - 2 * WALKING_MPS2 * dt_s), before + WALKING_MPS2 * dt_s)
        step_m = min((before + self.speed_mps) / 2 * dt_s, max(self.remaining_m, 0.0))
        if self.remaining_m < 0.01 or (room < 0.02 and self.speed_mps < 0.3):
            self.speed_mps = step_m = 0.0
        self.left_m += self.side * step_m
        self.accel_mps2 = (self.speed_mps - before) / dt_s

    def _room_m(self, vehicles: Iterable[Spot], sweeps: Iterable[Sweep]) -> float:
        """Metres to walk until short of the nearest strip that is taken; strips that it is in already do not count."""
        reach = self._size.width_m / 2 + 0.3
        along = self.walker.along_m
        room = float("inf")
        for spot in vehicles:
            if abs(spot.along_m - along) < spot.half_along_m + reach:
                edge = self.side * (spot.left_m - self.left_m) - spot.half_left_m - self._size.length_m / 2
                if edge > -0.2:
                    room = min(room, edge - SHORT_OF_M)
        for sweep in sweeps:
            if sweep.from_along_m - reach < along < sweep.to_along_m + reach:
                near = sweep.low_left_m if self.side > 0 else sweep.high_left_m
                edge = self.side * (near - self.left_m) - self._size.length_m / 2
                if edge > 0.0:
                    room = min(room, edge - 0.3)
        return room

    @property
    def pose(self) -> tuple[F64, float]:
        """xy (2,) m and yaw rad in the world; it looks where it walks."""
        xy, heading = self.road.place(self.walker.along_m, self.left_m)
        return xy, float(heading) + self.side * np.pi / 2

    def body(self) -> Body:
        """As it is now."""
        (xy, yaw), walker = self.pose, self.walker
        return Body(walker.name, walker.kind, xy, yaw, self.speed_mps, self.accel_mps2, colour=walker.colour)
