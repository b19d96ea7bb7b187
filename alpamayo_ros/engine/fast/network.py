"""What a fast engine asks of whoever computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from alpamayo_ros.engine.fast.prompt import Cut, Prompt, Word
from alpamayo_ros.model.vision import Images, Scene
from alpamayo_ros.types import U8


class Network(Protocol):
    """One prompt at a time, and any number of texts behind it. Not thread-safe."""

    batch: int
    """Images that are looked at together: always so many, so that features are the same bits whenever that is."""

    guesses: int
    """Words that are guessed beside a prompt, at most."""

    again: int
    """Words that are read again together: always so many, for the same reason."""

    def look(self, images: Sequence[U8]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens (n, T, D) and deepstack features of n images, at most `batch`. Good until the next call."""
        ...

    def scene(self, tokens: Tensor, deepstack: tuple[Tensor, ...], images: Images) -> Scene:
        """What stands for images in a prompt, from their tokens (n, T, D) and deepstack features."""
        ...

    def read_ahead(self, prompt: Prompt, cuts: Sequence[Cut]) -> None:
        """Read the beginning of a prompt up to the last of these cuts, but for what was read already."""
        ...

    def begin(self, prompt: Prompt, words: Sequence[Word], width: int, room: int) -> Tensor:
        """Logits (1 + n, V) after a prompt and after each of n words that are guessed to follow, in a pass for `width` words.

        Words have slots from the prompt's `first_slot` on; there is memory for `room` of them. Parts up to the cuts are read
        one by one whether they are known or not, so that rounding does not tell. A pass for no words has no logits. Bins of
        trajectories are never among words: their logits are good for nothing.
        """
        ...

    def go_on(self, words: Sequence[Word], width: int) -> Tensor:
        """Logits (n, V) after each of n more words, in a pass for `width`."""
        ...

    def denoise(self, noise: Tensor, behind: Sequence[tuple[int, Sequence[int]]], steps: int) -> Tensor:
        """Actions (S, 64, 2) float32 on the CPU from noise alike; for each sample the position of its first action, and the
        slots of its words."""
        ...

    def forget(self) -> None:
        """Nothing that was read counts any more. What it left in memory is gone, too: numbers that are none would spoil every
        answer to come, even where nobody looks at them (0 times NaN is NaN)."""
        ...

    def close(self) -> None:
        """Give back the device's memory."""
        ...
