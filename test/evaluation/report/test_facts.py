"""What the report claims: the cameras matter only where that is significant, and the figures are those of the summary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evaluation.openloop.made import BUNDLE, made_evaluation

from alpamayo_ros.evaluation.openloop.results import BLANKED, KINEMATIC, Evaluation, Window
from alpamayo_ros.evaluation.openloop.summary import METRICS, summarise
from alpamayo_ros.evaluation.report.facts import facts, told
from alpamayo_ros.evaluation.report.pictures import worst
from alpamayo_ros.evaluation.report.tables import KEY, number, rows

BLIND = BUNDLE + BLANKED


def many_clips(evaluation: Evaluation) -> Evaluation:
    """Every two windows are a clip of their own."""
    (bag,) = evaluation.bags
    windows = tuple(replace(window, clip=f"clip/{i // 2}") for i, window in enumerate(bag.windows))
    return replace(evaluation, bags=(replace(bag, windows=windows),))


def with_blind_plans_of(evaluation: Evaluation, contender: str) -> Evaluation:
    """The blanked bundle, and the sighted one, plan as `contender` and as the blanked one do."""
    (bag,) = evaluation.bags
    windows = []
    for window in (w for w in bag.windows if BLIND in w.plans):
        plans = dict(window.plans) | {BUNDLE: window.plans[BLIND], BLIND: window.plans[contender]}
        windows.append(replace(window, plans=plans))
    return replace(evaluation, bags=(replace(bag, windows=tuple(windows)),))


def weighted(evaluation: Evaluation, kind: str) -> Evaluation:
    """All contenders have weights of a kind."""
    bags = tuple(replace(bag, weights=dict.fromkeys(bag.weights, kind)) for bag in evaluation.bags)
    return replace(evaluation, bags=bags)


@pytest.fixture(scope="module")
def made() -> Evaluation:
    return weighted(many_clips(made_evaluation(bags=1, windows=36)), "trained")


@pytest.mark.parametrize(
    ("blind_plans", "lead", "side"),
    [
        ("kinematic", "It uses its cameras:", "more"),
        (BLIND, "Not shown to use its cameras:", ""),
        (BUNDLE, "It drives better blind:", "less"),
    ],
)
def test_the_sentence_about_cameras_is_what_the_difference_says(
    made: Evaluation, blind_plans: str, lead: str, side: str
) -> None:
    summary = summarise(with_blind_plans_of(made, blind_plans))
    sentence = facts(with_blind_plans_of(made, blind_plans), summary).shortcut[0]
    assert sentence.startswith(lead)
    apart = next(judged for judged in summary.contenders if judged.name == BLIND).differences["ade_6_4s"]
    assert apart is not None
    assert f"{abs(apart.mean):.2f} m {side}" in sentence
    assert f"{apart.windows} windows of {apart.clips} clips" in sentence


def test_a_bundle_without_cameras_is_not_judged_by_them(made: Evaluation) -> None:
    (bag,) = made.bags
    windows = tuple(
        replace(w, plans={KINEMATIC: w.plans[KINEMATIC]}, refused={}, deviations_m={KINEMATIC: None}) for w in bag.windows
    )
    found = replace(made, bags=(replace(bag, windows=windows, weights={KINEMATIC: "none"}),))
    assert facts(found, summarise(found)).shortcut == ()


def test_the_best_of_six_equal_paths_is_marked(made: Evaluation) -> None:
    (bag,) = made.bags

    def six(window: Window) -> Window:
        plan = window.plans[KINEMATIC]
        same = replace(plan, candidates=plan.candidates * 6, scores=plan.scores * 6)
        return replace(window, plans={**window.plans, KINEMATIC: same})

    summary = summarise(replace(made, bags=(replace(bag, windows=tuple(map(six, bag.windows))),)))
    ade, best = rows(summary, ["ade_6_4s", "min_ade_6_6_4s"])
    assert [cell.aside for cell in best.cells] == ["", "", "one path"]
    assert [cell.aside for cell in ade.cells] == ["", "", ""]


def test_a_row_says_of_how_many_windows_its_means_are(made: Evaluation) -> None:
    summary = summarise(made)
    near, far = rows(summary, ["ade_1s", "ade_6_4s"])
    assert far.windows == summary.whole < near.windows < summary.windows


def test_fewer_than_six_clips_are_said_to_be_too_few() -> None:
    few = weighted(made_evaluation(bags=1, windows=30), "trained")
    found = facts(few, summarise(few))
    assert "fewer than 6 clips cannot" in found.shortcut[0]
    assert all(cell.reading in ("", "alike") for row in found.every for cell in row.cells)
    assert any("with fewer than 6 no difference can be significant" in note for note in found.notes)


def test_every_metric_of_every_contender_is_in_the_table_with_its_interval(made: Evaluation) -> None:
    summary = summarise(made)
    table = {row.name: row for row in rows(summary, METRICS)}
    assert set(KEY) <= set(table) == set(METRICS)
    for judged, cell in zip(summary.contenders, table["ade_6_4s"].cells, strict=True):
        estimate = judged.estimates["ade_6_4s"]
        assert estimate is not None
        assert estimate.low is not None
        assert estimate.high is not None
        assert cell.value == f"{estimate.mean:.2f}"
        assert cell.interval == f"[{estimate.low:.2f}, {estimate.high:.2f}]"
    comfort = table["comfort"].cells
    assert comfort[0].value == f"{100 * (summary.first.mean('comfort') or 0):.1f}"
    assert comfort[2].reading == "worse", "higher is better, the kinematic baseline has less"
    assert table["ade_6_4s"].cells[1].reading == "worse", "lower is better, the blanked bundle has more"
    assert table["min_ade_6_6_4s"].cells[2].value == "–", "the baseline draws no six"


def test_consistency_stands_beside_what_chance_gives(made: Evaluation) -> None:
    summary = summarise(made)
    (row,) = rows(summary, ["consistent"])
    shuffled = summary.first.consistency.shuffled
    assert shuffled is not None
    assert row.cells[0].aside == f"by chance {100 * shuffled:.1f}; {summary.first.consistency.judged} traces decide"


@pytest.mark.parametrize(("kind", "warning"), [("untrained", "UNTRAINED"), ("none", "NO MODEL"), ("released", "")])
def test_weights_that_say_nothing_are_warned_of(made: Evaluation, kind: str, warning: str) -> None:
    found = facts(other := weighted(made, kind), summarise(other))
    assert found.warning.startswith(warning)
    assert bool(found.warning) == bool(warning)
    assert (found.shortcut == ("No verdict: untrained weights.",)) == (kind == "untrained")
    assert any("stars tell that two planners differ" in note for note in found.notes) == (kind == "untrained")


def test_what_takes_no_part_in_drawing_words_is_no_parameter(made: Evaluation) -> None:
    drawn = replace(made.setup, request=replace(made.setup.request, greedy=False, steps=7))
    greedy, drawing = (dict(facts(e, summarise(e)).parameters) for e in (made, replace(made, setup=drawn)))
    assert drawing.keys() - greedy.keys() == {"request: temperature", "request: top_p"}
    assert (greedy["request: steps"], drawing["request: steps"]) == ("the checkpoint's own", "7")


def test_a_bad_window_is_told_with_its_numbers(made: Evaluation) -> None:
    bad = worst(made)[0]
    account = told(bad, made.contenders)
    plan, lines = bad.window.plans[BUNDLE], dict(account.lines)
    assert account.trace == plan.reasoning.text
    assert f"ADE {bad.ade_m:.2f} m" in lines["error"]
    assert "kinematic" in lines["ADE of others"]
    assert len(lines["meta-actions"].split(", ")) == len(plan.meta_actions)


def test_numbers_have_a_real_minus_and_no_minus_zero() -> None:
    assert [number(-1.25, 1), number(-0.001, 2), number(0.5, 1, sign=True)] == ["−1.2", "0.00", "+0.5"]
