"""The vision tower learns what is where, and rare things are looked at often."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training.lessons import debug_codec, debug_model, scene

from alpamayo_ros.simulation.data.sights import KINDS
from alpamayo_ros.training.losses import BEARING_RAD, Told
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.seeing import Seer, Shots, average_precision, see, shots_of, sight_loss, worth_seeing
from alpamayo_ros.training.settings import Optimisation

SETTINGS = Optimisation(steps=40, batch=32, learning_rate=3e-3, warmup_steps=4, save_every=10)


def seer() -> Seer:
    torch.manual_seed(0)
    return Seer(debug_model().vlm.model.visual, debug_codec())


@pytest.fixture(scope="module")
def shots() -> Shots:
    return shots_of([scene()])


def test_every_picture_of_a_scene_is_a_shot_with_its_own_sights(shots: Shots) -> None:
    taken = scene()
    assert len(shots.pictures) == taken.pictures.shape[0] * taken.pictures.shape[1]
    place = 5 * taken.pictures.shape[1] + 2
    assert (shots.pictures[place] == taken.pictures[5, 2]).all()
    assert (shots.kinds[place] == taken.kinds[5, 2]).all()
    roles = taken.scene.roles
    ahead = 5 * len(roles) + roles.index("front_wide")
    assert (shots.course_rad[ahead] == taken.course_rad[5]).all()
    assert np.isnan(shots.course_rad[5 * len(roles) + roles.index("rear_left")]).all()


def test_it_learns_what_is_where(shots: Shots, tmp_path: Path) -> None:
    learner = seer()
    fitted = see(learner, shots, SETTINGS, Run(tmp_path / "run", {"stage": "see"}), ALONE)
    assert fitted.loss_last < 0.7 * fitted.loss_first


def test_what_is_told_of_a_cell_comes_from_the_token_that_holds_it(shots: Shots) -> None:
    """Without layers between the patches a cell's logits depend on its own token alone."""
    learner = seer()
    learner.vision.blocks = torch.nn.ModuleList()
    one = shots.at(np.array([0]))
    changed = one._replace(pictures=one.pictures.copy())
    changed.pictures[0, :32, 32:64] = 255  # the second token of the first row
    with torch.no_grad():
        before, after = learner(one)[0], learner(changed)[0]
    moved = (before != after).any(dim=-1)[0]
    wanted = torch.zeros(4, 6, dtype=torch.bool)
    wanted[:2, 2:4] = True
    assert torch.equal(moved, wanted)


def test_a_cut_off_run_goes_on_with_the_same_losses(shots: Shots, tmp_path: Path) -> None:
    flat = Optimisation(steps=20, batch=8, learning_rate=1e-3, least_learning_rate=1e-3, save_every=10)
    whole = Run(tmp_path / "whole", {"stage": "see"})
    see(seer(), shots, flat, whole, ALONE)
    see(seer(), shots, Optimisation(10, 8, 1e-3, 1e-3, save_every=10), Run(tmp_path / "cut", {"stage": "see"}), ALONE)
    gone_on = Run(tmp_path / "cut", {"stage": "see"})
    see(seer(), shots, flat, gone_on, ALONE)
    assert gone_on.history("loss") == whole.history("loss")


def test_a_perfect_seer_loses_little_and_a_blind_one_more(shots: Shots) -> None:
    class Knowing(Seer):
        def forward(self, shots: Shots) -> Told:
            kinds, nearest_m, course_rad = map(torch.from_numpy, (shots.kinds, shots.nearest_m, shots.course_rad))
            return Told(kinds * 40.0 - 20.0, nearest_m.clamp(min=1.0).log(), course_rad / BEARING_RAD)

    few = shots.at(np.arange(20))
    told, blind = sight_loss(Knowing(debug_model().vlm.model.visual, debug_codec()), few), sight_loss(seer(), few)
    assert told.kinds < 1e-6
    assert told.course < 1e-6
    assert blind.course > 0
    assert told.distance == 0
    assert blind.kinds > 0.1


def test_rare_things_are_drawn_often() -> None:
    kinds = np.zeros((1000, 4, 6, len(KINDS)), np.uint8)
    kinds[:, 0, 0, KINDS.index("vehicle")] = 1
    kinds[7, 1, 1, KINDS.index("red")] = 1
    parts = np.diff(worth_seeing(kinds), prepend=0.0)
    assert parts.sum() == pytest.approx(1.0)
    assert parts[7] == parts.max() > 10 * parts[0]
    assert parts[0] == pytest.approx(parts[1])


def test_average_precision_is_1_for_the_right_order_and_the_share_for_a_constant() -> None:
    kinds = torch.zeros(4, 4, 6, len(KINDS))
    kinds[0, 0, 0, 0] = kinds[1, 2, 3, 0] = 1
    assert average_precision(kinds, kinds) == {"vehicle": 1.0}
    worst = average_precision(-kinds, kinds)["vehicle"]
    assert worst == pytest.approx((1 / 95 + 2 / 96) / 2)
