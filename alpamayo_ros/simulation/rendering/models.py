"""A model for every kind of body: parts that hide each other by their distance, each of faces in painting order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.rendering import wheeled
from alpamayo_ros.simulation.rendering.faces import (
    DETAIL_PX,
    LACQUER,
    REFLECTS,
    Codes,
    Faces,
    Tint,
    box,
    faces,
    frustum,
    joined,
    moved,
    normals,
    post,
    reach_m,
)
from alpamayo_ros.simulation.rendering.wheeled import FULL
from alpamayo_ros.simulation.state import SIZES, BodyKind
from alpamayo_ros.types import F64

SKIN: Tint = (232, 190, 160)
HAIR: Tint = (62, 44, 34)
TROUSERS: Tint = (48, 54, 76)
SHOES: Tint = (30, 28, 28)
ORANGE: Tint = (246, 98, 22)
WHITE: Tint = (240, 240, 236)
RED: Tint = (208, 34, 30)
SLEEVE: Tint = (0.8, 0.8, 0.8)
STEP_M = 0.7  # a walker's


class Part(NamedTuple):
    """Faces in painting order. A limb's lower end is ahead by `swing_m` in the middle of a step."""

    faces: Faces
    swing_m: float = 0.0


@dataclass(frozen=True)
class Model:
    """A body, its front to x, around the centre of its footprint."""

    parts: tuple[Part, ...]

    @cached_property
    def faces(self) -> Faces:
        """Of all parts."""
        return joined([part.faces for part in self.parts])

    @cached_property
    def part(self) -> Codes:
        """Index (N,) of the part that a face belongs to."""
        return np.repeat(np.arange(len(self.parts)), [len(part.faces.finish) for part in self.parts])

    @cached_property
    def swing_m(self) -> F64:
        """How far each corner (N, 4) is ahead in the middle of a step: none at a limb's top, all of it at its end."""
        return np.concatenate([_swing_m(part) for part in self.parts])

    @cached_property
    def normals(self) -> F64:
        """Outward (N, 3)."""
        return normals(self.faces.corners)

    @cached_property
    def reach_m(self) -> F64:
        """(N,), see `faces.reach_m`."""
        return reach_m(self.faces)


def _swing_m(part: Part) -> F64:
    z = part.faces.corners[..., 2]
    return np.asarray(part.swing_m * (z.max() - z) / max(float(np.ptp(z)), 1e-9))


def _walker(scale: float, head: float) -> Model:
    """Somebody of 1.75 m times `scale`, in trousers and a coat of the body's colour."""
    trunk = Part(box((-0.13, -0.21, 0.8), (0.13, 0.21, 1.46), FULL, LACQUER))
    limbs = [limb for y, ahead in ((1.0, 1.0), (-1.0, -1.0)) for limb in (_leg(0.11 * y, ahead), _arm(0.26 * y, -ahead))]
    r, top = 0.1 * head, 1.75
    skull = joined([post(0.05, 1.42, 1.55, SKIN), frustum(r, top - 2.3 * r, 1.15 * r, top - 0.8 * r, 6, SKIN)])
    hair = box((-1.25 * r, -0.95 * r, top - 2.0 * r), (-0.5 * r, 0.95 * r, top - 0.5 * r), HAIR)
    crown = frustum(1.2 * r, top - 0.8 * r, 0.6 * r, top, 6, HAIR)
    return Model(tuple(_scaled(part, scale) for part in (*limbs, trunk, Part(skull), Part(hair), Part(crown))))


def _leg(y: float, ahead: float) -> Part:
    shoe = box((-0.13, y - 0.08, 0.0), (0.15, y + 0.08, 0.1), SHOES)
    return Part(joined([shoe, box((-0.1, y - 0.09, 0.08), (0.1, y + 0.09, 0.86), TROUSERS)]), 0.24 * ahead)


def _arm(y: float, ahead: float) -> Part:
    hand = box((-0.06, y - 0.055, 0.72), (0.06, y + 0.055, 0.84), SKIN)
    return Part(joined([hand, box((-0.07, y - 0.06, 0.84), (0.07, y + 0.06, 1.42), SLEEVE, LACQUER)]), 0.18 * ahead)


