"""Intervals and paired tests by clip: identities, brute force, scipy where windows are clips, and what they promise."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from alpamayo_ros.evaluation.statistics import estimate, estimate_of, paired_difference
from alpamayo_ros.types import InvalidInput

CLIPS = ["a", "a", "a", "b", "b", "c", "d", "e", "f"]
FIRST = [1.0, 1.2, 0.9, 3.0, 2.8, 0.5, 1.1, 2.2, 1.9]
SECOND = [0.8, 1.3, 0.7, 2.5, 2.9, 0.6, 1.0, 1.4, 1.5]


def test_every_window_counts_the_same_in_the_mean() -> None:
    found = estimate(FIRST, CLIPS)
    assert found.mean == pytest.approx(np.mean(FIRST))
    assert (found.clips, found.windows) == (6, 9)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high


def test_the_interval_of_two_clips_is_one_of_three_means() -> None:
    """Resamples are aa, ab (half of them) and bb; of clips of 3 and 1 windows, ab has the mean of all four."""
    values, clips = [0.0, 0.0, 0.0, 4.0], ["a", "a", "a", "b"]
    assert estimate(values, clips, level=0.95)[1:3] == (0.0, 4.0)
    assert estimate(values, clips, level=0.30)[1:3] == (1.0, 1.0)


def test_more_windows_of_the_same_clips_make_nobody_surer() -> None:
    few = estimate(FIRST, CLIPS, seed=3)
    many = estimate(FIRST * 10, CLIPS * 10, seed=3)
    assert many[:4] == pytest.approx(few[:4])
    assert many.windows == 10 * few.windows
    assert paired_difference(FIRST * 10, SECOND * 10, CLIPS * 10).p_value == paired_difference(FIRST, SECOND, CLIPS).p_value
    as_clips = estimate(FIRST * 10, list(range(90)), seed=3)
    assert as_clips.high - as_clips.low < 0.6 * (few.high - few.low), "resampled windows would look surer"


def test_a_higher_level_is_wider_and_the_mean_of_a_constant_is_sure() -> None:
    wide, narrow = estimate(FIRST, CLIPS, level=0.99), estimate(FIRST, CLIPS, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert estimate([2.5] * 9, CLIPS)[:3] == (2.5, 2.5, 2.5)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        found = estimate(rng.normal(size=40).tolist(), list(range(40)), seed=seed, level=0.8, resamples=200)
        covered += found.low <= 0.0 <= found.high
    assert 0.7 < covered / 200 < 0.88  # 80 % less a little, as 40 clips are few; binomial ± 0.08 at three sigma


def test_one_clip_tells_of_no_other() -> None:
    assert estimate([1.0, 2.0], ["a", "a"])[:4] == (1.5, None, None, 1)
    alone = paired_difference([1.0, 2.0], [5.0, 6.0], ["a", "a"])
    assert (alone.mean, alone.low, alone.high, alone.p_value) == (4.0, None, None, 1.0)


def test_windows_without_a_value_are_left_out_of_both() -> None:
    found = estimate([1.0, None, 3.0, None], ["a", "a", "b", "c"])
    assert (found.mean, found.clips, found.windows) == (2.0, 2, 2)
    apart = paired_difference([1.0, None, 3.0, 7.0], [2.0, 9.0, None, 9.0], ["a", "a", "b", "c"])
    assert (apart.mean, apart.clips, apart.windows) == (1.5, 2, 2)


def test_results_are_functions_of_their_seed() -> None:
    assert estimate(FIRST, CLIPS, seed=5) == estimate(FIRST, CLIPS, seed=5)
    assert estimate(FIRST, CLIPS, seed=5) != estimate(FIRST, CLIPS, seed=6)
    many = np.random.default_rng(0).normal(0.1, 1.0, size=(2, 20)).tolist()
    ps = [paired_difference(*many, list(range(20)), seed=seed).p_value for seed in (1, 1, 2)]
    assert ps[0] == ps[1] != ps[2]


def test_p_is_the_share_of_sign_flips_by_clip_that_go_as_far() -> None:
    found = paired_difference(FIRST, SECOND, CLIPS)
    totals = {clip: sum(b - a for a, b, c in zip(FIRST, SECOND, CLIPS, strict=True) if c == clip) for clip in CLIPS}
    flipped = [abs(sum(s * t for s, t in zip(signs, totals.values(), strict=True))) for signs in product((1, -1), repeat=6)]
    assert found.p_value == np.mean(np.array(flipped) >= abs(sum(totals.values())) - 1e-12)
    assert found.mean == pytest.approx(np.mean(SECOND) - np.mean(FIRST))
    assert paired_difference(SECOND, FIRST, CLIPS).mean == -found.mean
    assert paired_difference(SECOND, FIRST, CLIPS).p_value == found.p_value


@pytest.mark.parametrize("clips", [8, 16])
def test_p_is_scipys_where_every_window_is_a_clip(clips: int) -> None:
    """Exact below 14 clips; drawn above, to within what 10,000 draws allow."""
    first, second = np.random.default_rng(1).normal([[0.0], [0.5]], 1.0, size=(2, clips))
    reference = permutation_test(
        (second, first), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=2**17, vectorized=False
    )
    found = paired_difference(first.tolist(), second.tolist(), list(range(clips)))
    assert found.p_value == pytest.approx(reference.pvalue, abs=1e-12 if clips == 8 else 0.02)


def test_differences_of_rounding_size_do_not_decide_a_tie() -> None:
    """All clips differ by 0.1 written differently: the only flips as far are none and all."""
    second = [0.1, 1.1, 2.1, 100.1, 3.1, 7.1]
    found = paired_difference([0.0, 1.0, 2.0, 100.0, 3.0, 7.0], second, list(range(6)))
    assert found.p_value == 2 / 2**6
    assert found.significant()
    assert not found.significant(level=0.99)
    same = paired_difference(second, second, list(range(6)))
    assert (same.mean, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_what_is_certain_over_many_clips_has_a_small_p_that_is_not_zero() -> None:
    found = paired_difference([0.0] * 100, [1.0] * 100, list(range(100)))
    assert found.p_value == pytest.approx(1 / 10_001)


def test_equal_evaluations_are_called_different_about_as_often_as_the_level_allows() -> None:
    rng = np.random.default_rng(2)
    clips = [clip for clip in range(9) for _ in range(3)]
    alarms = 0
    for _ in range(200):
        apart = np.repeat(rng.normal(size=9), 3) + 0.1 * rng.normal(size=27)
        alarms += paired_difference([0.0] * 27, apart.tolist(), clips, resamples=2).significant(level=0.9)
    assert 0.04 < alarms / 200 < 0.17  # 0.1, binomial ± 0.065 at three sigma; by window it would be over 0.3


@pytest.mark.parametrize(
    ("values", "clips", "said"),
    [
        ([], [], "none of 0 windows has a value"),
        ([None, None], ["a", "b"], "none of 2 windows has a value"),
        ([1.0, 2.0], ["a"], "got 2 values and 1 clips"),
        ([1.0, float("nan"), float("inf")], ["a", "b", "c"], "2 of 3 values are not finite"),
    ],
)
def test_what_has_no_mean_is_refused(values: list, clips: list, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        estimate(values, clips)
    with pytest.raises(InvalidInput, match=said):
        paired_difference(values, values, clips)


def test_what_cannot_be_paired_or_has_no_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match="the same windows, got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0], ["a", "b"])
    with pytest.raises(InvalidInput, match=r"0 < level < 1 and resamples >= 1, got 95 and 2000"):
        estimate([1.0], ["a"], level=95)


def test_the_interval_of_any_worth_is_that_of_a_mean_for_a_mean() -> None:
    values = np.random.default_rng(3).normal(2.0, 1.0, 40)
    clips = [f"scene {k // 4}" for k in range(40)]
    assert estimate_of(lambda places: float(np.mean(values[places])), clips) == pytest.approx(estimate(values.tolist(), clips))
