"""config.json of the released models, and what is refused."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from model.released import BACKBONE, Generation, released_json

from alpamayo_ros.bundle.config import FlexConfig, check_profile, parse_config, read_config
from alpamayo_ros.dynamics import RELEASED
from alpamayo_ros.profile import read_profile
from alpamayo_ros.types import InvalidInput


@pytest.mark.parametrize("generation", ["r1", "1.5"])
def test_released_configs_read_and_fit_their_profiles(generation: Generation) -> None:
    config = parse_config(released_json(generation), BACKBONE, "config.json")
    assert config.action_space == RELEASED
    assert (config.expert.hidden_size, config.expert.num_hidden_layers, config.expert.head_dim) == (2048, 36, 128)
    assert config.text.mrope_section == (24, 20, 20)
    assert config.camera_labels == config.frame_labels == (generation == "1.5")
    check_profile(read_profile({"r1": "alpamayo_r1_10b", "1.5": "alpamayo_1_5_10b"}[generation]), config)


def test_keys_of_training_are_ignored_and_classes_are_known_by_their_last_name() -> None:
    stored = released_json("r1")
    changed = deepcopy(stored) | {"keep_same_dtype": True, "attn_implementation": "flash_attention_2"}
    changed["diffusion_cfg"] |= {"_target_": "elsewhere.FlowMatching", "train_timestep_sampler": "beta", "x_dims": [64, 2]}
    assert parse_config(changed, BACKBONE, "x") == parse_config(stored, BACKBONE, "x")


def test_values_come_from_the_file() -> None:
    stored = released_json("r1")
    stored["action_space_cfg"] = stored["action_space_cfg"] | {
        "accel_std": 0.5,
        "curvature_bounds": [-0.2, 0.2],
        "v_lambda": 1e-3,
    }
    space = parse_config(stored, BACKBONE, "x").action_space
    assert (space.accel_std_mps2, space.curvature_bounds_1pm, space.speed_lambda) == (0.5, (-0.2, 0.2), 1e-3)


def test_rotary_settings_are_read_as_both_versions_of_transformers_write_them() -> None:
    newer = deepcopy(BACKBONE)
    text = newer["text_config"]
    text["rope_parameters"] = text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    assert parse_config(released_json("r1"), newer, "x") == parse_config(released_json("r1"), BACKBONE, "x")


def changed(path: str, value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and backbone.json with one value of either changed; None removes it."""
    files = {"stored": released_json("r1"), "backbone": deepcopy(BACKBONE)}
    *parents, last = path.split("/")
    place: Any = files
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return files["stored"], files["backbone"]


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("stored/model_type", "llama", "model_type 'llama', want one of alpamayo_r1"),
        ("backbone/model_type", "qwen2_vl", "backbone of model_type 'qwen2_vl', want qwen3_vl"),
        ("stored/vocab_size", None, "no key 'vocab_size'"),
        ("stored/action_space_cfg/accel_std", None, "no key 'accel_std'"),
        ("stored/diffusion_cfg/_target_", "x.Diffusion", "diffusion_cfg is for 'x.Diffusion', want FlowMatching"),
        ("stored/expert_cfg/head_dim", 64, "head_dim of the expert 64, of the model 128"),
        ("stored/expert_cfg/num_attention_heads", 12, "12 heads of the expert do not share 8 key-value heads"),
        ("stored/traj_vocab_size", 3500, "4000 bins do not fit in traj_vocab_size 3500"),
        ("stored/tokens_per_future_traj", 64, "tokens_per_future_traj 64, want 64 steps of 2"),
        ("stored/tokens_per_history_traj", 47, "tokens_per_history_traj 47, want x, y, z"),
        ("stored/traj_token_ids/future_start", None, "traj_token_ids lacks future_start"),
        ("stored/action_space_cfg/n_waypoints", 50, "n_waypoints 50, want 64"),
        ("stored/views", {"kind": "cubes"}, "views of kind 'cubes', want one of flex, triplane"),
        ("backbone/vision_config/out_hidden_size", 2048, "vision gives 2048 numbers a token, the model takes 4096"),
        ("backbone/vision_config/deepstack_visual_indexes", [8, 27], r"deepstack \(8, 27\) of 27 blocks"),
        ("backbone/text_config/rope_scaling/mrope_section", [24, 20, 10], "must sum to half of head_dim 128"),
        ("backbone/text_config/rope_scaling/mrope_interleaved", False, "want interleaved M-RoPE"),
    ],
)
def test_a_config_that_cannot_be_is_refused_with_both_sides(path: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=f"config.json.*{said}"):
        parse_config(*changed(path, value), "config.json")


def test_the_backbone_stands_inside_or_beside(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(released_json("r1")))
    with pytest.raises(InvalidInput, match=r"backbone\.json: no such file"):
        read_config(tmp_path)
    (tmp_path / "backbone.json").write_text(json.dumps(BACKBONE))
    beside = read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(released_json("r1") | {"vlm_config": BACKBONE}))
    assert read_config(tmp_path) == beside


def test_views_of_our_own_are_read() -> None:
    stored, backbone = changed("backbone/vision_config/deepstack_visual_indexes", [])
    flex = {"kind": "flex", "scene_tokens": 64, "layers": 2, "heads": 6, "timesteps": 4}
    assert parse_config(stored | {"views": flex}, backbone, "x").views == FlexConfig(64, 2, 6, 4)
