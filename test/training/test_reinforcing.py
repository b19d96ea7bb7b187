"""`alpamayo reinforce`, as somebody would type it: GRPO of a bundle on labelled examples, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training.lessons import debug_codec, examples, scene, scene_data, weighted_bundle
from typed import Said, typed

from alpamayo_ros.bundle.folder import WEIGHTS_FILE
from alpamayo_ros.dynamics import trajectory
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.evaluation.openloop.provenance import file_sha256
from alpamayo_ros.profile import read_rig
from alpamayo_ros.simulation.data.dataset import VERSION
from alpamayo_ros.simulation.data.samples import scene_samples
from alpamayo_ros.simulation.data.shards import write_shard
from alpamayo_ros.simulation.suites import SceneId
from alpamayo_ros.training import reinforcing
from alpamayo_ros.training.reinforce import Tasks
from alpamayo_ros.training.reinforcing import judge_of, without_surroundings
from alpamayo_ros.training.rewards import PAPER, RELEASED, WORLD, Redriven, Rollout
from alpamayo_ros.training.run import CONFIG
from alpamayo_ros.types import HORIZON, InvalidInput

pytestmark = pytest.mark.thorough

SHORT = ("--steps", 2, "--batch", 1, "--pool", 2, "--rollouts", 3, "--max-tokens", 4, "--examples", 3, "--temperature", 1.0)
SHORT = (*SHORT, "--measured", 2)
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
    assert (figures["without_surroundings"], figures["unjudged"]) == (0, 0)
    assert figures["expert before, on train"]["windows"] == 2
    card = (tmp_path / "run" / "bundle" / "README.md").read_text()
    assert "Trained by `alpamayo reinforce`" in card
    assert "| expert before, on train | windows 2," in card
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


def lead_data(folder: Path) -> Path:
    """A drive behind a lead."""
    profile = debug_codec().profile
    taken = scene_samples(SceneId("follow_lead", 3), read_rig("seven_camera"), profile, 12.0)
    write_shard(folder / "shard.tar", [taken])
    recipe = {"profile": profile.model_dump(mode="json"), "split": "train"}
    shard = {"file": "shard.tar", "sha256": file_sha256(folder / "shard.tar"), "samples": len(taken.samples)}
    (folder / "index.json").write_text(json.dumps({"version": VERSION, "recipe": recipe, "figures": {}, "shards": [shard]}))
    return folder


def test_who_drives_into_the_lead_is_paid_less_by_the_run(
    begin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the tasks that the command gives to its run, one is answered by hand: as the expert drove, and without braking."""
    given: list[Tasks] = []

    def taken(begin: Path, tasks: Tasks, *_: object) -> dict[str, float]:
        given.append(tasks)
        return {}

    monkeypatch.setattr(reinforcing, "reinforce_bundle", taken)
    data = lead_data(tmp_path)
    words = ("reinforce", begin, "--data", data, "--out", tmp_path / "run", *SHORT, "--measured", 0, "--rewards", "world")
    said = typed(monkeypatch, capsys, *map(str, words))
    assert said.status == 0, said.err
    assert "left out" not in said.err
    worth: Any = given[0][0].worth
    truth = worth.keywords["truth"]
    crash = trajectory(np.full(HORIZON, 3.0), truth.future.curvature_1pm, truth.v0_mps)
    honest, hit = (worth(Rollout(truth.reasoning.text, is_complete=True, trajectory=way)) for way in (truth.future, crash))
    assert (honest.parts["collision"], honest.parts["off_road"], honest.parts["progress"]) == (0.0, 0.0, 0.3)
    assert hit.parts["collision"] == -1.0
    assert hit.total < honest.total - 1.0


def test_terms_that_nothing_is_known_of_are_named_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    world = Redriven([scene().scene])
    elsewhere = replace(examples()[0], clip="a recording")
    asked = [*examples()[:2], elsewhere]
    assert without_surroundings(WORLD, asked, world) == 1
    assert "collision, off_road, progress are left out for 1 of 3 examples" in capsys.readouterr().err
    assert without_surroundings(PAPER, asked, world) == 1
    assert "rewards: collision are left out" in capsys.readouterr().err
    assert without_surroundings(RELEASED, asked, world) == 0
    assert without_surroundings(WORLD, asked[:2], world) == 0
    assert capsys.readouterr().err == ""


def test_a_tokenizer_that_was_changed_between_stages_is_refused(
    reinforce: Any, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reinforce(tmp_path / "run", "--measured", 0).status == 0
    run = shutil.copytree(tmp_path / "run", tmp_path / "changed")
    tokenizer = run / "bundle" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    short = ("--steps", 1, "--batch", 1)
    for words in (("post-train", "expert"), ("reinforce",)):
        more = (*short, "--pool", 1) if words == ("reinforce",) else short
        asked = (*words, run / "bundle", "--data", world, "--out", tmp_path / words[-1], *more)
        refused = typed(monkeypatch, capsys, *map(str, asked))
        assert (refused.status, "is not what its weights were trained with" in refused.err) == (2, True), refused.err
