"""The objectives against identities that follow from their formulas, on tensors small enough to see through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alpamayo_ros.training.objectives import ClippedRatio, Loss, Objective, TokenLogProbs, WeightedLikelihood
from alpamayo_ros.types import InvalidInput

PAPER = WeightedLikelihood(beta=1.5, kl_weight=0.2)
COSMOS = ClippedRatio(kl_beta=0.1)
BOTH = pytest.mark.parametrize("objective", [PAPER, COSMOS], ids=["paper", "cosmos"])

G, K, T = 3, 4, 5


def tensors(seed: int = 0, spread: float = 0.3) -> TokenLogProbs:
    """Random float64 log-probs, those of old and reference near the policy's; some tokens are padding."""
    rng = torch.Generator().manual_seed(seed)
    policy = -torch.rand(G, K, T, generator=rng, dtype=torch.float64) * 3
    old, reference = (policy + spread * torch.randn(G, K, T, generator=rng, dtype=torch.float64) for _ in range(2))
    written = torch.rand(G, K, T, generator=rng) < 0.7
    written[..., 0] = True
    return TokenLogProbs(policy.requires_grad_(), old, reference, written)


def rewards(seed: int = 1) -> Tensor:
    return torch.randn(G, K, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient(loss: Callable[[TokenLogProbs], Loss], at: TokenLogProbs) -> Tensor:
    """Of the total by every log-prob of the policy."""
    policy = at.policy.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(replace(at, policy=policy)).total, policy)
    return found


def loss_of(objective: Objective, worth: Tensor) -> Callable[[TokenLogProbs], Loss]:
    advantages = objective.advantages(worth)
    return lambda log_probs: objective.loss(log_probs, advantages)


@BOTH
def test_the_gradient_is_the_one_of_finite_differences(objective: Objective) -> None:
    at, loss, step = tensors(), loss_of(objective, rewards()), 1e-6
    by_autograd = gradient(loss, at)
    for place in torch.cartesian_prod(torch.arange(G), torch.arange(K), torch.arange(T)).tolist():
        moved = torch.zeros(G, K, T, dtype=torch.float64)
        moved[tuple(place)] = step
        ahead, behind = (loss(replace(at, policy=at.policy.detach() + sign * moved)).total for sign in (1, -1))
        assert ((ahead - behind) / (2 * step)).item() == pytest.approx(by_autograd[tuple(place)].item(), abs=1e-7)


@BOTH
def test_rollouts_that_are_all_worth_the_same_teach_nothing(objective: Objective) -> None:
    worth = rewards()
    worth[1] = 0.1
    at = tensors()
    at = replace(at, reference=at.policy.detach())
    by_token = gradient(loss_of(objective, worth), at)
    assert (by_token[1] == 0).all()
    assert (by_token[[0, 2]].abs().sum((1, 2)) > 0).all()
    nothing = gradient(loss_of(objective, torch.full((G, K), -1.0, dtype=torch.float64)), at)
    assert (nothing == 0).all()


@BOTH
@pytest.mark.parametrize("value", [0.1, -1 / 3, -1.0])
def test_equal_rewards_have_no_advantage_though_their_mean_is_rounded(objective: Objective, value: float) -> None:
    for rollouts in range(2, 13):
        equal = torch.full((1, rollouts), value, dtype=torch.float64)
        assert (objective.advantages(equal) == 0).all()


@BOTH
def test_the_kl_is_nothing_at_the_reference_and_more_elsewhere(objective: Objective) -> None:
    at = tensors()
    worth = rewards()
    there = replace(at, reference=at.policy.detach())
    weightless = replace(PAPER, kl_weight=0.0) if objective is PAPER else replace(COSMOS, kl_beta=0.0)
    assert loss_of(objective, worth)(there).kl == 0
    assert loss_of(objective, worth)(at).kl > 0
    torch.testing.assert_close(gradient(loss_of(objective, worth), there), gradient(loss_of(weightless, worth), there))
    assert not torch.allclose(gradient(loss_of(objective, worth), at), gradient(loss_of(weightless, worth), at))


