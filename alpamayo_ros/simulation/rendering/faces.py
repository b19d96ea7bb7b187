"""Coloured convex quadrilaterals, and the shapes that things are put together from.

Shapes are given in the frame of a thing: x to its front, y to its left, z up, its origin on the ground. Corners run
counter-clockwise seen from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.types import F64

Codes = NDArray[np.int64]
Tint = tuple[float, float, float]  # RGB, 0..255; of a face whose colour is a body's state, parts of that

# What a face does with light.
MATT = 0
SHINES = 1  # by itself: neither sun nor night change it
REFLECTS = 2  # a sign: bright in headlights
GLOSSY = 3  # mirrors the sky when it is wet
MARKING = 4  # on the road: fades into the asphalt where it is thinner than a pixel
FAR = 5  # hills and clouds: as they are, whatever is between
# Faces whose colour is a body's state; they become MATT or SHINES with it.
LACQUER, BRAKE, LEFT, RIGHT, HEAD = 6, 7, 8, 9, 10
FINISHES = 11

LEAST_PX = 0.3  # thinner faces are not painted
DETAIL_PX = 1.2  # nor are details that are thinner than this


class Faces(NamedTuple):
    """Convex quadrilaterals in the order in which they are painted; a triangle repeats its last corner."""

    corners: F64  # (N, 4, 3) m
    colours: F64  # (N, 3) RGB, 0..255
    finish: Codes  # (N,)
    least_px: F64  # (N,) not painted where thinner


NO_FACES = Faces(np.empty((0, 4, 3)), np.empty((0, 3)), np.empty(0, np.int64), np.empty(0))


def faces(corners: Sequence[object] | F64, colour: Tint | F64, finish: int = MATT, least_px: float = LEAST_PX) -> Faces:
    """Faces (N, 4, 3) of one colour, or of a colour each (N, 3)."""
    array = np.asarray(corners, np.float64).reshape(-1, 4, 3)
    n = len(array)
    return Faces(
        array, np.broadcast_to(np.asarray(colour, np.float64), (n, 3)), np.full(n, finish, np.int64), np.full(n, least_px)
    )


def joined(parts: Sequence[Faces]) -> Faces:
    """All faces, the first part's first."""
    return Faces(*map(np.concatenate, zip(*(parts or [NO_FACES]), strict=True)))


def chosen(some: Faces, which: Codes | NDArray[np.bool_]) -> Faces:
    """The faces at these indices, or where the mask is true."""
    return Faces(some.corners[which], some.colours[which], some.finish[which], some.least_px[which])


def moved(some: Faces, xyz_m: Sequence[float] | F64, yaw_rad: float = 0.0) -> Faces:
    """Faces of a thing's frame where the thing is."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return some._replace(corners=some.corners @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) + xyz_m)


def normals(corners: F64) -> F64:
    """Outward unit normals (N, 3) of quadrilaterals (N, 4, 3): across their diagonals, which triangles have too."""
    across: F64 = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    return np.asarray(across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12))


def reach_m(some: Faces) -> F64:
    """How far (N,) faces are painted by a lens with a focal length of one pixel: beyond, they are thinner than `least_px`."""
    one, other = some.corners[:, 2] - some.corners[:, 0], some.corners[:, 3] - some.corners[:, 1]
    across = np.linalg.norm(one, axis=1) + np.linalg.norm(other, axis=1)
    return np.asarray(np.linalg.norm(np.cross(one, other), axis=1) / np.maximum(across * some.least_px, 1e-12))


def fan(points: F64) -> F64:
    """A convex polygon (n, 3), n >= 3, as quadrilaterals (m, 4, 3)."""
    last = len(points) - 1
    return np.array([points[[0, k, min(k + 1, last), min(k + 2, last)]] for k in range(1, last, 2)])


def box(low: tuple[float, float, float], high: tuple[float, float, float], colour: Tint, finish: int = MATT) -> Faces:
    """The five faces of an upright box that are not its bottom."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    corners = [
        [(x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)],
        [(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)],
        [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)],
        [(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)],
        [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)],
    ]
    return faces(corners, colour, finish)


def post(half_m: float, z0: float, z1: float, colour: Tint, xy: tuple[float, float] = (0.0, 0.0)) -> Faces:
    """A square upright post."""
    x, y = xy
    return box((x - half_m, y - half_m, z0), (x + half_m, y + half_m, z1), colour)


def frustum(radius0_m: float, z0: float, radius1_m: float, z1: float, sides: int, colour: Tint) -> Faces:
    """The mantle of an upright cone's slice; it opens downwards or upwards."""
    angles = np.arange(sides + 1) * 2 * np.pi / sides
    ring = np.column_stack([np.cos(angles), np.sin(angles)])
    low, high = (
        np.column_stack([ring * radius0_m, np.full(sides + 1, z0)]),
        np.column_stack([ring * radius1_m, np.full(sides + 1, z1)]),
    )
    return faces(np.stack([low[:-1], low[1:], high[1:], high[:-1]], axis=1), colour)


def plate(
    uv: Sequence[tuple[float, float]] | F64,
    x: float,
    z: float,
    colour: Tint,
    finish: int = MATT,
    least_px: float = LEAST_PX,
    ahead: bool = False,
) -> Faces:
    """A flat convex polygon at x that faces backwards, or ahead; u to the right of who looks at it, v up from z."""
    u, v = np.asarray(uv, np.float64).T
    points = np.column_stack([np.full(len(u), x), u if ahead else -u, z + v])
    return faces(fan(points), colour, finish, least_px)


def rectangle(u0: float, v0: float, u1: float, v1: float) -> list[tuple[float, float]]:
    """Corners for `plate`."""
    return [(u0, v0), (u1, v0), (u1, v1), (u0, v1)]


def regular(sides: int, radius_m: float, turned_rad: float = 0.0) -> F64:
    """Corners for `plate`, the first at `turned_rad` from the right."""
    angles = turned_rad + np.arange(sides) * 2 * np.pi / sides
    return radius_m * np.column_stack([np.cos(angles), np.sin(angles)])


def flank(xzy: Sequence[tuple[float, float, float]], colour: Tint, finish: int = MATT, least_px: float = LEAST_PX) -> Faces:
    """A convex polygon on both sides of a thing: corners (x, z, half width), counter-clockwise seen from the right."""
    x, z, half = np.asarray(xzy, np.float64).T
    right, left = np.column_stack([x, -half, z]), np.column_stack([x, half, z])[::-1]
    return faces(np.concatenate([fan(right), fan(left)]), colour, finish, least_px)


def hull(profile: Sequence[tuple[float, float, float]], colours: Sequence[Tint], finishes: Sequence[int]) -> Faces:
    """Faces across a thing along its profile (x, z, half width), from its front over its top to its back."""
    corners = [[(x0, -w0, z0), (x0, w0, z0), (x1, w1, z1), (x1, -w1, z1)] for (x0, z0, w0), (x1, z1, w1) in pairwise(profile)]
    return Faces(
        np.array(corners, np.float64),
        np.array(colours, np.float64),
        np.array(finishes, np.int64),
        np.full(len(corners), LEAST_PX),
    )
