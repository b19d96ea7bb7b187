"""The passes that everything is made of: images through the tower, tokens through the language model, noise through the expert.

Each is a stage with memory of its own for what goes in. Keys and values lie in slots, in any order: where a token stands is in
its key (rotary embedding), and what it may look at is a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alpamayo_ros.engine.fast.prompt import Prompt
from alpamayo_ros.engine.graphed.attention import causal, joined, masked, shared
from alpamayo_ros.engine.graphed.fused import Fused
from alpamayo_ros.engine.graphed.stage import Stage
from alpamayo_ros.model.flow import euler
from alpamayo_ros.model.language import rotary
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.pixels import patches
from alpamayo_ros.types import HORIZON, U8


class Store(NamedTuple):
    """Keys and values of everything read."""

    keys: Tensor  # (layers, G, C, E)
    values: Tensor

    @property
    def slots(self) -> int:
        """How many tokens there is memory for."""
        return self.keys.shape[2]


class Words(NamedTuple):
    """New words, each in a slot of its own, looking at the slots of its mask."""

    token_ids: Tensor  # (M,) long
    positions: Tensor  # (M,) long, on all three axes
    slots: Tensor  # (M,) long
    mask: Tensor  # (M, reach) bool; every word looks at itself


class LanguagePass:
    """Slots `start` to `end` of a prompt, or none, and so many words behind it, which look at the first `reach` slots."""

    def __init__(
        self, model: Alpamayo, layers: Sequence[Fused], store: Store, start: int, end: int, width: int, reach: int
    ) -> None:
        prompt = end - start
        tokens, like, text = prompt + width, model.vlm.lm_head.weight, model.config.text
        self._width, self._reach = width, reach
        self._model, self._layers, self._store, self._prompt, self._end = model, layers, store, prompt, end
        self._ids = torch.zeros(tokens, dtype=torch.long, device=like.device)
        self._is_image = torch.zeros(prompt, 1, dtype=torch.bool, device=like.device)
        depth = len(model.config.vision.deepstack_visual_indexes) if prompt else 0
        self._seen = like.new_zeros(1 + depth, prompt, text.hidden_size)  # tokens of the scene, and deepstack's
        self._cos, self._sin = (torch.zeros(tokens, 1, text.head_dim, device=like.device) for _ in range(2))
        last = torch.arange(reach - width, reach, device=like.device)  # where recording leaves its words
        self._slots = torch.cat([torch.arange(start, end, device=like.device), last])
        self._mask = last[:, None] == torch.arange(reach, device=like.device)
        self._asked = torch.arange(max(prompt - 1, 0), tokens, device=like.device)  # the prompt's last token, and all words
        self._stage = Stage(self._run, like.device)

    def __call__(self, prompt: Prompt | None, words: Words) -> Tensor:
        """Logits (1 + width, V) after the prompt and after each word; (width, V) without a prompt. Good until the next call.

        A pass without words is for what it leaves in the store: it has no logits.
        """
        if prompt is not None:
            self._place(prompt)
        at = self._prompt
        self._ids[at:], self._slots[at:] = words.token_ids, words.slots
        self._mask.copy_(words.mask)
        self._turn(slice(at, None), words.positions.expand(3, -1))
        return self._stage()

    def _place(self, prompt: Prompt) -> None:
        length = len(prompt.token_ids)
        self._ids[:length] = prompt.token_ids
        self._is_image.zero_()[:length, 0] = prompt.is_image
        at = prompt.is_image.nonzero()[:, 0].to(self._ids.device)
        for place, feature in zip(self._seen, (prompt.scene.tokens, *prompt.scene.deepstack), strict=True):
            place.zero_()[at] = feature.to(place.dtype)
        self._turn(slice(length), prompt.positions)
        self._asked[0] = length - 1

    def _turn(self, columns: slice, positions_3L: Tensor) -> None:
        cos, sin = rotary(positions_3L[:, None].to(self._ids.device), self._model.config.text)
        self._cos[columns, 0], self._sin[columns, 0] = cos[0, 0], sin[0, 0]

    def _run(self) -> Tensor:
        language, first = self._model.vlm.model.language_model, self._prompt
        x = language.embed_tokens(self._ids)
        if first:
            x[:first] = torch.where(self._is_image, self._seen[0], x[:first])
        for i, layer in enumerate(self._layers):
            keys, values = self._store.keys[i], self._store.values[i]
            q, k, v = layer.queries_keys_values(x, (self._cos, self._sin))
            keys.index_copy_(1, self._slots, k.transpose(0, 1))
            values.index_copy_(1, self._slots, v.transpose(0, 1))
            found = [causal(q[:first], keys[:, : self._end], values[:, : self._end])] if first else []
            found += [masked(q[first:], keys[:, : self._reach], values[:, : self._reach], self._mask)] if self._width else []
            x = layer.after_attention(x, torch.cat(found))
            if first and i + 1 < len(self._seen):
                x[:first] += self._seen[i + 1]
        return self._logits(language.norm(x[self._asked])) if self._width else x[:0]

    def _logits(self, hidden: Tensor) -> Tensor:
        """(n, V) float32. Bins of trajectories are never among words: their rows, most of a small network's, are not read."""
        head, first, count = (
            self._model.vlm.lm_head.weight,
            self._model.config.traj_token_start,
            self._model.config.traj_vocab_size,
        )
        before, after = F.linear(hidden, head[:first]), F.linear(hidden, head[first + count :])
        return torch.cat([before, hidden.new_full((len(hidden), count), -torch.inf), after], dim=-1).float()


