"""Who knows everything gets full marks, who knows nothing does not, and the way between them is measured."""

from dataclasses import replace

import numpy as np
import pytest
from training.exam.examinees import kinematic, known, unknown
from training.exam.test_asked import told

from alpamayo_ros.reasoning import shuffled_consistency
from alpamayo_ros.training.exam import marks
from alpamayo_ros.training.exam.answered import Answer
from alpamayo_ros.types import Decision, Maneuver


def mean(values: marks.Values) -> float:
    return float(np.mean([value for value in values if value is not None]))


def test_who_knows_everything_gets_full_marks() -> None:
    assert marks.decides_right(known()) == [1.0] * len(known())
    assert mean(marks.ade_1_m(known())) < 0.3
    assert mean(marks.min_ade_6_m(known())) == pytest.approx(mean(marks.ade_1_m(known())))
    assert mean(marks.is_consistent(known())) > 0.8


def test_who_says_nothing_decides_nothing_and_has_one_trajectory() -> None:
    assert marks.decides_right(kinematic()) == [0.0] * len(kinematic())
    assert marks.min_ade_6_m(kinematic()) == [None] * len(kinematic())
    assert marks.shuffled_consistency(kinematic()) is None


def test_a_window_without_a_plan_counts_against_what_is_decided_and_has_no_distance() -> None:
    half = len(known()) // 2
    mixed = [*unknown()[:half], *known()[half:]]
    assert mean(marks.decides_right(mixed)) == pytest.approx(1 - half / len(known()))
    assert marks.is_consistent(mixed)[:half] == [0.0] * half
    assert marks.ade_1_m(mixed) == [*[None] * half, *marks.ade_1_m(known())[half:]]
    assert marks.mean(marks.ade_1_m, unknown()) is None


def test_the_usual_decision_is_right_as_often_as_it_is_made() -> None:
    decisions = [answer.sitting.label.decision for answer in known()]
    assert mean(marks.says_the_usual(known())) == max(map(decisions.count, decisions)) / len(decisions)


CLIPS = ["a", "a", "b", "c", "c"]


def test_the_gap_is_closed_by_who_is_where_the_expert_is() -> None:
    far, near = [4.0, 6.0, 5.0, 7.0, 3.0], [1.0, 0.5, 1.5, 0.0, 2.0]
    all_of_it, none_of_it = marks.gap_closed(near, far, near, CLIPS), marks.gap_closed(far, far, near, CLIPS)
    assert all_of_it is not None
    assert none_of_it is not None
    assert (all_of_it.mean, all_of_it.low, all_of_it.high) == pytest.approx((1.0, 1.0, 1.0))
    assert (none_of_it.mean, none_of_it.low, none_of_it.high) == pytest.approx((0.0, 0.0, 0.0))
    middle = marks.gap_closed([(f + n) / 2 for f, n in zip(far, near, strict=True)], far, near, CLIPS)
    assert middle is not None
    assert middle.mean == pytest.approx(0.5)


def test_less_by_is_of_the_means_over_the_windows_that_both_have() -> None:
    less = marks.less_by([1.0, None, 2.0, 1.0, 5.0], [2.0, 9.0, 4.0, 6.0, None], CLIPS)
    assert less is not None
    assert less.mean == pytest.approx(1 - 4.0 / 12.0)
    assert less.windows == 3
    assert less.low is not None
    assert less.high is not None
    assert less.low <= less.mean <= less.high
    assert less.low == pytest.approx(0.5), "two of three scenes are halved, the third is less by more"
    assert marks.less_by([None], [1.0], ["a"]) is None


def test_one_scene_tells_of_no_other() -> None:
    alone = marks.less_by([1.0, 2.0], [2.0, 2.0], ["a", "a"])
    assert alone is not None
    assert (alone.mean, alone.low, alone.high) == (0.25, None, None)


def of_scenes(given: tuple[Answer, ...]) -> list[Answer]:
    """As if every third window were of another scene."""
    examples = [replace(answer.sitting.example, clip=f"scene {k // 3}") for k, answer in enumerate(given)]
    return [
        answer._replace(sitting=answer.sitting._replace(example=example))
        for answer, example in zip(given, examples, strict=True)
    ]


def saying_otherwise(answer: Answer) -> Answer:
    """The same plan, of somebody who says that he overtakes."""
    assert answer.plan is not None
    said = replace(answer.plan.reasoning, decision=Decision("acceleration_for_passing", "lane_keeping"))
    return answer._replace(plan=replace(answer.plan, reasoning=said))


def test_shuffled_consistency_is_that_of_reasoning() -> None:
    mixed = [saying_otherwise(answer) if k % 4 == 0 else answer for k, answer in enumerate(of_scenes(known()))]
    found = marks.shuffled_consistency(mixed)
    plans = [answer.plan for answer in mixed if answer.plan is not None]
    assert len(plans) <= 33, "of so few, that of reasoning takes all strangers"
    want = shuffled_consistency([made.reasoning.decision for made in plans], [made.meta_actions for made in plans], seed=0)
    assert found is not None
    assert found.mean == pytest.approx(want)
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low < found.mean < found.high <= 1.0


@pytest.mark.parametrize(
    ("maneuver", "driven_rad", "planned_rad", "want"),
    [
        ("turn_left", 1.2, 0.8, 1.0),
        ("turn_left", 1.2, 0.2, 0.0),
        ("turn_left", 1.2, -0.8, 0.0),
        ("turn_right", -1.2, -0.8, 1.0),
        ("turn_right", 0.0, -0.8, None),
        ("continue", 1.2, 1.2, None),
        (None, 1.2, 1.2, None),
    ],
)
def test_a_junction_command_is_obeyed_by_the_heading_at_the_end(
    maneuver: Maneuver | None, driven_rad: float, planned_rad: float, want: float | None
) -> None:
    answer = known()[0]
    assert answer.plan is not None
    sitting = told(answer.sitting, maneuver, driven_rad)
    trajectory = replace(answer.plan.trajectory, yaw_rad=np.linspace(0.0, planned_rad, 64))
    planned = Answer(sitting, replace(answer.plan, trajectory=trajectory), None)
    assert marks.obeys([planned, Answer(sitting, None, None)]) == [want, None if want is None else 0.0]
