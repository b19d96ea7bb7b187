"""FP8: products of scaled eighths, an engine that is nearly the exact one, and a gate that keeps out what is not."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine.contract_checks import check_hints_never_matter
from model.nano import BUNDLE, observation

from alpamayo_ros.engine.graphed.eight import PARITY, EightBitEngine, Parity, checked, hold
from alpamayo_ros.engine.graphed.engine import GraphedEngine
from alpamayo_ros.engine.graphed.matrices import LARGEST, Plain, scaled
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.types import InvalidInput, Request

ROUNDING = 2.0**-4
"""Relative, of an e4m3: three bits behind the point."""


def test_rows_come_back_within_their_rounding() -> None:
    rows = torch.randn(7, 48, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 6, 7)[:, None]
    found = scaled(rows)
    largest = rows.abs().amax(dim=1, keepdim=True)
    error = (found.rows.float() * found.scale - rows).abs()
    assert (error <= ROUNDING * rows.abs() + largest / LARGEST * 2.0**-9).all()
    assert torch.equal(found.rows.float().abs().amax(dim=1), torch.full((7,), LARGEST))


def test_a_row_of_zeros_stays_zeros() -> None:
    found = scaled(torch.zeros(2, 16))
    assert not (found.rows.float() * found.scale).any()


def test_a_product_is_near_the_exact_one_and_not_it() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(32, 64, generator=generator), torch.randn(3, 5, 64, generator=generator)
    exact, eight = Plain(weight)(x), scaled(weight)(x)
    assert eight.shape == exact.shape
    apart = (eight - exact).abs().max() / exact.abs().max()
    assert 1e-4 < apart < 0.05


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Parity]:
    torch.set_num_threads(1)
    folder = shutil.copytree(BUNDLE, tmp_path_factory.mktemp("eight") / "bundle")
    return folder, hold(folder, [observation(number) for number in range(2)])


def test_what_was_found_is_written_down(held: tuple[Path, Parity]) -> None:
    folder, parity = held
    assert json.loads((folder / PARITY).read_text()) == vars(parity)
    assert parity.windows == 2
    assert parity.apart_m > 0, "it is not the exact engine"


def passing(folder: Path) -> Path:
    """As if it had been near enough."""
    path = folder / PARITY
    path.write_text(json.dumps(json.loads(path.read_text()) | {"same_words": 1.0, "apart_m": 0.1}))
    return folder


def test_it_answers_nearly_as_the_exact_engine(held: tuple[Path, Parity], tmp_path: Path) -> None:
    folder = passing(shutil.copytree(held[0], tmp_path / "bundle"))
    request = Request(steps=1, reasoning="none")
    with closing(GraphedEngine(folder)) as exact, closing(open_engine(f"{folder}@graphed-fp8")) as eight:
        one, other = exact.infer(observation(), request), eight.infer(observation(), request)
    assert 1e-6 < np.abs(one.actions - other.actions).max() < 0.5
    assert other.complete == (True,)


def test_hints_never_matter() -> None:
    check_hints_never_matter(lambda: EightBitEngine.unchecked(BUNDLE), [observation(0), observation(1)], examples=2)


def test_its_matrices_are_eighths_and_nothing_else_is_held(held: tuple[Path, Parity], tmp_path: Path) -> None:
    with closing(EightBitEngine(passing(shutil.copytree(held[0], tmp_path / "bundle")))) as engine:
        layers = engine._network._layers
        assert {layer.qkv.rows.dtype for layer in layers} == {torch.float8_e4m3fn}
        with pytest.raises(InvalidInput, match="want @eager"):
            engine.infer(observation(), Request(guidance=2.0))


def test_without_a_look_it_does_not_open(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLE, tmp_path / "bundle")
    with pytest.raises(InvalidInput, match=f"alpamayo build {folder} --fp8 BAG"):
        open_engine(f"{folder}@graphed-fp8")


def test_a_look_at_other_weights_is_none(held: tuple[Path, Parity], tmp_path: Path) -> None:
    folder = passing(shutil.copytree(held[0], tmp_path / "bundle"))
    (folder / "profile.yaml").write_text((folder / "profile.yaml").read_text() + "\n")
    with pytest.raises(InvalidInput, match=r"is of model .*, this is"):
        EightBitEngine(folder)


@pytest.mark.parametrize(
    ("off", "why"),
    [
        ({"same_words": 0.5}, "0.50 of the sentences are the same, want 0.90: open @graphed"),
        ({"apart_m": 0.5}, "trajectories are 0.50 m apart, want at most 0.30: open @graphed"),
        ({"apart_m": float("nan")}, "trajectories are nan m apart, .*: open @graphed"),
    ],
)
def test_what_strays_too_far_does_not_open(held: tuple[Path, Parity], off: dict[str, float], why: str, tmp_path: Path) -> None:
    folder = passing(shutil.copytree(held[0], tmp_path / "bundle"))
    path = folder / PARITY
    path.write_text(json.dumps(json.loads(path.read_text()) | off))
    with pytest.raises(InvalidInput, match=why):
        checked(folder)


def test_a_page_with_other_names_is_refused(held: tuple[Path, Parity], tmp_path: Path) -> None:
    folder = shutil.copytree(held[0], tmp_path / "bundle")
    (folder / PARITY).write_text('{"drift": 1}')
    with pytest.raises(InvalidInput, match="drift"):
        checked(folder)


def test_nothing_seen_is_nothing_held(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no window to hold FP8 against the exact engine on: take a longer bag"):
        hold(BUNDLE, [])
    assert replace(Parity("m", "cpu", 1, 1.0, 0.0, 0.0), same_words=float("nan")).too_far
