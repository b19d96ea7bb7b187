"""`alpamayo bench engine`: what is not equal is not timed, and every figure says what it is of. No time is asserted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from model.nano import BUNDLE

from alpamayo_ros.cli import trials
from alpamayo_ros.engine import benchmark, pace
from alpamayo_ros.engine.benchmark import SAMPLES, STEPS, TINY, WORDS, Ours, Transformers
from alpamayo_ros.model import sample as sampling
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.prompt import Prompt
from alpamayo_ros.types import HORIZON, EngineFailure, InvalidInput

pytestmark = pytest.mark.thorough

STAGES = ["look", "prefill", "token", "flow", "whole"]


class Tiny(NamedTuple):
    model: Alpamayo
    prompt: Prompt
    ours: Ours
    theirs: Transformers


@pytest.fixture(scope="module")
def tiny() -> Iterator[Tiny]:
    torch.set_num_threads(1)
    with torch.inference_mode():
        generator = torch.Generator().manual_seed(0)
        model, prompt = benchmark.tiny_model(generator), benchmark.tiny_prompt(generator)
        yield Tiny(model, prompt, Ours(model, prompt), Transformers(model, TINY, prompt))


def noise(samples: int) -> torch.Tensor:
    return torch.randn(samples, HORIZON, 2, generator=torch.Generator().manual_seed(7))


def test_the_tiny_pipeline_is_the_stated_one(tiny: Tiny) -> None:
    assert (len(tiny.prompt.token_ids), len(tiny.prompt.images.patches)) == (277, 4)
    assert (WORDS, STEPS, tiny.model.config.flow_steps) == (40, 10, 10)
    assert sampling.prefill(tiny.model, tiny.prompt, 0).cache.length == 277


@pytest.mark.parametrize("samples", SAMPLES)
def test_both_compute_the_same_for_rows_that_differ(tiny: Tiny, samples: int) -> None:
    benchmark.check_equal(tiny.ours, tiny.theirs, noise(samples))
    logits = benchmark._logits(tiny.ours, samples)
    assert logits.shape[:2] == (WORDS, samples)
    assert 0.5 < logits[logits.isfinite()].std() < 2, "the tolerance is for logits of size 1"
    if samples > 1:
        assert not torch.equal(logits[-1, 0], logits[-1, 1])


@pytest.mark.parametrize(
    ("weight", "what"),
    [
        ("vlm.model.visual.blocks.1.mlp.linear_fc1.bias", "logits"),
        ("vlm.model.language_model.layers.1.mlp.down_proj.weight", "logits"),
        ("expert.layers.1.self_attn.v_proj.weight", "velocities"),
    ],
)
def test_a_model_that_is_not_equal_gets_no_figure(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, weight: str, what: str) -> None:
    """One number of ours, a hundredth off."""
    timed = []
    monkeypatch.setattr(benchmark, "race", lambda *_: timed.append(1))
    number = tiny.model.get_parameter(weight).view(-1)[7:8]
    kept = number.clone()
    number += 1e-2
    try:
        with pytest.raises(EngineFailure, match=rf"{what} differ from transformers' by .*, allowed .*: nothing is timed"):
            benchmark.bench_pair(tiny.ours, tiny.theirs, 1, runs=1)
    finally:
        number.copy_(kept)
    assert not timed
    benchmark.check_equal(tiny.ours, tiny.theirs, noise(1))  # and equal again


def test_numbers_that_are_none_are_not_equal() -> None:
    broken = torch.full((3,), torch.nan)
    with pytest.raises(EngineFailure, match="differ"):
        benchmark._require_close("logits", broken, broken, 1e-5)


def test_every_token_of_every_run_is_timed_by_turns(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []
    run_once = benchmark.run_once
    monkeypatch.setattr(benchmark, "run_once", lambda *given: (order.append(given[0]), run_once(*given)))
    watches = benchmark.race({"ours": tiny.ours, "theirs": tiny.theirs}, noise(1), runs=2)
    for watch in watches.values():
        assert {stage: len(ms) for stage, ms in watch.ms.items()} == dict.fromkeys(STAGES, 2) | {"token": 2 * WORDS}
        whole = watch.ms["prefill"][0] + sum(watch.ms["token"][:WORDS]) + watch.ms["flow"][0]
        assert whole <= watch.ms["whole"][0]
    assert order == [tiny.ours, tiny.theirs, tiny.theirs, tiny.ours] * 2  # a warm-up of as many runs, then what counts


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole command in seconds, on the CPU."""
    torch.set_num_threads(1)
    bench_engine = benchmark.bench_engine
    monkeypatch.setattr(benchmark, "claim_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(benchmark, "bench_engine", partial(bench_engine, runs=1))
    monkeypatch.setattr(pace, "bench_pace", partial(pace.bench_pace, cases=(pace.CASES[1],)))


@pytest.mark.usefixtures("quick")
def test_the_command_gives_every_figure_its_name(tmp_path: Path) -> None:
    figures = trials.bench("engine", bundle=BUNDLE, out=tmp_path)
    assert figures["bench"] == "engine"
    assert figures["ratio"] == max(found["ratio"] for found in figures["tiny"]["samples"].values()) > 0
    assert (figures["fraction_of_floor"], figures["fraction_of_floor_is"]) == (None, "not measured: no accelerator")
    assert (figures["torch"], figures["transformers"]) == (torch.__version__, sys.modules["transformers"].__version__)
    for part in ("tiny", "bundle"):
        assert {name: figures[part][name] for name in ("device", "threads", "weights")} == {
            "device": "cpu",
            "threads": 1,
            "weights": "untrained",
        }
        assert list(figures[part]["samples"]) == ["1", "3"]
    for found in figures["tiny"]["samples"].values():
        assert list(found) == ["ours", "transformers", "ratio"]
        assert list(found["ours"]) == list(found["transformers"]) == STAGES
    for found in figures["bundle"]["samples"].values():
        assert list(found["ours"]) == ["encode", *STAGES]
        assert all(set(stage) == {"p50_ms", "p95_ms", "p99_ms"} for stage in found["ours"].values())
    assert {"bench": "engine", **json.loads((tmp_path / "bench_engine.json").read_text())} == figures


@pytest.mark.usefixtures("quick")
def test_without_transformers_our_own_figures_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    figures = trials.bench("engine", bundle=BUNDLE, out=tmp_path)
    assert (figures["ratio"], figures["ratio_is"]) == (None, "not measured: no transformers")
    assert figures["transformers"] is None
    for found in figures["tiny"]["samples"].values():
        assert list(found["ours"]) == STAGES
        assert (found["transformers"], found["ratio"]) == (None, None)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no such bundle folder"):
        trials.bench("engine", bundle=tmp_path / "none", out=tmp_path)
