"""The action expert's ends: a noisy action and its time to the expert's width, before the layers of `language.Decoder`."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from alpamayo_ros.bundle.config import ActionInConfig
from alpamayo_ros.model.language import RMSNorm

NORM_EPS = 1e-5  # of the released PerWaypointActionInProjV2; not in its config


def fourier(x: Tensor, features: int, max_freq: float) -> Tensor:
    """(..., features) float32: sqrt(2) (sin, cos)(2 pi f x) at features / 2 frequencies from 1 to `max_freq`, log-spaced.

    Always float32: at 100 Hz a bfloat16 error in x or f turns the phase by radians.
    """
    frequencies = torch.logspace(0, math.log10(max_freq), features // 2, device=x.device, dtype=torch.float32)
    phase = x.float()[..., None] * frequencies * 2 * math.pi  # in the reference's order: float32 rounds phases of 600
    return math.sqrt(2) * torch.cat([phase.sin(), phase.cos()], dim=-1)


class ActionIn(nn.Module):
    """Actions (B, 64, 2) and their time t (B,) in [0, 1] to embeddings (B, 64, D), each action by itself."""

    def __init__(self, config: ActionInConfig, width: int) -> None:
        super().__init__()
        self.config = config
        widths = [3 * config.num_fourier_feats] + [config.hidden_size] * config.num_enc_layers
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU(), RMSNorm(after, NORM_EPS)]
        self.encoder = nn.ModuleDict({"trunk": nn.Sequential(*layers, nn.Linear(widths[-1], width))})
        self.norm = nn.LayerNorm(width)

    def forward(self, actions: Tensor, t: Tensor) -> Tensor:
        values = torch.cat([actions.float(), t.float()[:, None, None].expand(-1, actions.shape[1], 1)], dim=-1)
        features = fourier(values, self.config.num_fourier_feats, self.config.max_freq).flatten(2)
        return self.norm(self.encoder["trunk"](features.to(self.norm.weight.dtype)))
