"""A language model that is asked what is before it looks: the loss `sights`."""

from dataclasses import replace

import pytest
import torch
from training.lessons import debug_codec, debug_model, scene

from alpamayo_ros.training.optimizers import forget_gradients, optimizers, take_step
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.shelf import Shelf, shelve
from alpamayo_ros.training.student import Student, draw_noise
from alpamayo_ros.types import InvalidInput

LOOKS = Learned(("views", "language"), sights=1.0)


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return shelve([scene()], debug_model().vlm.model.visual, debug_codec())


def test_a_batch_shows_what_is_on_the_newest_picture_of_every_camera(shelf: Shelf) -> None:
    taken, window = scene(), scene().scene.windows[5]
    assert shelf.batch([5]).shown is not None
    kinds, nearest_m, course_rad = shelf.batch([5]).shown
    newest = window.frames[-1]
    assert torch.equal(course_rad[0], torch.tensor(taken.course_rad[newest]))
    left_third = taken.kinds[newest, :, :, :2].any(axis=(1, 2))
    assert torch.equal(kinds[0, :, 0].bool(), torch.from_numpy(left_third))
    assert torch.equal(nearest_m[0, :, 2], torch.from_numpy(taken.nearest_m[newest, :, :, 4:].min(axis=(1, 2))))


def test_it_is_learned_by_the_head_the_language_model_and_the_tokens_of_the_scene(shelf: Shelf) -> None:
    student = Student(debug_model(), LOOKS)
    taking = optimizers(student, Optimisation(steps=20, batch=8, learning_rate=3e-3))
    batch, told = shelf.batch(range(8)), []
    for _ in range(20):
        loss = student(batch, draw_noise(range(8), LOOKS)).sights
        loss.backward()
        told.append(loss.item())
        moved = {name.split(".")[1] for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}
        assert {"head", "views", "vlm"} == moved
        take_step(taking)
        forget_gradients(taking)
    assert told[-1] < 0.7 * told[0]


def test_only_the_head_is_new_and_no_bundle_has_it() -> None:
    student = Student(debug_model(), LOOKS)
    heads = [name for name, _ in student.named_parameters() if not name.startswith("model.")]
    assert heads
    assert all(name.startswith("told.") for name in heads)
    assert not [name for name in student.model.state_dict() if "told" in name]
    again = Student(debug_model(), LOOKS)
    assert all(torch.equal(again.state_dict()[name], student.state_dict()[name]) for name in heads), "always the same one"
    assert Student(debug_model(), replace(LOOKS, sights=0.0, words=1.0)).told is None


def test_a_truth_that_nobody_knows_is_refused(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput, match="what is on these pictures is not known: sights must be 0"):
        Student(debug_model(), LOOKS)(shelf.batch([0])._replace(shown=None), draw_noise([0], LOOKS))
