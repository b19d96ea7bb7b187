"""A prompt and words behind it as a fast engine reads them: in parts, and each word in a slot."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from alpamayo_ros.engine.fast.sight import key_of
from alpamayo_ros.model.vision import Scene
from alpamayo_ros.types import CameraFrame

PADDED = 16
"""The last part of a prompt takes whole multiples of so many slots: those that differ by a street's name share a stage."""

WIDTHS = (1, 16, 32, 48, 64)
"""New words of one pass. On a GPU they all take as long as one word does: weights are read once."""


class Cut(NamedTuple):
    """Where a part of a prompt ends that may be read before the rest is known."""

    end: int
    key: Hashable  # the same for the same tokens and images, if what stands before is the same, too


class Prompt(NamedTuple):
    """A prompt as the network reads it, or a part of one."""

    token_ids: Tensor  # (L,) long
    positions: Tensor  # (3, L) long, M-RoPE
    is_image: Tensor  # (L,) bool
    scene: Scene
    cuts: tuple[Cut, ...] = ()

    @property
    def last_cut(self) -> int:
        """Where the last part begins."""
        return self.cuts[-1].end if self.cuts else 0

    @property
    def first_slot(self) -> int:
        """The slot of the first word behind it."""
        return self.last_cut + -(-(len(self.token_ids) - self.last_cut) // PADDED) * PADDED

    def part(self, start: int, end: int) -> Prompt:
        """Some of its tokens."""
        first, seen = int(self.is_image[:start].sum()), int(self.is_image[start:end].sum())
        taken = slice(first, first + seen)
        scene = Scene(self.scene.tokens[taken], tuple(feature[taken] for feature in self.scene.deepstack))
        return Prompt(self.token_ids[start:end], self.positions[:, start:end], self.is_image[start:end], scene)


class Word(NamedTuple):
    """A new word that is read."""

    token: int
    position: int  # on all three axes
    slot: int
    looks_at: Sequence[int]  # slots beside those of the prompt, and its own


def width_of(words: int) -> int:
    """Of the narrowest pass that takes so many words."""
    return next(width for width in WIDTHS if words <= width)


def cuts_of(ids: Tensor, is_image: Tensor, per_window: int, windows: Sequence[Sequence[CameraFrame]]) -> tuple[Cut, ...]:
    """Where the images of each camera end, of `per_window` tokens each, for as many cameras as there are windows of frames."""
    ends = (is_image.nonzero()[per_window - 1 :: per_window, 0] + 1).tolist()[: len(windows)]
    parts = pairwise((0, *ends))
    return tuple(
        Cut(end, (tuple(ids[start:end].tolist()), tuple(map(key_of, frames))))
        for (start, end), frames in zip(parts, windows, strict=True)
    )
