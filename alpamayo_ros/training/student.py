"""A network while it learns: one forward pass from a batch to its losses, which any wrapper of modules can shard."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from alpamayo_ros.model.flow import training_times
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.batch import Batch, read
from alpamayo_ros.training.losses import flow_loss, token_loss
from alpamayo_ros.training.settings import PARTS, Learned
from alpamayo_ros.types import HORIZON


class Noise(NamedTuple):
    """What the flow of a batch starts from."""

    actions: Tensor  # (n B, 64, 2)
    t: Tensor  # (n B,)


class Losses(NamedTuple):
    """Of a batch; a loss that is not learned is 0."""

    words: Tensor
    trajectory: Tensor
    flow: Tensor


class Student(nn.Module):
    """The model, of which only what is learned takes part."""

    def __init__(self, model: Alpamayo, learned: Learned) -> None:
        super().__init__()
        self.model = model
        self.learned = learned
        names = tuple(name for part in learned.parts for name in PARTS[part])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(names))

    def forward(self, batch: Batch, noise: Noise) -> Losses:
        """Losses, not weighted."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learned.trains_backbone):
            seen = read(self.model, batch)
        nothing = seen.hidden.new_zeros(())
        words, trajectory, flow = nothing, nothing, nothing
        if self.learned.words or self.learned.trajectory:
            trajectory, words = token_loss(self.model, seen, batch)
        if self.learned.flow:
            flow = flow_loss(self.model, seen, batch, *noise)
        return Losses(words, trajectory, flow)

    def weighted(self, losses: Losses) -> Tensor:
        """What is made small."""
        return self.learned.words * losses.words + self.learned.trajectory * losses.trajectory + self.learned.flow * losses.flow


def draw_noise(examples: int, learned: Learned, generator: torch.Generator) -> Noise:
    """Noise and times of a batch; nothing is drawn where no flow is learned."""
    count = examples * learned.draws if learned.flow else 0
    return Noise(torch.randn(count, HORIZON, 2, generator=generator), training_times(count, generator))