def _scaled(part: Part, scale: float) -> Part:
    return Part(part.faces._replace(corners=part.faces.corners * scale), part.swing_m * scale)


def _cyclist() -> Model:
    """A rider of a bicycle, leaning forward."""
    legs = [Part(box((-0.2, y - 0.08, 0.32), (0.02, y + 0.08, 0.92), TROUSERS), y) for y in (0.13, -0.13)]
    trunk = box((-0.28, -0.2, 0.88), (0.0, 0.2, 1.46), FULL, LACQUER)
    lean = trunk.corners.copy()
    lean[..., 0] += 0.55 * (lean[..., 2] - 0.88)
    arms = [Part(box((0.0, y - 0.05, 1.06), (0.42, y + 0.05, 1.22), SLEEVE, LACQUER)) for y in (0.22, -0.22)]
    helmet = frustum(0.14, 1.6, 0.06, 1.75, 6, WHITE)
    head = Part(moved(joined([frustum(0.09, 1.46, 0.11, 1.6, 6, SKIN), helmet]), (0.14, 0.0, 0.0)))
    return Model((Part(wheeled.bicycle()), *legs, *arms, Part(trunk._replace(corners=lean)), head))


def _cone() -> Model:
    """A traffic cone of 0.8 m, orange with two white bands."""
    radius = [0.19 * (1 - (z - 0.05) / 0.85) for z in (0.05, 0.26, 0.42, 0.56, 0.68, 0.8)]
    z = (0.05, 0.26, 0.42, 0.56, 0.68, 0.8)
    colours = (ORANGE, WHITE, ORANGE, WHITE, ORANGE)
    bands = [frustum(radius[k], z[k], radius[k + 1], z[k + 1], 6, colours[k]) for k in range(5)]
    cone = joined([box((-0.22, -0.22, 0.0), (0.22, 0.22, 0.05), (200, 80, 20)), *bands])
    return Model((Part(cone._replace(finish=np.full(len(cone.finish), REFLECTS))),))


def _barrier() -> Model:
    """A barrier of 2 x 0.5 x 1 m: a board with slanting red stripes on two feet, seen from both sides."""
    feet = [box((x - 0.06, -0.25, 0.0), (x + 0.06, 0.25, 0.08), (60, 60, 62)) for x in (-0.75, 0.75)]
    posts = [post(0.05, 0.05, 0.5, (150, 152, 154), (x, 0.0)) for x in (-0.75, 0.75)]
    board = box((-1.0, -0.06, 0.42), (1.0, 0.06, 1.0), WHITE, REFLECTS)
    stripes = [_stripe(x, side) for x in np.arange(-0.96, 0.8, 0.56) for side in (-1.0, 1.0)]
    return Model((Part(joined([*feet, *posts, board, *stripes])),))


def _stripe(x: float, side: float) -> Faces:
    """A slanting stripe of a barrier's board, seen from its right (-1) or its left (1) side."""
    around = [(x, 0.43), (x + 0.28, 0.43), (min(x + 0.56, 1.0), 0.99), (x + 0.28, 0.99)]
    corners = [(along, side * 0.062, z) for along, z in (around if side < 0 else around[::-1])]
    return faces([corners], RED, REFLECTS, DETAIL_PX)


def _wheeled(*parts: Faces) -> Model:
    return Model(tuple(Part(part) for part in parts))


_CAR = _wheeled(wheeled.car())
_TRUCK = _wheeled(*wheeled.truck())

MODELS: dict[BodyKind, Model] = {
    "car": _CAR,
    "parked_car": _CAR,
    "broken_down_car": _CAR,
    "truck": _TRUCK,
    "motorcycle": _wheeled(*wheeled.motorcycle()),
    "pedestrian": _walker(1.0, 1.0),
    "child": _walker(SIZES["child"].height_m / SIZES["pedestrian"].height_m, 1.3),
    "cyclist": _cyclist(),
    "cone": _cone(),
    "barrier": _barrier(),
}
