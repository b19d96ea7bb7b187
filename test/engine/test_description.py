"""Figures of bundles: with their files, and before they are there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from alpamayo_ros.bundle.config import read_config
from alpamayo_ros.engine.description import describe
from alpamayo_ros.model.network import Alpamayo
from alpamayo_ros.profile import shared_files
from alpamayo_ros.types import InvalidInput

torch.set_num_threads(1)
NANO = shared_files() / "models" / "ar1_nano"


def test_a_complete_bundle_is_told_in_full() -> None:
    told = describe(str(NANO))
    size = sum(tensor.numel() for tensor in Alpamayo(read_config(NANO)).state_dict().values())
    assert (told["parameters"], told["memory_bytes"], told["missing"]) == (size, 4 * size, [])
    assert told["images"] == 35
    assert told["tokens_per_image"] == pytest.approx(told["scene_tokens"] / 35, abs=1e-3)
    motion = 3 * 21  # history tokens
    assert told["scene_tokens"] + motion < told["prompt_tokens"] < told["scene_tokens"] + motion + 100


def test_ego_signals_lengthen_the_prompt(tmp_path: Path) -> None:
    shutil.copytree(NANO, tmp_path / "b")
    profile = (NANO / "profile.yaml").read_text()
    (tmp_path / "b" / "profile.yaml").write_text(profile.replace("ego_signals: []", "ego_signals: [speed, turn_indicator]"))
    assert describe(str(tmp_path / "b"))["prompt_tokens"] == describe(str(NANO))["prompt_tokens"] + 2 * 21


def test_a_released_bundle_that_was_not_fetched_says_what_is_known_and_how_to_get_the_rest(tmp_path: Path) -> None:
    for name in ("profile.yaml", "source.yaml"):
        shutil.copy(shared_files() / "models" / "alpamayo_r1_10b" / name, tmp_path)
    told = describe(str(tmp_path))
    assert (told["weights"], told["tokens_per_image"], told["images"]) == ("released", 180, 16)
    assert (told["parameters"], told["memory_bytes"], told["prompt_tokens"]) == (None, None, None)
    assert "model-00005-of-00005.safetensors" in told["missing"]
    assert told["fetch"] == f"alpamayo fetch {tmp_path}"


def test_a_profile_of_another_network_is_refused(tmp_path: Path) -> None:
    shutil.copytree(NANO, tmp_path / "b")
    shutil.copy(shared_files() / "models" / "alpamayo_r1_10b" / "profile.yaml", tmp_path / "b")
    with pytest.raises(InvalidInput, match=r"profile alpamayo_r1_10b says views single_image, config.json flex"):
        describe(str(tmp_path / "b"))


def test_a_built_in_engine_has_no_network() -> None:
    assert describe("kinematic")["parameters"] == 0
    with pytest.raises(InvalidInput, match="kinematik: no such bundle folder"):
        describe("kinematik")


def test_a_bundle_is_the_same_whichever_engine_runs_it_and_an_engine_that_nobody_has_is_refused() -> None:
    assert describe(f"{NANO}@graphed") == describe(str(NANO)) | {"bundle": f"{NANO}@graphed"}
    with pytest.raises(InvalidInput, match="no engine 'quick' for a bundle"):
        describe(f"{NANO}@quick")
