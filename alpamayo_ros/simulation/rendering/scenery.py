"""Buildings and trees beside the road, and what is so far away that only the direction counts: hills and clouds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from alpamayo_ros.simulation.rendering.faces import (
    FAR,
    GLOSSY,
    MATT,
    SHINES,
    Faces,
    Tint,
    box,
    faces,
    frustum,
    joined,
    moved,
    post,
)
from alpamayo_ros.simulation.rendering.light import Light
from alpamayo_ros.simulation.scenario import Scenery
from alpamayo_ros.types import F64

MODULE_M = 7.0  # longest part of a building: hidden surfaces are found by the distance of the parts' middles
STOREY_M = 3.0
WINDOW_PX = 2.5  # windows are not painted where they are thinner
GLASS: Tint = (66, 78, 92)
LIT_WINDOW: Tint = (250, 206, 124)
BARK: Tint = (98, 76, 58)
HILLS_M = 900.0
_HILL_STEPS = 48
_CLOUDS = 12


def building(of: Scenery, lamps_lit: bool, rng: np.random.Generator) -> list[Faces]:
    """Its modules, side by side along the road, around the middle of its footprint."""
    count = max(1, round(of.length_m / MODULE_M))
    edges = np.linspace(-of.length_m / 2, of.length_m / 2, count + 1)
    return [_module(of, float(x0), float(x1), lamps_lit, rng) for x0, x1 in pairwise(edges)]


def _module(of: Scenery, x0: float, x1: float, lamps_lit: bool, rng: np.random.Generator) -> Faces:
    """Low ones have a pitched roof with its ridge along the road, high ones a flat one."""
    half = of.width_m / 2
    pitched = of.height_m < 3.2 * STOREY_M
    eaves = 0.68 * of.height_m if pitched else of.height_m
    walls = box((x0, -half, 0.0), (x1, half, eaves), of.colour)
    roof = [_roof(x0, x1, half, eaves, of.height_m, of.colour)] if pitched else []
    plinth = [_window(x0, x1, side * (half + 0.02), 0.0, 0.5, (110, 106, 102), MATT) for side in (1.0, -1.0)]
    return joined([walls, *roof, *plinth, *_windows(x0, x1, half + 0.02, eaves, lamps_lit, rng)])


def _roof(x0: float, x1: float, half: float, eaves: float, ridge: float, wall: Tint) -> Faces:
    slopes = [
        [(x0, -half, eaves), (x1, -half, eaves), (x1, 0.0, ridge), (x0, 0.0, ridge)],
        [(x1, half, eaves), (x0, half, eaves), (x0, 0.0, ridge), (x1, 0.0, ridge)],
        [(x0, half, eaves), (x0, -half, eaves), (x0, 0.0, ridge), (x0, 0.0, ridge)],
        [(x1, -half, eaves), (x1, half, eaves), (x1, 0.0, ridge), (x1, 0.0, ridge)],
    ]
    return faces(slopes, np.array([(142, 72, 58), (142, 72, 58), wall, wall], np.float64))


def _windows(x0: float, x1: float, side_m: float, eaves: float, lamps_lit: bool, rng: np.random.Generator) -> Iterator[Faces]:
    """Two windows per storey and side."""
    for z in np.arange(0.9, eaves - 1.7, STOREY_M):
        for side in (side_m, -side_m):
            for at in (0.28, 0.72):
                lit = lamps_lit and rng.random() < 0.4
                x = x0 + at * (x1 - x0)
                yield _window(x - 0.75, x + 0.75, side, z, z + 1.4, LIT_WINDOW if lit else GLASS, SHINES if lit else GLOSSY)


def _window(x0: float, x1: float, y: float, z0: float, z1: float, colour: Tint, finish: int) -> Faces:
    """A rectangle along the road that faces away from y = 0."""
    near, far = (x1, x0) if y > 0 else (x0, x1)
    return faces([[(near, y, z0), (far, y, z0), (far, y, z1), (near, y, z1)]], colour, finish, WINDOW_PX)


def tree(of: Scenery, rng: np.random.Generator) -> Faces:
    """A trunk and a crown of three rings, turned by chance."""
    radius, height = of.width_m / 2, of.height_m
    red, green, blue = of.colour
    crown = [
        frustum(0.35 * radius, 0.24 * height, radius, 0.46 * height, 6, (0.86 * red, 0.86 * green, 0.86 * blue)),
        frustum(radius, 0.46 * height, 0.72 * radius, 0.76 * height, 6, of.colour),
        frustum(0.72 * radius, 0.76 * height, 0.0, height, 6, of.colour),
    ]
    trunk = post(0.06 * height**0.5, 0.0, 0.3 * height, BARK)
    return joined([trunk, moved(joined(crown), (0.0, 0.0, 0.0), rng.uniform(0.0, 1.0))])


def horizon(light: Light, field: Tint, rng: np.random.Generator) -> Faces:
    """Hills all around and, under a clear sky, clouds; around the eye, whose place does not matter. Their colours are final."""
    hills = _hills(rng)
    near = light.horizon + (np.array(field) * light.skylight * (0.55, 0.75, 0.95) - light.horizon) * np.array([[0.34], [0.6]])
    colours = np.repeat(near, _HILL_STEPS, axis=0)
    fog = np.exp(-max(0.0, 300.0 / light.haze_m - 1.0))  # hills vanish in rain and fog
    far = faces(hills, light.horizon + (colours - light.horizon) * fog, FAR)
    return joined([_clouds(light, rng), far])


def _hills(rng: np.random.Generator) -> F64:
    """Two ranges of hills, the farther one first: (2 * steps, 4, 3)."""
    azimuth = np.arange(_HILL_STEPS + 1) * 2 * np.pi / _HILL_STEPS
    ranges = []
    for lift, waves in ((0.05, (2, 3, 5, 9)), (0.028, (3, 7, 11, 14))):
        phases = rng.uniform(0, 2 * np.pi, len(waves))
        rough = sum(np.sin(wave * azimuth + phase) / (k + 1) for k, (wave, phase) in enumerate(zip(waves, phases, strict=True)))
        top = np.maximum(lift * (0.6 + 0.55 * np.asarray(rough)), 0.004)
        low, high = (np.column_stack([np.cos(azimuth), np.sin(azimuth), z]) for z in (np.full_like(top, -0.01), top))
        ranges.append(HILLS_M * np.stack([low[1:], low[:-1], high[:-1], high[1:]], axis=1))
    return np.concatenate(ranges)


def _clouds(light: Light, rng: np.random.Generator) -> Faces:
    """Heaps of flat ellipses, lit from above."""
    if light.haze_m < 300.0 or light.zenith.sum() < 120:
        return faces([], (0, 0, 0))
    parts = []
    for azimuth, height, size in rng.uniform((0.0, 0.08, 0.06), (2 * np.pi, 0.36, 0.13), (_CLOUDS, 3)):
        for aside, up, scale, flat in rng.uniform((-0.9, 0.0, 0.35, 0.2), (0.9, 0.14, 0.75, 0.32), (4, 4)):
            parts.append(_ellipse(azimuth + aside * size, height + up * size, size * scale, flat * size * scale))
    sky = light.sky(np.full(1, 0.25))[0]
    white = np.minimum(light.horizon * 1.06 + 8.0, 252.0)
    return faces(np.concatenate(parts), sky + (white - sky) * 0.72, FAR)


def _ellipse(azimuth: float, height: float, wide: float, high: float) -> F64:
    angles = np.pi / 8 + np.arange(8) * np.pi / 4
    around, up = azimuth + wide * np.cos(angles), height + np.maximum(high * np.sin(angles), -0.6 * high)
    rim = HILLS_M * np.column_stack([np.cos(around), np.sin(around), up])
    return rim[[[0, 1, 2, 3], [0, 3, 4, 7], [4, 5, 6, 7]]]
