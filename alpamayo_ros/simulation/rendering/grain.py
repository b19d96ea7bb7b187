"""What a sensor adds to a picture: noise, and the rain before its lens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from alpamayo_ros.types import U8

_MARGIN_PX = 128  # one tile of noise serves all pictures of a size, shifted by less than this down and aside
_STREAKS_PER_ROOT_PX = 0.26
_DROP = (26, 27, 28)  # grey levels brighter


class _Tile(NamedTuple):
    """Noise in two unsigned parts: what it adds and what it takes away."""

    plus: U8
    minus: U8


def grainy(image: U8, sigma: float, key: Sequence[int], *, rain: bool = False) -> U8:
    """Give a picture (H, W, 3) white noise of `sigma` grey levels, which `key` alone decides, and streaks of rain, in place."""
    if not (sigma > 0 or rain):
        return image
    height, width = image.shape[:2]
    tile = _tile(height, width, sigma, rain=rain)
    top, left = np.random.default_rng(key).integers(0, _MARGIN_PX, 2)
    window = np.s_[top : top + height, left : left + width]
    cv2.add(image, tile.plus[window], dst=image)
    cv2.subtract(image, tile.minus[window], dst=image)
    return image


@lru_cache(maxsize=8)
def _tile(height: int, width: int, sigma: float, *, rain: bool) -> _Tile:
    rng = np.random.default_rng([height, width])
    shape = (height + _MARGIN_PX, width + _MARGIN_PX, 3)
    noise = sigma * rng.standard_normal(shape, dtype=np.float32)
    if rain:
        noise += _streaks(rng, height, shape)
    noise = np.rint(noise)
    return _Tile(np.clip(noise, 0, 255).astype(np.uint8), np.clip(-noise, 0, 255).astype(np.uint8))


def _streaks(rng: np.random.Generator, height: int, shape: tuple[int, int, int]) -> U8:
    """Drops that fell through the picture while it was exposed: short, bright, almost upright."""
    streaks = np.zeros(shape, np.uint8)
    length = 0.06 * height
    for u, v, long in rng.random((round(_STREAKS_PER_ROOT_PX * (shape[0] * shape[1]) ** 0.5), 3)):
        start = np.array([u * shape[1], v * shape[0]])
        end = start + length * (0.4 + long) * np.array([0.12, 1.0])
        ends = start.astype(int).tolist(), end.astype(int).tolist()
        cv2.line(streaks, *ends, _DROP, max(1, height // 500), cv2.LINE_AA)
    return streaks
