"""Pictures that were looked at beforehand are as good as pictures."""

import pytest
import torch
from training.lessons import debug_codec, debug_model, lessons, scene

from alpamayo_ros.training.batch import batch_of, read
from alpamayo_ros.training.losses import token_loss
from alpamayo_ros.training.shelf import Shelf, shelve
from alpamayo_ros.types import InvalidInput


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return shelve([scene()], debug_model().vlm.model.visual, debug_codec())


def test_a_batch_is_read_as_it_would_be_from_its_pictures(shelf: Shelf) -> None:
    model, which = debug_model(), (0, 5)
    pictures = batch_of([lessons()[i] for i in which], shelf.future_start)
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


def test_every_epoch_has_every_lesson_once_and_can_be_entered_anywhere(shelf: Shelf) -> None:
    count, size = len(shelf.lessons), 4
    batches = shelf.shuffled(size, seed=1, begin=0)
    epoch = [next(batches) for _ in range(count // size)]
    starts = [ids.tolist() for batch in epoch for ids in batch.actions[:, 0]]
    assert len({tuple(start) for start in starts}) == len(starts) == count // size * size
    later = next(shelf.shuffled(size, seed=1, begin=2))
    assert torch.equal(later.token_ids, epoch[2].token_ids)
    assert not torch.equal(next(batches).actions, epoch[0].actions), "another epoch, another order"


def test_a_batch_larger_than_the_shelf_is_refused(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match=f"{len(shelf.lessons)} lessons, a batch wants 1000"):
        next(shelf.shuffled(1000, seed=0, begin=0))
