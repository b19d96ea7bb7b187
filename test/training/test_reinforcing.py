"""`alpamayo reinforce`, as somebody would type it: GRPO of a bundle on labelled examples, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training.lessons import examples, scene_data, weighted_bundle
from typed import Said, typed

from alpamayo_ros.bundle.folder import WEIGHTS_FILE
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.training.reinforcing import judge_of
from alpamayo_ros.training.run import CONFIG
from alpamayo_ros.types import InvalidInput

SHORT = ("--steps", 2, "--batch", 1, "--pool", 2, "--rollouts", 3, "--max-tokens", 4, "--examples", 3, "--temperature", 1.0)
FAST = ("--learning-rate", 1e-2)


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return weighted_bundle(tmp_path_factory.mktemp("begin") / "bundle")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scene_data(tmp_path_factory.mktemp("world"))


@pytest.fixture
def reinforce(begin: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def said(out: Path, *words: object) -> Said:
        torch.set_num_threads(1)
        asked = ("reinforce", begin, "--data", world, "--out", out, *SHORT, *words)
        return typed(monkeypatch, capsys, *map(str, asked))

    return said


def test_the_backbone_moves_and_its_expert_has_to_learn_it_then(reinforce: Any, begin: Path, tmp_path: Path) -> None:
    said = reinforce(tmp_path / "run", *FAST, "--rewards", "world")
    assert said.status == 0, said.err
    figures = json.loads(said.out.splitlines()[-1])
    assert (figures["steps"], figures["examples"]) == (2, 3)
    assert figures["reward_first"] >= -3.0, "the floor of that reward"
    before, after = load_file(begin / WEIGHTS_FILE), load_file(tmp_path / "run" / "bundle" / WEIGHTS_FILE)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert moved <= {name for name in before if name.startswith(("views.", "vlm.model.language_model.", "vlm.lm_head."))}
    with pytest.raises(InvalidInput, match="train it again on this one"):
        EagerEngine(tmp_path / "run" / "bundle")


def test_a_run_that_is_done_is_not_done_again_and_another_one_is_refused(reinforce: Any, tmp_path: Path) -> None:
    first = reinforce(tmp_path / "run")
    assert reinforce(tmp_path / "run").out.splitlines()[-1] == first.out.splitlines()[-1]
    refused = reinforce(tmp_path / "run", "--rewards", "paper")
    assert (refused.status, "told something else (rewards)" in refused.err) == (2, True), refused.err
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["judge"] == "by rule"


def test_fewer_labelled_examples_than_a_pool_wants_are_refused(reinforce: Any, tmp_path: Path) -> None:
    few = len(examples()) + 1
    refused = reinforce(tmp_path / "run", "--pool", few, "--examples", 1000)
    assert (refused.status, f"want {few} tasks and 1 process, got {few - 1} and 1" in refused.err) == (2, True), refused.err


def test_a_key_that_is_not_there_is_refused_before_anything_is_paid(reinforce: Any, tmp_path: Path) -> None:
    refused = reinforce(tmp_path / "run", "--judge", "https://host/v1", "--model", "grader", "--key-from", "NO_SUCH_KEY")
    assert (refused.status, "no environment variable NO_SUCH_KEY" in refused.err) == (2, True), refused.err


def test_half_a_judge_is_refused(tmp_path: Path) -> None:
    for url, model in (("https://host/v1", ""), ("", "grader")):
        with pytest.raises(InvalidInput, match="--judge https://host/v1 --model NAME"):
            judge_of(url, model, "", tmp_path)
    assert judge_of("https://host/v1", "grader", "", tmp_path).name == "grader at https://host/v1"
