"""Flow matching along straight paths x_t = t x_1 + (1 - t) x_0, x_0 noise (Alpamayo-R1 paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]  # x_t (B, 64, 2), t -> dx/dt


def euler(velocity: Velocity, noise: Tensor, steps: int) -> Tensor:
    """Every x_t (steps + 1, *noise.shape) from t = 0 to 1, in `steps` equal Euler steps; the last one is the action."""
    grid = torch.linspace(0.0, 1.0, steps + 1).tolist()
    path = [noise]
    for t, following in pairwise(grid):
        path.append(path[-1] + (following - t) * velocity(path[-1], t))
    return torch.stack(path)


def guided(velocity: Velocity, unguided: Velocity, weight: float) -> Velocity:
    """Classifier-free guidance: (1 - w) v_unguided + w v; w = 1 is the velocity itself."""
    return lambda x, t: (1.0 - weight) * unguided(x, t) + weight * velocity(x, t)


def noisy(action: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of an action (B, 64, 2), noise alike, at t (B,)."""
    t = t[:, None, None]
    return t * action + (1.0 - t) * noise


def loss(predicted_velocity: Tensor, action: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error to the path's own velocity, x_1 - x_0."""
    return F.mse_loss(predicted_velocity, action - noise)


def training_times(count: int, generator: torch.Generator) -> Tensor:
    """t (count,) = 0.999 (1 - s), s ~ Beta(1.5, 1): mostly near the noise (the released model's schedule).

    s is drawn by inverting its distribution, s^1.5.
    """
    return 0.999 * (1.0 - torch.rand(count, generator=generator) ** (1.0 / 1.5))
