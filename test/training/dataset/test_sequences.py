"""Navigation is left out for guidance by chance that is always the same; meta-actions are words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from training.dataset.made import START_NS, STOP, assert_equal, example

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset.sequences import drawn_question, drop_navigation, is_balanced, meta_action_words
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import Decision, MetaAction

MANY = 2000


@pytest.fixture(scope="module")
def made(profile: InputProfile) -> list[Example]:
    one = example(profile)
    clips = [f"clip-{k}" for k in range(MANY)]
    return [replace(one, clip=clip) for clip in clips]


def dropped(examples: list[Example], seed: int, epoch: int, probability: float = 0.2) -> list[bool]:
    return [drop_navigation(one, probability, seed, epoch).observation.navigation is None for one in examples]


def test_navigation_is_dropped_with_the_probability_asked_for(made: list[Example]) -> None:
    share = sum(dropped(made, 0, 0)) / MANY
    assert share == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / MANY) ** 0.5)
    assert not any(dropped(made[:100], 0, 0, 0.0))
    assert all(dropped(made[:100], 0, 0, 1.0))


def test_the_same_seed_and_epoch_drop_the_same_and_others_do_not(made: list[Example]) -> None:
    first = dropped(made[:200], 0, 0)
    assert first == dropped(made[:200], 0, 0) == dropped(made[:200][::-1], 0, 0)[::-1]
    assert first != dropped(made[:200], 0, 1)
    assert first != dropped(made[:200], 1, 0)
    moved = [example_at(one, k) for k, one in enumerate([made[0]] * 200)]
    assert 0 < sum(dropped(moved, 0, 0)) < 200, "examples of one clip each have their own chance"


def example_at(one: Example, k: int) -> Example:
    t0_ns = START_NS + k
    seen = one.observation
    history, ego = replace(seen.history, t0_ns=t0_ns), replace(seen.ego_t0, stamp_ns=t0_ns)
    return replace(one, observation=replace(seen, stamp_ns=t0_ns, history=history, ego_t0=ego))


QUESTIONS = (("What?", "That."), ("Why?", "Because."), ("Where?", "There."))


def drawn(examples: list[Example], seed: int, epoch: int, probability: float = 0.2) -> list[tuple[str, str] | None]:
    return [drawn_question(replace(one, questions=QUESTIONS), probability, seed, epoch) for one in examples]


def test_a_question_is_drawn_with_the_probability_asked_for_and_each_as_often(made: list[Example]) -> None:
    asked = [pair for pair in drawn(made, 0, 0) if pair is not None]
    assert len(asked) / MANY == pytest.approx(0.2, abs=4 * (0.2 * 0.8 / MANY) ** 0.5)
    for pair in QUESTIONS:
        assert asked.count(pair) / len(asked) == pytest.approx(1 / 3, abs=4 * (2 / 9 / len(asked)) ** 0.5)
    assert not any(drawn(made[:100], 0, 0, 0.0))
    assert all(drawn(made[:100], 0, 0, 1.0))
    assert not any(drawn_question(replace(one, questions=()), 1.0, 0, 0) for one in made[:100])


def test_the_same_seed_and_epoch_draw_the_same_question_and_others_do_not(made: list[Example]) -> None:
    first = drawn(made[:200], 0, 0)
    assert first == drawn(made[:200], 0, 0) == drawn(made[:200][::-1], 0, 0)[::-1]
    assert first != drawn(made[:200], 0, 1)
    assert first != drawn(made[:200], 1, 0)


def test_questions_do_not_take_the_examples_whose_route_is_left_out(made: list[Example]) -> None:
    """A question has no route in its prompt: were the two chances one, no trajectory would ever be driven without."""
    both = [without and pair is not None for without, pair in zip(dropped(made, 0, 0), drawn(made, 0, 0), strict=True)]
    assert sum(both) / MANY == pytest.approx(0.04, abs=4 * (0.04 * 0.96 / MANY) ** 0.5)


def test_usual_decisions_are_thinned_out_and_others_are_not(made: list[Example]) -> None:
    for decision, share in ((Decision("set_speed_tracking", "lane_keeping"), 0.06), (Decision("yield", "lane_change"), 1.0)):
        decided = [replace(one, reasoning=replace(STOP, decision=decision)) for one in made]
        kept = [is_balanced(one, 0) for one in decided]
        assert sum(kept) / MANY == pytest.approx(share, abs=4 * (share * (1 - share) / MANY) ** 0.5)
        assert kept == [is_balanced(one, 0) for one in decided]
        assert (kept == [is_balanced(one, 1) for one in decided]) == (share == 1.0)
    assert all(is_balanced(replace(one, reasoning=None), 0) for one in made[:100])


def test_nothing_else_changes(made: list[Example]) -> None:
    without = drop_navigation(made[0], 1.0, 0, 0)
    assert_equal(replace(without, observation=replace(without.observation, navigation=made[0].observation.navigation)), made[0])
    assert without.future is made[0].future
    assert drop_navigation(made[0], 0.0, 0, 0) is made[0]
    assert drop_navigation(without, 1.0, 0, 0) is without


def test_meta_actions_are_said_axis_by_axis_and_never_twice_in_a_row() -> None:
    actions = (
        MetaAction("longitudinal", "maintain_speed", 0.0, 2.0),
        MetaAction("longitudinal", "maintain_speed", 2.0, 3.0),
        MetaAction("longitudinal", "gentle_decelerate", 3.0, 6.4),
        MetaAction("lateral", "go_straight", 0.0, 6.4),
    )
    assert meta_action_words(actions) == "maintain speed, gentle decelerate; go straight"
    assert meta_action_words(actions[:1]) == "maintain speed"
    assert meta_action_words(()) == ""
