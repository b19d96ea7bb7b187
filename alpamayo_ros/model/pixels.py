"""From RGB images to the patches that the vision tower takes, exactly as Qwen2VLImageProcessor makes them.

A vehicle draws its images another way (`pipeline.images`): it decodes a JPEG at a fraction of its size and averages areas.
In 8-bit levels the two differ by 0.77 in the mean, 5 at the 99th percentile and 25 at most on six photographs of 1600x900
drawn at 576x320; where the fraction is 1 (9 frames of a film of 960x540) by 0.26, 3 and 16. Neither is brighter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.types import U8, InvalidInput


def smart_size(height: int, width: int, config: Config) -> tuple[int, int]:
    """Height and width that Qwen's processor gives an image: whole tokens, pixels within the config's limits."""
    factor = config.vision.patch_size * config.vision.spatial_merge_size

    def whole(rounded: float) -> int:
        return int(rounded) * factor

    size = whole(round(height / factor)), whole(round(width / factor))
    if size[0] * size[1] > config.max_pixels:
        shrink = math.sqrt(height * width / config.max_pixels)
        return max(factor, whole(height / shrink // factor)), max(factor, whole(width / shrink // factor))
    if size[0] * size[1] < config.min_pixels:
        grow = math.sqrt(config.min_pixels / (height * width))
        return whole(math.ceil(height * grow / factor)), whole(math.ceil(width * grow / factor))
    return size


def resized(image: U8, size: tuple[int, int]) -> U8:
    """An image (H, W, 3) at another size as the reference draws it: bicubic, antialiased, in 8 bits throughout."""
    if image.shape[:2] == size:
        return image
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]  # a copy: torch takes no read-only memory
    drawn = functional.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    return np.ascontiguousarray(drawn[0].permute(1, 2, 0).numpy())


def patches(images: Sequence[U8], config: Config) -> Tensor:
    """Patches (n, P, 3 * temporal * patch * patch) float32 in -1..1 of n images (H, W, 3) of one size.

    A patch is colour, time, row, column; the four patches of a token are neighbours. Raises InvalidInput for a size that is
    not whole tokens.
    """
    p, m = config.vision.patch_size, config.vision.spatial_merge_size
    height, width = images[0].shape[:2]
    if (height, width) != smart_size(height, width, config):
        raise InvalidInput(f"images of {height}x{width}: the model takes {smart_size(height, width, config)}")
    pixels = torch.from_numpy(np.stack(images))
    blocks = pixels.reshape(len(images), height // (p * m), m, p, width // (p * m), m, p, 3)
    ordered = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(len(images), -1, 3, 1, p * p)
    normalised = ordered.float().sub_(127.5).div_(127.5)
    return normalised.expand(-1, -1, -1, config.vision.temporal_patch_size, -1).flatten(2)
