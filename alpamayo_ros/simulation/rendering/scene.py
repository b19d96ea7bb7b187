"""What is near the ego at one instant, and pictures of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from alpamayo_ros.cameras import Pinhole, resized
from alpamayo_ros.simulation.rendering.eye import SHIFT, Eye
from alpamayo_ros.simulation.rendering.faces import Codes, Faces, chosen, joined, reach_m
from alpamayo_ros.simulation.rendering.grain import grainy
from alpamayo_ros.simulation.rendering.light import Light
from alpamayo_ros.simulation.rendering.solids import Solids, towards
from alpamayo_ros.simulation.state import Ego
from alpamayo_ros.types import F64, U8

FINE_PX = 180  # narrower pictures are painted at a multiple of their size and averaged


class Flat(NamedTuple):
    """Shaded faces on the ground."""

    faces: Faces
    centres_m: F64  # (N, 3)
    radii_m: F64  # (N,) around the centres
    reach_m: F64  # (N,) see `faces.reach_m`


def flat(some: Faces) -> Flat:
    """Faces with their spheres."""
    centres = some.corners.mean(axis=1)
    return Flat(some, centres, np.sqrt(((some.corners - centres[:, None]) ** 2).sum(axis=2).max(axis=1)), reach_m(some))


def seen_below(of: Flat, eye: Eye) -> Codes:
    """Indices of the faces that are large and may be in an eye's view."""
    away_m = np.sqrt(((of.centres_m - eye.origin) ** 2).sum(axis=1)) - of.radii_m
    return np.flatnonzero(eye.sees(of.centres_m, of.radii_m) & (of.reach_m * eye.lens.fx > away_m))


@dataclass(frozen=True)
class Scene:
    """The far, the ground and the solids are painted in this order."""

    far: Faces  # from the eye
    ground: Flat
    solids: Solids
    light: Light
    asphalt: F64  # (3,) shaded colour
    field: F64  # (3,)
    ego: Ego
    noise_sigma: float
    rain: bool

    def picture(self, lens: Pinhole, odom_from_optical: F64, noise_key: Sequence[int], noise_left: float = 1.0) -> U8:
        """What a camera at a pose (4, 4) sees: RGB (height, width, 3). Raises InvalidInput: see `Eye`."""
        finer = 1
        while lens.width * finer < FINE_PX:
            finer *= 2
        eye = Eye(_finer(lens, finer), odom_from_optical)
        image = self._background(eye)
        self._paint(image, eye, cv2.LINE_AA if finer == 1 else cv2.LINE_8)
        while finer > 1:  # halving is 10 times faster than any other factor
            finer //= 2
            image = _averaged(image, lens.width * finer, lens.height * finer)
        return grainy(image, self.noise_sigma * noise_left, noise_key, rain=self.rain)

    def _background(self, eye: Eye) -> U8:
        """Sky and far ground: one colour per row, as the camera is upright."""
        lens, light = eye.lens, self.light
        upwards = eye.rotation[2, 1] * (np.arange(lens.height) - lens.cy) / lens.fy + eye.rotation[2, 2]
        upwards /= np.hypot(1.0, (np.arange(lens.height) - lens.cy) / lens.fy)
        away = eye.origin[2] / np.maximum(-upwards, 1e-6)
        ground = light.horizon + (self.field - light.horizon) * np.exp(-away / light.haze_m)[:, None]
        rows = np.where(upwards[:, None] > 0, light.sky(upwards), ground).astype(np.uint8)
        # OpenCV's resize repeats a column 7 times faster than numpy.
        return np.asarray(cv2.resize(rows[:, None], (lens.width, lens.height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def _paint(self, image: U8, eye: Eye, line: int) -> None:
        far = self.far._replace(corners=self.far.corners + eye.origin)
        below = chosen(self.ground.faces, seen_below(self.ground, eye))
        some = joined([far, below, chosen(self.solids.faces, towards(self.solids, eye))])
        drawn = eye.outlines(some.corners - eye.origin)
        kept = np.flatnonzero(drawn.thick_px >= some.least_px[drawn.index])
        colours = self._seen(eye, chosen(some, drawn.index[kept]), drawn.centres_m[:, kept], drawn.thick_px[kept])
        for k, colour in zip(kept.tolist(), np.rint(colours).tolist(), strict=True):
            cv2.fillConvexPoly(image, drawn.points[k], colour, line, SHIFT)

    def _seen(self, eye: Eye, some: Faces, from_eye_m: F64, thick_px: F64) -> F64:
        """Colours of faces whose middles are at (3, N) from the eye, through headlights and air."""
        beam = None
        if self.light.beam.any():
            x, y = from_eye_m[:2] + (eye.origin[:2] - self.ego.xy_m)[:, None]
            cos, sin = np.cos(self.ego.yaw_rad), np.sin(self.ego.yaw_rad)
            beam = self.light.beam_on(x * cos + y * sin, y * cos - x * sin)
        distance_m = np.sqrt((from_eye_m**2).sum(axis=0))
        return self.light.seen(some.colours, some.finish, distance_m, beam, thick_px, self.asphalt)


def _finer(lens: Pinhole, times: int) -> Pinhole:
    finer = resized(lens, lens.width * times, lens.height * times)
    assert isinstance(finer, Pinhole)
    return finer


def _averaged(image: U8, width: int, height: int) -> U8:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
