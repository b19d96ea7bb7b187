"""Every check has a label that passes it and one that fails it, and the failing one fails nothing else."""

import json
from pathlib import Path

import pytest
from training.coc.made import CRUISING, RED_LIGHT, STOPPING, chain, record

from alpamayo_ros.reasoning import clean
from alpamayo_ros.training.coc.evidence import future_words
from alpamayo_ros.training.coc.quality import assessed, ego_cause_problem, verdicts
from alpamayo_ros.training.coc.schema import (
    Chain,
    Choice,
    Component,
    CriticalObject,
    Lane,
    OddConstraint,
    RoadEvent,
    RoutingIntent,
)
from alpamayo_ros.types import InvalidInput, MetaAction

REAL = (Path(__file__).parents[3] / "../shared/data/ar1_traces/consecutive_windows.json").resolve()
STEERING_LEFT = (MetaAction("longitudinal", "maintain_speed", 0.0, 6.4), MetaAction("lateral", "steer_left", 0.0, 6.4))
FOLLOW = Choice(longitudinal="lead_obstacle_following", lateral="lane_keeping")
CRUISE = Choice(longitudinal="set_speed_tracking", lateral="lane_keeping")
NUDGE = Choice(longitudinal="set_speed_tracking", lateral="in_lane_nudge", direction="left")
CLEAR = Lane(description="the road", seen_s=0.0, state="clear")
STOPPED_LEAD = CriticalObject(
    description="the car", seen_s=0.0, type="vehicle", position="in_path", motion="stopped", uncertainty="low"
)
PARKED = CriticalObject(description="a parked car", seen_s=0.0, type="vehicle", position="right", uncertainty="low")


def failed(said: Chain, meta_actions: tuple[MetaAction, ...] = STOPPING) -> list[str]:
    """Names of the checks; each failure has a reason, and only failures have one."""
    found = verdicts(said, meta_actions)
    assert [bool(one.why) for one in found] == [not one.passed for one in found]
    assert len({one.check for one in found}) == len(found) == 7
    return [one.check for one in found if not one.passed]


GOOD = [
    (chain(), STOPPING),
    (chain("Keep lane and stop behind the stopped lead vehicle.", [STOPPED_LEAD], FOLLOW), STOPPING),
    (chain("Keep lane and maintain speed since the road ahead is clear.", [CLEAR], CRUISE), CRUISING),
    (chain("Keep lane and maintain speed.", [], CRUISE), CRUISING),
    (chain("The street is quiet.", [], Choice()), CRUISING),
    (chain("Nudge left and keep speed since a parked car is close on the right.", [PARKED], NUDGE), STEERING_LEFT),
]


@pytest.mark.parametrize(("said", "meta_actions"), GOOD)
def test_good_labels_pass_every_check(said: Chain, meta_actions: tuple[MetaAction, ...]) -> None:
    assert failed(said, meta_actions) == []


def test_a_record_gets_its_verdicts() -> None:
    judged = assessed(record(), STOPPING)
    assert len(judged.verdicts) == 7
    assert judged.failed == ()
    assert assessed(record(), CRUISING).failed == ("correctness",)
    assert judged.chain == record().chain


def test_a_decision_without_meta_actions_cannot_be_judged() -> None:
    with pytest.raises(InvalidInput, match="no meta-actions"):
        verdicts(chain(), ())


def test_coverage_wants_a_cause_for_what_is_done() -> None:
    assert failed(chain("Keep lane and stop.", [])) == ["coverage"]


def test_coverage_wants_the_deciding_cause_in_the_words() -> None:
    assert failed(chain("Keep lane and come to a stop.", [RED_LIGHT])) == ["coverage"]


def test_coverage_takes_a_cause_that_nobody_saw_where_it_is_justified() -> None:
    unseen = CriticalObject(
        description="somebody", seen_s=None, justification="the ego halts on an open road", uncertainty="high"
    )
    yielding = Choice(longitudinal="yield", lateral="lane_keeping")
    assert failed(chain("Keep lane and yield.", [unseen], yielding)) == []


@pytest.mark.parametrize(
    ("said", "meta_actions"),
    [
        (chain(), CRUISING),
        (chain("Keep lane and maintain speed.", [], CRUISE), STOPPING),
        (chain("The street is quiet.", [], Choice()), STOPPING),
        (chain("The red light is on.", [RED_LIGHT]), STOPPING),
        (chain("Keep lane and yield since the traffic light is red."), STOPPING),
        (
            chain(
                "Nudge right and keep speed since a parked car is close.",
                [PARKED.model_copy(update={"position": None})],
                NUDGE,
            ),
            STEERING_LEFT,
        ),
    ],
)
def test_correctness_wants_decision_words_and_motion_to_agree(said: Chain, meta_actions: tuple[MetaAction, ...]) -> None:
    assert "correctness" in failed(said, meta_actions)
    assert set(failed(said, meta_actions)) <= {"correctness", "coverage"}  # words without a decision cite nothing


