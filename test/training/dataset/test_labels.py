"""Labels reach the examples that they are of, and those that reach none are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from training.dataset.made import START_NS, STOP, example

from alpamayo_ros.profile import InputProfile
from alpamayo_ros.training.coc.schema import Chain, Choice, Record, Source, TrafficLight, Verdict
from alpamayo_ros.training.dataset.labels import FAILED, NO_RECORD, labelled, read_labels, unknown
from alpamayo_ros.training.dataset.questions import LIGHT, WHAT_AND_WHY
from alpamayo_ros.types import Decision, InvalidInput

TRACE = "Stop at the red light because it is red."


def record(clip: str = "drive", t0_ns: int = START_NS, trace: str = TRACE, *, passed: bool = True) -> Record:
    light = TrafficLight(description="red light", colour="red", seen_s=0.0)
    later = TrafficLight(description="green light", colour="green", seen_s=2.0)
    chain = Chain(choice=Choice(longitudinal="stop_for_static_constraints"), components=(light, later), trace=trace)
    verdict = Verdict(check="evidence", passed=passed, why="" if passed else "made up")
    return Record(clip=clip, t0_ns=t0_ns, chain=chain, labeler=Source(name="made", version="1"), verdicts=(verdict,))


def written(path: Path, *lines: Record | str) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else line.model_dump_json()}\n" for line in lines))
    return path


def test_a_label_becomes_the_reasoning_of_its_example(profile: InputProfile, tmp_path: Path) -> None:
    labels = read_labels([written(tmp_path / "a.jsonl", record())])
    bare = replace(example(profile), reasoning=None)
    found = labelled(bare, labels).reasoning
    assert found is not None
    assert found.text == TRACE
    assert found.decision == Decision("stop_for_static_constraints")
    assert [c.description for c in found.components] == ["red light"], "what is only seen later is no cause"
    assert labelled(example(profile), labels).reasoning == STOP, "it has reasoning already"
    assert labelled(replace(bare, clip="other"), labels).reasoning is None
    assert labelled(replace(example(profile, START_NS + 1), reasoning=None), labels).reasoning is None


def test_a_label_brings_what_can_be_asked_of_it(profile: InputProfile, tmp_path: Path) -> None:
    labels = read_labels([written(tmp_path / "a.jsonl", record())])
    bare = replace(example(profile), reasoning=None)
    said = dict(labelled(bare, labels).questions)
    assert said["What?"] == "That.", "its own question stays"
    assert (said[LIGHT], said[WHAT_AND_WHY]) == ("It is red.", TRACE)
    for other in (example(profile), replace(bare, clip="other")):
        assert labelled(other, labels).questions == other.questions


def test_lines_that_are_no_labels_are_counted_and_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", "{", record(t0_ns=1, passed=False), record(), '{"clip": "drive"}')
    labels = read_labels([path])
    assert [*labels.reasoning] == [("drive", START_NS)]
    by_source = [sum(n for why, n in labels.skipped.counts.items() if why.startswith(kind)) for kind in (NO_RECORD, FAILED)]
    assert by_source == [2, 1]
    assert f"{FAILED}: evidence of drive at 1" in labels.skipped.first.values()
    assert any(f"{path}:1" in first for first in labels.skipped.first.values())
    with pytest.raises(InvalidInput, match=r"b\.jsonl: no such file"):
        read_labels([path, tmp_path / "b.jsonl"])


def test_the_later_label_of_a_moment_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "a.jsonl", record(), record("gone"))
    second = written(tmp_path / "b.jsonl", record(trace="Stop for the red light."), record("gone", passed=False))
    labels = read_labels([first, second])
    assert {clip: reasoning.text for (clip, _), reasoning in labels.reasoning.items()} == {"drive": "Stop for the red light."}


def test_labels_of_moments_that_nobody_knows_are_told(tmp_path: Path) -> None:
    labels = read_labels([written(tmp_path / "a.jsonl", record(), record("else"), record(t0_ns=5))])
    assert unknown(labels, [("drive", START_NS), ("drive", 7)]) == (("drive", 5), ("else", START_NS))
