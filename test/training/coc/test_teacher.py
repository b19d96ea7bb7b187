"""What the teacher is shown and told, and what becomes of its answers, over real HTTP."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from training.coc.answering import Asked, Behaviour, endpoint, says, sends
from training.coc.seen import ROLES, TIMES_S, frame, moment, observation

from alpamayo_ros.training.coc.client import Client, EndpointDown
from alpamayo_ros.training.coc.endpoint import Endpoint, plain_schema
from alpamayo_ros.training.coc.label import label_moments
from alpamayo_ros.training.coc.quality import verdicts
from alpamayo_ros.training.coc.schema import Component, Moment, Unlabelled, read_records
from alpamayo_ros.training.coc.teacher import Seen, deciding, labelled, seeing, source
from alpamayo_ros.training.coc.teacher_words import DECIDING, MEANS, SEEING
from alpamayo_ros.types import Lateral, Longitudinal, Navigation, Observation, Trajectory

RED: dict[str, Any] = {
    "category": "traffic_light",
    "description": "the traffic light",
    "seen_s": 0.0,
    "justification": "",
    "colour": "red",
    "arrow": None,
    "visibility": "clear",
    "wait_line": "ahead",
}
CURVE: dict[str, Any] = {
    "category": "road_event", "description": "a gentle curve", "seen_s": -1.5, "justification": "", "kind": "curve",
    "side": "left", "sharpness": "gentle", "grade": None,
}  # fmt: skip
STOP: dict[str, Any] = {"longitudinal": "stop_for_static_constraints", "lateral": "lane_keeping", "direction": None}
SEEN = {"components": [CURVE, RED]}
DECIDED = {"choice": STOP, "cites": [2], "unobserved": [], "trace": "Stop since the traffic light is red."}


def wants(body: dict[str, Any]) -> str:
    return str(body["response_format"]["json_schema"]["name"])


def words(body: dict[str, Any]) -> str:
    return "\n".join(part["text"] for part in body["messages"][1]["content"] if part["type"] == "text")


def answers(seen: dict[str, Any] = SEEN, decided: dict[str, Any] = DECIDED) -> Any:
    said = {"Seen": says(json.dumps(seen)), "Decided": says(json.dumps(decided))}
    return endpoint(lambda body: said[wants(body)])


def client(asked: Asked, cache: Path) -> Client:
    return Client(Endpoint(asked.url, "teacher-8b", tries=2, first_wait_s=0.0), cache)


def test_two_answers_are_a_label_that_passes_every_check(tmp_path: Path) -> None:
    at = moment()
    with answers() as asked:
        one = client(asked, tmp_path)
        record = labelled(one, at)
    assert (record.clip, record.t0_ns, record.scenario) == (at.clip, at.t0_ns, "stop_at_control")
    assert record.labeler == source(one)
    assert record.labeler.name == "teacher-8b"
    (light,) = record.chain.components
    assert light.category == "traffic_light"
    assert light.is_stage_one
    assert all(verdict.passed for verdict in verdicts(record.chain, at.meta_actions)), verdicts(record.chain, at.meta_actions)


def test_stage_one_sees_the_history_and_nothing_else(tmp_path: Path) -> None:
    with answers() as asked:
        labelled(client(asked, tmp_path), moment())
    first = asked.bodies[0]
    assert wants(first) == "Seen"
    assert first["messages"][0]["content"] == SEEING
    content = first["messages"][1]["content"]
    assert sum(part["type"] == "image_url" for part in content) == len(ROLES) * len(TIMES_S)
    assert words(first).splitlines()[:6] == ["Camera front_left:", "-2.0 s", "-1.5 s", "-1.0 s", "-0.5 s", "+0.0 s"]


@pytest.mark.parametrize(("times_s", "shown_s"), [(np.arange(-2.0, 0.05, 0.1), TIMES_S), (np.array(TIMES_S) - 0.04, TIMES_S)])
def test_whatever_the_rate_two_pictures_a_second_are_shown(times_s: np.ndarray, shown_s: tuple[float, ...]) -> None:
    parts = seeing(_taken(times_s), ["front_wide"]).parts
    assert [part for part in parts if isinstance(part, str) and part.endswith(" s")] == [f"{t_s:+.1f} s" for t_s in shown_s]
    assert sum(isinstance(part, np.ndarray) for part in parts) == len(shown_s)


def test_pictures_of_less_than_two_seconds_are_no_history() -> None:
    with pytest.raises(Unlabelled, match=r"short_history: front_wide: 4 frames from -0\.3 s on, 1\.70 s off"):
        seeing(_taken(np.array([-0.3, -0.2, -0.1, 0.0])), ["front_wide"])


def _taken(times_s: np.ndarray) -> Observation:
    return replace(observation(), frames={"front_wide": tuple(frame("front_wide", float(t_s)) for t_s in times_s)})


def test_stage_two_is_told_the_list_and_the_motion_but_shown_no_picture_of_the_future(tmp_path: Path) -> None:
    at = moment()
    with answers() as asked:
        labelled(client(asked, tmp_path), at)
    _, second = asked.bodies
    assert second["messages"][0]["content"] == DECIDING
    told = words(second).splitlines()
    assert [line[:2] for line in told if line.endswith("}")] == ["1.", "2."]
    assert '"colour":"red"' in words(second)
    assert "+4.0 s: x 16.0 m, y 0.0 m, heading 0.0 deg, 0.0 m/s" in told
    assert told.count("+6.0 s: x 16.0 m, y 0.0 m, heading 0.0 deg, 0.0 m/s") == 1
    assert any(line.endswith(": strong_decelerate") for line in told)
    pictures = [part["image_url"]["url"] for part in second["messages"][1]["content"] if part["type"] == "image_url"]
    newest = [part["image_url"]["url"] for part in asked.bodies[0]["messages"][1]["content"] if part["type"] == "image_url"]
    assert pictures == newest[4::5]


def test_the_route_is_told_where_there_is_one() -> None:
    route = Navigation("turn_left", 40.0, "", 2**62)
    assert seeing(observation(navigation=route), ROLES).parts[-1] == "Route: Turn left in 40m"
    at = moment(navigation=route)
    told = deciding(at, (), ROLES).parts[-1]
    assert "nothing that matters\nRoute: Turn left in 40m" in str(told)


def test_every_decision_of_the_closed_set_is_explained() -> None:
    assert set(MEANS) == {*get_args(Longitudinal), *get_args(Lateral)}
    assert all(f"- {name}: " in DECIDING for name in MEANS)


@pytest.mark.parametrize("category", [get_args(part.model_fields["category"].annotation)[0] for part in get_args(Component)])
def test_every_category_is_asked_for(category: str) -> None:
    assert f"- {category}: " in SEEING
    assert f'"{category}"' in json.dumps(plain_schema(Seen))


def _changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**base, **changes}


@pytest.mark.parametrize(
    "seen",
    [
        {"components": [_changed(RED, seen_s=0.5)]},  # of the future
        {"components": [_changed(RED, seen_s=-2.5)]},  # before the history
        {"components": [_changed(RED, seen_s=None, justification="it must have been")]},
        {"components": [_changed(RED, colour="purple")]},
        {"components": [RED] * 13},
        {"components": [{"category": "ufo", "description": "it", "seen_s": 0.0, "justification": ""}]},
    ],
)
def test_a_list_that_the_history_cannot_show_is_no_answer(tmp_path: Path, seen: dict[str, Any]) -> None:
    with answers(seen=seen) as asked:
        one = client(asked, tmp_path)
        with pytest.raises(Unlabelled, match="no_answer: teacher-8b: none of 3 answers"):
            labelled(one, moment())
    assert [wants(body) for body in asked.bodies] == ["Seen"] * 3
    assert one.spent.junk == 3


@pytest.mark.parametrize(
    "decided",
    [
        _changed(DECIDED, choice=_changed(STOP, lateral="turn")),  # without a side
        _changed(DECIDED, choice=_changed(STOP, longitudinal="fly")),
        _changed(DECIDED, cites=[2, 2]),
        _changed(DECIDED, unobserved=[RED]),
        _changed(DECIDED, trace=""),
        _changed(DECIDED, trace="One. Two. Three."),
    ],
)
def test_a_decision_outside_the_rules_is_no_answer(tmp_path: Path, decided: dict[str, Any]) -> None:
    with answers(decided=decided) as asked, pytest.raises(Unlabelled, match="no_answer"):
        labelled(client(asked, tmp_path), moment())


@pytest.mark.parametrize("number", [0, 3, -1])
def test_what_stage_one_did_not_list_cannot_be_cited(tmp_path: Path, number: int) -> None:
    with answers(decided=_changed(DECIDED, cites=[number])) as asked, pytest.raises(Unlabelled) as told:
        labelled(client(asked, tmp_path), moment())
    assert told.value.reason == "cites_unseen"


def test_a_trace_that_names_what_stage_one_did_not_see_fails_the_evidence_check(tmp_path: Path) -> None:
    at = moment()
    with answers(decided=_changed(DECIDED, trace="Stop since a pedestrian crosses the road.")) as asked:
        record = labelled(client(asked, tmp_path), at)
    failed = [verdict.check for verdict in verdicts(record.chain, at.meta_actions) if not verdict.passed]
    assert "evidence" in failed


def test_a_cause_that_nobody_saw_is_kept_with_its_justification(tmp_path: Path) -> None:
    unseen = _changed(RED, seen_s=None, justification="the car stops before the junction")
    decided = _changed(DECIDED, cites=[], unobserved=[unseen], trace="Stop and keep lane.")
    with answers(decided=decided) as asked:
        chain = labelled(client(asked, tmp_path), moment()).chain
    assert [component.seen_s for component in chain.components] == [None]
    assert chain.reasoning.components == (), "a model does not learn it"


def test_a_camera_that_is_not_there_and_a_short_future_are_named_before_anything_is_paid(tmp_path: Path) -> None:
    at = moment()
    with answers() as asked:
        one = client(asked, tmp_path)
        with pytest.raises(Unlabelled, match="no_camera: rear_tele"):
            labelled(one, at, ("front_wide", "rear_tele"))
        way = at.example.future
        cut = Trajectory(**{name: values[:50] for name, values in vars(way).items()})
        with pytest.raises(Unlabelled, match=r"short_future: 5\.0 s"):
            labelled(one, Moment(replace(at.example, future=cut)))
    assert asked.bodies == []


@pytest.fixture
def hour() -> list[Moment]:
    return [moment(moment().t0_ns + n * 100_000_000, "hour") for n in range(12)]


def test_a_run_that_was_cut_off_goes_on_where_it_was(tmp_path: Path, hour: list[Moment]) -> None:
    """The endpoint dies after seven answers: no label is lost, no answer is paid twice, and junk is a counted skip."""
    hour = [_told_apart(at, n) for n, at in enumerate(hour)]
    out, cache = tmp_path / "labels.jsonl", tmp_path / "answers"
    alive = 7

    def dies(body: dict[str, Any]) -> Behaviour:
        return _says_well(body) if len(asked.bodies) <= alive else sends(503, "gone")

    with endpoint(dies) as asked:
        one = client(asked, cache)
        with pytest.raises(EndpointDown, match="kept in"):
            label_moments(hour, lambda at: labelled(one, at), source(one), out, one.each)
    assert one.spent.answers == alive
    with endpoint(_says_well) as asked:
        two = client(asked, cache)
        figures = label_moments(hour, lambda at: labelled(two, at), source(two), out, two.each)
    assert len(asked.bodies) == 2 * len(hour) - alive
    assert figures["samples"] == len(read_records(out).records) == len(hour)
    assert figures["skipped"] == {}


def _told_apart(at: Moment, n: int) -> Moment:
    """Pictures of equal drives are equal, and would be one request."""
    route = Navigation("turn_left", 100.0 + n, "", 2**62)
    return replace(at, example=replace(at.example, observation=replace(at.example.observation, navigation=route)))


def _says_well(body: dict[str, Any]) -> Behaviour:
    return says(json.dumps({"Seen": SEEN, "Decided": DECIDED}[wants(body)]))
