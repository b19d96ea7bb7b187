"""What a layer multiplies by: its weights as they are, or in eight bits (FP8), which is another engine.

FP8 is e4m3 with a scale for each row of the weights and for each token (W8A8): on Hopper chips and later such products take
half the time and read half the bytes. Elsewhere the same numbers are multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

EIGHT = torch.float8_e4m3fn
LARGEST = 448.0
"""Of an e4m3."""

LEAST_SCALE = 1e-12
"""A row of zeros has a scale, too."""

Product = Callable[[Tensor], Tensor]
"""x (..., D) -> (..., N)."""


@dataclass(frozen=True, eq=False)
class Plain:
    """Weights (N, D) as they are."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@dataclass(frozen=True, eq=False)
class Scaled:
    """Rows in eight bits, each with what it is to be multiplied by."""

    rows: Tensor  # (N, D) e4m3
    scale: Tensor  # (N, 1) float32

    def __call__(self, x: Tensor) -> Tensor:
        tokens = scaled(x.flatten(0, -2))
        if x.dtype != torch.float32 and multiplies_eighths(x.device):  # not every chip gives such products in float32
            y = torch._scaled_mm(tokens.rows, self.rows.t(), tokens.scale, self.scale.t(), out_dtype=x.dtype)
        else:
            y = ((tokens.rows.float() @ self.rows.float().t()) * tokens.scale * self.scale.t()).to(x.dtype)
        return y.unflatten(0, x.shape[:-1])


@cache
def multiplies_eighths(device: torch.device) -> bool:
    """Whether this device multiplies e4m3 whose rows have scales of their own: Hopper and later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def scaled(rows: Tensor) -> Scaled:
    """Rows (N, D) so that the largest of each is the largest e4m3."""
    scale = (rows.abs().amax(dim=1, keepdim=True).float() / LARGEST).clamp(min=LEAST_SCALE)
    return Scaled((rows.float() / scale).to(EIGHT), scale)
