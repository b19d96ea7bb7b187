"""What a pinhole camera that stands upright sees of faces: which ones, and where in its picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alpamayo_ros.cameras import Pinhole
from alpamayo_ros.types import F64, InvalidInput

NEAR_M = 0.4  # faces are cut here before the division by the depth
SHIFT = 4  # fractional bits of the corners handed to OpenCV
_GUARD_PX = 4000.0  # outlines that reach farther outside the picture are cut there: OpenCV rounds their slopes
_MAX_ROLL_DEG = 0.05

Bools = NDArray[np.bool_]
I32 = NDArray[np.int32]


@dataclass(frozen=True)
class Outlines:
    """Faces in a picture, in painting order."""

    index: NDArray[np.int64]  # (M,) of the faces given
    points: list[I32]  # M outlines (n, 2), pixels with SHIFT fractional bits
    thick_px: F64  # (M,) across the shorter way; 0 where nothing is left, infinite where something was cut off
    centres_m: F64  # (3, M) odom, from the camera


@dataclass(frozen=True)
class Eye:
    """A lens at a pose. Raises InvalidInput for a distorted lens and for a camera rolled about its optical axis."""

    lens: Pinhole
    odom_from_optical: F64  # (4, 4)

    def __post_init__(self) -> None:
        if any(self.lens.distortion):
            raise InvalidInput(f"can only render lenses without distortion, got {self.lens.distortion}")
        roll_deg = float(np.degrees(np.arctan2(-self.rotation[2, 0], -self.rotation[2, 1])))
        if not abs(roll_deg) <= _MAX_ROLL_DEG:
            raise InvalidInput(f"can only render upright cameras, got one rolled by {roll_deg:.2f} degrees")

    @property
    def rotation(self) -> F64:
        """Odom from optical (3, 3)."""
        return self.odom_from_optical[:3, :3]

    @property
    def origin(self) -> F64:
        """Of the camera (3,), odom."""
        return self.odom_from_optical[:3, 3]

    @cached_property
    def _planes(self) -> F64:
        """Inward unit normals (5, 3), optical frame: ahead, and of the planes through the picture's four edges."""
        return _planes(self.lens, 0.0)

    def sees(self, centres_m: F64, radii_m: F64) -> Bools:
        """Which spheres (N, 3), (N,) are not wholly outside one side of the view."""
        normals = self._planes @ self.rotation.T
        heights = normals @ centres_m.T - (normals @ self.origin + _OFFSETS)[:, None]
        return np.asarray((heights >= -radii_m).all(axis=0))

    def outlines(self, corners_m: F64) -> Outlines:
        """Faces (N, 4, 3), odom from the camera -> those in view, in the same order."""
        optical = (corners_m.reshape(-1, 3) @ self.rotation).reshape(-1, 4, 3)
        xyz = np.ascontiguousarray(optical.T)  # (3, 4, N): reductions over corners run along whole rows
        heights = (self._planes @ xyz.reshape(3, -1)).reshape(5, 4, -1)
        index = np.flatnonzero((heights.max(axis=1) >= _OFFSETS[:, None]).all(axis=0))
        xyz = xyz[:, :, index]
        whole = xyz[2].min(axis=0) >= NEAR_M
        uv = _pixels(np.where(whole, xyz, 1.0), self.lens)
        whole &= np.abs(uv).reshape(8, -1).max(axis=0) <= _GUARD_PX
        points = list(np.rint(uv.T * (1 << SHIFT)).astype(np.int32, order="C"))
        thick = _thickness(uv)
        cut = np.flatnonzero(~whole)
        for k, outline in zip(cut, self._cut(optical[index[cut]]), strict=True):
            points[k], thick[k] = outline, np.inf if len(outline) else 0.0
        return Outlines(index, points, thick, self.rotation @ xyz.mean(axis=1))

    def _cut(self, faces: F64) -> list[I32]:
        """Outlines of faces (n, 4, 3), optical frame, after cutting them at the near plane and at the guards."""
        left = np.ones(len(faces), np.bool_)
        for plane, offset in zip(_planes(self.lens, _GUARD_PX), _OFFSETS, strict=True):
            heights = faces @ plane - offset
            if (heights < 0).any():
                faces = _cut_at(faces, heights)
                left &= (heights >= 0).any(axis=1)
        uv = _pixels(np.where(left, faces.T, 1.0), self.lens).transpose(2, 1, 0)
        fixed = np.rint(uv * (1 << SHIFT)).astype(np.int32)
        return [outline if there else outline[:0] for outline, there in zip(fixed, left, strict=True)]


_OFFSETS = np.array([NEAR_M, 0.0, 0.0, 0.0, 0.0])


def _planes(lens: Pinhole, margin_px: float) -> F64:
    """Ahead, and inward through the edges of the picture, `margin_px` outside."""
    left, right = lens.cx + 0.5 + margin_px, lens.width - 0.5 - lens.cx + margin_px
    top, bottom = lens.cy + 0.5 + margin_px, lens.height - 0.5 - lens.cy + margin_px
    fx, fy = lens.fx, lens.fy
    normals = np.array([[0.0, 0.0, 1.0], [fx, 0.0, left], [-fx, 0.0, right], [0.0, fy, top], [0.0, -fy, bottom]])
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def _pixels(xyz: F64, lens: Pinhole) -> F64:
    """Points (3, ...), optical frame -> (2, ...)."""
    scale = 1.0 / xyz[2]
    return np.stack([xyz[0] * scale * lens.fx + lens.cx, xyz[1] * scale * lens.fy + lens.cy])


def _thickness(uv: F64) -> F64:
    """How thick quadrilaterals (2, 4, N) are: their area over their mean diagonal."""
    (u0, v0), (u1, v1) = uv[:, 2] - uv[:, 0], uv[:, 3] - uv[:, 1]
    return np.asarray(np.abs(u0 * v1 - v0 * u1) / (np.hypot(u0, v0) + np.hypot(u1, v1) + 1e-9))


def _cut_at(faces: F64, heights: F64) -> F64:
    """Convex polygons (n, k, 3) cut where their heights (n, k) are negative: (n, k + 1, 3), the last corner repeated.

    Every corner inside is kept, and every edge that crosses gives the point of crossing (Sutherland and Hodgman, 1974).
    """
    n, k = heights.shape
    ring = np.arange(1, k + 1) % k
    following, after = faces[:, ring], heights[:, ring]
    inside, crosses = heights >= 0, (heights >= 0) != (after >= 0)
    share = np.where(crosses, heights / np.where(crosses, heights - after, 1.0), 0.0)[..., None]
    both = np.stack([faces, faces + (following - faces) * share], axis=2).reshape(n, 2 * k, 3)
    kept = np.stack([inside, crosses], axis=2).reshape(n, 2 * k)
    order = np.argsort(~kept, axis=1, kind="stable")
    last = np.maximum(kept.sum(axis=1) - 1, 0)[:, None]
    picked = np.take_along_axis(order, np.minimum(np.arange(k + 1), last), axis=1)
    return np.take_along_axis(both, picked[..., None], axis=1)
