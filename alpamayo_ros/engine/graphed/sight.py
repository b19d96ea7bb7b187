"""What the vision tower makes of single frames, kept as long as they may come again.

A frame's features depend on its pixels alone, for images look at themselves only; and they are always computed in batches of
one size, so that they are the same bits whenever that is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.engine.graphed.stage import Stage
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.types import CameraFrame

Key = tuple[int, str, int, int]  # epoch, role, stamp, checksum of the pixels


class Features(NamedTuple):
    """Of one image."""

    tokens: Tensor  # (T, D)
    deepstack: tuple[Tensor, ...]


class Sight:
    """A vision tower with a memory of `most` frames."""

    def __init__(self, model: Alpamayo, height: int, width: int, most: int) -> None:
        side, like = model.config.vision.patch_size, model.vlm.lm_head.weight
        self._model, self._most = model, most
        self._batch = 4 if like.is_cuda else 1
        self._grid = (height // side, width // side)
        blank = patches([np.zeros((height, width, 3), np.uint8)] * self._batch, model.config)
        self._patches = blank.to(like.device)
        self._stage = Stage(self._run, like.device)
        self._known: OrderedDict[Key, Features] = OrderedDict()

    def features(self, frames: Sequence[CameraFrame]) -> list[Features]:
        """Of each frame, looked at unless it was already."""
        new = [frame for frame in frames if key_of(frame) not in self._known]
        for at in range(0, len(new), self._batch):
            self._look(new[at : at + self._batch])
        found = [self._known[key_of(frame)] for frame in frames]
        for frame in frames:
            self._known.move_to_end(key_of(frame))
        while len(self._known) > max(self._most, len(frames)):
            self._known.popitem(last=False)
        return found

    def forget(self, epoch: int) -> None:
        """Frames of epochs before this one."""
        for key in [key for key in self._known if key[0] < epoch]:
            del self._known[key]

    def _look(self, frames: Sequence[CameraFrame]) -> None:
        shown = patches([frame.image for frame in frames], self._model.config)
        self._patches[: len(frames)].copy_(shown)
        tokens, deepstack = self._stage()
        for i, frame in enumerate(frames):
            self._known[key_of(frame)] = Features(tokens[i].clone(), tuple(each[i].clone() for each in deepstack))

    def _run(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        tower = self._model.vlm.model.visual
        made: tuple[Tensor, tuple[Tensor, ...]] = tower(self._patches, self._grid)
        return made


def key_of(frame: CameraFrame) -> Key:
    """What a frame is known by. The checksum is of what an engine sees: drawn another way, it is another frame."""
    return frame.epoch, frame.role, frame.stamp_ns, frame.crc32


def joined(features: Sequence[Features]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Tokens (n, T, D) and deepstack features of n images."""
    deepstack = zip(*(each.deepstack for each in features), strict=True)
    return torch.stack([each.tokens for each in features]), tuple(torch.stack(layer) for layer in deepstack)
