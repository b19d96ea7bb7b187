"""`alpamayo post-train`, as somebody would type it: a bundle learns from recorded drives and from scenes of the world."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation.small_vehicle import small_rig_of
from safetensors.torch import load_file
from torch import Tensor
from training import posttogether
from training.lessons import debug_bundle, debug_codec, examples, scene_data, weighted_bundle
from training.test_processes import LIMIT_S, TORCHRUN
from typed import Said, typed

from alpamayo_ros.bundle.folder import WEIGHTS_FILE
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.simulation.data.bag import make_bag
from alpamayo_ros.training import posttraining
from alpamayo_ros.training.dataset.adding import BagDrive, Recipe, add_drives
from alpamayo_ros.training.dataset.labels import Labels
from alpamayo_ros.training.dataset.reading import ids, open_dataset, read_examples
from alpamayo_ros.training.dataset.skipped import Skipped
from alpamayo_ros.training.encoding import Encoded, encoded
from alpamayo_ros.training.example import Reasoning
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.settings import Optimisation
from alpamayo_ros.training.streaming import Broken, Lessons, Material, broken_in, feed_of
from alpamayo_ros.types import InvalidInput, Request

pytestmark = pytest.mark.thorough

SECONDS = 11.0  # 2 s of history and 6.4 s of future leave 2.6 s of examples
SHORT = ("--steps", 4, "--batch", 4, "--learning-rate", 1e-3, "--save-every", 2, "--measured", 1)
BOTH = ("vision", "views", "language")
UNLABELLED = Labels({}, Skipped())


@pytest.fixture(scope="module")
def begin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with weights and an expert that fits them."""
    return weighted_bundle(tmp_path_factory.mktemp("begin") / "bundle")


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording, twice by different names, of which nobody said why it was driven so."""
    folder, rig = tmp_path_factory.mktemp("drives"), small_rig_of(96, 64)
    make_bag(folder / "drive", rig, duration_s=SECONDS, seed=2)
    shutil.copytree(folder / "drive", folder / "again")
    recipe = Recipe(debug_codec().profile, rate_hz=4.0)
    add_drives(folder / "data", recipe, [BagDrive(folder / name, rig) for name in ("drive", "again")])
    return folder / "data"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of the driving world, with its words."""
    return scene_data(tmp_path_factory.mktemp("world"))


