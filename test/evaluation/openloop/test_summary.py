"""Figures of an evaluation: every metric is described, estimated by clip, and compared on the windows that both have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, REJECTED_BY, made_bag, made_evaluation

from alpamayo_ros.evaluation.metrics import HORIZONS_S, by_horizon
from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, Evaluation
from alpamayo_ros.evaluation.openloop.summary import LATENCY, METRICS, Summary, columns, grouped, summarise, timing
from alpamayo_ros.evaluation.statistics import estimate

PAGE = Path(__file__).parents[3] / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made_evaluation(bags=2, windows=50)


@pytest.fixture(scope="module")
def summary(evaluation: Evaluation) -> Summary:
    return summarise(evaluation, {BUNDLE: 20.0})


def test_every_number_of_a_window_is_described_and_nothing_else(evaluation: Evaluation) -> None:
    assert set(METRICS) == {*evaluation.windows[0].metrics[BUNDLE].values(), "rejected_share"}
    for name, metric in METRICS.items():
        assert all(metric), f"{name}: {metric}"


def test_every_metric_has_a_row_with_unit_formula_and_source_in_the_page() -> None:
    """Metrics at horizons share a row, as `ade_<h>`."""
    lines = PAGE.read_text().splitlines()
    for name, metric in METRICS.items():
        shown = next((name.removesuffix(end) + "_<h>" for h in HORIZONS_S if name.endswith(end := by_horizon("", h))), name)
        rows = [line for line in lines if line.startswith(f"| `{shown}` |")]
        assert len(rows) == 1, f"docs/evaluation.md: want one row of {shown}, got {len(rows)}"
        unit, better, formula, source = (cell.strip() for cell in rows[0].split("|")[2:-1])
        assert (unit, better, source) == (metric.unit, metric.better, metric.source), name
        assert formula, name


def test_a_name_that_windows_do_not_have_is_an_error_and_no_empty_column(
    evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpamayo_ros.evaluation.openloop.summary.METRICS", {"ade_6.4s": METRICS["ade_6_4s"]})
    with pytest.raises(KeyError, match=r"ade_6\.4s"):
        columns(evaluation.windows, BUNDLE)


@pytest.mark.parametrize(
    ("reason", "group"),
    [
        ("plan is -12.5e-3 m", "plan is # m"),
        ("no pose at t0-0.3 s, front_tele 210 ms", "no pose at t# s, front_tele # ms"),
        ("after [256] tokens", "after [#] tokens"),
    ],
)
def test_reasons_that_differ_in_numbers_are_one(reason: str, group: str) -> None:
    assert grouped(reason) == group


def test_estimates_are_those_of_the_statistics_over_clips(evaluation: Evaluation, summary: Summary) -> None:
    values = [window.metrics[BUNDLE].values()["ade_6_4s"] for window in evaluation.windows]
    clips = [window.clip for window in evaluation.windows]
    assert summary.first.estimates["ade_6_4s"] == estimate(values, clips)
    assert summary.clips == len(set(clips))


def test_bags_of_the_same_name_are_different_clips() -> None:
    one, two = made_bag("drive", 30, seed=0), made_bag("drive", 30, seed=1)
    assert {w.clip for w in one.windows} == {w.clip for w in two.windows}, "the same names, or this shows nothing"
    both = replace(made_evaluation(1, 1), bags=(one, two))
    assert summarise(both).clips == 2 * len({w.clip for w in one.windows})


def test_the_wrong_planners_are_significantly_worse_on_the_windows_that_both_have(summary: Summary) -> None:
    blanked = next(c for c in summary.contenders if c.name == BUNDLE + BLANKED)
    difference = blanked.differences["ade_3s"]
    assert difference is not None
    assert difference.mean > 0
    assert difference.low is not None
    assert difference.low > 0
    assert difference.windows < summary.windows, "it refused some"
    assert summary.first.differences == {}


def test_refusals_are_counted_by_reason_without_its_numbers(summary: Summary) -> None:
    blanked = summary.contenders[1]
    assert sum(blanked.refused.values()) + blanked.plans == summary.windows
    assert list(blanked.refused) == ["engine output is incomplete: no trajectory was asked for after [#] tokens"]


def test_plans_that_checks_reject_are_counted_by_check_once_in_the_share_and_scored_like_all(
    evaluation: Evaluation, summary: Summary
) -> None:
    rejected = [BUNDLE in window.rejected for window in evaluation.windows]
    assert 0 < sum(rejected) < len(rejected)
    assert summary.first.rejected == dict.fromkeys(REJECTED_BY, sum(rejected))
    assert summary.first.mean("rejected_share") == pytest.approx(np.mean(rejected))
    assert summary.contenders[-1].mean("rejected_share") == 0.0
    scored = summary.first.estimates["comfort"]
    assert scored is not None
    assert scored.windows == summary.windows
    blanked = columns(evaluation.windows, BUNDLE + BLANKED)["rejected_share"]
    assert blanked.count(None) == sum(summary.contenders[1].refused.values()), "no plan, no share"


def test_what_no_window_has_is_none_and_nothing_breaks() -> None:
    short = replace(made_evaluation(1, 1), bags=(made_bag("short", 5, seed=0, known_points=4),))
    summary = summarise(short)
    assert summary.whole == 0
    assert summary.first.estimates["ade_0_5s"] is None
    assert summary.first.mean("ade_6_4s") is None
    assert summary.first.estimates["comfort"] is not None, "comfort needs no future"
    assert summary.contenders[-1].differences["ade_6_4s"] is None


def test_consistency_stands_beside_what_chance_gives(summary: Summary) -> None:
    own, kinematic = summary.first.consistency, summary.contenders[-1].consistency
    assert own.judged == summary.windows
    assert own.share == summary.first.mean("consistent")
    assert own.shuffled is not None
    assert own.shuffled != own.share
    assert kinematic == (None, None, 0), "its words name no decision"


def test_times_are_percentiles_of_plans_and_deadlines_count_the_engine_alone(evaluation: Evaluation, summary: Summary) -> None:
    plans = [window.plans[BUNDLE] for window in evaluation.windows]
    infer = [plan.stage_ms["infer"] for plan in plans]
    found = summary.timings[BUNDLE]
    assert found.stages["infer"].p95_ms == np.percentile(infer, 95)
    assert found.stages["infer"].max_ms == max(infer)
    assert found.missed == np.mean([ms > 20.0 for ms in infer])
    assert 0 < found.missed < 1
    whole = [plan.stage_ms["infer"] + plan.stage_ms["rollout"] + plan.stage_ms["reasoning"] for plan in plans]
    assert found.stages[LATENCY].p50_ms == pytest.approx(np.percentile(whole, 50))
    assert summary.timings[KINEMATIC].missed is None, "nobody said a deadline"


def test_plans_without_times_have_none() -> None:
    plan = replace(made_evaluation(1, 1).windows[0].plans[BUNDLE], stage_ms={})
    assert timing([plan], 500.0).stages == {}
    assert timing([plan], 500.0).missed is None
