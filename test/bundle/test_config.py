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
from alpamayo_ros.model.pixels import smart_size
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
    file = {"stored": "config.json", "backbone": r"(config|backbone)\.json"}[path.partition("/")[0]]
    with pytest.raises(InvalidInput, match=f"^{file}.*{said}"):
        parse_config(*changed(path, value), "config.json")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("stored/vocab_size", "2540", "vocab_size: Input should be a valid integer, got '2540'"),
        ("stored/vocab_size", 2540.0, "vocab_size: Input should be a valid integer"),
        ("stored/model_type", ["r1"], r"model_type \['r1'\], want one of"),
        ("stored/model_dtype", "int8", "model_dtype: .*'bfloat16', got 'int8'"),
        ("stored/expert_cfg", "none", "expert_cfg: want a JSON object, got 'none'"),
        ("stored/expert_cfg/hidden_size", 0, "expert_cfg: hidden_size: .* greater than or equal to 1, got 0"),
        ("stored/action_space_cfg", 5, "action_space_cfg: want a JSON object, got 5"),
        ("stored/action_space_cfg/accel_std", 0, "action_space_cfg: accel_std: .* greater than 0, got 0"),
        ("stored/action_space_cfg/curvature_mean", float("nan"), "curvature_mean: .* finite number, got nan"),
        ("stored/action_space_cfg/accel_bounds", [9.8, -9.8], r"accel_bounds: .*\(9.8, -9.8\): want the lower end first"),
        ("stored/action_space_cfg/v_ridge", -1, "action_space_cfg: v_ridge: .* greater than or equal to 0, got -1"),
        ("stored/traj_tokenizer_cfg/dims_min", [-10], r"dims_min: 1: Field required, got \[-10\]"),
        ("stored/hist_traj_tokenizer_cfg/ego_xyz_max", [4, -4, 10], r"ego_xyz_min .* must lie below ego_xyz_max .*-4"),
        ("stored/hist_traj_tokenizer_cfg/num_bins", 1, "num_bins: .* greater than or equal to 2, got 1"),
        ("stored/traj_token_ids/history", "x", "traj_token_ids: history: Input should be a valid integer"),
        ("stored/min_pixels", 200000, "min_pixels 200000 beyond max_pixels 196608"),
        ("stored/views", 5, "views: want a JSON object, got 5"),
        ("backbone/text_config", 5, "text_config: want a JSON object, got 5"),
        ("backbone/text_config/rope_scaling", 5, "text_config: want interleaved M-RoPE, got 5"),
        ("backbone/text_config/rope_scaling/mrope_section", [16], r"text_config: mrope_section.1: Field required, got \[16\]"),
        ("backbone/vision_config", [1], r"vision_config: want a JSON object, got \[1\]"),
        ("backbone/vision_config/depth", True, "vision_config: depth: Input should be a valid integer, got True"),
        ("backbone/vision_config/num_position_embeddings", 2305, "num_position_embeddings 2305 are no square"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_file_and_key(path: str, value: Any, said: str) -> None:
    file = {"stored": "config", "backbone": "(config|backbone)"}[path.partition("/")[0]]
    with pytest.raises(InvalidInput, match=rf"^{file}\.json: .*{said}"):
        parse_config(*changed(path, value), "config.json")


def test_a_key_that_is_null_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"config\.json: expert_cfg: want a JSON object, got None"):
        parse_config(released_json("r1") | {"expert_cfg": None}, BACKBONE, "config.json")


def test_another_kind_of_model_is_told_before_the_backbone_is_missed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidInput, match=r"config\.json: model_type 'llama', want one of alpamayo_r1"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("height", "width", "fits"), [(320, 576, True), (330, 576, False), (256, 576, False), (320, 640, False)]
)
def test_images_of_a_size_that_the_network_does_not_take_are_refused(height: int, width: int, fits: bool) -> None:
    profile = read_profile("alpamayo_r1_10b").model_copy(
        update={"image_height": height, "image_width": width, "scene_tokens": 16 * (height // 32) * (width // 32)}
    )
    config = parse_config(released_json("r1"), BACKBONE, "x")
    assert (smart_size(height, width, config) == (height, width)) == fits, "what every cycle would be refused for"
    if fits:
        return check_profile(profile, config)
    with pytest.raises(InvalidInput, match=rf"images of {height}x{width}, config.json wants multiples of 32 and 163840 to"):
        check_profile(profile, config)
    return None


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
    flex = {"kind": "flex", "scene_tokens": 64, "layers": 2, "heads": 8, "timesteps": 4}
    assert parse_config(stored | {"views": flex}, backbone, "x").views == FlexConfig(64, 2, 8, 4)
    with pytest.raises(InvalidInput, match="views of 4096 numbers a token in 5 heads"):
        parse_config(stored | {"views": flex | {"heads": 5}}, backbone, "x")
