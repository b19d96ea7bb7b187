"""What reinforcement learning descends: both published objectives of GRPO, from log-probabilities of tokens to a loss.

G samples have K rollouts each, of up to T tokens; a rollout's reward counts only against those of its own sample. Sources:
Alpamayo-R1, arXiv 2511.00088, section 5 (`WeightedLikelihood`); Cosmos-RL with the released recipe's values (`ClippedRatio`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from alpamayo_ros.types import InvalidInput

_LOG_RATIO_LIMIT = 20.0  # Cosmos-RL: what lies farther apart counts as this far, so that its exponential is finite
_STD_EPS = 1e-6  # Cosmos-RL


@dataclass(frozen=True)
class TokenLogProbs:
    """Log-probabilities of the tokens that rollouts consist of, (G, K, T) each; only `policy` has a gradient."""

    policy: Tensor  # by the model that learns
    old: Tensor  # by the model that wrote them
    reference: Tensor  # by the model after supervised fine-tuning
    written: Tensor  # bool: which tokens the model wrote; the others are prompt or padding and may hold anything

    def __post_init__(self) -> None:
        floats = {"policy": self.policy, "old": self.old, "reference": self.reference}
        shapes = {name: tuple(each.shape) for name, each in {**floats, "written": self.written}.items()}
        if self.written.dtype != torch.bool or self.written.dim() != 3 or len(set(shapes.values())) != 1:
            raise InvalidInput(f"log-probs: want one shape (G, K, T), written as bool, got {shapes}, {self.written.dtype}")
        if not self.written.any(-1).all():
            raise InvalidInput(f"log-probs: {int((~self.written.any(-1)).sum())} rollouts have no written token")
        for name, each in floats.items():
            if each.requires_grad and name != "policy":
                raise InvalidInput(f"log-probs: {name} requires a gradient, only the policy's may")
            if bad := int((~each.isfinite() & self.written).sum()):
                raise InvalidInput(f"log-probs: {bad} of {name} are not finite")
            object.__setattr__(self, name, each.where(self.written, torch.zeros_like(each)))

    @property
    def tokens(self) -> int:
        """How many were written."""
        return int(self.written.sum())


@dataclass(frozen=True)
class Loss:
    """A loss and what it is made of. Parts of a batch join to the whole by Σ count · total / Σ count."""

    total: Tensor  # (), with the gradient
    policy: Tensor  # (), without the KL
    kl: Tensor  # (), nats per written token, unweighted
    count: int  # of what the total is a mean: samples or tokens


@dataclass(frozen=True)
class WeightedLikelihood:
    """The paper's objective: L = -E[ w_i (log π(τ_i) - λ KL[π(τ_i) || π_ref(τ_i)]) ], w = softmax(β A) over the rollouts.

    E sums over the rollouts of a sample, whose weights add up to 1, and is the mean over samples; log π(τ) sums over tokens.
    The paper publishes neither β nor λ nor how the KL is estimated: here by `_k3`, summed over tokens. Where all rollouts are
    worth the same, printed weights of 1 / K would still imitate what the policy wrote: here such a sample has no weight (ours).
    """

    beta: float
    kl_weight: float  # λ

    def __post_init__(self) -> None:
        if not (0 < self.beta < float("inf") and 0 <= self.kl_weight < float("inf")):
            raise InvalidInput(f"weighted likelihood: want a finite beta > 0 and KL weight >= 0, got {self}")

    def advantages(self, rewards: Tensor) -> Tensor:
        """r - mean(r) of rewards (G, K)."""
        return _centred(rewards)

    def loss(self, log_probs: TokenLogProbs, advantages: Tensor) -> Loss:
        """Of advantages (G, K). Raises InvalidInput for another shape."""
        _check(log_probs, advantages)
        weights = torch.softmax(self.beta * advantages, dim=-1) * (advantages != 0).any(-1, keepdim=True)
        apart = _k3(log_probs)
        policy = -(weights * log_probs.policy.sum(-1)).sum(-1).mean()
        total = policy + self.kl_weight * (weights * apart.sum(-1)).sum(-1).mean()
        return Loss(total, policy.detach(), apart.detach().sum() / log_probs.tokens, len(advantages))


@dataclass(frozen=True)
class ClippedRatio:
    """Cosmos-RL's objective: the clipped ratio of PPO, from below too, with the k3 estimate of the KL, a mean over tokens.

    With ρ = π / π_old of a token: L = -min(ρ A, clip(ρ, 1 - low, 1 + high) A), but where A < 0 never more than -bound A
    (dual clip), plus β KL. Defaults are the released recipe's. Cosmos-RL also cuts a token's KL at 10, which lets go of who
    strayed farthest; here it is not cut.
    """

    clip_low: float = 0.2
    clip_high: float = 0.28
    lower_bound_ratio: float = 10.0
    kl_beta: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.clip_low <= 1 and self.clip_high > 0 and self.lower_bound_ratio > 1 and self.kl_beta >= 0):
            wanted = "0 < clip_low <= 1, clip_high > 0, lower_bound_ratio > 1, kl_beta >= 0"
            raise InvalidInput(f"clipped ratio: want {wanted}, got {self}")

    def advantages(self, rewards: Tensor) -> Tensor:
        """(r - mean(r)) / (std(r) + 1e-6) of rewards (G, K), the standard deviation that of the K."""
        return _centred(rewards) / (rewards.std(-1, correction=0, keepdim=True) + _STD_EPS)

    def loss(self, log_probs: TokenLogProbs, advantages: Tensor) -> Loss:
        """Of advantages (G, K). Raises InvalidInput for another shape."""
        _check(log_probs, advantages)
        worth = advantages[..., None]
        ratio = _bounded(log_probs.policy - log_probs.old).exp()
        gain = torch.minimum(ratio * worth, ratio.clamp(1 - self.clip_low, 1 + self.clip_high) * worth)
        gain = torch.where(worth < 0, torch.maximum(gain, self.lower_bound_ratio * worth), gain)
        policy = -(gain * log_probs.written).sum() / log_probs.tokens
        kl = _k3(log_probs).sum() / log_probs.tokens
        return Loss(policy + self.kl_beta * kl, policy.detach(), kl.detach(), log_probs.tokens)


Objective = WeightedLikelihood | ClippedRatio


def _centred(rewards: Tensor) -> Tensor:
    """r - mean(r) of (G, K), exactly 0 where all K are equal. Raises InvalidInput for other shapes, K < 2, no number."""
    if rewards.dim() != 2 or rewards.shape[1] < 2 or not rewards.isfinite().all():
        raise InvalidInput(f"rewards: want finite (G, K) with K >= 2, got {tuple(rewards.shape)}, {rewards}")
    differ = rewards.amax(-1, keepdim=True) > rewards.amin(-1, keepdim=True)
    return torch.where(differ, rewards - rewards.mean(-1, keepdim=True), torch.zeros_like(rewards))


def _k3(log_probs: TokenLogProbs) -> Tensor:
    """(G, K, T) nats: π_ref / π - log(π_ref / π) - 1 >= 0, whose mean over tokens drawn from π is KL[π || π_ref].

    Its gradient for given tokens is, in that mean, the gradient of KL[π_ref || π]; both are 0 where the two agree.
    """
    log_ratio = _bounded(log_probs.reference - log_probs.policy)
    return log_ratio.exp() - log_ratio - 1


def _bounded(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)


def _check(log_probs: TokenLogProbs, advantages: Tensor) -> None:
    if advantages.shape != log_probs.written.shape[:2] or advantages.requires_grad:
        rollouts = tuple(log_probs.written.shape[:2])
        raise InvalidInput(f"advantages: want {rollouts} without a gradient, got {tuple(advantages.shape)}")
