"""The gate: what a condition means, when it fails, and what it refuses to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, made_evaluation

from alpamayo_ros.evaluation.openloop.gate import Condition, Measured, judge, parse, read_baseline
from alpamayo_ros.evaluation.openloop.results import Evaluation
from alpamayo_ros.evaluation.openloop.storage import VERSION, TimingFile, evaluation_file, write_file
from alpamayo_ros.evaluation.openloop.summary import StageTiming, Timing, summarise
from alpamayo_ros.evaluation.statistics import Estimate, paired_difference
from alpamayo_ros.types import InvalidInput, Plan


def timing(infer_p95_ms: float, host: str = "one") -> TimingFile:
    stages = {"infer": StageTiming(1.0, infer_p95_ms, 90.0, 100.0), "latency": StageTiming(2.0, infer_p95_ms, 91.0, 101.0)}
    return TimingFile(VERSION, "2026-01-01T00:00:00+00:00", host, "none", {}, {BUNDLE: Timing(9, stages, 500.0, 0.25)})


def measured(evaluation: Evaluation, times: TimingFile | None = None) -> Measured:
    return Measured(evaluation_file(evaluation, summarise(evaluation)), times or timing(50.0))


def with_plans(evaluation: Evaluation, changed: Callable[[Plan], Plan]) -> Evaluation:
    bags = tuple(
        replace(bag, windows=tuple(replace(w, plans={**w.plans, BUNDLE: changed(w.plans[BUNDLE])}) for w in bag.windows))
        for bag in evaluation.bags
    )
    return replace(evaluation, bags=bags)


def moved(plan: Plan) -> Plan:
    """1 m further to the left: worse or better, but another plan."""
    return replace(plan, trajectory=replace(plan.trajectory, xyz=plan.trajectory.xyz + np.array([0.0, 1.0, 0.0])))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return made_evaluation(bags=2, windows=30)


@pytest.fixture(scope="module")
def baseline(evaluation: Evaluation) -> Measured:
    return measured(evaluation)


@pytest.fixture(scope="module")
def worse(evaluation: Evaluation) -> Measured:
    return measured(with_plans(evaluation, moved), timing(60.0))


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("ade_6_4s>+2%", Condition("ade_6_4s", ">", 2.0, "percent")),
        (" comfort < -0.01 ", Condition("comfort", "<", -0.01, "difference")),
        ("missed>0.1", Condition("missed", ">", 0.1, "value")),
        ("planned<1", Condition("planned", "<", 1.0, "value")),
        ("latency_p95_ms>+10%", Condition("latency_p95_ms", ">", 10.0, "percent")),
        ("fde_6_4s>+.5e-3", Condition("fde_6_4s", ">", 0.0005, "difference")),
    ],
)
def test_a_condition_says_metric_side_and_limit(text: str, condition: Condition) -> None:
    assert parse(text) == condition


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ade_6_4>+2%", "no metric ade_6_4; did you mean ade_6_4s"),
        ("latency_p96_ms>3", "no metric latency_p96_ms; did you mean latency_p95_ms"),
        ("ade_6_4s>2%", "want a sign before a percentage"),
        ("ade_6_4s=2", "want METRIC>LIMIT"),
        ("ade_6_4s>", "want METRIC>LIMIT"),
        ("ade_6_4s>nan", "want METRIC>LIMIT"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        parse(text)


def test_each_kind_of_limit_fails_on_its_side_only(baseline: Measured, worse: Measured) -> None:
    before, now = baseline.value("ade_3s"), worse.value("ade_3s")
    percent = 100 * (now - before) / before
    assert percent > 10
    expected = {
        "ade_3s>+10%": True,
        f"ade_3s>+{percent + 1:.6f}%": False,
        "ade_3s<+10%": False,
        f"ade_3s>+{now - before + 0.01:.6f}": False,
        f"ade_3s>+{now - before - 0.01:.6f}": True,
        f"ade_3s>{now - 0.01:.6f}": True,
        f"ade_3s>{now + 0.01:.6f}": False,
        "ade_3s<-1%": False,
        "planned<1": False,
        "deadline_misses>0.2": True,
    }
    verdicts = judge([parse(text) for text in expected], worse, baseline)
    assert [verdict.failed for verdict in verdicts] == list(expected.values())
    for verdict in verdicts:
        assert verdict.text.startswith("FAILED" if verdict.failed else "passed")


def test_the_same_evaluation_passes(baseline: Measured) -> None:
    (verdict,) = judge([parse("ade_3s>+0%")], baseline, baseline)
    assert not verdict.failed
    assert "p = 1 over 2 clips" in verdict.text


def test_a_line_has_both_values_the_limit_and_how_surprising_it_is(baseline: Measured, worse: Measured) -> None:
    (verdict,) = judge([parse("ade_3s>+2%")], worse, baseline)
    before, now = baseline.column("ade_3s"), worse.column("ade_3s")
    found = paired_difference(list(before.values()), list(now.values()), baseline.clips)
    change = 100 * (worse.value("ade_3s") / baseline.value("ade_3s") - 1)
    assert verdict.text == (
        f"FAILED ade_3s of made: baseline {baseline.value('ade_3s'):.4g}, here {worse.value('ade_3s'):.4g} "
        f"({change:+.3g} %, fails > +2 %), p = {found.p_value:.2g} over {found.clips} clips, {found.windows} windows"
    )


def test_bags_in_another_order_are_paired_all_the_same(evaluation: Evaluation, worse: Measured, baseline: Measured) -> None:
    turned = measured(replace(evaluation, bags=evaluation.bags[::-1]))
    (straight,), (other) = judge([parse("ade_3s>+2%")], worse, baseline), judge([parse("ade_3s>+2%")], worse, turned)
    assert other[0].text.rpartition(",")[2] == straight.text.rpartition(",")[2]
    assert "p = " in other[0].text


def test_other_bags_are_not_paired_and_it_is_said_loudly(baseline: Measured) -> None:
    others = measured(made_evaluation(bags=2, windows=30, seed=1))
    (verdict,) = judge([parse("ade_3s>+2%")], others, baseline)
    assert "NOT PAIRED: 1 of 2 bags of the baseline are not here, 1 of 2 bags here are not there" in verdict.text


def test_other_windows_of_the_same_bags_are_not_paired(evaluation: Evaluation, baseline: Measured) -> None:
    fewer = replace(evaluation, bags=tuple(replace(bag, windows=bag.windows[1:]) for bag in evaluation.bags))
    (verdict,) = judge([parse("ade_3s>+2%")], measured(fewer), baseline)
    assert "NOT PAIRED: 2 of 60 windows of the baseline are not here, 0 of 58" in verdict.text


def test_another_setup_is_refused_by_field(evaluation: Evaluation, baseline: Measured) -> None:
    setup = evaluation.setup
    for other, says in {
        replace(setup, rate_hz=4.0): "rate_hz: baseline 2.0, here 4.0",
        replace(setup, request=replace(setup.request, samples=1)): "request.samples: baseline 6, here 1",
    }.items():
        with pytest.raises(InvalidInput, match=says):
            judge([parse("ade_3s>+2%")], measured(replace(evaluation, setup=other)), baseline)


def test_the_content_of_a_rig_counts_not_its_name_alone(evaluation: Evaluation) -> None:
    before, now = (
        measured(replace(evaluation, provenance={"rig seven_camera": digest, "profile of made": "c"})) for digest in ("a", "b")
    )
    with pytest.raises(InvalidInput, match="rig: baseline"):
        judge([parse("ade_3s>+2%")], now, before)


def test_a_relative_condition_wants_a_baseline_and_an_absolute_one_does_not(worse: Measured) -> None:
    with pytest.raises(InvalidInput, match=r"ade_3s>\+2 % wants a baseline: pass --against"):
        judge([parse("ade_3s>+2%")], worse, None)
    assert not judge([parse("ade_3s>100")], worse, None)[0].failed


def test_what_was_not_measured_never_passes(evaluation: Evaluation, baseline: Measured) -> None:
    bags = tuple(replace(bag, windows=bag.windows[-2:]) for bag in evaluation.bags)  # no future is known to 6.4 s
    with pytest.raises(InvalidInput, match="ade_6_4s of made has no value in any of 4 windows"):
        judge([parse("ade_6_4s>+2%")], measured(replace(evaluation, bags=bags)), baseline)


def test_a_percentage_of_nothing_is_refused(baseline: Measured, worse: Measured) -> None:
    contender = baseline.figures.contenders[0]
    estimates = {**contender.estimates, "missed": Estimate(0.0, None, None, 1, 9)}
    zero = replace(baseline.figures, contenders=(replace(contender, estimates=estimates),))
    with pytest.raises(InvalidInput, match="missed is 0 in the baseline"):
        judge([parse("missed>+2%")], worse, replace(baseline, figures=zero))


def test_times_are_compared_with_the_file_beside_the_baseline(
    evaluation: Evaluation, baseline: Measured, worse: Measured, tmp_path: Path
) -> None:
    conditions = [parse("infer_p95_ms>+10%")]
    write_file(baseline.figures, tmp_path / "baseline.json")
    with pytest.raises(InvalidInput, match=r"timing\.json: no such file"):
        read_baseline(tmp_path / "baseline.json", conditions)
    write_file(timing(50.0, host="two"), tmp_path / "timing.json")
    (verdict,) = judge(conditions, worse, read_baseline(tmp_path / "baseline.json", conditions))
    assert verdict.failed
    assert "baseline 50, here 60 (+20 %, fails > +10 %), NOT THE SAME HOST: baseline two" in verdict.text
    with pytest.raises(InvalidInput, match="has no stage brake, it has infer, latency"):
        judge([parse("brake_p95_ms>1")], worse, None)
