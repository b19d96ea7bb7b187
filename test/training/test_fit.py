"""The loop of every stage: it learns, goes on where it was cut off, and says when it cannot."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Literal

import pytest
import torch
from model.nano import BUNDLE
from training.lessons import batch, debug_model, lessons

from alpamayo_ros.training.batch import Batch
from alpamayo_ros.training.checkpoints import checkpoints
from alpamayo_ros.training.fit import Fitted, fit
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.run import Run
from alpamayo_ros.training.settings import Learned, Optimisation
from alpamayo_ros.training.sizes import SIZES, begin_bundle, new_model, open_codec
from alpamayo_ros.training.student import Student
from alpamayo_ros.types import InvalidInput

EVERYTHING = Learned(("vision", "views", "language", "expert"), words=1.0, trajectory=1.0, flow=1.0, draws=2)
SETTINGS = Optimisation(steps=12, batch=4, learning_rate=3e-3, warmup_steps=2, save_every=4)


def feed(begin: int) -> Iterator[Batch]:
    """Other examples in every pass, the same ones for its number."""
    return (batch(*((7 * number + i) % len(lessons()) for i in range(4))) for number in count(begin))


def trained(folder: Path, settings: Optimisation = SETTINGS, learned: Learned = EVERYTHING) -> tuple[Student, Fitted, Run]:
    student = Student(debug_model(), learned)
    run = Run(folder, {"stage": "test"})
    return student, fit(student, feed, settings, run, ALONE), run


@pytest.mark.thorough
def test_every_loss_falls(tmp_path: Path) -> None:
    _, fitted, run = trained(tmp_path / "run", replace(SETTINGS, steps=30))
    assert fitted.loss_last < 0.8 * fitted.loss_first
    for name in ("words", "trajectory", "flow"):
        losses = run.history(name)
        assert sum(losses[-5:]) < sum(losses[:5]), name


@pytest.mark.thorough
@pytest.mark.parametrize("matrices", ["adam", "muon"])
def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path, matrices: Literal["adam", "muon"]) -> None:
    # The cosine knows how long it will be: the first six steps of both are those of the longer one only with the same rates.
    flat = replace(SETTINGS, least_learning_rate=SETTINGS.learning_rate, matrices=matrices)
    whole, _, there = trained(tmp_path / "flat", flat)
    trained(tmp_path / "flat_cut", replace(flat, steps=6))  # its last checkpoint is that of step 6
    assert [path.name for path in checkpoints(tmp_path / "flat_cut" / "checkpoints")] == ["step-0000004", "step-0000006"]
    again, _, gone_on = trained(tmp_path / "flat_cut", flat)
    assert gone_on.history("loss") == there.history("loss")
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_accumulated_passes_are_one_batch(tmp_path: Path) -> None:
    """Words of different lengths: the mean of two means is not the mean of all, so the flow alone is compared."""
    flow = replace(EVERYTHING, words=0.0, trajectory=0.0, parts=("expert",), draws=1)
    assert flow.flow
    once = Student(debug_model(), flow)
    whole, halves = batch(0, 1, 2, 3), (batch(0, 1), batch(2, 3))
    noise = torch.randn(4, 64, 2), torch.rand(4)
    once(whole, noise).flow.backward()
    expected = {name: p.grad.clone() for name, p in once.named_parameters() if p.grad is not None}
    once.zero_grad()
    for half, which in zip(halves, (slice(0, 2), slice(2, 4)), strict=True):
        (once(half, tuple(each[which] for each in noise)).flow / 2).backward()
    for name, parameter in once.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("parts", [("vision",), ("views",), ("language",), ("expert",)])
def test_only_the_parts_that_are_named_change(tmp_path: Path, parts: tuple[str, ...]) -> None:
    flow = float("expert" in parts)
    learned = Learned(parts, words=1.0 - flow, trajectory=1.0 - flow, flow=flow)
    before = debug_model().state_dict()
    student, _, _ = trained(tmp_path / "run", replace(SETTINGS, steps=2), learned)
    after = student.model.state_dict()
    changed = {
        name.split(".")[2 if name.startswith("vlm.model") else 0]
        for name in before
        if not torch.equal(before[name], after[name])
    }
    belongs = {"vision": {"visual"}, "views": {"views"}, "language": {"language_model", "vlm"}}
    assert changed == belongs.get(parts[0], {"expert", "action_in_proj", "action_out_proj"})


def test_a_loss_that_is_not_finite_is_said_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"step \d+: the loss is (nan|inf); a lower learning rate than 100000.0 may help"):
        trained(tmp_path / "run", replace(SETTINGS, learning_rate=1e5, clip_norm=1e9, warmup_steps=0))


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    Run(tmp_path / "run", {"stage": "sft", "settings": SETTINGS})
    with pytest.raises(InvalidInput, match=r"told something else \(settings\)"):
        Run(tmp_path / "run", {"stage": "sft", "settings": replace(SETTINGS, seed=1)})


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "run", replace(SETTINGS, steps=2))
    begin_bundle(tmp_path / "larger", BUNDLE, replace(SIZES["debug"], expert=(64, 64)))
    student = Student(new_model(open_codec(tmp_path / "larger"), 0), EVERYTHING)
    with pytest.raises(InvalidInput, match="not a checkpoint of this network"):
        fit(student, feed, SETTINGS, Run(tmp_path / "run", {"stage": "test"}), ALONE)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"accumulate": 3}, "whole passes"),
        ({"least_learning_rate": 1.0}, "least rate <= rate"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, float], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        replace(SETTINGS, **changes)


def test_the_rate_warms_up_and_falls_to_the_least() -> None:
    settings = Optimisation(steps=100, batch=1, learning_rate=1.0, least_learning_rate=0.1, warmup_steps=10)
    rates = [settings.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(set(rates[10:]), reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