@pytest.fixture
def post_train(drives: Path, world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def said(stage: str, bundle: Path, out: Path, *words: object) -> Said:
        torch.set_num_threads(1)
        return typed(monkeypatch, capsys, *line(stage, bundle, (drives, world), out, *words))

    return said


def line(stage: str, bundle: Path, data: Sequence[Path], out: Path, *words: object) -> list[str]:
    named = [str(word) for folder in data for word in ("--data", folder)]
    return ["post-train", stage, str(bundle), *named, "--out", str(out), *map(str, words)]


def figures(said: Said) -> dict[str, Any]:
    assert said.status == 0, said.err
    loaded: dict[str, Any] = json.loads(said.out.splitlines()[-1])
    return loaded


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "bundle" / WEIGHTS_FILE)


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor], atol: float) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        # Stored in bfloat16: a difference of any size may end on the other side of a rounding.
        torch.testing.assert_close(right[name], value, rtol=2.0**-7 if atol else 0.0, atol=atol, msg=name)


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys(), "the released layout"
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_the_losses_fall_and_engines_want_the_expert_trained_after_the_backbone(
    post_train: Any, begin: Path, tmp_path: Path
) -> None:
    words = ("--steps", 16, "--batch", 4, "--learning-rate", 3e-3, "--measured", 4)
    sft = figures(post_train("sft", begin, tmp_path / "sft", *words))
    assert sft["loss_last"] < 0.9 * sft["loss_first"]
    assert (sft["steps"], sft["broken"]) == (16, {})
    (left,) = map(Path, sft["files"])
    with pytest.raises(InvalidInput, match="train it again on this one"):
        EagerEngine(left)
    expert = figures(post_train("expert", left, tmp_path / "expert", *words))
    assert expert["loss_last"] < expert["loss_first"]
    ((where, driven),) = [(name, figures) for name, figures in expert.items() if name.startswith("expert on ")]
    assert driven["windows"] == 4
    last = json.loads((tmp_path / "expert" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last == {"step": 16, **{f"expert_{name}": value for name, value in driven.items()}}
    assert f"| {where} | windows 4, plans" in (tmp_path / "expert" / "bundle" / "README.md").read_text()
    assert "Trained by `alpamayo post-train`" in (left / "README.md").read_text()
    engine = EagerEngine(Path(expert["files"][0]))
    assert engine.weights == "trained"
    assert engine.infer(examples()[0].observation, Request(reasoning="none")).complete == (True,)


def test_each_stage_trains_its_own_parts(post_train: Any, begin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And only a backbone is asked questions: there is nothing to drive in an answer."""
    before = load_file(begin / WEIGHTS_FILE)
    asked: list[bool] = []

    def watched(given: Material, *others: Any) -> Any:
        asked.append(given.asks)
        return feed_of(given, *others)

    monkeypatch.setattr(posttraining, "feed_of", watched)
    for stage, words, parts in (
        ("sft", (), ("views.", "vlm.model.language_model.", "vlm.lm_head.")),
        ("sft", ("--parts", "vision"), ("vlm.model.visual.",)),
        ("expert", (), ("expert.", "action_in_proj.", "action_out_proj.")),
    ):
        out = tmp_path / f"{stage}{len(words)}"
        figures(post_train(stage, begin, out, "--steps", 1, "--batch", 2, *words))
        moved = changed(before, weights(out))
        assert moved
        assert all(name.startswith(parts) for name in moved), (stage, words)
    assert asked == [True, True, False]


def test_adapters_are_merged_into_the_projections(post_train: Any, begin: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    figures(post_train("sft", begin, tmp_path / "run", *SHORT, "--parts", "language", "--lora-rank", 2))
    moved = changed(load_file(begin / WEIGHTS_FILE), weights(tmp_path / "run"))
    assert moved
    assert all("_proj.weight" in name and ".language_model.layers." in name for name in moved)


@pytest.fixture(scope="module")
def together(begin: Path, drives: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages by two processes."""
    folder = tmp_path_factory.mktemp("together")
    commands = [
        line("sft", begin, (drives, world), folder / "sft", *SHORT, "--parts", *BOTH),
        line("expert", begin, (drives, world), folder / "expert", *SHORT, "--accumulate", 2),
    ]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    for words in commands:
        command = [sys.executable, *TORCHRUN, posttogether.__file__, *words]
        done = subprocess.run(
            command, env=environment, cwd=folder, timeout=LIMIT_S, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.mark.parametrize(("stage", "words"), [("sft", ("--parts", *BOTH)), ("expert", ())])
def test_two_processes_leave_the_weights_of_one(
    stage: str, words: tuple[str, ...], together: Path, post_train: Any, begin: Path, tmp_path: Path
) -> None:
    """The expert's in two passes each, too."""
    alone = figures(post_train(stage, begin, tmp_path / "run", *SHORT, *words))
    assert_close(weights(tmp_path / "run"), weights(together / stage), atol=1e-4)
    moved = {name: value - load_file(begin / WEIGHTS_FILE)[name] for name, value in weights(tmp_path / "run").items()}
    assert max(float(change.abs().max()) for change in moved.values()) > 1e-3, "it learned"
    assert alone["steps"] == 4


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(post_train: Any, begin: Path, tmp_path: Path) -> None:
    whole = figures(post_train("sft", begin, tmp_path / "whole", *SHORT))
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "bundle")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-0000004")
    again = figures(post_train("sft", begin, tmp_path / "cut", *SHORT))
    assert again | {"files": whole["files"]} == whole
    assert_close(weights(tmp_path / "whole"), weights(tmp_path / "cut"), atol=0.0)
    tokenizer = shutil.copytree(begin, tmp_path / "other") / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    refused = post_train("sft", tmp_path / "other", tmp_path / "cut", *SHORT)
    assert (refused.status, "told something else (tokenizer)" in refused.err) == (2, True), refused.err
    refused = post_train("sft", begin, tmp_path / "cut", *SHORT, "--seed", 1)
    assert (refused.status, "told something else (settings)" in refused.err) == (2, True), refused.err


def test_data_of_another_profile_are_refused_with_both_names(
    begin: Path, drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(drives, tmp_path / "other")
    index = json.loads((other / "index.json").read_text())
    index["recipe"]["profile"] |= {"name": "four_poses", "history_steps": 4}
    (other / "index.json").write_text(json.dumps(index))
    refused = typed(monkeypatch, capsys, *line("sft", begin, [other], tmp_path / "run", *SHORT))
    assert refused.status == 2
    assert "the data were made for profile four_poses, " in refused.err
    assert f"{begin} has profile ar1_nano: history_steps 4 and 21: make them with --profile" in refused.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stage", "words", "why"),
    [
        ("expert", ("--parts", "language"), "parts and a LoRA rank are for sft"),
        ("expert", ("--lora-rank", 2), "parts and a LoRA rank are for sft"),
        ("sft", ("--batch", 3, "--accumulate", 2), "a batch of whole passes"),
        ("sft", ("--batch", 4000), "a batch wants 4000"),
    ],
)
def test_what_cannot_be_is_refused(
    stage: str, words: tuple[object, ...], why: str, post_train: Any, begin: Path, tmp_path: Path
) -> None:
    refused = post_train(stage, begin, tmp_path / "run", *SHORT[:4], *words)
    assert refused.status == 2
    assert why in refused.err


def test_a_bundle_without_weights_is_refused(post_train: Any, tmp_path: Path) -> None:
    refused = post_train("sft", debug_bundle(), tmp_path / "run", *SHORT)
    assert (refused.status, "has no weights to go on from" in refused.err) == (2, True), refused.err


# ------------------------------------------------------------------------------------------------------- examples by place


def material(*folders: Path) -> Material:
    return Material(open_dataset(*folders), UNLABELLED, debug_codec())


def lessons_of(given: Material, batch: int, broken: Path) -> Lessons:
    return Lessons(given, Optimisation(steps=1, batch=batch, learning_rate=1.0), Broken(broken / "0.jsonl"), batch)


def key(one: Encoded) -> bytes:
    """No two pictures have the same noise."""
    return one.actions.numpy().tobytes() + one.images.patches.numpy().tobytes()


def test_an_epoch_has_no_example_twice_and_leaves_out_less_than_a_batch(world: Path, tmp_path: Path) -> None:
    lessons, updates = lessons_of(material(world), 4, tmp_path), len(examples()) // 4
    epoch, following = (
        [[key(lessons.at(u, place)) for place in range(4)] for u in (first, first + 1)] for first in (0, updates)
    )
    seen = [key(lessons.at(update, place)) for update in range(updates) for place in range(4)]
    assert len(set(seen)) == 4 * updates > len(examples()) - 4
    assert set(seen) <= {key(encoded(example, debug_codec())) for example in examples()}
    assert epoch != following, "another order in every epoch"


@pytest.mark.parametrize(("count", "accumulate"), [(2, 1), (1, 2), (2, 2), (4, 1)])
def test_an_update_is_the_same_however_it_is_split(
    count: int, accumulate: int, drives: Path, world: Path, tmp_path: Path
) -> None:
    given, settings = material(drives, world), Optimisation(steps=1, batch=4, learning_rate=1.0)
    whole = feed_of(given, settings, ALONE, tmp_path)(2)
    split = replace(settings, accumulate=accumulate)
    parts = [feed_of(given, split, replace(ALONE, rank=rank, count=count), tmp_path)(2 * accumulate) for rank in range(count)]
    for _ in range(2):
        own = [next(part).actions for _ in range(accumulate) for part in parts]
        assert torch.equal(torch.cat(own), next(whole).actions)


def test_a_batch_that_processes_cannot_share_is_refused(drives: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a batch of 4 examples does not divide into 1 passes of 3 processes"):
        feed_of(material(drives), Optimisation(steps=1, batch=4, learning_rate=1.0), replace(ALONE, rank=0, count=3), tmp_path)


def test_what_is_broken_is_counted_and_the_next_one_stands_for_it(drives: Path, tmp_path: Path) -> None:
    """A shard of another content than the index says; the recording by the other name is whole."""
    given = material(shutil.copytree(drives, tmp_path / "data"))
    spoiled = given.data.shards[0].path
    spoiled.write_bytes(spoiled.read_bytes()[:-1] + b"\1")
    lessons = lessons_of(given, 1, tmp_path)
    total = sum(shard.examples for shard in given.data.shards)
    whole = {
        key(encoded(example, debug_codec())) for shard in given.data.shards[1:] for example in read_examples(shard, given.data)
    }
    assert {key(lessons.at(update, 0)) for update in range(total)} == whole
    ((reason, number),) = broken_in(tmp_path).items()
    assert ".tar: sha# is " in reason
    assert number == given.data.shards[0].examples
    lessons_of(given, 1, tmp_path).at(0, 0)
    assert broken_in(tmp_path) == {reason: number}, "named once, also by a run that goes on"
    for shard in given.data.shards:
        shard.path.unlink()
    with pytest.raises(InvalidInput, match=rf"not one of {total} examples can be learned from; .*no such file"):
        lessons_of(given, 1, tmp_path).at(0, 0)


def test_labels_give_reasons_to_drives_that_have_none(drives: Path, tmp_path: Path) -> None:
    given = material(drives)
    silent = lessons_of(given, 1, tmp_path).at(0, 0)
    said = Reasoning(examples()[0].reasoning.decision, (), "Keep lane because the road is free.")  # type: ignore[union-attr]
    labels = Labels(dict.fromkeys(ids(given.data), said), Skipped())
    told = lessons_of(replace(given, labels=labels), 1, tmp_path).at(0, 0)
    assert key(silent) == key(told)
    ends = debug_codec().tokenizer.id("<|cot_end|>")
    assert (ends in told.token_ids, ends in silent.token_ids) == (True, False)
