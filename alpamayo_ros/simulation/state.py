"""The state of the driving world at one instant, as values: what is drawn, reasoned about and judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from alpamayo_ros.geometry import rotation_z
from alpamayo_ros.simulation.scenario import LightColour, Rgb
from alpamayo_ros.types import F64, EgoPose, TurnIndicator, checked

BodyKind = Literal[
    "car", "truck", "motorcycle", "parked_car", "broken_down_car", "cone", "barrier", "pedestrian", "child", "cyclist"
]


class Size(NamedTuple):
    """Of an upright box, m."""

    length_m: float
    width_m: float
    height_m: float


SIZES: dict[BodyKind, Size] = {
    "car": Size(4.8, 1.84, 1.47),
    "truck": Size(8.5, 2.5, 3.2),
    "motorcycle": Size(2.2, 0.8, 1.5),
    "parked_car": Size(4.8, 1.84, 1.47),
    "broken_down_car": Size(4.8, 1.84, 1.47),
    "cone": Size(0.45, 0.45, 0.8),
    "barrier": Size(2.0, 0.5, 1.0),
    "pedestrian": Size(0.5, 0.6, 1.75),
    "child": Size(0.4, 0.45, 1.2),
    "cyclist": Size(1.8, 0.6, 1.75),
}
"""One size per kind; the ego is a car."""

WHEELBASE_M = 2.85
REAR_M = 1.0  # from the ego's rear axle to its rear bumper
FRONT_M = 3.8  # from the ego's rear axle to its front bumper
WIDTH_M = SIZES["car"].width_m


@dataclass(frozen=True)
class Body:
    """Somebody or something solid, not the ego: an upright box."""

    name: str
    kind: BodyKind
    xy_m: F64  # (2,) centre of its footprint
    yaw_rad: float  # where its front is
    speed_mps: float  # along its front
    accel_mps2: float = 0.0
    yaw_rate_rps: float = 0.0
    indicator: TurnIndicator = "off"
    colour: Rgb = (120, 124, 130)

    def __post_init__(self) -> None:
        object.__setattr__(self, "xy_m", checked("xy_m", self.xy_m, np.float64, 2))

    @property
    def size(self) -> Size:
        """Length, width and height."""
        return SIZES[self.kind]

    @property
    def brakes(self) -> bool:
        """Whether its brake lights are lit."""
        return self.accel_mps2 < -0.5 or (self.kind in ("car", "truck", "motorcycle") and abs(self.speed_mps) < 0.1)


@dataclass(frozen=True)
class Ego:
    """The vehicle that is driven: rear axle on the ground, a bicycle."""

    xy_m: F64  # (2,)
    yaw_rad: float
    speed_mps: float  # never negative
    accel_mps2: float = 0.0
    steering_rad: float = 0.0  # front wheels, positive turns left
    indicator: TurnIndicator = "off"

    def __post_init__(self) -> None:
        object.__setattr__(self, "xy_m", checked("xy_m", self.xy_m, np.float64, 2))

    @property
    def curvature_1pm(self) -> float:
        """Of the path of the rear axle: tan(steering) / wheelbase."""
        return float(np.tan(self.steering_rad) / WHEELBASE_M)

    @property
    def yaw_rate_rps(self) -> float:
        """Positive turns left."""
        return self.speed_mps * self.curvature_1pm

    def pose(self, stamp_ns: int) -> EgoPose:
        """As odometry measures it."""
        velocity, turn = np.array([self.speed_mps, 0.0, 0.0]), np.array([0.0, 0.0, self.yaw_rate_rps])
        return EgoPose(stamp_ns, np.append(self.xy_m, 0.0), rotation_z(self.yaw_rad), velocity, turn)


@dataclass(frozen=True)
class Snapshot:
    """The world at one instant."""

    t_s: float
    ego: Ego
    bodies: tuple[Body, ...]
    lights: tuple[LightColour, ...]  # one per light of the scenario


def corners_m(xy_m: F64, yaw_rad: float, back_m: float, front_m: float, width_m: float) -> F64:
    """Corners (4, 2) of a footprint, counter-clockwise from the rear right one."""
    x = np.array([-back_m, front_m, front_m, -back_m])
    y = np.array([-0.5, -0.5, 0.5, 0.5]) * width_m
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.column_stack([xy_m[0] + x * cos - y * sin, xy_m[1] + x * sin + y * cos])


def footprint_m(body: Body) -> F64:
    """Corners (4, 2) of a body."""
    return corners_m(body.xy_m, body.yaw_rad, body.size.length_m / 2, body.size.length_m / 2, body.size.width_m)


def ego_footprint_m(ego: Ego) -> F64:
    """Corners (4, 2) of the ego."""
    return corners_m(ego.xy_m, ego.yaw_rad, REAR_M, FRONT_M, WIDTH_M)
