"""Against the ego shortcut: a model that knows its own motion too well learns to continue it and to look at nothing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from alpamayo_ros.bundle.config import Config

NEWEST = 3
"""Tokens of the newest step, x y z: they tell the speed, and not whether it rises or falls."""


def forget_motion(token_ids: Tensor, config: Config, probability: float, rng: np.random.Generator) -> Tensor:
    """For training: ids (B, L), of which with this probability each row knows its past motion by the newest step alone.

    Whoever brakes goes on braking: a model that is told so by its past decides by it, and not by what it brakes for (causal
    confusion, arXiv 1905.11979; past motion dropout, ChauffeurNet, arXiv 1812.03079). What stands behind the steps in the
    span, ego signals, becomes unknown with them.
    """
    start, end = (token_ids == config.token_ids[key] for key in ("history_start", "history_end"))
    inside = (start.cumsum(1) > end.cumsum(1)) & ~start
    place = inside.cumsum(1)  # from 1 on
    newest = (place > config.history_tokens - NEWEST) & (place <= config.history_tokens)
    forgets = torch.from_numpy(rng.random(len(token_ids)) < probability)
    unknown = inside & ~newest & forgets[:, None].to(inside.device)
    return torch.where(unknown, config.token_ids["history"], token_ids)
