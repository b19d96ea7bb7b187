"""The labeling run: resumable, append-only, and nothing that it skips goes uncounted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from training.coc.made import CRUISING, STOPPING, chain

from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training.coc.label import Item, Result, in_turn, label_moments, label_world
from alpamayo_ros.training.coc.schema import Record, Source, Unlabelled, append_record, read_records
from alpamayo_ros.training.workers import Workers
from alpamayo_ros.types import InvalidInput, MetaAction

HAND = Source(name="hand", version="1")


@dataclass(frozen=True)
class Instant:
    """A moment that nobody has to drive."""

    t0_ns: int
    clip: str = "drive"
    meta_actions: tuple[MetaAction, ...] = STOPPING


class Hand:
    """Labels what it can and counts what it was asked."""

    def __init__(self, refuses: tuple[int, ...] = (), dies_at: int | None = None) -> None:
        self.asked: list[int] = []
        self._refuses = refuses
        self._dies_at = dies_at

    def __call__(self, moment: Instant) -> Record:
        self.asked.append(moment.t0_ns)
        if moment.t0_ns == self._dies_at:
            raise KeyboardInterrupt
        if moment.t0_ns in self._refuses:
            raise InvalidInput("three answers, none of them to the schema")
        return Record(clip=moment.clip, t0_ns=moment.t0_ns, scenario="nudge", chain=chain(), labeler=HAND)


def instants(count: int) -> list[Instant | Unlabelled]:
    return [Instant(n) for n in range(count)]


def test_every_moment_becomes_a_record_with_verdicts(tmp_path: Path) -> None:
    out = tmp_path / "new" / "labels.jsonl"
    made = label_moments([Instant(0), Instant(1, meta_actions=CRUISING)], Hand(), HAND, out)
    good, bad = read_records(out).records
    assert good.failed == ()
    assert bad.failed == ("correctness",)
    assert made == {
        "samples": 2,
        "skipped": {},
        "already_there": 0,
        "passed": 1,
        "failed": {"correctness": 1},
        "scenarios": {"nudge": 2},
        "refused_lines": [],
        "files": [str(out)],
    }


def test_what_is_there_is_not_asked_for_again(tmp_path: Path) -> None:
    out, second = tmp_path / "labels.jsonl", Hand()
    label_moments(instants(3), Hand(), HAND, out)
    before = out.read_bytes()
    made = label_moments(instants(5), second, HAND, out)
    assert second.asked == [3, 4]
    assert (made["samples"], made["already_there"]) == (5, 3)
    assert out.read_bytes().startswith(before)


def test_an_interruption_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    out, dying, second = tmp_path / "labels.jsonl", Hand(dies_at=3), Hand()
    with pytest.raises(KeyboardInterrupt):
        label_moments(instants(5), dying, HAND, out)
    assert [record.t0_ns for record in read_records(out).records] == [0, 1, 2]
    label_moments(instants(5), second, HAND, out)
    assert second.asked == [3, 4]
    whole = tmp_path / "whole.jsonl"
    label_moments(instants(5), Hand(), HAND, whole)
    assert out.read_bytes() == whole.read_bytes()


def test_a_line_that_was_cut_off_is_asked_for_again(tmp_path: Path) -> None:
    out, second = tmp_path / "labels.jsonl", Hand()
    label_moments(instants(3), Hand(), HAND, out)
    out.write_bytes(out.read_bytes()[:-20])
    made = label_moments(instants(3), second, HAND, out)
    assert second.asked == [2]
    assert made["samples"] == 3
    assert len(made["refused_lines"]) == 1


def test_what_has_no_label_is_counted_by_reason_and_named(tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    moments = [*instants(3), Unlabelled("no_future", "clip x ends 2.0 s after t0"), Unlabelled("nan_pose", "clip y")]
    made = label_moments(moments, Hand(refuses=(1,)), HAND, out)
    assert made["skipped"] == {"nan_pose": 1, "no_future": 1, "refused": 1}
    assert made["samples"] == 2
    said = [json.loads(line) for line in (tmp_path / "labels.jsonl.skipped").read_text().splitlines()]
    assert [one["reason"] for one in said] == ["refused", "no_future", "nan_pose"]
    assert said[0]["moment"] == "drive 1"
    assert "clip x ends" in said[1]["why"]


def test_what_was_skipped_is_tried_again(tmp_path: Path) -> None:
    out, second = tmp_path / "labels.jsonl", Hand()
    label_moments(instants(3), Hand(refuses=(1,)), HAND, out)
    made = label_moments(instants(3), second, HAND, out)
    assert second.asked == [1]
    assert made["skipped"] == {}
    assert not (tmp_path / "labels.jsonl.skipped").exists()


def test_a_moment_that_comes_twice_is_labelled_once(tmp_path: Path) -> None:
    hand = Hand()
    assert label_moments([*instants(2), *instants(2)], hand, HAND, tmp_path / "labels.jsonl")["samples"] == 2
    assert hand.asked == [0, 1]


def test_another_labeler_of_the_same_moments_does_not_count_as_done(tmp_path: Path) -> None:
    out, hand = tmp_path / "labels.jsonl", Hand()
    other = Record(clip="drive", t0_ns=0, chain=chain(), labeler=Source(name="hand", version="0"))
    append_record(out, other)
    made = label_moments(instants(1), hand, HAND, out)
    assert hand.asked == [0]
    assert made["samples"] == 1
    assert len(read_records(out).records) == 2


def test_a_record_of_another_moment_is_refused(tmp_path: Path) -> None:
    def confused(moment: Instant) -> Record:
        return Record(clip="elsewhere", t0_ns=moment.t0_ns, chain=chain(), labeler=HAND)

    with pytest.raises(InvalidInput, match="elsewhere"):
        label_moments(instants(1), confused, HAND, tmp_path / "labels.jsonl")
    assert not (tmp_path / "labels.jsonl").exists()


def test_what_is_no_label_file_is_left_as_it_is(tmp_path: Path) -> None:
    out, hand = tmp_path / "photo.png", Hand()
    out.write_bytes(b"\x89PNG\xff")
    with pytest.raises(InvalidInput, match="not a label file"):
        label_moments(instants(1), hand, HAND, out)
    assert out.read_bytes() == b"\x89PNG\xff"
    assert hand.asked == []


def test_many_may_be_asked_about_at_once(tmp_path: Path) -> None:
    """Work may be handed out ahead and in batches: the file has every record once, in the order of the moments."""

    def by_threes(work: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[tuple[Item, Result | InvalidInput]]:
        left = iter(items)
        while batch := [item for _, item in zip(range(3), left, strict=False)]:
            yield from reversed(list(in_turn(work, reversed(batch))))

    out = tmp_path / "labels.jsonl"
    made = label_moments(instants(7), Hand(refuses=(4,)), HAND, out, by_threes)
    assert made["samples"] == 6
    assert [record.t0_ns for record in read_records(out).records] == [0, 1, 2, 3, 5, 6]


@pytest.mark.thorough
def test_the_world_labels_itself_here_or_over_ray_and_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    first = label_world([SceneId("curve", 1)], out)
    before = out.read_bytes()
    both = label_world([SceneId("curve", 1), SceneId("light_turns", 1)], out)
    assert first["samples"] > 10
    assert both["already_there"] == first["samples"]
    assert both["samples"] > first["samples"] + 10
    assert out.read_bytes().startswith(before)
    assert both["failed"].keys() <= {"correctness"}
    assert set(both["skipped"]) <= {"surprise", "no_history_or_future"}
    of_a_ray = tmp_path / "of_a_ray.jsonl"
    label_world([SceneId("curve", 1)], of_a_ray, Workers("local"))
    assert of_a_ray.read_bytes() == before


def test_a_scene_that_nobody_knows_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no_such_family"):
        label_world([SceneId("no_such_family", 1)], tmp_path / "labels.jsonl")
