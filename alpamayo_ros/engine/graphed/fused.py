"""The decoder's layers with the matrices that read the same input joined into one.

The network's own weights become views of the joined ones: the reference path runs on the same memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.model.language import Attention, Decoder, Layer, RMSNorm
from alpamayo_ros.model.vision import turned


class Fused(NamedTuple):
    """One layer."""

    before: RMSNorm
    qkv: Tensor  # (E (H + 2 G), D)
    q_norm: RMSNorm
    k_norm: RMSNorm
    out: Tensor  # (D, H E)
    between: RMSNorm
    gate_up: Tensor  # (2 F, D)
    down: Tensor  # (D, F)

    def queries_keys_values(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(..., L, D) to queries (..., L, H, E), keys and values (..., L, G, E), turned to their positions (..., L, 1, E)."""
        size = self.q_norm.weight.shape[0]
        heads = self.out.shape[1] // size
        grouped = (self.qkv.shape[0] // size - heads) // 2
        q, k, v = F.linear(self.before(x), self.qkv).unflatten(-1, (-1, size)).split((heads, grouped, grouped), dim=-2)
        return turned(self.q_norm(q), *rope), turned(self.k_norm(k), *rope), v

    def after_attention(self, x: Tensor, y: Tensor) -> Tensor:
        """The layer's output, from its input (..., L, D) and what attention found (..., L, H, E)."""
        x = x + F.linear(y.flatten(-2), self.out)
        gate, up = F.linear(self.between(x), self.gate_up).chunk(2, dim=-1)
        return x + F.linear(F.silu(gate) * up, self.down)


def fused(decoder: Decoder) -> list[Fused]:
    """Join the matrices of every layer. What the decoder computes stays as it is."""
    return [_fused(layer) for layer in decoder.layers if isinstance(layer, Layer)]


def _fused(layer: Layer) -> Fused:
    attention: Attention = layer.self_attn
    qkv = _joined(attention.q_proj, attention.k_proj, attention.v_proj)
    gate_up = _joined(layer.mlp.gate_proj, layer.mlp.up_proj)
    norms = attention.q_norm, attention.k_norm
    before, between = layer.input_layernorm, layer.post_attention_layernorm
    return Fused(before, qkv, *norms, attention.o_proj.weight, between, gate_up, layer.mlp.down_proj.weight)


def _joined(*linears: nn.Linear) -> Tensor:
    """The matrices of linear layers, one under the other; their own become views of it."""
    joined = torch.cat([linear.weight.detach() for linear in linears])
    for linear, part in zip(linears, joined.split([linear.out_features for linear in linears]), strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    return joined
