"""Every part of a network computes as ONNX what it computes in torch, also at sizes that it was not traced with."""

from pathlib import Path

import pytest
import torch
from model.nano import nano_model

from alpamayo_ros.bundle.config import parse_config
from alpamayo_ros.engine.benchmark import TINY
from alpamayo_ros.engine.tensorrt import export as exporting
from alpamayo_ros.engine.tensorrt.export import TOLERANCE, TRACED, UNTRACED, Exported, export, largest_difference, open_session
from alpamayo_ros.engine.tensorrt.parts import Part, parts
from alpamayo_ros.engine.weights import draw_weights
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.model.vision import Images
from alpamayo_ros.types import EngineFailure

pytestmark = pytest.mark.thorough

TINY_IMAGES = Images(torch.empty(2, 0), (4, 4), (1, 1), (0, 1))


def tiny_model(seed: int = 1) -> Alpamayo:
    with torch.device("meta"):
        made = Alpamayo(parse_config(TINY, TINY["vlm_config"], "tiny"))
    draw_weights(made, seed, "cpu", torch.float32)
    return made.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def tiny() -> list[Part]:
    return parts(tiny_model(), TINY_IMAGES)


@pytest.fixture(scope="module")
def exported(tiny: list[Part], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    return {made.name: made for made in export(tiny, tmp_path_factory.mktemp("onnx"), torch.float32)}


def test_all_parts_are_there_and_agree(tiny: list[Part], exported: dict[str, Exported]) -> None:
    assert list(exported) == ["vision", "prefill", "verify", "expert"]
    assert all(made.max_error <= TOLERANCE for made in exported.values())
    for part in tiny:
        session = open_session(exported[part.name].path)
        assert largest_difference(part, session, TRACED, torch.float32) <= TOLERANCE
        assert all(sizes != TRACED for sizes in UNTRACED)


def test_opset_23_keeps_attention_and_norms_whole(exported: dict[str, Exported]) -> None:
    import onnx

    ops = {node.op_type for node in onnx.load(exported["prefill"].path).graph.node}
    assert {"Attention", "RMSNormalization"} <= ops
    assert not ops & {"NonZero", "Loop", "If"}


def test_a_changed_weight_is_found(exported: dict[str, Exported]) -> None:
    other = tiny_model()
    with torch.no_grad():
        other.vlm.model.language_model.layers[0].self_attn.q_proj.weight[0, 0] += 0.1
    changed = {part.name: part for part in parts(other, TINY_IMAGES)}
    session = open_session(exported["prefill"].path)
    assert largest_difference(changed["prefill"], session, UNTRACED[0], torch.float32) > TOLERANCE


def test_a_file_that_does_not_agree_is_refused(tiny: list[Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", 1e-12)
    with pytest.raises(EngineFailure, match=r"vision.onnx: differs from torch by .* limit 1e-12: build with the other --opset"):
        export(tiny[:1], tmp_path, torch.float32)


def test_a_network_with_flex_and_without_deepstack_has_its_parts(tmp_path: Path) -> None:
    made = parts(nano_model(), Images(torch.empty(4, 0), (4, 6), (1, 1, 6, 6), (0, 1, 0, 1)))
    written = export([part for part in made if part.name in ("views", "prefill")], tmp_path, torch.float32)
    assert [part.name for part in written] == ["views", "prefill"]
    assert all(part.max_error <= TOLERANCE for part in written)


@pytest.mark.parametrize("name", ["vision", "prefill", "verify", "expert"])
def test_every_part_agrees_in_the_fallback_opset_too(tiny: list[Part], tmp_path: Path, name: str) -> None:
    """Opset 18 has neither attention nor RMS normalisation: they are spelled out."""
    import onnx

    part = next(part for part in tiny if part.name == name)
    [written] = export([part], tmp_path, torch.float32, opset=18)
    assert written.max_error <= TOLERANCE
    model = onnx.load(written.path)
    assert [(each.domain, each.version) for each in model.opset_import] == [("", 18)]
    assert not {node.op_type for node in model.graph.node} & {"Attention", "RMSNormalization"}


def test_flex_agrees_in_the_fallback_opset_and_a_changed_weight_is_found(tmp_path: Path) -> None:
    shown = Images(torch.empty(4, 0), (4, 6), (1, 1, 6, 6), (0, 1, 0, 1))
    views = next(part for part in parts(nano_model(), shown) if part.name == "views")
    [written] = export([views], tmp_path, torch.float32, opset=18)
    assert written.max_error <= TOLERANCE
    with torch.no_grad():
        list(views.module.parameters())[-1].add_(0.1)
    assert largest_difference(views, open_session(written.path), UNTRACED[0], torch.float32) > TOLERANCE
