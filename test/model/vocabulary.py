"""A vocabulary of bytes laid out as Qwen3-VL's, and the config of a small model in the released layout over it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from alpamayo_ros.bundle.config import Config, parse_config
from alpamayo_ros.dynamics import RELEASED

QWEN_TOKENS = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> <|quad_start|> "
    "<|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
)
QWEN_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BYTES = 256
START = BYTES + len(QWEN_TOKENS.split())  # of <i*>


def write_vocabulary(folder: Path, words: int = BYTES, more: int = 0) -> Path:
    """tokenizer.json of a language model: the bytes as words, more words that are never used, Qwen's tokens, `more` tokens."""
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {f"never{i}": i for i in range(BYTES, words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in QWEN_TOKENS.split()])
    tokenizer.add_tokens([f"<more{i}>" for i in range(more)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def small_config(**changes: Any) -> Config:
    """R1 with 80 bins of history behind 120 of the future and images of 2048 to 8192 pixels, changed where asked."""
    text = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-6,
        "rope_theta": 5e6,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 2, 2]},
        "eos_token_id": BYTES + 2,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "num_position_embeddings": 64,
        "out_hidden_size": 64,
        "deepstack_visual_indexes": [0],
    }
    actions = {
        "_target_": "a.UnicycleAccelCurvatureActionSpace",
        "n_waypoints": 64,
        "dt": RELEASED.dt_s,
        "accel_mean": RELEASED.accel_mean_mps2,
        "accel_std": RELEASED.accel_std_mps2,
        "curvature_mean": RELEASED.curvature_mean_1pm,
        "curvature_std": RELEASED.curvature_std_1pm,
    }
    stored = {
        "model_type": "alpamayo_r1",
        "action_space_cfg": actions,
        "diffusion_cfg": {"_target_": "a.FlowMatching", "num_inference_steps": 10},
        "action_in_proj_cfg": {
            "_target_": "a.PerWaypointActionInProjV2",
            "hidden_size": 48,
            "num_enc_layers": 2,
            "num_fourier_feats": 20,
            "max_freq": 100.0,
        },
        "action_out_proj_cfg": {"_target_": "torch.nn.Linear"},
        "expert_cfg": {"intermediate_size": 96},
        "traj_tokenizer_cfg": {
            "_target_": "a.DiscreteTrajectoryTokenizer",
            "num_bins": 120,
            "dims_min": [-10.0, -10.0],
            "dims_max": [10.0, 10.0],
        },
        "hist_traj_tokenizer_cfg": {
            "_target_": "a.DeltaTrajectoryTokenizer",
            "num_bins": 80,
            "ego_xyz_min": [-4.0, -4.0, -10.0],
            "ego_xyz_max": [4.0, 4.0, 10.0],
        },
        "vocab_size": START + 200 + 28,
        "traj_token_start_idx": START,
        "traj_vocab_size": 200,
        "traj_token_ids": trajectory_ids(START + 200),
        "tokens_per_history_traj": 48,
        "tokens_per_future_traj": 128,
        "min_pixels": 2048,
        "max_pixels": 8192,
        "model_dtype": "float32",
    }
    backbone = {"model_type": "qwen3_vl", "image_token_id": BYTES + 12, "text_config": text, "vision_config": vision}
    return replace(parse_config(stored, backbone, "small"), **changes)


def trajectory_ids(first_special: int) -> dict[str, int]:
    """Ids of the tokens around trajectories, by their released places among the special tokens."""
    places = {"history": 15, "future": 16, "history_start": 5, "future_start": 12, "history_end": 7, "future_end": 14}
    return {name: first_special + place for name, place in places.items()}