class VisionPass:
    """A batch of images through the vision tower."""

    def __init__(self, model: Alpamayo, height: int, width: int, batch: int) -> None:
        side, like = model.config.vision.patch_size, model.vlm.lm_head.weight
        self.batch = batch
        self._model, self._grid = model, (height // side, width // side)
        self._patches = patches([np.zeros((height, width, 3), np.uint8)] * self.batch, model.config).to(like.device)
        self._stage = Stage(self._run, like.device)

    def __call__(self, images: Sequence[U8]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens (batch, T, D) and deepstack features of at most `batch` images (H, W, 3). Good until the next call."""
        self._patches[: len(images)].copy_(patches(images, self._model.config))
        return self._stage()

    def _run(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        made: tuple[Tensor, tuple[Tensor, ...]] = self._model.vlm.model.visual(self._patches, self._grid)
        return made


class FlowPass:
    """All steps of the flow for so many samples, which look at the first `reach` slots."""

    def __init__(self, model: Alpamayo, layers: Sequence[Fused], store: Store, samples: int, steps: int, reach: int) -> None:
        like, size = model.vlm.lm_head.weight, model.config.expert.head_dim
        self._model, self._layers, self._store, self._steps, self._reach = model, layers, store, steps, reach
        self._noise = torch.zeros(samples, HORIZON, 2, device=like.device)
        self._cos, self._sin = (torch.zeros(samples, HORIZON, 1, size, device=like.device) for _ in range(2))
        self._mask = torch.ones(samples, reach, dtype=torch.bool, device=like.device)
        self._attend = shared if like.is_cuda else joined
        self._stage = Stage(self._run, like.device)

    def __call__(self, noise: Tensor, first_positions: Tensor, mask: Tensor) -> Tensor:
        """Actions (S, 64, 2) float32 from noise (S, 64, 2), behind words that end before `first_positions` (S,), looking at the
        slots of a mask (S, reach). Good until the next call."""
        self._noise.copy_(noise)
        self._mask.copy_(mask)
        positions = (first_positions[:, None] + torch.arange(HORIZON)).expand(3, -1, -1).to(self._noise.device)
        cos, sin = rotary(positions, self._model.config.expert)
        self._cos.copy_(cos[:, 0, :, None])
        self._sin.copy_(sin[:, 0, :, None])
        return self._stage()

    def _run(self) -> Tensor:
        return euler(self._velocity, self._noise, self._steps)[-1]

    def _velocity(self, actions: Tensor, t: float) -> Tensor:
        model = self._model
        x = model.action_in_proj(actions, torch.full((len(actions),), t, device=actions.device))
        for i, layer in enumerate(self._layers):
            q, k, v = layer.queries_keys_values(x, (self._cos, self._sin))
            keys, values = self._store.keys[i][:, : self._reach], self._store.values[i][:, : self._reach]
            x = layer.after_attention(x, self._attend(q, k, v, keys, values, self._mask))
        velocity: Tensor = model.action_out_proj(model.expert.norm(x))
        return velocity.float()
