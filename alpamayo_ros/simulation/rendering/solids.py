"""Things that stand on the ground, ready to be painted: parts that hide each other by their distance from the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alpamayo_ros.simulation.rendering.eye import Eye
from alpamayo_ros.simulation.rendering.faces import (
    BRAKE,
    FINISHES,
    HEAD,
    LACQUER,
    LEFT,
    MATT,
    NO_FACES,
    RIGHT,
    SHINES,
    Codes,
    Faces,
    chosen,
    joined,
    normals,
    reach_m,
)
from alpamayo_ros.simulation.rendering.light import Light
from alpamayo_ros.simulation.rendering.models import MODELS, STEP_M
from alpamayo_ros.simulation.scenario import Rgb
from alpamayo_ros.simulation.state import Body
from alpamayo_ros.types import F64

BRAKE_LIT: Rgb = (255, 22, 18)
TAIL_LIT: Rgb = (150, 14, 14)
TAIL_DARK: Rgb = (98, 18, 20)
INDICATOR_LIT: Rgb = (255, 156, 0)
INDICATOR_DARK: Rgb = (140, 88, 46)
HEAD_LIT: Rgb = (255, 250, 226)
HEAD_DARK: Rgb = (206, 212, 218)
BLINK_HZ = 1.5


class Solids(NamedTuple):
    """Shaded faces of parts; an owner's parts are never interleaved with another's."""

    faces: Faces
    reach_m: F64  # (N,) see `faces.reach_m`
    planes: F64  # (N, 4) outward normals and offsets: n . x + d > 0 where a face is seen
    starts: Codes  # (P,) first face of each part
    counts: Codes  # (P,)
    centres_m: F64  # (P, 3)
    owners_m: F64  # (P, 3) middle of the thing that a part belongs to
    radii_m: F64  # (P,) around the centres


def solids(parts: Sequence[Faces], owners_m: Sequence[F64], light: Light) -> Solids:
    """Parts in the world, shaded."""
    some, outward = joined(parts), normals(joined(parts).corners)
    shaded = some._replace(colours=light.shaded(some.colours, outward, some.finish))
    counts = np.array([len(part.finish) for part in parts], np.int64)
    return _solids(shaded, reach_m(some), outward, counts, np.array(owners_m).reshape(-1, 3))


def _solids(some: Faces, reach: F64, outward: F64, counts: Codes, owners_m: F64) -> Solids:
    planes = np.column_stack([outward, -np.einsum("ni,ni->n", outward, some.corners[:, 0])])
    starts = np.cumsum(counts) - counts
    if not len(counts):
        return Solids(some, reach, planes, starts, counts, owners_m, owners_m, np.empty(0))
    low = np.minimum.reduceat(some.corners.min(axis=1), starts)
    high = np.maximum.reduceat(some.corners.max(axis=1), starts)
    return Solids(some, reach, planes, starts, counts, (low + high) / 2, owners_m, np.linalg.norm(high - low, axis=1) / 2)


def together(groups: Sequence[Solids]) -> Solids:
    """All of them."""
    offsets = np.cumsum([0, *(len(group.planes) for group in groups[:-1])])
    starts = np.concatenate([group.starts + offset for group, offset in zip(groups, offsets, strict=True)])
    some = joined([group.faces for group in groups])
    reach, planes = (np.concatenate(arrays) for arrays in zip(*(group[1:3] for group in groups), strict=True))
    return Solids(some, reach, planes, starts, *map(np.concatenate, zip(*(group[4:] for group in groups), strict=True)))


def within(of: Solids, xy_m: F64, range_m: float) -> Solids:
    """The parts that are not wholly farther than `range_m` from a place."""
    away = of.centres_m[:, :2] - xy_m
    near = np.flatnonzero(np.einsum("ni,ni->n", away, away) < (range_m + of.radii_m) ** 2)
    index, counts = _face_index(of, near), of.counts[near]
    parts = of.centres_m[near], of.owners_m[near], of.radii_m[near]
    return Solids(chosen(of.faces, index), of.reach_m[index], of.planes[index], np.cumsum(counts) - counts, counts, *parts)


def towards(of: Solids, eye: Eye) -> Codes:
    """Indices of the faces that look at an eye, are large and may be in its view, in painting order: far ones first."""
    seen = np.flatnonzero(eye.sees(of.centres_m, of.radii_m))
    part, owner = (((places[seen] - eye.origin) ** 2).sum(axis=1) for places in (of.centres_m, of.owners_m))
    order = np.lexsort((-part, -owner))
    index = _face_index(of, seen[order])
    away_m = np.repeat((np.sqrt(part) - of.radii_m[seen])[order], of.counts[seen[order]])
    facing = of.planes[index, :3] @ eye.origin + of.planes[index, 3] > 0
    return np.asarray(index[facing & (of.reach_m[index] * eye.lens.fx > away_m)])


def _face_index(of: Solids, parts: Codes) -> Codes:
    """Indices of the faces of these parts, part by part."""
    starts, counts = of.starts[parts], of.counts[parts]
    shift = starts - (np.cumsum(counts) - counts)
    return np.asarray(np.repeat(shift, counts) + np.arange(counts.sum()))


def posed(bodies: Sequence[Body], t_s: float, light: Light) -> Solids:
    """Bodies where they are, in their colours, with their lamps and their stride."""
    if not bodies:
        return _solids(NO_FACES, np.empty(0), np.empty((0, 3)), np.empty(0, np.int64), np.empty((0, 3)))
    models = [MODELS[body.kind] for body in bodies]
    some = joined([model.faces for model in models])
    which = np.repeat(np.arange(len(bodies)), [len(model.part) for model in models])
    tables = np.array([_lamps(body, t_s, light) for body in bodies], np.float64)
    colours = some.colours * tables[which, some.finish, :3]
    finish = np.where(some.finish >= LACQUER, np.where(tables[which, some.finish, 3] > 0, SHINES, MATT), some.finish)
    yaw = np.array([body.yaw_rad for body in bodies])
    cos, sin = np.cos(yaw)[which], np.sin(yaw)[which]
    xy, stride = np.array([body.xy_m for body in bodies])[which], np.array([_stride(body) for body in bodies])[which]
    x = some.corners[..., 0] + stride[:, None] * np.concatenate([model.swing_m for model in models])
    corners = _turned(x, some.corners[..., 1], some.corners[..., 2], cos[:, None], sin[:, None])
    corners[..., :2] += xy[:, None]
    x, y, z = np.concatenate([model.normals for model in models]).T
    outward = _turned(x, y, z, cos, sin)
    shaded = Faces(corners, light.shaded(colours, outward, finish), finish, some.least_px)
    counts = np.concatenate([np.bincount(model.part) for model in models])
    owner = np.repeat(np.arange(len(bodies)), [len(model.parts) for model in models])
    heights = [body.size.height_m / 2 for body in bodies]
    owners = np.column_stack([np.array([body.xy_m for body in bodies]), heights])[owner]
    return _solids(shaded, np.concatenate([model.reach_m for model in models]), outward, counts, owners)


def _turned(x: F64, y: F64, z: F64, cos: F64, sin: F64) -> F64:
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1)


def _stride(body: Body) -> float:
    """-1 to 1: how far the left leg is ahead; it depends on the place, so that who stands still keeps still."""
    walked_m = float(body.xy_m @ (np.cos(body.yaw_rad), np.sin(body.yaw_rad)))
    return float(np.sin(np.pi * walked_m / STEP_M)) * min(1.0, abs(body.speed_mps) / 1.0)


def _lamps(body: Body, t_s: float, light: Light) -> list[tuple[float, float, float, float]]:
    """Colour of every finish on a body, and whether it shines."""
    lit = light.lamps_lit and body.kind != "parked_car"
    blink = (t_s * BLINK_HZ) % 1.0 < 0.55
    hazard = body.indicator == "hazard" or body.kind == "broken_down_car"
    table: list[tuple[float, float, float, float]] = [(1.0, 1.0, 1.0, 0.0)] * FINISHES
    table[LACQUER] = (*body.colour, 0.0)
    table[BRAKE] = (*BRAKE_LIT, 1.0) if body.brakes else (*TAIL_LIT, 1.0) if lit else (*TAIL_DARK, 0.0)
    table[HEAD] = (*HEAD_LIT, 1.0) if lit else (*HEAD_DARK, 0.0)
    for code, side in ((LEFT, "left"), (RIGHT, "right")):
        table[code] = (*INDICATOR_LIT, 1.0) if blink and (hazard or body.indicator == side) else (*INDICATOR_DARK, 0.0)
    return table
