"""Scene tokens learn what was seen, from every picture, and nothing else is moved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from model.nano import BUNDLE as NANO
from training.lessons import debug_codec, debug_model, scene

from alpamayo_ros.model.views.flex import Flex
from alpamayo_ros.simulation.data.sights import NOTHING_M
from alpamayo_ros.training.gathering import Gatherer, gather, gathered_loss
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.shelf import Shelf, blinded, shelve
from alpamayo_ros.training.sizes import SIZES, SizeName, begin_bundle, new_model, open_codec

SETTINGS = Optimisation(steps=40, batch=8, learning_rate=3e-3, warmup_steps=4)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return shelve([scene()], debug_model().vlm.model.visual, debug_codec())


def gatherer(shelf: Shelf) -> Gatherer:
    torch.manual_seed(0)
    views = debug_model().views
    assert isinstance(views, Flex)
    return Gatherer(views, len(shelf.lessons[0].rows))


def test_a_third_of_a_picture_has_what_its_cells_have(shelf: Shelf) -> None:
    taken, roles = scene(), scene().pictures.shape[1]
    kinds, nearest_m = taken.kinds[5, 2], taken.nearest_m[5, 2]
    row = 5 * roles + 2
    for third in range(3):
        columns = slice(2 * third, 2 * third + 2)
        assert (shelf.summary.kinds[row, third] == kinds[:, columns].any(axis=(0, 1))).all()
        assert shelf.summary.nearest_m[row, third] == nearest_m[:, columns].min()
    assert (shelf.summary.nearest_m < NOTHING_M).any()


def test_it_learns_what_is_on_the_pictures_and_moves_the_views_alone(shelf: Shelf, tmp_path: Path) -> None:
    learner = gatherer(shelf)
    fitted = gather(learner, shelf, SETTINGS, Run(tmp_path / "run", {"stage": "gather"}), ALONE)
    assert fitted.loss_last < 0.8 * fitted.loss_first
    assert not torch.equal(learner.views.scene.weight, gatherer(shelf).views.scene.weight)


def test_a_picture_s_truth_is_told_in_its_own_place(shelf: Shelf) -> None:
    """What is told of an image is held against that image: with another order of truths the loss differs."""
    learner = gatherer(shelf)
    turned = shelf.summary._replace(kinds=shelf.summary.kinds[::-1], nearest_m=shelf.summary.nearest_m[::-1])
    with torch.no_grad():
        own, other = (gathered_loss(learner, each, [0, 5]) for each in (shelf, replace(shelf, summary=turned)))
    assert abs(float(own.kinds - other.kinds)) > 1e-4


def test_the_blind_see_the_same_on_every_picture() -> None:
    shelf = shelve([blinded(scene())], debug_model().vlm.model.visual, debug_codec())
    assert torch.equal(shelf.features, shelf.features[:1].expand_as(shelf.features))
    assert np.unique(blinded(scene()).pictures).tolist() == [127]
    assert len({tuple(lesson.encoded.token_ids.tolist()) for lesson in shelf.lessons}) > 1, "all else differs"


@pytest.mark.parametrize(("size", "most"), [("debug", 1_000_000), ("micro", 2_000_000), ("nano", 7_000_000)])
def test_a_size_has_no_more_parameters_than_it_may(size: SizeName, most: int, tmp_path: Path) -> None:
    begin_bundle(tmp_path / "begin", NANO, SIZES[size])
    assert sum(each.numel() for each in new_model(open_codec(tmp_path / "begin"), 0).parameters()) <= most
