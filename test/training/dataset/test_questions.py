"""Questions ask for nothing that an example does not know, and their answers are its own words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training.dataset.made import STOP, example

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.dataset.questions import (
    AHEAD,
    LIGHT,
    NEXT,
    WHAT_AND_WHY,
    VisualQuestion,
    read_questions,
    with_questions,
)
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.example import Example
from alpamayo_ros.types import CriticalComponent, InvalidInput


def answers(one: Example) -> dict[str, str]:
    return dict(with_questions(replace(one, questions=())).questions)


def with_components(one: Example, *components: CriticalComponent) -> Example:
    return replace(one, reasoning=replace(STOP, components=components))


LEAD = CriticalComponent("critical_object", "the lead vehicle", (("role", "lead"),))
ROUTE = CriticalComponent("routing_intent", "the route", ())
DARK = CriticalComponent("traffic_light", "traffic light", ())


def test_what_is_asked_is_answered_by_the_reasoning(profile: InputProfile) -> None:
    said = answers(example(profile))
    assert said[LIGHT] == "It is red."
    assert said[AHEAD] == "Red traffic light."
    assert said[WHAT_AND_WHY] == STOP.text
    assert said[NEXT].startswith("Gentle accelerate; ")


def test_what_is_not_there_is_said_and_what_is_not_known_is_not_asked(profile: InputProfile) -> None:
    one = example(profile)
    assert answers(with_components(one, LEAD, ROUTE))[LIGHT] == "No traffic light matters here."
    assert answers(with_components(one, LEAD, ROUTE))[AHEAD] == "The lead vehicle."
    assert answers(with_components(one, ROUTE))[AHEAD] == "Nothing."
    assert answers(with_components(one, DARK, LEAD))[AHEAD] == "Traffic light; the lead vehicle."
    assert LIGHT not in answers(with_components(one, DARK))
    assert [*answers(replace(one, reasoning=None))] == [NEXT]


def test_questions_that_are_there_stay(profile: InputProfile) -> None:
    assert with_questions(example(profile)).questions[0] == ("What?", "That.")


# ------------------------------------------------------------------------------------------------------------------ from files


def table(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_questions_of_a_table_are_read_with_their_pictures(tmp_path: Path) -> None:
    for name in ("0.jpg", "1.jpg"):
        (tmp_path / name).write_bytes(b"picture")
    row = {"question_id": "a", "images": ["0.jpg", "1.jpg"], "question": "What is ahead?", "answer": "A bus."}
    broken = [row | change for change in ({"images": ["2.jpg"]}, {"images": []}, {"answer": ""}, {"question": None})]
    skipped = Skipped()
    read = list(read_questions(table(tmp_path / "val.parquet", [row, *broken]), skipped))
    assert read == [VisualQuestion((tmp_path / "0.jpg", tmp_path / "1.jpg"), "What is ahead?", "A bus.")]
    assert skipped.first["val.parquet: row #: an image is not there"] == "val.parquet: row 1: an image is not there"
    assert sum(skipped.counts.values()) == 4 == len(skipped.counts)


def test_what_is_no_table_of_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.parquet").write_text("notes")
    other = table(tmp_path / "other.parquet", [{"question": "Why?"}])
    for path in (tmp_path / "notes.parquet", tmp_path / "no.parquet", other):
        with pytest.raises(InvalidInput, match=f"{path}: want a Parquet file with columns images, question, answer"):
            list(read_questions(path, Skipped()))
    row = {"images": ["../0.jpg"], "question": "What?", "answer": "That."}
    with pytest.raises(InvalidInput, match="want a path below the folder"):
        list(read_questions(table(tmp_path / "out.parquet", [row]), Skipped()))
