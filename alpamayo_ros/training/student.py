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
from alpamayo_ros.simulation.data.course import COURSE_M
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.batch import THIRDS, Batch, Pass, before_actions, read
from alpamayo_ros.training.losses import SightLoss, Told, flow_loss, token_counts, token_loss, told_wrong
from alpamayo_ros.training.settings import PARTS, Learned
from alpamayo_ros.types import HORIZON, ROLES, InvalidInput


class Noise(NamedTuple):
    """What the flow of a batch starts from."""

    actions: Tensor  # (n B, 64, 2)
    t: Tensor  # (n B,)


class Losses(NamedTuple):
    """Of a batch; a loss that is not learned is 0."""

    words: Tensor
    trajectory: Tensor
    flow: Tensor
    sights: Tensor


class Counts(NamedTuple):
    """How many words, action tokens and examples the losses of a batch are means of."""

    words: int
    trajectory: int
    flow: int
    sights: int


class Telling(nn.Module):
    """What is on the newest pictures and where the road goes, told by the language model where its answer begins.

    Words that name a cause reach the cameras through everything else of the network, which knows its own motion and its route
    from plain words; a small one learns to write by those alone and looks no further. This loss makes it look. The head is
    thrown away.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        outputs = len(ROLES) * THIRDS * (len(KINDS) + 1) + len(COURSE_M)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, outputs))

    def forward(self, seen: Pass, batch: Batch) -> SightLoss:
        """Raises InvalidInput for a batch of which nobody knows what it shows."""
        if batch.shown is None:
            raise InvalidInput("sights are to be learned, and what is on these pictures is not known: sights must be 0")
        ends = seen.hidden[torch.arange(len(seen.hidden), device=seen.hidden.device), batch.prompt_lengths - 1]
        places, course = self.head(ends).float().split((len(ROLES) * THIRDS * (len(KINDS) + 1), len(COURSE_M)), dim=1)
        told = places.unflatten(1, (len(ROLES), THIRDS, len(KINDS) + 1))
        cameras, steps = batch.images.cameras, batch.images.steps
        newest = [camera for camera, step in zip(cameras, steps, strict=True) if step == max(steps)]
        return told_wrong(Told(told[:, newest, :, :-1], told[:, newest, :, -1], course), *batch.shown)


def _telling(model: Alpamayo) -> Telling:
    """Always the same one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Telling(model.config.text.hidden_size).to(model.device)


class Student(nn.Module):
    """The model, of which only what is learned takes part."""

    def __init__(self, model: Alpamayo, learned: Learned) -> None:
        super().__init__()
        self.model = model
        self.learned = learned
        names = tuple(name for part in learned.parts for name in PARTS[part])
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(names))
        self.told = _telling(model) if learned.sights else None

    def forward(self, batch: Batch, noise: Noise) -> Losses:
        """Losses, not weighted. Raises InvalidInput where sights are to be learned and nobody knows them."""
        trains_backbone = self.learned.trains_backbone
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains_backbone):
            seen = read(self.model, batch if trains_backbone else before_actions(batch))
        nothing = seen.hidden.new_zeros(())
        words, trajectory, flow, sights = nothing, nothing, nothing, nothing
        if self.learned.words or self.learned.trajectory:
            trajectory, words = token_loss(self.model, seen, batch)
        if self.learned.flow:
            flow = flow_loss(self.model, seen, batch, *noise)
        if self.told is not None:
            sights = sum(self.told(seen, batch))
        return Losses(words, trajectory, flow, sights)

    def counts(self, batch: Batch) -> Counts:
        """Of a batch."""
        trajectory, words = token_counts(batch, self.model.config)
        return Counts(words, trajectory, len(batch.actions), len(batch.actions))

    def weighted(self, losses: Losses) -> Tensor:
        """What is made small."""
        told = self.learned
        tokens = told.words * losses.words + told.trajectory * losses.trajectory
        return tokens + told.flow * losses.flow + told.sights * losses.sights


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
