"""Triplane: three planes of cells around the vehicle (x-y, x-z, y-z), filled through the cameras' calibration.

A cell looks at points along the normal of its plane, each point at its pixel in every camera that sees it; the planes are cut
into patches, a token each. Their number depends neither on the cameras nor on their resolution. Sources: Alpamayo-R1 (arXiv
2511.00088) section 3.1, equation 4; arXiv 2506.12251 (the warp: fine near the vehicle, coarse far from it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.bundle.config import TriplaneConfig, VisionConfig
from alpamayo_ros.cameras import Camera
from alpamayo_ros.geometry import apply, inverse
from alpamayo_ros.model.vision import NORM_EPS, Images
from alpamayo_ros.types import F64, InvalidInput

PLANES = ((0, 1), (0, 2), (1, 2))
"""Axes of each plane; their cells follow one another in this order, the last axis fastest."""


class SamplingGrids(NamedTuple):
    """Where the points of all cells lie in each camera's image, whatever the image's resolution."""

    cameras: tuple[int, ...]  # role indices
    at: Tensor  # (cameras, cells, points, 2) float32: x, y; the image spans [-1, 1], as in F.grid_sample
    seen: Tensor  # (cameras, cells, points) bool


def sampling_grids(config: TriplaneConfig, cameras: Mapping[int, tuple[Camera, F64]]) -> SamplingGrids:
    """Grids of a rig: by role index a camera and its pose `base_from_optical` (4, 4)."""
    points = cell_points(config)
    at, seen = [], []
    for camera, base_from_optical in cameras.values():
        uv, visible = camera.project(apply(inverse(base_from_optical), points.reshape(-1, 3)))
        at.append((uv + 0.5) / (camera.width, camera.height) * 2 - 1)
        seen.append(visible)
    shape = (len(cameras), *points.shape[:2])
    return SamplingGrids(
        cameras=tuple(cameras),
        at=torch.from_numpy(np.array(at, np.float32)).view(*shape, 2),
        seen=torch.from_numpy(np.array(seen)).view(shape),
    )


def cell_points(config: TriplaneConfig) -> F64:
    """Points (cells, points, 3) m, base frame, that the cells of all planes look at."""
    planes = []
    for plane in PLANES:
        (normal,) = {0, 1, 2}.difference(plane)
        counts = [config.points if axis == normal else cells for axis, cells in enumerate(config.kept)]
        places = [place(config, axis, (np.arange(n) + 0.5) * config.kept[axis] / n) for axis, n in enumerate(counts)]
        xyz = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
        planes.append(np.moveaxis(xyz, normal, 2).reshape(-1, config.points, 3))
    return np.concatenate(planes)


def place(config: TriplaneConfig, axis: int, cell: F64) -> F64:
    """Coordinate (N,) m along an axis of cell coordinates (N,), which count from the low end of the axis.

    Piecewise linear about the vehicle in x and y, with s cells per side in the fine part: p_ego = r_inner p where |p| <= s,
    else r_outer (p -+ s) +- r_inner s. Even in z.
    """
    if axis == 2:
        low, high = config.z_m
        return low + cell * (high - low) / config.cells[2]
    half, inner = config.cells[axis] / 2, config.inner_cells
    centred = cell if config.front_only and axis == 0 else cell - half
    far = (config.reach_m - config.inner_m) / (half - inner) * np.maximum(np.abs(centred) - inner, 0)
    return np.clip(centred, -inner, inner) * config.inner_m / inner + np.sign(centred) * far


def lifted(maps: Tensor, cameras: Sequence[int], grids: SamplingGrids) -> Tensor:
    """Features (observations, D, cells) of feature maps (observations, cameras, D, h, w).

    Each cell takes the mean over its points in all the cameras that see them, 0 where none does. Raises InvalidInput for a
    camera without calibration.
    """
    unknown = set(cameras).difference(grids.cameras)
    if unknown:
        raise InvalidInput(f"no calibration for cameras {sorted(unknown)}, only for {sorted(grids.cameras)}")
    places = [grids.cameras.index(camera) for camera in cameras]
    total = torch.zeros((), device=maps.device)
    for index, here in enumerate(places):
        at = grids.at[here].expand(len(maps), -1, -1, -1)
        sampled = F.grid_sample(maps[:, index].float(), at, padding_mode="border", align_corners=False)
        total = total + (sampled * grids.seen[here]).sum(dim=-1)
    return (total / grids.seen[places].sum(dim=(0, 2)).clamp(min=1)).to(maps.dtype)


class Triplane(nn.Module):
    """Tokens (n, T, D) of single images to (observations, timesteps x tokens, width), oldest timestep first.

    Calibration is no weight: who loads the model calls `calibrate` with the grids of the rig it will run on (a bundle of a
    triplane model carries the `rig.yaml` it was trained with), as often as the rig changes.
    """

    def __init__(self, config: TriplaneConfig, vision: VisionConfig, width: int) -> None:
        super().__init__()
        self.config, self.merge = config, vision.spatial_merge_size
        self.sizes = [config.kept[a] * config.kept[b] for a, b in PLANES]
        self.features = nn.Linear(vision.out_hidden_size, config.features)
        self.queries = nn.Embedding(sum(self.sizes), config.features)
        self.mix = nn.Sequential(
            nn.LayerNorm(config.features, eps=NORM_EPS),
            nn.Linear(config.features, 4 * config.features),
            nn.GELU(),
            nn.Linear(4 * config.features, config.features),
        )
        areas = [config.patch[a] * config.patch[b] for a, b in PLANES]
        self.patches = nn.ModuleList(nn.Linear(area * config.features, width) for area in areas)
        self.grids: SamplingGrids | None = None

    def calibrate(self, grids: SamplingGrids) -> None:
        """Look through the cameras of a rig, with `sampling_grids` of this model's config."""
        device = self.queries.weight.device
        self.grids = SamplingGrids(grids.cameras, grids.at.to(device), grids.seen.to(device))

    def forward(self, tokens_nTD: Tensor, images: Images) -> Tensor:
        """Scene tokens. Raises InvalidInput for images that are no observations, and for cameras without calibration."""
        if self.grids is None:
            raise InvalidInput("triplane: not calibrated: want the rig.yaml of the cameras that this model looks through")
        grid = [patches // self.merge for patches in images.grid]
        maps = self.features(tokens_nTD).mT.unflatten(0, (images.observations, -1)).unflatten(-1, grid)
        steps = []
        for step in sorted(set(images.steps)):
            now = [index for index, at in enumerate(images.steps) if at == step]
            seen = lifted(maps[:, now], [images.cameras[index] for index in now], self.grids)
            cells = self.queries.weight + seen.mT
            steps.append(self._tokens(cells + self.mix(cells)))
        return torch.cat(steps, dim=1)

    def _tokens(self, cells: Tensor) -> Tensor:
        """A token (observations, tokens, width) from each patch of cells (observations, cells, features)."""
        kept, patch = self.config.kept, self.config.patch
        tokens = []
        for (a, b), plane, embed in zip(PLANES, cells.split(self.sizes, dim=1), self.patches, strict=True):
            tiles = plane.unflatten(1, (kept[a] // patch[a], patch[a], kept[b] // patch[b], patch[b]))
            tokens.append(embed(tiles.transpose(2, 3).flatten(3).flatten(1, 2)))
        return torch.cat(tokens, dim=1)
