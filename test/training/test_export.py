"""A trained network leaves as a bundle that every engine opens, with the expert that belongs to it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training.lessons import debug_bundle, debug_codec, debug_model, examples

from alpamayo_ros.bundle.folder import BACKBONE_KEY, WEIGHTS_FILE, read_bundle, read_metadata
from alpamayo_ros.engine.eager import EagerEngine
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.training.checkpoints import backbone_sha256
from alpamayo_ros.training.export import check_round_trip, export, model_card, read_exported
from alpamayo_ros.types import InvalidInput, Request


def exported(out: Path, model: Alpamayo) -> Path:
    rounded = model.to(torch.bfloat16)
    export(rounded, debug_bundle(), out, backbone_sha256(rounded), model_card("debug", {"seed": "0"}, {"loss": "1.0"}))
    return out


def test_what_leaves_comes_back_to_the_bit_and_says_that_it_was_trained(tmp_path: Path) -> None:
    model = debug_model(3)
    folder = exported(tmp_path / "out", model)
    again = read_exported(folder).state_dict()
    assert again.keys() == model.state_dict().keys()
    assert all(torch.equal(again[name], value.float()) for name, value in model.state_dict().items())
    assert {value.dtype for value in load_file(folder / WEIGHTS_FILE).values()} == {torch.bfloat16}, "as released"
    assert read_bundle(folder).weights == "trained"
    assert "| seed | 0 |" in (folder / "README.md").read_text()


def test_the_reference_engine_opens_it(tmp_path: Path) -> None:
    engine = EagerEngine(exported(tmp_path / "out", debug_model(3)))
    assert engine.weights == "trained"
    output = engine.infer(examples()[0].observation, Request(reasoning="none"))
    assert output.complete == (True,)
    assert debug_codec().profile.name == read_bundle(tmp_path / "out").profile.name


def test_an_expert_of_another_backbone_does_not_leave(tmp_path: Path) -> None:
    model = debug_model(3).to(torch.bfloat16)
    trained_on = backbone_sha256(model)
    with torch.no_grad():
        model.vlm.lm_head.weight[0, 0] += 1.0
    with pytest.raises(InvalidInput, match=f"trained on backbone {trained_on}, this is {backbone_sha256(model)}"):
        export(model, debug_bundle(), tmp_path / "out", trained_on, "")
    assert not (tmp_path / "out").exists()


def test_an_expert_that_learned_to_read_finer_numbers_than_are_stored_does_not_leave(tmp_path: Path) -> None:
    model = debug_model(3)
    trained_on = backbone_sha256(model)
    with pytest.raises(InvalidInput, match=f"trained on backbone {trained_on}"):
        export(model, debug_bundle(), tmp_path / "out", trained_on, "")


def test_the_expert_s_own_weights_are_not_the_backbone_s() -> None:
    model = debug_model(3)
    before = backbone_sha256(model)
    with torch.no_grad():
        model.action_out_proj.weight += 1.0
    assert backbone_sha256(model) == before
    with torch.no_grad():
        model.vlm.model.visual.pos_embed.weight += 1.0
    assert backbone_sha256(model) != before


def rewritten(folder: Path, change: dict[str, str], *, moved: bool = False) -> None:
    """The file of weights with other metadata, or with another backbone."""
    path = folder / WEIGHTS_FILE
    tensors, metadata = load_file(path), read_metadata(path) | change
    if moved:
        tensors["vlm.lm_head.weight"] = tensors["vlm.lm_head.weight"] + 1.0
    save_file(tensors, path, metadata)


def test_a_bundle_whose_expert_belongs_to_another_backbone_is_refused_by_the_engine(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", debug_model(3))
    rewritten(folder, {BACKBONE_KEY: "0123456789abcdef"})
    with pytest.raises(InvalidInput, match="this file holds 0123456789abcdef: train it again on this one"):
        EagerEngine(folder)


def test_weights_that_somebody_changed_are_not_trained_on(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", debug_model(3))
    rewritten(folder, {}, moved=True)
    with pytest.raises(InvalidInput, match="somebody changed the weights"):
        read_exported(folder)


def test_a_folder_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    folder = exported(tmp_path / "out", debug_model(3))
    with pytest.raises(InvalidInput, match="there already"):
        exported(folder, debug_model(4))


def test_a_bundle_that_is_not_the_network_that_was_written_is_refused(tmp_path: Path) -> None:
    model = debug_model(3)
    folder = exported(tmp_path / "out", model)
    check_round_trip(model, folder)
    with torch.no_grad():
        model.action_out_proj.weight += 1.0
    with pytest.raises(InvalidInput, match=r"1 tensors do not read back as written: action_out_proj\.weight"):
        check_round_trip(model, folder)
