"""Flex: a few learned tokens look at every camera and time at once, and stand for the whole scene.

Sources: Alpamayo-R1 (arXiv 2511.00088) section 3.1; Flex (arXiv 2512.10947). Geometry is not told: order and place of the
images act through learned embeddings of camera and time alone, and an absent camera is absent tokens.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from alpamayo_ros.bundle.config import FlexConfig, VisionConfig
from alpamayo_ros.model.vision import NORM_EPS, Images, Layer
from alpamayo_ros.types import ROLES, InvalidInput


class Flex(nn.Module):
    """Tokens (n, T, D) of single images to (observations, K, width): full attention among all, the K scene tokens kept."""

    def __init__(self, config: FlexConfig, vision: VisionConfig, width: int) -> None:
        super().__init__()
        size = vision.out_hidden_size
        self.scene = nn.Embedding(config.scene_tokens, size)
        self.camera = nn.Embedding(len(ROLES), size)
        self.step = nn.Embedding(config.timesteps, size)
        block = replace(vision, hidden_size=size, num_heads=config.heads, intermediate_size=4 * size)
        self.layers = nn.ModuleList(Layer(block) for _ in range(config.layers))
        self.norm = nn.LayerNorm(size, eps=NORM_EPS)
        self.proj = nn.Linear(size, width)

    def forward(self, tokens_nTD: Tensor, images: Images) -> Tensor:
        """Scene tokens. Raises InvalidInput for images that are no observations, or of a time that is not known."""
        observations, known = images.observations, self.step.num_embeddings
        if max(images.steps) >= known:
            raise InvalidInput(f"image of step {max(images.steps)}, the model knows {known} timesteps")
        cameras, steps = (torch.tensor(index, device=tokens_nTD.device) for index in (images.cameras, images.steps))
        named = tokens_nTD.unflatten(0, (observations, -1)) + (self.camera(cameras) + self.step(steps))[:, None]
        x = torch.cat([self.scene.weight.expand(observations, -1, -1), named.flatten(1, 2)], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x, None)
        return self.proj(self.norm(last(x, None, self.scene.num_embeddings)))
