"""A network while it learns: one forward pass from a batch to its losses, which any wrapper of modules can shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from alpamayo_ros.model.flow import training_times
from alpamayo_ros.model.language import Layer as LanguageLayer
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Layer as VisionLayer
from alpamayo_ros.training.batch import Batch, before_actions, read
from alpamayo_ros.training.losses import flow_loss, token_counts, token_loss
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
        trains_backbone = self.learned.trains_backbone
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains_backbone):
            seen = read(self.model, batch if trains_backbone else before_actions(batch))
        nothing = seen.hidden.new_zeros(())
        words, trajectory, flow = nothing, nothing, nothing
        if self.learned.words or self.learned.trajectory:
            trajectory, words = token_loss(self.model, seen, batch)
        if self.learned.flow:
            flow = flow_loss(self.model, seen, batch, *noise)
        return Losses(words, trajectory, flow)

    def counts(self, batch: Batch) -> tuple[int, int, int]:
        """How many words, action tokens and examples the losses of a batch are means of."""
        trajectory, words = token_counts(batch, self.model.config)
        return words, trajectory, len(batch.actions)

    def weighted(self, losses: Losses) -> Tensor:
        """What is made small."""
        return self.learned.words * losses.words + self.learned.trajectory * losses.trajectory + self.learned.flow * losses.flow


def draw_noise(seeds: Sequence[int], learned: Learned) -> Noise:
    """Noise and times of a batch, each example's from a seed of its own; nothing is drawn where no flow is learned."""
    draws = learned.draws if learned.flow else 0
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    actions = [torch.randn(draws, HORIZON, 2, generator=generator) for generator in generators]
    times = [training_times(draws, generator) for generator in generators]
    return Noise(torch.stack(actions, dim=1).flatten(0, 1), torch.stack(times, dim=1).flatten())


def layers(network: nn.Module) -> list[LanguageLayer | VisionLayer]:
    """What a network repeats: of the language model, the expert, the vision tower and the views."""
    return [module for module in network.modules() if isinstance(module, LanguageLayer | VisionLayer)]


@contextmanager
def recomputing(network: nn.Module) -> Iterator[None]:
    """Layers keep what goes into them alone, and compute the rest again in the backward pass: less memory, more time."""
    repeated = layers(network)
    for layer in repeated:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in repeated:
            del layer.forward
