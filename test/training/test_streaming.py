"""What post-training is handed: questions with their answers, routes that are left out, and all else as it was."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import repeat
from pathlib import Path

import pytest
import torch
from training.dataset.made import START_NS, example
from training.lessons import debug_codec, debug_model

from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.sample import answer
from alpamayo_ros.training.batch import Batch, batch_of
from alpamayo_ros.training.dataset.labels import Labels
from alpamayo_ros.training.dataset.reading import DataSet, Shard
from alpamayo_ros.training.dataset.sequences import drop_navigation
from alpamayo_ros.training.dataset.shards import write_part
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.encoding import Encoded, encoded, encoded_answer
from alpamayo_ros.training.example import Example
from alpamayo_ros.training.fit import fit
from alpamayo_ros.training.losses import is_answer
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.shelf import UNTOLD
from alpamayo_ros.training.streaming import Broken, Lessons, Material, feed_of, side_by_side
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import Request

SETTINGS = Optimisation(steps=1, batch=1, learning_rate=1.0)
QUESTIONS = (("What does the traffic light show?", "It is red."), ("What ahead matters to the vehicle?", "Nothing."))
FUTURE_START = debug_codec().config.token_ids["future_start"]


@cache
def examples() -> tuple[Example, ...]:
    """Eight moments of a drive with a route, each on a bend of its own, which nobody has asked about."""
    profile = debug_codec().profile
    made = (example(profile, START_NS + k * 10**9, curvature_1pm=0.002 * k) for k in range(8))
    return tuple(replace(each, questions=()) for each in made)


def asked_about(of: Sequence[Example]) -> list[Example]:
    return [replace(example, questions=QUESTIONS) for example in of]


def material(folder: Path, of: Sequence[Example], *, asks: bool) -> Material:
    """Of examples as one shard."""
    folder.mkdir(exist_ok=True)
    path = folder / "drive-000.tar"
    write_part(path, of)
    ids = tuple((example.clip, example.observation.stamp_ns) for example in of)
    shard = Shard(path, file_sha256(path), "train", len(ids), ids)
    return Material(DataSet(debug_codec().profile, (shard,)), Labels({}, Skipped()), debug_codec(), asks)


def words(one: Encoded) -> tuple[int, ...]:
    return tuple(one.token_ids.tolist())


def epochs(given: Material, folder: Path, count: int, seed: int = 0) -> list[list[tuple[int, ...]]]:
    """Ids of the lessons of each epoch."""
    lessons, size = Lessons(given, replace(SETTINGS, seed=seed), Broken(folder / "0.jsonl"), 1), given.data.shards[0].examples
    return [[words(lessons.at(size * epoch + nth, 0)) for nth in range(size)] for epoch in range(count)]


def assert_same(one: Batch, other: Batch) -> None:
    assert torch.equal(one.images.patches, other.images.patches)
    for name in ("token_ids", "positions", "prompt_lengths", "lengths", "starts", "actions"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_the_route_is_left_out_of_some_lessons_other_ones_in_every_epoch(tmp_path: Path) -> None:
    codec, of = debug_codec(), examples()
    told, untold = ([encoded(drop_navigation(each, p, 0, 0), codec) for each in of] for p in (0.0, 1.0))
    expected = [
        {
            words(silent if drop_navigation(each, UNTOLD, 3, epoch).observation.navigation is None else said)
            for each, said, silent in zip(of, told, untold, strict=True)
        }
        for epoch in range(7)
    ]
    seen = epochs(material(tmp_path, of, asks=False), tmp_path, 7, seed=3)
    assert [set(epoch) for epoch in seen] == expected
    silent = [set(epoch) & set(map(words, untold)) for epoch in seen]
    assert 0 < sum(map(len, silent)) < 0.2 * sum(map(len, seen))
    assert len({frozenset(each) for each in silent}) > 1


def test_some_examples_with_questions_are_asked_one_of_them(tmp_path: Path) -> None:
    codec, of = debug_codec(), asked_about(examples())
    possible = {words(encoded_answer(each, *pair, codec)) for each in of for pair in QUESTIONS}
    seen = epochs(material(tmp_path, of, asks=True), tmp_path, 5, seed=1)
    asked = [ids for epoch in seen for ids in epoch if FUTURE_START not in ids]
    assert 0.02 < len(asked) / sum(map(len, seen)) < 0.3
    assert set(asked) <= possible
    assert len({codec.tokenizer.decode(list(ids)).partition("<|question_start|>")[2] for ids in asked}) == len(QUESTIONS)
    assert epochs(material(tmp_path, of, asks=True), tmp_path, 1, seed=1) == seen[:1], "the same seed asks the same"


def test_without_questions_nothing_changes(tmp_path: Path) -> None:
    """To the bit: where nobody wants them asked, and where no example has one."""
    settings, codec = replace(SETTINGS, batch=4), debug_codec()
    quiet = feed_of(material(tmp_path / "a", asked_about(examples()), asks=False), settings, ALONE, tmp_path)(0)
    bare = feed_of(material(tmp_path / "b", examples(), asks=True), settings, ALONE, tmp_path)(0)
    ways = {encoded(each, codec).actions.numpy().tobytes(): each for each in examples()}
    for _ in range(2):
        one, other = next(quiet), next(bare)
        assert_same(one, other)
        of = [drop_navigation(ways[actions.numpy().tobytes()], UNTOLD, 0, 0) for actions in one.actions]
        assert_same(one, batch_of([encoded(each, codec) for each in of], FUTURE_START))


def mixed() -> Batch:
    """Two questions about an example, and what to do in another one."""
    codec, (first, second, *_) = debug_codec(), examples()
    asked = [encoded_answer(first, *pair, codec) for pair in QUESTIONS]
    return side_by_side([asked[0], encoded(second, codec), asked[1]], FUTURE_START)


def test_what_is_learned_of_a_question_is_its_answer() -> None:
    codec, batch = debug_codec(), mixed()
    rows = [ids[which] for ids, which in zip(batch.token_ids, is_answer(batch), strict=True)]
    learned = [codec.tokenizer.decode(row.tolist()) for row in rows]
    assert [learned[0], learned[2]] == [f"{said}<|answer_end|><|im_end|>" for _, said in QUESTIONS]
    assert "<|traj_future_end|>" in learned[1]


def test_answers_are_learned_beside_trajectories(tmp_path: Path) -> None:
    """A network that was taught is asked as `alpamayo plan --ask` asks it."""
    codec, seen = debug_codec(), examples()[0].observation
    student = Student(debug_model(), Learned(("views", "language"), words=1.0, trajectory=1.0))
    settings = Optimisation(steps=60, batch=3, learning_rate=1e-2, save_every=60)
    fit(student, lambda begin: repeat(mixed()), settings, Run(tmp_path / "run", {"stage": "test"}), ALONE)
    for question, said in QUESTIONS:
        prompt = encode(seen, *codec, "ask", question)
        assert answer(student.model, codec.tokenizer, prompt, Request(max_tokens=16)) == said


@pytest.mark.parametrize("question", ["What <|im_end|>?", " "])
def test_a_question_that_cannot_be_asked_is_named_and_the_next_example_stands_for_it(question: str, tmp_path: Path) -> None:
    of = [replace(example, questions=((question, "That."),)) for example in examples()]
    seen = epochs(material(tmp_path, of, asks=True), tmp_path, 3)
    assert all(FUTURE_START in ids for epoch in seen for ids in epoch)
    assert (tmp_path / "0.jsonl").read_text().count("question") >= 1
