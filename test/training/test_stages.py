"""All stages one after another at the size that runs in seconds, and the bundle that comes out of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model.nano import BUNDLE as NANO
from training.lessons import examples, scene

from alpamayo_ros.bundle.folder import EXPERT_KEY, WEIGHTS_FILE, read_bundle, read_metadata
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.training.export import read_exported
from alpamayo_ros.training.fit import Fitted
from alpamayo_ros.training.processes import ALONE
from alpamayo_ros.training.sizes import SIZES, begin_bundle, open_codec, trained_model
from alpamayo_ros.training.stages import ORDER, STAGES, StageName, train_stage
from alpamayo_ros.types import InvalidInput, Request

STAGES_OF = STAGES["debug"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[StageName, Fitted]]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("chain")
    begin_bundle(folder / "begin", NANO, SIZES["debug"])
    begin, fitted = folder / "begin", {}
    for name in ORDER:
        fitted[name] = train_stage(name, STAGES_OF[name], [scene()], begin, folder / name, ALONE)
        begin = folder / name / "bundle"
    return folder, fitted


def test_every_stage_s_loss_falls(trained: tuple[Path, dict[StageName, Fitted]]) -> None:
    for name, fitted in trained[1].items():
        assert fitted.loss_last < fitted.loss_first, name


def test_the_last_bundle_is_opened_by_the_reference_engine(trained: tuple[Path, dict[StageName, Fitted]]) -> None:
    bundle = trained[0] / "expert" / "bundle"
    engine = EagerEngine(bundle)
    assert read_bundle(bundle).weights == engine.weights == "trained"
    assert engine.infer(examples()[0].observation, Request(reasoning="none")).complete == (True,)


def test_an_expert_that_has_not_learned_to_read_the_backbone_is_refused(
    trained: tuple[Path, dict[StageName, Fitted]],
) -> None:
    for name in ORDER[:-1]:
        with pytest.raises(InvalidInput, match="train it again on this one"):
            EagerEngine(trained[0] / name / "bundle")


def test_a_backbone_that_is_trained_again_needs_its_expert_trained_again(
    trained: tuple[Path, dict[StageName, Fitted]], tmp_path: Path
) -> None:
    bundle = trained[0] / "expert" / "bundle"
    train_stage("sft", STAGES_OF["sft"], [scene()], bundle, tmp_path / "again", ALONE)
    left = tmp_path / "again" / "bundle"
    assert read_metadata(left / WEIGHTS_FILE)[EXPERT_KEY] == read_metadata(bundle / WEIGHTS_FILE)[EXPERT_KEY]
    with pytest.raises(InvalidInput, match="train it again on this one"):
        EagerEngine(left)
    train_stage("expert", STAGES_OF["expert"], [scene()], left, tmp_path / "expert", ALONE)
    assert read_exported(tmp_path / "expert" / "bundle") is not None


def test_each_stage_trains_its_own_part_alone(trained: tuple[Path, dict[StageName, Fitted]]) -> None:
    folder, _ = trained
    codec = open_codec(folder / "see" / "bundle")
    states = {name: trained_model(codec, folder / name / "bundle").state_dict() for name in ORDER}
    for before, after, parts in (
        ("see", "inject", ("views.", "vlm.model.language_model.", "vlm.lm_head.")),
        ("sft", "expert", ("expert.", "action_in_proj.", "action_out_proj.")),
    ):
        changed = {name for name, value in states[after].items() if not torch.equal(value, states[before][name])}
        assert changed
        assert all(name.startswith(parts) for name in changed), (before, after)


def test_a_stage_that_was_trained_already_is_not_paid_twice(
    trained: tuple[Path, dict[StageName, Fitted]],
) -> None:
    folder, fitted = trained
    again = train_stage("sft", STAGES_OF["sft"], [scene()], folder / "inject" / "bundle", folder / "sft", ALONE)
    assert again == fitted["sft"]


def test_a_run_of_other_settings_is_refused(trained: tuple[Path, dict[StageName, Fitted]]) -> None:
    folder, _ = trained
    other = replace(STAGES_OF["sft"], is_balanced=True)
    with pytest.raises(InvalidInput, match="told something else"):
        train_stage("sft", other, [scene()], folder / "inject" / "bundle", folder / "sft", ALONE)
