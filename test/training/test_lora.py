"""LoRA: only adapters learn, what they learned is merged without a difference, and a run with them can be cut off."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from training.lessons import batch, debug_model

from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.batch import read
from alpamayo_ros.training.fit import fit
from alpamayo_ros.training.lora import PROJECTIONS, adapted, put_adapters
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

pytest.importorskip("peft")

LEARNED = Learned(("language",), words=1.0, trajectory=1.0, lora_rank=4)
SETTINGS = Optimisation(steps=6, batch=2, learning_rate=1e-2, least_learning_rate=1e-2, save_every=2)


def fitted(folder: Path, steps: int = 6, learned: Learned = LEARNED) -> tuple[Alpamayo, Run]:
    student, run = Student(debug_model(), learned), Run(folder, {"stage": "test"})
    with adapted(student, seed=3):
        fit(student, lambda begin: (batch(i % 3, 3) for i in count(begin)), replace(SETTINGS, steps=steps), run, ALONE)
    return student.model, run


def test_only_adapters_learn() -> None:
    """Two of each projection; embeddings, norms, the head and everything outside of the language model are as they were."""
    student = Student(debug_model(), LEARNED)
    put_adapters(student, 4, seed=0)
    learning = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    layers = student.model.config.text.num_hidden_layers
    assert len(learning) == 2 * len(PROJECTIONS) * layers
    assert all(name.startswith("model.vlm.model.language_model.layers.") for name in learning)
    assert {name.split(".lora_")[1][0] for name in learning} == {"A", "B"}


def test_what_is_left_differs_from_the_beginning_in_projections_by_a_low_rank_alone(tmp_path: Path) -> None:
    model, run = fitted(tmp_path / "run")
    assert run.history("loss")[-1] < run.history("loss")[0]
    before = debug_model().state_dict()
    assert model.state_dict().keys() == before.keys(), "the released layout"
    changed = {name: value - before[name] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[-2] for name in changed} == set(PROJECTIONS)
    for name, change in changed.items():
        assert int(torch.linalg.matrix_rank(change, rtol=1e-3)) <= 4, name


@torch.no_grad()
def test_merged_and_unmerged_say_the_same() -> None:
    student = Student(debug_model(), LEARNED)
    adapters = put_adapters(student, 4, seed=0)
    untouched = read(debug_model(), batch(0, 1)).hidden
    torch.testing.assert_close(read(student.model, batch(0, 1)).hidden, untouched, rtol=0, atol=1e-6)
    for name, parameter in student.named_parameters():
        if ".lora_B." in name:
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.05)
    beside = read(student.model, batch(0, 1))
    adapters.merge_and_unload()
    merged = read(student.model, batch(0, 1))
    assert (beside.hidden - untouched).abs().max() > 0.01, "adapters that do nothing show nothing"
    for one, other in ((beside.hidden, merged.hidden), (beside.k, merged.k), (beside.v, merged.v)):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-5)


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, there = fitted(tmp_path / "whole")
    fitted(tmp_path / "cut", steps=4)
    again, gone_on = fitted(tmp_path / "cut")
    assert gone_on.history("loss") == there.history("loss")
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_without_a_rank_the_language_model_itself_learns(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path / "run", steps=1, learned=replace(LEARNED, lora_rank=None))
    name = "vlm.model.language_model.embed_tokens.weight"
    assert not torch.equal(model.state_dict()[name], debug_model().state_dict()[name])


@pytest.mark.parametrize("changes", [{"lora_rank": 0}, {"parts": ("views",)}])
def test_a_rank_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="lora_rank"):
        replace(LEARNED, **changes)