def test_the_mean_kl_over_all_tokens_is_the_kl_and_its_gradient_the_reversed_ones() -> None:
    """Every token of a vocabulary once, weighted by the policy: sums over it are exact means."""
    logits = torch.tensor([0.3, -1.0, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    reference = torch.log_softmax(torch.tensor([0.0, 0.4, -0.6, 0.2], dtype=torch.float64), 0)
    log_p, p = torch.log_softmax(logits, 0), torch.softmax(logits, 0).detach()

    def kl_of(token: int) -> Tensor:
        """The loss of two rollouts that are this token and earn nothing."""
        twice = log_p[token].expand(1, 2, 1)
        known = reference[token].expand(1, 2, 1)
        at = TokenLogProbs(twice, twice.detach(), known, torch.ones(1, 2, 1, dtype=torch.bool))
        loss = ClippedRatio(kl_beta=1.0).loss(at, torch.zeros(1, 2, dtype=torch.float64))
        assert loss.total.item() == loss.kl.item()
        return loss.total

    mean = sum((p[token] * kl_of(token) for token in range(4)), torch.zeros((), dtype=torch.float64))
    assert mean.item() == pytest.approx((p * (log_p - reference)).sum().item())
    (found,) = torch.autograd.grad(mean, logits, retain_graph=True)
    (wanted,) = torch.autograd.grad((reference.exp() * (reference - log_p)).sum(), logits)
    torch.testing.assert_close(found, wanted)


@BOTH
def test_a_reward_counts_only_against_its_own_sample(objective: Objective) -> None:
    """A constant added to all rewards of one sample changes nothing, nor does the order of rollouts or samples."""
    at, worth = tensors(), rewards()
    base = loss_of(objective, worth)(at).total
    torch.testing.assert_close(loss_of(objective, worth + torch.tensor([[5.0], [0.0], [-2.0]]))(at).total, base)
    samples, rollouts = torch.tensor([[2], [0], [1]]), torch.tensor([[3, 1, 0, 2]])
    turned = TokenLogProbs(*(each[samples, rollouts] for each in (at.policy, at.old, at.reference, at.written)))
    torch.testing.assert_close(loss_of(objective, worth[samples, rollouts])(turned).total, base)


@BOTH
def test_what_was_not_written_does_not_matter(objective: Objective) -> None:
    at, worth = tensors(), rewards()
    loss = loss_of(objective, worth)
    assert (gradient(loss, at)[~at.written] == 0).all()
    junk = torch.where(at.written, at.policy.detach(), torch.nan).requires_grad_()
    far = replace(at, policy=junk, old=torch.where(at.written, at.old, -torch.inf))
    assert loss(far).total.item() == loss(at).total.item()
    (found,) = torch.autograd.grad(loss(far).total, junk)
    assert found.isfinite().all()


@BOTH
def test_parts_of_a_batch_join_to_the_whole(objective: Objective) -> None:
    at, worth = tensors(), rewards()
    whole = loss_of(objective, worth)(at)
    parts = []
    for samples in (slice(0, 1), slice(1, 3)):
        part = TokenLogProbs(*(each[samples] for each in (at.policy, at.old, at.reference, at.written)))
        parts.append(loss_of(objective, worth[samples])(part))
    joined = sum(part.count * part.total.item() for part in parts) / sum(part.count for part in parts)
    assert joined == pytest.approx(whole.total.item())


def test_standardised_advantages_know_no_unit() -> None:
    """(r - mean) / (std + eps) of a r + b is that of r, but for eps; r - mean grows with a."""
    worth = rewards()
    torch.testing.assert_close(COSMOS.advantages(3 * worth + 7), COSMOS.advantages(worth), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(PAPER.advantages(3 * worth + 7), 3 * PAPER.advantages(worth))
    torch.testing.assert_close(
        COSMOS.advantages(worth).square().mean(-1), torch.ones(G, dtype=torch.float64), rtol=1e-4, atol=0
    )


def test_the_papers_weights_are_by_hand() -> None:
    """Two rollouts worth 0 and 1, β = log 3: weights 1/4 and 3/4, so L = -(log π_1 + 3 log π_2) / 4 at the reference."""
    policy = torch.tensor([[[-1.0, -2.0], [-0.5, -0.25]]], dtype=torch.float64)
    at = TokenLogProbs(policy, policy, policy, torch.ones(1, 2, 2, dtype=torch.bool))
    objective = WeightedLikelihood(beta=float(torch.log(torch.tensor(3.0, dtype=torch.float64))), kl_weight=1.0)
    loss = objective.loss(at, objective.advantages(torch.tensor([[0.0, 1.0]], dtype=torch.float64)))
    assert loss.total.item() == pytest.approx((3.0 + 3 * 0.75) / 4)


def test_on_policy_the_ratio_objective_is_the_policy_gradient() -> None:
    """At π = π_old the ratio is 1 and its gradient that of log π: -A per written token, over all of them."""
    at = tensors()
    at, worth = replace(at, old=at.policy.detach()), rewards()
    objective = ClippedRatio()
    wanted = -objective.advantages(worth)[..., None] * at.written / at.written.sum()
    torch.testing.assert_close(gradient(loss_of(objective, worth), at), wanted)
    torch.testing.assert_close(loss_of(objective, worth)(at).total, wanted.sum())


RATIOS = pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "is_flat"),
    [
        (1.2, 1.0, -1.2, False),
        (1.3, 1.0, -1.28, True),  # good and already likelier: cut at 1 + 0.28
        (0.5, 1.0, -0.5, False),  # good and less likely: pulled back
        (0.9, -1.0, 0.9, False),
        (0.5, -1.0, 0.8, True),  # bad and already less likely: cut at 1 - 0.2
        (5.0, -1.0, 5.0, False),  # bad and likelier: pushed down
        (12.0, -1.0, 10.0, True),  # but no more than the bound
        (12.0, 1.0, -1.28, True),
    ],
)


def one_token(ratio: float) -> TokenLogProbs:
    policy = torch.tensor([[[ratio]]], dtype=torch.float64).log()
    return TokenLogProbs(policy, torch.zeros_like(policy), policy, torch.ones(1, 1, 1, dtype=torch.bool))


@RATIOS
def test_the_ratio_is_cut_where_it_says(ratio: float, advantage: float, loss: float, is_flat: bool) -> None:
    worth = torch.tensor([[advantage]], dtype=torch.float64)
    at = one_token(ratio)
    assert ClippedRatio().loss(at, worth).total.item() == pytest.approx(loss)
    slope = gradient(lambda it: ClippedRatio().loss(it, worth), at).item()
    assert slope == pytest.approx(0.0 if is_flat else -advantage * ratio)  # d ratio / d log π = ratio


def test_without_the_cut_a_ratio_goes_on_to_count() -> None:
    """The cut is what made it flat."""
    wide = ClippedRatio(clip_high=9.0)
    assert wide.loss(one_token(1.3), torch.ones(1, 1, dtype=torch.float64)).total.item() == pytest.approx(-1.3)


@BOTH
def test_far_log_probs_stay_finite(objective: Objective) -> None:
    at = tensors(spread=500.0)
    at = replace(at, policy=at.policy.detach().float(), old=at.old.float(), reference=at.reference.float())
    loss = loss_of(objective, rewards().float())
    assert loss(at).total.isfinite()
    assert gradient(loss, at).isfinite().all()


@BOTH
def test_descent_makes_the_better_rollout_likelier(objective: Objective) -> None:
    """Three answers, the second one good: a policy that samples all of them learns it."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    worth, reference = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64), torch.full((1, 3, 1), -1.1, dtype=torch.float64)
    before = torch.softmax(logits, 0)[1].item()
    for _ in range(20):
        now = torch.log_softmax(logits, 0).reshape(1, 3, 1)
        at = TokenLogProbs(now, now.detach(), reference, torch.ones(1, 3, 1, dtype=torch.bool))
        (slope,) = torch.autograd.grad(loss_of(objective, worth)(at).total, logits)
        logits = (logits - 0.1 * slope).detach().requires_grad_()
    assert torch.softmax(logits, 0)[1].item() > before + 0.02


def test_what_cannot_be_is_refused() -> None:
    at = tensors()
    with pytest.raises(InvalidInput, match=r"one shape .* \(3, 4, 4\)"):
        TokenLogProbs(at.policy, at.old[..., :4], at.reference, at.written)
    silent, never = at.written.clone(), at.old.clone()
    silent[1, 2], never[0, 0, 0] = False, -torch.inf
    with pytest.raises(InvalidInput, match="1 rollouts have no written token"):
        TokenLogProbs(at.policy, at.old, at.reference, silent)
    with pytest.raises(InvalidInput, match="1 of old are not finite"):
        TokenLogProbs(at.policy, never, at.reference, at.written)
    with pytest.raises(InvalidInput, match="reference requires a gradient"):
        TokenLogProbs(at.policy, at.old, at.policy, at.written)
    for objective in (PAPER, COSMOS):
        with pytest.raises(InvalidInput, match="K >= 2"):
            objective.advantages(torch.zeros(3, 1))
        with pytest.raises(InvalidInput, match=r"advantages: want \(3, 4\)"):
            objective.loss(at, torch.zeros(4, 3))
    with pytest.raises(InvalidInput, match="beta"):
        WeightedLikelihood(beta=0.0, kl_weight=0.1)
    with pytest.raises(InvalidInput, match="clip_low"):
        ClippedRatio(clip_low=0.0)
