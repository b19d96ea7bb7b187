"""Pictures that were looked at beforehand are as good as pictures."""

import math
from dataclasses import replace

import pytest
import torch
from training.lessons import debug_codec, debug_model, examples, scene

from alpamayo_ros.reasoning import parse_trace
from alpamayo_ros.simulation.expert.wording import motion_of
from alpamayo_ros.training.batch import batch_of, read
from alpamayo_ros.training.encoding import encoded
from alpamayo_ros.training.losses import token_loss
from alpamayo_ros.training.shelf import USUAL, Shelf, shelve
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return shelve([scene()], debug_model().vlm.model.visual, debug_codec())


def test_a_batch_is_read_as_it_would_be_from_its_pictures(shelf: Shelf) -> None:
    model, which = debug_model(), (0, 5)
    said = [replace(examples()[i], reasoning=shelf.lessons[i].example.reasoning) for i in which]
    pictures = batch_of([encoded(example, debug_codec()) for example in said], shelf.future_start)
    looked_at = shelf.batch(which)
    assert torch.equal(pictures.token_ids, looked_at.token_ids)
    assert torch.equal(pictures.positions, looked_at.positions)
    losses = [token_loss(model, read(model, batch), batch) for batch in (pictures, looked_at)]
    torch.testing.assert_close(losses[0].words, losses[1].words, rtol=1e-3, atol=0)
    torch.testing.assert_close(read(model, pictures).hidden, read(model, looked_at).hidden, rtol=0, atol=1e-2)


def test_other_pictures_are_other_features(shelf: Shelf) -> None:
    model = debug_model()
    own, other = shelf.batch([0]), shelf.batch([5])
    assert (
        read(model, own).hidden[:, :60] - read(model, own._replace(features=other.features)).hidden[:, :60]
    ).abs().max() > 1e-3


def epoch_of(shelf: Shelf, size: int, number: int) -> list[tuple[float, ...]]:
    """The lessons of an epoch, each by how its actions begin."""
    usual = sum(not lesson.is_balanced for lesson in shelf.lessons)
    count = (len(shelf.lessons) - usual + math.ceil(USUAL * usual)) // size
    batches = shelf.shuffled(size, seed=1, begin=number * count)
    return [tuple(start) for _ in range(count) for start in next(batches).actions[:, 0].tolist()]


def test_every_epoch_has_every_balanced_lesson_and_a_part_of_the_usual_ones(shelf: Shelf) -> None:
    flags = [index % 3 == 0 for index in range(len(shelf.lessons))]
    marked = replace(
        shelf, lessons=tuple(replace(each, is_balanced=flag) for each, flag in zip(shelf.lessons, flags, strict=True))
    )
    starts = [tuple(lesson.encoded.actions[0].tolist()) for lesson in marked.lessons]
    assert len(set(starts)) == len(starts)
    balanced = {start for start, flag in zip(starts, flags, strict=True) if flag}
    epochs = [epoch_of(marked, 1, number) for number in range(3)]
    usual = [set(epoch) - balanced for epoch in epochs]
    for epoch, of_it in zip(epochs, usual, strict=True):
        assert len(set(epoch)) == len(epoch)
        assert balanced <= set(epoch)
        assert len(of_it) == math.ceil(USUAL * flags.count(False))
    assert usual[0] != usual[1], "other ones each time"
    assert epochs[0] != epochs[1]


def test_batches_can_be_entered_anywhere(shelf: Shelf) -> None:
    batches = shelf.shuffled(2, seed=1, begin=0)
    first = [next(batches) for _ in range(9)]
    for place in (0, 2, 7):
        assert torch.equal(next(shelf.shuffled(2, seed=1, begin=place)).token_ids, first[place].token_ids)


def test_lessons_that_mean_the_same_say_the_same(shelf: Shelf) -> None:
    by_meaning: dict[object, set[str]] = {}
    for lesson, label in zip(shelf.lessons, scene().scene.labels, strict=True):
        assert lesson.example.reasoning is not None
        said = lesson.example.reasoning.text
        assert parse_trace(said, 0, complete=True).decision == label.decision
        meaning = label.decision, tuple((cause.kind, cause.side) for cause in label.causes), motion_of(label.trajectory)
        by_meaning.setdefault(meaning, set()).add(said)
        assert said in debug_codec().tokenizer.decode(lesson.encoded.token_ids.tolist()), "it is what is learned"
    assert all(len(said) == 1 for said in by_meaning.values())
    assert len({label.text for label in scene().scene.labels}) > len(by_meaning)


def test_a_batch_larger_than_the_shelf_is_refused(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match="usual ones, a batch wants 1000"):
        next(shelf.shuffled(1000, seed=0, begin=0))


def test_some_lessons_do_not_know_the_route_and_are_shorter_for_it() -> None:
    some = shelve([scene()], debug_model().vlm.model.visual, debug_codec(), untold=0.5)
    shelf = shelve([scene()], debug_model().vlm.model.visual, debug_codec(), untold=0.0)
    both = list(zip(some.lessons, shelf.lessons, strict=True))
    told = [lesson.example.observation.navigation is not None for lesson, _ in both]
    assert any(told)
    assert not all(told)
    lengths = [(lesson.encoded.prompt_length, full.encoded.prompt_length) for lesson, full in both]
    assert all((own == full) == knows for (own, full), knows in zip(lengths, told, strict=True))
