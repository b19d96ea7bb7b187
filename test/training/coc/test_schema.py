"""The label file: what may stand in it, what comes out of it, and that a damaged one loses only its damage."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from training.coc.made import chain, record

from alpamayo_ros.training.coc.schema import (
    Chain,
    Choice,
    Component,
    CriticalObject,
    Lane,
    OddConstraint,
    Record,
    RoadEvent,
    RoutingIntent,
    TrafficLight,
    YieldStopControl,
    append_record,
    chain_schema,
    read_records,
)
from alpamayo_ros.types import CriticalComponent, Decision, InvalidInput

RED = TrafficLight(description="the red light", seen_s=-0.4, colour="red")
OF_EVERY_KIND: list[Component] = [
    CriticalObject(description="a car", seen_s=0.0, type="vehicle", position="in_path", motion="stopped", uncertainty="low"),
    RED,
    YieldStopControl(description="a stop sign", seen_s=-1.0, kind="stop", ways="all_way", line="ahead"),
    RoadEvent(description="a bend", seen_s=0.0, kind="curve", side="left", sharpness="sharp"),
    Lane(description="the left lane", seen_s=0.0, side="left", state="clear", count=2, usable_width_m=3.5),
    RoutingIntent(description="the exit", seen_s=0.0, target="exit", side="right", required_lane="right"),
    OddConstraint(description="cones", seen_s=None, justification="the lane closes behind the hill", kind="construction"),
]


def test_a_record_survives_its_json() -> None:
    kept = record(chain(components=OF_EVERY_KIND))
    assert Record.model_validate_json(kept.model_dump_json()) == kept


def test_a_record_becomes_the_reasoning_that_a_model_learns() -> None:
    late = RED.model_copy(update={"seen_s": 1.5})
    reasoning = chain(components=[RED, late]).reasoning
    assert reasoning.decision == Decision("stop_for_static_constraints", "lane_keeping")
    assert reasoning.components == (CriticalComponent("traffic_light", "the red light", (("colour", "red"),)),)
    assert reasoning.text == "Stop and keep lane since the traffic light is red."


@pytest.mark.parametrize(
    "wrong",
    [
        {"choice": {"longitudinal": "brake", "lateral": None, "direction": None}},
        {"choice": {"longitudinal": ["yield", "stop_for_static_constraints"], "lateral": None, "direction": None}},
        {"choice": {"longitudinal": None, "lateral": "turn", "direction": None}},
        {"choice": {"longitudinal": None, "lateral": "lane_keeping", "direction": "left"}},
        {"trace": ""},
        {"trace": "Stop.\nGo."},
        {"trace": "Stop. Wait. Go."},
        {"trace": "Stop " * 200},
        {"components": [{"category": "weather", "description": "rain", "seen_s": 0.0}]},
        {"components": [{"category": "lane", "description": "a lane", "seen_s": 0.0, "colour": "red"}]},
        {"components": [{"category": "lane", "description": "a lane", "seen_s": None}]},
        {"components": [{"category": "lane", "description": "a lane", "seen_s": 0.0, "justification": "seen"}]},
        {"components": [{"category": "lane", "description": " ", "seen_s": 0.0}]},
        {"components": [{"category": "critical_object", "description": "a car", "seen_s": 0.0}]},
        {"mood": "good"},
    ],
)
def test_what_the_paper_does_not_allow_is_refused(wrong: dict[str, object]) -> None:
    said = json.loads(chain().model_dump_json())
    assert Chain.model_validate(said) == chain()
    with pytest.raises(ValidationError):
        Chain.model_validate({**said, **wrong})


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValidationError):
        TrafficLight(description="the red light", seen_s=float("nan"))


def test_the_schema_for_constrained_decoding_leaves_nothing_open() -> None:
    """Decoders that constrain strictly want every key required, none added, no defaults and no oneOf."""
    schema = chain_schema()
    objects = [schema, *schema["$defs"].values()]
    assert len(objects) == 1 + 1 + 7
    for one in objects:
        assert one["additionalProperties"] is False
        assert set(one["required"]) == set(one["properties"])
    text = json.dumps(schema)
    assert "oneOf" not in text
    assert '"default"' not in text
    assert set(json.loads(chain(components=OF_EVERY_KIND).model_dump_json())) == set(schema["required"])


def test_records_come_back_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    assert read_records(path).records == ()
    written = [record(t0_ns=n) for n in range(3)]
    for one in written:
        append_record(path, one)
    assert read_records(path).records == tuple(written)


def test_a_bad_line_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_record(path, record(t0_ns=1))
    with path.open("a") as file:
        file.write('{"clip": "x", "t0_ns": "soon"}\nnot json\n\n')
    append_record(path, record(t0_ns=2))
    found = read_records(path)
    assert [r.t0_ns for r in found.records] == [1, 2]
    assert len(found.refused) == 2
    assert found.refused[0].startswith(f"{path}:2: ")
    assert "t0_ns" in found.refused[0]
    assert found.refused[1].startswith(f"{path}:3: ")


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    append_record(path, record(t0_ns=1))
    append_record(path, record(t0_ns=2))
    path.write_bytes(path.read_bytes()[:-40])
    append_record(path, record(t0_ns=3))
    found = read_records(path)
    assert [r.t0_ns for r in found.records] == [1, 3]
    assert len(found.refused) == 1


def test_the_first_record_of_a_moment_and_labeler_counts(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    first = record(t0_ns=1)
    other = first.model_copy(update={"labeler": first.labeler.model_copy(update={"name": "somebody"})})
    for one in (first, first.model_copy(update={"scenario": "nudge"}), other):
        append_record(path, one)
    assert read_records(path).records == (first, other)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InvalidInput, match="not a label file"):
        read_records(path)


def test_a_decision_may_name_nothing() -> None:
    assert Choice().decision == Decision()
