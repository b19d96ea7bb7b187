"""A network whose parts run elsewhere, in ONNX Runtime or TensorRT: here are the keys and values, and what counts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.engine.fast.prompt import PADDED, Cut, Prompt, Word
from alpamayo_ros.engine.speculation.drafts import BLOCK, GUESSES
from alpamayo_ros.model.flow import euler
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.model.vision import Images, Scene
from alpamayo_ros.types import HORIZON, U8

REACH = 64
"""Slots are had, and looked at, in multiples of so many."""


def slots_written(texts: int, tokens: int) -> int:
    """Slots behind a prompt that so many texts of so many tokens may take, guesses and what is read again with them."""
    return PADDED + GUESSES + texts * (tokens + BLOCK) + BLOCK


def reached(slots: int) -> int:
    """Slots that are looked at where the last one is this one."""
    return -(-slots // REACH) * REACH


class Session(Protocol):
    """A part that runs: tensors in by their names, and out by theirs, on the network's device."""

    def __call__(self, given: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Raises EngineFailure, also for sizes that the part was not built for."""
        ...


class PartsNetwork:
    """`fast.Network` on sessions for the parts of `parts.parts`. Prompts are read at once."""

    def __init__(self, sessions: Mapping[str, Session], config: Config, device: torch.device) -> None:
        self.batch, self.guesses, self.again = 1, GUESSES, BLOCK
        self._sessions, self._config, self._device = dict(sessions), config, device
        self._keys = self._values = torch.empty(0)
        self._prompt_length = 0

    def look(self, images: Sequence[U8]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `Network.look`."""
        seen = self._sessions["vision"]({"patches": patches(images, self._config).to(self._device)})
        return seen["tokens"], tuple(seen[f"deepstack_{i}"] for i in range(len(seen) - 1))

    def scene(self, tokens: Tensor, deepstack: tuple[Tensor, ...], images: Images) -> Scene:
        """As `Network.scene`; a part for several views was built for certain images, and refuses others."""
        del images
        if "views" in self._sessions:
            return Scene(self._sessions["views"]({"tokens": tokens})["scene"], ())
        return Scene(tokens.flatten(0, 1), tuple(feature.flatten(0, 1) for feature in deepstack))

    def read_ahead(self, prompt: Prompt, cuts: Sequence[Cut]) -> None:
        """Nothing: a hint."""

    def begin(self, prompt: Prompt, words: Sequence[Word], width: int, room: int) -> Tensor:
        """As `Network.begin`."""
        length = len(prompt.token_ids)
        rows = (prompt.is_image.cumsum(0) - 1).clamp(min=0)
        read = {
            "token_ids": prompt.token_ids[None],
            "positions": prompt.positions[:, None],
            "scene_rows": rows[None],
            "is_image": prompt.is_image[None],
            "scene": prompt.scene.tokens,
            **{f"deepstack_{i}": feature for i, feature in enumerate(prompt.scene.deepstack)},
        }
        told = self._sessions["prefill"]({name: value.to(self._device) for name, value in read.items()})
        self._prompt_length = length
        self._reserve(prompt.first_slot + room, told["new_keys"])
        self._keys[:, :, :, :length], self._values[:, :, :, :length] = told["new_keys"], told["new_values"]
        return torch.cat([told["logits"], self.go_on(words, width)]) if words else told["logits"]

    def go_on(self, words: Sequence[Word], width: int) -> Tensor:
        """As `Network.go_on`. A part of this kind takes any number of words: the width is only waited for."""
        del width
        slots = torch.tensor([word.slot for word in words])
        reach = reached(max((slot + 1 for word in words for slot in word.looks_at), default=self._prompt_length))
        told = self._sessions["verify"](
            {
                "token_ids": torch.tensor([[word.token for word in words]], device=self._device),
                "positions": torch.tensor([word.position for word in words], device=self._device).expand(3, 1, -1).contiguous(),
                "keys": self._keys[:, :, :, :reach].contiguous(),
                "values": self._values[:, :, :, :reach].contiguous(),
                "mask": self._mask(words, reach).to(self._device),
            }
        )
        self._keys[:, :, :, slots], self._values[:, :, :, slots] = told["new_keys"], told["new_values"]
        return told["logits"]

    def denoise(self, noise: Tensor, behind: Sequence[tuple[int, Sequence[int]]], steps: int) -> Tensor:
        """As `Network.denoise`."""
        reach = reached(max([self._prompt_length, *(slot + 1 for _, slots in behind for slot in slots)]))
        seen = torch.stack([self._seen(slots, reach) for _, slots in behind])[:, None, None].expand(-1, 1, HORIZON, -1)
        mask = torch.cat([seen, torch.ones(len(noise), 1, HORIZON, HORIZON, dtype=torch.bool)], dim=-1)
        positions = (torch.tensor([position for position, _ in behind])[:, None] + torch.arange(HORIZON)).expand(3, -1, -1)
        same = {
            "positions": positions.contiguous().to(self._device),
            "keys": self._keys[:, :, :, :reach].contiguous(),
            "values": self._values[:, :, :, :reach].contiguous(),
            "mask": mask.to(self._device),
        }

        def velocity(actions: Tensor, t: float) -> Tensor:
            times = torch.full((len(actions),), t, device=self._device)
            return self._sessions["expert"]({"actions": actions, "t": times, **same})["velocity"]

        return euler(velocity, noise.to(self._device), steps)[-1].cpu()

    def forget(self) -> None:
        """As `Network.forget`."""
        self._keys.zero_()
        self._values.zero_()

    def close(self) -> None:
        """As `Network.close`."""
        self._sessions.clear()
        self._keys = self._values = torch.empty(0)

    def _seen(self, slots: Sequence[int], reach: int) -> Tensor:
        mask = torch.zeros(reach, dtype=torch.bool)
        mask[: self._prompt_length] = True
        mask[list(slots)] = True
        return mask

    def _mask(self, words: Sequence[Word], reach: int) -> Tensor:
        """(1, 1, M, reach + M): slots from before, and those of this block, which are not in the store yet."""
        own = {word.slot: column for column, word in enumerate(words)}
        before = [self._seen([slot for slot in word.looks_at if slot not in own], reach) for word in words]
        block = torch.eye(len(words), dtype=torch.bool)
        for row, word in enumerate(words):
            block[row, [own[slot] for slot in word.looks_at if slot in own]] = True
        return torch.cat([torch.stack(before), block], dim=1)[None, None]

    def _reserve(self, slots: int, like: Tensor) -> None:
        if self._keys.ndim == 5 and self._keys.shape[3] >= slots:
            return
        layers, _, groups, _, size = like.shape
        self._keys, self._values = (like.new_zeros(layers, 1, groups, reached(slots), size) for _ in range(2))
