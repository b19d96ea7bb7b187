"""Building as far as it goes without a GPU, and what is said where it ends."""

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from engine.test_eager import released_bundle
from model.nano import BUNDLE

from alpamayo_ros.bundle.config import open_bundle
from alpamayo_ros.bundle.manifest import Machine
from alpamayo_ros.engine.description import blank_observation
from alpamayo_ros.engine.fast.prompt import WIDTHS
from alpamayo_ros.engine.loading import open_engine
from alpamayo_ros.engine.speculation.drafts import GUESSES
from alpamayo_ros.engine.tensorrt.build import WORDS, _limits, build_onnx, build_plans, engine_key
from alpamayo_ros.engine.tensorrt.engine import built_for
from alpamayo_ros.engine.tensorrt.export import TOLERANCE
from alpamayo_ros.engine.tensorrt.network import REACH, slots_written
from alpamayo_ros.model.prompt import encode
from alpamayo_ros.model.tokens import read_tokenizer
from alpamayo_ros.types import EngineFailure, InvalidInput, Navigation

pytestmark = pytest.mark.thorough

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_every_part_of_a_bundle_is_written_and_agrees(tmp_path: Path) -> None:
    folder = released_bundle(tmp_path / "bundle", "1.5")
    (folder / "engines" / "onnx-23").mkdir(parents=True)
    (folder / "engines" / "onnx-23" / "vision.onnx.data").write_bytes(b"of an earlier, larger network")
    figures = build_onnx(folder)
    assert figures["parts"].keys() == {"vision", "prefill", "verify", "expert"}
    assert figures["max_error"] <= TOLERANCE
    assert figures["engine"] is None
    assert sorted(path.name for path in (folder / "engines" / "onnx-23").iterdir()) == [
        "expert.onnx", "prefill.onnx", "verify.onnx", "vision.onnx",
    ]  # fmt: skip


@no_gpu
def test_without_a_gpu_plans_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    copytree(BUNDLE, tmp_path / "bundle")
    with pytest.raises(EngineFailure, match="TensorRT: torch finds no CUDA device here"):
        build_plans(tmp_path / "bundle")
    with pytest.raises(EngineFailure, match="TensorRT: torch finds no CUDA device here"):
        open_engine(f"{tmp_path / 'bundle'}@tensorrt")
    assert not (tmp_path / "bundle" / "engines").exists()


def test_sizes_hold_every_prompt_of_the_profile_and_what_is_written_behind_it() -> None:
    bundle, _ = open_bundle(BUNDLE)
    limits = _limits(bundle, BUNDLE)
    assert limits["scene"].most == bundle.profile.scene_tokens
    assert limits["prompt"].usual < limits["prompt"].most < limits["before"].most
    assert limits["words"].most == WORDS == max(GUESSES, *WIDTHS), "as many as any pass has"
    assert limits["before"].most - limits["prompt"].most >= slots_written(texts=6, tokens=256)
    assert limits["before"].most % REACH == 0, "slots are looked at in multiples, the last ones too"
    assert all(limit.least <= limit.usual <= limit.most for limit in limits.values())


def test_a_prompt_with_the_longest_route_is_within_the_sizes(tmp_path: Path) -> None:
    """With a vocabulary of bytes, in which a letter is a token."""
    folder = released_bundle(tmp_path / "bundle", "1.5")
    bundle, config = open_bundle(folder)
    longest = _limits(bundle, folder)["prompt"].most
    for navigation in (
        Navigation("turn_left", 0.0, "", 0, text="a" * 80),
        Navigation("keep_right", 99_999.0, "b" * 64, 0),
    ):
        seen = replace(blank_observation(bundle.profile), navigation=navigation)
        prompt = encode(seen, bundle.profile, read_tokenizer(folder, config), config, "reason")
        assert longest - 128 + 64 < len(prompt.token_ids) <= longest


def test_one_engine_for_this_kind_of_gpu_is_found_and_none_or_two_are_not(tmp_path: Path) -> None:
    machine = Machine("sm_90", "11.4.0", "13.0", "580.1")
    assert engine_key(machine, "bf16") == "sm_90-11.4.0-bf16"
    with pytest.raises(InvalidInput, match=r"want one engine for sm_90, got none: run `alpamayo build .*` here"):
        built_for(tmp_path, "sm_90")
    for precision in ("bf16", "fp16"):
        place = tmp_path / "engines" / f"sm_90-11.4.0-{precision}"
        place.mkdir(parents=True)
        (place / "manifest.json").touch()
        if precision == "bf16":
            assert built_for(tmp_path, "sm_90") == place
            with pytest.raises(InvalidInput, match="sm_89, got none"):
                built_for(tmp_path, "sm_89")
    with pytest.raises(InvalidInput, match=r"got sm_90-11\.4\.0-bf16, sm_90-11\.4\.0-fp16: remove all but one from .*engines"):
        built_for(tmp_path, "sm_90")
