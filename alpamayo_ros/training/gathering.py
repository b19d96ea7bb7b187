"""Stage `gather`, of our own small networks: the scene's tokens learn to hold what was seen on all pictures.

A bottleneck whose queries begin at random passes nothing on at first, and the language model behind it learns to drive by its
own motion alone before anything comes through. Here the tokens are told directly what they are to know: for the left, middle
and right of every picture which kinds of things are there, and how near. The head that tells is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.vision import Images
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.fit import Fitted
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.seeing import SightLoss, fit_sight, told_wrong
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import THIRDS, Shelf


class Gatherer(nn.Module):
    """Flex, and a head on all its scene tokens together: what was in each third of each image, and how near."""

    def __init__(self, views: Flex, images: int) -> None:
        super().__init__()
        self.views = views
        tokens, width = views.scene.num_embeddings, views.proj.out_features
        self.head = nn.Sequential(nn.LayerNorm(tokens * width), nn.Linear(tokens * width, images * THIRDS * (len(KINDS) + 1)))

    def forward(self, features: Tensor, images: Images) -> tuple[Tensor, Tensor]:
        """Logits (B, images, THIRDS, KINDS) and log distances (B, images, THIRDS) of features (B images, T, D)."""
        told = self.head(self.views(features, images).flatten(1)).unflatten(1, (-1, THIRDS, len(KINDS) + 1)).float()
        return told[..., :-1], told[..., -1]


def gathered_loss(gatherer: Gatherer, shelf: Shelf, which: Sequence[int]) -> SightLoss:
    """How wrong scene tokens are about the pictures of some lessons."""
    images = shelf.lessons[which[0]].encoded.images
    rows = np.stack([shelf.lessons[index].rows for index in which])
    seen = images._replace(patches=torch.empty(rows.size, 0))
    logits, log_distance = gatherer(shelf.features_of(which), seen)
    return told_wrong(logits, log_distance, shelf.summary.kinds[rows], shelf.summary.nearest_m[rows])


def gather(gatherer: Gatherer, shelf: Shelf, settings: Optimisation, run: Run, processes: Processes) -> Fitted:
    """Train Flex and its head on what a frozen tower saw. Raises InvalidInput for a loss that is not finite."""

    def losses(rng: np.random.Generator) -> SightLoss:
        return gathered_loss(gatherer, shelf, rng.integers(len(shelf.lessons), size=settings.batch).tolist())

    return fit_sight(gatherer, losses, settings, run, processes)
