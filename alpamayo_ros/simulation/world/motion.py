"""How another vehicle moves along its track, and sideways to another one: exactly, smoothly and never backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alpamayo_ros.simulation.scenario import Trigger, Vehicle
from alpamayo_ros.simulation.state import SIZES, Body
from alpamayo_ros.simulation.world.swerve import Swerve, swerve
from alpamayo_ros.simulation.world.tracks import Track
from alpamayo_ros.types import F64, TurnIndicator

SIGNAL_S = 1.0  # that an indicator is on before a lane change begins
JERK_MPS3 = 6.0
EMERGENCY_JERK_MPS3 = 20.0
EMERGENCY_MPS2 = -3.5  # who has to brake harder than this brakes suddenly


@dataclass(frozen=True)
class Change:
    """A lane change that a vehicle has in mind."""

    to: Track
    duration_s: float
    returns_after_s: float | None = None  # that it has arrived
    insists: bool = False  # waits for room, where it would otherwise give up


class Motion:
    """Of one vehicle: where it is on its road, and the lane change that it is in."""

    def __init__(self, vehicle: Vehicle, track: Track, script: Sequence[tuple[Trigger, Change]]) -> None:
        self.vehicle = vehicle
        self.size = SIZES[vehicle.kind]
        self.track = track  # that it is in until it moves over to another one
        self.along_m = vehicle.along_m
        self.left_m = track.left_m
        self.speed_mps = 0.0 if vehicle.waits else vehicle.speed_mps
        self.accel_mps2 = 0.0
        self.slope = 0.0  # metres to its left per metre ahead
        self.xy_m: F64 = np.zeros(2)
        self.yaw_rad = 0.0
        self.change: Change | None = None  # that it signals or is in
        self.swerve: Swerve | None = None
        self._u = 0.0
        self._yaw_rate_rps = 0.0
        self._since_s = 0.0  # it began to signal, or arrived in its lane
        self._script = list(script)
        self._return: tuple[float, Change] | None = None

    @property
    def s_m(self) -> float:
        """Progress of its centre."""
        return self.track.s_m(self.along_m)

    @property
    def front_m(self) -> float:
        """Progress of its front bumper."""
        return self.s_m + self.size.length_m / 2

    @property
    def has_left(self) -> bool:
        """Whether its front bumper is at the end of its road."""
        return not self.track.ends_early and self.front_m >= self.track.length_m

    @property
    def indicator(self) -> TurnIndicator:
        """On while it signals or changes lanes."""
        if self.change is None:
            return "off"
        return "left" if self.track.sign * (self.change.to.left_m - self.left_m) > 0 else "right"

    def stands(self, fired: Mapping[Trigger, float]) -> bool:
        """Whether it still waits for its trigger."""
        return self.vehicle.waits is not None and self.vehicle.waits not in fired

    def wished_mps(self, fired: Mapping[Trigger, float]) -> float:
        """Speed that it wishes here: the wish that came last or the limit, if the curves ahead allow."""
        wishes = [(fired[trigger], k, mps) for k, (trigger, mps) in enumerate(self.vehicle.wishes) if trigger in fired]
        return min(max(wishes)[2] if wishes else self.track.limit_mps(self.s_m), self.track.curve_mps(self.s_m))

    def due(self, fired: Mapping[Trigger, float]) -> Change | None:
        """The change that the scenario wants to begin now."""
        if self._return is not None and self._since_s >= self._return[0] - 1e-9:
            _, change = self._return
            self._return = None
            return change
        for k, (trigger, change) in enumerate(self._script):
            if trigger in fired:
                del self._script[k]
                return change
        return None

    def signal(self, change: Change) -> None:
        """Indicate that a lane change is going to begin."""
        self.change, self._since_s = change, 0.0

    def ready(self) -> bool:
        """Whether it has signalled long enough to move over."""
        return self.change is not None and self.swerve is None and self._since_s >= SIGNAL_S - 1e-9

    def give_up(self) -> None:
        """Stop signalling and stay."""
        self.change = None

    def move_over(self) -> None:
        """Begin to change lanes."""
        assert self.change is not None
        back = Change(self.track, self.change.duration_s, insists=True)
        self._return = None if self.change.returns_after_s is None else (self.change.returns_after_s, back)
        self.track = self.change.to
        slope = self.track.sign * self.slope
        self.swerve = swerve(self.left_m, self.track.left_m, self.change.duration_s, slope, self.speed_mps)
        self._u = 0.0

    def step(self, wanted_mps2: float, dt_s: float) -> None:
        """Drive on with the wanted acceleration, or what comes near it without a jolt."""
        sudden = EMERGENCY_JERK_MPS3 if wanted_mps2 < EMERGENCY_MPS2 else JERK_MPS3
        change = min(max(wanted_mps2 - self.accel_mps2, -sudden * dt_s), JERK_MPS3 * dt_s)
        before, left_before = self.speed_mps, self.left_m
        self.speed_mps = max(0.0, before + (self.accel_mps2 + change) * dt_s)
        self.accel_mps2 = (self.speed_mps - before) / dt_s
        ahead_m = (before + self.speed_mps) / 2 * dt_s / float(np.hypot(1.0, self.slope))
        self._since_s += dt_s
        self._move_sideways(ahead_m)
        left, halfway = (left_before + self.left_m) / 2, self.along_m + self.track.sign * ahead_m / 2
        self.along_m += self.track.sign * ahead_m / (1.0 - left * float(self.track.road.curvature_1pm(halfway)))

    def _move_sideways(self, ahead_m: float) -> None:
        if self.swerve is None:
            return
        self._u += self.swerve.per_m(self.speed_mps) * ahead_m
        if self._u < 1.0:
            self.left_m = self.swerve.left_m(self._u)
            self.slope = self.track.sign * self.swerve.slope(self._u, self.speed_mps)
        else:
            self.left_m, self.slope, self.swerve, self.change, self._since_s = self.track.left_m, 0.0, None, None, 0.0

    def put(self, xy_m: F64, road_yaw_rad: float, dt_s: float) -> None:
        """Its place in the world; `road_yaw_rad` is the heading of the reference line there."""
        yaw = road_yaw_rad + (0.0 if self.track.sign > 0 else np.pi) + float(np.arctan(self.slope))
        self._yaw_rate_rps = (yaw - self.yaw_rad) / dt_s if dt_s else 0.0
        self.xy_m, self.yaw_rad = xy_m, yaw

    def body(self) -> Body:
        """As it is now."""
        seen = (self.speed_mps, self.accel_mps2, self._yaw_rate_rps, self.indicator, self.vehicle.colour)
        return Body(self.vehicle.name, self.vehicle.kind, self.xy_m, self.yaw_rad, *seen)
