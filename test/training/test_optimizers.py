"""What takes the steps: every weight by one optimizer, matrices by Muon where that is asked for."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from training.lessons import debug_model

from alpamayo_ros.training.optimizers import optimizers, take_step, warm_to
from alpamayo_ros.training.settings import PARTS, Learned, Optimisation
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

SETTINGS = Optimisation(steps=10, batch=4, learning_rate=1e-2, weight_decay=0.0)
MUON = replace(SETTINGS, matrices="muon")
EVERYTHING = Learned(tuple(PARTS), words=1.0, trajectory=1.0, flow=1.0)


def names_of(student: Student, optimizer: torch.optim.Optimizer) -> set[str]:
    taken = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {name for name, parameter in student.named_parameters() if id(parameter) in taken}


def test_every_weight_belongs_to_one_optimizer() -> None:
    student = Student(debug_model(), EVERYTHING)
    everything = {name for name, _ in student.named_parameters()}
    (adam,) = optimizers(student, SETTINGS)
    assert names_of(student, adam) == everything
    matrices, others = (names_of(student, one) for one in optimizers(student, MUON))
    assert matrices | others == everything
    assert not matrices & others


def test_muon_moves_matrices_inside_layers_and_no_rows_that_stand_for_tokens() -> None:
    student = Student(debug_model(), EVERYTHING)
    shapes = {name: parameter.ndim for name, parameter in student.named_parameters()}
    muon, others = (names_of(student, one) for one in optimizers(student, MUON))
    assert {shapes[name] for name in muon} == {2}
    assert "model.vlm.model.language_model.layers.0.self_attn.q_proj.weight" in muon
    for name in (
        "vlm.model.language_model.embed_tokens.weight",
        "vlm.lm_head.weight",
        "action_out_proj.weight",
        "views.scene.weight",
    ):
        assert f"model.{name}" in others, name


def test_an_update_of_muon_goes_in_all_directions_alike() -> None:
    """Its singular values are about equal, those of the gradient are not (Newton-Schulz brings them into 0.7 to 1.2)."""
    student = Student(debug_model(), EVERYTHING)
    weight = dict(student.named_parameters())["model.vlm.model.language_model.layers.0.mlp.up_proj.weight"]
    moved = {}
    for asked in (MUON, SETTINGS):
        before = weight.detach().clone()
        weight.grad = torch.randn(weight.shape[0], 3, generator=torch.Generator().manual_seed(1)) @ torch.randn(
            3, weight.shape[1], generator=torch.Generator().manual_seed(2)
        ) + 1e-2 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))
        take_step(optimizers(student, asked))
        moved[asked.matrices] = spread(weight.detach() - before)
    assert spread(weight.grad) > 100.0
    assert moved["muon"] < 10.0 < moved["adam"] / 100


def spread(matrix: Tensor) -> float:
    values = torch.linalg.svdvals(matrix)
    return float(values[0] / values[-1])


def test_rates_are_parts_of_the_rate_of_a_step() -> None:
    student = Student(debug_model(), EVERYTHING)
    taking = optimizers(student, replace(MUON, vision_factor=0.5, muon_factor=4.0))
    warm_to(taking, 0.1)
    rates = {group["lr"] for optimizer in taking for group in optimizer.param_groups}
    assert rates == {0.1, 0.05, 0.4, 0.2}


def test_nothing_to_train_is_refused() -> None:
    student = Student(debug_model(), EVERYTHING)
    student.requires_grad_(requires_grad=False)
    with pytest.raises(InvalidInput, match="nothing of this network is trained"):
        optimizers(student, SETTINGS)