def test_the_proximate_cause_is_the_lead_that_stands_before_the_light() -> None:
    trace = "Stop and keep lane since the traffic light is red and a stopped car blocks the road."
    assert failed(chain(trace, [RED_LIGHT, STOPPED_LEAD])) == ["proximate_cause"]
    beside = STOPPED_LEAD.model_copy(update={"position": "right"})
    assert failed(chain(trace, [RED_LIGHT, beside])) == []


def test_the_proximate_cause_is_of_a_kind_that_can_decide() -> None:
    """Nobody follows a bend as a lead."""
    bend = RoadEvent(description="the bend", seen_s=0.0, kind="curve")
    trace = "Keep lane and keep distance to the lead vehicle in the curve."
    lead = STOPPED_LEAD.model_copy(update={"motion": None})
    assert failed(chain(trace, [bend, lead], FOLLOW)) == ["proximate_cause"]
    assert failed(chain(trace, [lead, bend], FOLLOW)) == []


def test_minimality_wants_no_component_that_the_words_do_not_use() -> None:
    cones = OddConstraint(description="cones", seen_s=0.0, kind="construction")
    assert failed(chain(components=[RED_LIGHT, cones])) == ["minimality"]


def test_minimality_wants_no_component_twice() -> None:
    assert failed(chain(components=[RED_LIGHT, RED_LIGHT])) == ["minimality"]


def test_minimality_wants_few_components() -> None:
    trace = "Stop since the light is red, a cyclist crosses, cones stand there, the curve is tight and the exit is near."
    cyclist = CriticalObject(description="a cyclist", seen_s=0.0, type="cyclist", uncertainty="low")
    rest: list[Component] = [
        OddConstraint(description="cones", seen_s=0.0, kind="construction"),
        RoadEvent(description="the bend", seen_s=0.0, kind="curve"),
        RoutingIntent(description="the exit", seen_s=0.0, target="exit"),
    ]
    stop = Choice(longitudinal="stop_for_static_constraints")
    assert failed(chain(trace, [RED_LIGHT, cyclist, *rest], stop)) == ["minimality"]
    assert failed(chain(trace.replace(" and the exit is near", ""), [RED_LIGHT, cyclist, *rest[:2]], stop)) == []


@pytest.mark.parametrize(
    "cause",
    [
        "our speed is low",
        "the ego vehicle's speed is too high",
        "the ego is decelerating",
        "we are already slowing down",
        "of the current steering",
        "our acceleration is negative",
        "we are turning left",
        "I was driving fast",
        "the ego is following it",
        "an ego is preparing for it",
    ],
)
def test_the_ego_is_not_a_cause(cause: str) -> None:
    said = chain(f"Stop and keep lane since the traffic light is red and because {cause}.")
    assert failed(said) == ["no_ego_cause"]


@pytest.mark.parametrize(
    "cause",
    [
        "the vehicle ahead is slower than our speed",
        "our lane ends",
        "cars are passing alongside the ego",
        "the ego’s lane is slowing",
        "the speed limit drops",
        "our route turns left",
        "the lead vehicle is decelerating",
        "a cyclist travels at a low speed",
    ],
)
def test_what_others_do_is_a_cause(cause: str) -> None:
    said = chain(f"Stop and keep lane since the traffic light is red and because {cause}.")
    assert "no_ego_cause" not in failed(said)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_file(), reason=f"no recorded traces at {REAL}")
def test_words_of_a_released_model_are_seldom_refused() -> None:
    """It was trained on labels that passed checks like these: more than a few in a hundred would be false alarms."""
    texts = {clean(text) for clip in json.loads(REAL.read_text()).values() for text in clip}
    worded = [text for text in texts if len(text.split()) >= 3]
    assert len(worded) > 2000
    assert sum(bool(ego_cause_problem(text)) for text in worded) < 0.01 * len(worded)
    assert sum(bool(future_words(text)) for text in worded) < 0.01 * len(worded)


def test_slowing_down_is_no_cause_where_it_is_the_effect() -> None:
    assert "no_ego_cause" not in failed(chain("Reduce our speed and stop since the traffic light is red."))


def test_the_future_is_no_cause() -> None:
    said = chain("Stop and keep lane since the traffic light is red and will stay so.")
    assert failed(said) == ["evidence", "no_future"]
