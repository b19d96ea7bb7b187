"""Every number that issue 7 asks for is told with its goal, and who knows everything meets what can be met."""

from dataclasses import replace
from functools import cache

import pytest
from training.exam.examinees import kinematic, known, unknown
from training.exam.test_marks import of_scenes

from alpamayo_ros.evaluation.statistics import Estimate
from alpamayo_ros.training.exam.report import Answered, Figure, Goal, figures, markdown, parts
from alpamayo_ros.types import Decision


def answered_by(given: tuple, control: tuple) -> Answered:
    wise, blind = of_scenes(given), of_scenes(control)
    return Answered(wise, wise, blind, [], of_scenes(kinematic()), blind, {"light": [(wise[0], wise[1]), (wise[0], blind[1])]})


@cache
def wise() -> Answered:
    return answered_by(known(), kinematic())


@cache
def by_name() -> dict[str, Figure]:
    return {figure.name: figure for figure in figures(wise())}


def met(name: str) -> bool | None:
    return by_name()[name].told().get("met")


def test_who_knows_everything_meets_what_the_scene_can_show() -> None:
    assert met("gap from kinematic to expert closed")
    assert met("minADE_6 below kinematic's ADE by")
    assert met("decision right, all windows")
    assert met("ADE_1 below that with blanked cameras by")
    assert met("ADE_1 below the control trained blind by")
    assert met("ADE_1 below the control trained blind by, red light")


def test_what_no_window_shows_has_no_value_and_meets_no_goal() -> None:
    lead = by_name()["ADE_1 below the control trained blind by, lead"].told()
    assert (lead["mean"], lead["met"]) == (None, False)
    assert met("junction commands obeyed") is False


def test_who_never_plans_meets_nothing_but_what_is_not_said_cannot_agree_by_chance() -> None:
    missed = [figure.told() for figure in figures(answered_by(unknown(), kinematic()))]
    assert not any(each.get("met", False) for each in missed)
    [without] = [each for each in missed if each["name"] == "windows without a plan"]
    assert without["mean"] == 1.0


def test_a_pair_is_right_where_both_of_its_windows_are() -> None:
    right, both = by_name()["light pairs: decision right"].got, by_name()["light pairs: right in both windows"].got
    assert right is not None
    assert both is not None
    assert (right.mean, right.windows) == (0.75, 4)
    assert (both.mean, both.windows) == (0.5, 2)


@pytest.mark.parametrize(
    ("goal", "mean", "low", "want"),
    [
        (Goal("at least", 0.5), 0.5, 0.3, True),
        (Goal("at least", 0.5), 0.49, 0.3, False),
        (Goal("at most", 0.4), 0.4, 0.3, True),
        (Goal("at most", 0.4), 0.41, 0.3, False),
        (Goal("above", 0.0), 0.2, 0.01, True),
        (Goal("above", 0.0), 0.2, -0.01, False),
        (Goal("above", 0.0), 0.2, None, False),
    ],
)
def test_a_goal_is_met_by_the_mean_and_a_harm_by_the_whole_interval(
    goal: Goal, mean: float, low: float | None, want: bool
) -> None:
    assert Figure("any", Estimate(mean, low, 0.9, 5, 50), goal).told()["met"] is want


def test_shuffled_consistency_has_a_goal_among_balanced_windows_only() -> None:
    balanced = [a._replace(sitting=a.sitting._replace(label=replace(a.sitting.label, is_balanced=True))) for a in wise().model]
    told = {figure.name: figure.goal for figure in figures(replace(wise(), model=balanced))}
    assert told["shuffled consistency, all windows"] is None
    assert told["shuffled consistency, balanced windows"] == Goal("at most", 0.4)


def test_without_a_control_nothing_is_said_of_one() -> None:
    assert not any("blind" in figure.name for figure in figures(replace(wise(), blind=(), pairs=None)))


def test_tables_show_every_figure_and_every_part() -> None:
    told = [figure.told() for figure in figures(wise())]
    page = markdown({"bundle": "wise", "about": {"windows": "some"}, "figures": told, "parts": parts(wise())})
    lines = page.splitlines()
    for each in told:
        [line] = [line for line in lines if line.startswith(f"| {each['name']} |")]
        assert line.count("|") == 7
        assert ("met" in line or "missed" in line) == ("goal" in each)
    assert any(line.startswith("| red_light | 12 |") for line in lines)
    usual = known()[0].sitting.label.decision
    assert usual == Decision("stop_for_static_constraints", "lane_keeping")
    assert any(line.startswith("| stop_for_static_constraints, lane_keeping |") for line in lines)
