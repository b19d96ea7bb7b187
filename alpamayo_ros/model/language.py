"""Qwen3's decoder: the language model, and the same layers again as the action expert.

Shapes: B batch, L new tokens, S all tokens attended to, D width, H heads, G key-value heads, E size of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.bundle.config import TextConfig
from alpamayo_ros.model.attention import attend
from alpamayo_ros.model.vision import Block, turned


class Cache:
    """Keys and values of everything read and written so far, in memory that is allocated once."""

    def __init__(self, k: Tensor, v: Tensor, length: int = 0) -> None:
        self.k, self.v = k, v  # (layers, B, G, capacity, E)
        self.length = length

    def extend(self, layer: int, k_BGLE: Tensor, v_BGLE: Tensor) -> tuple[Tensor, Tensor]:
        end = self.length + k_BGLE.shape[2]
        assert end <= self.k.shape[3], f"{end} tokens, capacity {self.k.shape[3]}"
        self.k[layer, :, :, self.length : end] = k_BGLE
        self.v[layer, :, :, self.length : end] = v_BGLE
        return self.k[layer, :, :, :end], self.v[layer, :, :, :end]

    def repeated(self, rows: int) -> Cache:
        """A copy of the only row for each of several rows that will be written differently."""
        return Cache(self.k.repeat_interleave(rows, dim=1), self.v.repeat_interleave(rows, dim=1), self.length)

    def row(self, index: int, length: int, room: int) -> Cache:
        """A copy of the first `length` tokens of one row, with room for more."""
        k, v = (F.pad(x[:, index : index + 1, :, :length], (0, 0, 0, room)) for x in (self.k, self.v))
        return Cache(k, v, length)

    def context(self) -> Context:
        """Everything so far, read only."""
        return Context(self.k[:, :, :, : self.length], self.v[:, :, :, : self.length])


class Context(NamedTuple):
    """A finished cache, read only: every call attends to it and to its own new tokens, and leaves nothing behind."""

    k: Tensor  # (layers, 1 or B, G, S, E)
    v: Tensor

    def extend(self, layer: int, k_BGLE: Tensor, v_BGLE: Tensor) -> tuple[Tensor, Tensor]:
        batch = len(k_BGLE)
        k, v = (x[layer].expand(batch, -1, -1, -1) for x in self)
        return torch.cat([k, k_BGLE], dim=2), torch.cat([v, v_BGLE], dim=2)


class Memory(Protocol):
    """What new tokens attend to beside themselves."""

    def extend(self, layer: int, k_BGLE: Tensor, v_BGLE: Tensor, /) -> tuple[Tensor, Tensor]:
        """Keys and values of all, the new ones last."""
        ...


class Attention(nn.Module):
    """Grouped-query attention with normalised queries and keys."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        width, size = config.hidden_size, config.head_dim
        self.head_dim = size
        self.q_proj = nn.Linear(width, config.num_attention_heads * size, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * size, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * size, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * size, width, bias=False)
        self.q_norm = RMSNorm(size, config.rms_norm_eps)
        self.k_norm = RMSNorm(size, config.rms_norm_eps)

    def forward(self, x_BLD: Tensor, rope: tuple[Tensor, Tensor], memory: Memory, layer: int, mask: Tensor | None) -> Tensor:
        q, k, v = (project(x_BLD).unflatten(-1, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (turned(norm(x).transpose(1, 2), *rope) for norm, x in ((self.q_norm, q), (self.k_norm, k)))
        keys, values = memory.extend(layer, k, v.transpose(1, 2))
        y = attend(q, keys, values, mask)
        return self.o_proj(y.transpose(1, 2).flatten(2))


class RMSNorm(nn.Module):
    """x / rms(x) in float32, scaled in the weight's type, as Qwen3 does."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype)


class FeedForward(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x_BLD: Tensor, rope: tuple[Tensor, Tensor], memory: Memory, layer: int, mask: Tensor | None) -> Tensor:
        x_BLD = x_BLD + self.self_attn(self.input_layernorm(x_BLD), rope, memory, layer, mask)
        return x_BLD + self.mlp(self.post_attention_layernorm(x_BLD))


class Decoder(nn.Module):
    """Layers and the last norm: embeddings in, hidden states out."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x_BLD: Tensor, positions_3BL: Tensor, memory: Memory, mask: Tensor | None, added: Sequence[Tensor] = ()
    ) -> Tensor:
        """Hidden states (B, L, D). `mask` (B or 1, 1, L, S) is True where a token may look; None: everywhere.

        `added[i]` (B, L, D) joins the hidden states after layer i (deepstack).
        """
        rope = rotary(positions_3BL, self.config)
        for i, layer in enumerate(self.layers):
            x_BLD = layer(x_BLD, rope, memory, i, mask)
            if i < len(added):
                x_BLD = x_BLD + added[i]
        return self.norm(x_BLD)


class Language(Decoder):
    """The decoder of the backbone, with its table of token embeddings."""

    def __init__(self, config: TextConfig, vocab_size: int) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(vocab_size, config.hidden_size)


def rotary(positions_3BL: Tensor, config: TextConfig) -> tuple[Tensor, Tensor]:
    """cos and sin (B, 1, L, E), float32, of interleaved M-RoPE."""
    axes, frequencies = _turns(config)
    angles = positions_3BL[axes].movedim(0, -1) * torch.tensor(frequencies, device=positions_3BL.device)
    angles = torch.cat([angles, angles], dim=-1)[:, None]
    return angles.cos(), angles.sin()


@cache
def _turns(config: TextConfig) -> tuple[list[int], list[float]]:
    """Axis and frequency of each rotation: number i turns with axis i mod 3 (time, height, width) while that axis has
    frequencies left in its section, and with time after that (Qwen3-VL). Numbers, not tensors: no device owns them."""
    half = config.head_dim // 2
    axes = [i % 3 if i < 3 * config.mrope_section[i % 3] else 0 for i in range(half)]
    return axes, [config.rope_theta ** -(i / half) for i in range(half)]


def rope_positions(token_ids: Tensor, blocks: Sequence[Block], image_token_id: int) -> Tensor:
    """M-RoPE positions (3, L) of a prompt (L,): text counts up on all axes, a block's tokens lie on its (t, h, w) grid, and
    text goes on one after the block's largest position."""
    is_image = (token_ids == image_token_id).tolist()
    pieces, at, start = [], 0, 0
    for block in blocks:
        text = is_image.index(True, at) - at
        pieces.append(torch.arange(text).expand(3, -1) + start)
        pieces.append(torch.cartesian_prod(*map(torch.arange, block.grid)).view(-1, 3).T + start + text)
        at, start = at + text + pieces[-1].shape[1], start + text + max(block.grid)
    pieces.append(torch.arange(len(token_ids) - at).expand(3, -1) + start)
    return torch.cat(pieces, dim=1).to(token_ids.device)


def causal_mask(keep_BS: Tensor, new: int) -> Tensor:
    """(B, 1, new, S): the last `new` of S tokens look at themselves and before, where `keep` (B, S) is True.

    Every token sees itself, so that no row of padding is empty.
    """
    total = keep_BS.shape[1]
    own = torch.arange(total - new, total, device=keep_BS.device)[:, None]
    column = torch.arange(total, device=keep_BS.device)
    return ((column <= own) & keep_BS[:, None, None, :]) | (column == own)
