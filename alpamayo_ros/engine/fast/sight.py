"""What the vision tower makes of single frames, kept as long as they may come again.

A frame's features depend on its pixels alone, for images look at themselves only; and they are always computed in batches of
one size, so that they are the same bits whenever that is. A batch costs little more than an image: frames wait for each other
until one is full or somebody asks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alpamayo_ros.types import U8, CameraFrame

Key = tuple[int, str, int, int]  # epoch, role, stamp, checksum of the pixels


class Features(NamedTuple):
    """Of one image."""

    tokens: Tensor  # (T, D)
    deepstack: tuple[Tensor, ...]


class Sight:
    """A memory of the frames of the last `span_ns`, of at most `most`.

    `look`: tokens and deepstack features of at most `batch` images at a time.
    """

    def __init__(
        self, look: Callable[[Sequence[U8]], tuple[Tensor, tuple[Tensor, ...]]], batch: int, span_ns: int, most: int
    ) -> None:
        self._look_at, self._batch, self._span_ns, self._most = look, batch, span_ns, most
        self._known: OrderedDict[Key, Features] = OrderedDict()
        self._waiting: dict[Key, CameraFrame] = {}

    def expect(self, frame: CameraFrame) -> None:
        """A frame that may be asked for: it is looked at together with others."""
        key = key_of(frame)
        if key not in self._known:
            self._waiting[key] = frame
        if len(self._waiting) >= self._batch:
            self._look([])
            self._keep(self._most)

    def features(self, frames: Sequence[CameraFrame]) -> list[Features]:
        """Of each frame, looked at unless it was already."""
        new = [frame for frame in frames if key_of(frame) not in self._known]
        for at in range(0, len(new), self._batch):
            self._look(new[at : at + self._batch])
        found = [self._known[key_of(frame)] for frame in frames]
        for frame in frames:
            self._known.move_to_end(key_of(frame))
        self._keep(max(self._most, len(frames)))
        return found

    def forget_all(self) -> None:
        """Every frame: what was made of them is not to be trusted."""
        self._known.clear()
        self._waiting.clear()

    def forget(self, epoch: int) -> None:
        """Frames of epochs before this one."""
        for held in (self._known, self._waiting):
            for key in [key for key in held if key[0] < epoch]:
                del held[key]

    def _look(self, wanted: Sequence[CameraFrame]) -> None:
        """At these, and at as many of those that wait as there is room for."""
        batch = {key_of(frame): frame for frame in wanted}
        for key, frame in self._waiting.items():
            if len(batch) < self._batch:
                batch[key] = frame
        tokens, deepstack = self._look_at([frame.image for frame in batch.values()])
        for i, key in enumerate(batch):
            self._known[key] = Features(tokens[i].clone(), tuple(each[i].clone() for each in deepstack))
            self._waiting.pop(key, None)

    def _keep(self, most: int) -> None:
        """What may be asked for again: of the newest epoch, and not older than the newest by more than the span."""
        epoch, newest_ns = max(((epoch, stamp_ns) for epoch, _, stamp_ns, _ in self._known), default=(0, 0))
        for key in [key for key in self._known if (key[0], key[2]) < (epoch, newest_ns - self._span_ns)]:
            del self._known[key]
        while len(self._known) > most:
            self._known.popitem(last=False)


def key_of(frame: CameraFrame) -> Key:
    """What a frame is known by. The checksum is of what an engine sees: drawn another way, it is another frame."""
    return frame.epoch, frame.role, frame.stamp_ns, frame.crc32


def joined(features: Sequence[Features]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Tokens (n, T, D) and deepstack features of n images."""
    deepstack = zip(*(each.deepstack for each in features), strict=True)
    return torch.stack([each.tokens for each in features]), tuple(torch.stack(layer) for layer in deepstack)
