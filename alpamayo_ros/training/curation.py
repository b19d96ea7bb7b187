"""Which samples are worth rollouts and gradients: those on which policy and reward disagree (Alpamayo-R1 paper, section 5).

The paper compares the policy's distribution over K rollouts of a sample with softmax(β r), prefers large divergence, and mixes
in a similar share of random samples. It does not name the divergence; the article on it says KL. Direction and ties are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alpamayo_ros.types import F64, InvalidInput, checked

RANDOM_SHARE = 0.5  # paper: "a similar proportion"


def disagreement(log_probs: F64, rewards: F64, beta: float) -> float:
    """KL(p || q) in nats over K rollouts of a sample, p = softmax(log_probs), q = softmax(β rewards); both (K,), K >= 2.

    Log-probabilities are of whole rollouts and lie nats apart, so that p is nearly one of them: in this direction the value
    stays below β (max r - min r) + log K, and tells how far the likeliest rollouts are from the best. Rollouts that are all
    worth the same give 0, whatever p is: they have no advantage, so nothing can be learnt from them.
    Raises InvalidInput for shapes that differ, numbers that are not finite, and for β <= 0.
    """
    log_p = checked("log_probs", log_probs, np.float64, "K")
    worth = checked("rewards", rewards, np.float64, len(log_p))
    if len(log_p) < 2 or not 0 < beta < np.inf:
        raise InvalidInput(f"disagreement: want K >= 2 rollouts and a finite beta > 0, got {len(log_p)} and {beta}")
    if np.ptp(worth) == 0:
        return 0.0
    log_p, log_q = _log_softmax(log_p), _log_softmax(beta * worth)
    return float(np.exp(log_p) @ (log_p - log_q))


def _log_softmax(logits: F64) -> F64:
    return np.asarray(logits - np.logaddexp.reduce(logits))


@dataclass(frozen=True)
class Selection:
    """Which samples of a pool are trained on next; no sample twice."""

    informative: tuple[int, ...]  # the most informative first
    random: tuple[int, ...]  # of the others

    @property
    def indices(self) -> tuple[int, ...]:
        """All of them."""
        return self.informative + self.random


def select(values: F64, count: int, seed: int, random_share: float = RANDOM_SHARE) -> Selection:
    """`count` samples of a pool whose disagreements are given (N,): a share of them by chance, the others the most informative.

    The same values and seed give the same selection; of equals the first counts. Raises InvalidInput for more samples than
    there are, a share outside 0 .. 1 or values that are not finite.
    """
    pool = checked("values", values, np.float64, "N")
    if not 0 <= count <= len(pool) or not 0 <= random_share <= 1:
        raise InvalidInput(f"select: want 0 .. {len(pool)} samples and a share 0 .. 1, got {count} and {random_share}")
    by_chance = round(count * random_share)
    order = np.argsort(-pool, kind="stable")
    best, rest = order[: count - by_chance], order[count - by_chance :]
    drawn = np.random.default_rng(seed).choice(np.sort(rest), by_chance, replace=False)
    return Selection(tuple(best.tolist()), tuple(drawn.tolist()))
