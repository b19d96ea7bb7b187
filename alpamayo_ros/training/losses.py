"""What is learned: the words and action tokens behind a prompt, and the velocity of the flow.

Sources: NVlabs/alpamayo-recipes (the mean over trajectory tokens and the mean over all others, added with weights);
Alpamayo-R1 paper, section 5.1 (flow matching).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from alpamayo_ros.bundle.config import Config
from alpamayo_ros.model import flow
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.simulation.data.sights import KINDS, NOTHING_M
from alpamayo_ros.training.batch import Batch, Pass, velocity

PRESENT = torch.tensor([2.0 if kind == "vehicle" else 8.0 for kind in KINDS])
"""Weights of a place where something is, against one where nothing is: most are empty, and one in three has a vehicle."""


BEARING_RAD = 0.1
"""A bearing of the road ahead that is off by this is off by 1."""

COURSE = 0.1
"""Weight of those bearings. Where the road goes cannot be seen at every fork, so that their loss stays large: at 1 it was two
thirds of what a vision tower learned by, and the tower saw lamps and signs far worse than one that was never asked
(docs/log.md)."""


class SightLoss(NamedTuple):
    """How wrong it is what was told of pictures."""

    kinds: Tensor  # binary cross-entropy, nats per place and kind, weighted
    distance: Tensor  # of the logarithm, where there is something
    course: Tensor  # of the bearings of the road ahead, in units of BEARING_RAD, weighted


class Told(NamedTuple):
    """What a head tells of places (..., KINDS) and (...), and of the road ahead (..., COURSE_M)."""

    logits: Tensor
    log_distance: Tensor
    course: Tensor  # in units of BEARING_RAD


class TokenLoss(NamedTuple):
    """Cross-entropies, nats per token; 0 where a batch has no such token."""

    trajectory: Tensor
    words: Tensor


def is_answer(batch: Batch) -> Tensor:
    """(B, L) where a token is behind the prompt, and learned."""
    column = torch.arange(batch.token_ids.shape[1], device=batch.token_ids.device)
    return (column >= batch.prompt_lengths[:, None]) & (column < batch.lengths[:, None])


def is_trajectory(token_ids: Tensor, config: Config) -> Tensor:
    """Where an id is an action token, or begins or ends them."""
    first = config.traj_token_start
    ends = torch.tensor([config.token_ids["future_start"], config.token_ids["future_end"]], device=token_ids.device)
    return ((token_ids >= first) & (token_ids < first + config.traj_vocab_size)) | torch.isin(token_ids, ends)


def token_counts(batch: Batch, config: Config) -> tuple[int, int]:
    """How many action tokens and how many others the two means of `token_loss` are of."""
    ids = batch.token_ids[:, 1:][is_answer(batch)[:, 1:]]
    trajectory = int(is_trajectory(ids, config).sum())
    return trajectory, len(ids) - trajectory


def token_loss(model: Alpamayo, read: Pass, batch: Batch) -> TokenLoss:
    """Of every answer's tokens, each from what stands before it."""
    learned = is_answer(batch)[:, 1:]
    ids = batch.token_ids[:, 1:][learned]
    each = F.cross_entropy(model.logits(read.hidden[:, :-1][learned]), ids, reduction="none")
    trajectory = is_trajectory(ids, model.config)
    return TokenLoss(*((each * which).sum() / which.sum().clamp(min=1) for which in (trajectory, ~trajectory)))


def flow_loss(model: Alpamayo, read: Pass, batch: Batch, noise: Tensor, t: Tensor) -> Tensor:
    """Of the expert, at noise (n B, 64, 2) and t (n B,): n draws of every example."""
    actions = batch.actions.repeat(len(noise) // len(batch.actions), 1, 1)
    return flow.loss(velocity(model, read, batch, flow.noisy(actions, noise, t), t), actions, noise)


def told_wrong(told: Told, kinds: Tensor, nearest_m: Tensor, course_rad: Tensor) -> SightLoss:
    """How far what is told is from the truth, of which NaN is not known."""
    near, known = nearest_m < NOTHING_M, ~course_rad.isnan()
    weight = PRESENT.to(told.logits.device)
    return SightLoss(
        F.binary_cross_entropy_with_logits(told.logits, kinds.float(), pos_weight=weight),
        _off(told.log_distance[near], nearest_m[near].clamp(min=1.0).log()),
        COURSE * _off(told.course[known], course_rad[known] / BEARING_RAD),
    )


def _off(told: Tensor, truth: Tensor) -> Tensor:
    """0 where there is nothing to be told."""
    return F.smooth_l1_loss(told, truth) if len(truth) else told.sum()
