"""Stage `gather`, of our own small networks: the scene's tokens learn to hold what was seen on all pictures.

A bottleneck whose queries begin at random passes nothing on at first, and the language model behind it learns to drive by its
own motion alone before anything comes through. Here the tokens are told directly what they are to know: for the left, middle
and right of every picture which kinds of things are there, and how near. The head that tells is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alpamayo_ros.model.language import RMSNorm
from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.model.vision import NORM_EPS, Images
from alpamayo_ros.simulation.data.course import COURSE_M
from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.batch import THIRDS
from alpamayo_ros.training.fit import Fitted
from alpamayo_ros.training.losses import SightLoss, Told, told_wrong
from alpamayo_ros.training.processes import Processes
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.seeing import fit_sight
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import Shelf
from alpamayo_ros.training.sizes import HEAD


class Gatherer(nn.Module):
    """Flex, and a head that asks its scene tokens what was in each third of each image, how near, and where the road goes.

    It asks by attention, with the same projections for all tokens, for that is how the language model will read them: a head on
    all tokens side by side lets each keep a code of its own, which learns as fast and helps nobody after it.
    """

    def __init__(self, views: Flex, images: int) -> None:
        super().__init__()
        self.views = views
        width = views.proj.out_features
        self.asked = nn.Embedding(images * THIRDS + 1, width)  # the last one asks for the road
        self.norm = RMSNorm(width, NORM_EPS)
        self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, len(KINDS) + 1)
        )
        self.course = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(COURSE_M)))

    def forward(self, features: Tensor, images: Images) -> Told:
        """What is told of features (B images, T, D): logits (B, images, THIRDS, KINDS), the road (B, COURSE_M)."""
        scene = self.norm(self.views(features, images))
        asked = self.asked.weight.expand(len(scene), -1, -1)
        found = F.scaled_dot_product_attention(_heads(asked), _heads(self.key(scene)), _heads(self.value(scene)))
        answers = self.out(found.transpose(1, 2).flatten(2))
        told = self.head(answers[:, :-1]).unflatten(1, (-1, THIRDS)).float()
        return Told(told[..., :-1], told[..., -1], self.course(answers[:, -1]).float())


def _heads(x: Tensor) -> Tensor:
    """(B, N, D) to (B, heads, N, HEAD)."""
    return x.unflatten(-1, (-1, HEAD)).transpose(1, 2)


def gathered_loss(gatherer: Gatherer, shelf: Shelf, which: Sequence[int]) -> SightLoss:
    """How wrong scene tokens are about the pictures of some lessons."""
    images = shelf.lessons[which[0]].encoded.images
    rows = np.stack([shelf.lessons[index].rows for index in which])
    seen = images._replace(patches=torch.empty(rows.size, 0))
    return told_wrong(gatherer(shelf.features_of(which), seen), *shelf.shown(rows))


def gather(gatherer: Gatherer, shelf: Shelf, settings: Optimisation, run: Run, processes: Processes) -> Fitted:
    """Train Flex and its head on what a frozen tower saw. Raises InvalidInput for a loss that is not finite."""

    def losses(rng: np.random.Generator) -> SightLoss:
        return gathered_loss(gatherer, shelf, rng.integers(len(shelf.lessons), size=settings.batch).tolist())

    return fit_sight(gatherer, losses, settings, run, processes)
