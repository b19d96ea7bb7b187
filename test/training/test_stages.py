"""`alpamayo train debug`, as somebody would type it: all stages one after another, and the bundle that comes out of them."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from model.nano import BUNDLE as NANO
from training.lessons import examples, scene, scene_data
from typed import typed

from alpamayo_ros.bundle.folder import EXPERT_KEY, WEIGHTS_FILE, read_bundle, read_metadata
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.simulation.data.samples import SceneSamples
from alpamayo_ros.training.export import read_exported
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.sizes import open_codec, trained_model
from alpamayo_ros.training.stages import ORDER, STAGES, train_stage
from alpamayo_ros.types import InvalidInput, Request

pytestmark = pytest.mark.thorough

ALPAMAYO = Path(sys.executable).with_name("alpamayo")
STAGES_OF = STAGES["debug"]


def there_is() -> list[SceneSamples]:
    return [scene()]


class Trained(NamedTuple):
    """What the command left and said."""

    out: Path
    figures: dict[str, Any]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("train") / "run"
    command = [ALPAMAYO, "train", "debug", "--out", out, "--base", NANO]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Trained(out, json.loads(done.stdout.splitlines()[-1]))


def test_every_stage_s_loss_falls(trained: Trained) -> None:
    figures = trained.figures["stages"]
    for name in (*ORDER, "expert again"):
        assert figures[name]["loss_last"] < figures[name]["loss_first"], name
    assert figures["reinforce"]["steps"] == 2


def test_what_comes_out_is_a_trained_bundle_with_a_card(trained: Trained) -> None:
    (bundle,) = map(Path, trained.figures["files"])
    assert bundle == trained.out / "bundle"
    assert read_bundle(bundle).weights == "trained"
    assert "| expert again | steps 20" in (bundle / "README.md").read_text()


@pytest.mark.parametrize("left", [".", "expert"])
def test_a_bundle_whose_expert_was_trained_last_is_opened_by_the_reference_engine(trained: Trained, left: str) -> None:
    bundle = trained.out / left / "bundle"
    engine = EagerEngine(bundle)
    assert read_bundle(bundle).weights == engine.weights == "trained"
    assert engine.infer(examples()[0].observation, Request(reasoning="none")).complete == (True,)


def test_what_is_done_is_not_done_again(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time in this process."""
    before = {path: path.stat().st_mtime_ns for path in trained.out.rglob("step-*/*")}
    of_stages = {path.relative_to(trained.out).parts[0] for path in before}
    assert of_stages == {*ORDER, "reinforce", "expert_again"}, "every stage has its checkpoints"
    said = typed(monkeypatch, capsys, "train", "debug", "--out", trained.out, "--base", NANO)
    assert said.status == 0, said.err
    assert json.loads(said.out.splitlines()[-1]) == trained.figures
    assert before == {path: path.stat().st_mtime_ns for path in trained.out.rglob("step-*/*")}


