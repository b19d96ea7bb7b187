"""What the released checkpoints say about themselves, and a small model in their layout."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal

from alpamayo_ros.bundle.config import Config, parse_config

Generation = Literal["r1", "1.5"]

BACKBONE: dict[str, Any] = {  # Qwen/Qwen3-VL-8B-Instruct/config.json, in the order of its lines
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 12288,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": False,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [8, 16, 24],
        "depth": 27,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1152,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4304,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 4096,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}

ACTION_SPACE = {
    "accel_mean": 0.02902694707164455,
    "accel_std": 0.6810426736454882,
    "curvature_mean": 0.0002692167976330542,
    "curvature_std": 0.026148280660833106,
    "accel_bounds": [-9.8, 9.8],
    "curvature_bounds": [-0.33, 0.33],
    "dt": 0.1,
    "n_waypoints": 64,
    "theta_lambda": 1e-06,
    "theta_ridge": 1e-08,
    "v_lambda": 1e-06,
    "v_ridge": 0.0001,
    "a_lambda": 0.0001,
    "a_ridge": 0.0001,
    "kappa_lambda": 0.0001,
    "kappa_ridge": 0.0001,
}


def released_json(generation: Generation) -> dict[str, Any]:
    """The keys of config.json that describe the network, with the released values."""
    package = {"r1": "alpamayo_r1", "1.5": "alpamayo1_5"}[generation]
    action_space = {"_target_": f"{package}.action_space.UnicycleAccelCurvatureActionSpace", **ACTION_SPACE}
    labels = {"include_camera_ids": True, "include_frame_nums": True} if generation == "1.5" else {}
    return labels | {
        "model_type": package,
        "model_dtype": "bfloat16",
        "vocab_size": 155697,
        "traj_vocab_size": 4000,
        "tokens_per_history_traj": 48,
        "tokens_per_future_traj": 128,
        "min_pixels": 163840,
        "max_pixels": 196608,
        "add_special_tokens": True,
        "traj_token_start_idx": 151669,
        "traj_token_ids": {
            "history": 155684,
            "future": 155685,
            "history_start": 155674,
            "future_start": 155681,
            "history_end": 155676,
            "future_end": 155683,
        },
        "traj_tokenizer_cfg": {
            "_target_": f"{package}.action_space.discrete_action_space.DiscreteTrajectoryTokenizer",
            "_recursive_": False,
            "action_space_cfg": action_space,
            "dims_min": [-10, -10],
            "dims_max": [10, 10],
            "num_bins": 3000,
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": f"{package}.models.delta_tokenizer.DeltaTrajectoryTokenizer",
            "ego_xyz_min": [-4, -4, -10],
            "ego_xyz_max": [4, 4, 10],
            "num_bins": 1000,
            "predict_yaw": False,
        },
        "action_space_cfg": action_space,
        "action_in_proj_cfg": {
            "_target_": f"{package}.models.action_in_proj.PerWaypointActionInProjV2",
            "hidden_size": 512,
            "num_enc_layers": 2,
            "num_fourier_feats": 20,
            "max_freq": 100.0,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "diffusion_cfg": {
            "_target_": f"{package}.diffusion.flow_matching.FlowMatching",
            "int_method": "euler",
            "num_inference_steps": 10,
        },
        "expert_cfg": {
            "hidden_size": 2048,
            "intermediate_size": 8256,
            "num_attention_heads": 16,
            "head_dim": 128,
            "dtype": "bfloat16",
        },
        "keep_same_dtype": True,
        "expert_non_causal_attention": True,
    }


def released_config(generation: Generation) -> Config:
    return parse_config(released_json(generation), BACKBONE, "released")


def small_json(generation: Generation, width: int = 32) -> dict[str, Any]:
    """config.json, the backbone's inside, of a network of about 100 thousand numbers in the released layout."""
    backbone = deepcopy(BACKBONE)
    backbone["text_config"] |= {"hidden_size": width, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    backbone["text_config"] |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    backbone["text_config"]["rope_scaling"]["mrope_section"] = [2, 1, 1]
    backbone["vision_config"] |= {"hidden_size": 16, "intermediate_size": 24, "depth": 2, "num_heads": 2}
    backbone["vision_config"] |= {"num_position_embeddings": 16, "out_hidden_size": width, "deepstack_visual_indexes": [0]}
    stored = released_json(generation)
    stored["expert_cfg"] |= {"hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 4, "head_dim": 8}
    stored["action_in_proj_cfg"] |= {"hidden_size": 16}
    stored |= {"model_dtype": "float32", "vocab_size": 600, "traj_vocab_size": 500, "traj_token_start_idx": 60}
    stored["traj_tokenizer_cfg"]["num_bins"] = 300
    stored["hist_traj_tokenizer_cfg"]["num_bins"] = 200
    return stored | {"vlm_config": backbone}


def small_config(generation: Generation, width: int = 32) -> Config:
    stored = small_json(generation, width)
    return parse_config(stored, stored["vlm_config"], "small")
