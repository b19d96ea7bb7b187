"""The gate: what a condition means, when it fails, and what it refuses to compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.openloop.made import BUNDLE, MEASURED, made_evaluation

from alpamayo_ros.evaluation.openloop.gate import Condition, Measured, Verdict, judge, parse, read_baseline
from alpamayo_ros.evaluation.openloop.results import BagEvaluation, Evaluation, Window
from alpamayo_ros.evaluation.openloop.storage import VERSION, TimingFile, evaluation_file, write_file
from alpamayo_ros.evaluation.openloop.summary import StageTiming, Timing, summarise
from alpamayo_ros.evaluation.statistics import paired_difference
from alpamayo_ros.types import InvalidInput, Plan


def timing(infer_p95_ms: float, host: str = "one") -> TimingFile:
    stages = {"infer": StageTiming(1.0, infer_p95_ms, 90.0, 100.0), "latency": StageTiming(2.0, infer_p95_ms, 91.0, 101.0)}
    measured = {"bag_0": MEASURED._replace(host=host), "bag_1": MEASURED._replace(host=host, date="2026-01-02T00:00:00+00:00")}
    return TimingFile(VERSION, measured, {}, {BUNDLE: Timing(9, stages, 500.0, 0.25)})


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
    return replace(made_evaluation(bags=2, windows=30), broken={})


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
        ("foo_p95_ms>3", "no metric foo_p95_ms"),
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
    found = paired_difference(list(before.values()), list(now.values()), [baseline.clips[window] for window in before])
    change = 100 * (worse.value("ade_3s") / baseline.value("ade_3s") - 1)
    assert verdict.text == (
        f"FAILED ade_3s of made: baseline {baseline.value('ade_3s'):.4g}, here {worse.value('ade_3s'):.4g} "
        f"({change:+.3g} %, fails > +2 %), p = {found.p_value:.2g} over {found.clips} clips, {found.windows} windows"
    )


def test_bags_in_another_order_are_paired_all_the_same(evaluation: Evaluation, worse: Measured, baseline: Measured) -> None:
    turned = measured(replace(evaluation, bags=evaluation.bags[::-1]))
    (straight,), (other) = judge([parse("ade_3s>+2%")], worse, baseline), judge([parse("ade_3s>+2%")], worse, turned)
    assert other[0] == straight
    assert "p = " in straight.text


def test_a_contender_that_skips_its_worst_windows_is_no_better_and_fails(evaluation: Evaluation, baseline: Measured) -> None:
    def skips(bag: BagEvaluation) -> BagEvaluation:
        errors = [ade for w in bag.windows if (ade := w.metrics[BUNDLE].ade_m[-1]) is not None]
        bad = [w for w in bag.windows if (w.metrics[BUNDLE].ade_m[-1] or 0.0) > np.median(errors)]
        skipped = {w.t0_ns: replace(w, plans={}, refused={BUNDLE: "timeout"}, deviations_m={}) for w in bad}
        return replace(bag, windows=tuple(skipped.get(w.t0_ns, w) for w in bag.windows))

    here = measured(replace(evaluation, bags=tuple(map(skips, evaluation.bags))))
    lost = len(baseline.column("comfort")) - len(here.column("comfort"))
    assert here.value("ade_6_4s") < 0.95 * baseline.value("ade_6_4s"), "the mean of what is left looks better"
    ade, planned, windows = judge([parse("ade_6_4s<-1%"), parse("planned<-0.05")], here, baseline)
    mean = f"{here.value('ade_6_4s'):.4g}"
    assert ade.text.startswith(
        f"passed ade_6_4s of made: baseline {mean}, here {mean} (+0 %, fails < -1 %), p = 1 over 2 clips"
    )
    assert ade.text.endswith(f"that both have (left out: {lost} of {len(baseline.column('ade_6_4s'))} of the baseline)")
    assert planned.failed
    assert windows == Verdict(f"FAILED windows: {lost} of the baseline's 60 windows have no plan here", failed=True)


def test_bags_that_are_not_there_or_broken_fail_and_new_ones_do_not(evaluation: Evaluation, baseline: Measured) -> None:
    one = replace(evaluation, bags=evaluation.bags[1:], broken={"bag_0": "damaged"})
    ade, bags, windows = judge([parse("ade_3s>+2%")], measured(one), baseline)
    assert not ade.failed
    assert bags == Verdict("FAILED bags: 1 of 2 could not be evaluated: bag_0", failed=True)
    assert windows.text == "FAILED windows: 30 of the baseline's 60 windows have no plan here"
    (more,) = judge([parse("ade_3s>+2%")], baseline, measured(replace(one, broken={})))
    assert not more.failed
    assert f"left out: {len(baseline.column('ade_3s')) // 2} of {len(baseline.column('ade_3s'))} here" in more.text
    (absolute, broken) = judge([parse("ade_3s>100")], measured(one), None)
    assert (absolute.failed, broken.failed) == (False, True)
    assert judge([], measured(one), None) == []


def test_nothing_in_common_fails(evaluation: Evaluation, baseline: Measured) -> None:
    others = measured(replace(made_evaluation(bags=1, windows=30, seed=7), broken={}))
    ade, windows = judge([parse("ade_3s>+2%")], others, baseline)
    assert ade.failed
    assert "FAILED ade_3s of made: no window in common" in ade.text
    assert "60 of the baseline's 60" in windows.text


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
    with pytest.raises(InvalidInput, match="--against wants --fail-on"):
        judge([], worse, baseline)


def test_what_was_not_measured_never_passes(evaluation: Evaluation, baseline: Measured) -> None:
    bags = tuple(replace(bag, windows=bag.windows[-2:]) for bag in evaluation.bags)  # no future is known to 6.4 s
    short = measured(replace(evaluation, bags=bags))
    (absolute,) = judge([parse("ade_6_4s>2")], short, None)
    assert absolute == Verdict("FAILED ade_6_4s of made: no value in any of 4 windows", failed=True)
    (relative, *_) = judge([parse("ade_6_4s>+2%")], short, baseline)
    assert relative.failed
    (stage,) = judge([parse("rollout_p95_ms>9")], baseline, None)
    assert stage.text == "FAILED rollout_p95_ms of made: no stage rollout was measured, these were: infer, latency"


def test_a_percentage_of_nothing_fails(evaluation: Evaluation, baseline: Measured) -> None:
    def straight(window: Window) -> Window:
        plan, known = window.plans[BUNDLE], window.driven
        xyz = np.vstack([known.xyz, plan.trajectory.xyz[len(known.xyz) :]])
        return replace(window, plans={**window.plans, BUNDLE: replace(plan, trajectory=replace(plan.trajectory, xyz=xyz))})

    bags = tuple(replace(bag, windows=tuple(map(straight, bag.windows))) for bag in evaluation.bags)
    perfect = measured(replace(evaluation, bags=bags))
    (verdict,) = judge([parse("missed>+2%")], baseline, perfect)
    assert verdict.failed
    assert "it is 0 in the baseline, which has no percentage" in verdict.text


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


def test_times_of_two_hosts_are_not_those_of_one(baseline: Measured, worse: Measured) -> None:
    assert baseline.timing is not None
    mixed = {**baseline.timing.measured, "bag_1": MEASURED._replace(host="two", gpu="GPU A")}
    (same,) = judge([parse("infer_p95_ms>+10%")], worse, replace(baseline, timing=timing(50.0)))
    assert same.text.endswith(", same host"), "on another day"
    both = replace(baseline, timing=replace(baseline.timing, measured=mixed))
    (verdict,) = judge([parse("infer_p95_ms>+10%")], both, both)
    assert "NOT THE SAME HOST: baseline one, GPU none and two, GPU GPU A; here one" in verdict.text