def test_a_trained_bundle_is_trained_again(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = typed(monkeypatch, capsys, "train", "debug", "--begin", trained.out / "bundle", "--out", tmp_path / "again")
    assert said.status == 0, said.err
    stages = json.loads(said.out.splitlines()[-1])["stages"]
    assert list(stages) == ["see", "gather", "sft", "expert"]
    assert stages["sft"]["loss_first"] < 0.9 * trained.figures["stages"]["sft"]["loss_first"], "it knows what it knew"
    assert EagerEngine(tmp_path / "again" / "bundle").weights == "trained"


@pytest.mark.parametrize("stage", ORDER[:-1])
def test_an_expert_that_has_not_learned_to_read_the_backbone_is_refused(trained: Trained, stage: str) -> None:
    with pytest.raises(InvalidInput, match="train it again on this one"):
        EagerEngine(trained.out / stage / "bundle")


def test_a_backbone_that_is_trained_again_needs_its_expert_trained_again(trained: Trained, tmp_path: Path) -> None:
    bundle = trained.out / "expert" / "bundle"
    train_stage("sft", STAGES_OF["sft"], there_is, bundle, tmp_path / "again", ALONE)
    left = tmp_path / "again" / "bundle"
    assert read_metadata(left / WEIGHTS_FILE)[EXPERT_KEY] == read_metadata(bundle / WEIGHTS_FILE)[EXPERT_KEY]
    with pytest.raises(InvalidInput, match="train it again on this one"):
        EagerEngine(left)
    train_stage("expert", STAGES_OF["expert"], there_is, left, tmp_path / "expert", ALONE)
    assert read_exported(tmp_path / "expert" / "bundle") is not None


def test_each_stage_trains_its_own_part_alone(trained: Trained) -> None:
    codec = open_codec(trained.out / "see" / "bundle")
    states = {name: trained_model(codec, trained.out / name / "bundle").state_dict() for name in ORDER}
    for before, after, parts in (
        ("see", "gather", ("views.",)),
        ("gather", "inject", ("views.", "vlm.model.language_model.", "vlm.lm_head.")),
        ("sft", "expert", ("expert.", "action_in_proj.", "action_out_proj.")),
    ):
        changed = {name for name, value in states[after].items() if not torch.equal(value, states[before][name])}
        assert changed
        assert all(name.startswith(parts) for name in changed), (before, after)


def test_a_stage_that_was_trained_already_is_not_paid_twice(trained: Trained) -> None:
    begin = trained.out / "inject" / "bundle"
    again = train_stage("sft", STAGES_OF["sft"], there_is, begin, trained.out / "sft", ALONE)
    assert asdict(again) == trained.figures["stages"]["sft"]


def test_a_run_of_other_settings_is_refused(trained: Trained) -> None:
    other = replace(STAGES_OF["sft"], asks_reasons=False)
    with pytest.raises(InvalidInput, match="told something else"):
        train_stage("sft", other, there_is, trained.out / "inject" / "bundle", trained.out / "sft", ALONE)


def test_a_run_of_other_data_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All stages, one of them, and all of a control that sees nothing."""
    data, one = scene_data(tmp_path), trained.out / "sft"
    for words, out in ((("debug",), trained.out), (("sft", "--begin", trained.out / "inject" / "bundle"), one)):
        said = typed(monkeypatch, capsys, "train", *words, "--out", out, "--data", data, "--base", NANO)
        assert said.status == 2, said.err
        assert f"{out} is a run that was told something else (data)" in said.err
        assert f"data was made on the spot, is {len(examples())} examples, index " in said.err
        assert "name the data sets that it began with" in said.err
    blind = typed(monkeypatch, capsys, "train", "debug", "--blind", "--out", trained.out, "--base", NANO)
    assert (blind.status, f"{trained.out} is a run that was told something else (blind)" in blind.err) == (2, True), blind.err


def test_a_tokenizer_that_was_changed_between_stages_or_since_is_refused(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage, base = shutil.copytree(trained.out / "inject", tmp_path / "inject"), shutil.copytree(NANO, tmp_path / "base")
    for tokenizer in (stage / "bundle" / "tokenizer.json", base / "tokenizer.json"):
        tokenizer.write_text(tokenizer.read_text() + "\n")
    with pytest.raises(InvalidInput, match=r"tokenizer\.json is not what its weights were trained with"):
        train_stage("sft", STAGES_OF["sft"], there_is, stage / "bundle", tmp_path / "sft", ALONE)
    said = typed(monkeypatch, capsys, "train", "debug", "--out", trained.out, "--base", base)
    assert (said.status, "told something else (tokenizer)" in said.err) == (2, True), said.err
    again = shutil.copytree(trained.out, tmp_path / "again")
    begun = again / "begin" / "tokenizer.json"
    begun.write_text(begun.read_text() + "\n")
    said = typed(monkeypatch, capsys, "train", "debug", "--out", again, "--base", NANO)
    assert (said.status, "begin/tokenizer.json is not what its weights were trained with" in said.err) == (2, True), said.err
