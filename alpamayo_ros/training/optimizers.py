"""What takes the steps: AdamW, and where it is asked for Muon for the matrices inside layers.

Muon makes the update of a matrix orthogonal, so that it learns in all directions and not in the few that most gradients share.
Measured on `ar1_nano`: docs/log.md. Source: Jordan et al., Muon (2024), as torch has it; the rate is AdamW's by matching
the size of updates (Moonshot, arXiv 2502.16982).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.types import InvalidInput

Optimizers = tuple[torch.optim.Optimizer, ...]

LOGITS = ("lm_head.", "action_out_proj.")
"""Linear layers whose rows are single outputs: no matrices in Muon's sense."""


def optimizers(network: nn.Module, settings: Optimisation) -> Optimizers:
    """Over what is trained: no decay for vectors (norms, biases), another rate for the vision tower.

    Raises InvalidInput where nothing is trained.
    """
    matrices = set(_matrices(network)) if settings.matrices == "muon" else set()
    said: dict[tuple[bool, float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            factor = settings.vision_factor if ".visual." in name else 1.0
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            said.setdefault((name in matrices, factor, decay), []).append(parameter)
    if not said:
        raise InvalidInput("nothing of this network is trained")
    groups: dict[bool, list[dict[str, object]]] = {}
    for (is_matrix, factor, decay), own in said.items():
        factor *= settings.muon_factor if is_matrix else 1.0
        groups.setdefault(is_matrix, []).append({"params": own, "factor": factor, "weight_decay": decay})
    made: list[torch.optim.Optimizer] = []
    if True in groups:
        made.append(torch.optim.Muon(groups[True], lr=settings.learning_rate, adjust_lr_fn="match_rms_adamw"))
    if False in groups:
        made.append(torch.optim.AdamW(groups[False], lr=settings.learning_rate, betas=settings.betas))
    return tuple(made)


def _matrices(network: nn.Module) -> Iterator[str]:
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear) and not f"{name}.".endswith(LOGITS):
            yield f"{name}.weight"


def warm_to(taking: Optimizers, rate: float) -> None:
    """Set the learning rate; a group has its own part of it."""
    for optimizer in taking:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]


def take_step(taking: Optimizers) -> None:
    """Change the weights as the gradients say."""
    for optimizer in taking:
        optimizer.step()


def forget_gradients(taking: Optimizers) -> None:
    """Of everything that is trained."""
    for optimizer in taking:
        optimizer.zero_grad(set_to_none=True)
