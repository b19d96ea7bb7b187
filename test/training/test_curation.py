"""Samples worth training on: planted disagreements are found, and chance has its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpamayo_ros.training.curation import disagreement, select
from alpamayo_ros.types import F64, InvalidInput

BETA = 2.0
K = 6
POOL = 200
PLANTED = frozenset(range(7, POOL, 17))  # 12 of 200

numbers = st.lists(st.floats(-20, 20), min_size=K, max_size=K)


def pool(seed: int) -> list[tuple[F64, F64]]:
    """(log-probs, rewards) per sample: the policy is surest of what is best, but in the planted ones of what is worst."""
    rng = np.random.default_rng(seed)
    made = []
    for sample in range(POOL):
        rewards = rng.normal(0.0, 1.0, K)
        sure_of = -rewards if sample in PLANTED else rewards
        made.append((-40.0 + BETA * sure_of + rng.normal(0.0, 0.1, K), rewards))
    return made


def values(seed: int = 0) -> F64:
    return np.array([disagreement(log_probs, rewards, BETA) for log_probs, rewards in pool(seed)])


def test_planted_disagreements_are_picked_first() -> None:
    found = select(values(), count=2 * len(PLANTED), seed=0)
    assert set(found.informative) == PLANTED


def test_the_other_half_is_random() -> None:
    disagreements, count = values(), 40
    found = [select(disagreements, count, seed) for seed in range(200)]
    assert {(len(it.informative), len(it.random)) for it in found} == {(20, 20)}
    assert len({it.informative for it in found}) == 1, "chance has no say in what is informative"
    drawn = np.bincount([sample for it in found for sample in it.random], minlength=POOL)
    never = np.flatnonzero(drawn == 0)
    assert set(never.tolist()) == set(found[0].informative), "every other sample has its chance"
    others = drawn[drawn > 0]
    assert others.min() > 0.3 * others.mean(), "an equal one"


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.floats(0, 1), st.integers(0, 1000), st.data())
def test_a_selection_is_whole_and_repeats(found: list[float], share: float, seed: int, data: st.DataObject) -> None:
    disagreements, count = np.array(found), data.draw(st.integers(0, len(found)))
    selection = select(disagreements, count, seed, share)
    assert len(set(selection.indices)) == len(selection.indices) == count
    assert len(selection.random) == round(count * share)
    assert selection == select(disagreements, count, seed, share)
    left = set(range(len(found))) - set(selection.informative)
    assert all(disagreements[i] >= disagreements[j] for i in selection.informative for j in left)


@given(numbers, numbers)
def test_disagreement_is_a_divergence(log_probs: list[float], rewards: list[float]) -> None:
    value = disagreement(np.array(log_probs), np.array(rewards), BETA)
    assert -1e-9 <= value <= BETA * np.ptp(rewards) + np.log(K) + 1e-9
    shifted = disagreement(np.array(log_probs) - 100.0, np.array(rewards) + 3.0, BETA)
    if np.ptp(np.array(rewards) + 3.0) > 0:  # a difference that the sum swallows is none
        assert shifted == pytest.approx(value, abs=1e-6)


def test_a_policy_that_is_as_sure_as_the_reward_agrees() -> None:
    rewards = np.array([0.0, 1.0, -2.0])
    assert disagreement(-30.0 + BETA * rewards, rewards, BETA) == pytest.approx(0.0, abs=1e-12)


def test_two_rollouts_by_hand() -> None:
    """p = (3/4, 1/4), q = (1/4, 3/4): KL = 3/4 log 3 - 1/4 log 3."""
    value = disagreement(np.log([0.75, 0.25]), np.array([0.0, np.log(3.0)]), beta=1.0)
    assert value == pytest.approx(np.log(3.0) / 2)


def test_rollouts_that_are_worth_the_same_are_not_worth_a_step() -> None:
    sure = np.array([-10.0, -90.0, -80.0])
    assert disagreement(sure, np.full(3, -1.0), BETA) == 0.0
    assert disagreement(sure, np.array([-1.0, -1.0, 1.0]), BETA) > 1.0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidInput, match="K >= 2"):
        disagreement(np.zeros(1), np.zeros(1), BETA)
    with pytest.raises(InvalidInput, match="beta"):
        disagreement(np.zeros(2), np.zeros(2), 0.0)
    with pytest.raises(InvalidInput, match="rewards"):
        disagreement(np.zeros(3), np.zeros(2), BETA)
    with pytest.raises(InvalidInput, match="not finite"):
        disagreement(np.array([0.0, -np.inf]), np.zeros(2), BETA)
    with pytest.raises(InvalidInput, match=r"0 \.\. 3 samples"):
        select(np.zeros(3), 4, seed=0)
