"""Stage 0, of our own small networks: the vision tower learns what is where on single pictures.

Words that name a cause reach the vision tower through everything else of the network, and a small one that also knows its own
motion learns to do without pictures (docs/training.md). Told directly what is in each cell, it learns to see from few pictures,
and what it makes of them can be kept. The head that tells is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alpamayo_ros.model.pixels import patches
from alpamayo_ros.model.vision import Vision
from alpamayo_ros.simulation.data.course import COURSE_M
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.checkpoints import restore, save
from alpamayo_ros.training.encoding import Codec
from alpamayo_ros.training.fit import Fitted, fitted, learn, precision
from alpamayo_ros.training.losses import SightLoss, Told, told_wrong
from alpamayo_ros.training.optimizers import optimizers, warm_to
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.types import F32, F64, U8

AHEAD = ("front_wide", "front_tele")
"""Cameras that see where the road goes."""


class Shots(NamedTuple):
    """Single pictures with what is on them."""

    pictures: U8  # (n, H, W, 3)
    kinds: U8  # (n, rows, columns, KINDS)
    nearest_m: F32  # (n, rows, columns)
    course_rad: F32  # (n, COURSE_M); NaN on pictures that do not look ahead

    def at(self, which: NDArray[np.int64]) -> Shots:
        """Some of them."""
        return Shots._make(each[which] for each in self)


class Seer(nn.Module):
    """The vision tower, and heads on its tokens: what is in the four cells of each, and how near; where the road goes."""

    def __init__(self, vision: Vision, codec: Codec) -> None:
        super().__init__()
        self.vision = vision
        self.config = config = codec.config
        cells = config.vision.spatial_merge_size**2
        self.head = nn.Linear(config.vision.out_hidden_size, cells * (len(KINDS) + 1))
        pixels = codec.profile.image_height * codec.profile.image_width
        tokens = pixels // config.vision.patch_size**2 // cells
        self.course = nn.Linear(tokens * config.vision.out_hidden_size, len(COURSE_M))

    def forward(self, shots: Shots) -> Told:
        """What is told of pictures: logits (n, rows, columns, KINDS), the road (n, COURSE_M)."""
        rows, columns = shots.kinds.shape[1:3]
        tokens, _ = self.vision(patches(list(shots.pictures), self.config), (rows, columns))
        side = self.config.vision.spatial_merge_size
        told = self.head(tokens).view(len(tokens), rows // side, columns // side, side, side, len(KINDS) + 1)
        told = told.transpose(2, 3).reshape(len(tokens), rows, columns, len(KINDS) + 1)
        return Told(told[..., :-1].float(), told[..., -1].float(), self.course(tokens.flatten(1)).float())


def sight_loss(seer: Seer, shots: Shots) -> SightLoss:
    """How wrong it is about every cell."""
    return told_wrong(seer(shots), *map(torch.from_numpy, (shots.kinds, shots.nearest_m, shots.course_rad)))


def see(seer: Seer, shots: Shots, settings: Optimisation, run: Run, processes: Processes) -> Fitted:
    """Train a tower and its head, from the last checkpoint of the run on. Raises InvalidInput for a loss that is not finite."""
    likely = worth_seeing(shots.kinds)

    def losses(rng: np.random.Generator) -> SightLoss:
        return sight_loss(seer, shots.at(np.searchsorted(likely, rng.random(settings.batch), side="right")))

    return fit_sight(seer, losses, settings, run, processes)


def fit_sight(
    network: nn.Module,
    losses_of: Callable[[np.random.Generator], SightLoss],
    settings: Optimisation,
    run: Run,
    processes: Processes,
) -> Fitted:
    """Train what tells what is seen; each step's batch is drawn with numbers of its own."""
    taking = optimizers(network, settings)
    network.train()
    for step in run.steps(restore(run.checkpoints, network, taking, processes), settings.steps):
        warm_to(taking, settings.rate_at(step))
        with precision(settings, processes.device):
            losses = losses_of(np.random.default_rng([settings.seed, step]))
        sum(losses, start=torch.zeros(())).backward()
        told = {name: loss.item() for name, loss in losses._asdict().items()}
        norm = learn(network, taking, sum(told.values()), settings, step)
        run.note(step, {"loss": sum(told.values()), **told, "gradient": norm})
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            save(run.checkpoints, step + 1, network, taking, processes)
    network.eval()
    return fitted(run)


def worth_seeing(kinds: U8) -> F64:
    """Where the n pictures end on a line from 0 to 1, each with a part that grows with the rarest kind on it.

    A red lamp is on one picture in a hundred; drawn evenly, the tower would learn it a hundred times slower than a road.
    """
    there = np.asarray(kinds.any(axis=(1, 2)))
    often = np.maximum(there.mean(axis=0), 1.0 / len(there))
    parts = 1.0 + (there / np.sqrt(often)).max(axis=1)
    ends: F64 = np.cumsum(parts) / parts.sum()
    ends[-1] = 1.0
    return ends


def shots_of(scenes: Sequence[SceneSamples]) -> Shots:
    """Every picture of scenes by itself."""
    pictures, kinds, nearest_m = (
        np.concatenate([np.concatenate(getattr(taken, name)) for taken in scenes])
        for name in ("pictures", "kinds", "nearest_m")
    )
    return Shots(pictures, kinds, nearest_m, np.concatenate([_course_of(taken) for taken in scenes]))


def _course_of(taken: SceneSamples) -> F32:
    """Of every picture of a scene, (instants * roles, COURSE_M)."""
    ahead = np.isin(taken.scene.roles, AHEAD)
    return np.where(ahead[:, None], taken.course_rad[:, None], np.float32(np.nan)).reshape(-1, len(COURSE_M))


def average_precision(logits: Tensor, kinds: Tensor) -> dict[str, float]:
    """Per kind that there is, the area under precision over recall of all cells."""
    scores, truth = logits.flatten(0, -2), kinds.flatten(0, -2).bool()
    found: dict[str, float] = {}
    for index, kind in enumerate(KINDS):
        if truth[:, index].any():
            ordered = truth[scores[:, index].argsort(descending=True), index].double()
            precision = ordered.cumsum(0) / torch.arange(1, len(ordered) + 1)
            found[kind] = float((precision * ordered).sum() / ordered.sum())
    return found
