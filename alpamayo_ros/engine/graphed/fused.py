"""The decoder's layers with the matrices that read the same input joined into one.

The network's own weights become views of the joined ones: the reference path runs on the same memory. In eight bits they are
given up instead, and there is no reference path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.engine.graphed.matrices import Plain, Product, scaled
from alpamayo_ros.model.language import Attention, Decoder, Layer, RMSNorm
from alpamayo_ros.model.vision import turned


class Fused(NamedTuple):
    """One layer."""

    heads: int  # H
    groups: int  # G
    before: RMSNorm
    qkv: Product  # D to E (H + 2 G)
    qk_norm: Tensor  # (H + G, E): queries and keys are normalised and turned together
    eps: float
    out: Product  # H E to D
    between: RMSNorm
    gate_up: Product  # D to 2 F
    down: Product  # F to D

    def queries_keys_values(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """(..., L, D) to queries (..., L, H, E), keys and values (..., L, G, E), turned to their positions (..., L, 1, E)."""
        together, size = self.qk_norm.shape
        qk, v = self.qkv(self.before(x)).unflatten(-1, (-1, size)).split((together, self.groups), dim=-2)
        normal = self.qk_norm * F.rms_norm(qk.float(), (size,), eps=self.eps).to(qk.dtype)
        q, k = turned(normal, *rope).split((self.heads, self.groups), dim=-2)
        return q, k, v

    def after_attention(self, x: Tensor, y: Tensor) -> Tensor:
        """The layer's output, from its input (..., L, D) and what attention found (..., L, H, E)."""
        x = x + self.out(y.flatten(-2))
        gate, up = self.gate_up(self.between(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


def fused(decoder: Decoder, joined: Callable[..., Product] | None = None) -> list[Fused]:
    """Every layer with its matrices joined: as they are, so that what it computes stays as it is, or `in_eight_bits`."""
    return [_fused(layer, joined or as_they_are) for layer in decoder.layers if isinstance(layer, Layer)]


def _fused(layer: Layer, joined: Callable[..., Product]) -> Fused:
    attention: Attention = layer.self_attn
    size, norms = attention.head_dim, (attention.q_norm.weight, attention.k_norm.weight)
    heads, groups = (linear.out_features // size for linear in (attention.q_proj, attention.k_proj))
    return Fused(
        heads=heads,
        groups=groups,
        before=layer.input_layernorm,
        qkv=joined(attention.q_proj, attention.k_proj, attention.v_proj),
        qk_norm=torch.cat([norm.detach().expand(count, -1) for norm, count in zip(norms, (heads, groups), strict=True)]),
        eps=attention.q_norm.eps,
        out=joined(attention.o_proj),
        between=layer.post_attention_layernorm,
        gate_up=joined(layer.mlp.gate_proj, layer.mlp.up_proj),
        down=joined(layer.mlp.down_proj),
    )


def as_they_are(*linears: nn.Linear) -> Product:
    """The matrices of linear layers, one under the other; their own become views of it."""
    if len(linears) == 1:
        return Plain(linears[0].weight)
    weight = torch.cat([linear.weight.detach() for linear in linears])
    for linear, part in zip(linears, weight.split([linear.out_features for linear in linears]), strict=True):
        linear.weight = nn.Parameter(part, requires_grad=False)
    return Plain(weight)


def in_eight_bits(*linears: nn.Linear) -> Product:
    """The same in FP8; the layers have no weights of their own any more."""
    product = scaled(torch.cat([linear.weight.detach() for linear in linears]))
    for linear in linears:
        linear.weight = nn.Parameter(linear.weight.detach().to("meta"), requires_grad=False)
    return product
